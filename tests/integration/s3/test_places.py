"""The example of the places moves to S3, as Parquet, by another line in its settings."""

from __future__ import annotations

import shutil
import sys

import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from support.workspace import ROOT, run

EXAMPLE = ROOT / "examples" / "places"


def settings(server, bucket):
    """Return where the store is, as variables: so one line of the file has to change."""
    return {
        "STAGEFLOW_IO_MANAGERS__S3__URL": f"s3://{bucket}/lake",
        "STAGEFLOW_IO_MANAGERS__S3__PREFER": '["parquet-rows"]',
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.mark.slow
def test_one_line_moves_the_places_to_s3(primary, tmp_path):
    bucket = primary.bucket()
    folder = tmp_path / "places"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".stageflow"))
    file = folder / "stageflow.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count('io_manager = "files"\n') == 1
    file.write_text(text.replace('io_manager = "files"\n', 'io_manager = "s3"\n'), encoding="utf-8")
    command = (sys.executable, "-m", "stageflow", "assets")
    variables = settings(primary, bucket)
    run(*command, "backfill", "places.py", "region", cwd=folder, **variables)

    s3 = pyarrow.fs.S3FileSystem(
        endpoint_override=primary.endpoint, access_key="test", secret_key="test"
    )
    countries = pq.read_table(f"{bucket}/lake/countries/part-0", filesystem=s3).to_pylist()
    assert len(countries) > 200
    assert set(countries[0]) == {"code", "name"}
    regions = pq.read_table(f"{bucket}/lake/region", filesystem=s3, partitioning="hive")
    assert set(regions["partition"].to_pylist()) >= {"Africa", "Europe", "Pacific"}
    zones = pq.read_table(f"{bucket}/lake/zones/part-0", filesystem=s3)
    assert sorted(regions["zone"].to_pylist()) == sorted(zones["zone"].to_pylist())
    again = run(*command, "backfill", "places.py", "region", cwd=folder, **variables).stdout
    assert "0 made" in again
