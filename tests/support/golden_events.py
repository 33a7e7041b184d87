"""Golden events: what was emitted fits its schema, and is what was expected.

A golden test runs something, and compares:

    assert_golden(sink.events, [
        ("pipeline.started", {"pipeline_run_id": ANY_ID, "stages_total": 2, ...}),
        ...
    ])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from stageflow.events.catalogue import EventCatalogue
from stageflow.events.schemas import EVENTS

__all__ = ("ANY_ID", "ANY_MS", "ANY_TIME", "assert_golden", "check_schemas")


class _Any:
    """Equals every value that passes a check."""

    def __init__(self, name: str, check: Any) -> None:
        self._name = name
        self._check = check

    def __eq__(self, other: object) -> bool:
        try:
            return bool(self._check(other))
        except (TypeError, ValueError, AttributeError):
            return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self._name


ANY_ID: Any = _Any("ANY_ID", lambda value: str(UUID(value)) == value)
ANY_TIME: Any = _Any(
    "ANY_TIME", lambda value: datetime.fromisoformat(value).utcoffset() is not None
)
ANY_MS: Any = _Any("ANY_MS", lambda value: not isinstance(value, bool) and value >= 0)


def check_schemas(
    events: Iterable[tuple[str, Mapping[str, Any] | None]], catalogue: EventCatalogue = EVENTS
) -> None:
    """Fail unless every event has a schema and fits it; all faults are told at once."""
    faults = [f"{name}: {told}" for name, data in events for told in catalogue.faults(name, data)]
    assert not faults, "\n".join(faults)


def assert_golden(
    events: Sequence[tuple[str, Mapping[str, Any] | None]],
    expected: Sequence[tuple[str, Mapping[str, Any]]],
    catalogue: EventCatalogue = EVENTS,
) -> None:
    """Fail unless the events fit their schemas and are the expected ones, whole and in order."""
    check_schemas(events, catalogue)
    assert [name for name, _ in events] == [name for name, _ in expected]
    for (name, data), (_, golden) in zip(events, expected, strict=True):
        assert dict(data or {}) == dict(golden), name
