"""The worker of a process executor: reads calls from a pipe, and writes their results to another.

It is started as `python -m stageflow.builtin._worker`. What its functions print goes to standard
error, and they read nothing: the pipes are out of their reach. It ends when its input does, with
whatever it has started, also in the middle of a call: then nobody waits for the result.
"""

from __future__ import annotations

import inspect
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable
from typing import IO, Any, Final, NoReturn

import anyio

from stageflow.builtin._frames import HEADER, decode_facts, encode_facts, frame, length_of
from stageflow.contracts.executor import (
    Call,
    ExecutorError,
    TargetError,
    UnsendableCallError,
    UnsendableResultError,
    dump_result,
    load_call,
)
from stageflow.errors import StageflowError

__all__ = ()

# Errors of the call itself, which are made anew at the other end.
_OWN: Final = (TargetError, UnsendableCallError, UnsendableResultError)
_LONGEST_TEXT: Final = 100_000


def main() -> None:
    """Serve calls until the input ends."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    _detach_standard_streams()
    requests: queue.SimpleQueue[tuple[dict[str, Any], bytes] | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_receive, args=(source, requests, busy), daemon=True).start()
    _send(sink, encode_facts(pid=os.getpid()), b"")
    while (request := requests.get()) is not None:
        facts, payload = request
        if facts["path"] != sys.path:
            sys.path[:] = facts["path"]
        busy.set()
        answer = _answer(Call(target=facts["target"], payload=payload), facts["backend"])
        busy.clear()
        try:
            _send(sink, *answer)
        except BrokenPipeError:
            return


def _detach_standard_streams() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good


def _receive(
    source: IO[bytes],
    requests: queue.SimpleQueue[tuple[dict[str, Any], bytes] | None],
    busy: threading.Event,
) -> None:
    try:
        while (facts := _frame_from(source)) is not None:
            payload = _frame_from(source)
            if payload is None:
                break
            requests.put((decode_facts(facts), payload))
    finally:
        if busy.is_set():
            _end_with_all()
        requests.put(None)


def _end_with_all() -> NoReturn:
    """End at once, with every process that the function has started."""
    if os.name == "posix" and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _frame_from(source: IO[bytes]) -> bytes | None:
    header = source.read(HEADER)
    if len(header) < HEADER:
        return None
    length = length_of(header)
    content = source.read(length)
    return content if len(content) == length else None


def _send(sink: IO[bytes], facts: bytes, content: bytes) -> None:
    sink.write(frame(facts) + frame(content))
    sink.flush()


def _answer(call: Call, backend: str) -> tuple[bytes, bytes]:
    try:
        # Not in an event loop, unless there is something to await: it may run one of its own.
        value = load_call(call)()
        if inspect.isawaitable(value):
            value = anyio.run(_awaited, value, backend=backend)
        result = dump_result(call, value)
    except SystemExit:
        raise
    except _OWN as error:
        return _own_failure(error), b""
    except BaseException as error:  # noqa: BLE001 - whatever it is, the caller is told
        return _failure(error), b""
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return encode_facts(ok=True), result


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _own_failure(error: ExecutorError) -> bytes:
    kind = type(error).__name__
    facts = {"kind": kind, "hint": error.hint}
    if isinstance(error, UnsendableCallError):
        return encode_facts(ok=False, reason=list(error.faults), **facts)
    return encode_facts(ok=False, reason=getattr(error, "reason", ""), **facts)


def _failure(error: BaseException) -> bytes:
    kind = type(error)
    retryable = getattr(error, "retryable", False)
    return encode_facts(
        ok=False,
        kind="",
        error_type=f"{kind.__module__}.{kind.__qualname__}",
        error_message=_text(error),
        error_code=error.code if isinstance(error, StageflowError) else None,
        retryable=retryable is True,
        remote_traceback="".join(traceback.format_exception(error))[-_LONGEST_TEXT:],
    )


def _text(error: BaseException) -> str:
    try:
        text = error.message if isinstance(error, StageflowError) else str(error)
    except Exception as broken:  # noqa: BLE001 - an error that cannot be shown is told all the same
        return f"(showing it raised {type(broken).__name__})"
    return text[:_LONGEST_TEXT]


if __name__ == "__main__":
    main()
