"""The entry point of the `stageflow` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        arguments: What follows the command's name; the process's own unless given.
    """
    try:
        from stageflow.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        print(  # noqa: T201 - nothing else is there to say it with
            "The stageflow command needs its extra: pip install 'stageflow-core[cli]'",
            file=sys.stderr,
        )
        return 2
    try:
        app(args=None if arguments is None else list(arguments), prog_name="stageflow")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception as error:
        if "--debug" in (sys.argv if arguments is None else arguments):
            raise
        from stageflow.cli.failures import tell
        from stageflow.cli.text import Terminal

        tell(Terminal(sys.stderr), [error])
        return 1
    return 0
