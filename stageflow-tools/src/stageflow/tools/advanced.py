"""AdvancedToolExecutor: carries out what a model asks for, each call to exactly one end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4, uuid5

import anyio

from stageflow.context import adapt_context
from stageflow.contracts import Clock, SystemClock
from stageflow.contracts.logs import get_logger
from stageflow.protocols import ExecutionContext
from stageflow.tools._batch import Batch, Turn
from stageflow.tools._call import ReadyTool, Services, ToolCall, readable
from stageflow.tools._handlers import call_handler
from stageflow.tools.config import ToolExecutorConfig
from stageflow.tools.definitions import ToolAction, ToolDefinition, ToolOutput
from stageflow.tools.errors import (
    DuplicateToolError,
    ToolArgumentsError,
    ToolError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolUndoError,
    UndoUnderWayError,
)
from stageflow.tools.formats import ParsedToolCall, ToolCallFormat, get_call_format
from stageflow.tools.functions import definition_of
from stageflow.tools.results import ToolCallResult

if TYPE_CHECKING:
    from stageflow.tools.approval import ApprovalService
    from stageflow.tools.undo import UndoStore

__all__ = ("AdvancedToolExecutor", "ToolExecutorConfig")

_log = get_logger(__name__)
_SECONDS_TO_FORGET: Final = 10
_ACTIONS: Final = UUID("6f1d3f0a-6a67-5d0e-9c53-3b1c1a8b7f10")


class AdvancedToolExecutor:
    """Carries out actions: checked, gated, approved, bounded, told as events, and undone.

    Each call ends with exactly one of `tool.completed`, `tool.failed`, `tool.denied`, or an
    `approval.decided` that was not granted.

    Args:
        config: How it treats all of its calls.
        undo_store: Keeps what undoing needs; the store of those who name none unless given.
        approval_service: Asks for decisions; the service of those who name none unless given.
        tools: Tools to register at once.
        clock: Source of time.
        new_id: Source of the ids of actions that have none.
    """

    def __init__(
        self,
        config: ToolExecutorConfig | None = None,
        undo_store: UndoStore | None = None,
        approval_service: ApprovalService | None = None,
        *,
        tools: Iterable[Any] = (),
        clock: Clock | None = None,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._services = Services(
            config or ToolExecutorConfig(),
            clock or SystemClock(),
            _shared_approvals if approval_service is None else lambda: approval_service,
            _shared_undo if undo_store is None else lambda: undo_store,
        )
        self._new_id = new_id
        self._by_type: dict[str, ReadyTool] = {}
        self._by_name: dict[str, ReadyTool] = {}
        self._undoing: dict[UUID, anyio.Event] = {}
        for tool in tools:
            self.register(tool)

    @property
    def config(self) -> ToolExecutorConfig:
        """How it treats all of its calls."""
        return self._services.config

    # --- tools ---

    def register(self, definition: Any, *, replace: bool = False) -> None:
        """Take a tool on: a definition, a function made a tool, or an instance of a tool class.

        Raises:
            DuplicateToolError: If its action type or name is taken and *replace* is false.
            ToolDefinitionError: If it is no tool, or a schema of it is none.
        """
        tool = definition_of(definition)
        ready = ReadyTool(tool, self._services.clock)
        rivals = self._rivals(tool)
        if rivals and not replace:
            key, rival = next(iter(rivals.items()))
            known, new = (f"tool {each.name!r}" for each in (rival.definition, tool))
            raise DuplicateToolError(key, known, new)
        for rival in rivals.values():
            self._by_type.pop(rival.definition.action_type, None)
            self._by_name.pop(rival.definition.name, None)
        self._by_type[tool.action_type] = ready
        self._by_name[tool.name] = ready

    def _rivals(self, tool: ToolDefinition) -> dict[str, ReadyTool]:
        # An undo knows the name, an action the type, a model either: no key may mean two tools.
        found: dict[str, ReadyTool] = {}
        for key in (tool.action_type, tool.name):
            rival = self._by_type.get(key) or self._by_name.get(key)
            if rival is not None:
                found[key] = rival
        return found

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """All tools, in the order of registration."""
        return tuple(ready.definition for ready in self._by_type.values())

    def get_definition(self, key: str) -> ToolDefinition | None:
        """Return the tool of an action type or name, or None."""
        ready = self._find(key)
        return None if ready is None else ready.definition

    def declare(
        self, provider: str | ToolCallFormat = "openai", *, behavior: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the tools as a provider wants to be told of them.

        Args:
            provider: The provider's shape.
            behavior: Leaves out the tools that may not be used in this execution mode.
        """
        tools = self.definitions
        if behavior is not None:
            tools = tuple(tool for tool in tools if tool.is_behavior_allowed(behavior))
        return get_call_format(provider).declare(tools)

    def _find(self, key: Any) -> ReadyTool | None:
        if not isinstance(key, str):
            return None
        return self._by_type.get(key) or self._by_name.get(key)

    # --- calls ---

    async def execute(self, action: Any, ctx: Any) -> ToolOutput:
        """Carry out one action.

        Args:
            action: Has `id`, `type` and `payload`, as a `ToolAction` has.
            ctx: The context of a run or a stage; a dictionary or None will do.

        Returns:
            What the tool gave, which may be a failure that it tells.

        Raises:
            ToolNotFoundError: There is no such tool.
            ToolDeniedError: It may not be used in the run's execution mode.
            ToolArgumentsError: The arguments do not fit.
            ToolApprovalDeniedError: Somebody has rejected the call.
            ToolApprovalTimeoutError: Nobody decided in time.
            ApprovalMismatchError: Approval was asked for with other arguments before.
            ToolOutcomeUnknownError: The approval was used, and how that ended is not known.
            ToolRateLimitError: Its turn is too far away.
            ToolExecutionError: The handler failed, ran out of time or gave what it may not give.
        """
        return await self._execute(action, adapt_context(ctx))

    async def _execute(
        self, action: Any, ctx: ExecutionContext, turn: Turn | None = None
    ) -> ToolOutput:
        ready = self._find(action.type)
        if ready is None:
            error = ToolNotFoundError(str(action.type), [*self._by_type, *self._by_name])
            self._refuse("not_found", error, action.id, ctx)
            raise error
        return await ToolCall(ready, action, ctx, self._services, turn).run()

    async def execute_batch(self, actions: Iterable[Any], ctx: Any) -> list[ToolCallResult]:
        """Carry out actions at once, each with its own decision; never raises for one of them.

        Returns:
            One result for each action, in their order.
        """
        context = adapt_context(ctx)
        wanted = list(actions)
        names = [str(getattr(action, "type", "")) for action in wanted]
        ids = [str(getattr(action, "id", "")) for action in wanted]
        return await self._side_by_side(list(zip(ids, names, wanted, strict=True)), context)

    async def execute_calls(
        self,
        calls: Iterable[Any] | None,
        ctx: Any,
        *,
        provider: str | ToolCallFormat = "openai",
        key: str | None = None,
        decisions_first: bool = False,
    ) -> list[ToolCallResult]:
        """Carry out the calls of a model, each with its own decision; never raises for one.

        Args:
            calls: The calls in the provider's shape, or the parts among which they are.
            ctx: The context of a run or a stage; a dictionary or None will do.
            provider: The provider's shape.
            key: Names this batch. The same calls under the same key are the same actions, so that
                a decision is found that was made while the process was down. New actions unless
                given.
            decisions_first: Whether in a durable run no call runs before all are decided on, so
                that the run can leave memory meanwhile. It needs a key, and approvals that wake
                runs; see `open_approvals`.

        Returns:
            One result for each call, in their order.
        """
        context = adapt_context(ctx)
        shape = get_call_format(provider)
        parsed = shape.parse(calls, max_bytes=self.config.max_arguments_bytes)
        wanted: list[tuple[str, str, Any]] = []
        for place, call in enumerate(parsed):
            action_id = self._new_id() if key is None else self._action_id(key, place, call)
            action = ToolAction(action_id, call.name, call.arguments)
            wanted.append((call.call_id, call.name, action if call.error is None else call))
        batch = Batch(len(wanted)) if decisions_first and key is not None else None
        return await self._side_by_side(wanted, context, batch)

    def _action_id(self, key: str, place: int, call: ParsedToolCall) -> UUID:
        arguments, faults = readable(call.arguments, self.config.max_arguments_bytes)
        parts = {"key": key, "place": place, "id": call.call_id, "name": call.name}
        # Arguments that cannot be looked at are refused, whatever the action is called.
        said = {**parts, "arguments": None if faults else arguments}
        return uuid5(_ACTIONS, json.dumps(said, sort_keys=True, default=str))

    async def _side_by_side(
        self,
        wanted: list[tuple[str, str, Any]],
        ctx: ExecutionContext,
        batch: Batch | None = None,
    ) -> list[ToolCallResult]:
        results: dict[int, ToolCallResult] = {}

        async def carry_out(place: int, call_id: str, name: str, action: Any) -> None:
            action_id = getattr(action, "id", None) or self._new_id()
            turn = None if batch is None else Turn(batch)
            outcome = await self._outcome(action, action_id, ctx, turn)
            if turn is not None:  # not if the call is cut short: then none of the batch is to run
                turn.end()
            results[place] = ToolCallResult.of(call_id, name, action_id, outcome)

        async with anyio.create_task_group() as group:
            for place, each in enumerate(wanted):
                group.start_soon(carry_out, place, *each)
        return [results[place] for place in range(len(wanted))]

    async def _outcome(
        self, action: Any, action_id: UUID, ctx: ExecutionContext, turn: Turn | None
    ) -> ToolOutput | ToolError:
        """Return what a call gave, or why it gave nothing."""
        if isinstance(action, ParsedToolCall):
            error = ToolArgumentsError(action.name or "?", [str(action.error)])
            self._refuse("invalid_arguments", error, action_id, ctx)
            return error
        try:
            return await self._execute(action, ctx, turn)
        except ToolError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a broken store or service, say
            # This call is lost, the others are not.
            _log.exception("tool.call_failed", action_id=str(action_id))
            name = str(getattr(action, "type", type(action).__name__))
            return ToolExecutionError(
                name, action_id, error, hint="See the log: the fault lies beside the tool."
            )

    def _refuse(
        self, reason: str, error: ToolError, action_id: object, ctx: ExecutionContext
    ) -> None:
        facts = {
            "tool_name": error.tool[:200],
            "action_type": error.tool[:200],
            "action_id": str(action_id),
            "reason": reason,
            "detail": error.message,
            "behavior": ctx.execution_mode,
        }
        self._services.emit(ctx, "tool.denied", facts)

    # --- undo ---

    async def undo_action(self, action_id: UUID, ctx: Any, *, again: bool = False) -> bool:
        """Undo what an action has done, once.

        Args:
            action_id: The action.
            ctx: The context of a run or a stage; a dictionary or None will do.
            again: Whether to undo it though an undo has begun whose end is not known.

        Returns:
            False if there is nothing to undo: it was undone already, it was kept too long ago,
            or its tool has no undo handler.

        Raises:
            ToolUndoError: The undo handler failed. It can be tried again.
            UndoUnderWayError: An undo has begun, and how it ended is not known.
        """
        context = adapt_context(ctx)
        while (under_way := self._undoing.get(action_id)) is not None:
            await under_way.wait()
        self._undoing[action_id] = done = anyio.Event()
        try:
            return await self._undo(action_id, context, again)
        finally:
            del self._undoing[action_id]
            done.set()

    async def _undo(self, action_id: UUID, ctx: ExecutionContext, again: bool) -> bool:
        services = self._services
        store = services.undo()
        metadata = await store.get(action_id)
        if metadata is None:
            return False
        ready = self._by_name.get(metadata.tool_name) or self._by_type.get(metadata.tool_name)
        tool = None if ready is None else ready.definition
        if tool is None or tool.undo_handler is None:
            _log.warning("tool.no_undo", tool=metadata.tool_name, action_id=str(action_id))
            return False
        began = services.clock.monotonic()
        about = {
            "tool_name": tool.name,
            "action_type": tool.action_type,
            "action_id": str(action_id),
        }

        def tell(type: str, **facts: Any) -> None:
            took = (services.clock.monotonic() - began) * 1000.0
            services.emit(ctx, type, {**about, "duration_ms": took, **facts})

        def tell_failure(error: ToolUndoError, kind: str) -> None:
            tell(
                "tool.undo_failed",
                error=error.message,
                error_type=kind,
                error_code=error.code,
            )

        try:
            claim = await store.claim(action_id, again=again or tool.idempotent)
        except UndoUnderWayError as error:
            tell_failure(error, type(error).__name__)
            raise
        if claim is None:
            return False
        try:
            await call_handler(
                tool.undo_handler,
                metadata,
                ctx,
                timeout_seconds=tool.timeout_seconds,
                clock=services.clock,
            )
        except Exception as cause:
            await store.release(action_id, claim)
            failure = ToolUndoError(tool.name, action_id, _reason(cause, tool))
            tell_failure(failure, type(cause).__name__)
            raise failure from cause
        await self._forget_undone(store, action_id)
        tell("tool.undone")
        return True

    async def _forget_undone(self, store: UndoStore, action_id: UUID) -> None:
        try:
            with anyio.move_on_after(_SECONDS_TO_FORGET, shield=True):
                await store.delete(action_id)
        except Exception:  # noqa: BLE001 - it is undone, and its claim keeps it from being again
            _log.exception("tool.undo_not_forgotten", action_id=str(action_id))


def _shared_approvals() -> ApprovalService:
    from stageflow.tools.approval import get_approval_service

    return get_approval_service()


def _shared_undo() -> UndoStore:
    from stageflow.tools.undo import get_undo_store

    return get_undo_store()


def _reason(cause: Exception, tool: ToolDefinition) -> str:
    if type(cause).__name__ == "HandlerTimeoutError":
        return f"it did not end within {tool.timeout_seconds} seconds"
    return f"{type(cause).__name__}: {cause}"
