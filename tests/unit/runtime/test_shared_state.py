"""SharedState: what runs and processes share is changed atomically, and stays what it was."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import CodecError
from stageflow.contracts.shared_values import ValueChangedError
from stageflow.runtime import DurabilityError, Runtime, Versioned

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")


async def test_a_value_comes_back_with_its_types_and_version(store: Any) -> None:
    async with Runtime(run_store=store) as runtime:
        prices = runtime.shared("prices")

        version = await prices.set("tea", Decimal("2.50"))

        assert await prices.read("tea") == Versioned("tea", Decimal("2.50"), 1)
        assert version == 1
        assert await prices.get("milk", "none") == "none"
        assert await runtime.shared("other").get("tea") is None


async def test_updates_at_once_are_all_counted(store: Any) -> None:
    async with Runtime(run_store=store) as runtime:
        seen = runtime.shared("seen")

        async def count() -> None:
            for _ in range(5):
                await seen.update("n", lambda n: n + 1, default=0)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(count)

        assert await seen.get("n") == 40


async def test_a_write_that_expects_another_version_changes_nothing(store: Any) -> None:
    async with Runtime(run_store=store) as runtime:
        state = runtime.shared("state")
        await state.set("k", "first")

        with pytest.raises(ValueChangedError):
            await state.set("k", "second", expected=0)
        with pytest.raises(ValueChangedError):
            await state.delete("k", expected=7)

        assert await state.get("k") == "first"
        assert await state.delete("k", expected=1)
        assert not await state.delete("k")


async def test_items_go_by_key_and_over_pages(store: Any) -> None:
    async with Runtime(run_store=store) as runtime:
        state = runtime.shared("many")
        for number in range(3):
            await state.set(f"b/{number}", number)
        await state.set("a", None)

        assert [each.key async for each in state.items("b/")] == ["b/0", "b/1", "b/2"]
        assert [each.value async for each in state.items()] == [None, 0, 1, 2]


async def test_a_value_that_cannot_be_stored_is_named(store: Any) -> None:
    async with Runtime(run_store=store) as runtime:
        with pytest.raises(CodecError, match="the shared value 'k'"):
            await runtime.shared("state").set("k", object())


async def test_without_a_store_that_shares_values_it_is_refused() -> None:
    async with Runtime() as runtime:
        with pytest.raises(DurabilityError, match="no run store"):
            runtime.shared("state")
