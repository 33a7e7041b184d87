"""Places and threads: whatever is cancelled when, each place is given back exactly once."""

from __future__ import annotations

import inspect
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from stageflow.tools._handlers import call_handler, takes_context
from stageflow.tools._limits import ConcurrencyLimiter, door_of_this_loop

pytestmark = pytest.mark.anyio


async def in_time(awaitable):
    with anyio.fail_after(10):
        return await awaitable


async def settle():
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_a_place_that_comes_together_with_a_cancellation_goes_to_the_next():
    places = ConcurrencyLimiter(1)
    await places.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(places.acquire)
        await settle()
        places.release()
        group.cancel_scope.cancel()
    await in_time(places.acquire())


async def test_places_are_given_in_the_order_of_asking():
    places, order = ConcurrencyLimiter(1), []
    await places.acquire()

    async def ask(number):
        await places.acquire()
        order.append(number)
        places.release()

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(ask, number)
            await settle()
        places.release()
    assert order == [0, 1, 2, 3, 4]


async def test_a_place_is_not_lost_with_an_event_loop_that_ended():
    places = ConcurrencyLimiter(1)
    await places.acquire()

    async def waits():
        return anyio.Event(), door_of_this_loop()

    # As if somebody had waited in a loop that ended without giving them their turn.
    entry = await anyio.to_thread.run_sync(anyio.run, waits)
    places._waiting.append(entry)
    places.release()
    await in_time(places.acquire())


async def test_a_call_that_never_got_a_thread_gives_its_place_back():
    threads = anyio.to_thread.current_default_thread_limiter()
    before, threads.total_tokens = threads.total_tokens, 1
    places, go, busy = ConcurrencyLimiter(1), threading.Event(), threading.Event()
    ran = []

    def block():
        busy.set()
        go.wait(10)

    try:
        async with anyio.create_task_group() as outer:
            outer.start_soon(anyio.to_thread.run_sync, block)
            while not busy.is_set():
                await anyio.lowlevel.checkpoint()
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: call_handler(ran.append, "given", None, limiter=places))
                await settle()
                group.cancel_scope.cancel()
            await in_time(places.acquire())
            go.set()
    finally:
        go.set()
        threads.total_tokens = before
    assert ran == []


async def test_a_thread_that_was_given_up_makes_room_for_others():
    threads = anyio.to_thread.current_default_thread_limiter()
    known, threads.total_tokens = threads.total_tokens, 1
    begun, end = threading.Event(), threading.Event()

    def hang(given):
        begun.set()
        end.wait(10)

    try:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(call_handler, hang, None, None)
                while not begun.is_set():
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            assert await call_handler(lambda given: "done", None, None) == "done"
    finally:
        end.set()
        threads.total_tokens = known


async def test_a_coroutine_that_comes_too_late_is_closed():
    go, working, made = threading.Event(), threading.Event(), []

    async def later():
        raise AssertionError("nobody waits for it any more")

    def slow(given):
        working.set()
        go.wait(10)
        made.append(later())
        return made[0]

    places = ConcurrencyLimiter(1)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: call_handler(slow, None, None, limiter=places))
        while not working.is_set():
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    go.set()
    await in_time(places.acquire())
    while not made or inspect.getcoroutinestate(made[0]) != inspect.CORO_CLOSED:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda given: None, False),
        (lambda given, ctx: None, True),
        (lambda given, ctx=None: None, True),
        (lambda given, context=None: None, True),
        (lambda given, retries=3: None, False),
        (lambda *args: None, False),
        (lambda given, *, ctx: None, False),
        (int, False),
        (print, False),
    ],
    ids=["one", "two", "ctx", "context", "other", "args", "keyword", "class", "builtin"],
)
def test_a_second_parameter_is_for_the_context(handler, expected):
    assert takes_context(handler) is expected
