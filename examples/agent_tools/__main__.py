"""Watch an agent at work: `python -m agent_tools`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import anyio

from agent_tools.agent import AgentStage, scripted_model
from agent_tools.shop import Shop
from stageflow import Pipeline, StageKind
from stageflow.tools import AdvancedToolExecutor, ApprovalService, UndoStore

__all__ = ("converse",)

LIMIT = 50.0


class Printer:
    """A sink that prints what concerns tools."""

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Print one event, if it is about a tool."""
        if data and type.startswith(("tool.", "approval.")):
            shown = data.get("payload") or data.get("detail") or data.get("decided_by") or ""
            print(f"{type:<20} {data['tool_name']:<14} {shown}")

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Print one event, if it is about a tool."""
        self.try_emit(type=type, data=data)


async def supervise(approvals: ApprovalService) -> None:
    """Agree to every refund, but to no more than the limit; as a person would at a screen."""
    while True:
        for request in await approvals.get_pending_requests():
            payload = dict(request.payload or {})
            payload["amount"] = min(payload["amount"], LIMIT)
            await approvals.record_decision(
                request.id, True, "the supervisor", f"at most {LIMIT}", payload=payload
            )
        await anyio.sleep(0.01)


async def converse(shop: Shop) -> dict[str, Any]:
    """Have the agent answer a customer; return the answer, and what it did."""
    approvals, undo = ApprovalService(), UndoStore()
    executor = AdvancedToolExecutor(approval_service=approvals, undo_store=undo, tools=shop.tools())
    agent = AgentStage(scripted_model(), executor)
    pipeline = Pipeline("shop").with_stage("agent", agent, StageKind.AGENT)
    async with anyio.create_task_group() as group:
        group.start_soon(supervise, approvals)
        results = await pipeline.run(
            input_text="My lamp from order A-17 is broken.", event_sink=Printer()
        )
        group.cancel_scope.cancel()
    answer = dict(results["agent"].data)
    answer["refunded"] = dict(shop.refunds)
    refund = answer["actions"][-1]
    answer["undone"] = await executor.undo_action(UUID(refund["action_id"]), None)
    return answer


async def main() -> None:
    """Print how the agent works, and what became of it."""
    shop = Shop()
    answer = await converse(shop)
    for action in answer["actions"]:
        print(f"{action['call_id']}: {action['name']} {action['status']}")
    print(answer["answer"])
    print(f"paid back {answer['refunded']}; undone: {answer['undone']}; now {shop.refunds}")


if __name__ == "__main__":
    anyio.run(main)
