"""The pages that show S3 and DynamoDB run, on a server that the reader is supposed to have."""

from __future__ import annotations

import re

import pytest

from support.pages import run_page
from support.s3 import ministack
from support.workspace import ROOT

LEFT_OUT = re.compile(r'<!-- skip: (?:start "needs a (?:bucket|table)"|end) -->\n')


@pytest.fixture
def server(tmp_path, monkeypatch):
    with ministack(tmp_path / "server") as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def run(name, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "how-to" / name).read_text(encoding="utf-8")
    page, count = LEFT_OUT.subn("", text)
    assert count
    copy = tmp_path / "page.md"
    copy.write_text(page, encoding="utf-8")
    story = tmp_path / "story"
    story.mkdir()
    run_page(copy, story, monkeypatch)


def test_assets_on_s3(server, tmp_path, monkeypatch):
    client = server.client()
    client.create_bucket(Bucket="lake")
    client.close()
    run("assets-on-s3.md", tmp_path, monkeypatch)


def test_items_from_dynamodb(server, tmp_path, monkeypatch):
    client = server.client("dynamodb")
    keys = (("customer", "HASH", "S"), ("number", "RANGE", "N"))
    client.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind, _ in keys],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, _, kind in keys
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for number in (1, 2, 3):
        item = {
            "customer": {"S": "ada"},
            "number": {"N": str(number)},
            "paid": {"BOOL": number != 2},
        }
        client.put_item(TableName="orders", Item=item)
    client.close()
    run("items-from-dynamodb.md", tmp_path, monkeypatch)
