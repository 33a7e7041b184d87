"""DictContextAdapter: a plain dictionary where an execution context is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from stageflow.context.identity import ID_FIELDS
from stageflow.context.values import SnapshotFormatError, parse_id, text_of_id
from stageflow.contracts.logs import get_logger
from stageflow.errors import RunError

if TYPE_CHECKING:
    from stageflow.protocols import ExecutionContext

__all__ = ("DictContextAdapter", "NoExecutionContextError", "adapt_context")

_log = get_logger(__name__)

_IN_EVENTS = ("pipeline_run_id", "request_id", "execution_mode")
_MEMBERS = (*_IN_EVENTS, "to_dict", "try_emit_event")


class NoExecutionContextError(RunError, TypeError):
    """Something was given as a context that has not what a context must have.

    Attributes:
        given: The name of its type.
    """

    code = "SF334"

    def __init__(self, given: str) -> None:
        super().__init__(
            f"An execution context is needed, and {given} is none.",
            hint="Give a StageContext, a PipelineContext or a dictionary.",
        )
        self.given = given


class DictContextAdapter:
    """An execution context over a dictionary, for callers that have no other.

    The dictionary is read at each access and never written.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {} if values is None else values

    @property
    def pipeline_run_id(self) -> UUID | None:
        """The run, if the dictionary names it by a UUID."""
        return self._id("pipeline_run_id")

    @property
    def request_id(self) -> UUID | None:
        """The request, if the dictionary names it by a UUID."""
        return self._id("request_id")

    @property
    def execution_mode(self) -> str | None:
        """The mode, if the dictionary has one."""
        return self._values.get("execution_mode")

    def get(self, key: str, default: Any = None) -> Any:
        """Return what the dictionary has under *key*, or *default*."""
        return self._values.get(key, default)

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of the dictionary, the ids of a run as text."""
        return {
            key: text_of_id(value) if key in ID_FIELDS else value
            for key, value in self._values.items()
        }

    def try_emit_event(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """Log the event at debug level, with the ids and mode that are there; never raises."""
        try:
            _log.debug("context.event", event_type=type, event_data=self._enriched(data))
        except Exception as error:  # noqa: BLE001 - emitting an event never raises
            _log.debug("context.event_lost", problem=error.__class__.__name__)

    def _enriched(self, data: Mapping[str, Any] | None) -> dict[str, Any]:
        values = self._values
        known = {key: str(values[key]) for key in _IN_EVENTS if values.get(key) is not None}
        return {**known, **(data or {})}

    def _id(self, key: str) -> UUID | None:
        # Older callers put any text here; it still shows in events, but it is no UUID.
        try:
            return parse_id(self._values.get(key), key)
        except SnapshotFormatError:
            return None

    def __repr__(self) -> str:
        return (
            f"DictContextAdapter(run={self.pipeline_run_id}, keys={sorted(map(str, self._values))})"
        )


def adapt_context(context: Any) -> ExecutionContext:
    """Return *context* as an execution context: itself if it is one, else an adapter over it.

    Args:
        context: An execution context, a mapping, or None for one that knows nothing.

    Raises:
        NoExecutionContextError: If it is none of these.
    """
    if context is None or isinstance(context, Mapping):
        return DictContextAdapter(context)
    if all(hasattr(context, name) for name in _MEMBERS):
        return cast("ExecutionContext", context)
    raise NoExecutionContextError(type(context).__name__)
