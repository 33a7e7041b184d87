"""The report as one HTML page that needs nothing else: no network, no other file.

Every value is escaped, and the page's own content security policy allows its own style and
its own script alone, so that not even the name of a file can bring in anything.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from document_audit import tables
from document_audit.charts import bars, columns, ring
from document_audit.figures import count_text, short_text, size_text
from document_audit.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from document_audit.report import GroupTotal, Report

__all__ = ("page_parts", "write_page")

_HERE = Path(__file__).parent
_KINDS: Final = ("source", "document", "data", "binary", "empty", "unreadable")
_SIZES: Final = (
    ("0", 0), ("1 kB", 1_000), ("4 kB", 4_000), ("16 kB", 16_000), ("64 kB", 64_000),
    ("256 kB", 256_000), ("1 MB", 1_000_000), ("more", 1 << 62),
)  # fmt: skip


def write_page(report: Report, path: Path) -> None:
    """Write *report* to *path* as a page of HTML."""
    write_whole(path, page_parts(report))


def page_parts(report: Report) -> Iterator[str]:
    """Yield the page of *report* part by part."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n'
    yield f"<title>Audit of {escape(report.root)}</title>\n"
    yield f"<style>{style}</style>\n</head>\n<body>\n"
    yield from _top(report)
    yield "<main>\n"
    yield from _cards(report)
    yield from _charts(report)
    yield from tables.findings(report)
    yield from tables.duplicates(report)
    yield from tables.files(report)
    yield from tables.problems(report)
    yield "</main>\n<footer>Made by the document audit, an example of Stageflow. "
    yield "Secrets and personal data are redacted in this report.</footer>\n"
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _top(report: Report) -> Iterator[str]:
    places = [("findings", "Findings"), ("duplicates", "Duplicates"), ("files", "Files")]
    if report.problems:
        places.append(("problems", "Not audited"))
    links = "".join(f'<a href="#{place}">{name}</a>' for place, name in places)
    yield (
        '<header class="top"><div><p class="kicker">Document audit</p>'
        f'<h1>{tables.breakable(report.root)}</h1><p class="when">{escape(report.created_at)}</p>'
        f'</div><nav>{links}<button id="theme" type="button" hidden></button></nav></header>\n'
    )


def _cards(report: Report) -> Iterator[str]:
    totals = report.totals
    worst: dict[str, str] = {}
    for rule in report.rules:  # the worst come first
        worst.setdefault(rule.category, f"s-{rule.severity}")
    documents = count_text(totals.document, "document")
    cards = (
        ("Files", totals.files, size_text(totals.bytes), ""),
        ("Lines", totals.lines, f"{count_text(totals.code)} of code", ""),
        ("Words", totals.words, f"{documents} among the files", ""),
        ("Secrets", totals.secrets, _in_files(totals.files_with_secrets), worst.get("secrets", "")),
        (
            "Personal data",
            totals.personal,
            _in_files(totals.files_with_personal),
            worst.get("personal", ""),
        ),
        ("Copies", totals.equal_copies, f"{size_text(totals.equal_bytes)} could be saved", ""),
        ("Similar texts", totals.near_files, f"in {count_text(totals.near_groups, 'group')}", ""),
        (
            "Unreadable",
            totals.unreadable,
            f"{count_text(totals.binary)} binary, {count_text(totals.skipped)} left out",
            "s-medium" if totals.unreadable else "",
        ),
    )
    yield '<section class="cards" aria-label="Totals">'
    for name, figure, more, css in cards:
        yield f'<div class="card {css}" title="{count_text(figure)}"><h2>{name}</h2>'
        yield f'<p class="figure">{short_text(figure)}</p>'
        yield f"<p>{escape(more)}</p></div>"
    yield "</section>\n"


def _in_files(count: int) -> str:
    return f"in {count_text(count, 'file')}" if count else "none found"


def _charts(report: Report) -> Iterator[str]:
    totals = report.totals
    kinds = [
        (kind, float(count), count_text(count), f"k-{kind}")
        for kind in _KINDS
        if (count := getattr(totals, kind))
    ]
    formats = [
        (one.name, float(one.lines), count_text(one.lines), f"k-{one.kind}")
        for one in report.formats[:12]
        if one.lines
    ]
    encodings = sorted(report.encodings, key=lambda one: -one.files)
    yield '<section class="charts">'
    yield f'<figure class="panel"><h2>Kinds of files</h2>{_ring(kinds, totals.files)}'
    yield f"<h2>Files by size, up to</h2>{columns(_sizes(report))}</figure>"
    yield f'<figure class="panel"><h2>Lines by format</h2>{bars(formats)}</figure>'
    yield f'<figure class="panel"><h2>Languages of documents</h2>{_by_files(report.languages)}'
    yield f"<h2>Encodings of texts</h2>{_by_files(encodings)}</figure></section>\n"


def _ring(kinds: list[tuple[str, float, str, str]], count: int) -> str:
    return ring(kinds, middle=short_text(count), below="file" if count == 1 else "files")


def _by_files(groups: tuple[GroupTotal, ...] | list[GroupTotal]) -> str:
    rows = [(one.name, float(one.files), count_text(one.files), "accent") for one in groups[:6]]
    return bars(rows) if rows else '<p class="none">None was recognised.</p>'


def _sizes(report: Report) -> list[tuple[str, int, str]]:
    counts = [0] * len(_SIZES)
    for size in report.files.column("size"):
        counts[next(place for place, (_, most) in enumerate(_SIZES) if size <= most)] += 1
    named = zip(_SIZES, counts, strict=True)
    return [(name, count, count_text(count)) for (name, _), count in named]
