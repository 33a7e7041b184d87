"""How often and how many at once: limits that make calls wait instead of failing them."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs

from stageflow.tools.errors import ToolDefinitionError, ToolRateLimitError

if TYPE_CHECKING:
    from stageflow.contracts import Clock
    from stageflow.tools.definitions import ToolInput

__all__ = ("ConcurrencyLimiter", "RateLimit", "RateLimiter", "is_count", "is_number")

_MANY_KEYS = 1024


def is_count(value: object) -> bool:
    """Say whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Say whether a value is a number that is neither endless nor none."""
    return is_count(value) or (isinstance(value, float) and math.isfinite(value))


@attrs.frozen
class RateLimit:
    """How often a tool may be called; a call beyond that waits for its turn.

    Attributes:
        calls: How many calls may begin within a period.
        per_seconds: How long a period is.
        key: Gives, for an input, what is limited on its own, such as a customer; the tool as a
            whole if there is none.
        max_wait_seconds: A call that would have to wait longer is refused at once.

    Raises:
        ToolDefinitionError: If a number is not above 0.
    """

    calls: int
    per_seconds: float
    key: Callable[[ToolInput], str] | None = attrs.field(default=None, kw_only=True)
    max_wait_seconds: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        faults = []
        if not (is_count(self.calls) and self.calls >= 1):
            faults.append("calls must be a whole number, at least 1")
        if not (is_number(self.per_seconds) and self.per_seconds > 0):
            faults.append("per_seconds must be above 0")
        patience = self.max_wait_seconds
        key: Any = self.key
        if patience is not None and not (is_number(patience) and patience >= 0):
            faults.append("max_wait_seconds must be 0 or above")
        if key is not None and not callable(key):
            faults.append("key must be callable")
        if faults:
            raise ToolDefinitionError("RateLimit", faults)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers of the limit."""
        return {
            "calls": self.calls,
            "per_seconds": self.per_seconds,
            "max_wait_seconds": self.max_wait_seconds,
        }


class RateLimiter:
    """Gives the calls of one tool their turn, first come first served.

    Never does a span of `per_seconds` see more than `calls` of them begin. A call that is
    cancelled while it waits keeps its turn, which then goes unused.

    Args:
        tool: The tool's name.
        limit: How often it may be called.
        clock: Source of time.
    """

    def __init__(self, tool: str, limit: RateLimit, clock: Clock) -> None:
        self._tool = tool
        self._limit = limit
        self._clock = clock
        self._turns: dict[str, deque[float]] = {}

    async def wait(self, tool_input: ToolInput) -> None:
        """Return when the call may begin.

        Raises:
            ToolRateLimitError: If it would have to wait longer than the limit allows.
        """
        limit, now = self._limit, self._clock.monotonic()
        key = "" if limit.key is None else limit.key(tool_input)
        if len(self._turns) > _MANY_KEYS:
            self._forget_idle(now)
        turns = self._turns.setdefault(key, deque(maxlen=limit.calls))
        turn = max(now, turns[0] + limit.per_seconds) if len(turns) == limit.calls else now
        patience = limit.max_wait_seconds
        if patience is not None and turn - now > patience:
            raise ToolRateLimitError(self._tool, turn - now)
        turns.append(turn)
        if turn > now:
            await self._clock.sleep(turn - now)

    def _forget_idle(self, now: float) -> None:
        oldest = now - self._limit.per_seconds
        self._turns = {key: turns for key, turns in self._turns.items() if turns[-1] > oldest}


class ConcurrencyLimiter:
    """Lets a number of calls through at once, first come first served.

    A place is given back from the event loop or from a thread, so that a thread that was given up
    keeps its place for as long as it works.

    Args:
        places: How many calls there may be at once.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[tuple[anyio.Event, Callable[..., object]]] = deque()
        self._lock = threading.Lock()

    async def acquire(self) -> None:
        """Return when there is a place, which is then taken."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            turn = anyio.Event()
            entry = (turn, door_of_this_loop())
            self._waiting.append(entry)
        try:
            await turn.wait()
        except BaseException:
            with self._lock:
                left = entry in self._waiting
                if left:
                    self._waiting.remove(entry)
            if not left:  # the place came together with the cancellation
                self.release()
            raise

    def release(self) -> None:
        """Give a place back; from any thread."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            turn, soon = self._waiting.popleft()
        try:
            soon(turn.set)
        except RuntimeError:  # that event loop has ended, and whoever waited in it
            self.release()


def door_of_this_loop() -> Callable[..., object]:
    """Return what calls a function in this event loop soon, from any thread."""
    token = anyio.lowlevel.current_token().native_token
    # asyncio's loop and trio's token name the same thing differently.
    found: Callable[..., object] = (
        getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon  # type: ignore[attr-defined]
    )
    return found
