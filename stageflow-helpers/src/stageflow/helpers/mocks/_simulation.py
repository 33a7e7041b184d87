"""What all mocks can pretend: that a call takes time, and that some calls fail."""

from __future__ import annotations

import random as random_module
from collections.abc import Sequence

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.helpers.errors import HelperSettingError

__all__ = ("Simulation", "several")


def several(helper: str, setting: str, texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return *texts* as a tuple; empty if there are none."""
    if isinstance(texts, str):
        raise HelperSettingError(helper, setting, texts, rule="several texts, such as a list")
    return tuple(texts or ())


class Simulation:
    """Latency and failures of one mock, drawn from a random generator that can be given.

    Args:
        helper: Whose settings these are.
        latency_ms: How long a call takes.
        latency_jitter_ms: How far it may be from that, in either direction.
        fail_rate: Share of the calls that fail.
        random: Source of the draws; of a fixed seed unless given.
        clock: Source of the time.
    """

    def __init__(
        self,
        helper: str,
        *,
        latency_ms: float,
        latency_jitter_ms: float = 0.0,
        fail_rate: float,
        random: random_module.Random | None,
        clock: Clock | None,
    ) -> None:
        if not 0 <= fail_rate <= 1:
            raise HelperSettingError(helper, "fail_rate", fail_rate, rule="a share from 0 to 1")
        for name, value in (("latency_ms", latency_ms), ("latency_jitter_ms", latency_jitter_ms)):
            if value < 0:
                raise HelperSettingError(helper, name, value, rule="at least 0")
        self._latency_ms = latency_ms
        self._jitter_ms = latency_jitter_ms
        self._fail_rate = fail_rate
        self.random = random or random_module.Random(0)  # noqa: S311 - nothing secret is drawn
        self.clock = clock or SystemClock()

    async def pass_time(self) -> float:
        """Let the latency of one call pass; return it in milliseconds."""
        latency_ms = self._latency_ms
        if self._jitter_ms:
            latency_ms += self.random.uniform(-self._jitter_ms, self._jitter_ms)
        latency_ms = max(latency_ms, 0.0)
        await self.clock.sleep(latency_ms / 1000)
        return latency_ms

    def fails(self) -> bool:
        """Draw whether this call fails."""
        return self._fail_rate > 0 and self.random.random() < self._fail_rate

    def timestamp(self) -> str:
        """Return the time of day as ISO 8601."""
        return self.clock.now().isoformat()
