"""What surrounds every command: its streams, its logs, how it tells of failures and how it ends."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from stageflow.cli.text import UNWRITABLE, Terminal

__all__ = (
    "FAILED",
    "INTERRUPTED",
    "REFUSED",
    "all_written",
    "log_to_stderr",
    "reporting",
    "result_stream",
    "tell_unwritten",
    "write_json",
)

FAILED = 1
"""Exit status of a run that failed, and of a defect."""
REFUSED = 2
"""Exit status of a command that could not do what it was asked to."""
INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended."""


@contextmanager
def reporting(
    *, json: bool = False, debug: bool = False, blank: Mapping[str, Any] | None = None
) -> Iterator[TextIO]:
    """Tell of whatever is raised, as a person or, with *json*, a program can read it, and exit.

    The value is the stream for the command's result. With *json* nobody else can write there:
    what is printed meanwhile, also by other processes, goes to stderr.

    Args:
        json: Whether the result is one JSON document.
        debug: Whether to show tracebacks.
        blank: What the document holds beside the errors, if there are any.

    Raises:
        SystemExit: If anything was raised.
    """
    status = 0
    with result_stream(exclusive=json) as stream:
        try:
            yield stream
        except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001 - told below
            status = _tell(_leaves(error), stream if json else None, debug=debug, blank=blank or {})
        if not all_written(stream):
            status = status or FAILED
    if status:
        sys.exit(status)


def all_written(stream: TextIO) -> bool:
    """Return whether all that went to *stream* arrived; if not, say so on stderr."""
    fault = UNWRITABLE.get(stream)
    try:
        stream.flush()
    except BrokenPipeError:
        pass  # who read it has seen enough
    except OSError as error:
        fault = error
    else:
        if fault is None:
            return True
    with suppress(OSError, ValueError):
        # The interpreter flushes once more when it ends, and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if fault is not None:
        tell_unwritten(fault)
    return fault is None


def tell_unwritten(error: OSError) -> None:
    """Say on stderr that the result could not be written."""
    Terminal(sys.stderr).line(f"Cannot write the output: {error.strerror or error}.")


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


def _tell(
    errors: list[BaseException], stream: TextIO | None, *, debug: bool, blank: Mapping[str, Any]
) -> int:
    from stageflow.cli.errors import CommandError
    from stageflow.cli.failures import describe, tell
    from stageflow.errors import StageflowError

    terminal = Terminal(sys.stderr)
    if any(isinstance(error, KeyboardInterrupt) for error in errors):
        terminal.line("Interrupted.")
        if stream is not None:
            write_json(stream, {"status": "cancelled", **blank, "errors": []})
        return INTERRUPTED
    tell(terminal, errors, debug=debug)
    if stream is not None:
        told = [describe(error).to_dict() for error in errors]
        write_json(stream, {"status": "error", **blank, "errors": told})
    if any(isinstance(error, CommandError) for error in errors):
        return min(error.exit_status for error in errors if isinstance(error, CommandError))
    return REFUSED if all(isinstance(error, StageflowError) for error in errors) else FAILED


@contextmanager
def result_stream(*, exclusive: bool) -> Iterator[TextIO]:
    """Give the stream for a command's result: stdout, with *exclusive* out of others' reach."""
    own = sys.stdout
    if not exclusive:
        yield own
        return
    own.flush()
    stream, saved = own, None
    with suppress(OSError, ValueError):  # a test's stdout is no file
        if own.fileno() == 1:
            saved = os.dup(1)
            os.dup2(2, 1)
            stream = os.fdopen(os.dup(saved), "w", encoding=own.encoding, errors="backslashreplace")
    sys.stdout = sys.stderr
    try:
        yield stream
    finally:
        sys.stdout = own
        if saved is not None:
            with suppress(BrokenPipeError):
                stream.close()
            os.dup2(saved, 1)
            os.close(saved)


def write_json(stream: TextIO, document: Any) -> None:
    """Write *document* as JSON, indented for people; never raises for what is in it."""
    import json

    terminal = Terminal(stream)

    def dumped(plain: Any) -> str:
        return json.dumps(plain, ensure_ascii=not terminal.is_utf8, allow_nan=False, indent=2)

    try:
        text = dumped(document)
    except (TypeError, ValueError, RecursionError):
        # It costs an import that plain data can do without, and knows a text for everything.
        from stageflow.events.encoding import to_json

        text = dumped(json.loads(to_json(document)))
    terminal.line(text)


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to whatever stderr is at the moment: the live view takes its place for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


def log_to_stderr(level: str = "warning") -> None:
    """Send what is logged to stderr, from *level* upwards."""
    handler = _StderrHandler()
    handler.setFormatter(_LineFormatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _StderrHandler)]
    root.addHandler(handler)
    # Other libraries' debug lines would drown ours.
    root.setLevel(max(logging.INFO, logging.getLevelName(level.upper())))
    logging.getLogger("stageflow").setLevel(level.upper())


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record)


def leave(status: int, stages: list[str]) -> None:
    """End the process now if threads that cannot be stopped would keep it from ending.

    Args:
        status: Its exit status.
        stages: The stages that such threads may belong to.
    """
    if not stages:
        return
    others = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    for thread in others:
        thread.join(0.05)  # most have nothing left to do
    if any(thread.is_alive() for thread in others):
        named = ", ".join(map(repr, stages[:5])) + (", …" if len(stages) > 5 else "")
        Terminal(sys.stderr).line(f"Leaving a busy thread behind, of stage {named}.")
        exit_now(status)


def exit_now(status: int) -> NoReturn:
    """End the process without waiting for anything."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    logging.shutdown()
    os._exit(status)
