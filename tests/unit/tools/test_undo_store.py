"""The store of undo: kept for its time, claimed by one, forgotten when it is done."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import CodecError
from stageflow.testing import TestClock
from stageflow.testing.conformance import all_at_once
from stageflow.tools import (
    SharedUndoLog,
    UndoMetadata,
    UndoStore,
    UndoUnderWayError,
    clear_undo_store,
    get_undo_store,
    set_undo_store,
)

pytestmark = pytest.mark.anyio
ACTION = UUID(int=1)


@pytest.fixture
def clock():
    return TestClock()


@pytest.fixture(params=["alone", "memory", "sqlite"])
async def log(request, tmp_path):
    if request.param == "alone":
        yield None
    elif request.param == "memory":
        yield SharedUndoLog(MemoryRunStore())
    else:
        path = tmp_path / "runs.sqlite3"
        async with SqliteRunStore(path, synchronous="normal") as store:
            yield SharedUndoLog(store)


@pytest.fixture
def store(clock, log):
    return UndoStore(log=log, clock=clock)


async def test_what_is_kept_is_there_for_its_time(store, clock):
    await store.store(ACTION, "edit", {"before": [1]})
    kept = UndoMetadata(ACTION, "edit", {"before": [1]}, clock.now().isoformat())
    clock.tick(3599)
    assert await store.get(ACTION) == kept
    assert await store.get_all() == [kept]
    clock.tick(1)
    assert await store.get_all() == []
    assert await store.get(ACTION) is None
    assert await store.log.get(ACTION) is None  # and it was removed
    assert await store.delete(ACTION) is False


async def test_each_entry_may_have_a_time_of_its_own(clock):
    store = UndoStore(5.0, clock=clock)
    await store.store(UUID(int=1), "edit", {})
    await store.store(UUID(int=2), "edit", {}, ttl_seconds=10)
    clock.tick(5)
    assert [each.action_id.int for each in await store.get_all()] == [2]
    assert len(store) == 2
    assert await store.cleanup_expired() == 1
    assert await store.cleanup_expired() == 0
    assert len(store) == 1


async def test_an_entry_is_deleted_once(store):
    await store.store(ACTION, "edit", {})
    assert await store.delete(ACTION) is True
    assert await store.delete(ACTION) is False


async def test_entries_come_oldest_first(store, clock):
    for number in (5, 3, 9):
        await store.store(UUID(int=number), "edit", {})
        clock.tick(1)
    assert [each.action_id.int for each in await store.get_all()] == [5, 3, 9]


async def test_what_has_expired_is_forgotten_in_the_course_of_time(store, clock):
    for number in range(10):
        await store.store(UUID(int=number), "edit", {}, ttl_seconds=1)
    clock.tick(61)
    await store.store(UUID(int=10), "edit", {})
    assert [each.action_id.int for each in await store.log.list_entries()] == [10]


async def test_an_action_is_undone_by_one(store):
    await store.store(ACTION, "edit", {})
    claims = await all_at_once([lambda: store.claim(ACTION)] * 10)
    (winner,) = [each for each in claims if isinstance(each, str)]
    assert sum(isinstance(each, UndoUnderWayError) for each in claims) == 9
    with pytest.raises(UndoUnderWayError) as caught:
        await store.claim(ACTION)
    assert (caught.value.tool, caught.value.action_id) == ("edit", ACTION)
    await store.release(ACTION, "somebody else's")
    with pytest.raises(UndoUnderWayError):
        await store.claim(ACTION)
    await store.release(ACTION, winner)
    assert await store.claim(ACTION) not in (None, winner)


async def test_an_attempt_whose_end_is_not_known_is_repeated_on_request(store):
    await store.store(ACTION, "edit", {})
    first = await store.claim(ACTION)
    second = await store.claim(ACTION, again=True)
    assert second not in (None, first)
    assert (await store.log.get(ACTION)).claim.id == second


async def test_what_is_not_there_cannot_be_claimed(store, clock):
    assert await store.claim(uuid4()) is None
    await store.store(ACTION, "edit", {}, ttl_seconds=1)
    clock.tick(1)
    assert await store.claim(ACTION) is None


async def test_what_cannot_be_stored_is_refused(store):
    with pytest.raises(CodecError):
        await store.store(ACTION, "edit", {"file": object()})
    assert await store.get_all() == []


async def test_a_store_is_true_and_only_memory_has_a_length(clock):
    assert UndoStore()
    elsewhere = UndoStore(log=SharedUndoLog(MemoryRunStore()), clock=clock)
    assert elsewhere
    with pytest.raises(TypeError, match="get_all"):
        len(elsewhere)


async def test_those_who_name_none_share_one_store():
    clear_undo_store()
    shared = get_undo_store()
    assert get_undo_store() is shared
    mine = UndoStore()
    set_undo_store(mine)
    assert get_undo_store() is mine
    clear_undo_store()
    assert get_undo_store() not in (mine, shared)
    clear_undo_store()
