"""Tokens, clean-ups and task groups: how things end together, and what is done afterwards."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from stageflow import (
    CancellationToken,
    CleanupRegistry,
    StructuredTaskGroup,
    cleanup_on_cancel,
    run_with_cleanup,
)
from stageflow.pipeline import CleanupTimeoutError, TaskCancelledError, TaskGroupClosedError

pytestmark = pytest.mark.anyio


class Diary(list[str]):
    """What happened, in order."""

    def later(self, word: str):
        return lambda: self.append(word)

    def awaited(self, word: str):
        async def write() -> None:
            await anyio.lowlevel.checkpoint()
            self.append(word)

        return write


@pytest.fixture
def diary() -> Diary:
    return Diary()


async def hangs():
    await anyio.sleep_forever()


def fails():
    raise ValueError("no")


# --- CancellationToken --------------------------------------------------------------------


def test_cancelling_is_idempotent_and_the_first_reason_wins(diary):
    token = CancellationToken()
    token.on_cancel(diary.later("told"))
    assert (token.is_cancelled, token.reason) == (False, None)
    token.cancel("first")
    token.cancel("second")
    assert (token.is_cancelled, token.reason) == (True, "first")
    assert diary == ["told"]


def test_a_callback_is_called_at_once_if_the_token_is_cancelled_already(diary):
    token = CancellationToken()
    token.cancel("enough")
    token.on_cancel(diary.later("told"))
    assert diary == ["told"]


def test_a_callback_is_stored_until_the_token_is_cancelled(diary):
    token = CancellationToken()
    token.on_cancel(diary.later("told"))
    assert diary == []
    token.cancel("enough")
    assert diary == ["told"]


def test_a_callback_that_was_taken_back_is_not_called(diary):
    token = CancellationToken()
    forget = token.on_cancel(diary.later("told"))
    forget()
    forget()
    token.cancel("enough")
    assert diary == []


def test_callbacks_are_called_in_order_unless_one_is_to_be_the_first(diary):
    token = CancellationToken()
    token.on_cancel(diary.later("a"))
    token.on_cancel(diary.later("b"))
    token.on_cancel(diary.later("first"), first=True)
    token.cancel("enough")
    assert diary == ["first", "a", "b"]


def test_errors_of_callbacks_are_logged_and_suppressed(diary, caplog):
    token = CancellationToken()
    token.on_cancel(fails)
    token.on_cancel(diary.later("told"))
    token.cancel("enough")
    token.on_cancel(fails)
    assert diary == ["told"]
    assert caplog.text.count("cancel.callback_failed") == 2


def test_an_empty_reason_is_a_reason():
    token = CancellationToken()
    token.cancel("")
    assert token.is_cancelled
    assert "open" not in repr(token)


def test_of_many_threads_one_cancels_and_each_callback_is_called_once(diary):
    token = CancellationToken()
    for n in range(50):
        token.on_cancel(diary.later(str(n)))
    threads = [threading.Thread(target=token.cancel, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(diary) == sorted(map(str, range(50)))


# --- CleanupRegistry ----------------------------------------------------------------------


def test_a_name_is_also_set_on_the_callback():
    registry = CleanupRegistry()

    def close():
        pass

    registry.register(close, name="the file")
    assert close.__cleanup_name__ == "the file"
    assert registry.pending_count == 1


async def test_a_name_is_known_where_the_callback_takes_no_attribute():
    registry = CleanupRegistry()
    registry.register([].clear, name="the list")
    assert await registry.run_all() == (["the list"], [])


async def test_callbacks_run_last_in_first_out_and_the_registry_is_empty_afterwards(diary):
    registry = CleanupRegistry()
    registry.register(diary.later("a"), name="a")
    registry.register(diary.awaited("b"), name="b")
    registry.register(diary.later("c"), name="c")
    assert await registry.run_all() == (["c", "b", "a"], [])
    assert diary == ["c", "b", "a"]
    assert registry.pending_count == 0
    assert await registry.run_all() == ([], [])


async def test_callbacks_go_on_after_errors_which_are_returned_together(diary):
    registry = CleanupRegistry()
    registry.register(diary.later("a"), name="a")
    registry.register(fails, name="first")
    registry.register(fails, name="second")
    completed, failed = await registry.run_all()
    assert completed == ["a"]
    assert [(name, str(error)) for name, error in failed] == [("second", "no"), ("first", "no")]
    assert registry.pending_count == 0


async def test_the_time_is_split_across_callbacks():
    shares: list[float] = []
    registry = CleanupRegistry()

    async def measures():
        shares.append(anyio.current_effective_deadline() - anyio.current_time())

    for _ in range(4):
        registry.register(measures)
    await registry.run_all(timeout=8.0)
    # What one leaves is for those after it.
    assert shares == pytest.approx([2.0, 8 / 3, 4.0, 8.0], abs=0.5)


async def test_each_callback_has_a_hundredth_of_a_second_at_least():
    shares: list[float] = []
    registry = CleanupRegistry()

    async def measures():
        shares.append(anyio.current_effective_deadline() - anyio.current_time())

    registry.register(measures)
    registry.register(measures)
    await registry.run_all(timeout=0.0)
    assert shares == pytest.approx([0.01, 0.01], abs=0.009)


async def test_a_callback_that_takes_too_long_does_not_keep_the_others_from_running(diary):
    registry = CleanupRegistry()
    registry.register(diary.awaited("a"), name="a")
    registry.register(hangs, name="hangs")
    completed, failed = await registry.run_all(timeout=0.0)
    assert (completed, diary) == (["a"], ["a"])
    [(name, error)] = failed
    assert name == "hangs"
    assert isinstance(error, TimeoutError)


async def test_a_cleanup_that_hangs_is_named_with_its_limit_and_what_to_do(caplog):
    registry = CleanupRegistry()
    registry.register(hangs, name="close the pool")
    _, [(_, error)] = await registry.run_all(timeout=0.02)
    assert isinstance(error, CleanupTimeoutError)
    assert error.cleanup == "close the pool"
    assert error.timeout == pytest.approx(0.02, abs=0.01)
    assert "'close the pool' did not end within 0.0" in error.message
    assert "cleanup_timeout" in error.hint
    assert "close the pool" in caplog.text
    assert "cleanup_timeout" in caplog.text


async def test_a_timeout_that_a_cleanup_ran_into_itself_stays_its_own_error():
    async def times_out():
        raise TimeoutError("the server does not answer")

    registry = CleanupRegistry()
    registry.register(times_out)
    _, [(_, error)] = await registry.run_all()
    assert type(error) is TimeoutError

    async def works():
        pass

    with pytest.raises(TimeoutError, match="does not answer"):
        await run_with_cleanup(works(), times_out)


def test_a_callback_can_be_taken_back():
    registry = CleanupRegistry()
    registry.register(fails)
    assert registry.unregister(fails) is True
    assert registry.unregister(fails) is False
    assert registry.pending_count == 0


async def test_callbacks_run_to_their_end_although_the_caller_is_cancelled(diary):
    registry = CleanupRegistry()
    registry.register(diary.awaited("a"))
    registry.register(diary.awaited("b"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await registry.run_all()
    assert diary == ["b", "a"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_callback_may_wait_for_a_task_that_it_cancels(diary):
    registry = CleanupRegistry()
    task = asyncio.create_task(hangs())

    async def stop_task():
        task.cancel()
        await task

    registry.register(diary.later("a"), name="a")
    registry.register(stop_task, name="stop")
    completed, failed = await registry.run_all()
    assert (completed, diary) == (["a"], ["a"])
    assert [name for name, _ in failed] == ["stop"]


# --- StructuredTaskGroup ------------------------------------------------------------------


async def test_a_block_ends_when_all_tasks_have_ended(diary):
    async def gives(value):
        await anyio.lowlevel.checkpoint()
        diary.append("worked")
        return value

    async with StructuredTaskGroup() as group:
        one, two = group.create_task(gives(1)), group.create_task(gives(2), name="two")
        assert await one == 1
    assert diary == ["worked", "worked"]
    assert (one.done(), two.done(), two.name) == (True, True, "two")
    assert two.result() == 2
    assert await two == 2


async def test_remaining_tasks_are_cancelled_and_awaited_if_one_fails(diary):
    async def waits():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            diary.append("ended")

    async def breaks():
        await anyio.wait_all_tasks_blocked()
        raise ValueError("no")

    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the block raises when it ends
        async with StructuredTaskGroup() as group:
            waiting = group.create_task(waits())
            group.create_task(breaks())
    assert [str(error) for error in raised.value.exceptions] == ["no"]
    assert diary == ["ended"]
    with pytest.raises(TaskCancelledError):
        waiting.result()


async def test_a_failure_is_the_reason_of_the_token_and_known_at_once():
    seen = []

    async def breaks():
        await anyio.wait_all_tasks_blocked()
        raise ValueError("no")

    async def looks(token):
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(token.reason)

    with pytest.raises(ExceptionGroup):  # noqa: PT012 - the block raises when it ends
        async with StructuredTaskGroup() as group:
            group.create_task(looks(group.cancel_token))
            group.create_task(breaks(), name="loader")
    assert seen == ["task 'loader' failed: ValueError: no"]


async def test_a_failure_of_the_block_itself_cancels_the_tasks(diary):
    async def waits():
        try:
            await anyio.sleep_forever()
        finally:
            diary.append("ended")

    group = StructuredTaskGroup()
    with pytest.raises(ExceptionGroup):  # noqa: PT012 - the block raises when it ends
        async with group:
            group.create_task(waits())
            await anyio.wait_all_tasks_blocked()
            fails()
    assert diary == ["ended"]
    assert group.cancel_token.reason == "the block failed: ValueError: no"


@pytest.mark.parametrize("from_thread", [False, True])
async def test_asking_the_token_ends_the_tasks_at_once_and_is_no_error(diary, from_thread):
    async with StructuredTaskGroup() as group:
        group.cleanup_registry.register(diary.later("cleaned"))
        task = group.create_task(hangs())
        await anyio.wait_all_tasks_blocked()
        if from_thread:
            await anyio.to_thread.run_sync(group.cancel_token.cancel, "enough")
        else:
            group.cancel_token.cancel("enough")
        await anyio.sleep_forever()
    assert (group.cancel_token.reason, diary) == ("enough", ["cleaned"])
    with pytest.raises(TaskCancelledError):
        await task


@pytest.mark.parametrize("end", ["by itself", "task fails", "block fails", "cancelled"])
async def test_the_cleanups_always_run_and_after_the_last_task(diary, end):
    async def waits():
        try:
            if end == "task fails":
                await anyio.wait_all_tasks_blocked()
                fails()
            await (anyio.lowlevel.checkpoint() if end == "by itself" else anyio.sleep_forever())
        finally:
            diary.append("task ended")

    with anyio.CancelScope() as scope:
        try:
            async with StructuredTaskGroup() as group:
                group.cleanup_registry.register(diary.awaited("first registered"))
                group.cleanup_registry.register(diary.awaited("cleaned"))
                group.create_task(waits())
                if end != "by itself":
                    await anyio.lowlevel.checkpoint()
                if end == "cancelled":
                    scope.cancel()
                if end == "block fails":
                    fails()
        except ExceptionGroup:
            assert end.endswith("fails")
    assert scope.cancelled_caught is (end == "cancelled")
    assert diary == ["task ended", "cleaned", "first registered"]


async def test_a_cancellation_from_outside_is_the_reason_too():
    with anyio.CancelScope() as scope:
        async with StructuredTaskGroup() as group:
            group.create_task(hangs())
            scope.cancel()
    assert group.cancel_token.reason == "the caller was cancelled"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_group_in_a_cancelled_asyncio_task_ends_and_cleans_up(diary):
    group = StructuredTaskGroup()

    async def host():
        async with group:
            group.cleanup_registry.register(diary.awaited("cleaned"))
            await group.create_task(hangs())

    task = asyncio.create_task(host())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (group.cancel_token.reason, diary) == ("the caller was cancelled", ["cleaned"])


async def test_a_cleanup_that_hangs_delays_the_end_by_its_time_at_most(caplog):
    async with StructuredTaskGroup(cleanup_timeout=0.0) as group:
        group.cleanup_registry.register(hangs, name="hangs")
    assert "cleanup.failed" in caplog.text


async def test_one_task_can_be_cancelled_alone():
    async def works():
        await anyio.lowlevel.checkpoint()
        return "done"

    async with StructuredTaskGroup() as group:
        alone, other = group.create_task(hangs(), name="alone"), group.create_task(works())
        with pytest.raises(TaskCancelledError, match="has not ended"):
            alone.result()
        alone.cancel()
    assert other.result() == "done"
    assert group.cancel_token.is_cancelled is False
    with pytest.raises(TaskCancelledError, match="'alone' was cancelled"):
        alone.result()


async def test_the_error_of_a_task_is_raised_by_its_result():
    async def breaks():
        fails()

    with pytest.raises(ExceptionGroup):
        async with StructuredTaskGroup() as group:
            task = group.create_task(breaks())
    with pytest.raises(ValueError, match="no"):
        task.result()


async def test_a_group_that_is_not_open_takes_no_task():
    group = StructuredTaskGroup()
    with pytest.raises(TaskGroupClosedError):
        group.create_task(hangs())
    async with group:
        pass
    with pytest.raises(TaskGroupClosedError):
        group.create_task(hangs())


# --- cleanup_on_cancel and run_with_cleanup -------------------------------------------------


async def in_a_block(work, cleanup):
    async with cleanup_on_cancel(cleanup, name="the file"):
        return await work()


async def around_a_coroutine(work, cleanup):
    return await run_with_cleanup(work(), cleanup)


both = pytest.mark.parametrize("guarded", [in_a_block, around_a_coroutine])


@both
@pytest.mark.parametrize("kind", ["later", "awaited"])
async def test_cleanup_runs_after_a_normal_end(diary, guarded, kind):
    async def works():
        diary.append("worked")
        return 7

    assert await guarded(works, getattr(diary, kind)("cleaned")) == 7
    assert diary == ["worked", "cleaned"]


@both
async def test_cleanup_runs_after_an_exception(diary, guarded):
    async def breaks():
        fails()

    with pytest.raises(ValueError, match="no"):
        await guarded(breaks, diary.awaited("cleaned"))
    assert diary == ["cleaned"]


@both
async def test_cleanup_runs_after_a_cancellation_which_is_not_swallowed(diary, guarded):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await guarded(hangs, diary.awaited("cleaned"))
        diary.append("went on")
    assert scope.cancelled_caught
    assert diary == ["cleaned"]


@both
async def test_an_error_of_the_cleanup_is_raised_if_nothing_else_was(guarded):
    async def works():
        pass

    with pytest.raises(ValueError, match="no"):
        await guarded(works, fails)


@both
async def test_an_error_of_the_cleanup_is_a_note_to_another_error(guarded):
    async def breaks():
        raise KeyError("yes")

    with pytest.raises(KeyError) as raised:
        await guarded(breaks, fails)
    [note] = raised.value.__notes__
    assert "ValueError('no')" in note


async def test_run_with_cleanup_limits_the_cleanup_and_suppresses_that_it_took_too_long(caplog):
    async def works():
        return 7

    assert await run_with_cleanup(works(), hangs, cleanup_timeout=0.01) == 7
    assert "cleanup.failed" in caplog.text
