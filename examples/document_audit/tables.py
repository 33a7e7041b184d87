"""The parts of the page that are tables: findings, duplicates, files and what was left out.

A table can be sorted and filtered by the page's script, and read without it. It is cut
short where a page would become too heavy, and says so.
"""

from __future__ import annotations

import heapq
from html import escape
from typing import TYPE_CHECKING, Final

import attrs

from document_audit.figures import count_text, size_text
from document_audit.findings import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from document_audit.report import FileRow, Report

__all__ = ("breakable", "duplicates", "files", "findings", "problems")

MAX_FILES: Final = 1_000
MAX_FINDINGS: Final = 1_000
MAX_PROBLEMS: Final = 500
MAX_PATHS: Final = 8


@attrs.frozen
class _Cell:
    """A cell: what is seen (HTML), what it is sorted by, and its class."""

    shown: str
    key: float | None = None
    css: str = ""

    def html(self) -> str:
        css = f' class="{self.css}"' if self.css else ""
        key = "" if self.key is None else f' data-key="{self.key:g}"'
        return f"<td{css}{key}>{self.shown}</td>"


def breakable(path: str) -> str:
    """Return *path* as HTML that may be broken into lines behind its slashes."""
    return escape(path).replace("/", "/<wbr>")


def findings(report: Report) -> Iterator[str]:
    """Yield the section of secrets and personal data."""
    found = report.findings[:MAX_FINDINGS]
    total = report.totals.secrets + report.totals.personal
    yield _heading("findings", "Findings", _shown(len(found), total, "finding"))
    if not found:
        yield '<p class="none">No secrets and no personal data were found.</p></section>\n'
        return
    chips = "".join(
        f'<li class="tag s-{rule.severity}" data-filter="{escape(rule.rule)}">'
        f"{escape(rule.rule)} <b>{count_text(rule.count)}</b></li>"
        for rule in report.rules
    )
    yield f'<ul class="chips">{chips}</ul>'
    rows = (
        (
            _Cell(
                f'<span class="tag s-{one.severity}">{one.severity}</span>',
                SEVERITIES.index(one.severity),
            ),
            _Cell(escape(one.rule)),
            _Cell(breakable(one.path), css="path"),
            _figure(one.line),
            _Cell(f"<code>{escape(one.excerpt)}</code>"),
        )
        for one in found
    )
    yield from _table(("Severity", "Rule", "File", "Line", "Redacted"), rows)
    yield "</section>\n"


def duplicates(report: Report) -> Iterator[str]:
    """Yield the sections of equal files and of similar texts."""
    note = _shown(len(report.equal), report.totals.equal_groups, "group")
    yield _heading("duplicates", "Equal files", note)
    rows = (
        (
            _figure(one.count),
            _figure(one.size, size_text(one.size)),
            _figure(one.size * (one.count - 1), size_text(one.size * (one.count - 1))),
            _Cell(_places([(path, "") for path in one.paths], one.count), css="path"),
        )
        for one in report.equal
    )
    if report.equal:
        yield from _table(("Files", "Size of each", "Could be saved", "Where"), rows)
    else:
        yield '<p class="none">No two files are the same.</p>'
    note = _shown(len(report.near), report.totals.near_groups, "group")
    yield "</section>\n" + _heading("similar", "Similar texts", note)
    similar = (
        (
            _figure(one.count),
            _share(min(member.similarity for member in one.members)),
            _Cell(
                _places([(m.path, f"{m.similarity:.0%}") for m in one.members], one.count),
                css="path",
            ),
        )
        for one in report.near
    )
    if report.near:
        yield '<p class="hint">Each text is much like another of its group. The figures estimate '
        yield "how much it shares with the first. Of equal files only one is compared.</p>"
        yield from _table(("Texts", "Least alike", "Where"), similar)
    else:
        yield '<p class="none">No two texts are much alike.</p>'
    yield "</section>\n"


def files(report: Report) -> Iterator[str]:
    """Yield the section of files, those first that need a look."""
    chosen = heapq.nsmallest(MAX_FILES, report.files, key=_worth_a_look)
    note = _shown(len(chosen), report.totals.files, "file")
    if len(chosen) < report.totals.files:
        note += "; those with findings and problems come first, then the longest"
    yield _heading("files", "Files", note)
    rows = (
        (
            _Cell(breakable(row.path) + _note(row), css="path"),
            _Cell(f'<span class="dot k-{escape(row.kind)}"></span>{escape(row.format)}'),
            _Cell(escape(row.language)),
            _Cell(escape(row.encoding)),
            _figure(row.size, size_text(row.size)),
            _figure(row.lines),
            _figure(row.comment),
            _figure(row.words),
            _figure(row.longest),
            _figure(-1 if row.reading_ease is None else row.reading_ease, _ease_text(row)),
            _alarm(row.secrets, "s-high"),
            _alarm(row.personal, "s-low"),
        )
        for row in chosen
    )
    names = ("File", "Format", "Language", "Encoding", "Size", "Lines", "Comments", "Words")
    more = ("Longest line", "Reading ease", "Secrets", "Personal")
    yield from _table(names + more, rows)
    yield "</section>\n"


def problems(report: Report) -> Iterator[str]:
    """Yield the section of what was not, or not wholly, audited; nothing if there is none."""
    if not report.problems:
        return
    found = report.problems[:MAX_PROBLEMS]
    more = len(report.problems) > len(found)
    note = f"the first {count_text(len(found))}" if more else count_text(len(found), "place")
    yield _heading("problems", "Not audited, or not wholly", note)
    rows = ((_Cell(breakable(one.path), css="path"), _Cell(escape(one.problem))) for one in found)
    yield from _table(("Where", "Why"), rows)
    yield "</section>\n"


def _heading(place: str, title: str, note: str) -> str:
    return (
        f'<section class="panel" id="{place}"><div class="title"><h2>{title}</h2>'
        f'<p class="note">{escape(note)}</p></div>'
    )


def _shown(shown: int, total: int, noun: str) -> str:
    if shown >= total:
        return count_text(total, noun)
    return f"{count_text(shown)} of {count_text(total, noun)} shown; report.json has more"


def _table(names: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    yield f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n'
    for row in rows:
        yield f"<tr>{''.join(cell.html() for cell in row)}</tr>\n"
    yield "</tbody></table></div>"


def _figure(value: float, shown: str | None = None) -> _Cell:
    css = "number" if value else "number zero"
    return _Cell(count_text(int(value)) if shown is None else escape(shown), value, css)


def _share(value: float) -> _Cell:
    return _Cell(f"{value:.0%}", value, "number")


def _alarm(count: int, css: str) -> _Cell:
    shown = f'<span class="tag {css}">{count_text(count)}</span>' if count else "0"
    return _Cell(shown, count, "number" if count else "number zero")


def _ease_text(row: FileRow) -> str:
    return "" if row.reading_ease is None else f"{row.reading_ease:.0f}"


def _note(row: FileRow) -> str:
    return f'<small class="problem">{escape(row.problem)}</small>' if row.problem else ""


def _places(paths: Sequence[tuple[str, str]], count: int) -> str:
    items = "".join(
        f"<li>{breakable(path)}{f' <small>{share}</small>' if share else ''}</li>"
        for path, share in paths[:MAX_PATHS]
    )
    left = count - len(paths[:MAX_PATHS])
    return f"<ul>{items}{f'<li>and {count_text(left)} more</li>' if left else ''}</ul>"


def _worth_a_look(row: FileRow) -> tuple[int, int, int, int, str]:
    return -row.secrets, -(row.problem != ""), -row.personal, -row.lines, row.path
