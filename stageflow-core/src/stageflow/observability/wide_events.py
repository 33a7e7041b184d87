"""Wide events: one summary per stage and one per run, with everything one would filter by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, Literal

from stageflow.context import PipelineContext, StageContext
from stageflow.contracts.event_sink import EventSink
from stageflow.events.current import get_event_sink
from stageflow.events.delivery import deliver
from stageflow.stages import StageOutput, StageResult, StageStatus

__all__ = ("WideEventEmitter", "emit_pipeline_wide", "emit_stage_wide")

Outcome = StageResult | StageOutput
Context = PipelineContext | StageContext
PipelineState = Literal["completed", "failed", "cancelled"]

_CORRELATION_IDS: Final = ("pipeline_run_id", "request_id", "session_id", "user_id", "org_id")
_METADATA: Final = ("service", "topology", "execution_mode")
_FACTS: Final = (*_CORRELATION_IDS, "interaction_id", *_METADATA)
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
        # The facts of the context seen last, as they were and as they are told: a run's events
        # come one after the other, and writing out its ids is half the cost of each.
        self._seen: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

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
        payload = _summary(stage_name, result)
        self._emit(self.stage_event_type, payload, ctx, extra)

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
        payload = {
            "pipeline_name": pipeline_name or _from(ctx, "topology") or "pipeline",
            **_verdict(results, status),
            **_span(results),
            **_counts(results),
            "stage_summaries": [_short(stage, result) for stage, result in results.items()],
            "stage_details": [_summary(stage, result) for stage, result in results.items()],
        }
        self._emit(self.pipeline_event_type, payload, ctx, extra)

    def _emit(
        self, type: str, payload: dict[str, Any], ctx: Context, extra: Mapping[str, Any] | None
    ) -> None:
        sink = self.event_sink
        if sink is None:
            sink = getattr(ctx, "event_sink", None)
        if sink is None:
            sink = get_event_sink()
        payload.update(self._about(ctx))
        if extra is not None:
            payload["extra"] = dict(extra)
        deliver(sink, type, payload)

    def _about(self, ctx: Context) -> dict[str, Any]:
        facts = _facts_of(ctx)
        seen, about = self._seen
        if facts != seen:
            about = _written_out(facts)
            self._seen = (facts, about)
        return {
            **about,
            "correlation_ids": {name: about[name] for name in _CORRELATION_IDS},
            "pipeline_metadata": {name: about[name] for name in _METADATA},
        }


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


def _summary(stage: str, result: Outcome) -> dict[str, Any]:
    return {
        "stage_name": stage,
        "stage": stage,
        "status": result.status.name,
        "started_at": _time(result, "started_at"),
        "ended_at": _time(result, "ended_at"),
        "duration_ms": result.duration_ms,
        "error": result.error,
        "data_keys": sorted(map(str, result.data)),
        "artifacts_count": len(result.artifacts),
        "events_count": len(result.events),
    }


def _short(stage: str, result: Outcome) -> dict[str, Any]:
    return {
        "stage_name": stage,
        "status": result.status.name,
        "duration_ms": result.duration_ms,
        "error": result.error,
    }


def _verdict(results: Mapping[str, Outcome], status: str | None) -> dict[str, Any]:
    failed = next((r for r in results.values() if r.status is StageStatus.FAIL), None)
    if status is not None:
        known = _STATUS_OF.get(str(status).lower())
        if known is None:
            raise ValueError(f"status must be one of {', '.join(_STATUS_OF)}, not {status!r}")
    elif failed is not None:
        known = "FAIL"
    else:
        known = "CANCEL" if any(map(_ends_the_run, results.values())) else "OK"
    return {
        "status": known,
        "state": _STATES[known],
        "error": None if failed is None else failed.error,
    }


def _ends_the_run(result: Outcome) -> bool:
    # A cancelled branch leaves the rest of the run going on to its end.
    return result.status is StageStatus.CANCEL and result.metadata.get("cancel_scope") != "branch"


def _span(results: Mapping[str, Outcome]) -> dict[str, Any]:
    timed = [result for result in results.values() if isinstance(result, StageResult)]
    if not timed:
        return {"started_at": None, "ended_at": None, "duration_ms": None}
    began = min(result.started_at for result in timed)
    ended = max(result.ended_at for result in timed)
    return {
        "started_at": began.isoformat(),
        "ended_at": ended.isoformat(),
        "duration_ms": (ended - began).total_seconds() * 1000.0,
    }


def _counts(results: Mapping[str, Outcome]) -> dict[str, Any]:
    by_status = Counter(result.status for result in results.values())
    return {
        "stages_total": len(results),
        "stages_completed": by_status[StageStatus.OK],
        "stages_failed": by_status[StageStatus.FAIL],
        "stages_skipped": by_status[StageStatus.SKIP],
        "stages_cancelled": by_status[StageStatus.CANCEL],
        "stage_counts": {status.value: by_status[status] for status in _TERMINAL},
    }


def _facts_of(ctx: Context) -> tuple[Any, ...]:
    if type(ctx) is PipelineContext:
        return _facts_of_pipeline_context(ctx)
    return tuple(_from(ctx, name) for name in _FACTS)


def _written_out(facts: tuple[Any, ...]) -> dict[str, Any]:
    about = dict(zip(_FACTS, facts, strict=True))
    for name in (*_CORRELATION_IDS, "interaction_id"):
        about[name] = _text(about[name])
    return about


def _from(ctx: Context, name: str) -> Any:
    """Return a fact of the context; a stage's context has most of them in its snapshot."""
    if hasattr(ctx, name):
        return getattr(ctx, name)
    return getattr(getattr(ctx, "snapshot", None), name, None)


def _time(result: Outcome, name: str) -> str | None:
    at = getattr(result, name, None)
    return None if at is None else str(at.isoformat())


def _text(value: object) -> str | None:
    return None if value is None else str(value)
