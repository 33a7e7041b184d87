"""A shop whose till is worked by processes that are killed; the paper roll is the world outside.

`python -m support.tool_processes LIFE FOLDER`, where a life is one of the functions below.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio

from stageflow import Pipeline, Runtime, StageKind, StageOutput
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.tools import (
    AdvancedToolExecutor,
    ToolDefinition,
    ToolExecutorConfig,
    ToolOutput,
    ToolStage,
    ToolUndoError,
    open_approvals,
    open_undo,
)

__all__ = ("RUN",)

RUN = UUID(int=7)
CALLS = [{"id": "c1", "name": "pay", "arguments": {"n": 1}}]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def say(text: str) -> None:
    sys.stdout.write(text)


class Shop:
    """One process in the shop."""

    def __init__(self, folder: Path, kill: str) -> None:
        self.roll = folder / "roll.txt"
        self.kill = kill

    def write(self, what: str) -> None:
        with self.roll.open("a") as roll:
            roll.write(f"{what}\n")
            roll.flush()
            os.fsync(roll.fileno())

    async def pay(self, given: Any) -> ToolOutput:
        if self.kill == "before paying":
            die()
        self.write("paid")
        if self.kill == "after paying":
            die()
        return ToolOutput.ok({"paid": 1}, None, {"n": 1})

    async def take_back(self, metadata: Any) -> None:
        self.write("taken back")
        if self.kill == "while undoing":
            die()

    async def model(self, ctx: Any) -> StageOutput:
        return StageOutput.ok(tool_calls=CALLS)

    async def last(self, ctx: Any) -> StageOutput:
        if self.kill == "after the call":
            die()
        return StageOutput.ok()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Any, Any, Any, Pipeline]]:
        tool = ToolDefinition(
            "pay",
            "PAY",
            self.pay,
            requires_approval=True,
            undoable=True,
            undo_handler=self.take_back,
        )
        store = SqliteRunStore(self.roll.parent / "runs.sqlite3", synchronous="normal")
        async with (
            Runtime(run_store=store) as runtime,
            open_approvals(runtime, poll_seconds=0.01) as approvals,
            open_undo(runtime) as undo,
        ):
            executor = AdvancedToolExecutor(
                ToolExecutorConfig(approval_timeout_seconds=600),
                undo,
                approvals,
                tools=[tool],
            )
            stage = ToolStage(executor, provider="direct")
            pipeline = (
                Pipeline("shop")
                .with_stage("model", self.model, StageKind.TRANSFORM)
                .with_stage("tools", stage, StageKind.AGENT, ["model"])
                .with_stage("last", self.last, StageKind.WORK, ["tools"])
            )
            yield runtime, approvals, executor, pipeline


async def ask(shop: Shop) -> None:
    """Run until somebody is asked, and be killed there."""
    async with shop.open() as opened, anyio.create_task_group() as group:
        runtime, approvals, _, pipeline = opened

        async def run() -> None:
            await runtime.run(pipeline, run_id=RUN, durability="step")

        group.start_soon(run)
        while not await approvals.get_pending_requests(RUN):  # noqa: ASYNC110 - a store has no event
            await anyio.sleep(0.001)
        die()


async def decide(shop: Shop) -> None:
    """Agree to what is asked, from a process that has nothing to do with the run."""
    async with shop.open() as (_, approvals, _, _):
        for request in await approvals.get_pending_requests():
            await approvals.record_decision(request.id, True, "ada")


async def resume(shop: Shop) -> None:
    """Go on with the run, and say what its call came to."""
    async with shop.open() as (runtime, _, _, pipeline):
        outcome = await runtime.resume(RUN, pipeline)
        (result,) = outcome.outputs["tools"].data["results"]
        say(f"{outcome.status} {result['status']}")


async def undo(shop: Shop) -> None:
    """Undo what the call has done."""
    async with shop.open() as (_, _, executor, _):
        (entry,) = await executor._services.undo().get_all()
        try:
            say(str(await executor.undo_action(entry.action_id, None)))
        except ToolUndoError as error:
            say(type(error).__name__)


if __name__ == "__main__":
    life, folder, *kill = sys.argv[1:]
    anyio.run(globals()[life], Shop(Path(folder), " ".join(kill)))
