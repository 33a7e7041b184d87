"""What exceptions mean, and which of them are worth another attempt: the one table of both."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from stageflow.contracts.logs import get_logger

if TYPE_CHECKING:
    from stageflow.contracts.error_normalizer import ErrorNormalizer

__all__ = (
    "STANDARD_RULES",
    "UNKNOWN",
    "Meaning",
    "Rule",
    "is_transient",
    "meaning_of",
    "name_of",
    "retryable_by",
)

_log = get_logger(__name__)

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
class Meaning:
    """What an exception means.

    Attributes:
        code: A stable word for the kind of error.
        retryable: Whether the same call may well succeed if it is made again.
    """

    code: str
    retryable: bool


Rule = Meaning | Callable[[Any], Meaning]


def _os_error(error: OSError) -> Meaning:
    return Meaning("os_error", error.errno in _PASSING_ERRNOS)


def _name_lookup(error: OSError) -> Meaning:
    import socket

    return Meaning("name_lookup_error", error.errno == socket.EAI_AGAIN)


def _sqlite(error: Exception) -> Meaning:
    # SQLITE_BUSY and SQLITE_LOCKED; an extended code has the primary one in its lowest byte.
    busy = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF in {5, 6}
    return Meaning("database_busy" if busy else "database_error", busy)


def _http(error: Any) -> Meaning:
    if error.code == _LIMITED_HTTP:
        return Meaning("rate_limited", True)
    return Meaning("http_error", error.code in _PASSING_HTTP)


def _url(error: Any) -> Meaning:
    # What went wrong is in there, unless the URL itself is wrong.
    reason = error.reason
    return _look_up(reason, STANDARD_RULES) if isinstance(reason, OSError) else _INVALID


def _look_up(error: BaseException, rules: Mapping[str, Rule]) -> Meaning:
    for cls in type(error).__mro__:
        rule = rules.get(name_of(cls))
        if rule is not None:
            return rule if isinstance(rule, Meaning) else rule(error)
    return UNKNOWN


_NO_CONNECTION: Final = Meaning("connection_error", True)
_TIMEOUT: Final = Meaning("timeout", True)
_INVALID: Final = Meaning("invalid_value", False)
_BUG: Final = Meaning("programming_error", False)
_CANCELLED: Final = Meaning("cancelled", False)
_STOPPED: Final = Meaning("stopped", False)
_MISSING: Final = Meaning("not_found", False)
UNKNOWN: Final = Meaning("unknown_error", False)

# By module and name, so that nothing is imported for the sake of what is never raised.
STANDARD_RULES: Final[Mapping[str, Rule]] = {
    "builtins.TimeoutError": _TIMEOUT,
    "builtins.ConnectionError": _NO_CONNECTION,
    "builtins.InterruptedError": Meaning("interrupted", True),
    "builtins.BlockingIOError": Meaning("would_block", True),
    "builtins.FileNotFoundError": _MISSING,
    "builtins.FileExistsError": Meaning("already_exists", False),
    "builtins.IsADirectoryError": _INVALID,
    "builtins.NotADirectoryError": _INVALID,
    "builtins.PermissionError": Meaning("permission_denied", False),
    "builtins.ChildProcessError": Meaning("process_error", False),
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
    "builtins.EOFError": Meaning("unexpected_end", False),
    "builtins.BufferError": _BUG,
    "builtins.MemoryError": Meaning("out_of_memory", False),
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
    "http.client.HTTPException": Meaning("http_error", False),
    "urllib.error.HTTPError": _http,
    "urllib.error.URLError": _url,
    "socket.gaierror": _name_lookup,
    "ssl.SSLCertVerificationError": Meaning("certificate_error", False),
    "ssl.SSLZeroReturnError": _NO_CONNECTION,
    "ssl.SSLEOFError": _NO_CONNECTION,
    "ssl.SSLError": Meaning("tls_error", False),
    "sqlite3.OperationalError": _sqlite,
    "sqlite3.Error": Meaning("database_error", False),
    "subprocess.TimeoutExpired": _TIMEOUT,
    "subprocess.CalledProcessError": Meaning("process_error", False),
}


def is_transient(error: BaseException) -> bool:
    """Say whether another attempt could help; what is unknown is taken to be permanent.

    A group is worth another attempt if everything in it is.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_transient, error.exceptions))
    return meaning_of(error, STANDARD_RULES).retryable


def retryable_by(normalizers: Sequence[ErrorNormalizer]) -> Callable[[BaseException], bool]:
    """Return what says of an exception whether any of *normalizers* would try again."""

    def would_retry(normalizer: ErrorNormalizer, error: BaseException) -> bool:
        try:
            return bool(normalizer.normalize(error).retryable)
        except Exception:  # noqa: BLE001 - the stage's own error matters more than this one
            _log.exception("error_normalizer.failed", normalizer=repr(normalizer))
            return False

    return lambda error: any(would_retry(normalizer, error) for normalizer in normalizers)


def meaning_of(error: BaseException, rules: Mapping[str, Rule]) -> Meaning:
    """Return what *error* means by *rules*; never raises.

    The nearest known class decides. An exception with a truth value in its attribute
    `retryable` decides about another attempt for itself.
    """
    try:
        found = _look_up(error, rules)
        stated = getattr(error, "retryable", None)
        if isinstance(stated, bool) and isinstance(error, Exception):
            return Meaning(found.code, stated)
    except Exception:  # noqa: BLE001 - the attributes of a stranger's exception may raise
        return UNKNOWN
    return found


def name_of(cls: type) -> str:
    """Return the name under which the rules know a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
