"""What all parts of the kit of run stores stand on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

import pytest

from stageflow.contracts.checkpoints import RunLease
from stageflow.contracts.run_store import RunEvent, RunStoreCapabilities
from stageflow.testing.clock import TestClock
from stageflow.testing.conformance import ConformanceKit

__all__ = ("AT", "LONG", "RunStoreKit", "Unknown", "numbered_event")

AT: Final = datetime(2025, 1, 1, 12, 30, tzinfo=UTC)
LONG: Final = 3600.0


class Unknown:
    """Of a type that no codec knows."""


def numbered_event(number: int) -> RunEvent:
    """Return an event that tells which one it is."""
    return RunEvent(type=f"test.{number}", data={"n": number}, at=AT + timedelta(number))


class RunStoreKit(ConformanceKit):
    """The fixture to override, the passing of time, and what tests of run stores do often.

    Attributes:
        values: What is stored as metadata and in events, by name.
        moment: For how many seconds something lasts that is to end during a test. Make it small
            if `pass_time` really waits.
    """

    capabilities: ClassVar[RunStoreCapabilities] = RunStoreCapabilities()
    moment: ClassVar[float] = 10.0
    values: ClassVar[Mapping[str, Any]] = {
        "nothing": None,
        "truth": True,
        "whole": 2**70,
        "real": 0.1,
        "text": "naïve \U0001f600 \0 'quoted'",
        "bytes": b"\x00\xff",
        "decimal": Decimal("1.10"),
        "id": UUID(int=7),
        "date": date(2025, 1, 31),
        "time": datetime(2025, 1, 31, 6, tzinfo=timezone(timedelta(hours=2))),
        "path": PurePosixPath("a/b"),
        "tuple": (1, ("two", None)),
        "set": {1, 2},
        "nested": {"list": [1, {"deep": (3,)}], "empty": {}},
    }

    @pytest.fixture
    async def store(self) -> Any:
        """Give a fresh, empty store; every author overrides this."""
        raise NotImplementedError("override the fixture `store`: yield a fresh, empty RunStore")

    @cached_property
    def clock(self) -> TestClock:
        """The clock of this test, for a store that is given its time: `clock=self.clock`."""
        return TestClock()

    async def pass_time(self, seconds: float) -> None:
        """Let *seconds* pass for the store.

        By default they pass on `clock`. A kit for a store that goes by a clock of its own, such
        as a server's, overrides this: it moves every time that is stored back by *seconds*, or
        really waits for them and makes `moment` small.
        """
        self.clock.tick(seconds)

    async def new_run(self, store: Any, *, status: str = "running", **given: Any) -> UUID:
        """Create a run and return its id."""
        run_id = uuid4()
        await store.create_run(run_id, service="voice", status=status, **given)
        return run_id

    async def new_lease(self, store: Any, *, ttl: float = LONG, **given: Any) -> RunLease:
        """Create a run and return the lease of its owner, whose name is `first`."""
        run_id = await self.new_run(store, **given)
        lease: RunLease = await store.acquire_lease(run_id, "first", ttl=ttl)
        return lease

    async def expired_lease(self, store: Any, **given: Any) -> RunLease:
        """Create a run and return a lease that has expired."""
        lease = await self.new_lease(store, ttl=self.moment, **given)
        await self.pass_time(2 * self.moment)
        return lease

    async def lost_leases(self, store: Any, run_id: UUID) -> dict[str, RunLease]:
        """Return leases of the run that are no longer its own, by what became of each.

        The run belongs to `last` afterwards.
        """
        released = await store.acquire_lease(run_id, "released", ttl=LONG)
        await store.release_lease(released)
        taken = await store.acquire_lease(run_id, "taken over", ttl=LONG)
        after = await store.acquire_lease(run_id, "released since", ttl=LONG, take_over=taken.token)
        await store.release_lease(after)
        expired = await store.acquire_lease(run_id, "expired and taken", ttl=self.moment)
        await self.pass_time(2 * self.moment)
        await store.acquire_lease(run_id, "last", ttl=LONG)
        return {lease.owner: lease for lease in (released, taken, after, expired)}
