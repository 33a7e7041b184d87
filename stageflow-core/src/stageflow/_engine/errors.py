"""What can go wrong while a run is under way."""

from __future__ import annotations

from collections.abc import Mapping

from stageflow.errors import RunError, StageflowError
from stageflow.stages import StageOutput

__all__ = (
    "StageFailedError",
    "StageReturnError",
    "StageTimeoutError",
    "UnfinishedStagesError",
    "UnifiedPipelineCancelled",
    "UnifiedStageExecutionError",
)


class UnifiedStageExecutionError(RunError):
    """A stage failed and the run with it.

    Attributes:
        stage: The stage that failed first.
        original: What it raised, or a `RunError` with its message if it returned a failure.
        results: Every output of the run, those of failed and cancelled stages included.
    """

    code = "SF301"

    def __init__(
        self, stage: str, original: BaseException, results: Mapping[str, StageOutput]
    ) -> None:
        hint = "The error's `original` is the cause; its `results` hold every output."
        if isinstance(original, StageflowError):
            text, hint = f"[{original.code}] {original.message}", original.hint or hint
        else:
            text = f"{type(original).__name__}: {original}".removesuffix(": ")
        super().__init__(f"Stage {stage!r} failed: {text}", hint=hint)
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
