"""StandardErrorNormalizer: what the exceptions of Python and its library mean."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from stageflow.contracts.error_normalizer import NormalizedError
from stageflow.errors import StageflowError

__all__ = ("StandardErrorNormalizer",)

_MAX_MESSAGE: Final = 2_000

# The same call may well succeed a moment later.
_PASSING_ERRNOS: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.ETXTBSY,
    }
)
_PASSING_HTTP: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LIMITED_HTTP: Final = 429


@attrs.frozen
class _Meaning:
    code: str
    retryable: bool


_Rule = _Meaning | Callable[[Any], _Meaning]


def _os_error(error: OSError) -> _Meaning:
    return _Meaning("os_error", error.errno in _PASSING_ERRNOS)


def _name_lookup(error: OSError) -> _Meaning:
    import socket

    return _Meaning("name_lookup_error", error.errno == socket.EAI_AGAIN)


def _sqlite(error: Exception) -> _Meaning:
    # SQLITE_BUSY and SQLITE_LOCKED; an extended code has the primary one in its lowest byte.
    busy = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF in {5, 6}
    return _Meaning("database_busy" if busy else "database_error", busy)


def _http(error: Any) -> _Meaning:
    if error.code == _LIMITED_HTTP:
        return _Meaning("rate_limited", True)
    return _Meaning("http_error", error.code in _PASSING_HTTP)


def _url(error: Any) -> _Meaning:
    # What went wrong is in there, unless the URL itself is wrong.
    reason = error.reason
    return _look_up(reason, _STANDARD_RULES) if isinstance(reason, OSError) else _INVALID


def _look_up(error: BaseException, rules: Mapping[str, _Rule]) -> _Meaning:
    for cls in type(error).__mro__:
        rule = rules.get(_name(cls))
        if rule is not None:
            return rule if isinstance(rule, _Meaning) else rule(error)
    return _UNKNOWN


_NO_CONNECTION: Final = _Meaning("connection_error", True)
_TIMEOUT: Final = _Meaning("timeout", True)
_INVALID: Final = _Meaning("invalid_value", False)
_BUG: Final = _Meaning("programming_error", False)
_CANCELLED: Final = _Meaning("cancelled", False)
_STOPPED: Final = _Meaning("stopped", False)
_MISSING: Final = _Meaning("not_found", False)
_UNKNOWN: Final = _Meaning("unknown_error", False)

# By module and name, so that nothing is imported for the sake of what is never raised.
_STANDARD_RULES: Final[Mapping[str, _Rule]] = {
    "builtins.TimeoutError": _TIMEOUT,
    "builtins.ConnectionError": _NO_CONNECTION,
    "builtins.InterruptedError": _Meaning("interrupted", True),
    "builtins.BlockingIOError": _Meaning("would_block", True),
    "builtins.FileNotFoundError": _MISSING,
    "builtins.FileExistsError": _Meaning("already_exists", False),
    "builtins.IsADirectoryError": _INVALID,
    "builtins.NotADirectoryError": _INVALID,
    "builtins.PermissionError": _Meaning("permission_denied", False),
    "builtins.ChildProcessError": _Meaning("process_error", False),
    "builtins.ProcessLookupError": _MISSING,
    "builtins.OSError": _os_error,
    "builtins.ValueError": _INVALID,
    "builtins.LookupError": _MISSING,
    "builtins.ArithmeticError": _INVALID,
    "builtins.TypeError": _BUG,
    "builtins.AttributeError": _BUG,
    "builtins.NameError": _BUG,
    "builtins.AssertionError": _BUG,
    "builtins.ImportError": _BUG,
    "builtins.SyntaxError": _BUG,
    "builtins.NotImplementedError": _BUG,
    "builtins.RecursionError": _BUG,
    "builtins.EOFError": _Meaning("unexpected_end", False),
    "builtins.BufferError": _BUG,
    "builtins.MemoryError": _Meaning("out_of_memory", False),
    "builtins.SystemExit": _STOPPED,
    "builtins.KeyboardInterrupt": _STOPPED,
    "builtins.GeneratorExit": _STOPPED,
    "asyncio.exceptions.CancelledError": _CANCELLED,
    "asyncio.exceptions.IncompleteReadError": _NO_CONNECTION,
    "trio.Cancelled": _CANCELLED,
    "anyio.BrokenResourceError": _NO_CONNECTION,
    "anyio.EndOfStream": _NO_CONNECTION,
    "concurrent.futures._base.CancelledError": _CANCELLED,
    "http.client.IncompleteRead": _NO_CONNECTION,
    "http.client.RemoteDisconnected": _NO_CONNECTION,
    "http.client.HTTPException": _Meaning("http_error", False),
    "urllib.error.HTTPError": _http,
    "urllib.error.URLError": _url,
    "socket.gaierror": _name_lookup,
    "ssl.SSLCertVerificationError": _Meaning("certificate_error", False),
    "ssl.SSLZeroReturnError": _NO_CONNECTION,
    "ssl.SSLEOFError": _NO_CONNECTION,
    "ssl.SSLError": _Meaning("tls_error", False),
    "sqlite3.OperationalError": _sqlite,
    "sqlite3.Error": _Meaning("database_error", False),
    "subprocess.TimeoutExpired": _TIMEOUT,
    "subprocess.CalledProcessError": _Meaning("process_error", False),
}


class StandardErrorNormalizer:
    """Knows the exceptions of Python, its library and Stageflow; any other is not retryable.

    The nearest known class of an exception decides. An exception with a truth value in its
    attribute `retryable` decides that for itself. A group is retryable if all in it are.

    Args:
        rules: Further classes: code and whether they are worth another attempt. They win over
            the standard ones.
    """

    def __init__(self, rules: Mapping[type[BaseException], tuple[str, bool]] | None = None) -> None:
        self._rules = {**_STANDARD_RULES}
        for cls, (code, retryable) in (rules or {}).items():
            self._rules[_name(cls)] = _Meaning(code, retryable)

    def normalize(self, error: BaseException) -> NormalizedError:
        """Return what *error* means; never raises."""
        if isinstance(error, BaseExceptionGroup):
            return self._of_group(error)
        try:
            meaning = self._meaning(error)
            details = dict(_details(error))
        except Exception:  # noqa: BLE001 - the attributes of a stranger's exception may raise
            meaning, details = _UNKNOWN, {}
        return NormalizedError(meaning.code, _message(error), meaning.retryable, details)

    def _meaning(self, error: BaseException) -> _Meaning:
        found = _look_up(error, self._rules)
        if isinstance(error, StageflowError):
            found = attrs.evolve(found, code=error.code)
        stated = getattr(error, "retryable", None)
        if isinstance(stated, bool) and isinstance(error, Exception):
            found = attrs.evolve(found, retryable=stated)
        return found

    def _of_group(self, group: BaseExceptionGroup[BaseException]) -> NormalizedError:
        parts = [self.normalize(error) for error in group.exceptions]
        codes = {part.code for part in parts}
        return NormalizedError(
            codes.pop() if len(codes) == 1 else "several_errors",
            "; ".join(part.message for part in parts)[:_MAX_MESSAGE],
            all(part.retryable for part in parts),
            {**dict(_details(group)), "errors": [part.code for part in parts]},
        )

    def __repr__(self) -> str:
        return "StandardErrorNormalizer()"


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _details(error: BaseException) -> Iterator[tuple[str, Any]]:
    yield "type", _name(type(error))
    if isinstance(error, OSError) and error.errno is not None:
        yield "errno", errno.errorcode.get(error.errno, error.errno)
    for name in ("code", "status_code", "returncode", "retry_after"):
        value = getattr(error, name, None)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            yield name, value


def _message(error: BaseException) -> str:
    try:
        text = error.message if isinstance(error, StageflowError) else str(error)
    except Exception:  # noqa: BLE001 - a stranger's exception may fail to tell what it is
        text = ""
    return text[:_MAX_MESSAGE] or type(error).__name__
