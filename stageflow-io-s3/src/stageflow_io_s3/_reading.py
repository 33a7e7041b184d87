"""What the readers have in common: checkpoints, limits and closing; a source does the reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Final, Generic, TypeVar

import anyio
import attrs

from stageflow.contracts.item_reader import (
    CheckpointError,
    ItemReaderCapabilities,
    ItemReaderError,
    ReadPage,
    check_page_size,
)
from stageflow.contracts.storage import StorageClosedError

__all__ = ("Got", "Source", "SourceState", "StoreItemReader")

P = TypeVar("P")
C = TypeVar("C", bound=Any)

_FORMAT: Final = 1


@attrs.frozen
class Got(Generic[P]):
    """What a source gives: items, the position after them (None: no more), how many were bad."""

    items: list[Any]
    position: P | None
    skipped: int = 0


class Source(ABC, Generic[P]):
    """Something that items are read from.

    Args:
        name: What to call it in errors.
        identity: What a checkpoint must agree with, as JSON-able data.
    """

    def __init__(self, name: str, identity: Mapping[str, Any]) -> None:
        self.name: Final = name
        self.identity: Final = dict(identity)
        self.is_closed = False

    @abstractmethod
    async def begin(self) -> P:
        """Open it, and return the position of the first item."""

    @abstractmethod
    async def read(self, position: P, n: int) -> Got[P]:
        """Return items; *n* at most, and as many if there are so many."""

    @abstractmethod
    def freeze(self, position: P) -> dict[str, Any]:
        """Return a position as JSON-able data."""

    @abstractmethod
    async def thaw(self, frozen: Mapping[str, Any]) -> P:
        """Return the position that was frozen.

        Raises:
            CheckpointError: It is none of this source.
            LookupError: Something of it is missing.
            TypeError: Something of it is of a wrong kind.
            ValueError: Likewise.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close it; again is no error."""


@attrs.frozen(eq=False)
class SourceState(Generic[P]):
    """Where a reading stands, and how many items it has given."""

    source: Source[P]
    position: P
    given: int = 0


class StoreItemReader(ABC, Generic[C, P]):
    """Reads items from a source that `_source` makes of a configuration.

    Args:
        settings: What each reading's configuration is merged over.
    """

    name: ClassVar[str]
    capabilities: ClassVar[ItemReaderCapabilities] = ItemReaderCapabilities(
        checkpoint=True, close=True
    )

    def __init__(self, settings: C) -> None:
        self._settings = settings

    @abstractmethod
    def _source(self, settings: C) -> Source[P]:
        """Return the source that *settings* describe; not opened yet.

        Raises:
            StageflowError: They describe none.
        """

    async def init(self, config: Mapping[str, Any], deps: Mapping[str, Any]) -> SourceState[P]:
        """See `ItemReader.init`."""
        settings = self._configured(config)
        source = self._source(settings)
        try:
            return SourceState(source, await source.begin())
        except BaseException:
            await self._close(source)
            raise

    async def read(self, state: SourceState[P], n: int) -> ReadPage:
        """See `ItemReader.read`."""
        check_page_size(n)
        source = state.source
        if source.is_closed:
            raise StorageClosedError(f"The reading of {source.name}")
        limit = source.identity.get("max_items")
        wanted = n if limit is None else min(n, limit - state.given)
        got = await source.read(state.position, wanted)
        given = state.given + len(got.items)
        is_last = got.position is None or given == limit
        after: SourceState[P] | None = None
        if got.position is not None and not is_last:
            after = SourceState(source, got.position, given)
        return ReadPage(got.items, after, skipped=got.skipped)

    def checkpoint(self, state: SourceState[P]) -> dict[str, Any]:
        """See `CheckpointedReading.checkpoint`."""
        return {
            "format": _FORMAT,
            "reader": self.name,
            "source": state.source.identity,
            "given": state.given,
            "position": state.source.freeze(state.position),
        }

    async def restore(self, state: SourceState[P], checkpoint: Mapping[str, Any]) -> SourceState[P]:
        """See `CheckpointedReading.restore`."""
        source = state.source
        for key, mine in (
            ("format", _FORMAT),
            ("reader", self.name),
            ("source", source.identity),
        ):
            if checkpoint.get(key) != mine:
                told = f"its {key} is {checkpoint.get(key)!r:.200}, not {mine!r:.200}"
                raise CheckpointError(told, source=source.name)
        try:
            given = checkpoint["given"]
            if type(given) is not int or given < 0:
                raise ValueError("the number of items given is none")  # noqa: TRY301
            position = await source.thaw(dict(checkpoint["position"]))
        except (LookupError, TypeError, ValueError) as error:
            if isinstance(error, ItemReaderError):
                raise
            told = f"it is damaged ({type(error).__name__}: {error})"
            raise CheckpointError(told, source=source.name) from error
        return SourceState(source, position, given)

    async def close(self, state: SourceState[P]) -> None:
        """See `ClosableReading.close`."""
        await self._close(state.source)

    async def _close(self, source: Source[P]) -> None:
        with anyio.CancelScope(shield=True):
            source.is_closed = True
            await source.close()

    def _configured(self, config: Mapping[str, Any]) -> C:
        kind: type[C] = type(self._settings)
        ours = {field.name: getattr(self._settings, field.name) for field in attrs.fields(kind)}
        set_here = {name: value for name, value in ours.items() if value is not None}
        values = {**set_here, **config}
        made: C = _structurer().structure(values, kind, ("item_readers", self.name))
        return made


@cache
def _structurer() -> Any:
    """Return what makes settings of values; it learns of each kind but once."""
    from stageflow.plugins import make_settings

    return make_settings().structurer
