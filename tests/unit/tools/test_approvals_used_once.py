"""One approval, one execution: what a call has come to is given again, never done again."""

from __future__ import annotations

from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from stageflow import (
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    PipelineContext,
    StageKind,
    StageOutput,
)
from stageflow.testing import TestClock
from stageflow.testing.conformance import all_at_once
from stageflow.tools import (
    AdvancedToolExecutor,
    ApprovalMismatchError,
    ApprovalService,
    ToolAction,
    ToolApprovalDeniedError,
    ToolApprovalTimeoutError,
    ToolExecutionError,
    ToolExecutorConfig,
    ToolOutcomeUnknownError,
    ToolOutput,
    ToolStage,
    UndoStore,
)
from support.tools import Desk, Listening, call, definition

pytestmark = pytest.mark.anyio
ACTION = UUID(int=1)
YES = {"granted": True, "decided_by": "ada"}


class Till:
    """Counts what was really paid."""

    def __init__(self, gives=None):
        self.paid = []
        self.gives = gives or (lambda n: ToolOutput.ok({"n": n}, [{"kind": "receipt"}]))

    async def pay(self, given):
        await anyio.lowlevel.checkpoint()
        self.paid.append(given.payload.get("n"))
        result = self.gives(given.payload.get("n"))
        return await result if hasattr(result, "__await__") else result


@pytest.fixture
def ctx():
    return Listening()


def executor_of(till, service, *, config=None, undo=None, **more):
    tool = definition("PAY", till.pay, requires_approval=True, **more)
    return AdvancedToolExecutor(
        config, approval_service=service, undo_store=undo or UndoStore(), tools=[tool]
    )


def pay(**payload):
    return ToolAction(ACTION, "PAY", payload)


async def approved(executor, service, ctx, decision=YES, **payload):
    """Carry a call out that somebody decides on; raise what it raises, and no group of it."""
    async with Desk(service, lambda _: decision).open():
        (outcome,) = await all_at_once([lambda: executor.execute(pay(**payload), ctx)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def test_v20_the_same_action_runs_once_and_gives_the_same_again(ctx):
    service, till = ApprovalService(), Till()
    first = await approved(executor_of(till, service), service, ctx, n=1)
    again = await executor_of(till, service).execute(pay(n=1), ctx)
    assert till.paid == [1]
    assert (again.data, again.artifacts) == (first.data, first.artifacts)
    assert ctx.types[5:] == ["tool.invoked", "approval.decided", "tool.completed"]
    assert ctx.last("tool.completed")["replayed"] is True
    assert ctx.last("approval.decided")["decided_by"] == "ada"


async def test_of_many_executions_at_once_one_runs(ctx):
    service, till = ApprovalService(), Till()
    executor = executor_of(till, service)
    async with Desk(service, lambda _: YES).open():
        outcomes = await all_at_once([lambda: executor.execute(pay(n=1), ctx)] * 20)
    assert till.paid == [1]
    ran = [each for each in outcomes if isinstance(each, ToolOutput)]
    assert ran
    assert all(each.data == {"n": 1} for each in ran)
    assert all(isinstance(each, ToolOutput | ToolOutcomeUnknownError) for each in outcomes)


async def test_an_edited_call_gives_again_what_it_gave(ctx):
    service, till = ApprovalService(), Till()
    executor = executor_of(till, service)
    edited = {**YES, "payload": {"n": 7}}
    await approved(executor, service, ctx, edited, n=1)
    again = await executor.execute(pay(n=1), ctx)
    assert till.paid == [7]
    assert again.data == {"n": 7}


async def test_a_failure_is_given_again_as_it_was(ctx):
    def fail(_):
        raise OSError("no paper")

    service, till = ApprovalService(), Till(fail)
    executor = executor_of(till, service)
    with pytest.raises(ToolExecutionError, match="no paper") as first:
        await approved(executor, service, ctx, n=1)
    with pytest.raises(ToolExecutionError, match="no paper") as again:
        await executor.execute(pay(n=1), ctx)
    assert till.paid == [1]
    assert again.value.message == first.value.message
    assert ctx.last("tool.failed")["error_type"] == "OSError"


async def test_a_failure_that_a_tool_tells_is_given_again(ctx):
    service, till = ApprovalService(), Till(lambda _: ToolOutput.fail("no money"))
    executor = executor_of(till, service)
    for _ in range(2):
        output = await approved(executor, service, ctx, n=1)
        assert (output.success, output.error) == (False, "no money")
    assert till.paid == [1]


async def test_a_rejection_and_an_expiry_stand(ctx):
    clock, till = TestClock(autojump=True), Till()
    service = ApprovalService(clock=clock)
    executor = executor_of(till, service, config=ToolExecutorConfig(approval_timeout_seconds=5))
    with pytest.raises(ToolApprovalTimeoutError):
        await executor.execute(pay(n=1), ctx)
    with pytest.raises(ToolApprovalTimeoutError):
        await approved(executor, service, ctx, n=1)
    assert clock.monotonic() == 5
    other = ToolAction(UUID(int=2), "PAY", {"n": 2})
    async with Desk(service, lambda _: {"granted": False}).open():
        for _ in range(2):
            (outcome,) = await all_at_once([lambda: executor.execute(other, ctx)])
            assert isinstance(outcome, ToolApprovalDeniedError)
    assert till.paid == []


async def test_v03_another_call_cannot_use_the_approval(ctx):
    service, till = ApprovalService(), Till()
    executor = executor_of(till, service)
    await approved(executor, service, ctx, n=1)
    with pytest.raises(ApprovalMismatchError):
        await executor.execute(pay(n=1_000), ctx)
    assert till.paid == [1]
    assert ctx.types[-1] == "tool.failed"
    assert ctx.last("tool.failed")["error_code"] == "SF522"


async def interrupted(executor, service, ctx):
    """Carry a call out that is cut short while its handler works."""
    async with anyio.create_task_group() as group, Desk(service, lambda _: YES).open():
        group.start_soon(executor.execute, pay(n=1), ctx)
        while "tool.started" not in ctx.types:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def test_a_call_that_was_cut_short_is_reported_and_not_repeated(ctx):
    service, till = ApprovalService(), Till(lambda _: anyio.sleep_forever())
    executor = executor_of(till, service)
    await interrupted(executor, service, ctx)
    for _ in range(2):
        with pytest.raises(ToolOutcomeUnknownError) as caught:
            await executor.execute(pay(n=1), ctx)
    assert till.paid in ([], [1])
    error = caught.value
    assert (error.tool, error.action_id, error.finished) == ("pay", ACTION, False)
    assert error.to_dict()["begun_at"] == error.begun_at
    assert ctx.last("tool.failed")["error_code"] == "SF514"
    (result,) = await executor.execute_batch([pay(n=1)], ctx)
    assert result.status == "unknown"


async def test_a_tool_that_may_be_repeated_is(ctx):
    hangs = True

    def give(n):
        return anyio.sleep_forever() if hangs else ToolOutput.ok({"n": n})

    service, till = ApprovalService(), Till(give)
    executor = executor_of(till, service, idempotent=True)
    await interrupted(executor, service, ctx)
    hangs = False
    before = len(till.paid)
    assert (await executor.execute(pay(n=1), ctx)).data == {"n": 1}
    assert (await executor.execute(pay(n=1), ctx)).data == {"n": 1}
    assert len(till.paid) == before + 1


async def test_a_call_that_is_cut_short_before_its_handler_can_run_later(ctx):
    service, till = ApprovalService(), Till()
    executor = executor_of(till, service, max_concurrency=1)
    places = executor._find("PAY").places
    await places.acquire()
    async with anyio.create_task_group() as group, Desk(service, lambda _: YES).open():
        group.start_soon(executor.execute, pay(n=1), ctx)
        while "approval.decided" not in ctx.types:
            await anyio.lowlevel.checkpoint()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    places.release()
    assert (await executor.execute(pay(n=1), ctx)).data == {"n": 1}
    assert till.paid == [1]


async def test_an_outcome_that_cannot_be_kept_is_not_lost_to_who_waits_for_it(ctx):
    service, till = ApprovalService(), Till(lambda _: ToolOutput.ok({"file": object()}))
    executor = executor_of(till, service)
    output = await approved(executor, service, ctx, n=1)
    assert output.success
    with pytest.raises(ToolOutcomeUnknownError, match="was not kept") as caught:
        await executor.execute(pay(n=1), ctx)
    assert caught.value.finished is True
    assert till.paid == [1]


async def test_a_log_that_fails_at_the_end_does_not_make_a_success_a_failure(ctx):
    class Broken(ApprovalService):
        async def finish_execution(self, *args, **kwargs):
            raise OSError("no disk")

    service, till = Broken(), Till()
    output = await approved(executor_of(till, service), service, ctx, n=1)
    assert output.success
    assert ctx.types[-1] == "tool.completed"


async def test_v03_a_log_that_fails_at_the_beginning_lets_nothing_run(ctx):
    class Broken(ApprovalService):
        async def begin_execution(self, *args, **kwargs):
            raise OSError("no disk")

    service, till = Broken(), Till()
    with pytest.raises(ToolExecutionError, match="no disk"):
        await approved(executor_of(till, service), service, ctx, n=1)
    assert till.paid == []
    assert ctx.types[-1] == "tool.failed"
    assert "tool.started" not in ctx.types


async def test_what_was_done_is_kept_also_when_the_run_ends_meanwhile(ctx):
    class Slow(ApprovalService):
        async def finish_execution(self, *args, **kwargs):
            group.cancel_scope.cancel()
            await anyio.lowlevel.checkpoint()
            await super().finish_execution(*args, **kwargs)

    service, till = Slow(), Till()
    executor = executor_of(till, service)
    async with anyio.create_task_group() as group, Desk(service, lambda _: YES).open():
        group.start_soon(executor.execute, pay(n=1), ctx)
        await anyio.sleep_forever()
    service.__class__ = ApprovalService
    assert (await executor.execute(pay(n=1), ctx)).data == {"n": 1}
    assert till.paid == [1]


async def test_a_place_is_given_back_when_nothing_may_run(ctx):
    class Broken(ApprovalService):
        async def begin_execution(self, *args, **kwargs):
            raise OSError("no disk")

    service, till = Broken(), Till()
    executor = executor_of(till, service, max_concurrency=1)
    async with Desk(service, lambda _: YES).open():
        for number in range(3):
            (result,) = await executor.execute_batch([ToolAction(UUID(int=number), "PAY", {})], ctx)
            assert result.status == "failed"


async def test_what_is_given_again_says_whether_it_can_be_undone(ctx):
    async def take_back(metadata):
        """Take it back."""

    service, undo = ApprovalService(), UndoStore()
    till = Till(lambda n: ToolOutput.ok({"n": n}, undo_metadata={"n": n}))
    executor = executor_of(till, service, undo=undo, undoable=True, undo_handler=take_back)
    await approved(executor, service, ctx, n=1)
    await executor.execute(pay(n=1), ctx)
    assert ctx.last("tool.completed")["undo_available"] is True
    await executor.undo_action(ACTION, ctx)
    await executor.execute(pay(n=1), ctx)
    assert ctx.last("tool.completed")["undo_available"] is False


async def test_a_guard_that_sends_the_work_back_makes_its_calls_be_decided_on_anew():
    service, till = ApprovalService(), Till()
    executor = executor_of(till, service)
    judged = []

    async def model(ctx):
        return StageOutput.ok(tool_calls=[call("PAY", "c1", n=1)])

    async def guard(ctx):
        judged.append(ctx.inputs.get("results")[0]["status"])
        return StageOutput.ok() if len(judged) > 1 else StageOutput.fail(f"no {len(judged)}")

    pipeline = (
        Pipeline("pay")
        .with_stage("model", model, StageKind.TRANSFORM)
        .with_stage("tools", ToolStage(executor), StageKind.AGENT, ["model"])
        .with_stage("guard", guard, StageKind.GUARD, ["tools"])
    )
    strategy = GuardRetryStrategy(policies={"guard": GuardRetryPolicy(retry_stage="tools")})
    async with Desk(service, lambda request: YES).open() as desk:
        graph = pipeline.build(guard_retry_strategy=strategy)
        await graph.run(PipelineContext(pipeline_run_id=UUID(int=9)))
    # One approval, one execution: who refuses what was done is asked before it is done again.
    assert len(desk.seen) == 2
    assert till.paid == [1, 1]
    assert judged == ["completed"] * 2
