"""A context that remembers events, and short ways to write tools, actions and calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel

from stageflow.tools import TOOL_EVENTS, ToolAction, ToolDefinition, ToolOutput

__all__ = ("RUN", "Desk", "Listening", "action", "call", "definition", "echo")

RUN = UUID("00000000-0000-4000-8000-00000000000a")


class Listening:
    """An execution context that remembers every event and insists that it fits its schema."""

    def __init__(self, execution_mode: str | None = "practice") -> None:
        self.pipeline_run_id = RUN
        self.request_id = UUID("00000000-0000-4000-8000-00000000000b")
        self.execution_mode = execution_mode
        self.events: list[tuple[str, dict[str, Any]]] = []

    def to_dict(self) -> dict[str, Any]:
        return {"pipeline_run_id": str(self.pipeline_run_id)}

    def try_emit_event(self, type: str, data: dict[str, Any]) -> None:
        assert TOOL_EVENTS.faults(type, data) == (), TOOL_EVENTS.faults(type, data)
        self.events.append((type, data))

    @property
    def types(self) -> list[str]:
        return [name for name, _ in self.events]

    def of(self, action_id: UUID) -> list[str]:
        return [name for name, data in self.events if data["action_id"] == str(action_id)]

    def last(self, type: str) -> dict[str, Any]:
        return [data for name, data in self.events if name == type][-1]


class Desk:
    """Decides every request for approval of a service, as a person at a desk would.

    Args:
        service: The service.
        decide: Gives, for a request, the keywords of `record_decision`, or None to let it wait.
    """

    def __init__(self, service: Any, decide: Callable[[Any], dict[str, Any] | None]) -> None:
        self.service = service
        self.decide = decide
        self.seen: list[Any] = []

    async def look(self) -> None:
        for request in await self.service.get_pending_requests():
            if all(request.id != each.id for each in self.seen):
                self.seen.append(request)
                if (decision := self.decide(request)) is not None:
                    await self.service.record_decision(request.id, **decision)

    async def work(self) -> None:
        while True:
            await self.look()
            await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.work)
            yield self
            group.cancel_scope.cancel()


async def echo(tool_input: Any) -> ToolOutput:
    return ToolOutput.ok({"echo": tool_input.payload})


def definition(action_type: str = "ECHO", handler: Any = echo, **more: Any) -> ToolDefinition:
    return ToolDefinition(more.pop("name", action_type.lower()), action_type, handler, **more)


def action(type: str = "ECHO", id: UUID | None = None, **payload: Any) -> ToolAction:
    return ToolAction(id or uuid4(), type, payload)


def call(name: str, id: str = "call_1", **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": id, "type": "function", "function": function}
