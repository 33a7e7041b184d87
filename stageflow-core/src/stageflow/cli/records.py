"""Records: where a project keeps what ran, and how a run is found there again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import anyio
import attrs

from stageflow.cli.errors import NoRecordError, RunLookupError
from stageflow.contracts.run_store import RunRecord, RunStoreCapabilities
from stageflow.errors import did_you_mean

if TYPE_CHECKING:
    from stageflow.plugins import Plugins

__all__ = ("Records", "find_run", "project_records", "records_of")

_FILE: Final = Path(".stageflow", "runs.sqlite3")
"""Where runs are recorded unless settings say otherwise, in the folder of the project."""
_IGNORE: Final = "*\n"
_SHORTEST_ID: Final = 4
_PAGE: Final = 500


@attrs.frozen(kw_only=True)
class Records:
    """The run store that settings choose for the command line.

    Attributes:
        plugins: The plugins of the project.
        name: The store's name; None if runs are not recorded.
        path: Its file, if it keeps one of ours.
        is_chosen: Whether the settings name it.
    """

    plugins: Plugins
    name: str | None = None
    path: Path | None = None
    is_chosen: bool = False

    @property
    def place(self) -> str:
        """What to call it in a message."""
        if self.path is None:
            return f"the run store {self.name!r}"
        try:
            return str(self.path.relative_to(Path.cwd()))
        except ValueError:
            return str(self.path)

    @asynccontextmanager
    async def store(self, *, read_only: bool = False) -> AsyncIterator[Any]:
        """Give the store, not opened yet; the resources it needs are open meanwhile.

        Raises:
            ConfigurationError: If it cannot be made as it is configured.
            OSError: If there is no folder for its file and none can be made.
        """
        assert self.name is not None
        implementation = self.plugins.registry("run_store").resolve(self.name)
        overrides: dict[str, Any] = {}
        if self.path is not None:
            overrides = {"path": str(self.path), "read_only": read_only}
            if not read_only and not self.path.parent.exists():
                self.path.parent.mkdir(parents=True)
                if self.path.parent.name == _FILE.parent.name:
                    # Records are nobody's to commit.
                    (self.path.parent / ".gitignore").write_text(_IGNORE, encoding="utf-8")
        async with self.plugins.resources() as resources:
            await resources.open(*implementation.requires(implementation.settings(overrides)))
            made = implementation.build(overrides, resources=resources.opened)
            try:
                yield made
            finally:
                # Whoever opens it closes it, unless opening failed; closing twice is no error.
                close = getattr(made, "aclose", None)
                if close is not None:
                    with anyio.CancelScope(shield=True):
                        await close()


def records_of(plugins: Plugins) -> Records:
    """Return where the command line records runs: `record` and `run_store` of the settings decide.

    `record` may be false, or a path. Otherwise it is the store that `run_store` names, and if it
    names none, the file `.stageflow/runs.sqlite3` beside the project's `pyproject.toml`.
    """
    settings = plugins.settings
    if settings.record is False:
        return Records(plugins=plugins)
    if isinstance(settings.record, Path):
        path = settings.root / settings.record
        return Records(plugins=plugins, name="sqlite", path=path, is_chosen=True)
    chosen = settings.choices.get("run_store")
    if chosen and chosen != ("sqlite",):
        return Records(plugins=plugins, name=chosen[0], is_chosen=True)
    configured = settings.tree.table("run_stores", "sqlite").get("path")
    if isinstance(configured, str):
        return Records(plugins=plugins, name="sqlite", path=Path(configured), is_chosen=True)
    folder = _project_folder(Path.cwd())
    return Records(plugins=plugins, name="sqlite", path=folder / _FILE, is_chosen=bool(chosen))


def project_records(plugins: Plugins) -> Records:
    """Return where the command line records runs.

    Raises:
        NoRecordError: If it does not.
    """
    records = records_of(plugins)
    if records.name is None:
        raise NoRecordError(
            "Runs are not recorded: the settings say `record = false`.",
            hint="Remove that line to keep records from now on.",
        )
    return records


def _project_folder(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


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
