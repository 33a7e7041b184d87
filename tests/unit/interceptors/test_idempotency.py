"""IdempotencyInterceptor: what was asked for twice is done once, for whoever asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import attrs
import pytest

from stageflow import (
    ContextSnapshot,
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    PipelineContext,
    RunIdentity,
    StageArtifact,
    StageEvent,
    StageKind,
    StageOutput,
    StageStatus,
    UnifiedStageGraph,
)
from stageflow._engine.run import RunReport
from stageflow.codec import UnencodableValueError
from stageflow.interceptors import (
    BaseInterceptor,
    CachedStageResult,
    IdempotencyInterceptor,
    IdempotencyParamMismatch,
    InMemoryIdempotencyStore,
    InterceptorDeniedError,
)
from stageflow.interceptors.idempotency_store import KeyLocks
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

DAY = 86_400


class Effect:
    """A stage with an effect that counts, told by the number of the call."""

    def __init__(self, *outcomes: Any) -> None:
        self.calls = 0
        self.outcomes = outcomes

    async def execute(self, ctx: Any) -> Any:
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        outcome = self.outcomes[self.calls - 1] if self.calls <= len(self.outcomes) else None
        if isinstance(outcome, BaseException):
            raise outcome
        return {"call": self.calls} if outcome is None else outcome


def asking(key: Any = "k", **fields: Any) -> PipelineContext:
    data = {} if key is None else {"idempotency_key": key}
    return PipelineContext.for_run(data=data, event_sink=None, **fields)


def graph_of(
    effect: Any,
    interceptor: BaseInterceptor | None = None,
    *,
    name: str = "p",
    kind: str = "work",
    clock: TestClock | None = None,
    **stage: Any,
) -> UnifiedStageGraph:
    return (
        Pipeline(name)
        .with_stage("a", effect, kind, **stage)
        .build(interceptors=[interceptor or IdempotencyInterceptor()], clock=clock)
    )


async def calls_of(graph: UnifiedStageGraph, *contexts: PipelineContext) -> list[Any]:
    return [(await graph.run(context))["a"].data.get("call") for context in contexts]


class TestScope:
    async def test_bug075_a_replay_returns_the_stored_result_and_does_nothing(self) -> None:
        effect = Effect(
            StageOutput.ok(
                {"x": [1]},
                artifacts=[StageArtifact("file", {"path": "a"})],
                events=[StageEvent("sent", {"to": "b"})],
                metadata={"m": 1},
                version="v2",
            )
        )
        graph = graph_of(effect)
        first = (await graph.run(asking()))["a"]
        again = (await graph.run(asking()))["a"]
        assert effect.calls == 1
        for part in ("status", "data", "artifacts", "events", "version", "error"):
            assert getattr(again, part) == getattr(first, part)
        assert "idempotent_replay" not in first.metadata
        assert again.metadata["idempotent_replay"] is True
        assert again.metadata["m"] == 1

    async def test_v05_the_key_counts_for_each_stage_and_only_work_is_kept(self) -> None:
        effects = {name: Effect() for name in ("one", "two", "parallel", "pure")}
        graph = (
            Pipeline()
            .with_stage("one", effects["one"], "work")
            .with_stage("two", effects["two"], "work", ["one"])
            .with_stage("parallel", effects["parallel"], "work")
            .with_stage("pure", effects["pure"], "transform")
            .build(interceptors=[IdempotencyInterceptor()])
        )
        outputs = await graph.run(asking())
        assert {effect.calls for effect in effects.values()} == {1}
        assert "idempotent_replay" not in outputs["two"].metadata
        await graph.run(asking())
        assert {name: effect.calls for name, effect in effects.items()} == {
            "one": 1,
            "two": 1,
            "parallel": 1,
            "pure": 2,
        }

    @pytest.mark.parametrize("kind", [kind for kind in StageKind if kind is not StageKind.WORK])
    def test_v05_other_kinds_pay_nothing(self, kind: StageKind) -> None:
        assert graph_of(Effect(), kind=kind.value).plan.calls[0].layered is None

    async def test_v05_the_key_counts_for_its_pipeline(self) -> None:
        once = IdempotencyInterceptor()
        effect = Effect()
        assert await calls_of(graph_of(effect, once, name="p"), asking(), asking()) == [1, 1]
        assert await calls_of(graph_of(effect, once, name="q"), asking()) == [2]

    async def test_no_two_scopes_are_written_alike(self) -> None:
        seen: list[str] = []

        class Spy(InMemoryIdempotencyStore):
            async def get(self, key: str) -> CachedStageResult | None:
                seen.append(key)
                return None

        once = IdempotencyInterceptor(store=Spy())
        for name, key in (("p", 'x"'), ('p","x', ""), ('p","a","key', "x")):
            if key:
                await graph_of(Effect(), once, name=name).run(asking(key))
        assert len(set(seen)) == len(seen) == 2

    async def test_other_keys_are_other_work(self) -> None:
        assert await calls_of(graph_of(Effect()), asking("k"), asking("l"), asking("k")) == [
            1,
            2,
            1,
        ]

    async def test_the_key_may_be_an_input_of_the_run_but_shared_data_wins(self) -> None:
        graph = graph_of(Effect())
        by_input = {"idempotency_key": "k"}
        assert await calls_of(
            graph,
            asking(None, inputs=by_input),
            asking("k"),
            asking("other", inputs=by_input),
        ) == [1, 1, 2]

    async def test_a_key_need_not_be_text(self) -> None:
        key = uuid4()
        assert await calls_of(graph_of(Effect()), asking(key), asking(str(key))) == [1, 1]

    @pytest.mark.parametrize("key", ["", "  "])
    async def test_a_blank_key_is_refused(self, key: str) -> None:
        effect = Effect()
        report = await graph_of(effect).execute(asking(key))
        assert isinstance(report.error, InterceptorDeniedError)
        assert effect.calls == 0

    async def test_a_run_that_would_wait_for_the_one_around_it_is_denied(self) -> None:
        once = IdempotencyInterceptor()
        inner: list[Any] = []

        async def again(ctx: Any) -> None:
            if inner:
                return
            inner.append(None)
            with anyio.fail_after(5):
                inner.append(await graph_of(again, once).execute(asking()))

        report = await graph_of(again, once).execute(asking())
        assert report.status == "completed"
        assert isinstance(inner[1].error, InterceptorDeniedError)
        assert "another key" in str(inner[1].error)

    async def test_a_run_within_another_may_do_the_same_under_another_key(self) -> None:
        once = IdempotencyInterceptor()
        inner: list[Any] = []

        async def other(ctx: Any) -> None:
            inner.append(await graph_of(Effect(), once).execute(asking("other")))

        report = await graph_of(other, once).execute(asking())
        assert [report.status, inner[0].status] == ["completed", "completed"]

    async def test_a_task_that_a_stage_left_behind_may_ask_for_the_same(self) -> None:
        once = IdempotencyInterceptor()
        later: list[Any] = []
        ended = anyio.Event()

        async def wait_and_ask() -> None:
            await ended.wait()
            later.append(await graph_of(Effect(), once).execute(asking()))

        async with anyio.create_task_group() as tasks:

            async def start(ctx: Any) -> None:
                tasks.start_soon(wait_and_ask)

            await graph_of(start, once).execute(asking())
            ended.set()
        assert later[0].outputs["a"].metadata["idempotent_replay"] is True

    async def test_a_guard_that_sends_the_run_back_asks_for_new_work(self) -> None:
        effect = Effect()

        def judges(ctx: Any) -> StageOutput | None:
            return StageOutput.fail("again") if ctx.inputs.get("call") == 1 else None

        strategy = GuardRetryStrategy({"guard": GuardRetryPolicy("a")})
        graph = (
            Pipeline()
            .with_stage("a", effect, "work")
            .with_stage("guard", judges, "guard", ["a"])
            .build(interceptors=[IdempotencyInterceptor()], guard_retry_strategy=strategy)
        )
        for _ in range(2):  # the repetition goes the same way, and does nothing
            outputs = await graph.run(asking())
            assert outputs["a"].data == {"call": 2}
            assert effect.calls == 2


class TestInput:
    async def test_bug074_another_input_under_the_same_key_is_an_error(self) -> None:
        effect = Effect()
        graph = graph_of(effect)
        await graph.run(asking("k", inputs={"amount": 1}))
        report = await graph.execute(asking("k", inputs={"amount": 2}))
        assert isinstance(report.error, IdempotencyParamMismatch)
        assert (report.error.stage, report.error.key) == ("a", "k")
        assert report.outputs["a"].status is StageStatus.FAIL
        assert effect.calls == 1

    async def test_inputs_need_not_be_compared(self) -> None:
        graph = graph_of(Effect(), IdempotencyInterceptor(validate_params=False))
        one, two = asking(inputs={"amount": 1}), asking(inputs={"amount": 2})
        assert await calls_of(graph, one, two) == [1, 1]

    async def test_without_a_key_the_input_is_the_key(self) -> None:
        graph = graph_of(Effect())
        assert await calls_of(
            graph,
            asking(None, inputs={"amount": 1, "to": "a"}),
            asking(None, inputs={"to": "a", "amount": 1}),
            asking(None, inputs={"amount": 2, "to": "a"}),
        ) == [1, 1, 2]

    async def test_what_differs_between_two_requests_for_the_same_is_no_input(self) -> None:
        graph = graph_of(Effect())

        def request() -> PipelineContext:
            return asking(
                request_id=uuid4(), session_id=uuid4(), interaction_id=uuid4(), input_text="x"
            )

        assert await calls_of(graph, request(), request()) == [1, 1]

    async def test_for_whom_it_is_done_is_part_of_the_input(self) -> None:
        graph = graph_of(Effect())
        mine, theirs = uuid4(), uuid4()

        def on_behalf_of(user: Any) -> PipelineContext:
            return asking(None, user_id=user)

        contexts = [on_behalf_of(user) for user in (mine, theirs, mine)]
        assert await calls_of(graph, *contexts) == [1, 2, 1]

    @pytest.mark.parametrize(
        "changed", [{"input_text": "y"}, {"topology": "t"}, {"metadata": {"a": 2}}]
    )
    async def test_everything_that_a_stage_may_read_is_input(self, changed: dict[str, Any]) -> None:
        def context(**fields: Any) -> PipelineContext:
            snapshot = ContextSnapshot(
                RunIdentity(uuid4()), **{"input_text": "x", "metadata": {"a": 1}, **fields}
            )
            return PipelineContext(snapshot=snapshot, event_sink=None)

        graph = graph_of(Effect())
        assert await calls_of(graph, context(), context(), context(**changed)) == [1, 1, 2]

    async def test_what_dependencies_gave_is_input(self) -> None:
        gives = iter([{"x": 1}, {"x": 1}, {"x": 2}])
        effect = Effect()
        graph = (
            Pipeline()
            .with_stage("before", lambda _: next(gives), "transform")
            .with_stage("a", effect, "work", ["before"])
            .build(interceptors=[IdempotencyInterceptor()])
        )
        assert await calls_of(graph, *(asking(None) for _ in range(3))) == [1, 1, 2]

    async def test_the_config_of_a_stage_is_input(self) -> None:
        calls: list[str] = []

        class Sends:
            def __init__(self, to: str) -> None:
                self.to = to

            def execute(self, ctx: Any) -> None:
                calls.append(self.to)

        once = IdempotencyInterceptor()
        for to in ("a", "b", "a"):
            await graph_of(Sends, once, config={"to": to}).run(asking(None))
        assert calls == ["a", "b"]

    async def test_what_counts_as_input_can_be_chosen(self) -> None:
        once = IdempotencyInterceptor(params=lambda invocation: invocation.context.inputs.get("to"))
        contexts = [
            asking(None, inputs={"to": to, "at": at}) for to, at in (("a", 1), ("a", 2), ("b", 1))
        ]
        assert await calls_of(graph_of(Effect(), once), *contexts) == [1, 1, 2]

    async def test_an_input_that_cannot_be_compared_is_an_error_under_a_key(self) -> None:
        effect = Effect()
        report = await graph_of(effect).execute(asking(inputs={"it": object()}))
        assert isinstance(report.error, UnencodableValueError)
        assert effect.calls == 0

    async def test_an_input_that_cannot_be_compared_is_like_no_other_without_a_key(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        graph = graph_of(Effect())
        contexts = [asking(None, inputs={"it": object()}) for _ in range(2)]
        assert await calls_of(graph, *contexts) == [1, 2]
        assert [record.levelname for record in caplog.records] == ["WARNING"]


class TestDuplicatesAtOnce:
    async def test_bug072_fifty_concurrent_duplicates_give_one_effect(self) -> None:
        effect = Effect()
        graph = graph_of(effect)
        calls: list[Any] = []

        async def ask() -> None:
            calls.extend(await calls_of(graph, asking()))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask)
        assert effect.calls == 1
        assert calls == [1] * 50

    async def test_bug073_duplicates_that_come_while_it_runs_wait_for_it(self) -> None:
        running, go_on = anyio.Event(), anyio.Event()
        ended: list[Any] = []

        async def slow(ctx: Any) -> dict[str, int]:
            running.set()
            await go_on.wait()
            return {"call": 1}

        graph = graph_of(slow)

        async def ask() -> None:
            ended.extend(await calls_of(graph, asking()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await running.wait()
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert ended == []
            go_on.set()
        assert ended == [1, 1]

    async def test_bug072_duplicates_in_several_threads_give_one_effect(self) -> None:
        effect = Effect()
        graph = graph_of(effect)
        barrier = threading.Barrier(8)

        def ask() -> None:
            async def main() -> None:
                await calls_of(graph, asking())

            barrier.wait()
            anyio.run(main)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(anyio.to_thread.run_sync, ask)
        assert effect.calls == 1

    async def test_bug072_two_graphs_that_share_a_store_give_one_effect(self) -> None:
        effect, store = Effect(), InMemoryIdempotencyStore()
        graphs = [graph_of(effect, IdempotencyInterceptor(store=store)) for _ in range(10)]
        async with anyio.create_task_group() as tasks:
            for graph in graphs:
                tasks.start_soon(calls_of, graph, asking())
        assert effect.calls == 1

    async def test_other_keys_do_not_wait(self) -> None:
        both = anyio.Event()
        arrived: list[str] = []

        async def meets(ctx: Any) -> None:
            arrived.append("x")
            if len(arrived) == 2:
                both.set()
            await both.wait()

        graph = graph_of(meets)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for key in ("k", "l"):
                    tasks.start_soon(calls_of, graph, asking(key))

    @pytest.mark.parametrize(
        "failure", [ValueError("no"), StageOutput.fail("no"), StageOutput.cancel("no")]
    )
    async def test_a_failed_first_attempt_lets_the_next_try(self, failure: Any) -> None:
        effect = Effect(failure)
        graph = graph_of(effect)
        reports: list[RunReport] = []

        async def ask() -> None:
            reports.append(await graph.execute(asking()))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
        assert effect.calls == 2
        assert sorted(report.status == "completed" for report in reports) == [False] + [True] * 3

    async def test_a_skip_is_not_kept(self) -> None:
        graph = graph_of(Effect(StageOutput.skip("nothing yet")))
        assert await calls_of(graph, asking(), asking(), asking()) == [None, 2, 2]

    async def test_a_cancelled_first_attempt_lets_the_next_try(self) -> None:
        running = anyio.Event()
        calls: list[int] = []

        async def hangs_at_first(ctx: Any) -> dict[str, int]:
            calls.append(1)
            if len(calls) == 1:
                running.set()
                await anyio.sleep_forever()
            return {"call": len(calls)}

        graph = graph_of(hangs_at_first)
        first = asking()
        found: list[Any] = []

        async def second() -> None:
            found.extend(await calls_of(graph, asking()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(graph.execute, first)
            await running.wait()
            tasks.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            first.mark_canceled()
        assert found == [2]

    async def test_a_cancelled_waiter_hands_its_place_on(self) -> None:
        running, go_on = anyio.Event(), anyio.Event()
        calls: list[int] = []

        async def fails_at_first(ctx: Any) -> dict[str, int]:
            calls.append(1)
            if len(calls) == 1:
                running.set()
                await go_on.wait()
                raise ValueError
            return {"call": len(calls)}

        graph = graph_of(fails_at_first)
        waiter = asking()
        found: list[Any] = []

        async def third() -> None:
            found.extend(await calls_of(graph, asking()))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(graph.execute, asking())
                await running.wait()
                tasks.start_soon(graph.execute, waiter)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(third)
                await anyio.wait_all_tasks_blocked()
                waiter.mark_canceled()
                go_on.set()
        assert found == [2]
        assert len(calls) == 2

    async def test_no_lock_is_left_behind(self) -> None:
        store = InMemoryIdempotencyStore()
        graph = graph_of(Effect(ValueError()), IdempotencyInterceptor(store=store))
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(graph.execute, asking())
        assert len(store._locks) == 0


class TestKeyLocks:
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_who_is_called_and_cancelled_at_once_hands_the_key_on(self) -> None:
        locks = KeyLocks()
        held: list[str] = []

        async def hold(who: str) -> None:
            async with locks.hold("k"):
                held.append(who)

        async with locks.hold("k"):
            second = asyncio.create_task(hold("second"))
            third = asyncio.create_task(hold("third"))
            await anyio.wait_all_tasks_blocked()
        second.cancel()  # it was called already, and has not come to know it
        with anyio.fail_after(5):
            await third
        assert second.cancelled()
        assert held == ["third"]
        assert len(locks) == 0

    async def test_who_waits_in_another_thread_is_woken(self) -> None:
        locks = KeyLocks()
        waits = threading.Event()

        def wait() -> None:
            async def main() -> None:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hold)
                    await anyio.wait_all_tasks_blocked()
                    waits.set()

            async def hold() -> None:
                async with locks.hold("k"):
                    pass

            anyio.run(main)

        thread = threading.Thread(target=wait, daemon=True)
        async with locks.hold("k"):
            thread.start()
            await anyio.to_thread.run_sync(waits.wait, 10)
            # Its event loop has nothing to do any more, and looks at nothing by itself.
            await anyio.to_thread.run_sync(thread.join, 0.02)
            assert thread.is_alive()
        await anyio.to_thread.run_sync(thread.join, 10)
        assert not thread.is_alive()


class Mapped:
    """A store of a stranger: three methods, and no more."""

    def __init__(self) -> None:
        self.entries: dict[str, CachedStageResult] = {}
        self.ttls: list[float | None] = []
        self.fails: Callable[[str], None] = lambda _: None

    async def get(self, key: str) -> CachedStageResult | None:
        self.fails("get")
        await anyio.lowlevel.checkpoint()
        return self.entries.get(key)

    async def set(
        self, key: str, entry: CachedStageResult, *, ttl_seconds: float | None = None
    ) -> None:
        self.fails("set")
        await anyio.lowlevel.checkpoint()
        self.entries[key] = entry
        self.ttls.append(ttl_seconds)

    async def delete(self, key: str) -> None:
        self.entries.pop(key, None)


def failing(method: str) -> Callable[[str], None]:
    def fails(called: str) -> None:
        if called == method:
            raise OSError("store is away")

    return fails


class TestStore:
    async def test_a_strangers_store_serves_also_for_concurrent_duplicates(self) -> None:
        effect, store = Effect(), Mapped()
        graph = graph_of(effect, IdempotencyInterceptor(store=store))
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(calls_of, graph, asking())
        assert effect.calls == 1
        (entry,) = store.entries.values()
        assert (entry.result.name, entry.result.data) == ("a", {"call": 1})
        assert store.ttls == [DAY]

    async def test_results_expire_by_the_time_of_the_run(self) -> None:
        clock = TestClock()
        store = Mapped()  # keeps everything for ever
        graph = graph_of(Effect(), IdempotencyInterceptor(store=store, ttl_seconds=60), clock=clock)
        assert await calls_of(graph, asking()) == [1]
        clock.tick(59)
        assert await calls_of(graph, asking()) == [1]
        clock.tick(1)
        assert await calls_of(graph, asking()) == [2]

    async def test_a_result_may_count_for_ever(self) -> None:
        clock = TestClock()
        store = InMemoryIdempotencyStore(clock=clock)
        once = IdempotencyInterceptor(store=store, ttl_seconds=None)
        graph = graph_of(Effect(), once, clock=clock)
        await calls_of(graph, asking())
        clock.tick(DAY * 1000)
        assert await calls_of(graph, asking()) == [1]

    async def test_a_store_that_cannot_be_asked_keeps_the_stage_from_running(self) -> None:
        effect, store = Effect(), Mapped()
        store.fails = failing("get")
        report = await graph_of(effect, IdempotencyInterceptor(store=store)).execute(asking())
        assert isinstance(report.error, OSError)
        assert effect.calls == 0

    async def test_a_store_that_fails_afterwards_does_not_undo_what_was_done(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        effect, store = Effect(), Mapped()
        store.fails = failing("set")
        report = await graph_of(effect, IdempotencyInterceptor(store=store)).execute(asking())
        assert report.status == "completed"
        assert caplog.records[-1].levelname == "ERROR"
        assert "idempotency.not_kept" in caplog.text

    async def test_a_result_that_cannot_be_stored_is_an_error_under_a_key(self) -> None:
        report = await graph_of(Effect({"it": object()})).execute(asking())
        assert isinstance(report.error, UnencodableValueError)
        assert "entry.result.data" in str(report.error)

    async def test_a_result_that_cannot_be_stored_is_not_without_a_key(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        graph = graph_of(Effect({"it": object()}))
        report = await graph.execute(asking(None))
        assert report.status == "completed"
        assert "idempotency.not_kept" in caplog.text

    @pytest.mark.parametrize("ttl", [0, -1])
    def test_a_time_to_live_that_is_none_is_refused(self, ttl: float) -> None:
        with pytest.raises(ValueError, match="ttl_seconds"):
            IdempotencyInterceptor(ttl_seconds=ttl)


@attrs.frozen
class Unknown:
    x: int = 1


class TestInMemoryStore:
    def entry(self, **data: Any) -> CachedStageResult:
        from stageflow import StageResult

        at = TestClock().now()
        return CachedStageResult(StageResult("a", StageStatus.OK, at, at, data), "hash", at)

    async def test_an_entry_comes_back_equal_and_is_nobody_elses(self) -> None:
        store, data = InMemoryIdempotencyStore(), {"x": [1], "at": TestClock().now(), "t": (1, 2)}
        entry = self.entry(**data)
        await store.set("k", entry)
        data["x"].append(2)  # type: ignore[union-attr, attr-defined]
        first = await store.get("k")
        assert first is not None
        assert first.result.data["x"] == [1]
        assert first.params_hash == "hash"
        assert first.expires_at == entry.expires_at
        first.result.data["x"].append(3)
        again = await store.get("k")
        assert again is not None
        assert again.result.data == {"x": [1], "at": TestClock().now(), "t": (1, 2)}

    async def test_what_is_not_there_is_none(self) -> None:
        store = InMemoryIdempotencyStore()
        assert await store.get("k") is None
        await store.delete("k")
        await store.set("k", self.entry())
        await store.delete("k")
        assert await store.get("k") is None

    async def test_an_unknown_type_is_an_error(self) -> None:
        with pytest.raises(UnencodableValueError):
            await InMemoryIdempotencyStore().set("k", self.entry(x=Unknown()))

    async def test_entries_expire_and_leave_no_trace(self) -> None:
        clock = TestClock()
        store = InMemoryIdempotencyStore(clock=clock)
        await store.set("k", self.entry(), ttl_seconds=10)
        await store.set("l", self.entry(), ttl_seconds=5)
        clock.tick(9)
        assert await store.get("k") is not None
        assert await store.get("l") is None
        clock.tick(1)
        assert await store.get("k") is None
        await store.set("m", self.entry(), ttl_seconds=10)
        assert len(store) == 1

    async def test_an_entry_set_again_lives_anew(self) -> None:
        clock = TestClock()
        store = InMemoryIdempotencyStore(clock=clock)
        await store.set("k", self.entry(x=1), ttl_seconds=10)
        clock.tick(9)
        await store.set("k", self.entry(x=2), ttl_seconds=10)
        clock.tick(9)
        await store.set("other", self.entry(), ttl_seconds=1)
        found = await store.get("k")
        assert found is not None
        assert found.result.data == {"x": 2}

    async def test_it_does_not_grow_without_end(self, caplog: pytest.LogCaptureFixture) -> None:
        store = InMemoryIdempotencyStore(clock=TestClock(), max_entries=3)
        for number in range(6):
            await store.set(str(number), self.entry(), ttl_seconds=100 + number)
        assert len(store) == 3
        assert [await store.get(str(number)) is not None for number in range(6)] == [
            False,
            False,
            False,
            True,
            True,
            True,
        ]
        assert len(caplog.records) == 1

    async def test_replacing_an_entry_for_ever_keeps_no_old_ones(self) -> None:
        store = InMemoryIdempotencyStore(max_entries=3)
        for _ in range(1000):
            await store.set("k", self.entry(), ttl_seconds=DAY)
        assert len(store._ends) < 20

    def test_no_room_at_all_is_refused(self) -> None:
        with pytest.raises(ValueError, match="max_entries"):
            InMemoryIdempotencyStore(max_entries=0)
