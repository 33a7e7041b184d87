"""Loggers for Stageflow's own modules: structlog at the call, standard `logging` behind it.

Nothing is configured here. Where the lines go, and which of them, is the application's
choice, made with standard `logging`; an application that chose nothing sees warnings on
stderr, as from any library.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import structlog

__all__ = ("get_logger",)

_PASSED_ON = frozenset({"exc_info", "stack_info", "stacklevel"})
# What `logging` refuses to have overwritten by `extra`.
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose lines go to the standard logger *name*.

    A line reads `noun.verb key='value'`; each key is also an attribute of the log record.
    """
    return cast("structlog.stdlib.BoundLogger", _Logger(name))


class _Logger:
    """Becomes structlog's logger when it is first used: importing that takes its time."""

    __slots__ = ("_bound", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._bound: Any = None

    def __getattr__(self, method: str) -> Any:
        if self._bound is None:
            self._bound = _make(self._name)
        return getattr(self._bound, method)


def _make(name: str) -> Any:
    import structlog

    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _as_standard_call,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _as_standard_call(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Turn structlog's event into the arguments of a call of a standard logger."""
    text = str(event.pop("event", ""))
    call = {key: event.pop(key) for key in _PASSED_ON & event.keys()}
    call["extra"] = {key: value for key, value in event.items() if key not in _RESERVED}
    line = " ".join([text, *(f"{key}={value!r}" for key, value in event.items())])
    return (line,), call
