"""What can go wrong with a PostgreSQL database, in Stageflow's terms.

The driver's errors become those of `stageflow.contracts.storage`; what no other storage has is
here. None of them shows a password: what they tell comes from the server or from its address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from stageflow.contracts.storage import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from stageflow.errors import ConfigurationError

__all__ = (
    "AsyncioOnlyError",
    "CertificateFileError",
    "DatabaseAccessError",
    "DatabaseRefusedError",
    "OutcomeUnknownError",
    "ResourceKindError",
    "SchemaMissingError",
    "SchemaOutdatedError",
    "check_asyncio",
    "translated",
    "translation",
)


class AsyncioOnlyError(ConfigurationError):
    """It was used on another event loop than asyncio's."""

    code = "SF380"

    def __init__(self) -> None:
        super().__init__(
            "stageflow-io-postgres works on asyncio only: its driver, asyncpg, knows no other"
            " event loop.",
            hint='Run on asyncio, such as by anyio.run(main, backend="asyncio").',
        )


class DatabaseAccessError(StorageError):
    """The server refuses the role: a wrong password, an unknown database, a missing right.

    Attributes:
        sqlstate: The server's code of it.
    """

    code = "SF381"

    def __init__(self, storage: str, told: str, *, sqlstate: str | None = None) -> None:
        super().__init__(
            f"{storage} refuses access: {told}.",
            storage=storage,
            hint="Check user, password and database, and what has been granted to the role.",
        )
        self.sqlstate = sqlstate


class SchemaMissingError(StorageError):
    """The database has not the tables that are needed."""

    code = "SF382"

    def __init__(self, storage: str, told: str) -> None:
        super().__init__(
            f"{storage} has not the tables of Stageflow: {told}.",
            storage=storage,
            hint="Run `stageflow postgres migrate`, or set `migrate_on_open = true`.",
        )


class SchemaOutdatedError(StorageError):
    """The tables are older than what this installation still works with.

    Attributes:
        found: The version that was found.
        oldest: The oldest version that will do.
    """

    code = "SF383"

    def __init__(self, storage: str, *, found: int, oldest: int) -> None:
        super().__init__(
            f"{storage} has version {found} of the tables; at least version {oldest} is needed.",
            storage=storage,
            hint="Run `stageflow postgres migrate`.",
        )
        self.found = found
        self.oldest = oldest


class DatabaseRefusedError(StorageError):
    """The server refused a statement for a reason that none of the other errors stands for.

    Attributes:
        sqlstate: The server's code of it.
    """

    code = "SF384"

    def __init__(self, storage: str, told: str, *, sqlstate: str | None = None) -> None:
        super().__init__(
            f"{storage} refused a statement: {told}.",
            storage=storage,
            hint="The server's log tells more; its code of it is in `sqlstate`.",
        )
        self.sqlstate = sqlstate


class OutcomeUnknownError(StorageUnavailableError):
    """The connection was lost after a change was sent and before the server had answered.

    The change has happened completely or not at all, and only the database knows which.
    """

    code = "SF385"
    retryable: ClassVar[bool] = False


class ResourceKindError(ConfigurationError):
    """A resource that is to be a PostgreSQL database is something else.

    Attributes:
        resource: Its name.
    """

    code = "SF386"

    def __init__(self, resource: str) -> None:
        super().__init__(
            f"The resource {resource!r} is no PostgreSQL database.",
            hint='Its table in the settings has to be of the name "postgres", or say'
            ' use = "postgres".',
        )
        self.resource = resource


class CertificateFileError(ConfigurationError):
    """A file of certificates, or the key beside it, cannot be used.

    Attributes:
        field: The setting that names it.
        path: Where it is looked for.
    """

    code = "SF387"

    def __init__(self, field: str, path: Path, told: str) -> None:
        super().__init__(
            f"The file of `{field}`, {path}, cannot be used: {told.rstrip('.')}.",
            hint="It has to be there, to be readable, and to be in PEM; a `tls_certificate` has"
            " its key in the same file or in `tls_key`.",
        )
        self.field = field
        self.path = path


#: What the server's codes stand for, by the whole code or by its class, the first two characters.
_LOST: Final = frozenset({"08", "57P01", "57P02", "57P03", "57P05", "25P03"})
_BUSY: Final = frozenset({"40001", "40P01", "53200", "53300", "53400", "55P03", "57014", "55006"})
_ACCESS: Final = frozenset({"28", "3D000", "42501", "0P000"})
_NO_TABLES: Final = frozenset({"42P01", "3F000", "42703", "42883"})
_READ_ONLY: Final = frozenset({"25006"})
_CORRUPT: Final = frozenset({"XX001", "XX002"})


def check_asyncio() -> None:
    """Return if the event loop that runs is asyncio's.

    Raises:
        AsyncioOnlyError: It is another one.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise AsyncioOnlyError from None


@contextmanager
def translated(storage: str) -> Iterator[None]:
    """Raise what the driver raises in the block as an error of the storage contract.

    Args:
        storage: What is used, for the messages; holds no secret.
    """
    try:
        yield
    except Exception as error:
        meant = translation(error, storage)
        if meant is None:
            raise
        raise meant from error


def translation(error: BaseException, storage: str) -> StorageError | None:
    """Return what an error of the driver means; None if it is none of the driver's."""
    import asyncpg

    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, storage)
    if isinstance(error, TimeoutError):
        return StorageBusyError(
            f"{storage} did not answer in time.",
            storage=storage,
            hint="Something may hold a lock, or the server is overloaded; see `statement_timeout`.",
        )
    if isinstance(error, asyncpg.InterfaceError) and not _is_lost(error):
        return DatabaseRefusedError(storage, str(error).rstrip("."))
    # The driver raises the last one for a connection that was ended while nobody used it.
    lost = (OSError, asyncpg.InterfaceError, EOFError, asyncpg.InternalClientError)
    if isinstance(error, lost):
        return _unavailable(storage, str(error) or type(error).__name__)
    return None


def _is_lost(error: Exception) -> bool:
    # The driver has no class of its own for a connection that ended under a call.
    text = str(error)
    return "closed" in text or "closing" in text or "released back" in text


def _of_server(error: Exception, storage: str) -> StorageError:
    sqlstate = getattr(error, "sqlstate", None) or ""
    told = str(error).partition("\n")[0].rstrip(".")

    def is_one_of(codes: frozenset[str]) -> bool:
        return sqlstate in codes or sqlstate[:2] in codes

    if is_one_of(_LOST):
        return _unavailable(storage, told)
    if is_one_of(_BUSY):
        return StorageBusyError(
            f"{storage} is busy: {told}.", storage=storage, hint="Try again a little later."
        )
    if is_one_of(_ACCESS):
        return DatabaseAccessError(storage, told, sqlstate=sqlstate)
    if is_one_of(_NO_TABLES):
        return SchemaMissingError(storage, told)
    if is_one_of(_READ_ONLY):
        return StorageReadOnlyError(
            f"{storage} can be read but not written: {told}.",
            storage=storage,
            hint="Is it a standby? Use the address of the primary.",
        )
    if sqlstate == "53100":
        return StorageFullError(
            f"{storage} has no room left: {told}.", storage=storage, hint="Make room on its disk."
        )
    if is_one_of(_CORRUPT):
        return StorageCorruptError(
            f"{storage} is damaged: {told}.", storage=storage, hint="Restore it from a back-up."
        )
    return DatabaseRefusedError(storage, told, sqlstate=sqlstate)


def _unavailable(storage: str, told: str) -> StorageUnavailableError:
    hint = "Is the server running, and are host and port right?"
    if "SSL" in told or "certificate" in told:
        hint = "Has the server TLS, and a certificate that `tls` and `tls_ca` accept?"
    return StorageUnavailableError(
        f"{storage} cannot be reached: {told.rstrip('.')}.", storage=storage, hint=hint
    )
