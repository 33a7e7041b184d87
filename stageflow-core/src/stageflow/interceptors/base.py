"""BaseInterceptor: something that stands around every stage of a pipeline."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.call import Invocation, Proceed, as_output
from stageflow.errors import RunError
from stageflow.stages import StageKind, StageOutput, StageResult

if TYPE_CHECKING:
    from stageflow._engine.plan import StagePolicy
    from stageflow.context import PipelineContext

__all__ = (
    "BaseInterceptor",
    "ErrorAction",
    "InterceptorDeniedError",
    "InterceptorResult",
    "output_of",
)


class ErrorAction(StrEnum):
    """What to do about the exception a stage raised."""

    RETRY = "retry"
    FALLBACK = "fallback"
    FAIL = "fail"


@attrs.frozen(kw_only=True)
class InterceptorResult:
    """What an interceptor decided before a stage.

    Attributes:
        stage_ran: Whether the stage is to run. If not, the stage ends with *result*, and
            without one it fails: nobody takes a stage for done that did nothing.
        result: What the stage gives instead: an output, its data, or a result.
        error: Why the stage is refused.
    """

    stage_ran: bool = True
    result: StageOutput | StageResult | dict[str, Any] | None = None
    error: str | None = None


class InterceptorDeniedError(RunError):
    """An interceptor refused to let a stage run.

    Attributes:
        stage: The stage.
        interceptor: Who refused.
        reason: Why.
    """

    code = "SF320"

    def __init__(self, stage: str, interceptor: str, reason: str) -> None:
        super().__init__(
            f"Interceptor {interceptor!r} did not let stage {stage!r} run: {reason}",
            hint="Give what it asks for, or have it supply a result.",
        )
        self.stage = stage
        self.interceptor = interceptor
        self.reason = reason


class BaseInterceptor:
    """Stands around stages; override any of `before`, `after`, `on_error`, or all with `around`.

    Interceptors nest by priority, the lowest outermost: it is asked first before a stage and
    last after it. One instance serves all stages and runs, so what it keeps must be shareable.

    Attributes:
        name: What to call it in errors.
        priority: Its place; lower stands further out.
    """

    name: str = ""
    priority: int = 100

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A name that was made from a class is not handed on to its subclasses.
        made = {"", *(base.__name__ for base in cls.__mro__[1:])}
        if "name" not in vars(cls) and cls.name in made:
            cls.name = cls.__name__

    async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult | None:
        """Decide whether the stage runs; None lets it run. An exception fails the stage."""
        return None

    async def after(
        self, stage_name: str, result: StageResult, ctx: PipelineContext
    ) -> StageOutput | None:
        """See how the stage ended; return an output to replace it. An exception fails the stage."""
        return None

    async def on_error(
        self, stage_name: str, error: Exception, ctx: PipelineContext
    ) -> ErrorAction:
        """Decide about the exception a stage raised; raise another to replace it.

        `RETRY` runs the stage again under its retry policy; `FALLBACK` ends it with what
        `fallback` returns.
        """
        return ErrorAction.FAIL

    async def fallback(
        self, stage_name: str, error: Exception, ctx: PipelineContext
    ) -> StageOutput | StageResult | dict[str, Any]:
        """Return what a stage gives that raised *error*; asked after `on_error` said so."""
        raise error

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say whether to stand around this stage at all; asked once, when a plan is built."""
        return True

    def configure(self, policy: StagePolicy) -> StagePolicy:
        """Return the policy the engine shall follow for a stage; asked when a plan is built."""
        return policy

    def around(self, invocation: Invocation, proceed: Proceed) -> Awaitable[StageOutput]:
        """Run the stage by `await proceed()`, or give its output otherwise; `async` if need be.

        Args:
            invocation: The execution of the stage.
            proceed: Runs what stands further in, and the stage itself.
        """
        # Who only sets a policy need not be waited for.
        return proceed() if self._only_configures else self._look_on(invocation, proceed)

    @property
    def _only_configures(self) -> bool:
        """Whether it stands around no stage in spite of all, having set the policy."""
        cls = type(self)
        return (
            cls.around is BaseInterceptor.around
            and cls.before is BaseInterceptor.before
            and cls.after is BaseInterceptor.after
            and cls.on_error is BaseInterceptor.on_error
        )

    async def _look_on(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        stage, ctx = invocation.stage_name, invocation.pipeline_context
        decided = await self.before(stage, ctx)
        if decided is not None:
            given = self._decided(stage, decided)
            if given is not None:
                return given
        output = await self._guarded(invocation, proceed)
        if type(self).after is not BaseInterceptor.after:
            replaced = await self.after(stage, invocation.result(output), ctx)
            if replaced is not None:
                return output_of(replaced, stage)
        return output

    def _decided(self, stage: str, decided: InterceptorResult) -> StageOutput | None:
        given: object = decided
        if not isinstance(given, InterceptorResult):
            # Whatever it was meant to say, a stage that may have been denied does not run.
            why = f"its before() gave {given!r:.100}, not an InterceptorResult or None"
            raise InterceptorDeniedError(stage, self.name, why)
        if decided.error is not None:
            raise InterceptorDeniedError(stage, self.name, decided.error or "it gave no reason")
        if decided.result is not None:
            return output_of(decided.result, stage)
        if not decided.stage_ran:
            raise InterceptorDeniedError(stage, self.name, "it gave neither a result nor a reason")
        return None

    async def _guarded(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        if type(self).on_error is BaseInterceptor.on_error:
            return await proceed()
        stage, ctx = invocation.stage_name, invocation.pipeline_context
        while True:
            try:
                return await proceed()
            except Exception as error:
                action = await self.on_error(stage, error, ctx)
                # A member of the enumeration equals its string, and a string it may be.
                if action == ErrorAction.FALLBACK:
                    return output_of(await self.fallback(stage, error, ctx), stage)
                if action != ErrorAction.RETRY or not await invocation.wait_to_retry(error=error):
                    raise


def output_of(value: Any, stage: str) -> StageOutput:
    """Return what somebody gave for a stage as its output: an output, a result, data or None.

    Raises:
        StageReturnError: If it is something else.
    """
    if isinstance(value, StageResult):
        return StageOutput(
            value.status,
            value.data,
            value.artifacts,
            value.events,
            value.error,
            metadata=dict(value.metadata),
        )
    return as_output(value, stage)
