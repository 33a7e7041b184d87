"""The report as a value: it survives JSON, and its table gives back the rows it was given."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from document_audit.report import (
    EqualGroup,
    FileRow,
    FileTable,
    GroupTotal,
    LocatedFinding,
    NearGroup,
    NearMember,
    Problem,
    Report,
    RuleTotal,
    Totals,
)
from stageflow.errors import ConfigurationError

names = st.sampled_from(["", "source", "Python", "utf-8", "English"])
counts = st.integers(0, 2**40)
rows = st.builds(
    FileRow,
    path=st.text(max_size=9),
    **dict.fromkeys(("kind", "format", "encoding", "language", "problem"), names),
    **dict.fromkeys(("size", "lines", "words", "longest", "secrets", "personal"), counts),
    reading_ease=st.none() | st.integers(0, 1_000).map(lambda tenths: tenths / 10),
    sha256=st.just("") | st.binary(min_size=32, max_size=32).filter(any).map(bytes.hex),
)


@given(st.lists(rows, max_size=12))
def test_a_table_gives_back_its_rows(given_rows):
    table = FileTable(given_rows)
    assert list(table) == given_rows
    assert table == FileTable(iter(given_rows))
    assert table[1:3] == given_rows[1:3]
    assert list(table.column("size")) == [row.size for row in given_rows]
    if given_rows:
        assert table[-1] == given_rows[-1]
        assert table != FileTable(given_rows[1:])


def test_a_table_has_no_row_beyond_its_end():
    with pytest.raises(IndexError):
        FileTable([FileRow(path="a")])[1]


@pytest.fixture
def report():
    return Report(
        root="/r",
        created_at="now",
        totals=Totals(files=1, bytes=2, secrets=1),
        formats=(GroupTotal(name="Python", kind="source", files=1, bytes=2, lines=3),),
        languages=(GroupTotal(name="English", files=1),),
        encodings=(GroupTotal(name="ascii", files=1),),
        rules=(RuleTotal(rule="r", category="secrets", severity="high", count=1),),
        findings=(
            LocatedFinding(
                path="a", line=1, category="secrets", rule="r", severity="high", excerpt="\u2022"
            ),
        ),
        equal=(EqualGroup(sha256="00", size=1, count=2, paths=("a", "b")),),
        near=(NearGroup(count=2, members=(NearMember(path="a", similarity=0.9),)),),
        problems=(Problem(path="c", problem="locked"),),
        files=FileTable([FileRow(path="a", size=2, kind="source", sha256="ab" * 32)]),
    )


def test_a_report_survives_json(report):
    stored = json.dumps(report.to_dict())
    assert Report.from_dict(json.loads(stored)) == report
    assert json.loads(stored)["schema"] == 1


def test_a_report_without_rows_keeps_the_rest(report):
    brief = report.to_dict(files=False)
    assert brief["files"] == []
    assert Report.from_dict(brief) == attrs.evolve(report, files=FileTable())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"schema": 2}, "schema 2"),
        ({"strange": 1}, "strange"),
        ({"totals": {"files": "x"}}, "files"),
    ],
)
def test_what_is_no_report_of_this_version_is_refused(report, change, word):
    with pytest.raises(ConfigurationError) as caught:
        Report.from_dict(report.to_dict() | change)
    assert word in caught.value.message
    assert caught.value.hint
