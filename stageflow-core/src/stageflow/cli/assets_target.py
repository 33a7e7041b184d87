"""The assets that a command is about: where they are declared, and their backends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from stageflow.assets import Assets, AssetStore
from stageflow.assets.declaration import Asset
from stageflow.assets.errors import UnknownPartitionError
from stageflow.assets.places import Place
from stageflow.cli.errors import CommandError, NoRecordError
from stageflow.cli.records import Records, records_of
from stageflow.cli.targets import _attribute, _import_file, _import_module, _split
from stageflow.errors import did_you_mean
from stageflow.plugins import Plugins, opened
from stageflow.runtime import Runtime

__all__ = (
    "AssetOptionError",
    "AssetTargetTypeError",
    "load_assets",
    "naming",
    "open_store",
    "partition_of",
)

_FOLDER: Final = Path(".stageflow", "assets")
"""Where the data of assets lie unless settings say otherwise, in the folder of the project."""


class AssetTargetTypeError(CommandError):
    """A target is no assets, and no module that has some."""

    code = "SF941"


class AssetOptionError(CommandError):
    """Options of a command about assets contradict each other, or one is missing."""

    code = "SF942"


def load_assets(text: str) -> Assets:
    """Import what *text* names: `Assets`, one asset, or a module or file with all of its assets.

    Raises:
        CommandError: If it is not there, cannot be imported, or has no assets.
        AssetDefinitionError: If the assets are declared wrongly.
    """
    place, name = _split(text)
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    if not name:
        found = _only_collection(module) or Assets.of_module(module, name=Path(place).stem)
        if not found:
            raise AssetTargetTypeError(
                f"There are no assets in {place}.", hint="Decorate functions with @asset."
            )
        return found
    value = _attribute(module, place, name)
    if isinstance(value, Assets):
        return value
    if isinstance(value, Asset):
        return Assets.of_module(module, name=Path(place).stem)
    raise AssetTargetTypeError(
        f"{text} is of type {type(value).__name__}, which is no assets.",
        hint=f"Name an Assets([…]), or only the module: {place}. {_known(module, name)}".rstrip(),
    )


def _only_collection(module: ModuleType) -> Assets | None:
    found = [value for value in vars(module).values() if isinstance(value, Assets)]
    return found[0] if len(found) == 1 else None


def _known(module: ModuleType, name: str) -> str:
    names = [key for key, value in vars(module).items() if isinstance(value, Assets)]
    return did_you_mean(name, names) if names else ""


def partition_of(asset: Asset, text: str | None) -> Any:
    """Return the partition that *text* stands for; None for an asset that has none.

    Raises:
        AssetOptionError: If one must be given, or cannot be.
        UnknownPartitionError: If the asset has no such partition.
    """
    if asset.partitions is None:
        if text is not None:
            raise AssetOptionError(
                f"Asset {asset.name!r} has no partitions.", hint="Leave --partition out."
            )
        return None
    if text is None:
        raise AssetOptionError(
            f"Asset {asset.name!r} has partitions, and none is named.",
            hint=f"Give --partition, one of: {asset.partitions.describe()};"
            " or `stageflow assets backfill` makes many.",
        )
    with naming(asset):
        return asset.partitions.parse(text)


@contextmanager
def naming(asset: Asset) -> Iterator[None]:
    """Have what is no partition told as one that this asset has not."""
    try:
        yield
    except UnknownPartitionError as error:
        if error.asset:
            raise
        raise UnknownPartitionError(
            asset.name, error.partition, error.why, hint=error.hint
        ) from None


@asynccontextmanager
async def open_store(
    assets: Assets, plugins: Plugins, *, read_only: bool = False, **options: Any
) -> AsyncIterator[AssetStore]:
    """Give the assets with the backends of the project.

    Records lie where runs are recorded. Data lie with the IO manager that the settings choose,
    or else in `.stageflow/assets` beside the project's `pyproject.toml`.

    Raises:
        NoRecordError: If the settings say that nothing is recorded.
        StageflowError: If a backend cannot be opened.
    """
    records = records_of(plugins)
    if records.name is None:
        raise NoRecordError(
            "Assets need records, and the settings say `record = false`.",
            hint="Remove that line, or give `record` a path.",
        )
    if read_only and records.path is not None and not records.path.exists():
        # Looking leaves nothing behind; without records nothing was ever made.
        async with _assembled(assets, Runtime(run_store=None, plugins=plugins), **options) as store:
            yield store
        return
    async with (
        records.store() as run_store,
        _assembled(
            assets, Runtime(run_store=run_store, plugins=plugins), records=records, **options
        ) as store,
    ):
        yield store


@asynccontextmanager
async def _assembled(
    assets: Assets, runtime: Runtime, *, records: Records | None = None, **options: Any
) -> AsyncIterator[AssetStore]:
    plugins = runtime.plugins
    assert plugins is not None
    async with runtime:
        if plugins.settings.choices.get("io_manager") or records is None:
            async with AssetStore(assets, runtime, **options) as store:
                yield store
            return
        folder = plugins.settings.root / _FOLDER
        if records.path is not None and records.path.parent.name == _FOLDER.parent.name:
            folder = records.path.parent / _FOLDER.name
        files = plugins.registry("io_manager").resolve("files")
        configured = dict(files.configured)
        made = files.build({"root": str(configured.get("root", folder))})
        async with (
            opened(made) as manager,
            AssetStore(assets, runtime, io_manager=Place("files", manager), **options) as store,
        ):
            yield store
