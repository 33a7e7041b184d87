"""Calls that somebody must agree to: approved, edited, rejected, expired; each on its own."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from stageflow.testing import TestClock
from stageflow.tools import (
    TOOL_EVENTS,
    AdvancedToolExecutor,
    ApprovalService,
    ToolApprovalDeniedError,
    ToolApprovalTimeoutError,
    ToolArgumentsError,
    ToolExecutorConfig,
    ToolOutput,
)
from support.golden_events import ANY_MS, ANY_TIME, assert_golden
from support.tools import Desk, Listening, action, call, definition

pytestmark = pytest.mark.anyio
ACTION = UUID("00000000-0000-4000-8000-000000000001")
ABOUT = {
    "tool_name": "send",
    "action_type": "SEND",
    "action_id": str(ACTION),
    "timestamp": ANY_TIME,
}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "key": {"type": "string", "writeOnly": True}},
}
YES = {"granted": True, "decided_by": "ada"}
NO = {"granted": False, "decided_by": "bob", "reason": "too dear"}


class Mailbox:
    """Remembers what was really sent."""

    def __init__(self):
        self.sent = []

    async def send(self, given):
        self.sent.append(given.payload)
        return ToolOutput.ok({"n": given.payload.get("n")})


@pytest.fixture
def ctx():
    return Listening()


@pytest.fixture
def mailbox():
    return Mailbox()


def executor_of(mailbox, service, **config):
    tool = definition(
        "SEND",
        mailbox.send,
        requires_approval=True,
        approval_message="Send it?",
        input_schema=SCHEMA,
    )
    return AdvancedToolExecutor(
        ToolExecutorConfig(**config), approval_service=service, tools=[tool]
    )


async def test_an_approved_call_runs_and_its_approval_is_told(ctx, mailbox):
    service = ApprovalService()
    executor = executor_of(mailbox, service)
    async with Desk(service, lambda _: YES).open() as desk:
        output = await executor.execute(action("SEND", id=ACTION, n=1, key="hunter22"), ctx)
    assert output.data == {"n": 1}
    assert mailbox.sent == [{"n": 1, "key": "hunter22"}]
    (request,) = desk.seen
    assert (request.action_id, request.tool_name) == (ACTION, "send")
    assert request.approval_message == "Send it?"
    asked = {**ABOUT, "approval_request_id": str(request.id)}
    assert_golden(
        ctx.events[1:],
        [
            (
                "approval.requested",
                {
                    **asked,
                    "approval_message": "Send it?",
                    "timeout_seconds": 60,
                    "payload": {"n": 1, "key": "[redacted]"},
                },
            ),
            (
                "approval.decided",
                {**asked, "granted": True, "edited": False, "decided_by": "ada", "reason": None},
            ),
            ("tool.started", ABOUT),
            (
                "tool.completed",
                {
                    **ABOUT,
                    "duration_ms": ANY_MS,
                    "data_keys": ["n"],
                    "artifact_count": 0,
                    "undo_available": False,
                },
            ),
        ],
        TOOL_EVENTS,
    )


async def test_who_decides_never_sees_a_secret(ctx, mailbox):
    service = ApprovalService()
    async with Desk(service, lambda _: YES).open() as desk:
        await executor_of(mailbox, service).execute(action("SEND", n=1, key="hunter22"), ctx)
    assert desk.seen[0].payload == {"n": 1, "key": "[redacted]"}
    assert "hunter22" not in str(desk.seen[0])
    assert "hunter22" not in str(ctx.events)


async def test_v03_a_rejected_call_never_runs(ctx, mailbox):
    service = ApprovalService()
    async with Desk(service, lambda _: NO).open() as desk:
        with pytest.raises(ToolApprovalDeniedError, match="too dear") as caught:
            await executor_of(mailbox, service).execute(action("SEND", id=ACTION), ctx)
    assert mailbox.sent == []
    error = caught.value
    assert (error.tool, error.request_id, error.reason) == ("send", desk.seen[0].id, "too dear")
    assert ctx.types == ["tool.invoked", "approval.requested", "approval.decided"]
    assert ctx.last("approval.decided")["granted"] is False
    assert ctx.last("approval.decided")["decided_by"] == "bob"


async def test_v03_a_call_that_nobody_decides_on_never_runs(mailbox):
    clock, ctx = TestClock(autojump=True), Listening()
    service = ApprovalService(clock=clock)
    executor = executor_of(mailbox, service, approval_timeout_seconds=5)
    with pytest.raises(ToolApprovalTimeoutError) as caught:
        await executor.execute(action("SEND", id=ACTION), ctx)
    assert clock.monotonic() == 5
    assert mailbox.sent == []
    assert (caught.value.tool, caught.value.timeout_seconds) == ("send", 5)
    assert str(caught.value.request_id) == ctx.last("approval.requested")["approval_request_id"]
    assert ctx.types == ["tool.invoked", "approval.requested", "tool.denied"]
    assert ctx.last("tool.denied")["reason"] == "approval_timeout"


async def test_an_edited_call_runs_with_the_edited_arguments(ctx, mailbox):
    service = ApprovalService()
    edited = {**YES, "payload": {"n": 7, "key": "[redacted]"}}
    async with Desk(service, lambda _: edited).open():
        output = await executor_of(mailbox, service).execute(
            action("SEND", n=1, key="hunter22"), ctx
        )
    assert output.data == {"n": 7}
    assert mailbox.sent == [{"n": 7, "key": "hunter22"}]
    assert ctx.last("approval.decided")["edited"] is True


@pytest.mark.parametrize("payload", [{"n": "seven"}, ["n"], {"n": 10**5_000}], ids=["t", "l", "d"])
async def test_an_edit_that_does_not_fit_never_runs(ctx, mailbox, payload):
    service = ApprovalService()
    async with Desk(service, lambda _: {**YES, "payload": payload}).open():
        with pytest.raises(ToolArgumentsError):
            await executor_of(mailbox, service).execute(action("SEND", n=1), ctx)
    assert mailbox.sent == []
    assert ctx.types[-2:] == ["approval.decided", "tool.denied"]


async def test_a_new_secret_of_an_edit_is_hidden_as_well(ctx):
    async def fail(given):
        raise ValueError(given.payload["key"])

    service = ApprovalService()
    tool = definition("SEND", fail, requires_approval=True, input_schema=SCHEMA)
    executor = AdvancedToolExecutor(approval_service=service, tools=[tool])
    edited = {**YES, "payload": {"key": "correct horse"}}
    async with Desk(service, lambda _: edited).open():
        (result,) = await executor.execute_batch([action("SEND", key="hunter22")], ctx)
    assert result.status == "failed"
    assert "correct horse" not in str(ctx.events)
    assert "correct horse" not in result.error.message


async def test_arguments_that_do_not_fit_bother_nobody(ctx, mailbox):
    service = ApprovalService()
    async with Desk(service, lambda _: YES).open() as desk:
        with pytest.raises(ToolArgumentsError):
            await executor_of(mailbox, service).execute(action("SEND", n="x"), ctx)
    assert desk.seen == []


async def test_a_cancelled_wait_is_not_swallowed(ctx, mailbox):
    service = ApprovalService()
    async with anyio.create_task_group() as group:
        group.start_soon(executor_of(mailbox, service).execute, action("SEND", id=ACTION), ctx)
        while "approval.requested" not in ctx.types:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert mailbox.sent == []
    assert ctx.of(ACTION) == ["tool.invoked", "approval.requested", "tool.failed"]


async def test_a_service_that_fails_loses_its_call_alone(ctx, mailbox):
    class Broken(ApprovalService):
        async def request_approval(self, action_id, *args, **kwargs):
            if action_id == ACTION:
                raise OSError("no disk")
            return await super().request_approval(action_id, *args, **kwargs)

    service = Broken()
    executor = executor_of(mailbox, service)
    async with Desk(service, lambda _: YES).open():
        results = await executor.execute_batch(
            [action("SEND", n=1), action("SEND", id=ACTION, n=2), action("SEND", n=3)], ctx
        )
    assert [each.status for each in results] == ["completed", "failed", "completed"]
    assert "no disk" in results[1].error.message
    assert ctx.of(ACTION)[-1] == "tool.failed"


async def test_bug078_a_hundred_calls_with_mixed_decisions_lose_none():
    clock, ctx, mailbox = TestClock(autojump=True), Listening(), Mailbox()
    service = ApprovalService(clock=clock)
    executor = executor_of(mailbox, service, approval_timeout_seconds=30)

    def decide(request):
        n = request.payload["n"]
        edited = {**YES, "payload": {"n": n + 1_000}}
        spoilt = {**YES, "payload": {"n": "spoilt"}}
        return (YES, NO, edited, None, spoilt)[n % 5]

    calls = [call("SEND", f"c{n}", n=n) for n in range(100)]
    desk = Desk(service, decide)
    results = []

    async def carry_out():
        results.extend(await executor.execute_calls(calls, ctx))

    async with anyio.create_task_group() as group:
        group.start_soon(carry_out)
        while len(desk.seen) < 100:
            await desk.look()
            await anyio.lowlevel.checkpoint()
    assert [each.call_id for each in results] == [f"c{n}" for n in range(100)]
    expected = ["completed", "rejected", "completed", "expired", "invalid"] * 20
    assert [each.status.value for each in results] == expected
    assert sorted(each["n"] for each in mailbox.sent) == sorted(
        [n for n in range(100) if n % 5 == 0] + [n + 1_000 for n in range(100) if n % 5 == 2]
    )
    ends = Counter(ctx.of(each.action_id)[-1] for each in results)
    assert ends == {"tool.completed": 40, "approval.decided": 20, "tool.denied": 40}
    assert len({each.action_id for each in results}) == 100
    assert all(each.output is not None for each in results)
