"""ChildRunTracker: a forest of runs that many threads and tasks may change at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow import (
    ChildRunTracker,
    clear_child_tracker,
    get_child_tracker,
    set_child_tracker,
)
from stageflow.pipeline import LineageError

ROOT, LEFT, RIGHT, LEAF, DEEP = (UUID(int=n) for n in range(1, 6))


def sync(call):
    """Do what never waits, without an event loop."""
    try:
        call.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


async def grown() -> ChildRunTracker:
    tracker = ChildRunTracker()
    for parent, child in ((ROOT, LEFT), (ROOT, RIGHT), (LEFT, LEAF), (LEAF, DEEP)):
        await tracker.register_child(parent, child)
    return tracker


@pytest.mark.anyio
async def test_a_forest_can_be_traversed():
    tracker = await grown()
    assert await tracker.get_children(ROOT) == {LEFT, RIGHT}
    assert await tracker.get_children(DEEP) == set()
    assert await tracker.get_parent(LEAF) == LEFT
    assert await tracker.get_parent(ROOT) is None
    assert await tracker.get_all_descendants(ROOT) == {LEFT, RIGHT, LEAF, DEEP}
    assert await tracker.get_all_descendants(LEFT) == {LEAF, DEEP}
    assert await tracker.get_ancestors(DEEP) == [LEAF, LEFT, ROOT]
    assert await tracker.get_root_run(DEEP) == ROOT
    assert await tracker.get_root_run(ROOT) == ROOT


@pytest.mark.anyio
async def test_what_is_returned_can_be_changed_without_harm():
    tracker = await grown()
    (await tracker.get_children(ROOT)).clear()
    (await tracker.get_all_descendants(ROOT)).clear()
    assert await tracker.get_children(ROOT) == {LEFT, RIGHT}


@pytest.mark.anyio
async def test_unregistering_forgets_one_child():
    tracker = await grown()
    await tracker.unregister_child(ROOT, RIGHT)
    await tracker.unregister_child(ROOT, RIGHT)
    await tracker.unregister_child(RIGHT, LEFT)
    assert await tracker.get_children(ROOT) == {LEFT}
    assert await tracker.get_parent(RIGHT) is None


@pytest.mark.anyio
async def test_cleanup_forgets_a_run_and_all_below_it():
    tracker = await grown()
    await tracker.cleanup_run(LEFT)
    assert await tracker.get_children(ROOT) == {RIGHT}
    assert await tracker.get_root_run(DEEP) == DEEP
    await tracker.cleanup_run(ROOT)
    metrics = await tracker.get_metrics()
    assert (metrics["active_parents"], metrics["active_children"]) == (0, 0)


@pytest.mark.anyio
async def test_registering_once_more_changes_nothing():
    tracker = await grown()
    await tracker.register_child(ROOT, LEFT)
    assert (await tracker.get_metrics())["registration_count"] == 4


@pytest.mark.anyio
@pytest.mark.parametrize(("parent", "child"), [(RIGHT, LEAF), (DEEP, ROOT), (ROOT, ROOT)])
async def test_a_run_has_one_parent_and_is_not_above_itself(parent, child):
    tracker = await grown()
    with pytest.raises(LineageError) as raised:
        await tracker.register_child(parent, child)
    assert (raised.value.parent, raised.value.child) == (parent, child)
    assert await tracker.get_all_descendants(ROOT) == {LEFT, RIGHT, LEAF, DEEP}


@pytest.mark.anyio
async def test_metrics_count_what_was_done():
    tracker = await grown()
    await tracker.get_children(ROOT)
    await tracker.get_parent(LEFT)
    await tracker.get_root_run(LEFT)
    await tracker.unregister_child(ROOT, RIGHT)
    await tracker.cleanup_run(LEFT)
    assert await tracker.get_metrics() == {
        "active_parents": 0,
        "active_children": 0,
        "registration_count": 4,
        "unregistration_count": 1,
        "lookup_count": 2,
        "tree_traversal_count": 1,
        "cleanup_count": 1,
    }


def test_registration_and_unregistration_are_safe_from_many_threads():
    tracker = ChildRunTracker()
    runs = [uuid4() for _ in range(200)]

    def work(run):
        sync(tracker.register_child(ROOT, run))
        for _ in range(3):
            child = uuid4()
            sync(tracker.register_child(run, child))
            sync(tracker.get_all_descendants(ROOT))
            sync(tracker.unregister_child(run, child))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, runs))
    assert sync(tracker.get_all_descendants(ROOT)) == set(runs)
    metrics = sync(tracker.get_metrics())
    assert (metrics["registration_count"], metrics["unregistration_count"]) == (800, 600)


@pytest.mark.anyio
async def test_registration_is_safe_from_many_tasks():
    tracker, runs = ChildRunTracker(), [uuid4() for _ in range(100)]
    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(tracker.register_child, ROOT, run)
    assert await tracker.get_children(ROOT) == set(runs)


_ids = st.integers(1, 6).map(lambda n: UUID(int=n))
_steps = st.lists(
    st.tuples(st.sampled_from(["register", "unregister", "clean up"]), _ids, _ids), max_size=30
)


@given(_steps)
def test_a_tracker_is_a_table_of_parents(steps):
    tracker, parents = ChildRunTracker(), {}

    def line(run):
        return [run, *line(parents[run])] if run in parents else [run]

    for step, one, other in steps:
        if step == "register":
            if parents.get(other) == one or (other not in parents and other not in line(one)):
                sync(tracker.register_child(one, other))
                parents[other] = one
            else:
                with pytest.raises(LineageError):
                    sync(tracker.register_child(one, other))
        elif step == "unregister":
            sync(tracker.unregister_child(one, other))
            if parents.get(other) == one:
                del parents[other]
        else:
            sync(tracker.cleanup_run(one))
            for run in [run for run in parents if one in line(run)]:
                parents.pop(run, None)
    for n in range(1, 7):
        run = UUID(int=n)
        assert sync(tracker.get_parent(run)) == parents.get(run)
        assert sync(tracker.get_ancestors(run)) == line(run)[1:]
        assert sync(tracker.get_root_run(run)) == line(run)[-1]
        assert sync(tracker.get_children(run)) == {c for c, p in parents.items() if p == run}
        below = {child for child in parents if run in line(child)[1:]}
        assert sync(tracker.get_all_descendants(run)) == below
    assert sync(tracker.get_metrics())["active_children"] == len(parents)


def test_there_is_one_tracker_for_those_who_name_none():
    clear_child_tracker()
    first = get_child_tracker()
    assert get_child_tracker() is first
    mine = ChildRunTracker()
    set_child_tracker(mine)
    assert get_child_tracker() is mine
    clear_child_tracker()
    assert get_child_tracker() not in (first, mine)
