"""The kit of the contract `item_reader`: subclass `ItemReaderConformance`, give it a reader."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

import anyio
import pytest

from stageflow.codec import Codec
from stageflow.contracts.item_reader import (
    CheckpointedReading,
    CheckpointError,
    ClosableReading,
    CountedReading,
    ItemReader,
    ItemReaderCapabilities,
    ItemReaderError,
    ReadPage,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.errors import StageflowError
from stageflow.testing.conformance import (
    ConformanceKit,
    all_at_once,
    every_cut,
    raising,
    same_value,
)

__all__ = ("ItemReaderConformance",)

# A reader that gives nothing so often has no more, and does not say so.
_PATIENCE = 100


class ItemReaderConformance(ConformanceKit):
    """Tests every clause of `ItemReader` and of the capabilities that are declared.

    Attributes:
        items: What the reader reads, in order: three items at least, no two of them equal.
        config: What each reading is configured with.
        deps: What each reading is given of dependencies.
        wrong_configs: Configurations that `init` must refuse.
    """

    contracts = (ItemReader, CountedReading, CheckpointedReading, ClosableReading)
    capabilities: ClassVar[ItemReaderCapabilities] = ItemReaderCapabilities()
    closable: ClassVar[bool] = False
    items: ClassVar[Sequence[Any]] = ()
    config: ClassVar[Mapping[str, Any]] = {}
    deps: ClassVar[Mapping[str, Any]] = {}
    wrong_configs: ClassVar[Sequence[Mapping[str, Any]]] = ()

    @pytest.fixture
    async def item_reader(self) -> Any:
        """Give a reader of `items`; every author overrides this."""
        raise NotImplementedError("override the fixture `item_reader`: return an ItemReader")

    @pytest.fixture(autouse=True)
    async def close_readings(self, item_reader: Any) -> AsyncIterator[None]:
        """Close every reading that a test has begun."""
        yield
        if self.capabilities.close:
            for state in self._begun_states():
                await item_reader.close(state)

    def shown(self, item: Any) -> Any:
        """Return what of *item* is compared with `items`: all of it, unless overridden."""
        return item

    async def test_it_has_the_shape_of_its_contract(self, item_reader: Any) -> None:
        self.check_shape(item_reader)

    async def test_ir1_pages_of_every_size_give_each_item_once(self, item_reader: Any) -> None:
        assert len(self.items) >= 3, "give the kit three items or more"
        for n in range(1, len(self.items) + 3):
            found, _ = await self._rest(item_reader, await self._begun(item_reader), n)
            self._check(found, self.items, f"in pages of {n}")

    async def test_ir2_a_page_is_not_larger_than_asked(self, item_reader: Any) -> None:
        for n in range(1, len(self.items) + 1):
            state = await self._begun(item_reader)
            for _ in range(len(self.items) + _PATIENCE):
                page = await item_reader.read(state, n)
                assert isinstance(page, ReadPage), f"read returned {page!r}"
                assert len(page.items) <= n, f"{len(page.items)} items instead of {n}"
                state = page.state
                if state is None:
                    break

    async def test_ir3_the_end_is_told_in_time(self, item_reader: Any) -> None:
        for n in range(1, len(self.items) + 3):
            state = await self._begun(item_reader)
            found, late = await self._rest(item_reader, state, n)
            assert len(found) >= len(self.items), f"None came after {len(found)} items"
            assert late <= 1, f"{late} pages came after the last item"

    async def test_ir4_less_than_one_item_raises(self, item_reader: Any) -> None:
        for n in (0, -1):
            with raising(ItemReaderError, f"reading {n} items"):
                await item_reader.read(await self._begun(item_reader), n)

    async def test_ir5_items_can_be_stored(self, item_reader: Any) -> None:
        codec = Codec.default()
        found, _ = await self._rest(item_reader, await self._begun(item_reader), 2)
        for item in found:
            try:
                again = codec.decode(codec.encode(item))
            except StageflowError as error:
                raise AssertionError(f"{item!r} cannot be stored: {error}") from error
            assert same_value(again, item), f"stored {item!r}, loaded {again!r}"

    async def test_ir6_a_wrong_configuration_raises(self, item_reader: Any) -> None:
        for config in self.wrong_configs:
            with raising(StageflowError, f"the configuration {config!r}"):
                await item_reader.init({**self.config, **config}, self.deps)

    async def test_ir7_two_readings_are_apart(self, item_reader: Any) -> None:
        states = [await self._begun(item_reader) for _ in range(2)]
        pages = [await item_reader.read(state, 2) for state in states]
        rests = [await self._left(item_reader, page, 1) for page in pages]
        for page, rest in zip(pages, rests, strict=True):
            self._check([*page.items, *rest], self.items, "in one of two readings by turns")

    async def test_ir7_readings_at_once_are_apart(self, item_reader: Any) -> None:
        async def read() -> list[Any]:
            found, _ = await self._rest(item_reader, await self._begun(item_reader), 1)
            return found

        for found in await all_at_once([read] * 4):
            assert isinstance(found, list), f"reading raised {found!r}"
            self._check(found, self.items, "in one of several readings at once")

    async def test_ir8_a_cancelled_read_leaves_the_state_as_it_was(self, item_reader: Any) -> None:
        state = await self._begun(item_reader)
        found: list[Any] = []

        def read(_: int) -> Any:
            return item_reader.read(state, 1)

        async for cut in every_cut(read):
            if cut.completed:
                found += cut.value.items
                state = cut.value.state
                if state is None:
                    break
        if state is not None:
            found += (await self._rest(item_reader, state, 2))[0]
        self._check(found, self.items, "with calls that were cancelled")

    async def test_ir9_a_count_is_right(self, item_reader: Any) -> None:
        self.needs("count")
        state = await self._begun(item_reader)
        counts = [await item_reader.count(state) for _ in range(2)]
        page = await item_reader.read(state, 1)
        if page.state is not None:
            counts.append(await item_reader.count(page.state))
        for counted in counts:
            assert counted in {None, len(self.items)}, f"{len(self.items)} counted as {counted}"
        rest = await self._left(item_reader, page, 2)
        self._check([*page.items, *rest], self.items, "after counting")

    async def test_ir10_a_checkpoint_is_json_and_stays(self, item_reader: Any) -> None:
        self.needs("checkpoint")
        taken = []
        state = await self._begun(item_reader)
        for _ in range(len(self.items) + _PATIENCE):
            checkpoint = item_reader.checkpoint(state)
            try:
                taken.append((checkpoint, json.dumps(checkpoint, allow_nan=False)))
            except (TypeError, ValueError) as error:
                raise AssertionError(f"{checkpoint!r} is not JSON: {error}") from error
            state = (await item_reader.read(state, 1)).state
            if state is None:
                break
        for checkpoint, text in taken:
            assert json.dumps(checkpoint) == text, f"{text} has become {checkpoint!r}"

    async def test_ir11_a_restored_reading_gives_the_rest(self, item_reader: Any) -> None:
        self.needs("checkpoint")
        for n in range(1, len(self.items) + 1):
            state = await self._begun(item_reader)
            given: list[Any] = []
            for turn in range(len(self.items) + _PATIENCE):
                checkpoint = json.loads(json.dumps(item_reader.checkpoint(state)))
                fresh = await self._begun(item_reader)
                restored = await item_reader.restore(fresh, checkpoint)
                rest, _ = await self._rest(item_reader, restored, 1 + turn % 3)
                where = f"restored after {len(given)} of them, in pages of {n}"
                self._check([*given, *rest], self.items, where)
                page = await item_reader.read(state, n)
                given += page.items
                state = page.state
                if state is None:
                    break

    async def test_ir12_another_checkpoint_raises(self, item_reader: Any) -> None:
        self.needs("checkpoint")
        own = item_reader.checkpoint(await self._begun(item_reader))
        spoilt = [dict.fromkeys(own, "spoilt"), dict.fromkeys(own)]
        for checkpoint in ({}, {"no": "checkpoint"}, *spoilt):
            with raising(CheckpointError, f"the checkpoint {checkpoint!r}"):
                await item_reader.restore(await self._begun(item_reader), checkpoint)

    async def test_ir13_a_reading_may_be_closed_at_any_time(self, item_reader: Any) -> None:
        self.needs("close")
        states = [await self._begun(item_reader) for _ in range(2)]
        states.append((await item_reader.read(await self._begun(item_reader), 1)).state)
        read_up = await self._begun(item_reader)
        await self._rest(item_reader, read_up, len(self.items))
        for state in (*states, read_up):
            await item_reader.close(state)
            await item_reader.close(state)

    async def test_ir13_a_cancelled_close_has_closed(self, item_reader: Any) -> None:
        self.needs("close")
        state = await self._begun(item_reader)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await item_reader.close(state)
        with raising(StorageClosedError, "reading after a cancelled close"):
            await item_reader.read(state, 1)

    async def test_ir14_a_closed_reading_refuses_to_read(self, item_reader: Any) -> None:
        self.needs("close")
        first = await self._begun(item_reader)
        page = await item_reader.read(first, 1)
        await item_reader.close(page.state)
        for state in (first, page.state):
            with raising(StorageClosedError, "reading after close"):
                await item_reader.read(state, 1)

    async def test_ir15_capabilities_are_declared_as_they_are(self, item_reader: Any) -> None:
        declared = ItemReaderCapabilities.of(item_reader)
        assert declared == self.capabilities, f"the reader declares {declared}"

    async def _begun(self, reader: Any) -> Any:
        state = await reader.init(self.config, self.deps)
        assert state is not None, "init returned None, which stands for the end"
        self._begun_states().append(state)
        return state

    def _begun_states(self) -> list[Any]:
        states: list[Any] = self.__dict__.setdefault("_states", [])
        return states

    async def _left(self, reader: Any, page: ReadPage, n: int) -> list[Any]:
        return [] if page.state is None else (await self._rest(reader, page.state, n))[0]

    async def _rest(self, reader: Any, state: Any, n: int) -> tuple[list[Any], int]:
        """Return the items from *state* on, and how many pages came after the last of them."""
        found: list[Any] = []
        late = 0
        while late < _PATIENCE:
            page = await reader.read(state, n)
            found += page.items
            late = 0 if page.items else late + 1
            state = page.state
            if state is None:
                break
            if len(found) > len(self.items) + _PATIENCE:
                raise AssertionError(f"more and more items come: {found[: len(self.items) + 3]}")
        else:
            raise AssertionError(f"{late} empty pages came one after the other")
        return found, late

    def _check(self, found: Sequence[Any], expected: Sequence[Any], where: str) -> None:
        shown = [self.shown(item) for item in found]
        assert same_value(shown, list(expected)), f"{where}: read {shown!r}"
