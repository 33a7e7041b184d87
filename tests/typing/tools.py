"""Tools, as a user's type checker sees them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from stageflow import Runtime, StageContext, StageKind
from stageflow.pipeline import SubpipelineResult
from stageflow.tools import (
    AdvancedToolExecutor,
    ApprovalDecision,
    ApprovalLog,
    ApprovalRequest,
    ApprovalService,
    ApprovalStatus,
    BaseTool,
    FunctionTool,
    MemoryApprovalLog,
    MemoryUndoLog,
    RateLimit,
    ResolvedToolCall,
    ToolAction,
    ToolCallResult,
    ToolCallStatus,
    ToolDefinition,
    ToolExecutor,
    ToolExecutorConfig,
    ToolInput,
    ToolOutput,
    ToolRegistry,
    ToolStage,
    UndoLog,
    UndoMetadata,
    UndoStore,
    UnresolvedToolCall,
    get_approval_service,
    get_tool_registry,
    get_undo_store,
    open_approvals,
    open_undo,
    tool,
)
from stageflow.tools.base import ToolInput as ClassToolInput
from stageflow.tools.base import ToolOutput as ClassToolOutput


@tool
async def weather(city: str, days: int = 1) -> dict[str, int]:
    """Tell the weather."""
    return {city: days}


@tool("ADD", requires_approval=True)
def add(a: int, b: int) -> int:
    return a + b


@tool("SEND", name="send", description="Sends.")
class Send(BaseTool):
    name = "send"
    action_type = "SEND"

    async def execute(self, input: ClassToolInput, ctx: dict[str, Any]) -> ClassToolOutput:
        return ClassToolOutput(True, {"sent": input.action.payload})


async def edit(given: ToolInput) -> ToolOutput:
    assert_type(given.behavior, str | None)
    return ToolOutput.ok({"id": str(given.action_id)}, undo_metadata={"before": "x"})


async def restore(metadata: UndoMetadata) -> None:
    assert_type(metadata.undo_data, dict[str, Any])


async def tools(ctx: StageContext) -> None:
    assert_type(weather, FunctionTool)
    assert_type(weather.definition, ToolDefinition)
    assert_type(add, FunctionTool)
    assert_type(Send(), Send)
    definition = ToolDefinition(
        "edit", "EDIT", edit, undoable=True, undo_handler=restore, rate_limit=RateLimit(3, 60)
    )
    executor = AdvancedToolExecutor(ToolExecutorConfig(30), tools=[weather, definition, Send()])
    assert_type(executor.declare("anthropic"), list[dict[str, Any]])
    action = ToolAction(UUID(int=1), "EDIT", {"text": "x"})
    assert_type(await executor.execute(action, ctx), ToolOutput)
    results = await executor.execute_calls([], ctx, provider="gemini")
    assert_type(results, list[ToolCallResult])
    assert_type(results[0].status, ToolCallStatus)
    assert_type(await executor.undo_action(action.id, ctx), bool)
    stage = ToolStage(executor, provider="openai", kind=StageKind.WORK)
    assert_type(stage.kind, StageKind)


def registries() -> None:
    registry = get_tool_registry()
    assert_type(registry, ToolRegistry)
    resolved, unresolved = registry.parse_and_resolve([], function_wrapper=None)
    assert_type(resolved, list[ResolvedToolCall])
    assert_type(unresolved, list[UnresolvedToolCall])


async def children(ctx: StageContext, executor: ToolExecutor) -> None:
    assert_type(await executor.spawn_subpipeline("inner", ctx, None), SubpipelineResult)


approval_log: ApprovalLog = MemoryApprovalLog()
undo_log: UndoLog = MemoryUndoLog()


async def decisions(runtime: Runtime) -> None:
    assert_type(get_approval_service(), ApprovalService)
    async with open_approvals(runtime, 60) as approvals:
        assert_type(approvals, ApprovalService)
    service = ApprovalService(log=approval_log)
    request = await service.request_approval(UUID(int=1), "edit", payload={"text": "x"})
    assert_type(request, ApprovalRequest)
    assert_type(request.status, ApprovalStatus)
    assert_type(request.decided_by, str | None)
    decision = await service.record_decision(request.id, True, "ada", payload={"text": "y"})
    assert_type(decision, ApprovalDecision)
    assert_type(await service.await_decision(request.id), ApprovalDecision)
    assert_type(await service.cancel_request(request.id), bool)
    assert_type(await service.get_request(request.id), ApprovalRequest | None)
    assert_type(await service.get_pending_requests(), list[ApprovalRequest])
    assert_type(await service.cleanup_settled(timedelta(days=30)), int)


async def undoing(runtime: Runtime) -> None:
    assert_type(get_undo_store(), UndoStore)
    async with open_undo(runtime) as opened:
        assert_type(opened, UndoStore)
    store = UndoStore(log=undo_log)
    await store.store(UUID(int=1), "edit", {"before": "x"}, ttl_seconds=60)
    assert_type(await store.get(UUID(int=1)), UndoMetadata | None)
    assert_type(await store.get_all(), list[UndoMetadata])
    executor = AdvancedToolExecutor(undo_store=store)
    assert_type(await executor.undo_action(UUID(int=1), None, again=True), bool)
