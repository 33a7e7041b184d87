"""Handlers as the engine takes them: what they are called with, and what is made of the result."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio.to_thread

from stageflow._engine.call import Invocation
from stageflow._engine.plan import Node, StagePolicy
from stageflow._engine.validation import fault
from stageflow.context import StageContext
from stageflow.data.pipeline.config import PipelineConfig, RetryConfig
from stageflow.data.pipeline.context import PipelineContext
from stageflow.data.pipeline.errors import PipelineCancelledException
from stageflow.data.pipeline.stages import Stage
from stageflow.errors import ContractErrorInfo
from stageflow.stages import StageKind, StageOutput
from stageflow.stages.retry import RetryPolicy

__all__ = ("CONTEXT", "INITIAL", "VALUE", "Obedience", "make_node", "make_retry", "runner_for")

CONTEXT = "pipeline_context"
INITIAL = "initial_input"
VALUE = "value"

_Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


class Obedience:
    """A layer of the engine: a handler that heeds `check_cancelled` is cancelled, not failed."""

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say that every stage is wrapped."""
        return True

    def configure(self, policy: StagePolicy) -> StagePolicy:
        """Return the policy as it is."""
        return policy

    async def around(
        self, invocation: Invocation, proceed: Callable[[], Awaitable[StageOutput]]
    ) -> StageOutput:
        """Return the stage's output."""
        try:
            return await proceed()
        except PipelineCancelledException as error:
            # One that comes from elsewhere, such as an inner pipeline, is an error like others.
            if not invocation.pipeline_context.inputs[CONTEXT].is_cancelled:
                raise
            return StageOutput.cancel(error.reason.value)


def make_node(stage: Any, config: PipelineConfig, faults: list[ContractErrorInfo]) -> Node:
    """Return *stage* as the engine takes it.

    Args:
        stage: A `Stage`; anything else is a fault.
        config: Says what the stage leaves open.
        faults: Collects what is wrong with it.
    """
    if not isinstance(stage, Stage):
        shown = f"{stage!r:.80}"
        faults.append(fault("STAGE", f"{shown} is not a Stage.", "Make it one with create_stage."))
        return Node(shown, _nothing)
    name = stage.stage_id
    retry = make_retry(stage.retry_config or config.retry, name, faults)
    stops = stage.critical and not config.continue_on_error
    timeout = stage.timeout_seconds
    policy = StagePolicy(
        timeout=config.timeout.stage_timeout_seconds if timeout is None else timeout,
        retry=retry,
        on_failure="stop" if stops else "continue",
    )
    runner = _stage_runner(stage, config, faults)
    return Node(name, runner, StageKind.WORK, stage.dependencies, policy=policy)


def make_retry(
    config: RetryConfig, stage: str, faults: list[ContractErrorInfo]
) -> RetryPolicy | None:
    """Return *config* as the engine takes it; None if there is never another attempt.

    Args:
        config: The configuration.
        stage: Whose it is.
        faults: Collects what is wrong with it.
    """
    try:
        return config.to_policy()
    except ValueError as error:
        summary = f"The retry configuration of {stage!r} is wrong: {error}."
        faults.append(fault("PARAMETER", summary, "Correct the number.", stage=stage))
        return None


def runner_for(
    function: Callable[..., Any],
    arguments: Callable[[StageContext], _Arguments],
) -> Callable[[StageContext], Any]:
    """Return *function*, called with *arguments*, as a runner that the engine takes for alike.

    An `async def` becomes one, a `def` one that is called in a thread, a lambda one that is
    called in the loop.
    """
    if _is_async(function):

        async def execute(ctx: StageContext) -> StageOutput:
            args, named = arguments(ctx)
            return StageOutput.ok({VALUE: await function(*args, **named)})

        return _named_as(function, execute)

    def call(ctx: StageContext) -> StageOutput | Awaitable[StageOutput]:
        args, named = arguments(ctx)
        value = function(*args, **named)
        return _later(value) if inspect.isawaitable(value) else StageOutput.ok({VALUE: value})

    call.__name__ = getattr(function, "__name__", call.__name__)
    return _named_as(function, call)


def _named_as(function: Any, runner: Callable[[StageContext], Any]) -> Callable[..., Any]:
    """Have *runner* called as *function* is where the plan of a stored run is compared."""
    function = inspect.unwrap(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    runner.__module__, runner.__qualname__ = named.__module__, named.__qualname__
    return runner


async def _later(value: Awaitable[Any]) -> StageOutput:
    return StageOutput.ok({VALUE: await value})


def _stage_runner(
    stage: Stage, config: PipelineConfig, faults: list[ContractErrorInfo]
) -> Callable[..., Any]:
    handler: Any = stage.handler
    if not callable(handler):
        faults.append(_handler_fault(stage, "handler", f"is {handler!r:.100}"))
        return _nothing
    clean_up = stage.cleanup_handler
    if clean_up is not None and not _takes(clean_up, 1):
        faults.append(_handler_fault(stage, "cleanup_handler", "cannot be called with the context"))
    needs = stage.dependencies
    by_name = bool(needs) and _takes_exactly(handler, needs)
    with_input = by_name or _takes(handler, 2)
    if not with_input and not _takes(handler, 1):
        faults.append(_handler_fault(stage, "handler", "takes other arguments than it gets"))

    def register_cleanup(ctx: StageContext, _output: StageOutput | None = None) -> None:
        context: PipelineContext = ctx.inputs.ports[CONTEXT]
        if clean_up is not None and context.note_start(stage.stage_id):
            callback = partial(_clean_up, clean_up, context, config.cleanup_on_cancel)
            ctx.register_cleanup(callback, name=stage.stage_id)

    def arguments(ctx: StageContext) -> _Arguments:
        context: PipelineContext = ctx.inputs.ports[CONTEXT]
        register_cleanup(ctx)
        if not with_input:
            return (context,), {}
        if not needs:
            return (context, ctx.inputs.ports[INITIAL]), {}
        results = {name: ctx.inputs.require_from(name, VALUE) for name in needs}
        if by_name:
            return (context,), results
        return (context, results if len(needs) > 1 else results[needs[0]]), {}

    runner: Any = runner_for(handler, arguments)
    if clean_up is not None:
        # A stage that ended before an interruption is cleaned up after, too.
        runner.on_resume = register_cleanup
    return runner  # type: ignore[no-any-return]


async def _clean_up(
    handler: Callable[..., Any], context: PipelineContext, also_on_cancel: bool
) -> None:
    if context.cancel_token.is_cancelled and not also_on_cancel:
        return
    if _is_async(handler) or getattr(handler, "__name__", "") == "<lambda>":
        value = handler(context)
    else:
        value = await anyio.to_thread.run_sync(handler, context, abandon_on_cancel=True)
    if inspect.isawaitable(value):
        await value


async def _nothing(ctx: StageContext) -> None:
    """Stand for a handler that cannot be called; its pipeline is never built."""


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is asked
    )


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # it does not say what it takes
        return True
    return True


def _takes_exactly(handler: Callable[..., Any], names: tuple[str, ...]) -> bool:
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return False
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    taken = [parameter.name for parameter in parameters[1:] if parameter.kind in named]
    return len(taken) == len(parameters) - 1 and sorted(taken) == sorted(names)


def _handler_fault(stage: Stage, part: str, why: str) -> ContractErrorInfo:
    wanted = "the context" if part == "cleanup_handler" else "the context and its input"
    return fault(
        "HANDLER",
        f"The {part} of stage {stage.stage_id!r} {why}.",
        f"Give a function of {wanted}; with several dependencies it may also name them.",
        stage=stage.stage_id,
    )
