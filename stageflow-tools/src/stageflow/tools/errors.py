"""The errors of tools; SF500 to SF519 are those of calls, SF520 to SF529 those of what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from stageflow.errors import DefinitionError, RunError, did_you_mean

__all__ = (
    "ApprovalDecisionError",
    "ApprovalMismatchError",
    "ApprovalNotFoundError",
    "ApprovalSettledError",
    "DuplicateToolError",
    "ToolApprovalDeniedError",
    "ToolApprovalTimeoutError",
    "ToolArgumentsError",
    "ToolDefinitionError",
    "ToolDeniedError",
    "ToolError",
    "ToolExecutionError",
    "ToolNotFoundError",
    "ToolOutcomeUnknownError",
    "ToolOutputError",
    "ToolRateLimitError",
    "ToolTimeoutError",
    "ToolUndoError",
    "UndoUnderWayError",
)


class ToolError(RunError):
    """A tool could not do what was asked of it.

    Attributes:
        tool: The tool's name, or the action type that was asked for.
    """

    code = "SF500"

    def __init__(self, message: str, tool: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tool = tool

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready values: `error_type`, `code`, `message`, `tool`, facts."""
        own = {name: value for name, value in vars(self).items() if name[0] != "_"}
        facts = {name: _plain(value) for name, value in own.items() if name != "hint"}
        kind = {"error_type": type(self).__name__, "code": self.code, "message": self.message}
        return {**kind, **facts}


class ToolNotFoundError(ToolError):
    """No tool is registered for an action type.

    Attributes:
        action_type: What was asked for.
    """

    code = "SF501"

    def __init__(self, action_type: str, known: Sequence[str] = ()) -> None:
        super().__init__(
            f"No tool registered for action type {_short(action_type)}.",
            str(action_type),
            hint=did_you_mean(str(action_type), known),
        )
        self.action_type = action_type


class ToolDeniedError(ToolError):
    """A tool must not be used in the behavior that the run is in.

    Attributes:
        behavior: The behavior, which is the context's execution mode.
        allowed_behaviors: Those in which the tool may be used.
    """

    code = "SF502"

    def __init__(self, tool: str, behavior: str | None, allowed_behaviors: Sequence[str]) -> None:
        allowed = ", ".join(allowed_behaviors)
        super().__init__(
            f"Tool {tool!r} is not allowed in behavior {behavior!r}.",
            tool,
            hint=f"It is allowed in: {allowed}. The behavior is the context's `execution_mode`.",
        )
        self.behavior = behavior
        self.allowed_behaviors = tuple(allowed_behaviors)


class ToolApprovalDeniedError(ToolError):
    """Whoever was asked to approve a call has rejected it.

    Attributes:
        request_id: The request, if the caller told.
        reason: Why, in their words.
    """

    code = "SF503"

    def __init__(
        self, tool: str, request_id: object = None, reason: str | None = "user_denied"
    ) -> None:
        reason = reason or "user_denied"
        super().__init__(
            f"Approval of tool {tool!r} was denied: {reason}.",
            tool,
            hint="The call did not run. Tell the model, so that it goes on without the tool.",
        )
        self.request_id = request_id
        self.reason = reason


class ToolApprovalTimeoutError(ToolError, TimeoutError):
    """Nobody decided in time whether a call may run, so it did not.

    Attributes:
        request_id: The request that expired.
        timeout_seconds: How long a decision was awaited.
    """

    code = "SF504"
    retryable: ClassVar[bool] = False
    """An action is asked for once; whoever wants to ask again makes a new one."""

    def __init__(
        self, tool: str, request_id: object = None, timeout_seconds: float | None = 0
    ) -> None:
        super().__init__(
            f"Approval of tool {tool!r} timed out after {timeout_seconds} seconds.",
            tool,
            hint="The call did not run. `approval_timeout_seconds` sets how long to wait.",
        )
        self.request_id = request_id
        self.timeout_seconds = timeout_seconds


class ToolUndoError(ToolError):
    """What a tool has done could not be undone; it can be tried again.

    Attributes:
        action_id: The action.
        reason: What went wrong.
    """

    code = "SF505"

    def __init__(
        self,
        tool: str,
        action_id: object,
        reason: str,
        *,
        hint: str = "What the undo needs is still kept, so `undo_action` can be called again.",
    ) -> None:
        super().__init__(
            f"Action {action_id} of tool {tool!r} could not be undone: {reason}", tool, hint=hint
        )
        self.action_id = action_id
        self.reason = reason


class ToolExecutionError(ToolError):
    """A tool's handler raised, or gave what no tool may give.

    Attributes:
        action_id: The action.
        cause: What was raised.
    """

    code = "SF506"

    def __init__(
        self,
        tool: str,
        action_id: object = None,
        cause: BaseException | str | None = None,
        *,
        told: str | None = None,
        hint: str = "Mend the handler; what it raised is the cause of this error.",
    ) -> None:
        """Tell of a tool that failed.

        Args:
            tool: The tool's name.
            action_id: The action.
            cause: What was raised, or what is wrong.
            told: How the cause is told, if not in its own words: they may hold secrets.
            hint: What to do.
        """
        self._told = _bounded(describe(cause) if told is None else told)
        super().__init__(f"Tool {tool!r} failed: {self._told}", tool, hint=hint)
        self.action_id = action_id
        self.cause = cause

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready values: `error_type`, `code`, `message`, `tool`, facts."""
        return {**super().to_dict(), "cause": None if self.cause is None else self._told}


class ToolOutcomeUnknownError(ToolError):
    """A call that was approved once has begun before, and nobody knows how it ended.

    Attributes:
        action_id: The action.
        request_id: The request by which it was approved.
        begun_at: When it began, as an ISO time in UTC.
        finished: Whether it came to an end, only that what it gave could not be kept.
    """

    code = "SF514"

    def __init__(
        self, tool: str, action_id: object, request_id: object, begun_at: str, *, finished: bool
    ) -> None:
        what = "has ended, but what it gave was not kept" if finished else "its end is not known"
        super().__init__(
            f"Tool {tool!r} began to carry out action {action_id} at {begun_at}, and {what}.",
            tool,
            hint="It was not called again: look at what it has done, then make a new call if need"
            " be. A tool that may be repeated says so: `idempotent=True`.",
        )
        self.action_id = action_id
        self.request_id = request_id
        self.begun_at = begun_at
        self.finished = finished


class ApprovalNotFoundError(RunError, KeyError):
    """There is no such request for approval.

    Attributes:
        request_id: What was asked for.
    """

    code = "SF520"

    def __init__(self, request_id: object) -> None:
        super().__init__(
            f"There is no request for approval {request_id}.",
            hint="Was it cleaned up, or made with another service that keeps its own?",
        )
        self.request_id = request_id


class ApprovalDecisionError(RunError, TypeError):
    """A request was to be decided, but it was not said whether it is granted.

    Attributes:
        request_id: The request.
    """

    code = "SF524"

    def __init__(self, request_id: object, granted: object) -> None:
        super().__init__(
            f"Whether request {request_id} is granted is True or False, not {_short(granted)}.",
            hint="The request is still open. Make a bool of what was answered: a text such as"
            " 'no' would grant it.",
        )
        self.request_id = request_id


class ApprovalSettledError(RunError):
    """A request was to be decided, but it is over.

    Attributes:
        request: The request as it is.
    """

    code = "SF521"

    def __init__(self, request: Any) -> None:
        by = f" by {request.decided_by}" if request.decided_by else ""
        super().__init__(
            f"Request {request.id} for approval of tool {request.tool_name!r} is"
            f" {request.status.value}{by} already.",
            hint="The first decision stands. A new call asks anew.",
        )
        self.request = request


class ApprovalMismatchError(ToolError, ValueError):
    """An action is asked for with another tool or other arguments than it was asked for before.

    Attributes:
        request_id: The request that is there.
        action_id: The action.
    """

    code = "SF522"

    def __init__(self, tool: str, request_id: object, action_id: object) -> None:
        super().__init__(
            f"Approval of action {action_id} was asked for with another tool or other arguments"
            f" than now with tool {tool!r}.",
            tool,
            hint="What is decided about is what was shown: give each action an id of its own.",
        )
        self.request_id = request_id
        self.action_id = action_id


class UndoUnderWayError(ToolUndoError):
    """An undo of the action has begun, and nobody knows how it ended.

    Attributes:
        begun_at: When it began, as an ISO time in UTC.
    """

    code = "SF523"

    def __init__(self, tool: str, action_id: object, begun_at: str) -> None:
        super().__init__(
            tool,
            action_id,
            f"an undo of it began at {begun_at}, and its end is not known.",
            hint="It may be under way elsewhere. If it was interrupted, look at what it has done;"
            " `undo_action(..., again=True)` undoes it again.",
        )
        self.begun_at = begun_at


class DuplicateToolError(DefinitionError):
    """A tool is registered already under an action type or a name.

    Attributes:
        key: The action type or name.
        existing: What is registered.
        new: What was to be.
    """

    code = "SF507"

    def __init__(self, key: str, existing: str, new: str) -> None:
        super().__init__(
            f"{key!r} is {existing} already, so {new} cannot be registered under it.",
            hint="Give it an action type of its own, or pass `replace=True`.",
        )
        self.key = key
        self.existing = existing
        self.new = new


class ToolDefinitionError(DefinitionError, ValueError):
    """A tool is defined in a way that cannot work.

    Attributes:
        tool: The tool's name, as far as it is known.
        faults: Everything that is wrong with it.
    """

    code = "SF508"

    def __init__(self, tool: str, faults: Sequence[str]) -> None:
        super().__init__(
            f"Tool {tool!r} cannot be defined so: {'; '.join(faults)}.",
            hint="See docs/how-to/tools.md for what a definition holds.",
        )
        self.tool = tool
        self.faults = tuple(faults)


class ToolArgumentsError(ToolError, ValueError):
    """The arguments of a call do not fit the tool; its handler was not called.

    Attributes:
        faults: Everything that is wrong, each with its path.
    """

    code = "SF509"

    def __init__(self, tool: str, faults: Sequence[str]) -> None:
        super().__init__(
            f"The arguments of tool {tool!r} are not valid: {'; '.join(faults)}.",
            tool,
            hint="Give the model this message: it says what to mend.",
        )
        self.faults = tuple(faults)


class ToolOutputError(ToolExecutionError):
    """A tool's handler gave something that its output schema does not allow.

    Attributes:
        faults: Everything that is wrong, each with its path.
    """

    code = "SF510"

    def __init__(self, tool: str, action_id: object, faults: Sequence[str]) -> None:
        super().__init__(
            tool,
            action_id,
            f"its output is not valid: {'; '.join(faults)}",
            hint="Mend the handler, or what its definition says of its output.",
        )
        self.faults = tuple(faults)


class ToolTimeoutError(ToolExecutionError):
    """A tool did not end in time.

    Attributes:
        timeout_seconds: The time it had.
    """

    code = "SF511"

    def __init__(self, tool: str, action_id: object, timeout_seconds: float) -> None:
        super().__init__(
            tool,
            action_id,
            f"it did not end within {timeout_seconds} seconds",
            hint="A coroutine was cancelled; a thread runs on, and its result is discarded.",
        )
        self.timeout_seconds = timeout_seconds


class ToolRateLimitError(ToolError):
    """A call would have to wait longer for its turn than its tool's rate limit allows.

    Attributes:
        wait_seconds: How long it would have to wait.
    """

    code = "SF513"

    def __init__(self, tool: str, wait_seconds: float) -> None:
        super().__init__(
            f"Tool {tool!r} is called too often; its turn would come in {wait_seconds:.3f} s.",
            tool,
            hint="Call it later, or less often; the call did not run.",
        )
        self.wait_seconds = wait_seconds


def describe(cause: BaseException | str | None) -> str:
    """Return what went wrong in one text, whatever the words of an exception do."""
    if not isinstance(cause, BaseException):
        return cause or "no reason"
    name = type(cause).__name__
    try:
        return f"{name}: {cause}"
    except Exception as error:  # noqa: BLE001 - an exception that cannot tell itself
        return f"{name}, whose text cannot be had: {type(error).__name__}"


def _bounded(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= 500 else f"{shown[:497]}..."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, BaseException):
        return _bounded(describe(value))
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _bounded(value)
