"""Whatever the graph and wherever its processes end: as if nothing had happened."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
from hypothesis import given
from hypothesis import strategies as st

from stageflow import (
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    RetryPolicy,
    RunOutcome,
    StageContext,
    StageKind,
    StageOutput,
)
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.codec import Codec
from stageflow.interceptors import TransientError
from stageflow.testing import TestClock
from support.durable import RUN_ID, Place

POINTS = (
    "create_run",
    "acquire_lease",
    "get_run",
    "load_entries",
    "commit",
    "commit",
    "commit",
    "open_wait",
    "park_run",
    "release_lease",
)
REGION = ("draft", "polish")
"""What a guard judges is committed with the guard."""
AGAIN = RetryPolicy(max_attempts=100, base_delay_ms=0)


@attrs.frozen
class Part:
    """What a stage does; `inner` runs a child of so many stages."""

    name: str
    needs: tuple[str, ...]
    does: str
    pauses: int
    conditional: bool


@attrs.frozen
class Case:
    parts: tuple[Part, ...]
    guard: bool
    lenient: bool
    limit: int | None
    deaths: tuple[str, ...]
    loop: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    parts: list[Part] = []
    for number in range(draw(st.integers(1, 8))):
        earlier = [part.name for part in parts]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        parts.append(
            Part(
                f"s{number}",
                tuple(needs),
                draw(
                    st.sampled_from(
                        ["gives"] * 5
                        + ["skips", "ends branch", "flaky", "inner", "waits", "routes"]
                    )
                ),
                draw(st.integers(0, 3)),
                draw(st.booleans()),
            )
        )
    deaths = st.builds(
        "{}.{}#{}=call".format,
        st.sampled_from(POINTS),
        st.sampled_from(["before", "after"]),
        st.integers(1, 6),
    )
    return Case(
        tuple(parts),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.none() | st.integers(1, 3)),
        tuple(draw(st.lists(deaths, max_size=4))),
        draw(st.sampled_from(["asyncio", "trio"])),
    )


def build(case: Case, place: Place) -> Any:
    pipeline = Pipeline("case")
    for part in case.parts:
        inner = Pipeline("inner")
        for number in range(3):
            name = f"{part.name}.{number}"
            needs = [f"{part.name}.{number - 1}"] if number else []
            inner = inner.with_stage(
                name,
                _body(place, attrs.evolve(part, name=name, does="gives", needs=tuple(needs))),
                dependencies=needs,
            )
        pipeline = pipeline.with_stage(
            part.name,
            inner.as_stage() if part.does == "inner" else _body(place, part),
            StageKind.ROUTE if part.does == "routes" else StageKind.TRANSFORM,
            dependencies=part.needs,
            conditional=part.conditional,
            retry=AGAIN if part.does == "flaky" else None,
        )
    strategy = None
    if case.guard:

        async def guard(ctx: StageContext) -> Any:
            place.note("guard", ctx)
            return StageOutput.ok() if "#" in ctx.execution_key else StageOutput.fail("no")

        draft = attrs.evolve(
            case.parts[0], name="draft", does="gives", needs=(case.parts[-1].name,)
        )
        polish = attrs.evolve(draft, name="polish", needs=("draft",))
        for part in (draft, polish):
            pipeline = pipeline.with_stage(part.name, _body(place, part), dependencies=part.needs)
        pipeline = pipeline.with_stage("guard", guard, dependencies=["polish"])
        pipeline = pipeline.with_stage(
            "use",
            _body(place, attrs.evolve(draft, name="use", needs=("draft",))),
            dependencies=["draft", "guard"],
        )
        policy = GuardRetryPolicy("draft", max_attempts=100, stagnation_limit=1000)
        strategy = GuardRetryStrategy({"guard": policy})
    return pipeline.build(
        guard_retry_strategy=strategy,
        max_concurrency=case.limit,
        on_failure="continue" if case.lenient else "stop",
    )


def _body(place: Place, part: Part) -> Any:
    async def body(ctx: StageContext) -> Any:
        place.note(part.name, ctx)
        if part.name not in REGION:
            kept = {key.rpartition("stage/")[2] for key in await place.keys_kept()}
            needed = {n for n in part.needs if ctx.inputs.get_output(n).status.value == "ok"}
            assert needed <= kept, "it began before what it needs was committed"
        for _ in range(part.pauses):
            await anyio.lowlevel.checkpoint()
        value = {
            "value": [part.name, *(sorted(o.data.items()) for o in _read(ctx, part.needs))],
        }
        match part.does:
            case "skips":
                return StageOutput.skip("not needed")
            case "ends branch":
                return StageOutput.cancel("not here", scope="branch")
            case "flaky" if ctx.attempt == 1:
                raise TransientError("not yet")
            case "waits":
                return {**value, "word": await ctx.wait_for(f"word for {part.name}")}
            case "routes":
                return {**value, "route": [f"s{n}" for n in range(1, 8, 2)]}
        return value

    return body


def _read(ctx: StageContext, needs: tuple[str, ...]) -> list[StageOutput]:
    return [ctx.inputs.get_output(need) for need in needs]


async def see_through(case: Case, place: Place, deaths: tuple[str, ...]) -> RunOutcome:
    """Run the case in as many processes as it takes; nothing committed is done again."""
    waiting = [part for part in case.parts if part.does == "waits"]
    left, committed = list(deaths), set()
    outcome: RunOutcome | None = None
    for _ in range(len(deaths) + 3 * len(waiting) + 3):
        faults = left.pop(0) if left else ""
        before = len(place.ran)
        record = await place.store.get_run(RUN_ID)
        if record is None or str(record.status) == "created":
            await place.store.delete_run(RUN_ID)
            outcome = await place.run(build(case, place), faults, park=True)
        else:
            outcome = await place.resume(build(case, place), faults, park=True)
        again = committed & set(place.ran[before:])
        assert not again, f"done again: {again}"
        # What is kept of a child is kept under the child's key.
        kept = await place.keys_kept()
        committed |= {key.rpartition("stage/")[2] for key in kept if "stage/" in key}
        if outcome is None:
            continue
        if outcome.status != "waiting":
            return outcome
        for wait in outcome.waits:
            await place.store.signal_run(
                RUN_ID, wait.name, Codec.default().encode(wait.name), signal_id=wait.name
            )
    raise AssertionError("it never ended")


def told(outcome: RunOutcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "outputs": {
            name: (out.status.value, out.data, out.error, dict(out.metadata).get("cancel_scope"))
            for name, out in outcome.outputs.items()
            if name != "guard"
        },
    }


@given(cases())
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(case: Case) -> None:
    async def main() -> None:
        clock = TestClock()
        calm = Place(MemoryRunStore(clock=clock), clock)
        expected = await see_through(case, calm, ())
        clock = TestClock()
        stormy = Place(MemoryRunStore(clock=clock), clock)
        outcome = await see_through(case, stormy, case.deaths)
        assert _plain(told(outcome)) == _plain(told(expected))
        assert await stormy.leases() == []

    anyio.run(main, backend=case.loop)


def _plain(value: Any) -> Any:
    """The same without the children's ids, which differ from run to run only by the run's."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key != "child_run_id"}
    return value
