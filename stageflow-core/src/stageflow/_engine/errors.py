"""What can go wrong while a run is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stageflow.errors import RunError, StageflowError
from stageflow.stages import StageOutput

__all__ = (
    "GuardRetryExhaustedError",
    "OutputSchemaError",
    "StageFailedError",
    "StageReturnError",
    "StageTimeoutError",
    "UnfinishedStagesError",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
    "describe",
)


def describe(error: BaseException) -> str:
    """Return *error* as `Type: message`, or its type alone if it cannot say its message."""
    name = type(error).__name__
    try:
        # The code and the hint of one of our own errors stay with the exception.
        text = error.message if isinstance(error, StageflowError) else str(error)
    except Exception:  # noqa: BLE001 - an error about an error helps nobody
        text = ""
    return f"{name}: {text}" if text else name


class UnifiedStageExecutionError(RunError):
    """A stage failed and the run with it.

    Attributes:
        stage: The stage that failed first.
        original: What it raised, or a `RunError` with its message if it returned a failure.
        results: Every output of the run, those of failed and cancelled stages included.
        retryable: Whether running it all once more could help; None where nobody judged that.
    """

    code = "SF301"
    retryable: bool | None = None

    def __init__(
        self, stage: str, original: BaseException, results: Mapping[str, StageOutput]
    ) -> None:
        hint = "The error's `original` is the cause; its `results` hold every output."
        if isinstance(original, StageflowError):
            text, hint = f"[{original.code}] {original.message}", original.hint or hint
        else:
            text = describe(original)
        # What the engine noted about attempts is what helps here.
        notes = [note for note in getattr(original, "__notes__", ()) if isinstance(note, str)]
        super().__init__(f"Stage {stage!r} failed: {text}", hint=" ".join([*notes, hint]))
        self.stage = stage
        self.original = original
        self.results = dict(results)


class UnifiedPipelineCancelled(RunError):
    """The run ended early because a stage or somebody outside asked for it.

    Attributes:
        stage: The stage that asked, or None.
        reason: Why.
        results: Every output of the run, those of cancelled stages included.
    """

    code = "SF302"

    def __init__(self, stage: str | None, reason: str, results: Mapping[str, StageOutput]) -> None:
        who = f"by stage {stage!r}" if stage else "from outside"
        super().__init__(
            f"The run was cancelled {who}: {reason or 'no reason given'}.",
            hint="The error's `results` hold every output so far.",
        )
        self.stage = stage
        self.reason = reason
        self.results = dict(results)


class StageTimeoutError(RunError, TimeoutError):
    """An attempt of a stage took longer than it may.

    Attributes:
        stage: The stage.
        timeout: Its limit in seconds.
    """

    code = "SF303"

    def __init__(self, stage: str, timeout: float) -> None:
        super().__init__(
            f"Stage {stage!r} timed out after {timeout:g} s.",
            hint="Raise its timeout, or make the stage do less.",
        )
        self.stage = stage
        self.timeout = timeout


class StageReturnError(RunError, TypeError):
    """A stage returned something that is not an outcome.

    Attributes:
        stage: The stage.
        returned: Name of the type it returned.
    """

    code = "SF304"

    def __init__(self, stage: str, returned: str) -> None:
        super().__init__(
            f"Stage {stage!r} returned a value of type {returned}.",
            hint="Return a StageOutput, a dictionary (the data of an `ok`), or None.",
        )
        self.stage = stage
        self.returned = returned


class StageFailedError(RunError):
    """A stage returned a failure.

    Attributes:
        stage: The stage.
    """

    code = "SF305"

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class UnfinishedStagesError(RunError):
    """The engine stopped with stages that never ended: a defect of Stageflow.

    Attributes:
        stages: The stages without an end.
    """

    code = "SF306"

    def __init__(self, stages: list[str]) -> None:
        super().__init__(
            f"{len(stages)} stages never ended: {', '.join(stages[:10])}.",
            hint="This is a defect of Stageflow; please report it with the pipeline.",
        )
        self.stages = stages


class GuardRetryExhaustedError(RunError):
    """A guard failed, and the run does not go back once more.

    Attributes:
        guard: The guard.
        retry_stage: The stage to which the run went back.
        attempts: How often the guard has judged.
        reason: Why this was the last time: `max_attempts`, `stagnation`, `timeout`,
            `not_retryable` or `not_run`.
    """

    code = "SF307"

    def __init__(
        self, guard: str, retry_stage: str, attempts: int, reason: str, message: str
    ) -> None:
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"Guard {guard!r} has refused the work of {retry_stage!r} {times}, and"
            f" {_WHY_EXHAUSTED.get(reason, reason)}: {message}",
            hint=f"Have {retry_stage!r} heed the guard's error, or change the guard-retry policy.",
        )
        self.guard = guard
        self.retry_stage = retry_stage
        self.attempts = attempts
        self.reason = reason


_WHY_EXHAUSTED = {
    "max_attempts": "there is no attempt left",
    "stagnation": "the work does not change any more",
    "timeout": "the time for it is over",
    "not_retryable": "says that another attempt cannot help",
    "not_run": "that stage was never run",
}


class OutputSchemaError(RunError, ValueError):
    """A stage gave data that do not fit its schema.

    Attributes:
        stage: The stage.
        problems: What is wrong, each with the path to it, such as `$.items[0]: …`.
    """

    code = "SF308"

    def __init__(self, stage: str, problems: Sequence[str]) -> None:
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        super().__init__(
            f"The output of stage {stage!r} does not fit its schema: {shown}{more}.",
            hint="Correct what the stage returns, or its output_schema.",
        )
        self.stage = stage
        self.problems = tuple(problems)


_SHOWN = 5
