"""The join: everything counted once, little kept of each file, and no batch mixed with another."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import attrs
import pytest

from document_audit import joining
from document_audit.analysis import LOOKS, analyse_batch
from document_audit.fingerprints import SIZE, to_text
from document_audit.joining import join_batches
from document_audit.listing import FileRecord, Listing, list_files, split_batches
from stageflow.errors import RunError
from support.labelled_folder import drawing, token

WHEN = "2025-03-01 12:00 UTC"


def audit(folder, **limits):
    listing = list_files(folder)
    results = ((batch, analyse_batch(batch)) for batch in split_batches(listing, **limits))
    return join_batches(listing, results, created_at=WHEN)


@pytest.fixture(scope="module")
def report(labelled):
    return audit(labelled.root, max_files=5)


def test_a_row_for_every_file_in_order(labelled, report):
    assert [row.path for row in report.files] == sorted(labelled.files)
    assert (report.root, report.created_at) == (str(labelled.root), WHEN)


def test_totals_add_up_to_the_labels(labelled, report):
    totals, rows = report.totals, list(report.files)
    kinds = Counter(one.kind for one in labelled.files.values())
    for kind in ("source", "document", "data", "binary", "empty", "unreadable"):
        assert getattr(totals, kind) == kinds[kind]
    assert totals.files == len(rows) == len(labelled.files)
    assert totals.bytes == sum((labelled.root / row.path).stat().st_size for row in rows)
    assert totals.skipped == len(labelled.left_out)
    assert totals.lines == sum(row.lines for row in rows)
    assert totals.code == sum(
        row.lines - row.blank - row.comment for row in rows if row.kind == "source"
    )
    assert totals.files_with_secrets == sum(bool(one.secrets) for one in labelled.files.values())
    assert totals.files_with_personal == sum(bool(one.personal) for one in labelled.files.values())
    assert sum(rule.count for rule in report.rules) == totals.secrets + totals.personal
    assert (
        sum(one.files for one in report.formats) == totals.files - totals.empty - totals.unreadable
    )


def test_equal_and_similar_files_are_the_labelled_ones(labelled, report):
    assert {frozenset(group.paths) for group in report.equal} == labelled.equal
    similar = {frozenset(member.path for member in group.members) for group in report.near}
    assert similar == labelled.near
    assert report.totals.equal_copies == 2
    assert report.totals.equal_bytes == 2 * report.equal[0].size


def test_findings_come_with_their_place_the_gravest_first(labelled, report):
    grades = [one.severity for one in report.findings]
    assert grades == sorted(grades, key=["high", "medium", "low", "info"].index)
    (key,) = [one for one in report.findings if one.rule == "GitHub token"]
    assert (key.path, key.line, key.category) == ("secrets/keys.py", 4, "secrets")
    told = {(one.path, one.rule) for one in report.findings}
    assert told == {
        (path, rule) for path, one in labelled.files.items() for rule in one.secrets + one.personal
    }


def test_what_was_left_out_and_what_failed_are_told(labelled, report):
    told = {one.path for one in report.problems}
    failed = {path for path, one in labelled.files.items() if one.problem}
    assert told == {*labelled.left_out, *failed}


@pytest.mark.parametrize("limits", [{"max_files": 1}, {"max_bytes": 2_000}, {"max_files": 10_000}])
def test_how_files_are_dealt_into_batches_does_not_show(labelled, report, limits):
    assert audit(labelled.root, **limits) == report


def test_looks_taken_by_several_stages_join_like_those_of_one(labelled, report):
    listing = list_files(labelled.root)
    results = []
    for batch in split_batches(listing, max_files=5):
        parts = {}
        for look in LOOKS:
            parts.update(analyse_batch(batch, (look,)))
        results.append((batch, parts))
    assert join_batches(listing, results, created_at=WHEN) == report


def test_a_result_of_other_files_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    (batch,) = split_batches(list_files(tmp_path))
    result = analyse_batch(batch)
    changed = attrs.evolve(batch, files=(attrs.evolve(batch.files[0], mtime_ns=1),))
    with pytest.raises(RunError) as caught:
        join_batches(list_files(tmp_path), [(changed, result)], created_at=WHEN)
    assert "batch 0" in caught.value.message
    assert caught.value.hint


def test_a_batch_without_a_result_is_in_the_report_as_a_problem(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("some words")
    listing = list_files(tmp_path)
    first, second = split_batches(listing, max_files=1)
    results = [(first, None), (second, analyse_batch(second, ("measure",)))]
    report = join_batches(listing, results, created_at=WHEN)
    assert [row.problem for row in report.files] == ["was not analysed"] * 2
    assert [row.words for row in report.files] == [0, 2]
    assert report.totals.unreadable == 2
    assert [one.path for one in report.problems] == ["a", "b"]


def test_lists_are_bounded_and_totals_are_not(tmp_path, monkeypatch):
    for limit in ("MAX_FINDINGS", "MAX_GROUPS", "MAX_MEMBERS", "MAX_PROBLEMS"):
        monkeypatch.setattr(joining, limit, 2)
    for number in range(12):
        words = " ".join(f"w{number // 4}x{n}" for n in range(60))
        (tmp_path / f"{number:02d}.txt").write_text(f"{words}\n{'a@b'}{number}.net\n")
        (tmp_path / f"copy{number:02d}.txt").write_text(str(number // 4))
        (tmp_path / f"link{number:02d}").symlink_to("nowhere")
    (tmp_path / "keys").write_text("gh" + "p_" + token(drawing(1), 36))
    report = audit(tmp_path)
    assert [one.severity for one in report.findings] == ["high", "low"]
    assert (report.totals.secrets, report.totals.personal) == (1, 12)
    assert [(group.count, len(group.paths)) for group in report.equal] == [(4, 2)] * 2
    assert report.totals.equal_groups == 3
    assert [(group.count, len(group.members)) for group in report.near] == [(4, 2)] * 2
    assert (report.totals.near_groups, report.totals.near_files) == (3, 12)
    assert (len(report.problems), report.totals.skipped) == (2, 12)


def many_results(count):
    """Results of *count* small files, made one batch at a time: some alike, some equal."""
    draw = drawing(1)
    records = tuple(FileRecord(f"folder/{n:07d}.txt", 100 + n % 7, n) for n in range(count))
    listing = Listing(root="r", files=records)

    def made():
        common = draw.randbytes(SIZE // 2)
        for batch in split_batches(listing, max_files=500):
            size = len(batch.files)
            sketches = [draw.randbytes(SIZE) for _ in range(size)]
            sketches[1] = common + sketches[1][SIZE // 2 :]
            sketches[3] = sketches[2]
            digests = [draw.randbytes(32).hex() for _ in range(size)]
            digests[5] = digests[4]
            measures = ("lines", "blank", "comment", "words", "characters", "longest")
            yield (
                batch,
                {
                    "batch": batch.key,
                    "detect": {
                        "kind": ["document"] * size,
                        "format": ["Plain text"] * size,
                        "encoding": ["ascii"] * size,
                        "language": ["English"] * size,
                        "problem": [""] * size,
                    },
                    "measure": {name: [500] * size for name in measures}
                    | {"reading_ease": [60.0] * size},
                    "secrets": {"findings": [None] * size, "counts": [None] * size},
                    "personal": {"findings": [None] * size, "counts": [None] * size},
                    "fingerprint": {"sha256": digests, "sketch": list(map(to_text, sketches))},
                },
            )

    return listing, made()


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(50_000, marks=pytest.mark.slow)], ids="{:,} files".format
)
def test_files_are_joined_in_little_memory(count):
    listing, results = many_results(count)
    tracemalloc.start()
    try:
        report = join_batches(listing, results, created_at=WHEN)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.totals.files == len(report.files) == count
    assert report.totals.equal_groups == report.totals.near_groups == count // 500
    assert peak < 1_000_000 + count * 800, f"{peak / count:.0f} bytes for each file at the most"
    assert held < 100_000 + count * 300, f"{held / count:.0f} bytes for each file in the report"
