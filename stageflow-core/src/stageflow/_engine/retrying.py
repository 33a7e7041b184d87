"""Which standard exceptions are worth another attempt when nobody said otherwise."""

from __future__ import annotations

__all__ = ("is_transient",)

_PERMANENT_OS_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def is_transient(error: BaseException) -> bool:
    """Say whether another attempt could help; what is unknown is taken to be permanent.

    An exception that has an attribute `retryable` speaks for itself.
    """
    said = getattr(error, "retryable", None)
    if said is not None:
        return bool(said)
    if isinstance(error, _PERMANENT_OS_ERRORS):
        return False
    return isinstance(error, (TimeoutError, ConnectionError, InterruptedError))
