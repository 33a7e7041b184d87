"""SourceItemReader: what readers of files have in common; a source does the reading itself.

A state is a source and a position in it. The source remembers where it stands, and goes to the
position first if it stands elsewhere: so a state can be read again after a cancelled call, and a
reading in a row costs no search.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

import anyio
import anyio.to_thread
import attrs

from stageflow.builtin._os_errors import translated_os_errors
from stageflow.contracts.item_reader import (
    CheckpointError,
    ItemReaderCapabilities,
    ReadPage,
    check_page_size,
)
from stageflow.contracts.storage import StorageClosedError

__all__ = ("Source", "SourceItemReader", "SourceState")

P = TypeVar("P")
C = TypeVar("C")

_FORMAT: Final = 1


class Source(ABC, Generic[P]):
    """Something that items are read from, in worker threads.

    Args:
        path: The file or folder.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.lock: Final = threading.Lock()
        self.is_closed = False

    @abstractmethod
    def open(self) -> P:
        """Open it, and return the position of the first item."""

    @abstractmethod
    def read(self, position: P, n: int) -> tuple[list[Any], P, bool]:
        """Return items, the position after them, and whether there are no more."""

    @abstractmethod
    def freeze(self, position: P) -> dict[str, Any]:
        """Return a position as JSON-able data."""

    @abstractmethod
    def thaw(self, frozen: Mapping[str, Any]) -> P:
        """Return the position that was frozen, if it is one of this source.

        Raises:
            CheckpointError: It is not.
            LookupError: Something of it is missing.
            TypeError: Something of it is of a wrong kind.
            ValueError: Likewise.
        """

    @abstractmethod
    def close(self) -> None:
        """Close it; again is no error."""


@attrs.frozen
class SourceState(Generic[P]):
    """Where a reading stands."""

    source: Source[P]
    position: P


class SourceItemReader(ABC, Generic[C, P]):
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
        """Return the source that *settings* describe; not opened yet."""

    async def init(self, config: Mapping[str, Any], deps: Mapping[str, Any]) -> SourceState[P]:
        """See `ItemReader.init`."""
        source = self._source(self._configured(config))
        with translated_os_errors(source.path):
            try:
                return SourceState(source, await anyio.to_thread.run_sync(source.open))
            except BaseException:
                source.close()
                raise

    async def read(self, state: SourceState[P], n: int) -> ReadPage:
        """See `ItemReader.read`."""
        check_page_size(n)
        source = state.source

        def read() -> tuple[list[Any], P, bool]:
            with source.lock:
                if source.is_closed:
                    raise StorageClosedError(f"The reading of {source.path}")
                return source.read(state.position, n)

        with translated_os_errors(source.path):
            items, position, is_last = await anyio.to_thread.run_sync(read)
        skipped = getattr(position, "skipped", 0) - getattr(state.position, "skipped", 0)
        return ReadPage(items, None if is_last else SourceState(source, position), skipped=skipped)

    def checkpoint(self, state: SourceState[P]) -> dict[str, Any]:
        """See `CheckpointedReading.checkpoint`."""
        source = state.source
        return {
            "format": _FORMAT,
            "reader": self.name,
            "path": str(source.path),
            **source.freeze(state.position),
        }

    async def restore(self, state: SourceState[P], checkpoint: Mapping[str, Any]) -> SourceState[P]:
        """See `CheckpointedReading.restore`."""
        source = state.source
        for key, mine in (
            ("format", _FORMAT),
            ("reader", self.name),
            ("path", str(source.path)),
        ):
            if checkpoint.get(key) != mine:
                told = f"its {key} is {checkpoint.get(key)!r:.200}, not {mine!r}"
                raise CheckpointError(told, source=str(source.path))

        def thaw() -> P:
            with source.lock:
                return source.thaw(checkpoint)

        with translated_os_errors(source.path):
            try:
                return SourceState(source, await anyio.to_thread.run_sync(thaw))
            except (LookupError, TypeError, ValueError) as error:
                if isinstance(error, CheckpointError):
                    raise
                told = f"it is damaged ({type(error).__name__}: {error})"
                raise CheckpointError(told, source=str(source.path)) from error

    async def close(self, state: SourceState[P]) -> None:
        """See `ClosableReading.close`."""

        def close() -> None:
            with state.source.lock:
                state.source.is_closed = True
                state.source.close()

        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(close)

    def _configured(self, config: Mapping[str, Any]) -> C:
        from stageflow.plugins import make_settings

        kind: type[C] = type(self._settings)
        fields = attrs.fields(kind)  # type: ignore[arg-type]
        ours = {field.name: getattr(self._settings, field.name) for field in fields}
        set_here = {name: value for name, value in ours.items() if value is not None}
        values = {**set_here, **config}
        return make_settings().structurer.structure(values, kind, ("item_readers", self.name))
