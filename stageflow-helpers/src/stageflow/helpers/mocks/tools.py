"""MockToolExecutor: runs tools for tests."""

from __future__ import annotations

import inspect
import random as random_module
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeAlias

import attrs

from stageflow.contracts.clock import Clock
from stageflow.helpers.mocks._simulation import Simulation

__all__ = ("MockToolExecutor", "MockToolResult")

ToolHandler: TypeAlias = Callable[[dict[str, Any]], Any]


@attrs.frozen
class MockToolResult:
    """What became of one call of a tool.

    Attributes:
        success: Whether the tool did its work.
        output: What it gave.
        error: Why it did not.
        duration_ms: How long it took.
    """

    success: bool
    output: Any = None
    error: str | None = None
    duration_ms: float = 0.0


class MockToolExecutor:
    """Calls tools by name; a tool is a function, plain or async, of the dictionary of arguments.

    Args:
        tools: Functions by name.
        default_output: What an unknown tool gives; `{"status": "ok"}` unless given.
        latency_ms: How long a call takes, beside the function.
        fail_rate: Share of the calls that fail without reaching the tool.
        random: Source of the failures; of a fixed seed unless given.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        tools: Mapping[str, ToolHandler] | None = None,
        default_output: Any = None,
        latency_ms: float = 10,
        fail_rate: float = 0.0,
        random: random_module.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._tools = dict(tools or {})
        self._default_output = {"status": "ok"} if default_output is None else default_output
        self._simulation = Simulation(
            "MockToolExecutor",
            latency_ms=latency_ms,
            fail_rate=fail_rate,
            random=random,
            clock=clock,
        )
        self.reset()

    def reset(self) -> None:
        """Forget all calls; tools stay registered."""
        self.execution_count = 0
        self.execution_history: list[dict[str, Any]] = []

    def register_tool(self, name: str, handler: ToolHandler) -> None:
        """Have *handler* called for *name* from now on."""
        self._tools[name] = handler

    async def execute(
        self, name: str, arguments: Mapping[str, Any] | None = None
    ) -> MockToolResult:
        """Call the tool *name*; what it raises becomes a result that says so."""
        given = dict(arguments or {})
        self.execution_count += 1
        self.execution_history.append(
            {
                "tool": name,
                "arguments": deepcopy(given),
                "timestamp": self._simulation.timestamp(),
            }
        )
        started = self._simulation.clock.monotonic()
        await self._simulation.pass_time()
        if self._simulation.fails():
            return self._result(started, error="Mock tool execution failed")
        handler = self._tools.get(name)
        if handler is None:
            return self._result(started, output=deepcopy(self._default_output))
        try:
            output = handler(given)
            if inspect.isawaitable(output):
                output = await output
        except Exception as error:  # noqa: BLE001 - the result carries it
            return self._result(started, error=str(error))
        return self._result(started, output=output)

    def _result(
        self, started: float, *, output: Any = None, error: str | None = None
    ) -> MockToolResult:
        duration_ms = (self._simulation.clock.monotonic() - started) * 1000
        return MockToolResult(error is None, output, error, duration_ms)
