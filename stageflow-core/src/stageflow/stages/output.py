"""StageOutput: what one execution of a stage gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from stageflow.codec import codec_type
from stageflow.errors import StageflowError
from stageflow.stages.artifacts import StageArtifact, StageEvent
from stageflow.stages.kinds import StageStatus

__all__ = ("CancelScope", "StageOutput", "as_artifacts", "as_events", "as_status", "timed_output")

CancelScope = Literal["run", "branch"]


def as_artifacts(items: Iterable[StageArtifact]) -> tuple[StageArtifact, ...]:
    """Return *items* as a tuple."""
    return tuple(items)


def as_events(items: Iterable[StageEvent]) -> tuple[StageEvent, ...]:
    """Return *items* as a tuple."""
    return tuple(items)


def as_status(value: StageStatus | str) -> StageStatus:
    """Return the status that *value* is or names."""
    # Looking up an enum member costs more than all the rest of an output.
    return value if type(value) is StageStatus else StageStatus(value)


class _Open:
    """The slots of `StageOutput` before it is closed: filling them here costs a third."""

    __slots__ = (
        "__weakref__",
        "artifacts",
        "data",
        "duration_ms",
        "error",
        "events",
        "metadata",
        "retryable",
        "status",
        "version",
    )


@codec_type(name="stageflow.StageOutput")
@attrs.frozen(hash=False, weakref_slot=False)
class StageOutput(_Open):
    """The outcome of one execution of a stage; immutable, made by the class methods below.

    Attributes:
        status: How the stage ended, or `RETRY` to ask for another attempt.
        data: What dependants may read, by key.
        artifacts: Things worth keeping that the stage produced.
        events: Things that happened inside the stage.
        error: Why the stage failed or wants a retry.
        duration_ms: How long the stage took, in milliseconds; set by the engine.
        version: Version of the data's shape, chosen by the stage.
        metadata: Facts about the output that are not data.
        retryable: Whether another attempt could help; None where the stage does not know.
    """

    status: StageStatus = attrs.field(converter=as_status)
    data: dict[str, Any] = attrs.field(factory=dict)
    artifacts: tuple[StageArtifact, ...] = attrs.field(default=(), converter=as_artifacts)
    events: tuple[StageEvent, ...] = attrs.field(default=(), converter=as_events)
    error: str | None = None
    duration_ms: float | None = None
    version: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    retryable: bool | None = None

    @classmethod
    def ok(
        cls,
        data: Mapping[str, Any] | None = None,
        *,
        artifacts: Iterable[StageArtifact] = (),
        events: Iterable[StageEvent] = (),
        metadata: Mapping[str, Any] | None = None,
        version: str | None = None,
        **as_data: Any,
    ) -> StageOutput:
        """Return a success whose data is *data* and the further keywords merged."""
        return cls(
            StageStatus.OK,
            _merged(data, as_data),
            artifacts,
            events,
            None,
            None,
            version,
            dict(metadata) if metadata else {},
        )

    @classmethod
    def skip(
        cls,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
        *,
        version: str | None = None,
    ) -> StageOutput:
        """Return "nothing to do here"; the reason is also in `data["reason"]`."""
        return cls(StageStatus.SKIP, {**(data or {}), "reason": reason}, version=version)

    @classmethod
    def cancel(
        cls,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
        *,
        scope: CancelScope = "run",
        version: str | None = None,
    ) -> StageOutput:
        """Return a graceful early end; the reason is also in `data["cancel_reason"]`.

        Args:
            reason: Why to stop.
            data: Data that goes out with the early end.
            scope: `run` ends the whole run; `branch` only what depends on this stage.
            version: Version of the data's shape.

        Raises:
            ValueError: If *scope* is neither of the two.
        """
        if scope not in ("run", "branch"):
            raise ValueError(f"scope must be 'run' or 'branch', not {scope!r}")
        return cls(
            StageStatus.CANCEL,
            {**(data or {}), "cancel_reason": reason},
            version=version,
            metadata={"cancel_scope": scope},
        )

    @classmethod
    def fail(
        cls,
        error: str | BaseException = "Unknown error",
        data: Mapping[str, Any] | None = None,
        *,
        retryable: bool | None = None,
        response: Any = None,
        version: str | None = None,
        **as_data: Any,
    ) -> StageOutput:
        """Return a failure.

        Args:
            error: What went wrong; an exception is written as `Type: message`.
            data: Data that goes out with the failure.
            retryable: Whether another attempt could help.
            response: What to answer in spite of the failure; goes into `data["response"]`.
            version: Version of the data's shape.
            **as_data: Further keys of the data.
        """
        merged = _merged(data, as_data)
        if response is not None:
            merged["response"] = response
        return cls(
            StageStatus.FAIL,
            merged,
            error=_as_text(error),
            version=version,
            retryable=retryable,
        )

    @classmethod
    def retry(
        cls,
        reason: str,
        data: Mapping[str, Any] | None = None,
        *,
        retryable: bool = True,
        version: str | None = None,
    ) -> StageOutput:
        """Ask for another attempt under the stage's retry policy; exhausted means failed."""
        return cls(
            StageStatus.RETRY,
            dict(data or {}),
            error=reason,
            version=version,
            retryable=retryable,
        )

    @property
    def cancel_scope(self) -> CancelScope:
        """How far a cancellation reaches; `run` unless the stage said `branch`."""
        return "branch" if self.metadata.get("cancel_scope") == "branch" else "run"

    def with_duration(self, ms: float) -> StageOutput:
        """Return a copy that says it took *ms* milliseconds."""
        return attrs.evolve(self, duration_ms=ms)

    def with_version(self, version: str) -> StageOutput:
        """Return a copy whose data has the given shape *version*."""
        return attrs.evolve(self, version=version)


def timed_output(output: StageOutput, duration_ms: float) -> StageOutput:
    """Return a copy of *output* that says it took *duration_ms*, for the engine's hot path."""
    copy: Any = _Open()
    copy.status = output.status
    copy.data = output.data
    copy.artifacts = output.artifacts
    copy.events = output.events
    copy.error = output.error
    copy.duration_ms = duration_ms
    copy.version = output.version
    copy.metadata = output.metadata
    copy.retryable = output.retryable
    copy.__class__ = StageOutput
    return copy  # type: ignore[no-any-return]


def _merged(data: Mapping[str, Any] | None, further: dict[str, Any]) -> dict[str, Any]:
    # The keywords are a fresh dictionary already, so only a given mapping is copied.
    return {**data, **further} if data else further


def _as_text(error: str | BaseException) -> str:
    if isinstance(error, BaseException):
        # The code and the hint of one of our own errors stay with the exception.
        text = error.message if isinstance(error, StageflowError) else str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return str(error)
