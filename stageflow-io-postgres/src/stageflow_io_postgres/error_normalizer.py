"""PostgresErrorNormalizer: what the errors of PostgreSQL and of its driver mean."""

from __future__ import annotations

from typing import Any, Final

from stageflow.contracts.error_normalizer import NormalizedError

__all__ = ("PostgresErrorNormalizer",)

_MAX_MESSAGE: Final = 2_000

#: Code and whether another attempt may help, by the server's code or by its class, which is the
#: first two characters of it.
_BY_SQLSTATE: Final = {
    "08": ("connection_error", True),
    "22": ("invalid_value", False),
    "23": ("constraint_violation", False),
    "25006": ("read_only", False),
    "25P02": ("transaction_aborted", False),
    "25P03": ("connection_error", True),
    "26": ("programming_error", False),
    "28": ("permission_denied", False),
    "3D000": ("not_found", False),
    "3F000": ("not_found", False),
    "40": ("transaction_collision", True),
    "40002": ("constraint_violation", False),
    "42": ("programming_error", False),
    "42501": ("permission_denied", False),
    "42P01": ("not_found", False),
    "53": ("resources_exhausted", True),
    "53100": ("storage_full", False),
    "54": ("limit_exceeded", False),
    "55006": ("database_busy", True),
    "55P03": ("database_busy", True),
    "57014": ("timeout", True),
    "57P01": ("connection_error", True),
    "57P02": ("connection_error", True),
    "57P03": ("connection_error", True),
    "57P05": ("connection_error", True),
    "58": ("system_error", True),
    "XX001": ("data_corrupted", False),
    "XX002": ("data_corrupted", False),
}
_OTHER: Final = ("database_error", False)
_UNKNOWN: Final = ("unknown_error", False)
_TOLD: Final = ("schema_name", "table_name", "column_name", "constraint_name")


class PostgresErrorNormalizer:
    """Knows the exceptions of asyncpg; any other is unknown, and not retryable.

    Worth another attempt is what collided with another transaction, waited for too long or was
    lost with the connection; what a constraint, a right or the text of a statement forbids is
    not. An error that says nothing of another attempt is taken to be permanent.
    """

    def normalize(self, error: BaseException) -> NormalizedError:
        """Return what *error* means; never raises."""
        if isinstance(error, BaseExceptionGroup):
            return self._of_group(error)
        code, retryable, details = _meaning(error)
        return NormalizedError(code, _message(error), retryable, details)

    def _of_group(self, group: BaseExceptionGroup[BaseException]) -> NormalizedError:
        parts = [self.normalize(error) for error in group.exceptions]
        codes = {part.code for part in parts}
        return NormalizedError(
            codes.pop() if len(codes) == 1 else "several_errors",
            "; ".join(part.message for part in parts)[:_MAX_MESSAGE],
            all(part.retryable for part in parts),
            {"errors": [part.code for part in parts]},
        )

    def __repr__(self) -> str:
        return "PostgresErrorNormalizer()"


def _meaning(error: BaseException) -> tuple[str, bool, dict[str, Any]]:
    import asyncpg
    from asyncpg.exceptions import ClientConfigurationError

    if isinstance(error, asyncpg.PostgresError):
        sqlstate = str(type(error).sqlstate or getattr(error, "sqlstate", None) or "")
        found = _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE.get(sqlstate[:2], _OTHER)
        return *found, _details(error, sqlstate)
    if isinstance(error, ClientConfigurationError):
        return "invalid_value", False, {}
    if isinstance(error, asyncpg.InternalClientError):
        # For a connection that was ended while nobody used it, the driver has no other.
        return "connection_error", True, {}
    if isinstance(error, asyncpg.InterfaceError):
        # The driver has no class of its own for a connection that ended under a call.
        is_lost = any(word in str(error) for word in ("closed", "closing", "released back"))
        return ("connection_error", True, {}) if is_lost else ("programming_error", False, {})
    return *_UNKNOWN, {}


def _details(error: Any, sqlstate: str) -> dict[str, Any]:
    told = {name: getattr(error, name, None) for name in _TOLD}
    found = {name: value for name, value in told.items() if isinstance(value, str)}
    return {"sqlstate": sqlstate, **found}


def _message(error: BaseException) -> str:
    try:
        text = str(error).partition("\n")[0]
    except Exception:  # noqa: BLE001 - a stranger's exception may fail to tell what it is
        text = ""
    return text[:_MAX_MESSAGE] or type(error).__name__
