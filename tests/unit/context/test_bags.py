"""ContextBag and OutputBag: nothing lost, nothing overwritten unseen, with many writers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.context import ContextBag, DataConflictError, OutputBag, OutputConflictError
from stageflow.stages import StageOutput

pytestmark = pytest.mark.anyio

WRITERS = 1000


def finish(coroutine):
    """Run a coroutine that never suspends; raise what it raises."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def gather(calls):
    """Run *calls* at once; return which of them conflicted."""
    conflicts = []

    async def attempt(index, call):
        await anyio.lowlevel.checkpoint()
        try:
            await call()
        except (DataConflictError, OutputConflictError):
            conflicts.append(index)

    async with anyio.create_task_group() as group:
        for index, call in enumerate(calls):
            group.start_soon(attempt, index, call)
    return conflicts


async def test_what_was_written_is_read():
    bag = ContextBag()
    await bag.write("a", 1, "first")
    await bag.write("b", None, "second")
    assert (bag.read("a"), bag.read("b", 7), bag.read("c"), bag.read("c", 7)) == (1, None, None, 7)
    assert (bag.has("b"), bag.has("c")) == (True, False)
    assert list(bag.keys()) == ["a", "b"]
    assert (bag.get_writer("a"), bag.get_writer("c")) == ("first", None)


@pytest.mark.parametrize("writer", ["first", "second"])
async def test_writing_an_existing_key_raises_a_data_conflict(writer):
    bag = ContextBag()
    await bag.write("a", 1, "first")
    with pytest.raises(DataConflictError) as caught:
        await bag.write("a", 1, writer)
    error = caught.value
    assert (error.key, error.existing_writer, error.new_writer) == ("a", "first", writer)
    assert bag.read("a") == 1
    assert bag.get_writer("a") == "first"


async def test_to_dict_returns_a_copy():
    bag = ContextBag()
    await bag.write("a", 1, "first")
    copy = bag.to_dict()
    copy["b"] = 2
    assert bag.to_dict() == {"a": 1}


async def test_bug003_bug004_1000_tasks_write_a_key_each_and_none_is_lost():
    bag = ContextBag()
    conflicts = await gather([lambda i=i: bag.write(f"k{i}", i, f"s{i}") for i in range(WRITERS)])
    assert conflicts == []
    assert bag.to_dict() == {f"k{i}": i for i in range(WRITERS)}


async def test_bug003_bug004_of_1000_tasks_that_write_one_key_exactly_one_succeeds():
    bag = ContextBag()
    conflicts = await gather([lambda i=i: bag.write("k", i, f"s{i}") for i in range(WRITERS)])
    assert len(conflicts) == WRITERS - 1
    winner = bag.read("k")
    assert winner not in conflicts
    assert bag.get_writer("k") == f"s{winner}"


def test_bug003_bug004_of_1000_threads_that_write_the_same_keys_one_succeeds_for_each():
    bag, threads = ContextBag(), 20
    start = Barrier(threads)

    def write_all(writer):
        start.wait()
        won = []
        for key in range(WRITERS // threads):
            try:
                finish(bag.write(f"k{key}", writer, f"s{writer}"))
                won.append(f"k{key}")
            except DataConflictError:
                pass
            bag.to_dict()
        return won

    with ThreadPoolExecutor(threads) as pool:
        wins = list(pool.map(write_all, range(threads)))
    assert sorted(key for won in wins for key in won) == sorted(bag.keys())
    for writer, won in enumerate(wins):
        assert all(bag.read(key) == writer for key in won)


@given(writes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(), st.sampled_from("xyz"))))
@settings(max_examples=50, deadline=None)
def test_the_first_write_of_each_key_stays(writes):
    bag, expected = ContextBag(), {}
    for key, value, stage in writes:
        if key in expected:
            with pytest.raises(DataConflictError):
                finish(bag.write(key, value, stage))
        else:
            finish(bag.write(key, value, stage))
            expected[key] = value
    assert bag.to_dict() == expected
    assert bag.keys() == list(expected)


async def test_outputs_are_kept_by_stage():
    bag, output = OutputBag(), StageOutput.ok(a=1)
    await bag.write("s", output)
    assert bag.get("s") is output
    assert bag.attempts("s") == 1
    assert (bag.get("other"), bag.attempts("other"), bag.history("other")) == (None, 0, ())
    copy = bag.to_dict()
    copy["x"] = output
    assert bag.to_dict() == {"s": output}


async def test_a_second_output_of_a_stage_raises_an_output_conflict():
    bag, output = OutputBag(), StageOutput.ok(a=1)
    await bag.write("s", output)
    for attempt in (1, 2):
        with pytest.raises(OutputConflictError) as caught:
            await bag.write("s", StageOutput.ok(a=2), attempt=attempt)
        error = caught.value
        assert (error.stage_name, error.existing_attempt, error.new_attempt) == ("s", 1, attempt)
        assert "allow_overwrite" in error.hint
    assert bag.get("s") is output


async def test_a_later_attempt_may_overwrite_when_allowed_and_all_are_kept():
    bag = OutputBag()
    outputs = [StageOutput.retry("again"), StageOutput.fail("no"), StageOutput.ok(a=1)]
    for attempt, output in zip((1, 2, 5), outputs, strict=True):
        await bag.write("s", output, attempt=attempt, allow_overwrite=True)
        assert bag.get("s") is output
        assert bag.attempts("s") == attempt
    assert bag.history("s") == tuple(outputs)
    assert bag.to_dict() == {"s": outputs[-1]}


@pytest.mark.parametrize("attempt", [1, 2])
async def test_an_earlier_or_equal_attempt_never_overwrites(attempt):
    bag, output = OutputBag(), StageOutput.ok(a=1)
    await bag.write("s", output, attempt=2)
    with pytest.raises(OutputConflictError, match="cannot replace"):
        await bag.write("s", StageOutput.ok(a=2), attempt=attempt, allow_overwrite=True)
    assert bag.get("s") is output


async def test_attempts_are_counted_from_one():
    bag = OutputBag()
    with pytest.raises(ValueError, match="counted from 1"):
        await bag.write("s", StageOutput.ok(), attempt=0)
    assert bag.to_dict() == {}


async def test_bug003_bug004_of_1000_tasks_that_write_one_output_exactly_one_succeeds():
    bag = OutputBag()
    outputs = [StageOutput.ok(i=i) for i in range(WRITERS)]
    conflicts = await gather([lambda o=o: bag.write("s", o) for o in outputs])
    assert len(conflicts) == WRITERS - 1
    assert bag.get("s").data["i"] not in conflicts
    assert len(bag.history("s")) == 1


def test_bug003_bug004_1000_attempts_from_many_threads_leave_the_latest_in_order():
    bag, threads = OutputBag(), 20
    start = Barrier(threads)

    def write_some(offset):
        start.wait()
        for attempt in range(1 + offset, WRITERS + 1, threads):
            try:
                finish(
                    bag.write("s", StageOutput.ok(n=attempt), attempt=attempt, allow_overwrite=True)
                )
            except OutputConflictError as refused:
                assert refused.existing_attempt >= attempt  # noqa: PT017 - refusal is legal
            assert bag.get("s").data["n"] <= bag.attempts("s")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write_some, range(threads)))
    kept = [output.data["n"] for output in bag.history("s")]
    assert kept == sorted(set(kept))
    assert bag.attempts("s") == kept[-1] == WRITERS


async def test_a_writer_in_a_worker_thread_and_one_in_the_loop_share_a_bag():
    bag = ContextBag()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, lambda: finish(bag.write("t", 1, "thread")))
        group.start_soon(bag.write, "l", 2, "loop")
    assert bag.to_dict() == {"t": 1, "l": 2}
