"""The report as it is shown on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from document_audit.figures import count_text, share_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from document_audit.report import Report

__all__ = ("render",)

MAX_ROWS: Final = 8
_STYLES: Final = {"high": "bold red", "medium": "yellow", "low": "cyan", "info": "dim"}


def render(report: Report) -> RenderableType:
    """Return *report* in short: totals, formats, findings and duplicates.

    The rows of the files are not looked at: a report without them will do.
    """
    parts = [_totals(report), *_formats(report), *_rules(report), *_findings(report)]
    parts += [*_duplicates(report), *_problems(report)]
    return Group(*(Padding(part, (0, 0, 1, 0), expand=False) for part in parts))


def _totals(report: Report) -> RenderableType:
    totals = report.totals
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    source = count_text(totals.source, "source file")
    grid.add_row(
        "Files",
        count_text(totals.files),
        f"{size_text(totals.bytes)}: {source}, {count_text(totals.document, 'document')}, "
        f"{totals.data:,} data, {totals.binary:,} binary, {totals.empty:,} empty",
    )
    grid.add_row(
        "Lines",
        count_text(totals.lines),
        f"{totals.code:,} of code, {share_text(totals.comment, totals.lines)} comments, "
        f"{count_text(totals.words, 'word')}",
    )
    secrets = _alarm(totals.secrets, totals.files_with_secrets)
    grid.add_row("Secrets", Text(count_text(totals.secrets), secrets[0]), secrets[1])
    personal = _alarm(totals.personal, totals.files_with_personal)
    grid.add_row("Personal data", count_text(totals.personal), personal[1])
    grid.add_row(
        "Copies", count_text(totals.equal_copies), f"{size_text(totals.equal_bytes)} could be saved"
    )
    groups = count_text(totals.near_groups, "group")
    grid.add_row("Similar texts", count_text(totals.near_files), f"in {groups}")
    unread = f"{count_text(totals.skipped)} left out, {count_text(totals.truncated)} cut short"
    style = "yellow" if totals.unreadable else ""
    grid.add_row("Unreadable", Text(count_text(totals.unreadable), style), unread)
    return Group(Text.assemble("Audit of ", (report.root, "bold")), "", grid)


def _alarm(count: int, files: int) -> tuple[str, str]:
    return ("bold red", f"in {count_text(files, 'file')}") if count else ("green", "none found")


def _formats(report: Report) -> Iterator[RenderableType]:
    if not report.formats:
        return
    table = _table("Format", "Files>", "Lines>", "Size>")
    for one in report.formats[:MAX_ROWS]:
        table.add_row(one.name, f"{one.files:,}", f"{one.lines:,}", size_text(one.bytes))
    rest = report.formats[MAX_ROWS:]
    if rest:
        files, lines = sum(one.files for one in rest), sum(one.lines for one in rest)
        size = size_text(sum(one.bytes for one in rest))
        table.add_row(f"{len(rest)} others", f"{files:,}", f"{lines:,}", size, style="dim")
    yield table


def _rules(report: Report) -> Iterator[RenderableType]:
    if not report.rules:
        return
    table = _table("Found", "Times>", "Severity")
    for one in report.rules:
        style = _STYLES[one.severity]
        table.add_row(one.rule, f"{one.count:,}", Text(one.severity, style))
    yield table


def _findings(report: Report) -> Iterator[RenderableType]:
    """The findings that somebody should look at now."""
    grave = [one for one in report.findings if one.severity in ("high", "medium")]
    if not grave:
        return
    table = _table("Severity", "Where", "What", "Redacted")
    for one in grave[:MAX_ROWS]:
        where = Text(f"{one.path}:{one.line}", overflow="fold")
        severity = Text(one.severity, _STYLES[one.severity])
        table.add_row(severity, where, one.rule, Text(one.excerpt))
    _add_more(table, len(grave) - MAX_ROWS)
    yield table


def _duplicates(report: Report) -> Iterator[RenderableType]:
    if report.equal:
        table = _table("Equal files>", "Size>", "Where")
        for one in report.equal[:MAX_ROWS]:
            table.add_row(f"{one.count:,}", size_text(one.size), _paths(one.paths, one.count))
        _add_more(table, report.totals.equal_groups - MAX_ROWS, column=2)
        yield table
    if report.near:
        table = _table("Similar texts>", "Least alike>", "Where")
        for near in report.near[:MAX_ROWS]:
            least = min(member.similarity for member in near.members)
            paths = [member.path for member in near.members]
            table.add_row(f"{near.count:,}", f"{least:.0%}", _paths(paths, near.count))
        _add_more(table, report.totals.near_groups - MAX_ROWS, column=2)
        yield table


def _problems(report: Report) -> Iterator[RenderableType]:
    if not report.problems:
        return
    table = _table("Not audited", "Why")
    for one in report.problems[:MAX_ROWS]:
        table.add_row(Text(one.path, overflow="fold"), Text(one.problem))
    _add_more(table, len(report.problems) - MAX_ROWS, column=0)
    yield table


def _table(*names: str) -> Table:
    """A plain table; a name that ends in ``>`` is that of a column of figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for name in names:
        if name.endswith(">"):
            table.add_column(name[:-1], justify="right", no_wrap=True)
        else:
            table.add_column(name)
    return table


def _add_more(table: Table, count: int, *, column: int = 1) -> None:
    if count > 0:
        cells = [""] * len(table.columns)
        cells[column] = f"and {count:,} more in the report"
        table.add_row(*cells, style="dim")


def _paths(paths: Sequence[str], count: int) -> Text:
    shown = Text("\n".join(paths[:2]), overflow="fold")
    if count > 2:
        shown.append(f"\nand {count - 2:,} more", "dim")
    return shown
