"""The entry point of the `stageflow` command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        arguments: What follows the command's name; the process's own unless given.
    """
    _open_what_is_closed()
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        # Not through the stream: it may have been in the middle of a write.
        os.write(2, b"Interrupted.\n")
        return 130


def _open_what_is_closed() -> None:
    """Let the standard streams that are closed, as by `>&-`, lead nowhere.

    Otherwise the next file to be opened would take their place, and get what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)  # for child processes, too
            if nowhere != number:
                os.close(nowhere)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
            setattr(sys, name, stream)


def _run(arguments: Sequence[str] | None) -> int:
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
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            # Typer ends with the right status, and without a word.
            raise KeyboardInterrupt from end
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            from stageflow.cli.session import all_written, tell_unwritten

            if all_written(sys.stdout):  # unbuffered, it does not know any more
                tell_unwritten(error)
            return 1
        if "--debug" in (sys.argv if arguments is None else arguments):
            raise
        from stageflow.cli.failures import tell
        from stageflow.cli.text import Terminal

        tell(Terminal(sys.stderr), [error])
        return 1
    return 0
