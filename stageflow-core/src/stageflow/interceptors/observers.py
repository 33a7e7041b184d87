"""Observers: what stages did, told to a log and counted, without a say in it."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import attrs

from stageflow._engine.call import Invocation, Proceed
from stageflow.contracts.logs import get_logger
from stageflow.interceptors.base import BaseInterceptor
from stageflow.stages import StageKind, StageOutput, StageStatus

__all__ = (
    "ChildTrackerMetricsInterceptor",
    "LoggingInterceptor",
    "MetricsInterceptor",
    "MetricsSource",
    "StageMetrics",
)

_log = get_logger(__name__)
_standard_log = logging.getLogger(__name__)

_WORDS = {
    StageStatus.OK.value: "stage.completed",
    StageStatus.SKIP.value: "stage.skipped",
    StageStatus.CANCEL.value: "stage.cancelled",
    StageStatus.FAIL.value: "stage.failed",
}


class LoggingInterceptor(BaseInterceptor):
    """Logs how each stage ended, and at debug level that it began; never what it read or gave.

    Lines go to the standard logger `stageflow.interceptors.observers` with run id, stage, kind,
    attempts and duration. A failure is logged as an error, without a traceback: whoever runs
    the pipeline gets the exception.

    Args:
        level: Level of the lines about stages that did not fail.
    """

    name = "logging"
    priority = 30

    def __init__(self, level: int = logging.INFO) -> None:
        self.level = level

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage and log how it went."""
        if _standard_log.isEnabledFor(logging.DEBUG):
            _log.debug("stage.started", **_who(invocation))
        monotonic = invocation.run.clock.monotonic
        began = monotonic()
        try:
            output = await proceed()
        except Exception as error:
            self._say(invocation, logging.ERROR, "stage.failed", began, f"{_brief(error)}")
            raise
        except BaseException:
            self._say(invocation, self.level, "stage.cancelled", began)
            raise
        level = logging.ERROR if output.status is StageStatus.FAIL else self.level
        if _standard_log.isEnabledFor(level):
            self._say(invocation, level, _WORDS[output.status.value], began, output.error)
        return output

    def _say(
        self,
        invocation: Invocation,
        level: int,
        event: str,
        began: float,
        error: str | None = None,
    ) -> None:
        facts = _who(invocation)
        facts["attempts"] = invocation.attempt
        facts["duration_ms"] = round((invocation.run.clock.monotonic() - began) * 1000.0, 3)
        if error is not None:
            facts["error"] = error
        _log.log(level, event, **facts)


def _who(invocation: Invocation) -> dict[str, Any]:
    run_id = invocation.pipeline_context.pipeline_run_id
    return {
        "run_id": None if run_id is None else str(run_id),
        "pipeline": invocation.run.plan.name,
        "stage": invocation.stage_name,
        "kind": invocation.kind.value,
    }


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


@attrs.frozen(kw_only=True)
class StageMetrics:
    """What was counted about the stages of one name.

    Attributes:
        running: How many executions are under way.
        completed: How many ended with OK.
        skipped: How many ended with SKIP.
        cancelled: How many were cancelled, by themselves or from outside.
        failed: How many failed.
        retries: How many attempts followed a first one.
        errors: How many executions raised, by the exception's class.
        total_ms: Time that all ended executions took together.
        min_ms: Time that the shortest took; 0 if none ended.
        max_ms: Time that the longest took.
    """

    running: int
    completed: int
    skipped: int
    cancelled: int
    failed: int
    retries: int
    errors: Mapping[str, int] = attrs.field(hash=False)
    total_ms: float
    min_ms: float
    max_ms: float

    @property
    def ended(self) -> int:
        """How many executions ended."""
        return self.completed + self.skipped + self.cancelled + self.failed

    @property
    def mean_ms(self) -> float:
        """Time that an execution took in the mean; 0 if none ended."""
        return self.total_ms / self.ended if self.ended else 0.0


class _Tally:
    """The running count behind a `StageMetrics`."""

    __slots__ = ("by_status", "errors", "max", "min", "retries", "running", "total")

    def __init__(self) -> None:
        self.running: set[Invocation] = set()
        self.by_status = {"ok": 0, "skip": 0, "cancel": 0, "fail": 0}
        self.retries = 0
        self.errors: Counter[str] = Counter()
        self.total = 0.0
        self.min = float("inf")
        self.max = 0.0

    def count(self, status: str, seconds: float, retries: int, raised: str | None) -> None:
        self.by_status[status] += 1
        self.retries += retries
        self.total += seconds
        if seconds < self.min:  # noqa: PLR1730 - a call costs more
            self.min = seconds
        if seconds > self.max:  # noqa: PLR1730
            self.max = seconds
        if raised is not None:
            self.errors[raised] += 1

    def frozen(self) -> StageMetrics:
        counts = self.by_status
        return StageMetrics(
            running=len(self.running),
            completed=counts["ok"],
            skipped=counts["skip"],
            cancelled=counts["cancel"],
            failed=counts["fail"],
            retries=self.retries,
            errors=dict(self.errors),
            total_ms=self.total * 1000.0,
            min_ms=self.min * 1000.0 if any(counts.values()) else 0.0,
            max_ms=self.max * 1000.0,
        )


class MetricsInterceptor(BaseInterceptor):
    """Counts and times the executions of each stage, over all runs that it takes part in.

    The figures belong to the instance; read them with `get_metrics`. Times are kept by the
    execution that they are about, so stages that run at once do not disturb each other, and
    executions in several event loops are counted right.
    """

    name = "metrics"
    priority = 20

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}
        self._lock = threading.Lock()

    def get_metrics(self) -> dict[str, StageMetrics]:
        """Return the figures so far, by stage name."""
        with self._lock:
            return {stage: tally.frozen() for stage, tally in self._tallies.items()}

    def reset(self) -> None:
        """Forget every figure; executions that are under way are not counted any more."""
        with self._lock:
            self._tallies.clear()

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage and count it."""
        stage = invocation.context.stage_name
        tally = self._tallies.get(stage)
        if tally is None:
            tally = self._tallies.setdefault(stage, _Tally())
        monotonic = invocation.run.options.clock.monotonic
        status, raised = "cancel", None
        # Adding to a set and taking from it need no lock; counting does.
        tally.running.add(invocation)
        began = monotonic()
        try:
            output = await proceed()
            status = output.status._value_
            return output
        except Exception as error:
            status, raised = "fail", type(error).__name__
            raise
        finally:
            seconds = monotonic() - began
            tally.running.discard(invocation)
            with self._lock:
                tally.count(status, seconds, invocation.attempt - 1, raised)


class MetricsSource(Protocol):
    """Something that counts, such as the tracker of child runs."""

    def get_metrics(self) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Return the figures by name, at once or when awaited."""
        ...


class ChildTrackerMetricsInterceptor(BaseInterceptor):
    """Keeps the figures of a tracker of child runs as they are after each stage.

    They are logged at debug level whenever they changed, and `get_metrics` returns the latest.
    A tracker that fails to tell is logged and changes nothing in the run.

    Args:
        tracker: Counts child runs; without one, the interceptor takes part in no stage.
    """

    name = "child_tracker_metrics"
    priority = 25

    def __init__(self, tracker: MetricsSource | None = None) -> None:
        self._tracker = tracker
        self._latest: dict[str, Any] = {}

    def get_metrics(self) -> dict[str, Any]:
        """Return the figures as they were after the stage that ended last."""
        return dict(self._latest)

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say whether there is a tracker."""
        return self._tracker is not None

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage and ask the tracker."""
        try:
            return await proceed()
        finally:
            await self._ask(invocation)

    async def _ask(self, invocation: Invocation) -> None:
        assert self._tracker is not None
        try:
            answer = self._tracker.get_metrics()
            metrics = dict(await answer if inspect.isawaitable(answer) else answer)
        except Exception:  # noqa: BLE001 - counting must not change how a stage ends
            _log.exception("child_tracker.failed", tracker=repr(self._tracker))
            return
        if metrics != self._latest:
            self._latest = metrics
            _log.debug("child_runs.changed", **_who(invocation), metrics=metrics)
