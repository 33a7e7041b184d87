"""`stageflow plugins`: what is installed, whether it works, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stageflow.cli.session import FAILED, reporting, write_json
from stageflow.cli.text import Terminal, columns, one_line, plural

if TYPE_CHECKING:
    from stageflow.plugins import PluginDetail, PluginRow

__all__ = ("check_command", "list_command", "new_command", "show_command")


def list_command(*, json: bool, debug: bool = False) -> None:
    """List the plugins that are installed or configured; import none.

    Raises:
        SystemExit: If the settings cannot be read; why has been told.
    """
    from stageflow.plugins import list_plugins, process_discovery, read_settings

    with reporting(json=json, debug=debug) as stream:
        discovery = process_discovery()
        rows = list_plugins(discovery, read_settings(known=discovery.names()))
        if json:
            write_json(stream, [row.to_dict() for row in rows])
            return
        terminal = Terminal(stream)
        _write_table(terminal, rows, checked=False)


def check_command(*, json: bool, debug: bool = False) -> int:
    """Import every plugin, open those in use, and return the exit status.

    It is 0 if everything that is chosen or configured works, whatever else is installed.

    Raises:
        SystemExit: If the settings are wrong; why has been told.
    """
    import anyio

    from stageflow.plugins import Plugins, check_plugins

    with reporting(json=json, debug=debug) as stream:
        rows = anyio.run(check_plugins, Plugins.load())
        in_use = [row for row in rows if row.is_chosen or row.is_configured]
        bad = [row for row in in_use if row.loadable is False or row.healthy is False]
        if json:
            write_json(stream, [row.to_dict() for row in rows])
        else:
            terminal = Terminal(stream)
            _write_table(terminal, rows, checked=True)
            terminal.line()
            told = (
                f"{plural(len(in_use), 'plugin')} in use, {len(bad) or 'none'} of them with faults"
            )
            terminal.line(terminal.paint(told, "bold red" if bad else "bold green"))
    return FAILED if bad else 0


def show_command(name: str, *, json: bool, debug: bool = False) -> None:
    """Show all there is to know of the plugins called *name*.

    Raises:
        SystemExit: If there is none; why has been told.
    """
    from stageflow.plugins import Plugins, show_plugin

    with reporting(json=json, debug=debug) as stream:
        details = show_plugin(Plugins.load(), name)
        if json:
            write_json(stream, [detail.to_dict() for detail in details])
            return
        for number, detail in enumerate(details):
            if number:
                stream.write("\n")
            _write_detail(Terminal(stream), detail)


def new_command(name: str, *, contract: str, into: Path, debug: bool = False) -> None:
    """Write the distribution of a new plugin, and say what to do with it.

    Raises:
        SystemExit: If it cannot be written; why has been told.
    """
    from stageflow.plugins.scaffold import write_plugin

    with reporting(debug=debug) as stream:
        written = write_plugin(name, contract, into=into)
        terminal = Terminal(stream)
        terminal.lines([str(path) for path in written])
        terminal.line()
        terminal.line(f"Try it: cd {written[0].parent} && pytest")


def _write_table(terminal: Terminal, rows: Sequence[PluginRow], *, checked: bool) -> None:
    head = ["contract", "name", "distribution", "version", "written for", "in use"]
    table = [_cells(row) for row in rows]
    if checked:
        head += ["loadable", "healthy"]
        table = [
            [*line, _yes(row.loadable), _yes(row.healthy)]
            for line, row in zip(table, rows, strict=True)
        ]
    terminal.lines(columns(terminal, head, table))
    notes = [row for row in rows if row.reason]
    if notes:
        terminal.line()
    for row in notes:
        label = terminal.paint(f"{row.registry}.{row.name}", "bold")
        code = terminal.paint(row.code or "note", "red" if row.code else "dim")
        terminal.line(f"{code}  {label}  {one_line(row.reason)}")
        if row.hint:
            terminal.line(f"       {terminal.paint('do', 'dim')} {one_line(row.hint)}")


def _cells(row: PluginRow) -> list[str | tuple[str, str]]:
    use = "chosen" if row.is_chosen else "configured" if row.is_configured else ""
    origin = f"an instance of {row.uses}" if row.uses else row.distribution or ""
    return [
        row.registry,
        (one_line(row.name), "bold red" if row.code else "bold"),
        one_line(origin),
        row.version or "",
        row.contract_version or "",
        (use, "green" if row.is_chosen else ""),
    ]


def _yes(answer: bool | None) -> tuple[str, str]:
    if answer is None:
        return "-", "dim"
    return ("yes", "green") if answer else ("no", "bold red")


def _write_detail(terminal: Terminal, detail: PluginDetail) -> None:
    row = detail.row
    terminal.line(f"{terminal.paint(f'{row.registry}.{row.name}', 'bold')}  {detail.summary or ''}")
    facts: dict[str, Any] = {
        "from": " ".join(filter(None, (row.distribution, row.version))),
        "object": row.target,
        "uses": row.uses,
        "contract": row.contract_version,
        "in use": "chosen" if row.is_chosen else "configured" if row.is_configured else "no",
        "loads": None if row.loadable is None else "yes" if row.loadable else "no",
        "why": row.reason,
        "do": row.hint,
    }
    for label, fact in facts.items():
        if fact:
            terminal.line(f"  {terminal.paint(f'{label:<8}', 'dim')}  {one_line(fact)}")
    if detail.settings:
        terminal.line()
        table = [
            (
                field.name,
                field.kind,
                "must be set" if field.default is None else field.default,
                field.origin or "",
            )
            for field in detail.settings
        ]
        head = ("setting", "takes", "default", "set in")
        terminal.lines([f"  {line}" for line in columns(terminal, head, table)])
