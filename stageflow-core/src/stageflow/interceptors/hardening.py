"""Hardening: what stages must not do to the context, noticed where it happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.call import Invocation, Proceed
from stageflow.contracts.logs import get_logger
from stageflow.errors import RunError
from stageflow.interceptors.base import BaseInterceptor
from stageflow.interceptors.image import differences, image_of
from stageflow.interceptors.per_run import PerRun
from stageflow.stages import StageOutput

if TYPE_CHECKING:
    from stageflow._engine.run import Run

__all__ = (
    "ContextSizeInterceptor",
    "ContextSizeMetrics",
    "ImmutabilityInterceptor",
    "SnapshotMutatedError",
)

_log = get_logger(__name__)


class SnapshotMutatedError(RunError):
    """The snapshot of a run changed while a stage ran.

    Attributes:
        stage: The stage.
        paths: What changed, such as `metadata['user'].name`.
    """

    code = "SF326"

    def __init__(self, stage: str, paths: tuple[str, ...]) -> None:
        super().__init__(
            f"The run's snapshot changed while stage {stage!r} ran: {', '.join(paths)}.",
            hint="Return what the stage finds out as its output. If another stage ran at the"
            " same time, either may have done it.",
        )
        self.stage = stage
        self.paths = paths


class ImmutabilityInterceptor(BaseInterceptor):
    """Compares the run's snapshot before and after each stage.

    Its own dictionaries and lists refuse to be changed; what is found here are changes inside
    objects of the application that the snapshot holds, and those made by force. It walks the
    whole snapshot twice per stage, so it is meant for tests and for finding faults. Objects
    that hide their state, such as those of extension modules, are compared by identity.

    Args:
        crash_on_violation: Whether the stage fails with `SnapshotMutatedError`; otherwise it is
            logged as a warning.
    """

    name = "immutability"
    priority = 300

    def __init__(self, crash_on_violation: bool = True) -> None:
        self.crash_on_violation = crash_on_violation

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage and compare.

        Raises:
            SnapshotMutatedError: If the snapshot changed and that is to fail the stage. If the
                stage raised something itself, that is raised, with a note about the change.
        """
        snapshot = invocation.context.snapshot
        before = image_of(snapshot)
        try:
            output = await proceed()
        except Exception as error:
            paths = differences(before, image_of(snapshot))
            if paths:
                self._report(invocation, paths)
                error.add_note(f"The run's snapshot changed meanwhile: {', '.join(paths)}.")
            raise
        paths = differences(before, image_of(snapshot))
        if paths:
            self._report(invocation, paths)
            if self.crash_on_violation:
                raise SnapshotMutatedError(invocation.stage_name, paths)
        return output

    def _report(self, invocation: Invocation, paths: tuple[str, ...]) -> None:
        _log.warning("snapshot.mutated", stage=invocation.stage_name, paths=paths)


@attrs.frozen(kw_only=True)
class ContextSizeMetrics:
    """How large the context of a stage's runs was.

    Attributes:
        measured: How many executions were measured.
        last_bytes: The size after the last of them.
        max_bytes: The largest size there was.
        last_growth_bytes: By how much the last of them made it grow.
        max_growth_bytes: The largest growth there was.
        warnings: How often a size or a growth was above its limit.
    """

    measured: int = 0
    last_bytes: int = 0
    max_bytes: int = 0
    last_growth_bytes: int = 0
    max_growth_bytes: int = 0
    warnings: int = 0


@attrs.define(eq=False)
class _Sizes:
    """How large the parts of one run's context are that do not change any more."""

    snapshot: int
    outputs: int = 0


class ContextSizeInterceptor(BaseInterceptor):
    """Warns of a context that is large, and of a stage that makes it grow a lot.

    What counts is what a run carries along: its snapshot, its inputs, the data that interceptors
    share, and the outputs of the stages so far, as the number of bytes that they take as JSON.
    Each part is measured once, when it is there; only shared data is measured around each stage.

    Args:
        max_size_bytes: Above this size there is a warning after each stage.
        warn_on_growth_bytes: Above this growth by one stage there is a warning.
    """

    name = "context_size"
    priority = 310

    def __init__(
        self, max_size_bytes: int = 1_048_576, warn_on_growth_bytes: int = 102_400
    ) -> None:
        self.max_size_bytes = max_size_bytes
        self.warn_on_growth_bytes = warn_on_growth_bytes
        self._metrics: dict[str, ContextSizeMetrics] = {}
        self._lock = threading.Lock()
        self._sizes: PerRun[_Sizes] = PerRun(_first_sizes)

    def get_metrics(self) -> dict[str, ContextSizeMetrics]:
        """Return the figures so far, by stage name."""
        return dict(self._metrics)

    async def around(self, invocation: Invocation, proceed: Proceed) -> StageOutput:
        """Run the stage and measure."""
        sizes = self._sizes.of(invocation.run)
        shared = invocation.pipeline_context.data
        before = json_size(shared)
        output = await proceed()
        given, after = json_size(output.data), json_size(shared)
        # Other stages may have ended meanwhile; their outputs are their own growth.
        sizes.outputs += given
        self._record(invocation, sizes.snapshot + sizes.outputs + after, given + after - before)
        return output

    def _record(self, invocation: Invocation, size: int, growth: int) -> None:
        stage = invocation.stage_name
        large, grown = size > self.max_size_bytes, growth > self.warn_on_growth_bytes
        with self._lock:
            known = self._metrics.get(stage) or ContextSizeMetrics()
            self._metrics[stage] = ContextSizeMetrics(
                measured=known.measured + 1,
                last_bytes=size,
                max_bytes=max(known.max_bytes, size),
                last_growth_bytes=growth,
                max_growth_bytes=max(known.max_growth_bytes, growth),
                warnings=known.warnings + large + grown,
            )
        if large:
            _log.warning("context.large", stage=stage, bytes=size, limit=self.max_size_bytes)
        if grown:
            _log.warning("context.grew", stage=stage, bytes=growth, limit=self.warn_on_growth_bytes)


def _first_sizes(run: Run) -> _Sizes:
    return _Sizes(json_size(run.context.snapshot.to_dict()) + json_size(run.context.inputs))


def json_size(value: Any) -> int:
    """Return how many characters *value* takes as JSON, about; never raises.

    Objects count with their attributes, bytes with their number, what contains itself with what
    can be seen of it.
    """
    try:
        return len(json.dumps(value, default=_parts, skipkeys=True))
    except (TypeError, ValueError, RuntimeError):  # the last if somebody changes it meanwhile
        return len(_shown(value))


def _parts(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return " " * len(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name, None) for field in attrs.fields(type(value))}
    found = getattr(value, "__dict__", None)
    return dict(found) if found else _shown(value)


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a stranger's object may fail to show itself
        return ""
