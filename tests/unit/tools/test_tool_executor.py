"""AdvancedToolExecutor: one call, from the moment it is asked for to its only end."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from stageflow.context import PipelineContext
from stageflow.testing import TestClock
from stageflow.tools import (
    TOOL_EVENTS,
    AdvancedToolExecutor,
    DuplicateToolError,
    RateLimit,
    ToolArgumentsError,
    ToolDeniedError,
    ToolError,
    ToolExecutionError,
    ToolExecutorConfig,
    ToolNotFoundError,
    ToolOutput,
    ToolOutputError,
    ToolRateLimitError,
    ToolTimeoutError,
)
from stageflow.tools.base import ToolOutput as ClassToolOutput
from support.golden_events import ANY_MS, ANY_TIME, assert_golden
from support.tools import Listening, action, definition, echo

pytestmark = pytest.mark.anyio
ACTION = UUID("00000000-0000-4000-8000-000000000001")
ABOUT = {
    "tool_name": "echo",
    "action_type": "ECHO",
    "action_id": str(ACTION),
    "timestamp": ANY_TIME,
}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "key": {"type": "string", "writeOnly": True}},
    "additionalProperties": False,
}


@pytest.fixture
def ctx():
    return Listening()


# --- the way of a call ---


async def test_a_call_is_told_from_its_beginning_to_its_end(ctx):
    async def handler(given):
        return ToolOutput.ok({"b": 1, "a": given.payload["n"]}, [{"kept": True}])

    executor = AdvancedToolExecutor(tools=[definition(handler=handler, input_schema=SCHEMA)])
    output = await executor.execute(action(id=ACTION, n=1, key="hunter22"), ctx)
    assert output == ToolOutput.ok({"b": 1, "a": 1}, [{"kept": True}])
    assert_golden(
        ctx.events,
        [
            (
                "tool.invoked",
                {**ABOUT, "behavior": "practice", "payload": {"n": 1, "key": "[redacted]"}},
            ),
            ("tool.started", ABOUT),
            (
                "tool.completed",
                {
                    **ABOUT,
                    "duration_ms": ANY_MS,
                    "data_keys": ["a", "b"],
                    "artifact_count": 1,
                    "undo_available": False,
                },
            ),
        ],
        TOOL_EVENTS,
    )


async def test_the_handler_is_given_what_the_action_and_the_context_say(ctx):
    seen = []

    async def handler(given, context):
        seen.append((given, context))
        given.payload["n"] = 2
        return ToolOutput.ok()

    asked = action(id=ACTION, n=1)
    await AdvancedToolExecutor(tools=[definition(handler=handler)]).execute(asked, ctx)
    ((given, context),) = seen
    assert (given.action_id, given.tool_name, given.behavior) == (ACTION, "echo", "practice")
    assert (given.pipeline_run_id, given.request_id) == (ctx.pipeline_run_id, ctx.request_id)
    assert context is ctx
    assert asked.payload == {"n": 1}


async def test_events_of_a_run_carry_its_ids():
    class Sink:
        events: list = []  # noqa: RUF012

        def try_emit(self, *, type, data):
            self.events.append((type, data))

    run = PipelineContext(
        pipeline_run_id=uuid4(), request_id=uuid4(), topology="chat", event_sink=Sink()
    )
    await AdvancedToolExecutor(tools=[definition()]).execute(action(), run)
    assert len(Sink.events) == 3
    for name, data in Sink.events:
        assert TOOL_EVENTS.faults(name, data) == ()
        assert data["pipeline_run_id"] == str(run.pipeline_run_id)
        assert data["request_id"] == str(run.request_id)


@pytest.mark.parametrize("context", [None, {}, {"execution_mode": "practice"}])
async def test_a_dictionary_or_nothing_will_do_for_a_context(context):
    executor = AdvancedToolExecutor(tools=[definition()])
    assert (await executor.execute(action(n=1), context)).data == {"echo": {"n": 1}}


async def test_nobody_is_told_if_events_are_off(ctx):
    executor = AdvancedToolExecutor(ToolExecutorConfig(emit_events=False), tools=[definition()])
    await executor.execute(action(), ctx)
    assert ctx.events == []


async def test_a_listener_that_fails_stops_no_call(ctx):
    def fail(type, data):
        raise RuntimeError("no listener")

    ctx.try_emit_event = fail
    executor = AdvancedToolExecutor(tools=[definition()])
    assert (await executor.execute(action(), ctx)).success


# --- gates ---


async def test_an_unknown_tool_is_not_found(ctx):
    executor = AdvancedToolExecutor(tools=[definition()])
    with pytest.raises(ToolNotFoundError, match="ECHO") as caught:
        await executor.execute(action("ECH", id=ACTION), ctx)
    assert caught.value.action_type == "ECH"
    ((name, data),) = ctx.events
    assert (name, data["reason"], data["action_id"]) == ("tool.denied", "not_found", str(ACTION))


async def test_a_tool_is_found_by_its_type_or_name(ctx):
    executor = AdvancedToolExecutor(tools=[definition("EDIT", name="edit_document")])
    for key in ("EDIT", "edit_document"):
        assert (await executor.execute(action(key), ctx)).success


async def test_a_behavior_that_is_not_allowed_is_denied_before_anything_else(ctx):
    executor = AdvancedToolExecutor(
        tools=[definition(allowed_behaviors=("doc",), requires_approval=True, input_schema=SCHEMA)]
    )
    with pytest.raises(ToolDeniedError) as caught:
        await executor.execute(action(id=ACTION, n="x"), ctx)
    error = caught.value
    assert (error.tool, error.behavior, error.allowed_behaviors) == ("echo", "practice", ("doc",))
    assert ctx.types == ["tool.invoked", "tool.denied"]
    assert_golden(
        ctx.events[1:],
        [
            (
                "tool.denied",
                {
                    **ABOUT,
                    "reason": "behavior_not_allowed",
                    "detail": error.message,
                    "behavior": "practice",
                },
            )
        ],
        TOOL_EVENTS,
    )


async def test_v03_a_run_without_a_mode_may_not_use_what_is_gated():
    executor = AdvancedToolExecutor(tools=[definition(allowed_behaviors=("doc",))])
    with pytest.raises(ToolDeniedError):
        await executor.execute(action(), Listening(None))
    assert (await executor.execute(action(), Listening("doc"))).success


LOOP: dict = {}
LOOP["a"] = LOOP
LOOP["b"] = LOOP
DEEP: dict = {}
for _ in range(2_000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"n": "1"}, r"\$\.n"),
        ({"n": 1, "m": 2}, "it does not satisfy 'additionalProperties'"),
        ([1], "an object is needed"),
        ("text", "an object is needed"),
        ({"n": "x" * 2_000_000}, "too large"),
        (DEEP, "levels deep"),
        (LOOP, "objects and lists|levels deep"),
        ({"n": 10**5_000}, "no JSON"),
    ],
    ids=["type", "unknown", "list", "text", "large", "deep", "endless", "digits"],
)
async def test_arguments_that_do_not_fit_never_reach_the_handler(ctx, payload, told):
    called = []
    executor = AdvancedToolExecutor(tools=[definition(handler=called.append, input_schema=SCHEMA)])
    asked = action(id=ACTION)
    object.__setattr__(asked, "payload", payload)
    with pytest.raises(ToolArgumentsError, match=told):
        await executor.execute(asked, ctx)
    assert ctx.types == ["tool.invoked", "tool.denied"]
    assert ctx.last("tool.denied")["reason"] == "invalid_arguments"
    assert called == []


async def test_the_limit_of_arguments_can_be_set(ctx):
    executor = AdvancedToolExecutor(
        ToolExecutorConfig(max_arguments_bytes=20), tools=[definition()]
    )
    assert (await executor.execute(action(a="x" * 5), ctx)).success
    with pytest.raises(ToolArgumentsError, match="too large"):
        await executor.execute(action(a="x" * 20), ctx)
    assert ctx.last("tool.invoked")["payload"] is None


async def test_a_check_of_ones_own_comes_after_the_schema(ctx):
    def check(payload):
        if payload["n"] == 0:
            raise ZeroDivisionError("hunter22")
        return ["n is odd"] if payload["n"] % 2 else []

    executor = AdvancedToolExecutor(tools=[definition(check=check, input_schema=SCHEMA)])
    assert (await executor.execute(action(n=2), ctx)).success
    with pytest.raises(ToolArgumentsError, match="n is odd"):
        await executor.execute(action(n=1), ctx)
    with pytest.raises(ToolArgumentsError, match="ZeroDivisionError") as caught:
        await executor.execute(action(n=0, key="hunter22"), ctx)
    assert "hunter22" not in str(caught.value)


# --- handlers ---


class Odd(Exception):
    pass


def plain_failure(given):
    raise Odd("no disk for hunter22")


async def failure(given):
    raise Odd("no disk for hunter22")


def stops(given):
    raise StopIteration


@pytest.mark.parametrize("handler", [failure, plain_failure])
async def test_a_handler_that_raises_is_an_execution_error_without_secrets(ctx, handler):
    executor = AdvancedToolExecutor(tools=[definition(handler=handler, input_schema=SCHEMA)])
    with pytest.raises(ToolExecutionError, match="Odd: no disk") as caught:
        await executor.execute(action(id=ACTION, key="hunter22"), ctx)
    error = caught.value
    assert isinstance(error.cause, Odd)
    assert error.__cause__ is error.cause
    assert (error.tool, error.action_id) == ("echo", ACTION)
    assert "hunter22" not in str(error)
    assert_golden(
        ctx.events[2:],
        [
            (
                "tool.failed",
                {
                    **ABOUT,
                    "duration_ms": ANY_MS,
                    "error": "Tool 'echo' failed: Odd: no disk for [redacted]",
                    "error_type": "Odd",
                    "error_code": "SF506",
                },
            )
        ],
        TOOL_EVENTS,
    )


async def test_an_error_of_a_tool_within_a_tool_names_the_outer_one(ctx):
    inner = AdvancedToolExecutor(tools=[definition("INNER", failure)])

    async def outer(given, context):
        return await inner.execute(action("INNER", id=uuid4()), context)

    executor = AdvancedToolExecutor(tools=[definition("OUTER", outer)])
    with pytest.raises(ToolExecutionError) as caught:
        await executor.execute(action("OUTER", id=ACTION), ctx)
    assert (caught.value.tool, caught.value.action_id) == ("outer", ACTION)
    assert caught.value.cause.tool == "inner"
    assert ctx.of(ACTION) == ["tool.invoked", "tool.started", "tool.failed"]


async def test_a_key_of_a_rate_limit_that_raises_is_the_tools_failure(ctx):
    limit = RateLimit(1, 10, key=lambda given: given.payload["who"])
    executor = AdvancedToolExecutor(tools=[definition(rate_limit=limit)])
    with pytest.raises(ToolExecutionError, match="KeyError"):
        await executor.execute(action(), ctx)
    assert ctx.types == ["tool.invoked", "tool.failed"]


async def test_a_thread_that_raises_stop_iteration_loses_nothing(ctx):
    executor = AdvancedToolExecutor(tools=[definition(handler=stops)])
    with pytest.raises(ToolExecutionError, match="StopIteration"):
        await executor.execute(action(), ctx)


@pytest.mark.parametrize(
    "given",
    [None, 7, {"success": True}, ClassToolOutput(True), ToolOutput(True, data=[1])],  # type: ignore[arg-type]
    ids=str,
)
async def test_a_handler_that_gives_something_else_has_failed(ctx, given):
    executor = AdvancedToolExecutor(tools=[definition(handler=lambda _: given)])
    with pytest.raises(ToolExecutionError, match=r"not a (ToolOutput|dictionary)"):
        await executor.execute(action(), ctx)
    assert ctx.types == ["tool.invoked", "tool.started", "tool.failed"]


async def test_a_failure_that_a_tool_tells_is_its_output(ctx):
    executor = AdvancedToolExecutor(
        tools=[definition(handler=lambda _: ToolOutput.fail("no luck"))]
    )
    assert await executor.execute(action(), ctx) == ToolOutput.fail("no luck")
    told = ctx.last("tool.failed")
    assert (told["error"], told["error_type"], told["error_code"]) == (
        "no luck",
        "ToolOutput",
        None,
    )


async def test_bug019_output_that_does_not_fit_its_schema_is_an_error(ctx):
    schema = {"type": "object", "required": ["total"]}
    given = {"total": 1}
    executor = AdvancedToolExecutor(
        tools=[definition(handler=lambda _: ToolOutput.ok(dict(given)), output_schema=schema)]
    )
    assert (await executor.execute(action(), ctx)).data == {"total": 1}
    given.clear()
    with pytest.raises(ToolOutputError, match="total") as caught:
        await executor.execute(action(), ctx)
    assert caught.value.faults
    assert ctx.last("tool.failed")["error_code"] == "SF510"


async def test_a_failure_needs_not_fit_the_schema_of_outputs(ctx):
    executor = AdvancedToolExecutor(
        tools=[
            definition(
                handler=lambda _: ToolOutput.fail("no"), output_schema={"required": ["total"]}
            )
        ]
    )
    assert not (await executor.execute(action(), ctx)).success


async def test_a_plain_handler_runs_in_a_thread_and_sees_the_callers_context(ctx):
    import contextvars

    who = contextvars.ContextVar("who", default="nobody")
    who.set("the caller")
    seen = []

    def handler(given):
        seen.append((threading.current_thread() is threading.main_thread(), who.get()))
        return ToolOutput.ok()

    await AdvancedToolExecutor(tools=[definition(handler=handler)]).execute(action(), ctx)
    assert seen == [(False, "the caller")]


async def test_v11_a_plain_handler_may_give_a_coroutine_and_an_object_may_be_one(ctx):
    def later(given):
        return echo(given)

    class Callable:
        async def __call__(self, given):
            return ToolOutput.ok({"in_loop": threading.current_thread().name == "MainThread"})

    executor = AdvancedToolExecutor(
        tools=[definition("A", later), definition("B", Callable()), definition("C", lambda _: 1)]
    )
    assert (await executor.execute(action("A", n=1), ctx)).data == {"echo": {"n": 1}}
    assert (await executor.execute(action("B"), ctx)).data == {"in_loop": True}


# --- time and number ---


async def test_v10_a_handler_that_hangs_is_out_of_time():
    clock = TestClock(autojump=True)
    ctx = Listening()
    ended = []

    async def hang(given):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    executor = AdvancedToolExecutor(
        tools=[definition(handler=hang, timeout_seconds=5)], clock=clock
    )
    with pytest.raises(ToolTimeoutError, match="within 5 seconds") as caught:
        await executor.execute(action(id=ACTION), ctx)
    assert clock.monotonic() == 5
    assert ended == ["cancelled"]
    assert caught.value.timeout_seconds == 5
    told = ctx.last("tool.failed")
    assert (told["error_type"], told["error_code"]) == ("ToolTimeoutError", "SF511")
    assert told["duration_ms"] == 5000


async def test_v10_a_handler_that_ignores_its_time_is_late():
    clock = TestClock(autojump=True)

    async def stubborn(given):
        with anyio.CancelScope(shield=True):
            await clock.sleep(8)
        return ToolOutput.ok()

    executor = AdvancedToolExecutor(
        tools=[definition(handler=stubborn, timeout_seconds=5)], clock=clock
    )
    with pytest.raises(ToolTimeoutError):
        await executor.execute(action(), Listening())


async def test_v10_a_thread_that_hangs_is_given_up_and_keeps_its_place():
    clock = TestClock()
    go, working = threading.Event(), threading.Event()
    ran = []

    def hang(given):
        ran.append(given.payload["n"])
        working.set()
        go.wait(10)
        return ToolOutput.ok()

    executor = AdvancedToolExecutor(
        tools=[definition(handler=hang, timeout_seconds=5, max_concurrency=1)], clock=clock
    )
    outcomes = []

    async def one(n):
        try:
            outcomes.append(await executor.execute(action(n=n), Listening()))
        except ToolError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(one, 1)
        await anyio.to_thread.run_sync(working.wait)
        clock.tick(5)
        while not outcomes:
            await anyio.lowlevel.checkpoint()
        assert isinstance(outcomes[0], ToolTimeoutError)
        group.start_soon(one, 2)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert ran == [1]  # the thread still works, so nobody else may
        go.set()
    assert ran == [1, 2]
    assert outcomes[1].success


async def test_a_handler_that_is_in_time_is_not_disturbed():
    clock = TestClock(autojump=True)

    async def slow(given):
        await clock.sleep(4)
        return ToolOutput.ok()

    tools = [definition(handler=slow, timeout_seconds=5)]
    executor = AdvancedToolExecutor(tools=tools, clock=clock)
    assert (await executor.execute(action(), Listening())).success
    assert clock.monotonic() == 4


async def test_a_time_out_of_the_handlers_own_is_its_failure(ctx):
    def handler(given):
        raise TimeoutError("the server")

    executor = AdvancedToolExecutor(tools=[definition(handler=handler, timeout_seconds=5)])
    with pytest.raises(ToolExecutionError, match="TimeoutError: the server") as caught:
        await executor.execute(action(), ctx)
    assert not isinstance(caught.value, ToolTimeoutError)


async def test_no_more_calls_of_a_tool_run_at_once_than_it_allows():
    clock = TestClock(autojump=True)
    running, most = 0, 0

    async def handler(given):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await clock.sleep(1)
        running -= 1
        return ToolOutput.ok()

    executor = AdvancedToolExecutor(
        tools=[definition(handler=handler, max_concurrency=3)], clock=clock
    )
    results = await executor.execute_batch([action() for _ in range(10)], Listening())
    assert all(each.success for each in results)
    assert most == 3
    assert clock.monotonic() == 4


async def test_bug012_calls_beyond_the_rate_wait_instead_of_failing():
    clock = TestClock(autojump=True)
    began = []

    async def handler(given):
        began.append(clock.monotonic())
        return ToolOutput.ok()

    limited = definition(handler=handler, rate_limit=RateLimit(2, 10))
    executor = AdvancedToolExecutor(tools=[limited], clock=clock)
    results = await executor.execute_batch([action() for _ in range(5)], Listening())
    assert all(each.success for each in results)
    assert sorted(began) == [0, 0, 10, 10, 20]


async def test_bug012_a_rate_may_be_limited_by_key_and_patience():
    clock = TestClock()
    limit = RateLimit(1, 10, key=lambda given: given.payload["who"], max_wait_seconds=5)
    executor = AdvancedToolExecutor(tools=[definition(rate_limit=limit)], clock=clock)
    ctx = Listening()
    assert (await executor.execute(action(who="a"), ctx)).success
    assert (await executor.execute(action(who="b"), ctx)).success
    with pytest.raises(ToolRateLimitError) as caught:
        await executor.execute(action(who="a"), ctx)
    assert caught.value.wait_seconds == 10
    assert ctx.last("tool.denied")["reason"] == "rate_limited"
    clock.tick(10)
    assert (await executor.execute(action(who="a"), ctx)).success


async def test_a_rate_limiter_forgets_keys_that_rest():
    from stageflow.tools._limits import RateLimiter
    from stageflow.tools.definitions import ToolInput

    clock = TestClock()
    limiter = RateLimiter("t", RateLimit(1, 1, key=lambda given: given.payload["n"]), clock)
    for n in range(3_000):
        clock.tick(0.01)
        await limiter.wait(ToolInput(ACTION, "t", {"n": str(n)}))
    assert len(limiter._turns) < 1_200


async def test_a_cancelled_wait_for_a_place_gives_the_place_to_the_next(ctx):
    go = anyio.Event()

    async def handler(given):
        await go.wait()
        return ToolOutput.ok()

    executor = AdvancedToolExecutor(tools=[definition(handler=handler, max_concurrency=1)])
    async with anyio.create_task_group() as outer:
        outer.start_soon(executor.execute, action(), ctx)
        while "tool.started" not in ctx.types:
            await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(executor.execute, action(), ctx)
            while ctx.types.count("tool.invoked") < 4:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert ctx.types.count("tool.failed") == 3
        go.set()
    assert (await executor.execute(action(), ctx)).success
    assert ctx.types.count("tool.started") == 2


async def test_a_cancelled_call_says_so_and_is_not_swallowed(ctx):
    started = anyio.Event()

    async def hang(given):
        started.set()
        await anyio.sleep_forever()

    executor = AdvancedToolExecutor(tools=[definition(handler=hang)])
    async with anyio.create_task_group() as group:
        group.start_soon(executor.execute, action(id=ACTION), ctx)
        await started.wait()
        group.cancel_scope.cancel()
    assert ctx.of(ACTION) == ["tool.invoked", "tool.started", "tool.failed"]
    assert ctx.last("tool.failed")["error"] == "the call was cancelled"


# --- registration ---


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (("EDIT", "edit"), ("EDIT", "other"), "EDIT"),
        (("EDIT", "edit"), ("OTHER", "edit"), "edit"),
        (("EDIT", "edit"), ("edit", "other"), "edit"),
        (("EDIT", "edit"), ("OTHER", "EDIT"), "EDIT"),
    ],
)
def test_v20_two_tools_never_share_a_type_or_a_name(first, second, key):
    executor = AdvancedToolExecutor(tools=[definition(first[0], name=first[1])])
    rival = definition(second[0], name=second[1])
    with pytest.raises(DuplicateToolError) as caught:
        executor.register(rival)
    assert caught.value.key == key
    assert executor.get_definition(first[0]).name == first[1]
    executor.register(rival, replace=True)
    assert executor.definitions == (rival,)
    assert executor.get_definition(second[1]) is rival


def test_v20_thirty_tools_of_one_type_are_told_apart():
    executor = AdvancedToolExecutor()
    executor.register(definition())
    for _ in range(29):
        with pytest.raises(DuplicateToolError):
            executor.register(definition())


def test_only_the_tools_of_a_behavior_are_declared():
    executor = AdvancedToolExecutor(
        tools=[definition("A", allowed_behaviors=("doc",)), definition("B")]
    )
    assert [each["name"] for each in executor.declare("direct")] == ["a", "b"]
    assert [each["name"] for each in executor.declare("direct", behavior="chat")] == ["b"]
    assert executor.get_definition(None) is None
