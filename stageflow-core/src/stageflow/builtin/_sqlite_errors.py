"""What the errors of SQLite mean, in the words of the contracts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from stageflow.contracts.storage import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)

__all__ = ("damaged", "is_busy", "sound", "translated")

_Meaning: TypeAlias = tuple[type[StorageError], str, str]
_OTHERWISE: Final[_Meaning] = (
    StorageError,
    "could not be used",
    "The message is SQLite's own; its result code names the cause.",
)
_BUSY: Final[_Meaning] = (
    StorageBusyError,
    "is locked by another process",
    "Try again, or give a larger busy_timeout; a process that was stopped may hold the lock.",
)
_CORRUPT: Final[_Meaning] = (
    StorageCorruptError,
    "is not a sound SQLite database",
    "Put it aside and restore a copy, or start with a new file.",
)
_FULL: Final[_Meaning] = (
    StorageFullError,
    "has no room left",
    "Free some space on its disk, or prune old runs.",
)
_MEANINGS: Final[dict[int, _Meaning]] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: (
        StorageReadOnlyError,
        "cannot be written",
        "Look at the rights of the file and of its folder, or choose another place.",
    ),
    sqlite3.SQLITE_FULL: _FULL,
    # The file beside it that connections share could not be made longer.
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: _CORRUPT,
    sqlite3.SQLITE_CANTOPEN: (
        StorageUnavailableError,
        "cannot be opened",
        "Does its folder exist, and may this user write there?",
    ),
}


def is_busy(exc: sqlite3.Error) -> bool:
    """Return whether another connection is in the way, which passes."""
    return _primary(_code(exc)) == sqlite3.SQLITE_BUSY


def translated(exc: sqlite3.Error | OSError, path: str) -> StorageError:
    """Return what *exc* means for the file at *path*."""
    code = _code(exc) if isinstance(exc, sqlite3.Error) else sqlite3.SQLITE_CANTOPEN
    error, what, hint = _MEANINGS.get(code) or _MEANINGS.get(_primary(code), _OTHERWISE)
    return error(f"{path} {what}: {exc}.", storage=path, hint=hint)


def damaged(path: str, subject: str, why: str) -> StorageCorruptError:
    """Return the error of one who reads about *subject* what was never written."""
    return StorageCorruptError(
        f"What {path} holds of {subject} is damaged: {why}",
        storage=path,
        hint="Restore a copy of the file, or delete what is damaged.",
    )


@contextmanager
def sound(path: str, subject: str) -> Iterator[None]:
    """Make values of what was read about *subject*, which is damaged if they refuse it."""
    try:
        yield
    except (TypeError, ValueError) as exc:
        raise damaged(path, subject, f"{exc}.") from exc


def _code(exc: sqlite3.Error) -> int:
    return int(getattr(exc, "sqlite_errorcode", 0))


def _primary(code: int) -> int:
    # An extended code carries the primary one in its lowest byte.
    return code & 0xFF
