"""Observability: wide events about stages and runs, and telemetry from other libraries."""

from stageflow.contracts.event_sink import EventSink
from stageflow.observability.telemetry import (
    TelemetryBridge,
    TelemetryHandler,
    lifecycle_telemetry,
    run_span,
    under_stageflow,
)
from stageflow.observability.wide_events import (
    WideEventEmitter,
    emit_pipeline_wide,
    emit_stage_wide,
)

__all__ = (
    "EventSink",
    "TelemetryBridge",
    "TelemetryHandler",
    "WideEventEmitter",
    "emit_pipeline_wide",
    "emit_stage_wide",
    "lifecycle_telemetry",
    "run_span",
    "under_stageflow",
)
