"""A page of a listing: read at a glance where that is enough, and as XML where it is not."""

from __future__ import annotations

from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.contracts.storage import StorageUnavailableError
from stageflow_io_s3 import _requests
from stageflow_io_s3._requests import ListedObject, ListedPage, SignedRequests

TIME = "2026-01-02T03:04:05.000Z"
OPENED = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.example/">'


def listed(body: str | bytes) -> ListedPage:
    """Return what a page with that body tells."""
    requests = SignedRequests(
        bucket="b",
        address="http://127.0.0.1:1",
        region="r",
        credentials=None,
        path_style=True,
        timeouts=(1, 1),
        retries=0,
        retry_timeout=1,
        storage="s3://b",
    )
    answer = body if isinstance(body, bytes) else body.encode()
    requests._send = lambda method, query, key="": (200, answer)  # type: ignore[method-assign]
    return requests.list_page("", "", 1_000)


def element(key: str, size: int = 1, etag: str = "&quot;tag&quot;", more: str = "") -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{TIME}</LastModified><ETag>{etag}</ETag>"
        f"<Size>{size}</Size>{more}<StorageClass>STANDARD</StorageClass></Contents>"
    )


def page(*elements: str, truncated: str = "true", escaped: bool = True, extra: str = "") -> str:
    encoding = "<EncodingType>url</EncodingType>" if escaped else ""
    return (
        f"{OPENED}<Name>b</Name>{encoding}{extra}<IsTruncated>{truncated}</IsTruncated>"
        f"{''.join(elements)}</ListBucketResult>\n"
    )


KEYS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), max_size=5)


@given(KEYS, st.integers(0, 2**45), st.booleans())
def test_a_glance_tells_what_the_parser_tells(keys, size, is_truncated):
    truncated = str(is_truncated).lower()
    body = page(*(element(quote_plus(key), size) for key in keys), truncated=truncated)
    glanced = _requests._glanced(body.encode())

    parsed = listed(body.replace("<Name>", "<!-- for the parser --><Name>"))

    assert glanced == parsed == listed(body)
    assert [found.key for found in parsed.objects] == keys
    assert parsed.is_last is not is_truncated


@pytest.mark.parametrize("quote", ["&quot;", "&#34;", '"', ""])
def test_a_tag_comes_without_its_quotes(quote):
    body = page(element("a", etag=f"{quote}0-1{quote}"))

    assert _requests._glanced(body.encode()) == listed(body)
    assert listed(body).objects == [ListedObject("a", 1, "0-1", TIME)]


@pytest.mark.parametrize(
    "body",
    [
        page(element("a&amp;b"), escaped=False),
        page(element("a"), element("b").replace("<Size>1</Size>", "")),
        page(element("a").replace("<ETag>&quot;tag&quot;</ETag>", "<ETag/>"), element("b")),
        page(element("a").replace("<Contents>", '<Contents id="1">'), element("b")),
        page(element("a&amp;b")),
        page("<!--", element("gone"), "-->", element("a")),
        page(element("<![CDATA[a]]>")),
    ],
)
def test_what_is_written_unusually_is_parsed(body):
    assert _requests._glanced(body.encode()) is None
    assert listed(body).objects


@pytest.mark.parametrize(
    "body",
    [page(element("a"))[:-30], page(element("a")).encode() + b"\xff", "no XML", "", b"\xff"],
)
def test_what_is_no_whole_page_is_told(body):
    with pytest.raises(StorageUnavailableError, match="no XML"):
        listed(body)


def test_a_name_that_looks_like_an_object_is_none():
    body = page(element("a"), extra=f"<Prefix>{escape(element('no'))}</Prefix>")

    assert [found.key for found in listed(body).objects] == ["a"]
