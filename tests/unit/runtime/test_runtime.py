"""Runtime: what it is given is opened and closed, and what is run with it is recorded."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import UUID

import anyio
import attrs
import pytest

from stageflow import (
    Pipeline,
    PipelineContext,
    PipelineValidationError,
    Runtime,
    StageKind,
    StageOutput,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    stage,
)
from stageflow._engine.run import RunOptions
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.run_store import RunExistsError, RunStatus, RunStoreCapabilities
from stageflow.errors import ConfigurationError
from stageflow.events import NoOpEventSink
from stageflow.pipeline import RunInputError
from stageflow.runtime import RuntimeCloseError
from stageflow.testing import TestClock
from support.play import leaves_nothing_behind
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

WORK = StageKind.WORK
RUN_ID = UUID(int=42)


async def no_op(ctx: Any) -> None: ...


def one(runner: Any = no_op) -> Pipeline:
    return Pipeline("one").with_stage("a", runner, WORK)


def chain(**runners: Any) -> Pipeline:
    pipeline, before = Pipeline("chain"), []
    for name, runner in runners.items():
        pipeline = pipeline.with_stage(name, runner, WORK, before)
        before = [name]
    return pipeline


@attrs.define(eq=False)
class Backend:
    """Something to open and close, in one of the ways there are."""

    name: str
    log: list[str]
    fails: str = ""

    def do(self, what: str) -> None:
        self.log.append(f"{what} {self.name}")
        if what in self.fails:
            raise ValueError(f"cannot {what} {self.name}")


class Async(Backend):
    async def __aenter__(self) -> Any:
        await anyio.lowlevel.checkpoint()
        self.do("open")
        return self

    async def __aexit__(self, *facts: object) -> bool:
        await anyio.lowlevel.checkpoint()
        self.do("close")
        return True  # what a backend says does not silence an error


class Plain(Backend):
    def __enter__(self) -> Any:
        self.do("open")
        return self

    def __exit__(self, *facts: object) -> None:
        self.do("close")


class AClosing(Backend):
    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.do("close")


class Closing(Backend):
    def close(self) -> None:
        self.do("close")


class TestOpeningAndClosing:
    async def test_everything_is_opened_in_order_and_closed_in_reverse(self) -> None:
        log: list[str] = []

        runtime = Runtime(
            run_store=Async("store", log),  # type: ignore[arg-type]
            event_sink=Plain("sink", log),  # type: ignore[arg-type]
            config=Closing("config", log),
            resources={"db": AClosing("db", log), "cache": Async("cache", log), "pi": 3.14},
        )
        assert log == []
        async with runtime as opened:
            assert opened is runtime
            assert log == ["open cache", "open store", "open sink"]
            log.clear()
        assert log == ["close config", "close sink", "close store", "close cache", "close db"]

    @pytest.mark.parametrize("kind", [Async, Plain, AClosing, Closing])
    async def test_every_close_is_tried_and_the_failures_are_grouped(self, kind: Any) -> None:
        log: list[str] = []
        resources = {n: kind(n, log, fails="close" if n in "ac" else "") for n in "abc"}
        with pytest.raises(RuntimeCloseError, match="2 of") as caught:
            async with Runtime(resources=resources):
                log.clear()
        assert log == ["close c", "close b", "close a"]
        assert [str(error) for error in caught.value.exceptions] == [
            "cannot close c",
            "cannot close a",
        ]
        assert isinstance(caught.value, ConfigurationError)
        matching, rest = caught.value.split(lambda error: "close c" in str(error))
        assert isinstance(matching, RuntimeCloseError)
        assert isinstance(rest, RuntimeCloseError)

    async def test_the_error_of_the_block_is_not_hidden_by_those_of_closing(self) -> None:
        log: list[str] = []
        resources = {"a": Async("a", log, fails="close"), "b": Async("b", log)}
        error = LookupError("mine")
        with pytest.raises(LookupError) as caught:
            async with Runtime(resources=resources):
                raise error
        assert caught.value is error
        assert log[-2:] == ["close b", "close a"]
        assert "cannot close a" in "".join(error.__notes__)

    async def test_a_cancellation_of_the_block_is_not_hidden_either(self) -> None:
        log: list[str] = []
        with anyio.CancelScope() as scope:
            async with Runtime(resources={"a": Async("a", log, fails="close")}):
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert log == ["open a", "close a"]

    async def test_what_is_no_exception_keeps_nobody_from_being_closed(self) -> None:
        log: list[str] = []

        class Exits(Closing):
            def close(self) -> None:
                super().close()
                raise SystemExit(3)

        resources = {"a": Closing("a", log), "b": Exits("b", log), "c": Closing("c", log)}
        with pytest.raises(SystemExit):
            async with Runtime(resources=resources):
                pass
        assert log == ["close c", "close b", "close a"]

    async def test_what_was_opened_is_closed_when_opening_goes_wrong(self) -> None:
        log: list[str] = []
        resources = {
            "a": Async("a", log, fails="close"),
            "b": Async("b", log, fails="open"),
            "c": Async("c", log),
        }
        runtime = Runtime(resources=resources)
        with pytest.raises(ValueError, match="cannot open b"):
            await runtime.__aenter__()
        assert log == ["open a", "open b", "close a"]
        with pytest.raises(ConfigurationError, match="not open"):
            await runtime.run(one())

    async def test_one_object_that_serves_twice_is_opened_once(self) -> None:
        log: list[str] = []
        both = Async("both", log)
        async with Runtime(event_sink=both, resources={"db": both}):  # type: ignore[arg-type]
            pass
        assert log == ["open both", "close both"]

    async def test_it_cannot_be_opened_twice_at_once_but_again(self) -> None:
        log: list[str] = []
        runtime = Runtime(resources={"a": Async("a", log)})
        async with runtime:
            with pytest.raises(ConfigurationError, match="open already"):
                await runtime.__aenter__()
            assert log == ["open a"]
            assert (await runtime.run(one())).status == "completed"
        async with runtime:
            assert (await runtime.run(one())).status == "completed"
        assert log == ["open a", "close a"] * 2

    async def test_nothing_runs_while_it_is_not_open(self) -> None:
        runtime = Runtime()
        with pytest.raises(ConfigurationError, match="not open"):
            await runtime.run(one())
        async with runtime:
            pass
        with pytest.raises(ConfigurationError, match="async with"):
            await runtime.run(one())


class TestRunning:
    async def test_the_outcome_tells_how_it_went(self) -> None:
        clock = TestClock(autojump=True)

        async def gives(ctx: Any) -> dict[str, Any]:
            await clock.sleep(2)
            return {"x": 1}

        async with Runtime(clock=clock) as runtime:
            outcome = await runtime.run(one(gives), run_id=RUN_ID)
        assert (outcome.run_id, outcome.pipeline_name) == (RUN_ID, "one")
        assert (outcome.status, outcome.stage, outcome.error, outcome.reason) == (
            "completed",
            None,
            None,
            None,
        )
        assert outcome.duration_ms == 2000
        assert outcome.outputs["a"].data == {"x": 1}
        assert outcome.results["a"].duration_ms == 2000
        outcome.raise_for_status()

    async def test_a_failed_run_is_raised_or_returned_as_one_likes(self) -> None:
        pipeline = chain(a=lambda ctx: {"x": 1}, b=lambda ctx: StageOutput.fail("no"), c=no_op)
        async with Runtime() as runtime:
            with pytest.raises(UnifiedStageExecutionError) as caught:
                await runtime.run(pipeline)
            assert caught.value.results["a"].data == {"x": 1}
            outcome = await runtime.run(pipeline, raise_on_error=False)
        assert (outcome.status, outcome.stage) == ("failed", "b")
        with pytest.raises(UnifiedStageExecutionError, match="'b' failed"):
            outcome.raise_for_status()

    async def test_a_cancelled_run_is_returned(self) -> None:
        pipeline = chain(a=lambda ctx: StageOutput.cancel("enough"), b=no_op)
        async with Runtime() as runtime:
            outcome = await runtime.run(pipeline)
        assert (outcome.status, outcome.stage, outcome.reason) == ("cancelled", "a", "enough")
        assert outcome.error is None
        with pytest.raises(UnifiedPipelineCancelled, match="enough"):
            outcome.raise_for_status()

    @pytest.mark.parametrize(
        "output", [{"x": [1, {"y": None}]}, StageOutput.fail("no"), StageOutput.cancel("enough")]
    )
    async def test_the_outcome_can_be_written_as_json(self, output: Any) -> None:
        async def reads(ctx: Any) -> dict[str, Any]:
            return dict(ctx.inputs.get_output("a").data)  # views, at any depth

        async with Runtime() as runtime:
            outcome = await runtime.run(
                chain(a=lambda ctx: output, b=reads), run_id=RUN_ID, raise_on_error=False
            )
        written = json.loads(json.dumps(outcome.to_dict()))
        assert written["run_id"] == str(RUN_ID)
        assert list(written["stages"]) == ["a", "b"]
        assert written["status"] == outcome.status
        assert written["stages"]["a"]["attempts"] == 1
        if outcome.status == "completed":
            assert written["stages"]["b"]["data"] == output

    async def test_stages_see_its_config_and_resources(self) -> None:
        seen: list[Any] = []

        async def look(ctx: Any) -> None:
            seen.extend([ctx.config, dict(ctx.resources)])

        config, database = object(), object()
        async with Runtime(config=config, resources={"db": database}) as runtime:
            await runtime.run(one(look))
        assert seen == [config, {"db": database}]

    async def test_a_declaration_is_built_and_its_faults_are_raised(self) -> None:
        async with Runtime(run_store=MemoryRunStore()) as runtime:
            with pytest.raises(PipelineValidationError):
                await runtime.run(Pipeline().with_stage("a", no_op, WORK, ["nowhere"]))

    async def test_a_built_graph_keeps_its_options(self) -> None:
        told: list[str] = []
        clock = TestClock(autojump=True)

        def listen(type: str, data: dict[str, Any]) -> None:
            told.append(type)

        graph = one().build(options=RunOptions(clock=clock, listeners=(listen,)))
        async with Runtime() as runtime:
            await runtime.run(graph, listeners=[listen])
        assert told.count("pipeline.started") == 2

    async def test_runs_go_on_at_once_and_within_each_other(self) -> None:
        async with Runtime(run_store=MemoryRunStore()) as runtime:

            async def nests(ctx: Any) -> StageOutput:
                inner = await runtime.run(one(lambda ctx: {"deep": True}))
                return StageOutput.ok(inner.outputs["a"].data)

            outcomes: list[Any] = []

            async def call() -> None:
                outcomes.append(await runtime.run(one(nests)))

            with leaves_nothing_behind():
                async with anyio.create_task_group() as tasks:
                    for _ in range(5):
                        tasks.start_soon(call)
            assert [outcome.outputs["a"].data for outcome in outcomes] == [{"deep": True}] * 5
            assert len({outcome.run_id for outcome in outcomes}) == 5


class TestIdentity:
    async def test_a_run_has_the_id_that_it_is_given_or_its_context_has_or_a_new_one(self) -> None:
        seen: list[UUID | None] = []

        async def look(ctx: Any) -> None:
            seen.append(ctx.pipeline_run_id)

        ids = iter([UUID(int=1), UUID(int=2)])
        graph = one(look).build(options=RunOptions(new_id=lambda: next(ids)))
        async with Runtime() as runtime:
            for given in (
                {"run_id": RUN_ID},
                {"context": PipelineContext(pipeline_run_id=UUID(int=7))},
                {"context": PipelineContext(pipeline_run_id=UUID(int=7)), "run_id": RUN_ID},
                {"pipeline_run_id": UUID(int=8)},
                {"context": PipelineContext()},
            ):
                outcome = await runtime.run(graph, **given)
                assert outcome.run_id == seen[-1]
        assert seen == [RUN_ID, UUID(int=7), RUN_ID, UUID(int=8), UUID(int=2)]

    async def test_nothing_may_be_given_beside_a_context(self) -> None:
        async with Runtime() as runtime:
            with pytest.raises(TypeError, match="not both"):
                await runtime.run(one(), context=PipelineContext(), inputs={"x": 1})
            with pytest.raises(TypeError, match="'topology'"):
                await runtime.run(one(), toplogy="fast")


class TestEvents:
    @pytest.mark.parametrize(
        "context", [None, PipelineContext, lambda: PipelineContext(event_sink=None)]
    )
    async def test_its_sink_gets_the_events_of_runs_that_name_none(self, context: Any) -> None:
        sink = RememberingSink()
        async with Runtime(event_sink=sink) as runtime:
            given = {} if context is None else {"context": context()}
            await runtime.run(one(), **given)
        assert sink.types() == [
            "pipeline.started",
            "stage.started",
            "stage.completed",
            "pipeline.completed",
        ]

    async def test_a_runs_own_sink_gets_them_instead(self) -> None:
        shared, own = RememberingSink(), RememberingSink()
        async with Runtime(event_sink=shared) as runtime:
            await runtime.run(one(), event_sink=own)
            await runtime.run(one(), context=PipelineContext(event_sink=own))
        assert shared.events == []
        assert len(own.of("pipeline.completed")) == 2

    async def test_without_a_sink_nobody_is_told(self) -> None:
        async with Runtime() as runtime:
            context = PipelineContext()
            await runtime.run(one(), context=context)
        assert isinstance(context.event_sink, NoOpEventSink)


class TestRecord:
    async def test_a_run_is_recorded_from_its_start_to_its_end(self) -> None:
        store = MemoryRunStore()
        seen: list[str] = []

        async def looks(ctx: Any) -> None:
            record = await store.get_run(RUN_ID)
            assert record is not None
            seen.append(record.status)

        async with Runtime(run_store=store) as runtime:
            await runtime.run(one(looks), run_id=RUN_ID, service="audit", topology="fast")
            record = await store.get_run(RUN_ID)
        assert seen == [RunStatus.RUNNING]
        assert record is not None
        assert (record.status, record.service, record.topology) == (
            RunStatus.COMPLETED,
            "audit",
            "fast",
        )
        assert record["pipeline_name"] == "one"
        assert record.duration_ms is not None

    async def test_how_it_ended_is_recorded(self) -> None:
        store = MemoryRunStore()
        async with Runtime(run_store=store) as runtime:
            failing = chain(a=no_op, b=lambda ctx: StageOutput.fail("no"))
            failed = await runtime.run(failing, raise_on_error=False)
            cancelled = await runtime.run(one(lambda ctx: StageOutput.cancel("enough")))
            first = await store.get_run(failed.run_id)
            second = await store.get_run(cancelled.run_id)
        assert first is not None
        assert (first.status, first["stage"]) == (RunStatus.FAILED, "b")
        assert "no" in (first.error or "")
        assert second is not None
        assert (second.status, second["stage"], second["reason"]) == (
            RunStatus.CANCELLED,
            "a",
            "enough",
        )

    async def test_its_events_are_recorded_in_their_order(self) -> None:
        store, sink = MemoryRunStore(), RememberingSink()
        async with Runtime(run_store=store, event_sink=sink) as runtime:
            await runtime.run(chain(a=no_op, b=no_op, c=no_op), run_id=RUN_ID)
            kept = await store.read_events(RUN_ID)
        assert [event.type for event in kept] == sink.types()
        assert [event.number for event in kept] == list(range(1, len(kept) + 1))
        assert [event.data for event in kept] == [data for _, data in sink.events]

    async def test_events_of_a_cancelled_run_are_recorded_to_the_last(self) -> None:
        waiting = anyio.Event()

        async def waits(ctx: Any) -> None:
            waiting.set()
            await anyio.sleep_forever()

        store = MemoryRunStore()
        async with Runtime(run_store=store) as runtime:
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as scope:

                    async def cancels() -> None:
                        await waiting.wait()
                        scope.cancel()

                    tasks.start_soon(cancels)
                    await runtime.run(chain(a=waits, b=no_op), run_id=RUN_ID)
            record = await store.get_run(RUN_ID)
            kept = await store.read_events(RUN_ID)
        assert record is not None
        assert record.status is RunStatus.CANCELLED
        assert [event.type for event in kept] == [
            "pipeline.started",
            "stage.started",
            "stage.cancelled",
            "stage.cancelled",
            "pipeline.cancelled",
        ]

    @pytest.mark.parametrize("events", [True, False])
    async def test_what_a_run_raises_is_raised_and_recorded_as_it_is(self, events: bool) -> None:
        @stage
        async def needs(folder: str) -> None: ...

        async def exits(ctx: Any) -> None:
            raise SystemExit(3)

        store = MemoryRunStore()
        if not events:
            store.capabilities = RunStoreCapabilities()  # type: ignore[misc]
        async with Runtime(run_store=store) as runtime:
            with pytest.raises(SystemExit):
                await runtime.run(one(exits), run_id=RUN_ID)
            with pytest.raises(RunInputError):
                await runtime.run(Pipeline().with_stages([needs]), run_id=UUID(int=2))
            record = await store.get_run(RUN_ID)
        assert record is not None
        assert record.status is RunStatus.FAILED
        assert "SystemExit" in (record.error or "")

    async def test_an_identity_is_recorded_once(self) -> None:
        ran: list[str] = []

        async def runs(ctx: Any) -> None:
            ran.append("again")

        async with Runtime(run_store=MemoryRunStore()) as runtime:
            await runtime.run(one(), run_id=RUN_ID)
            with pytest.raises(RunExistsError):
                await runtime.run(one(runs), run_id=RUN_ID)
        assert ran == []

    @pytest.mark.parametrize("method", ["create_run", "append_events", "update_status"])
    async def test_a_store_that_fails_does_not_fail_the_run(
        self, method: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        class Failing(MemoryRunStore):
            pass

        async def fails(self: Any, *args: Any, **kwargs: Any) -> None:
            raise OSError("disk full")

        setattr(Failing, method, fails)
        async with Runtime(run_store=Failing()) as runtime:
            outcome = await runtime.run(one(lambda ctx: {"x": 1}))
        assert outcome.status == "completed"
        assert outcome.outputs["a"].data == {"x": 1}
        assert "disk full" in caplog.text

    async def test_a_store_without_an_event_log_is_asked_for_none(self) -> None:
        class Small:
            def __init__(self) -> None:
                self.calls: list[str] = []

            async def create_run(self, run_id: UUID, **facts: Any) -> None:
                self.calls.append(f"create {facts['status']}")

            async def update_status(self, run_id: UUID, status: str, **facts: Any) -> None:
                self.calls.append(f"update {status}")

            async def get_run(self, run_id: UUID) -> None: ...

        store = Small()
        async with Runtime(run_store=store) as runtime:  # type: ignore[arg-type]
            await runtime.run(one())
        assert store.calls == ["create running", "update completed"]

    async def test_a_slow_store_loses_no_event(self) -> None:
        class Slow(MemoryRunStore):
            calls = 0

            async def append_events(self, *args: Any, **kwargs: Any) -> int:
                type(self).calls += 1
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                return await super().append_events(*args, **kwargs)

        store, sink = Slow(), RememberingSink()
        async with Runtime(run_store=store, event_sink=sink) as runtime:

            async def pauses(ctx: Any) -> None:
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()

            await runtime.run(chain(**{f"s{n}": pauses for n in range(10)}), run_id=RUN_ID)
            kept = await store.read_events(RUN_ID)
        assert [event.type for event in kept] == sink.types()
        # Several at a time, as they came while the store was busy.
        assert 1 < Slow.calls < len(kept)

    async def test_threads_of_a_run_may_tell_events_too(self) -> None:
        main = threading.get_ident()

        def tells(ctx: Any) -> None:
            assert threading.get_ident() != main
            ctx.try_emit_event("my.event", {"n": 1})

        sink = RememberingSink()
        async with Runtime(event_sink=sink) as runtime:
            await runtime.run(one(tells))
        assert sink.types()[2] == "my.event"
