"""StageCall: one stage's body with only the layers that were configured around it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from stageflow._engine.deadlines import TimeLimit
from stageflow._engine.errors import StageReturnError, StageTimeoutError
from stageflow._engine.output_schema import Check, check_output, compile_schema
from stageflow._engine.validation import fault
from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.stages import StageKind, StageOutput, StageResult, StageStatus
from stageflow.stages.retry import DEFAULT_RETRY, RetryPolicy

if TYPE_CHECKING:
    from stageflow._engine.plan import Node, StagePolicy
    from stageflow._engine.run import Run
    from stageflow.context import PipelineContext, StageContext

__all__ = (
    "Body",
    "Invocation",
    "Layer",
    "StageCall",
    "as_output",
    "execute_again",
    "execute_attempts",
    "prepare_calls",
)

Body = Callable[["StageContext"], Awaitable[Any]]
Proceed = Callable[[], Awaitable[StageOutput]]
Layered = Callable[["Invocation"], Awaitable[StageOutput]]

_OK = StageOutput(StageStatus.OK)


class Layer(Protocol):
    """Something that wraps the execution of stages, in engine terms."""

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say whether the stage is to be wrapped at all; asked once, when the plan is built."""
        ...

    def configure(self, policy: StagePolicy) -> StagePolicy:
        """Return the policy that the engine shall follow for a stage it wraps."""
        ...

    def around(self, invocation: Invocation, proceed: Proceed) -> Awaitable[StageOutput]:
        """Return the stage's output, by `await proceed()` or otherwise; may raise."""
        ...


class Invocation:
    """One execution of one stage in one run, over all its attempts."""

    __slots__ = (
        "_before",
        "_delay_ms",
        "_earlier",
        "_exhausted",
        "attempt",
        "body",
        "call",
        "context",
        "index",
        "run",
    )

    def __init__(
        self, run: Run, index: int, call: StageCall, context: StageContext, body: Body
    ) -> None:
        self.run = run
        self.index = index
        self.call = call
        self.context = context
        self.body = body
        # What other processes saw fail counts as an attempt, what they saw interrupted does not.
        failed, interrupted = run.earlier_attempts(index)
        self.attempt = 1 + failed
        self._earlier = interrupted
        self._before: int | None = None
        self._delay_ms: float | None = None
        self._exhausted = False

    @property
    def stage_name(self) -> str:
        """The stage that is executed."""
        return self.context.stage_name

    @property
    def kind(self) -> StageKind:
        """Its kind."""
        return self.call.kind

    @property
    def pipeline_context(self) -> PipelineContext:
        """The context of the whole run."""
        return self.run.context

    def result(self, output: StageOutput) -> StageResult:
        """Return *output*, with which the stage would end now, with its times."""
        return self.run.result_now(self.index, output)

    async def wait_to_retry(
        self, output: StageOutput | None = None, error: BaseException | None = None
    ) -> bool:
        """Wait until the next attempt may begin, or answer False if there is none left.

        Args:
            output: What the last attempt returned, if it returned.
            error: What it raised, if it raised.
        """
        policy = self.call.policy.retry or DEFAULT_RETRY
        if self.attempt >= policy.max_attempts:
            # Whoever stands around the stage may ask again for what was refused already.
            if not self._exhausted:
                self._exhausted = True
                self.run.tell_retry_exhausted(self, policy, output, error)
            return False
        delay = policy.delay_ms(self.attempt, self.run.random, self._delay_ms)
        self._delay_ms = delay
        if error is not None:
            delay = max(delay, _asked_delay_ms(error))
        self.run.tell_retry_scheduled(self, policy, delay, output, error)
        # A kept exception would keep every frame of the failed attempt alive while waiting.
        output = error = None
        await self.run.note_failure(self.index, self.attempt)
        await self.run.clock.sleep(delay / 1000.0)
        self.attempt += 1
        self._note_attempt()
        return True

    def continue_attempts(self) -> None:
        """Count on from the attempts that were made before the run came back to this stage."""
        if self._before is not None:
            return  # asked again for another attempt of the same execution
        self._before = self.run.attempts.get(self.index, 0)
        self._earlier += self._before
        if self._earlier + self.attempt > 1:
            self._note_attempt()

    def _note_attempt(self) -> None:
        attempt = self._earlier + self.attempt
        self.context = attrs.evolve(self.context, attempt=attempt)
        self.run.note_attempt(self.index, attempt)


@attrs.frozen(eq=False)
class StageCall:
    """How a stage is executed; shared by all runs, and by stages that are executed alike.

    Attributes:
        kind: What kind of work it does.
        conditional: Whether it may be skipped by its dependencies.
        policy: What the engine does around its body.
        body: The body as an `async` callable, or None where each run makes its own.
        make: Makes the body for one run, where the runner is a class.
        layered: The body with its layers, or None where it has none.
    """

    kind: StageKind
    conditional: bool
    policy: StagePolicy
    body: Body | None
    make: Callable[[], Body] | None
    layered: Layered | None


def prepare_calls(
    nodes: Sequence[Node], layers: Sequence[Layer], faults: list[ContractErrorInfo]
) -> tuple[StageCall, ...]:
    """Return the call of each node, adding to *faults* whatever is wrong with them.

    Args:
        nodes: The stages as declared.
        layers: What wraps them, outermost first.
        faults: Collects faults.
    """
    # Stages that are executed alike share a call. A layer may treat every name differently,
    # and a config is made for one stage. The nodes keep alive whatever is known by its id.
    known: dict[tuple[int, int, int, bool], StageCall] = {}
    calls: list[StageCall] = []
    chains = _Chains()
    call: StageCall | None = None
    runner = policy = kind = conditional = None
    for node in nodes:
        # Most often a stage is like the one before it, which is told without a look-up.
        if (
            call is not None
            and node.runner is runner
            and node.policy is policy
            and node.kind is kind
            and node.conditional is conditional
            and not node.config
        ):
            calls.append(call)
            continue
        runner, policy, kind, conditional = node.runner, node.policy, node.kind, node.conditional
        sound = len(faults)
        alike = (id(runner), id(kind), id(policy), conditional)
        shared = not node.config and not layers
        call = known.get(alike) if shared else None
        if call is None:
            call = _prepare(node, layers, chains, faults)
        calls.append(call)
        if shared and len(faults) == sound:
            known[alike] = call
        else:
            call = None
    return tuple(calls)


def _prepare(
    node: Node, layers: Sequence[Layer], chains: _Chains, faults: list[ContractErrorInfo]
) -> StageCall:
    name, kind, policy = node.name, node.kind, node.policy
    if type(kind) is not StageKind:
        faults.append(_kind_fault(name, kind))
        kind = StageKind.TRANSFORM
    _check_policy(name, policy, faults)
    body, make = _class_body(node, faults) if node.config else _resolve(node, faults)
    if policy.output_schema is not None:
        check = compile_schema(name, policy.output_schema, faults)
        if check is not None:
            body, make = _checked(body, make, check)
    applied = [layer for layer in layers if layer.applies_to(name, kind)]
    for layer in reversed(applied):
        policy = layer.configure(policy)
    layered: Layered | None = None
    if applied or policy.timeout is not None or policy.retry is not None:
        layered = chains.of(applied)
    return StageCall(kind, node.conditional, policy, body, make, layered)


def as_output(value: Any, stage: str) -> StageOutput:
    """Return what a stage returned as a `StageOutput`.

    Raises:
        StageReturnError: If it returned something else than it may.
    """
    if type(value) is StageOutput and type(value.data) is dict and type(value.metadata) is dict:
        return value
    if value is None:
        return _OK
    if isinstance(value, Mapping):
        return StageOutput(StageStatus.OK, dict(value))
    returned = type(value).__name__
    if isinstance(value, StageOutput):
        for part in ("data", "metadata"):
            if not isinstance(getattr(value, part), Mapping):
                found = type(getattr(value, part)).__name__
                raise StageReturnError(stage, f"{returned} whose {part} is of type {found}")
        return value
    raise StageReturnError(stage, returned)


async def execute_attempts(invocation: Invocation) -> StageOutput:
    """Run the body until it succeeds or its retry policy gives up; never returns `RETRY`.

    Args:
        invocation: The execution.

    Raises:
        Exception: What the last attempt raised.
    """
    timeout = invocation.call.policy.timeout
    while True:
        output: StageOutput | None = None
        error: Exception | None = None
        try:
            if timeout is None:
                value = await invocation.body(invocation.context)
            else:
                value = await _execute_within(timeout, invocation)
            output = as_output(value, invocation.context.stage_name)
            if output.status is StageStatus.OK:
                return output
        except Exception as raised:  # noqa: BLE001 - whatever an attempt raises is judged
            error = raised
        if output is not None and output.status not in (StageStatus.RETRY, StageStatus.FAIL):
            return output
        if not _may_retry(invocation, output, error):
            if error is not None and invocation.call.policy.retry is not None:
                _say_why_not_again(error, invocation.call.policy.retry)
            return _give_up(output, error, "")
        if not await invocation.wait_to_retry(output, error):
            return _give_up(output, error, f" (after {invocation.attempt} attempts)")


async def execute_again(invocation: Invocation, output: StageOutput) -> StageOutput:
    """Run a stage anew, with all that stands around it, whose *output* asks for that.

    Raises:
        Exception: What the last execution raised.
    """
    execute = invocation.call.layered or execute_attempts
    while output.status is StageStatus.RETRY:
        if output.retryable is False:
            return _give_up(output, None, "")
        if not await invocation.wait_to_retry(output):
            return _give_up(output, None, f" (after {invocation.attempt} attempts)")
        output = as_output(await execute(invocation), invocation.stage_name)
    return output


async def _execute_within(timeout: float, invocation: Invocation) -> Any:
    run = invocation.run
    value: Any = None
    context = invocation.context
    stage, limits, deadlines = context.stage_name, run.time_limits, run.deadlines
    with deadlines.new_scope() as scope:
        limits[stage] = limit = TimeLimit(deadlines, scope, timeout)
        try:
            value = await invocation.body(context)
        finally:
            limit.close()
            del limits[stage]
    # Also when the body swallowed the cancellation: a late result is a timeout.
    if limit.passed:
        raise StageTimeoutError(stage, timeout)
    return value


def _may_retry(invocation: Invocation, output: StageOutput | None, error: Exception | None) -> bool:
    policy = invocation.call.policy.retry
    if output is not None:
        if output.status is StageStatus.RETRY:
            return output.retryable is not False
        return policy is not None and (output.retryable is True or policy.retry_all)
    if policy is None or error is None:
        return False
    if isinstance(error, StageTimeoutError):
        return policy.retry_on_timeout
    if policy.retry_all:
        return True
    if policy.retry_on is not None:
        return isinstance(error, policy.retry_on)
    return invocation.run.is_retryable(error)


def _asked_delay_ms(error: BaseException) -> float:
    """Return for how long the one who was called asked to be left alone, in milliseconds."""
    asked = getattr(error, "retry_after", None)
    if isinstance(asked, int | float) and 0 < asked < math.inf:
        return asked * 1000.0
    return 0.0


def _say_why_not_again(error: Exception, policy: RetryPolicy) -> None:
    if policy.max_attempts == 1 or isinstance(error, StageTimeoutError):
        return
    name = type(error).__name__
    if policy.retry_on is not None:
        error.add_note(f"It was not tried again: {name} is not among the policy's retry_on.")
    else:
        error.add_note(
            f"It was not tried again: {name} is not known to be transient."
            f" RetryPolicy(retry_on=({name},)) tries it again, and retry_all=True everything."
        )


def _give_up(output: StageOutput | None, error: Exception | None, note: str) -> StageOutput:
    if error is not None:
        if note:
            error.add_note(f"The stage was given up{note}.")
        raise error
    assert output is not None
    if output.status is StageStatus.RETRY:
        return StageOutput.fail(f"{output.error}{note}", output.data, retryable=output.retryable)
    return output


class _Chains:
    """The attempts of a stage with layers around them, made once for all stages with the same."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Layered] = {}

    def of(self, layers: Sequence[Layer]) -> Layered:
        """Return the chain of *layers*, outermost first, which somebody keeps alive."""
        key = tuple(map(id, layers))
        chain = self._known.get(key)
        if chain is None:
            chain = execute_attempts
            for layer in reversed(layers):
                # Who only sets a policy has done so by now.
                if not getattr(layer, "_only_configures", False):
                    chain = _wrap(layer, chain)
            self._known[key] = chain
        return chain


def _wrap(layer: Layer, inner: Layered) -> Layered:
    around = layer.around

    def call(invocation: Invocation) -> Awaitable[StageOutput]:
        return around(invocation, partial(inner, invocation))

    return call


_Resolved = tuple[Body | None, Callable[[], Body] | None]


def _resolve(node: Node, faults: list[ContractErrorInfo]) -> _Resolved:
    runner = node.runner
    if inspect.isclass(runner):
        return _class_body(node, faults)
    execute = getattr(runner, "execute", None)
    if execute is None and callable(runner):
        execute = runner
    if not callable(execute):
        faults.append(_runner_fault(node.name, runner))
        return None, None
    return _as_body(execute), None


def _class_body(node: Node, faults: list[ContractErrorInfo]) -> _Resolved:
    runner: Any = node.runner
    config = node.config or {}
    if not isinstance(runner, type):
        faults.append(_config_fault(node.name, "its runner is not a class, so nobody reads them"))
        return None, None
    if not callable(getattr(runner, "execute", None)):
        faults.append(_runner_fault(node.name, runner))
        return None, None
    if config or any("__init__" in vars(cls) for cls in runner.__mro__[:-1]):
        try:
            inspect.signature(runner).bind(**config)
        except (TypeError, ValueError) as error:
            faults.append(_config_fault(node.name, f"{runner.__name__}() says: {error}"))
            return None, None
    is_async = inspect.iscoroutinefunction(getattr(runner, "execute", None))

    def make() -> Body:
        instance: Any = runner(**config)
        execute: Body = instance.execute
        return execute if is_async else _as_body(execute)

    return None, make


def _checked(body: Body | None, make: Callable[[], Body] | None, check: Check) -> _Resolved:
    def around(inner: Body) -> Body:
        async def checked(context: StageContext) -> StageOutput:
            output = as_output(await inner(context), context.stage_name)
            check_output(output, check, context.stage_name)
            return output

        return checked

    return (
        None if body is None else around(body),
        None if make is None else lambda: around(make()),
    )


def _as_body(execute: Callable[..., Any]) -> Body:
    called = type(execute).__call__
    if inspect.iscoroutinefunction(execute) or inspect.iscoroutinefunction(called):
        return execute
    if getattr(execute, "__name__", "") == "<lambda>":
        return partial(_call_in_loop, execute)
    return partial(_call_in_thread, execute)


async def _call_in_loop(execute: Callable[..., Any], context: StageContext) -> Any:
    value = execute(context)
    return await value if inspect.isawaitable(value) else value


async def _call_in_thread(execute: Callable[..., Any], context: StageContext) -> Any:
    run = context._run
    assert run is not None
    value = await run.call_in_thread(execute, context)
    return await value if inspect.isawaitable(value) else value


def _check_policy(name: str, policy: StagePolicy, faults: list[ContractErrorInfo]) -> None:
    if policy.timeout is not None and not _is_positive(policy.timeout):
        faults.append(_parameter_fault(name, "timeout", policy.timeout, "seconds above 0"))
    retry: object = policy.retry
    if retry is not None and not isinstance(retry, RetryPolicy):
        wanted = "a RetryPolicy, such as RetryPolicy(max_attempts=3)"
        faults.append(_parameter_fault(name, "retry", retry, wanted))
    if type(policy.priority) is not int:
        faults.append(_parameter_fault(name, "priority", policy.priority, "a whole number"))
    if policy.on_failure not in (None, "stop", "continue"):
        faults.append(
            _parameter_fault(name, "on_failure", policy.on_failure, "'stop' or 'continue'")
        )


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _parameter_fault(name: str, parameter: str, value: Any, wanted: str) -> ContractErrorInfo:
    return fault(
        "PARAMETER",
        f"Stage {name!r} has {parameter}={value!r}.",
        f"It must be {wanted}.",
        stage=name,
        parameter=parameter,
    )


def _kind_fault(name: str, kind: Any) -> ContractErrorInfo:
    kinds = [member.value for member in StageKind]
    return fault(
        "KIND",
        f"Stage {name!r} has the kind {kind!r}, which there is not.",
        f"Use a StageKind. {did_you_mean(str(kind), kinds)}",
        stage=name,
    )


def _runner_fault(name: str, runner: Any) -> ContractErrorInfo:
    what = runner.__name__ if inspect.isclass(runner) else repr(runner)
    return fault(
        "RUNNER",
        f"Stage {name!r} has the runner {what:.100}, which cannot be executed.",
        "Give a class or an object with an `execute(ctx)` method, or a function of the context.",
        stage=name,
    )


def _config_fault(name: str, why: str) -> ContractErrorInfo:
    return fault(
        "CONFIG",
        f"Stage {name!r} cannot be made with its config: {why}.",
        "Give exactly the keywords that the runner class takes.",
        stage=name,
    )
