"""`stageflow lint`: find faults in a pipeline's wiring without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from stageflow.cli.making import build_target, prepare
from stageflow.cli.session import FAILED, log_to_stderr, reporting, write_json
from stageflow.cli.text import Terminal, one_line, plural

if TYPE_CHECKING:
    from stageflow.errors import ContractErrorInfo

__all__ = ("lint_command",)


def lint_command(
    target: str,
    *,
    inputs: Sequence[str] = (),
    input_file: Path | None = None,
    json: bool = False,
    strict: bool = False,
    debug: bool = False,
) -> int:
    """Tell what is wrong with the wiring of what *target* names, and return the exit status.

    Raises:
        SystemExit: If it cannot be built; why has been told.
    """
    log_to_stderr("debug" if debug else "warning")
    with reporting(json=json, debug=debug, blank={"findings": []}) as stream:
        from stageflow.pipeline.lint import is_hint, lint

        found, given = prepare(target, inputs, input_file)
        graph = anyio.run(build_target, found, given)
        findings = lint(graph)
        hints = sum(map(is_hint, findings))
        is_clean = not findings if strict else len(findings) == hints
        if json:
            document = {
                "status": "clean" if is_clean else "findings",
                "pipeline": graph.name,
                "findings": [finding.to_dict() for finding in findings],
                "errors": [],
            }
            write_json(stream, document)
        else:
            terminal = Terminal(stream)
            for finding in findings:
                terminal.lines(_lines(terminal, finding, hint=is_hint(finding)))
            told = f"{graph.name}: {_counted(len(findings) - hints, hints)}"
            terminal.line(terminal.paint(told, "bold green" if is_clean else "bold red"))
    return 0 if is_clean else FAILED


def _lines(terminal: Terminal, finding: ContractErrorInfo, *, hint: bool) -> list[str]:
    word, style = ("hint", "yellow") if hint else ("error", "bold red")
    inside = finding.context.get("inside")
    lines = [f"{terminal.paint(f'{word} {finding.code}', style)}  {one_line(finding.summary)}"]
    if inside:
        where = f"inside stage {' / '.join(map(repr, inside))}"
        lines.append(f"  {terminal.paint('where', 'dim')} {one_line(where)}")
    lines.append(f"  {terminal.paint('do   ', 'dim')} {one_line(finding.fix_hint or '')}")
    return lines


def _counted(errors: int, hints: int) -> str:
    counts = [plural(errors, "error")] if errors else []
    counts += [plural(hints, "hint")] if hints else []
    return " and ".join(counts) or "nothing found"
