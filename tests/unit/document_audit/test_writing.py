"""What is shown and written: whole files, nothing unescaped, nothing from elsewhere, no secret."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import attrs
import pytest
from rich.console import Console

from document_audit import tables
from document_audit.analysis import analyse_batch
from document_audit.charts import bars, columns, ring
from document_audit.figures import count_text, share_text, short_text, size_text
from document_audit.joining import join_batches
from document_audit.listing import list_files, split_batches
from document_audit.page import page_parts, write_page
from document_audit.report import FileRow, FileTable, Problem, Report, Totals
from document_audit.terminal import render
from document_audit.writing import write_json, write_whole
from support.labelled_folder import LabelledFolder

VOID = {"meta", "wbr", "rect", "line", "br"}
HOSTILE = "<script>alert(1)</script>\"'&[red]x[/]</style>"


class Checker(HTMLParser):
    """Sees that every element is closed, and collects what is there."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(report):
    checker = Checker()
    checker.feed("".join(page_parts(report)))
    checker.close()
    assert checker.open == []
    return checker


def on_terminal(report, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(render(report))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def report(labelled: LabelledFolder):
    listing = list_files(labelled.root)
    results = ((batch, analyse_batch(batch)) for batch in split_batches(listing))
    return join_batches(listing, results, created_at="2025-03-01 12:00 UTC")


@pytest.fixture
def hostile(report):
    """A report in which every text that comes from outside tries to break out."""
    place = attrs.evolve(report.findings[0], path=HOSTILE, excerpt=HOSTILE, rule=HOSTILE)
    return attrs.evolve(
        report,
        root=HOSTILE,
        created_at=HOSTILE,
        formats=(attrs.evolve(report.formats[0], name=HOSTILE),),
        languages=(attrs.evolve(report.languages[0], name=HOSTILE),),
        encodings=(attrs.evolve(report.encodings[0], name=HOSTILE),),
        rules=(attrs.evolve(report.rules[0], rule=HOSTILE),),
        findings=(place,),
        equal=(attrs.evolve(report.equal[0], paths=(HOSTILE,)),),
        near=(
            attrs.evolve(
                report.near[0], members=(attrs.evolve(report.near[0].members[0], path=HOSTILE),)
            ),
        ),
        problems=(Problem(path=HOSTILE, problem=HOSTILE),),
        files=FileTable(
            [
                FileRow(
                    path=HOSTILE,
                    format=HOSTILE,
                    encoding=HOSTILE,
                    language=HOSTILE,
                    problem=HOSTILE,
                )
            ]
        ),
    )


def test_the_page_is_well_formed_and_needs_nothing_else(report):
    checker = parsed(report)
    assert checker.tags.count("script") == checker.tags.count("style") == 1
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(checker.tags)
    addresses = [value for name, value in checker.attributes if name in ("src", "href", "srcset")]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    page = "".join(page_parts(report))
    assert not re.search(r"url\(|@import|https?:", page)
    targets = {value for name, value in checker.attributes if name == "id"}
    assert {address[1:] for address in addresses} <= targets


def test_the_policy_of_the_page_allows_its_own_script_and_style_alone(report):
    page = "".join(page_parts(report))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    names = {name for name, _ in parsed(report).attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}


def test_the_page_tells_what_was_found(report):
    text = " ".join(parsed(report).text)
    for expected in (
        "AWS access key",
        "card number",
        "English",
        "Python",
        "utf-16-le",
        "PNG image",
    ):
        assert expected in text
    assert f"{report.totals.files} files" in text


def test_nothing_from_outside_breaks_out_of_the_page(hostile, report):
    checker = parsed(hostile)
    assert checker.tags.count("script") == checker.tags.count("style") == 1
    assert sum("alert(1)" in part for part in checker.text) >= 10
    assert all(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]*", name) for name, _ in checker.attributes)
    values = [value for _, value in checker.attributes if value]
    assert any(HOSTILE in value for value in values)


def test_nothing_from_outside_is_taken_for_markup_of_the_terminal(hostile):
    shown = on_terminal(hostile, width=300)
    assert shown.count("[red]x[/]") == 7, "root, finding, excerpt, two groups, problem and why"


def test_no_secret_and_no_personal_data_is_in_any_report(labelled, report, tmp_path):
    write_json(report, tmp_path / "report.json")
    written = (tmp_path / "report.json").read_text()
    for secret in labelled.hidden:
        assert secret not in written
        assert secret not in "".join(page_parts(report))
        assert secret not in on_terminal(report)


def test_a_page_of_many_files_shows_some_and_says_so(report, monkeypatch):
    monkeypatch.setattr(tables, "MAX_FILES", 3)
    monkeypatch.setattr(tables, "MAX_FINDINGS", 2)
    many = [FileRow(path=f"f{n:05d}", lines=n) for n in range(50)]
    many[7] = attrs.evolve(many[7], secrets=1)
    many[9] = attrs.evolve(many[9], problem="cannot be read")
    many[11] = attrs.evolve(many[11], personal=1)
    text = " ".join(
        parsed(attrs.evolve(report, files=FileTable(many), totals=Totals(files=50))).text
    )
    assert "3 of 50 files shown; report.json has more" in text
    assert text.index("f00007") < text.index("f00009") < text.index("f00011")
    assert "f00049" not in text
    total = report.totals.secrets + report.totals.personal
    text = " ".join(parsed(report).text)
    assert f"2 of {total} findings shown" in text


def test_an_audit_of_nothing_can_be_shown():
    report = Report(root="/r", created_at="now", totals=Totals())
    text = " ".join(parsed(report).text)
    assert "No secrets and no personal data were found." in text
    assert "none found" in on_terminal(report)


def test_json_is_the_report_with_a_line_for_each_file(report, tmp_path):
    write_json(report, tmp_path / "deep" / "report.json")
    written = (tmp_path / "deep" / "report.json").read_text(encoding="utf-8")
    assert Report.from_dict(json.loads(written)) == report
    rows = [line for line in written.splitlines() if line.lstrip().startswith('{"path"')]
    assert len(rows) == len(report.files)
    nothing = Report(root="/r", created_at="now", totals=Totals())
    write_json(nothing, tmp_path / "empty.json")
    assert Report.from_dict(json.loads((tmp_path / "empty.json").read_text())) == nothing


def test_a_file_is_written_wholly_or_not_at_all(tmp_path):
    place = tmp_path / "report.html"
    write_whole(place, ["old"])

    def failing():
        yield "new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(place, failing())
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place], "no half-written file is left"
    write_whole(place, ["new"])
    assert place.read_text() == "new"


def test_a_written_file_can_be_read_by_whom_the_user_lets(tmp_path):
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "report.html", ["x"])
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("plain", "report.html")}
    assert modes["report.html"] == modes["plain"]


def test_the_page_is_written_too(report, tmp_path):
    write_page(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "".join(page_parts(report))


def test_the_terminal_shows_totals_findings_and_duplicates(report):
    shown = on_terminal(report)
    for expected in ("AWS access key", "copies/one.txt", "similar/first.md", "links/nowhere"):
        assert expected in shown
    assert on_terminal(Report.from_dict(report.to_dict(files=False))) == shown
    assert max(map(len, on_terminal(report, width=60).splitlines())) <= 60


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (count_text(1_234_567), "1,234,567"),
        (count_text(1, "file"), "1 file"),
        (count_text(0, "file"), "0 files"),
        (size_text(0), "0 B"),
        (size_text(999), "999 B"),
        (size_text(1_000), "1.0 kB"),
        (size_text(99_949), "99.9 kB"),
        (size_text(999_499), "999 kB"),
        (size_text(999_500), "1.0 MB"),
        (size_text(5e15), "5,000.0 TB"),
        (short_text(99_999), "99,999"),
        (short_text(123_456), "123 k"),
        (short_text(4_392_740), "4.4 M"),
        (short_text(234_392_740), "234 M"),
        (short_text(2_000_000_000), "2.0 G"),
        (share_text(0, 0), "0 %"),
        (share_text(1, 1_000), "< 1 %"),
        (share_text(1, 3), "33 %"),
    ],
)
def test_figures_are_short_and_plain(made, expected):
    assert made == expected


def test_charts_of_nothing_and_of_much_are_drawn():
    assert "<svg" in ring([], middle="0", below="files")
    assert bars([]) == '<ul class="bars"></ul>'
    assert 'width="100.00%"' in bars([("a", 5.0, "5", "accent"), ("b", 0.0, "0", "accent")])
    assert columns([("a", 0, "0")]).count('height="0.0"') == 1
