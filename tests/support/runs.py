"""What tests of runs share: a sink that remembers, and short ways to run stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from stageflow._engine.plan import Node, compile_plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.context import PipelineContext
from stageflow.stages import StageKind

__all__ = ("RememberingSink", "node", "run_nodes")


@attrs.define
class RememberingSink:
    """Keeps every event in order."""

    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        self.try_emit(type=type, data=data)

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        self.events.append((type, dict(data or {})))

    def types(self, stage: str | None = None) -> list[str]:
        """The types of all events, or of those of one stage, in order."""
        return [t for t, data in self.events if stage is None or data.get("stage") == stage]

    def of(self, type: str) -> list[dict[str, Any]]:
        """The payloads of all events of one type, in order."""
        return [data for t, data in self.events if t == type]


def node(name: str, runner: Any, *needs: str, **fields: Any) -> Node:
    """A stage for the engine."""
    return Node(name, runner, fields.pop("kind", StageKind.TRANSFORM), needs, **fields)


async def run_nodes(
    nodes: Iterable[Node],
    *,
    sink: RememberingSink | None = None,
    context: PipelineContext | None = None,
    options: RunOptions | None = None,
    **plan: Any,
) -> RunReport:
    """Compile and run stages; returns the report, whatever the outcome."""
    context = context or PipelineContext(event_sink=sink)
    return await Run(compile_plan(nodes, **plan), context, options or RunOptions()).execute()
