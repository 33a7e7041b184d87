"""Identifiers: time-ordered ones, and watching a stream of them for repeats and clock skew."""

from __future__ import annotations

import random as random_module
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import attrs

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.logs import get_logger
from stageflow.helpers.errors import check_whole_number

__all__ = ("ClockSkewDetector", "UuidCollisionMonitor", "UuidEvent", "generate_uuid7")

_log = get_logger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_TTL_SECONDS: Final = 1.0


def generate_uuid7(
    *, clock: Clock | None = None, random: random_module.Random | None = None
) -> UUID:
    """Return a version 7 UUID: ordered by time of creation, down to the microsecond.

    Args:
        clock: Source of the time; the host's unless given.
        random: Source of the random bits; the operating system's unless given.
    """
    instant = (clock or SystemClock()).now()
    draw = random or random_module.SystemRandom()
    milliseconds, microseconds = divmod(_unix_microseconds(instant), 1000)
    # RFC 9562, section 6.2, method 3: the 12 bits after the version carry the fraction.
    fraction = microseconds * 4096 // 1000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | draw.getrandbits(62)
    return UUID(int=value)


@attrs.frozen
class UuidEvent:
    """One identifier that a monitor saw.

    Attributes:
        value: The identifier as text.
        collision: Whether it was seen before, within the window.
        category: What the monitor watches.
        observed_at: When it was seen.
        skew_ms: How far its own time is ahead of the clock; None if that was not looked at.
    """

    value: str
    collision: bool
    category: str
    observed_at: datetime
    skew_ms: float | None = None


class ClockSkewDetector:
    """Compares the time inside version 7 UUIDs with the clock."""

    def __init__(self, *, threshold_ms: float = 5000.0, clock: Clock | None = None) -> None:
        """Warn beyond *threshold_ms* in either direction."""
        self.threshold_ms = threshold_ms
        self._clock = clock or SystemClock()

    def observe(self, value: UUID | str) -> float | None:
        """Return how many milliseconds *value* is ahead of the clock, and log it if that is much.

        Returns:
            Negative if *value* is older than now; None if it is no version 7 UUID.
        """
        uuid = _as_uuid(value)
        if uuid is None or uuid.version != 7:
            return None
        skew = (uuid.int >> 80) - _unix_microseconds(self._clock.now()) / 1000
        if abs(skew) > self.threshold_ms:
            _log.warning(
                "uuid.clock_skewed", uuid=str(uuid), skew_ms=skew, threshold_ms=self.threshold_ms
            )
        return skew


class UuidCollisionMonitor:
    """Tells whether an identifier was seen before within a sliding window.

    Args:
        ttl_seconds: How long an identifier is remembered; at least one second.
        max_entries: How many are remembered at most; the oldest go first.
        category: What is watched, for the listeners.
        listeners: Called with a `UuidEvent` for each identifier; one that raises is logged.
        skew_detector: If given, also looks at the time inside version 7 UUIDs.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        ttl_seconds: float = 300.0,
        max_entries: int = 10_000,
        category: str = "default",
        listeners: Iterable[Callable[[UuidEvent], object]] = (),
        skew_detector: ClockSkewDetector | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_whole_number("UuidCollisionMonitor", "max_entries", max_entries, 1)
        self.ttl_seconds = max(_MIN_TTL_SECONDS, ttl_seconds)
        self.max_entries = max_entries
        self.category = category
        self._listeners = list(listeners)
        self._skew_detector = skew_detector
        self._clock = clock or SystemClock()
        self._window: deque[tuple[float, str]] = deque()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """The number of observations in the window, as of the last one."""
        return len(self._window)

    def add_listener(self, listener: Callable[[UuidEvent], object]) -> None:
        """Call *listener* for every identifier from now on."""
        self._listeners.append(listener)

    def observe(self, uuid: UUID | str) -> bool:
        """Remember *uuid*; return whether the window held it already."""
        value = str(uuid).lower()
        now = self._clock.monotonic()
        while self._window and now - self._window[0][0] > self.ttl_seconds:
            self._forget_oldest()
        collision = value in self._counts
        self._window.append((now, value))
        self._counts[value] += 1
        while len(self._window) > self.max_entries:
            self._forget_oldest()
        self._notify(value, collision)
        return collision

    def _forget_oldest(self) -> None:
        _, value = self._window.popleft()
        self._counts[value] -= 1
        if not self._counts[value]:
            del self._counts[value]

    def _notify(self, value: str, collision: bool) -> None:
        skew = self._skew_detector.observe(value) if self._skew_detector else None
        if not self._listeners:
            return
        event = UuidEvent(value, collision, self.category, self._clock.now(), skew)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener's failure is logged
                _log.exception("uuid.listener_failed", category=self.category)


def _as_uuid(value: UUID | str) -> UUID | None:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except ValueError:
        return None


def _unix_microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
