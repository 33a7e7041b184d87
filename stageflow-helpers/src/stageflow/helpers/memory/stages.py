"""The two stages around a model: one that remembers what was said, one that writes it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.helpers.memory.contract import (
    MemoryConfig,
    MemoryEntry,
    MemoryStore,
    MemoryWindow,
)
from stageflow.stages import StageKind, StageOutput

if TYPE_CHECKING:
    from uuid import UUID

    from stageflow.context import StageContext

__all__ = ("MemoryFetchStage", "MemoryWriteStage")

_NO_SESSION = "No session_id in context"


class MemoryFetchStage:
    """Fetches what was said before in the session.

    Its output has `memory_entries` (dictionaries, oldest first), `memory_count`, `memory_tokens`
    and `memory_left_out`, the number of older entries that did not fit the limits; if there are
    any, `memory.truncated` says so as well. Without a session it is skipped.

    Args:
        store: Where the entries are.
        config: How many of them; the defaults of `MemoryConfig` unless given.
    """

    name = "memory_fetch"
    kind = StageKind.ENRICH

    def __init__(self, store: MemoryStore, config: MemoryConfig | None = None) -> None:
        self._store = store
        self._config = config or MemoryConfig()

    async def execute(self, ctx: StageContext) -> StageOutput:
        """Fetch the entries of the snapshot's session."""
        session_id = ctx.snapshot.session_id
        if session_id is None:
            return StageOutput.skip(reason=_NO_SESSION)
        entries = await self._store.fetch(session_id, self._config)
        left_out = entries.left_out if isinstance(entries, MemoryWindow) else 0
        if left_out:
            self._tell_truncated(ctx, session_id, len(entries), left_out)
        return StageOutput.ok(
            memory_entries=[entry.to_dict() for entry in entries],
            memory_count=len(entries),
            memory_tokens=sum(self._config.count_tokens(entry.content) for entry in entries),
            memory_left_out=left_out,
        )

    def _tell_truncated(
        self, ctx: StageContext, session_id: UUID, kept: int, left_out: int
    ) -> None:
        facts: dict[str, Any] = {
            "session_id": str(session_id),
            "kept": kept,
            "left_out": left_out,
            "max_entries": self._config.max_entries,
            "max_tokens": self._config.max_tokens,
        }
        ctx.try_emit_event("memory.truncated", facts)


class MemoryWriteStage:
    """Writes down what the user said and what the model answered.

    The user's part is the snapshot's `input_text`, or what a stage has made of the input, such
    as the text of what was spoken. The answer is an output of the stage named *response_stage*,
    which must be a dependency; a stage without any dependency writes the user's part only.
    Entries carry the run's id, so a repeated attempt writes nothing twice. Without a session it
    is skipped.

    Args:
        store: Where the entries go.
        response_stage: The stage that answers.
        response_key: The key of the answer in its output.
        input_stage: The stage that knows what the user said, a dependency as well; the snapshot
            does unless given.
        input_key: The key of the user's part in its output.
        clock: Source of the entries' times.
    """

    name = "memory_write"
    kind = StageKind.WORK

    def __init__(
        self,
        store: MemoryStore,
        *,
        response_stage: str = "llm",
        response_key: str = "response",
        input_stage: str | None = None,
        input_key: str = "text",
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._input_stage = input_stage
        self._input_key = input_key
        self._response_stage = response_stage
        self._response_key = response_key
        self._clock = clock or SystemClock()

    async def execute(self, ctx: StageContext) -> StageOutput:
        """Write the entries of this turn."""
        session_id = ctx.snapshot.session_id
        if session_id is None:
            return StageOutput.skip(reason=_NO_SESSION)
        said = {"user": self._input(ctx), "assistant": self._response(ctx)}
        written = 0
        for role, content in said.items():
            if content:
                await self._store.write(self._entry(ctx, session_id, role, str(content)))
                written += 1
        return StageOutput.ok(entries_written=written, session_id=str(session_id))

    def _input(self, ctx: StageContext) -> Any:
        if self._input_stage is None:
            return ctx.snapshot.input_text
        return ctx.inputs.get_from(self._input_stage, self._input_key, default=None)

    def _response(self, ctx: StageContext) -> Any:
        if not ctx.inputs.declared_deps:
            return None
        return ctx.inputs.get_from(self._response_stage, self._response_key, default=None)

    def _entry(self, ctx: StageContext, session_id: UUID, role: str, content: str) -> MemoryEntry:
        run_id = ctx.pipeline_run_id
        return MemoryEntry(
            id=f"{ctx.snapshot.interaction_id or 'unknown'}_{role}",
            session_id=session_id,
            role=role,
            content=content,
            timestamp=self._clock.now(),
            metadata={} if run_id is None else {"pipeline_run_id": str(run_id)},
        )
