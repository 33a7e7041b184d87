"""Records: where the command line keeps what ran, and how it finds it again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from stageflow.cli.errors import NoRecordError, RunLookupError
from stageflow.contracts.run_store import RunRecord, RunStoreCapabilities
from stageflow.errors import did_you_mean

__all__ = ("RECORDS", "find_run", "make_store", "project_folder", "records_path")

RECORDS: Final = Path(".stageflow", "runs.sqlite3")
"""Where runs are recorded, in the folder of the project."""
_SHORTEST_ID: Final = 4
_PAGE: Final = 500


def project_folder(start: Path | None = None) -> Path:
    """Return the folder of the nearest `pyproject.toml` upwards, or *start* if there is none."""
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


def records_path() -> Path:
    """Return the file in which this project's runs are recorded."""
    return project_folder() / RECORDS


def make_store(path: Path, *, read_only: bool = False) -> Any:
    """Return the run store in the file *path*; not opened yet."""
    if not read_only and not path.parent.exists():
        path.parent.mkdir(parents=True)
        (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    # Reached by name, as every implementation is.
    module = import_module("stageflow.builtin.sqlite_run_store")
    return module.SqliteRunStore(path, read_only=read_only)


async def find_run(store: Any, text: str) -> RunRecord:
    """Return the run that *text* names: `last`, an id, or the beginning of one.

    Raises:
        RunLookupError: If there is none, or several.
        NoRecordError: If the store cannot look for it.
    """
    try:
        whole = UUID(text)
    except ValueError:
        pass
    else:
        record = await store.get_run(whole)
        if record is None:
            raise RunLookupError(f"No run {whole} is recorded.", hint=_LIST)
        return record  # type: ignore[no-any-return]
    if not RunStoreCapabilities.of(store).listing:
        raise NoRecordError(
            "The run store in use cannot list its runs.", hint="Give the whole id of the run."
        )
    if text == "last":
        newest = await store.list_runs(limit=1)
        if not newest:
            raise RunLookupError("No run is recorded yet.", hint="Start one with `stageflow run`.")
        return newest[0]  # type: ignore[no-any-return]
    return await _by_beginning(store, text.lower())


async def _by_beginning(store: Any, text: str) -> RunRecord:
    is_beginning = len(text) >= _SHORTEST_ID and not set(text) - set("0123456789abcdef-")
    if not is_beginning:
        raise RunLookupError(
            f"{text!r} is no run: neither `last`, nor an id, nor the beginning of one.",
            hint=f"{did_you_mean(text, ['last'])} {_LIST}",
        )
    found: list[RunRecord] = []
    before: UUID | None = None
    while page := await store.list_runs(limit=_PAGE, before=before):
        found += [record for record in page if str(record.run_id).startswith(text)]
        before = page[-1].run_id
    if not found:
        raise RunLookupError(f"No run that is recorded begins with {text!r}.", hint=_LIST)
    if len(found) > 1:
        ids = ", ".join(str(record.run_id) for record in found[:5])
        raise RunLookupError(
            f"{len(found)} runs begin with {text!r}: {ids}.", hint="Give more of the id."
        )
    return found[0]


_LIST: Final = "`stageflow runs list` shows what is recorded."
