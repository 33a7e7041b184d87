"""Tools, as a user's type checker sees them."""

from __future__ import annotations

from typing import Any, assert_type
from uuid import UUID

from stageflow import StageContext, StageKind
from stageflow.pipeline import SubpipelineResult
from stageflow.tools import (
    AdvancedToolExecutor,
    BaseTool,
    FunctionTool,
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
    UndoMetadata,
    UnresolvedToolCall,
    get_tool_registry,
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
