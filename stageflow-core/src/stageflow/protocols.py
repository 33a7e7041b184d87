"""The protocols under one roof: what contexts offer, and the contracts people ask for first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from stageflow.context.identity import CorrelationIds
from stageflow.contracts.config_provider import ConfigProvider
from stageflow.contracts.event_sink import EventSink
from stageflow.contracts.run_store import RunStore

__all__ = ("ConfigProvider", "CorrelationIds", "EventSink", "ExecutionContext", "RunStore")


@runtime_checkable
class ExecutionContext(Protocol):
    """What every execution context offers, whatever it belongs to."""

    @property
    def pipeline_run_id(self) -> UUID | None:
        """The run, for correlation."""

    @property
    def request_id(self) -> UUID | None:
        """The request that caused the run."""

    @property
    def execution_mode(self) -> str | None:
        """The mode the run was started in."""

    def to_dict(self) -> dict[str, Any]:
        """Return the context as JSON-able data."""
        ...

    def try_emit_event(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """Tell listeners that something happened; never raises and never waits."""
