"""The run stores of core, made from settings; a store's module is imported when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from stageflow.builtin._configured import configured_by

if TYPE_CHECKING:
    from stageflow.builtin.sqlite_run_store import SqliteRunStore

__all__ = ("SqliteRunStoreSettings", "make_sqlite_run_store")


@attrs.frozen(kw_only=True)
class SqliteRunStoreSettings:
    """Where runs are recorded, and how safely.

    Attributes:
        path: The file, seen from the current folder.
        synchronous: `full`: what was recorded survives the death of the machine; `normal`:
            that of the process.
        busy_timeout: For how many seconds a call waits for another process that writes.
        read_only: Whether the file must be there already and will not be changed.
    """

    path: Path = Path(".stageflow/runs.sqlite3")
    synchronous: Literal["full", "normal"] = "full"
    busy_timeout: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))
    read_only: bool = False


@configured_by(SqliteRunStoreSettings)
def make_sqlite_run_store(settings: SqliteRunStoreSettings) -> SqliteRunStore:
    """Return a store that records runs in a file."""
    from stageflow.builtin.sqlite_run_store import SqliteRunStore

    return SqliteRunStore(
        settings.path,
        synchronous=settings.synchronous,
        busy_timeout=settings.busy_timeout,
        read_only=settings.read_only,
    )
