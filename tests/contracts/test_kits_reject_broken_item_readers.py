"""The kit of item readers notices each broken clause, and blames no other."""

from __future__ import annotations

from itertools import count
from types import MappingProxyType

import anyio.lowlevel
import attrs
import pytest

from stageflow.contracts.item_reader import (
    CheckpointedReading,
    CheckpointError,
    ClosableReading,
    CountedReading,
    ItemReader,
    ItemReaderCapabilities,
    ItemReaderError,
    ReadPage,
    check_page_size,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.item_reader import ItemReaderConformance

pytestmark = pytest.mark.anyio

NUMBERS = [{"number": number} for number in range(7)]


@attrs.define
class Reading:
    at: int
    is_closed: bool = False


@attrs.frozen
class State:
    reading: Reading
    at: int = 0


class Good:
    """Reads a list of numbers."""

    capabilities = ItemReaderCapabilities(count=True, checkpoint=True, close=True)

    async def init(self, config, deps):
        if config.keys() - {"from"}:
            raise ItemReaderError("There is no such setting.")
        await anyio.lowlevel.checkpoint()
        return State(Reading(0))

    async def read(self, state, n):
        check_page_size(n)
        await anyio.lowlevel.checkpoint()
        if state.reading.is_closed:
            raise StorageClosedError("it")
        return self.page(state, n)

    def page(self, state, n):
        end = min(state.at + n, len(NUMBERS))
        return ReadPage(NUMBERS[state.at : end], self.following(state, end))

    def following(self, state, end):
        return State(state.reading, end) if end < len(NUMBERS) else None

    async def count(self, state):
        return len(NUMBERS)

    def checkpoint(self, state):
        return {"at": state.at}

    async def restore(self, state, checkpoint):
        if not isinstance(checkpoint.get("at"), int):
            raise CheckpointError("it has no number", source="numbers")
        return State(state.reading, checkpoint["at"])

    async def close(self, state):
        state.reading.is_closed = True


class Kit(ItemReaderConformance):
    capabilities = Good.capabilities
    items = NUMBERS
    config = MappingProxyType({"from": "there"})
    wrong_configs = ({"frm": "there"},)


class GivesTheLastOfAPageTwice(Good):
    """IR-1"""

    def page(self, state, n):
        page = super().page(state, n)
        if n == 4 and page.state is not None:
            return ReadPage(page.items, State(state.reading, page.state.at - 1))
        return page


class MindsTheSizeOfPages(Good):
    """IR-1"""

    def page(self, state, n):
        page = super().page(state, n)
        return ReadPage(page.items[::-1], page.state) if n == 4 else page


class GivesMoreThanAsked(Good):
    """IR-2"""

    def page(self, state, n):
        return super().page(state, n + 1)


class EndsLate(Good):
    """IR-3"""

    def following(self, state, end):
        if end < len(NUMBERS):
            return State(state.reading, end)
        return State(state.reading, state.at + 10) if state.at < 25 else None


class TakesAnySize(Good):
    """IR-4"""

    async def read(self, state, n):
        return await super().read(state, max(n, 1))


class GivesWhatNobodyCanStore(Good):
    """IR-5"""

    def page(self, state, n):
        page = super().page(state, n)
        return ReadPage([Item(item) for item in page.items], page.state)


class Item(dict):
    """Equal to a dictionary, and stored as one; so it comes back as something else."""


class TakesAnyConfiguration(Good):
    """IR-6"""

    async def init(self, config, deps):
        return await super().init({}, deps)


class HasOneReading(Good):
    """IR-7"""

    def __init__(self):
        self._at = 0

    async def init(self, config, deps):
        self._at = 0
        return await super().init(config, deps)

    def page(self, state, n):
        page = super().page(State(state.reading, max(self._at, state.at)), n)
        self._at = page.state.at if page.state else 0
        return page


class GoesOnWhenCancelled(Good):
    """IR-8"""

    async def read(self, state, n):
        if state.reading.is_closed:
            raise StorageClosedError("it")
        check_page_size(n)
        at = max(state.at, state.reading.at)
        page = self.page(State(state.reading, at), n)
        if page.state is not None:
            state.reading.at = page.state.at
        await anyio.lowlevel.checkpoint()
        return page


class CountsWhatIsLeft(Good):
    """IR-9"""

    async def count(self, state):
        return len(NUMBERS) - state.at


class GivesNoJson(Good):
    """IR-10"""

    def checkpoint(self, state):
        return {"at": state.at, "of": {1, 2}}


class KeepsOneCheckpoint(Good):
    """IR-10"""

    def checkpoint(self, state):
        kept = self.__dict__.setdefault("_kept", {}).setdefault(id(state.reading), {})
        kept["at"] = state.at
        return kept


class GoesOnOneTooLate(Good):
    """IR-11"""

    async def restore(self, state, checkpoint):
        restored = await super().restore(state, checkpoint)
        return attrs.evolve(restored, at=restored.at + (restored.at == 5))


class TakesAnyCheckpoint(Good):
    """IR-12"""

    async def restore(self, state, checkpoint):
        try:
            return await super().restore(state, checkpoint)
        except CheckpointError:
            return state


class ClosesOnce(Good):
    """IR-13"""

    async def close(self, state):
        if state.reading.is_closed:
            raise StorageClosedError("it")
        await super().close(state)


class ForgetsToCloseWhenCancelled(Good):
    """IR-13"""

    async def close(self, state):
        await anyio.lowlevel.checkpoint()
        await super().close(state)


class StaysOpen(Good):
    """IR-14"""

    async def read(self, state, n):
        check_page_size(n)
        await anyio.lowlevel.checkpoint()
        if state.reading.is_closed and state.at:
            raise StorageClosedError("it")
        return self.page(state, n)

    async def close(self, state):
        state.reading.is_closed = True
        self.__dict__.setdefault("_closed", []).append(state)


class PromisesTooLittle(Good):
    """IR-15"""

    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)


BROKEN = [
    GivesTheLastOfAPageTwice,
    MindsTheSizeOfPages,
    GivesMoreThanAsked,
    EndsLate,
    TakesAnySize,
    GivesWhatNobodyCanStore,
    TakesAnyConfiguration,
    HasOneReading,
    GoesOnWhenCancelled,
    CountsWhatIsLeft,
    GivesNoJson,
    KeepsOneCheckpoint,
    GoesOnOneTooLate,
    TakesAnyCheckpoint,
    ClosesOnce,
    ForgetsToCloseWhenCancelled,
    StaysOpen,
    PromisesTooLittle,
]
# What a broken reader cannot but break as well.
ALSO = {
    GivesWhatNobodyCanStore: {"IR-1", "IR-7", "IR-8", "IR-9", "IR-11"},
    HasOneReading: {"IR-11"},
    GivesNoJson: {"IR-11"},
    StaysOpen: {"IR-13"},
    GivesMoreThanAsked: {"IR-1"},
    GivesTheLastOfAPageTwice: {"IR-11"},
    MindsTheSizeOfPages: {"IR-11"},
}


def test_every_clause_has_a_test_and_a_broken_reader():
    clauses = clauses_of(ItemReader, CountedReading, CheckpointedReading, ClosableReading)
    numbers = (f"IR-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_reader_fails_nothing():
    assert await failed_clauses(Kit, Good) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_reader_fails_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert broken.__doc__ in failures, failures
    assert failures.keys() - {broken.__doc__} <= ALSO.get(broken, set()), failures
