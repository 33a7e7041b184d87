"""One call of a tool, from the moment it is asked for to its only end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import anyio
import attrs

from stageflow.codec import CodecError
from stageflow.contracts import Clock
from stageflow.contracts.logs import get_logger
from stageflow.protocols import ExecutionContext
from stageflow.tools._batch import Turn
from stageflow.tools._handlers import HandlerTimeoutError, call_handler
from stageflow.tools._limits import ConcurrencyLimiter, RateLimiter
from stageflow.tools._schema import REDACTED, CompiledSchema, SchemaFaultError, copied, scrub
from stageflow.tools.config import ToolExecutorConfig
from stageflow.tools.definitions import ToolDefinition, ToolInput, ToolOutput, UndoMetadata
from stageflow.tools.errors import (
    ToolApprovalDeniedError,
    ToolApprovalTimeoutError,
    ToolArgumentsError,
    ToolDefinitionError,
    ToolDeniedError,
    ToolError,
    ToolExecutionError,
    ToolOutcomeUnknownError,
    ToolOutputError,
    ToolRateLimitError,
    ToolTimeoutError,
    describe,
)

if TYPE_CHECKING:
    from stageflow.tools.approval import ApprovalDecision, ApprovalRequest, ApprovalService
    from stageflow.tools.undo import UndoStore

__all__ = ("ReadyTool", "Services", "ToolCall")

_log = get_logger(__name__)
_ENDS: Final = frozenset({"tool.completed", "tool.denied", "tool.failed"})
_MAX_DEPTH: Final = 100
_MAX_CONTAINERS: Final = 100_000
_SECONDS_TO_KEEP: Final = 10
_MOVED: Final = (
    f"$: an edit has moved {REDACTED!r}, so that nobody knows what it stands for;"
    " it must stay where it was, or be written out"
)


@attrs.frozen(eq=False)
class Services:
    """What calls are made with."""

    config: ToolExecutorConfig
    clock: Clock
    approvals: Callable[[], ApprovalService]
    undo: Callable[[], UndoStore]

    def emit(self, ctx: ExecutionContext, type: str, facts: Mapping[str, Any]) -> None:
        """Tell listeners, whatever the context does about it."""
        if not self.config.emit_events:
            return
        try:
            ctx.try_emit_event(type, {**facts, "timestamp": self.clock.now().isoformat()})
        except Exception:  # noqa: BLE001 - a listener's failure is logged
            _log.exception("tool.event_lost", event_type=type)


class ReadyTool:
    """A definition with its schemas compiled and its limits counted.

    Raises:
        ToolDefinitionError: If a schema is none.
    """

    def __init__(self, definition: ToolDefinition, clock: Clock) -> None:
        self.definition = definition
        faults: list[str] = []
        self.inputs = _compiled("input_schema", definition.input_schema, faults)
        self.outputs = _compiled("output_schema", definition.output_schema, faults)
        if faults:
            raise ToolDefinitionError(definition.name, faults)
        places, limit = definition.max_concurrency, definition.rate_limit
        self.places = None if places is None else ConcurrencyLimiter(places)
        self.rate = None if limit is None else RateLimiter(definition.name, limit, clock)


def _compiled(which: str, schema: Mapping[str, Any] | None, faults: list[str]) -> CompiledSchema:
    try:
        return CompiledSchema(schema)
    except SchemaFaultError as error:
        faults.append(f"{which} is no JSON schema: {error}")
        return CompiledSchema(None)


class _BegunBeforeError(Exception):
    """The approval of a call was used already."""

    def __init__(self, request: ApprovalRequest) -> None:
        super().__init__(request.id)
        self.request = request


@attrs.define(eq=False)
class ToolCall:
    """One call of one tool; `run` gives its output or raises its error.

    A call that needs approval runs once per approval, however often it is made: what it has come
    to is kept, and given again.
    """

    tool: ReadyTool
    action: Any
    ctx: ExecutionContext
    services: Services
    turn: Turn | None = None
    _request: ApprovalRequest | None = None
    _execution: str | None = None
    _began: float | None = None
    _secrets: frozenset[str] = frozenset()
    _told: bool = False

    @property
    def definition(self) -> ToolDefinition:
        """The tool's definition."""
        return self.tool.definition

    async def run(self) -> ToolOutput:
        """Take the call to its end.

        Raises:
            ToolError: Why it has none of its own.
        """
        payload, faults = readable(self.action.payload, self.services.config.max_arguments_bytes)
        self._emit(
            "tool.invoked",
            behavior=self.ctx.execution_mode,
            payload=None if faults else self._hidden(payload),
        )
        try:
            return await self._to_the_end(payload, faults)
        except BaseException as stopped:
            parked = self.turn is not None and self.turn.has_left
            if not self._told and not parked:
                kind, code = type(stopped).__name__, getattr(stopped, "code", None)
                cancelled = isinstance(stopped, anyio.get_cancelled_exc_class())
                text = "the call was cancelled" if cancelled else describe(stopped)
                self._tell_failure(text, kind, code)
            raise

    async def _to_the_end(self, payload: dict[str, Any], faults: Sequence[str]) -> ToolOutput:
        self._gate()
        self._check(payload, faults)
        if self.definition.requires_approval:
            payload = await self._approved(payload)
        if self.turn is not None:
            await self.turn.run()
        if self._request is not None and self._is_used(self._request):
            return await self._given_before(self._request)
        ctx, name = self.ctx, self.definition.name
        given = ToolInput(
            self.action.id,
            name,
            payload,
            ctx.execution_mode,
            ctx.pipeline_run_id,
            ctx.request_id,
        )
        await self._turn(given)
        return await self._handle(given)

    # --- before the handler ---

    def _gate(self) -> None:
        tool, mode = self.definition, self.ctx.execution_mode
        if not tool.is_behavior_allowed(mode):
            error = ToolDeniedError(tool.name, mode, tool.allowed_behaviors)
            self._deny("behavior_not_allowed", error)

    def _check(self, payload: dict[str, Any], faults: Sequence[str] = ()) -> None:
        check = self.definition.check
        faults = faults or self.tool.inputs.faults(payload)
        if not faults and check is not None:
            try:
                faults = check(payload)
            except Exception as error:  # noqa: BLE001 - what a check raises is what is wrong
                faults = [f"{type(error).__name__}: {error}"]
        if faults:
            told = [scrub(fault, self._secrets) for fault in faults]
            self._deny("invalid_arguments", ToolArgumentsError(self.definition.name, told))

    async def _turn(self, given: ToolInput) -> None:
        if self.tool.rate is None:
            return
        try:
            await self.tool.rate.wait(given)
        except ToolRateLimitError as error:
            self._deny("rate_limited", error)
        except Exception as cause:
            raise self._failed(self._broken(cause)) from cause  # the limit's key raised

    async def _approved(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with which the call may run, as somebody has decided."""
        tool, ctx = self.definition, self.ctx
        seconds = self.services.config.approval_timeout_seconds
        message = tool.approval_message or f"May {tool.name} run?"
        shown = self._hidden(payload)
        request = self._request = await self.services.approvals().request_approval(
            self.action.id,
            tool.name,
            ctx.pipeline_run_id,
            message,
            payload=shown,
            timeout_seconds=seconds,
        )
        facts = {"approval_request_id": str(request.id)}
        if request.is_pending:
            self._emit(
                "approval.requested",
                **facts,
                approval_message=message,
                timeout_seconds=seconds,
                payload=shown,
            )
        decision = await self._decision(request, seconds)
        if decision is None:
            self._deny("approval_timeout", ToolApprovalTimeoutError(tool.name, request.id, seconds))
        edited = decision.granted and decision.payload is not None
        self._emit(
            "approval.decided",
            **facts,
            granted=decision.granted,
            edited=edited,
            decided_by=decision.decided_by,
            reason=decision.reason,
        )
        if not decision.granted:
            raise ToolApprovalDeniedError(tool.name, request.id, decision.reason)
        if not edited:
            return payload
        restored = self.tool.inputs.restore(decision.payload, payload)
        changed, faults = readable(restored, self.services.config.max_arguments_bytes)
        self._hidden(changed)
        if not faults and REDACTED in self.tool.inputs.secrets(changed):
            faults = [_MOVED]
        self._check(changed, faults)
        return changed

    async def _decision(self, request: ApprovalRequest, seconds: float) -> ApprovalDecision | None:
        approvals, turn = self.services.approvals(), self.turn
        try:
            if turn is not None:
                await turn.ask()
                async with turn.waiting():
                    decision = await approvals.await_in_run(self.ctx, request.id, seconds)
                if decision is not None:
                    return decision
                turn.go_alone()
            return await approvals.await_decision(request.id, seconds)
        except TimeoutError:
            return None

    def _deny(self, reason: str, error: ToolError) -> NoReturn:
        facts = {"reason": reason, "detail": error.message, "behavior": self.ctx.execution_mode}
        self._emit("tool.denied", **facts)
        raise error

    # --- the handler and after ---

    async def _handle(self, given: ToolInput) -> ToolOutput:
        tool = self.definition
        try:
            answer = await call_handler(
                tool.handler,
                given,
                self.ctx,
                on_start=self._start,
                limiter=self.tool.places,
                timeout_seconds=tool.timeout_seconds,
                clock=self.services.clock,
            )
        except _BegunBeforeError as before:
            return await self._given_before(before.request)
        except HandlerTimeoutError:
            seconds = tool.timeout_seconds or 0
            late = ToolTimeoutError(tool.name, self.action.id, seconds)
            raise await self._failed_at_last(late) from None
        except Exception as cause:
            raise await self._failed_at_last(self._broken(cause)) from cause
        output = self._judged(answer)
        if isinstance(output, ToolExecutionError):
            raise await self._failed_at_last(output)
        undo = output.success and await self._keep_undo(output)
        await self._finish({"output": _without_undo(output)})
        return self._told_output(output, undo)

    def _told_output(self, output: ToolOutput, undo: bool, **more: Any) -> ToolOutput:
        if not output.success:
            self._tell_failure(output.error or "The tool failed.", "ToolOutput", None)
            return output
        self._emit(
            "tool.completed",
            duration_ms=self._duration_ms(),
            data_keys=sorted(map(str, output.data or ())),
            artifact_count=len(output.artifacts or ()),
            undo_available=undo,
            **more,
        )
        return output

    def _judged(self, output: Any) -> ToolOutput | ToolExecutionError:
        """Return what a handler gave if it may give that, or else what is wrong with it."""
        name, action_id = self.definition.name, self.action.id
        if (wrong := _misshapen(output)) is not None:
            return ToolExecutionError(name, action_id, wrong)
        try:
            faults = self.tool.outputs.faults(copied(output.data or {})) if output.success else []
        except RecursionError:
            faults = ["$: it holds itself, or is nested too deep"]
        return ToolOutputError(name, action_id, faults) if faults else cast("ToolOutput", output)

    def _broken(self, cause: Exception) -> ToolExecutionError:
        told = scrub(describe(cause), self._secrets)
        return ToolExecutionError(self.definition.name, self.action.id, cause, told=told)

    async def _start(self) -> None:
        if self._request is not None:
            await self._use(self._request)
        self._began = self.services.clock.monotonic()
        self._emit("tool.started")

    async def _failed_at_last(self, error: ToolExecutionError) -> ToolExecutionError:
        kind = type(error.cause if isinstance(error.cause, Exception) else error).__name__
        told = {"error": error.message, "error_type": kind, "error_code": error.code}
        await self._finish({"failure": told})
        return self._failed(error)

    def _failed(self, error: ToolExecutionError) -> ToolExecutionError:
        kind = type(error.cause if isinstance(error.cause, Exception) else error).__name__
        self._tell_failure(error.message, kind, error.code)
        return error

    async def _keep_undo(self, output: ToolOutput) -> bool:
        """Keep what the undo needs; say whether there is an undo now."""
        tool, undo = self.definition, output.undo_metadata
        if not tool.undoable or undo is None:
            return False
        data = undo.undo_data if isinstance(undo, UndoMetadata) else dict(undo)
        try:
            # What was done was done, also when the run is cancelled meanwhile.
            with anyio.move_on_after(_SECONDS_TO_KEEP, shield=True) as scope:
                await self.services.undo().store(
                    self.action.id,
                    tool.name,
                    data,
                    ttl_seconds=self.services.config.undo_ttl_seconds,
                )
        except Exception:  # noqa: BLE001 - the tool has done its work; telling it failed would lie
            _log.exception("tool.undo_not_kept", tool=tool.name, action_id=str(self.action.id))
            return False
        return not scope.cancelled_caught

    # --- one approval, one execution ---

    def _is_used(self, request: ApprovalRequest) -> bool:
        known = request.execution
        if known is None:
            return False
        return known.finished_at is not None or not self.definition.idempotent

    async def _use(self, request: ApprovalRequest) -> None:
        """Note that the handler is about to begin, before it does.

        Raises:
            _BegunBeforeError: It has begun before.
        """
        known = request.execution
        execution, standing = await self.services.approvals().begin_execution(
            request.id, instead_of=None if known is None else known.id
        )
        if standing.execution is None or standing.execution.id != execution:
            raise _BegunBeforeError(standing)
        self._execution = execution

    async def _finish(self, outcome: dict[str, Any]) -> None:
        """Keep what an approved call has come to, so that it is given again and not done again."""
        if self._request is None or self._execution is None:
            return
        approvals, facts = self.services.approvals(), (self._request.id, self._execution)
        try:
            # What was done was done, also when the run is cancelled meanwhile.
            with anyio.move_on_after(_SECONDS_TO_KEEP, shield=True):
                try:
                    await approvals.finish_execution(*facts, outcome)
                except CodecError:
                    await approvals.finish_execution(*facts, None)
        except Exception:  # noqa: BLE001 - the tool has done its work; telling it failed would lie
            _log.exception("tool.outcome_not_kept", action_id=str(self.action.id))

    async def _given_before(self, request: ApprovalRequest) -> ToolOutput:
        """Return what the call gave when it ran, or raise what it raised.

        Raises:
            ToolOutcomeUnknownError: That is not known.
        """
        known, name = request.execution, self.definition.name
        if known is None or known.outcome is None:
            begun_at = "" if known is None else known.begun_at.isoformat()
            finished = known is not None and known.finished_at is not None
            unknown = ToolOutcomeUnknownError(
                name, self.action.id, request.id, begun_at, finished=finished
            )
            self._tell_failure(unknown.message, type(unknown).__name__, unknown.code)
            raise unknown
        if (failure := known.outcome.get("failure")) is not None:
            error = ToolExecutionError(
                name,
                self.action.id,
                failure["error_type"],
                hint="So it ended when it ran; it was not called again.",
            )
            error.args = (failure["error"],)
            self._tell_failure(failure["error"], failure["error_type"], failure["error_code"])
            raise error
        output = ToolOutput(**known.outcome["output"])
        undo = await self.services.undo().get(self.action.id) is not None
        return self._told_output(output, undo, replayed=True)

    # --- telling ---

    def _hidden(self, payload: dict[str, Any]) -> dict[str, Any]:
        self._secrets |= self.tool.inputs.secrets(payload)
        shown: dict[str, Any] = self.tool.inputs.redact(payload)
        return shown

    def _tell_failure(self, error: str, kind: str, code: str | None) -> None:
        facts = {"error": scrub(error, self._secrets), "error_type": kind, "error_code": code}
        self._emit("tool.failed", duration_ms=self._duration_ms(), **facts)

    def _duration_ms(self) -> float:
        began = self._began
        return 0.0 if began is None else (self.services.clock.monotonic() - began) * 1000.0

    def _emit(self, type: str, **facts: Any) -> None:
        ended = type in _ENDS or (type == "approval.decided" and not facts["granted"])
        self._told = self._told or ended
        about = {
            "tool_name": self.definition.name,
            "action_type": self.definition.action_type,
            "action_id": str(self.action.id),
        }
        self.services.emit(self.ctx, type, {**about, **facts})


def _misshapen(output: Any) -> str | None:
    """Return in what way something is no output of a tool, or None."""
    if not isinstance(output, ToolOutput):
        return f"it returned {type(output).__name__}, not a ToolOutput"
    artifacts: Any = output.artifacts
    for name, value, kind in (
        ("data", output.data, Mapping),
        ("error", output.error, str),
        ("artifacts", artifacts, list | tuple),
        ("undo_metadata", output.undo_metadata, Mapping | UndoMetadata),
    ):
        if value is not None and not isinstance(value, kind):
            wanted = {"error": "a text", "artifacts": "a list"}.get(name, "a dictionary")
            return f"its {name} is of type {type(value).__name__}, not {wanted}"
    for artifact in artifacts or ():
        if not isinstance(artifact, Mapping):
            return f"one of its artifacts is of type {type(artifact).__name__}, not a dictionary"
    return None


def _without_undo(output: ToolOutput) -> dict[str, Any]:
    # What undoing needs is kept where it is undone.
    return {name: value for name, value in output.to_dict().items() if name != "undo_metadata"}


def readable(payload: Any, max_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """Return a copy of arguments of one's own, and why they cannot be looked at, if so."""
    if payload is None:
        return {}, []
    if not isinstance(payload, Mapping):
        return {}, [f"$: an object is needed, not {type(payload).__name__}"]
    if fault := _nesting_fault(payload):
        return {}, [fault]
    plain: dict[str, Any] = copied(payload)
    try:
        size = len(json.dumps(plain, default=str, allow_nan=False))
    except (TypeError, ValueError) as error:
        return {}, [f"$: no JSON: {str(error)[:200]}"]
    if size > max_bytes:
        return {}, [f"$: too large: {size} bytes, where {max_bytes} are allowed"]
    return plain, []


def _nesting_fault(value: Any) -> str | None:
    level, seen = [value], 0
    for _ in range(_MAX_DEPTH):
        seen += len(level)
        if seen > _MAX_CONTAINERS:
            return f"$: more than {_MAX_CONTAINERS} objects and lists"
        names = (name for each in level if isinstance(each, Mapping) for name in each)
        if odd := next((name for name in names if not isinstance(name, str)), None):
            return f"$: the names in an object are texts, not {type(odd).__name__}"
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, Mapping | list | tuple)
        ]
        if not level:
            return None
    return f"$: nested more than {_MAX_DEPTH} levels deep"
