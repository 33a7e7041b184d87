"""The looks at a batch: what they find in a labelled folder, and that it can be stored."""

from __future__ import annotations

import json

import pytest

from document_audit.analysis import (
    LOOKS,
    analyse_batch,
    detect_batch,
    find_personal_batch,
    find_secrets_batch,
    fingerprint_batch,
    measure_batch,
)
from document_audit.listing import FileRecord, Listing, list_files, split_batches


@pytest.fixture(scope="module")
def results(labelled):
    """What is found in each file of the labelled folder, by path and look."""
    rows = {}
    for batch in split_batches(list_files(labelled.root), max_files=7):
        result = analyse_batch(batch)
        assert result["batch"] == batch.key
        for place, record in enumerate(batch.files):
            rows[record.path] = {
                look: {column: values[place] for column, values in result[look].items()}
                for look in LOOKS
            }
    return rows


def test_every_file_is_looked_at(labelled, results):
    assert results.keys() == labelled.files.keys()


def test_kinds_formats_encodings_and_languages_are_as_labelled(labelled, results):
    found = {
        path: (row["detect"]["kind"], row["detect"]["format"], row["detect"]["encoding"])
        for path, row in results.items()
    }
    assert found == {
        path: (one.kind, one.format, one.encoding) for path, one in labelled.files.items()
    }
    languages = {path: row["detect"]["language"] for path, row in results.items()}
    assert languages == {path: one.language for path, one in labelled.files.items()}


def test_problems_are_as_labelled(labelled, results):
    for path, expected in labelled.files.items():
        problem = results[path]["detect"]["problem"]
        assert expected.problem in problem
        assert bool(problem) == bool(expected.problem)


@pytest.mark.parametrize("look", ["secrets", "personal"])
def test_findings_are_as_labelled_and_nothing_else_is_found(labelled, results, look):
    found = {path: tuple(sorted(row[look]["counts"] or ())) for path, row in results.items()}
    assert found == {path: getattr(one, look) for path, one in labelled.files.items()}


def test_results_can_be_stored_and_hold_no_text_and_no_secret(labelled, results):
    stored = json.dumps(results)
    assert json.loads(stored) == results
    assert len(stored) < 1_500 * len(results)
    for secret in labelled.hidden:
        assert secret not in stored


def test_texts_have_measures_and_sketches_and_binaries_have_none(results):
    text, picture = results["copies/one.txt"], results["pictures/map.png"]
    assert text["measure"]["words"] == 120
    assert text["measure"]["reading_ease"] is not None
    assert text["fingerprint"]["sketch"]
    assert picture["measure"]["lines"] == 0
    assert picture["fingerprint"] == {"sha256": picture["fingerprint"]["sha256"], "sketch": ""}
    assert len(picture["fingerprint"]["sha256"]) == 64
    assert results["data/long.csv"]["measure"]["longest"] == 360_000


def test_each_look_alone_finds_the_same_as_all_together(labelled):
    (batch,) = split_batches(list_files(labelled.root), max_files=1_000)
    together = analyse_batch(batch)
    alone = [
        detect_batch,
        measure_batch,
        find_secrets_batch,
        find_personal_batch,
        fingerprint_batch,
    ]
    for look, take in zip(LOOKS, alone, strict=True):
        assert take(batch) == {"batch": batch.key, look: together[look]}


def test_a_large_file_is_cut_and_says_so(tmp_path):
    (tmp_path / "big.log").write_text("line\n" * 1_000)
    (batch,) = split_batches(list_files(tmp_path))
    result = analyse_batch(batch, max_bytes=50)
    assert result["measure"]["lines"] == [10]
    assert result["detect"]["problem"] == ["only the first 50 bytes were analysed"]
    assert result["fingerprint"] == analyse_batch(batch)["fingerprint"] | {
        "sketch": result["fingerprint"]["sketch"]
    }


def test_files_that_have_gone_since_are_rows_like_others(tmp_path):
    listing = Listing(root=str(tmp_path), files=(FileRecord("gone.py", 9, 9),))
    (batch,) = split_batches(listing)
    result = analyse_batch(batch)
    assert result["detect"]["kind"] == ["unreadable"]
    assert result["secrets"] == {"findings": [None], "counts": [None]}
