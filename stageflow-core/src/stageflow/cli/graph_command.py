"""`stageflow graph`: draw a pipeline without running it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import anyio

from stageflow.cli.drawing import DRAWINGS
from stageflow.cli.errors import DrawingError
from stageflow.cli.making import build_target, prepare
from stageflow.cli.session import log_to_stderr, reporting
from stageflow.cli.text import Terminal

__all__ = ("graph_command",)


def graph_command(
    target: str,
    *,
    inputs: Sequence[str] = (),
    input_file: Path | None = None,
    format: str = "ascii",
    output: Path | None = None,
    debug: bool = False,
) -> None:
    """Draw what *target* names on stdout, or into the file *output*.

    Raises:
        SystemExit: If it cannot be drawn; why has been told.
    """
    log_to_stderr("debug" if debug else "warning")
    with reporting(debug=debug) as stream:
        found, given = prepare(target, inputs, input_file)
        graph = anyio.run(build_target, found, given)
        terminal = Terminal(stream if output is None else io.StringIO())
        drawing = DRAWINGS[format](graph, terminal)
        if output is None:
            terminal.line(drawing)
            return
        try:
            output.write_text(f"{drawing}\n", encoding="utf-8")
        except OSError as error:
            raise DrawingError(
                f"{output} cannot be written: {error.strerror or error}.",
                hint="Give a file in a folder that exists and that you may write to.",
            ) from error
