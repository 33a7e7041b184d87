"""What tests of assets share: a runtime whose backends outlive it, as a restart would find them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from stageflow import Runtime
from stageflow.assets import Asset, Assets, AssetStore
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.testing import TestClock

__all__ = ("Backends",)


class _KeptOpen:
    """A run store that stays open when the runtime around it closes."""

    def __init__(self, inner: MemoryRunStore) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities

    def __getattr__(self, name: str) -> Any:
        if name in {"aclose", "close", "__aenter__", "__enter__"}:
            raise AttributeError(name)
        return getattr(self._inner, name)


@attrs.define
class Backends:
    """A run store and data that several runtimes use, one after the other or at once."""

    clock: TestClock = attrs.field(factory=lambda: TestClock(autojump=True))
    data: MemoryIOManager = attrs.field(factory=MemoryIOManager)
    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    run_store: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.run_store = _KeptOpen(MemoryRunStore(clock=self.clock))

    @asynccontextmanager
    async def open(
        self, assets: Assets | Iterable[Asset], *, resources: Any = None, **options: Any
    ) -> AsyncIterator[AssetStore]:
        """Give the assets with these backends, as a process would open them."""
        options.setdefault("io_manager", self.data)
        options.setdefault("listeners", [lambda kind, data: self.events.append((kind, data))])
        runtime = Runtime(
            run_store=self.run_store, event_sink=None, clock=self.clock, resources=resources
        )
        async with runtime, AssetStore(assets, runtime, **options) as store:
            yield store

    def types(self) -> list[str]:
        """The types of the asset events so far, in order."""
        return [kind for kind, _ in self.events if kind.startswith("asset.")]
