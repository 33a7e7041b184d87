"""Bodies in worker threads: waited for while somebody waits, given up when nobody does."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread

if TYPE_CHECKING:
    from stageflow.contracts.clock import Clock

__all__ = ("LoopDoor", "call_in_thread", "runs_on_asyncio")


def runs_on_asyncio() -> bool:
    """Say whether the caller is an asyncio task; cheaper than asking anyio."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


class LoopDoor:
    """The way into the event loop in which it was made, from any thread."""

    __slots__ = ("_soon", "_thread")

    def __init__(self) -> None:
        native: Any = (
            asyncio.get_running_loop()
            if runs_on_asyncio()
            else anyio.lowlevel.current_token().native_token
        )
        # asyncio's loop and trio's token name the same thing differently; anyio's own way
        # waits for the call to be made, and for ever if the loop ends before.
        self._soon = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        self._thread = threading.get_ident()

    def call(self, function: Callable[[], object]) -> None:
        """Call *function* in the loop: now if this is its thread, else soon.

        Does nothing if the loop has ended, since nothing is left there to change.
        """
        if threading.get_ident() == self._thread:
            function()
            return
        try:
            self._soon(function)
        except RuntimeError:
            return


class _Permit:
    """A limiter's token, held as long as the thread works, even when it was given up."""

    __slots__ = ("_door", "_ended", "_limiter", "_lock", "_state")

    def __init__(self, limiter: anyio.CapacityLimiter, door: LoopDoor) -> None:
        self._limiter = limiter
        self._door = door
        self._lock = threading.Lock()
        self._state = "waiting"
        self._ended: anyio.Event | None = None

    def begin(self) -> bool:
        """Say in the thread that it begins; False if nobody wants it any more."""
        with self._lock:
            if self._state == "revoked":
                return False
            self._state = "working"
            return True

    def finish(self) -> bool:
        """Say in the thread that it is done; True if nobody waits any more."""
        with self._lock:
            given_up = self._state == "given up"
            self._state = "finished"
        if given_up:
            self._door.call(self._release)
        elif self._ended is not None:
            self._door.call(self._ended.set)
        return given_up

    async def wait_for_end(self, seconds: float, clock: Clock) -> None:
        """Return when the thread has ended, or after *seconds*; a cancellation waits, too."""
        ended = anyio.Event()
        with self._lock:
            if self._state != "working":
                return
            self._ended = ended

        async def lose_patience() -> None:
            await clock.sleep(seconds)
            ended.set()

        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lose_patience)
                await ended.wait()
                tasks.cancel_scope.cancel()

    def leave(self) -> bool:
        """Say in the loop that nobody waits any more; True if the thread works on."""
        with self._lock:
            working = self._state == "working"
            if working:
                self._state = "given up"
            elif self._state == "waiting":
                self._state = "revoked"
        if not working:
            self._release()
        return working

    def _release(self) -> None:
        self._limiter.release_on_behalf_of(self)


async def call_in_thread(
    function: Callable[..., Any],
    argument: Any,
    *,
    limiter: anyio.CapacityLimiter,
    door: LoopDoor,
    clock: Clock,
    grace: float,
    on_wait: Callable[[], object],
    on_turn: Callable[[], object],
    on_abandoned: Callable[[], object],
) -> Any:
    """Return what *function* gives for *argument*, called in a worker thread.

    A cancelled call returns after the grace at the latest. The thread cannot be stopped: its
    result is thrown away and it keeps its place in the limiter until it ends.

    Args:
        function: Runs in the thread, in a copy of the caller's context variables.
        argument: Its only argument.
        limiter: Bounds how many threads work at once.
        door: The way back into the event loop.
        clock: Measures the grace.
        grace: Seconds for which a cancelled call waits for the thread to end by itself.
        on_wait: Called when the call has to wait for a free thread.
        on_turn: Called when a call that had to wait for a free thread has one.
        on_abandoned: Called when a thread that works on is given up.

    Raises:
        Exception: What the function raised.
    """
    permit = _Permit(limiter, door)
    try:
        limiter.acquire_on_behalf_of_nowait(permit)
    except anyio.WouldBlock:
        on_wait()
        await limiter.acquire_on_behalf_of(permit)
        on_turn()
    # Not handed back as a thread's result: trio refuses one that is a coroutine.
    given: list[Any] = []

    def work() -> None:
        if not permit.begin():
            return
        try:
            given.append(function(argument))
        except StopIteration as error:
            # A future cannot carry it; a coroutine turns it into the same error.
            raise RuntimeError("stage raised StopIteration") from error
        finally:
            if permit.finish():
                _throw_away(given)

    wanted = False
    try:
        # The limiter's token is held by the permit: giving up the call must not return it.
        await anyio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )
        wanted = True
    except anyio.get_cancelled_exc_class():
        if grace > 0:
            await permit.wait_for_end(grace, clock)
        raise
    finally:
        if permit.leave():
            on_abandoned()
        if not wanted:
            # After leaving: what comes at the last moment, one of the two throws away.
            _throw_away(given)
    return given[0]


def _throw_away(given: list[Any]) -> None:
    # A coroutine that nobody will await complains unless it is closed.
    for value in given:
        if inspect.iscoroutine(value):
            value.close()
