"""Wide events: one summary per stage and one per run, with everything one would filter by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from stageflow.context import PipelineContext, StageContext
from stageflow.contracts.event_sink import EventSink
from stageflow.events.current import get_event_sink
from stageflow.events.delivery import Collector, deliver
from stageflow.stages import StageOutput, StageResult, StageStatus

__all__ = ("WideEventEmitter", "emit_pipeline_wide", "emit_stage_wide")

Outcome = StageResult | StageOutput
Context = PipelineContext | StageContext
PipelineState = Literal["completed", "failed", "cancelled"]

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_MILLION: Final = 1_000_000
_SUMMARY: Final = (
    "stage_name",
    "stage",
    "status",
    "started_at",
    "ended_at",
    "duration_ms",
    "error",
    "data_keys",
    "artifacts_count",
    "events_count",
)
_NESTED: Final = ("correlation_ids", "pipeline_metadata")
_CORRELATION_IDS: Final = ("pipeline_run_id", "request_id", "session_id", "user_id", "org_id")
_METADATA: Final = ("service", "topology", "execution_mode")
_IDS: Final = (*_CORRELATION_IDS, "interaction_id")
_FACTS: Final = (*_IDS, *_METADATA)
_facts_of_pipeline_context = attrgetter(*_FACTS)
_TERMINAL: Final = (StageStatus.OK, StageStatus.SKIP, StageStatus.CANCEL, StageStatus.FAIL)
_STATES: Final[Mapping[str, PipelineState]] = {
    "OK": "completed",
    "FAIL": "failed",
    "CANCEL": "cancelled",
}
_STATUS_OF: Final[Mapping[str, str]] = {
    "ok": "OK",
    "completed": "OK",
    "fail": "FAIL",
    "failed": "FAIL",
    "cancel": "CANCEL",
    "cancelled": "CANCEL",
}


class WideEventEmitter:
    """Emits the wide events of runs; subclass it to look at results on their way.

    Events go to the emitter's own sink, else to the context's, else to the current one.

    Args:
        event_sink: Where the events go; left to the context unless given.
        stage_event_type: Type of a stage's event.
        pipeline_event_type: Type of a run's event.
    """

    def __init__(
        self,
        event_sink: EventSink | None = None,
        *,
        stage_event_type: str = "stage.wide",
        pipeline_event_type: str = "pipeline.wide",
    ) -> None:
        self.event_sink = event_sink
        self.stage_event_type = stage_event_type
        self.pipeline_event_type = pipeline_event_type
        self._times = _Times()
        # What is the same in all events of a run is written out once, and kept no longer than
        # the run's context.
        self._told: WeakKeyDictionary[PipelineContext, _Told] = WeakKeyDictionary()

    def emit_stage_wide(
        self,
        stage_name: str,
        result: Outcome,
        ctx: Context,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit one summary of a stage; what the sink does about it stays with the sink.

        Args:
            stage_name: The stage.
            result: How it ended; an output serves as well, but knows no times of day.
            ctx: The run it belongs to.
            extra: Facts to add, under the key `extra`.
        """
        told = self._told_of(ctx)
        summary = self._summary(stage_name, result)
        told.summaries[stage_name] = (result, summary)
        self._emit(self.stage_event_type, told.stage_payload(summary), ctx, extra)

    def emit_pipeline_wide(
        self,
        results: Mapping[str, Outcome],
        ctx: Context,
        *,
        pipeline_name: str | None = None,
        status: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit one summary of a run; what the sink does about it stays with the sink.

        Args:
            results: How each stage ended, by name.
            ctx: The run.
            pipeline_name: The pipeline; the topology unless given, `pipeline` without one.
            status: How the run ended, as a status (`OK`, `FAIL`, `CANCEL`) or a state
                (`completed`, `failed`, `cancelled`); told from the results unless given.
            extra: Facts to add, under the key `extra`.

        Raises:
            ValueError: If *status* is none of these.
        """
        told = self._told_of(ctx)
        if type(ctx) is PipelineContext:
            del self._told[ctx]  # the summaries are this event's from here on
        details = [self._known(stage, result, told) for stage, result in results.items()]
        payload = told.pipeline_payload(
            details, results.values(), self._span(results), pipeline_name, status
        )
        self._emit(self.pipeline_event_type, payload, ctx, extra)

    def _writer(self, ctx: PipelineContext, collector: Collector) -> _Writer | None:
        """Return what writes the events of a run by its own figures, for the engine alone.

        Results are made for those who look at them: there is no writer where somebody does.
        """
        emits = (self.emit_stage_wide, self.emit_pipeline_wide)
        if tuple(getattr(emit, "__func__", None) for emit in emits) != _OWN_METHODS:
            return None
        return _Writer(self, ctx, collector)

    def _emit(
        self,
        type: str,
        payload: dict[str, Any],
        ctx: Context,
        extra: Mapping[str, Any] | None = None,
        collector: Collector | None = None,
    ) -> None:
        sink = self.event_sink
        if sink is None:
            sink = getattr(ctx, "event_sink", None)
        if sink is None:
            sink = get_event_sink()
        if extra is not None:
            payload["extra"] = dict(extra)
        deliver(sink, type, payload, collector=collector)

    def _told_of(self, ctx: Context) -> _Told:
        if type(ctx) is not PipelineContext:
            return _Told(tuple(_from(ctx, name) for name in _FACTS))
        facts = _facts_of_pipeline_context(ctx)
        told = self._told.get(ctx)
        if told is None or told.facts != facts:
            told = self._told[ctx] = _Told(facts)
        return told

    def _known(self, stage: str, result: Outcome, told: _Told) -> dict[str, Any]:
        """Return the summary that was told of *result*, which nobody else keeps, or a new one."""
        told_of, summary = told.summaries.get(stage, (None, None))
        if summary is None or told_of is not result:
            return self._summary(stage, result)
        return summary

    def _summary(self, stage: str, result: Outcome) -> dict[str, Any]:
        started_at = getattr(result, "started_at", None)
        ended_at = getattr(result, "ended_at", None)
        return {
            "stage_name": stage,
            "stage": stage,
            "status": result.status._name_,
            "started_at": None if started_at is None else self._times.text(started_at),
            "ended_at": None if ended_at is None else self._times.text(ended_at),
            "duration_ms": result.duration_ms,
            "error": result.error,
            "data_keys": sorted(map(str, result.data)) if result.data else [],
            "artifacts_count": len(result.artifacts),
            "events_count": len(result.events),
        }

    def _span(self, results: Mapping[str, Outcome]) -> dict[str, Any]:
        timed = [result for result in results.values() if isinstance(result, StageResult)]
        if not timed:
            return {"started_at": None, "ended_at": None, "duration_ms": None}
        began = min(map(attrgetter("started_at"), timed))
        ended = max(map(attrgetter("ended_at"), timed))
        return {
            "started_at": self._times.text(began),
            "ended_at": self._times.text(ended),
            "duration_ms": (ended - began).total_seconds() * 1000.0,
        }


class _Told:
    """What the events of one run have in common, and the summaries of its stages so far."""

    __slots__ = ("about", "correlation_ids", "facts", "metadata", "stage", "summaries")

    def __init__(self, facts: tuple[Any, ...]) -> None:
        self.facts = facts
        self.about = about = dict(zip(_FACTS, facts, strict=True))
        for name in _IDS:
            about[name] = _text(about[name])
        self.correlation_ids = {name: about[name] for name in _CORRELATION_IDS}
        self.metadata = {name: about[name] for name in _METADATA}
        # All keys of a stage's event are there: filling them in never makes a dictionary grow.
        self.stage = dict.fromkeys(_SUMMARY) | about | dict.fromkeys(_NESTED)
        self.summaries: dict[str, tuple[Outcome, dict[str, Any]]] = {}

    def stage_payload(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Return the facts of a stage's event; they share nothing with *summary*."""
        payload = self.stage.copy()
        payload.update(summary)
        payload["data_keys"] = summary["data_keys"].copy()
        payload["correlation_ids"] = self.correlation_ids.copy()
        payload["pipeline_metadata"] = self.metadata.copy()
        return payload

    def pipeline_payload(
        self,
        details: list[dict[str, Any]],
        outcomes: Iterable[Outcome],
        span: dict[str, Any],
        pipeline_name: str | None = None,
        status: str | None = None,
    ) -> dict[str, Any]:
        """Return the facts of a run's event, whose stages' summaries are *details*."""
        counts = Counter([stage["status"] for stage in details])
        return {
            "pipeline_name": pipeline_name or self.about["topology"] or "pipeline",
            **_verdict(outcomes, status, counts),
            **span,
            **_counted(counts),
            "stage_summaries": [_short(stage) for stage in details],
            "stage_details": details,
            **self.about,
            "correlation_ids": self.correlation_ids.copy(),
            "pipeline_metadata": self.metadata.copy(),
        }


class _Writer:
    """Writes the wide events of one run by the run's own figures, without any results."""

    __slots__ = ("_collector", "_ctx", "_emitter", "_summaries", "_told")

    def __init__(
        self, emitter: WideEventEmitter, ctx: PipelineContext, collector: Collector
    ) -> None:
        self._emitter = emitter
        self._ctx = ctx
        self._collector = collector
        self._told: _Told | None = None
        self._summaries: dict[str, dict[str, Any]] = {}

    def note_stage(
        self, stage: str, output: StageOutput, started_at: str, ended_at: str
    ) -> dict[str, Any]:
        """Return the summary of a stage, kept for the event of the run."""
        summary = self._summaries[stage] = {
            "stage_name": stage,
            "stage": stage,
            "status": output.status._name_,
            "started_at": started_at,
            "ended_at": ended_at,
            "duration_ms": output.duration_ms or 0.0,
            "error": output.error,
            "data_keys": sorted(map(str, output.data)) if output.data else [],
            "artifacts_count": len(output.artifacts),
            "events_count": len(output.events),
        }
        return summary

    def stage_ended(self, stage: str, output: StageOutput, started_at: str, ended_at: str) -> None:
        """Emit the summary of a stage."""
        summary = self.note_stage(stage, output, started_at, ended_at)
        emitter = self._emitter
        payload = self._told_now().stage_payload(summary)
        emitter._emit(emitter.stage_event_type, payload, self._ctx, None, self._collector)

    def knows(self, stage: str) -> bool:
        """Say whether the summary of a stage was written."""
        return stage in self._summaries

    def run_ended(self, outputs: Mapping[str, StageOutput], span: dict[str, Any]) -> None:
        """Emit the summary of the run, whose stages are all known."""
        details = [self._summaries[stage] for stage in outputs]
        emitter = self._emitter
        payload = self._told_now().pipeline_payload(details, outputs.values(), span)
        emitter._emit(emitter.pipeline_event_type, payload, self._ctx, None, self._collector)

    def _told_now(self) -> _Told:
        facts = _facts_of_pipeline_context(self._ctx)
        if self._told is None or self._told.facts != facts:
            self._told = _Told(facts)
        return self._told


_OWN_METHODS: Final = (WideEventEmitter.emit_stage_wide, WideEventEmitter.emit_pipeline_wide)


class _Times:
    """Writes times of day as `isoformat` does, those of one second at a third of its cost."""

    __slots__ = ("_second",)

    def __init__(self) -> None:
        # One value, so that threads that share it find a second and its text that agree.
        self._second = (_EARLIEST, _EARLIEST.isoformat()[:19])

    def text(self, at: datetime) -> str:
        """Return `at.isoformat()`."""
        if at.tzinfo is not UTC:
            return at.isoformat()
        second, prefix = self._second
        since = at - second
        if since.days or since.seconds:
            second = at.replace(microsecond=0)
            prefix = second.isoformat()[:19]
            self._second = (second, prefix)
        micro = at.microsecond
        # The leading one keeps the zeros; cheaper than to have them filled in.
        return f"{prefix}.{str(_MILLION + micro)[1:]}+00:00" if micro else f"{prefix}+00:00"


def emit_stage_wide(
    stage_name: str,
    result: Outcome,
    ctx: Context,
    event_sink: EventSink | None = None,
    *,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Emit one summary of a stage, to *event_sink*, else the context's, else the current sink."""
    WideEventEmitter(event_sink).emit_stage_wide(stage_name, result, ctx, extra=extra)


def emit_pipeline_wide(
    results: Mapping[str, Outcome],
    ctx: Context,
    event_sink: EventSink | None = None,
    *,
    pipeline_name: str | None = None,
    status: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Emit one summary of a run, to *event_sink*, else the context's, else the current sink."""
    WideEventEmitter(event_sink).emit_pipeline_wide(
        results, ctx, pipeline_name=pipeline_name, status=status, extra=extra
    )


# --- the parts of a payload -------------------------------------------------------------


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage_name": summary["stage_name"],
        "status": summary["status"],
        "duration_ms": summary["duration_ms"],
        "error": summary["error"],
    }


def _verdict(
    outcomes: Iterable[Outcome], status: str | None, counts: Mapping[str, int]
) -> dict[str, Any]:
    failed = None
    if counts["FAIL"]:
        failed = next(each for each in outcomes if each.status is StageStatus.FAIL)
    if status is not None:
        known = _STATUS_OF.get(str(status).lower())
        if known is None:
            raise ValueError(f"status must be one of {', '.join(_STATUS_OF)}, not {status!r}")
    elif failed is not None:
        known = "FAIL"
    elif counts["CANCEL"] and any(map(_ends_the_run, outcomes)):
        known = "CANCEL"
    else:
        known = "OK"
    return {
        "status": known,
        "state": _STATES[known],
        "error": None if failed is None else failed.error,
    }


def _ends_the_run(result: Outcome) -> bool:
    # A cancelled branch leaves the rest of the run going on to its end.
    return result.status is StageStatus.CANCEL and result.metadata.get("cancel_scope") != "branch"


def _counted(counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "stages_total": sum(counts.values()),
        "stages_completed": counts["OK"],
        "stages_failed": counts["FAIL"],
        "stages_skipped": counts["SKIP"],
        "stages_cancelled": counts["CANCEL"],
        "stage_counts": {status.value: counts[status.name] for status in _TERMINAL},
    }


def _from(ctx: Context, name: str) -> Any:
    """Return a fact of the context; a stage's context has most of them in its snapshot."""
    if hasattr(ctx, name):
        return getattr(ctx, name)
    return getattr(getattr(ctx, "snapshot", None), name, None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
