"""Running durable pipelines, ending their processes without ending the test, and going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from stageflow import Pipeline, RunOutcome, Runtime, StageContext
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.storage import StorageError
from stageflow.testing import TestClock
from stageflow.testing.faults import Faults, FaultyStore

__all__ = ("RUN_ID", "DeadError", "Mortal", "Place", "chain_of", "place", "wide_of")

RUN_ID = UUID(int=7)


class DeadError(StorageError):
    """The process has ended, as far as its store is concerned."""

    code = "SF480"

    def __init__(self) -> None:
        super().__init__("This process has ended.", storage="Mortal")


class Mortal(FaultyStore):
    """A store that nothing comes out of or into any more once its process has ended.

    The fault `POINT=call` ends it there; `kill` ends it at once.
    """

    def __init__(self, store: Any, faults: str = "") -> None:
        super().__init__(store, Faults(faults, call=self.kill))
        self.is_dead = False

    def kill(self, _: str = "") -> None:
        self.is_dead = True

    async def _between(self, method: str, *args: Any, **given: Any) -> Any:
        for when in ("before", "after"):
            await self.faults.reach(f"{method}.{when}")
            if self.is_dead:
                raise DeadError
            if when == "before":
                result = await getattr(self.store, method)(*args, **given)
        return result

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        """What is shared outlives each process."""


@attrs.define(eq=False)
class Place:
    """Where runs are kept and what was done, however many processes come and go.

    Attributes:
        store: What all of them use.
        clock: The time of all of them.
        ran: Every execution of a stage, in order.
        attempts: What each of them saw as its attempt.
        keys: What each of them saw as its execution key.
        events: What was told, in order.
        waiting: What is waited for or gone on with, by name; a test sets it.
    """

    store: Any
    clock: TestClock
    ran: list[str] = attrs.field(factory=list)
    attempts: list[tuple[str, int]] = attrs.field(factory=list)
    keys: list[tuple[str, str]] = attrs.field(factory=list)
    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    mortal: Mortal | None = None

    def stage(
        self, name: str, does: Callable[[StageContext], Any] | None = None
    ) -> Callable[[StageContext], Awaitable[Any]]:
        """Return a body that notes that it ran, and then does what is given."""

        async def body(ctx: StageContext) -> Any:
            self.note(name, ctx)
            value = {"by": name} if does is None else does(ctx)
            return await value if hasattr(value, "__await__") else value

        return body

    def note(self, name: str, ctx: StageContext) -> None:
        if self.mortal is not None and self.mortal.is_dead:
            return  # there is nobody who does this
        self.ran.append(name)
        self.attempts.append((name, ctx.attempt))
        self.keys.append((name, ctx.execution_key))

    @property
    def counts(self) -> Counter[str]:
        """How often each stage ran."""
        return Counter(self.ran)

    def types(self, *wanted: str) -> list[str]:
        """The types of what was told, or how often those wanted were."""
        return [told for told, _ in self.events if not wanted or told in wanted]

    def of(self, type: str) -> list[dict[str, Any]]:
        return [data for told, data in self.events if told == type]

    @asynccontextmanager
    async def process(self, faults: str = "", **given: Any) -> AsyncIterator[Runtime]:
        """A process that uses the place; it begins when whoever had a run before is known dead."""
        self.mortal = Mortal(self.store, faults)
        given.setdefault("clock", self.clock)
        async with Runtime(run_store=self.mortal, durability="step", **given) as runtime:
            yield runtime

    def listen(self, type: str, data: Mapping[str, Any]) -> None:
        self.events.append((type, dict(data)))

    async def run(self, pipeline: Any, faults: str = "", **given: Any) -> RunOutcome | None:
        """Run *pipeline* in a process of its own; None if that was ended meanwhile."""
        given = {"run_id": RUN_ID, "raise_on_error": False, **given}
        async with self.process(faults) as runtime:
            try:
                return await runtime.run(pipeline, listeners=[self.listen], **given)
            except DeadError:
                return None

    async def resume(
        self, pipeline: Any, faults: str = "", *, run_id: UUID = RUN_ID, **given: Any
    ) -> RunOutcome | None:
        """Go on in a process of its own, once all leases have expired."""
        self.clock.tick(60)
        given = {"raise_on_error": False, **given}
        async with self.process(faults) as runtime:
            try:
                return await runtime.resume(run_id, pipeline, listeners=[self.listen], **given)
            except DeadError:
                return None

    async def keys_kept(self, run_id: UUID = RUN_ID) -> list[str]:
        """What is committed, but for what the run was started with."""
        return [
            entry.key
            for entry in await self.store.load_entries(run_id)
            if entry.key not in ("run", "plan", "ends", "cleaned", "turn")
        ]

    async def status(self, run_id: UUID = RUN_ID) -> str:
        record = await self.store.get_run(run_id)
        return str(record.status)

    async def leases(self) -> list[Any]:
        return list(await self.store.list_leases())


def chain_of(place: Place, names: Iterable[str], **does: Any) -> Pipeline:
    """A chain of stages that note that they ran."""
    pipeline = Pipeline("chain")
    before: list[str] = []
    for name in names:
        pipeline = pipeline.with_stage(name, place.stage(name, does.get(name)), dependencies=before)
        before = [name]
    return pipeline


def wide_of(place: Place, names: Iterable[str], **does: Any) -> Pipeline:
    """Stages that depend on nothing, and one that depends on all of them."""
    names = list(names)
    pipeline = Pipeline("wide")
    for name in names:
        pipeline = pipeline.with_stage(name, place.stage(name, does.get(name)))
    return pipeline.with_stage("last", place.stage("last", does.get("last")), dependencies=names)


@pytest.fixture(params=["memory", "sqlite"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Where runs are kept: in memory, and in a file."""
    clock = TestClock()
    if request.param == "memory":
        yield Place(MemoryRunStore(clock=clock), clock)
        return
    async with SqliteRunStore(tmp_path / "runs.sqlite3", synchronous="normal", clock=clock) as kept:
        yield Place(kept, clock)
