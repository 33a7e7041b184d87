"""StageInputs: what a stage may read, limited to what it declared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, Final, Literal

import attrs

from stageflow.context.snapshot import ContextSnapshot
from stageflow.context.views import read_only
from stageflow.errors import RunError, did_you_mean
from stageflow.stages import StageOutput, StageStatus

__all__ = (
    "MISSING",
    "InputKeyError",
    "MissingInputError",
    "StageInputs",
    "UndeclaredDependencyError",
    "create_stage_inputs",
    "shared_output",
)


class _Missing(Enum):
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""Says that no default was given, since None is a fine default."""

_MissingType = Literal[_Missing.MISSING]


class UndeclaredDependencyError(RunError):
    """A stage reads from a stage that it did not declare as a dependency.

    Attributes:
        stage_name: The stage that it tried to read from.
        declared_deps: The dependencies it declared.
        accessing_stage: The stage that tried to read.
    """

    code = "SF311"

    def __init__(
        self,
        message: str,
        *,
        stage_name: str,
        declared_deps: Collection[str] = (),
        accessing_stage: str | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage_name = stage_name
        self.declared_deps = frozenset(declared_deps)
        self.accessing_stage = accessing_stage


class MissingInputError(UndeclaredDependencyError):
    """A declared dependency does not have the key that a stage reads, and no default was given.

    Attributes:
        key: The key that is not there.
    """

    code = "SF312"

    def __init__(self, message: str, *, key: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.key = key


class InputKeyError(RunError, ValueError):
    """A key or stage name that is None, not a string, or empty was used to read an input."""

    code = "SF313"


def shared_output(output: StageOutput, stage: str) -> StageOutput:
    """Return *output* with data and metadata that no reader can change."""
    return StageOutput(
        output.status,
        read_only(output.data, stage),
        output.artifacts,
        output.events,
        output.error,
        output.duration_ms,
        output.version,
        read_only(output.metadata, stage),
        output.retryable,
    )


class _Open:
    """The slots of `StageInputs` before it is closed: filling them here costs a third."""

    __slots__ = (
        "__weakref__",
        "_prior_outputs",
        "declared_deps",
        "ports",
        "snapshot",
        "stage_name",
        "strict",
    )


@attrs.frozen(weakref_slot=False)
class StageInputs(_Open):
    """What one stage may read: the run's snapshot, its ports and its dependencies' outputs.

    Attributes:
        snapshot: What was known when the run began.
        ports: Injected capabilities or the run's inputs, an object with attributes or a mapping.
        declared_deps: The dependencies the stage declared, in that order.
        stage_name: The stage that reads.
        strict: Whether reading from an undeclared stage is an error even with a default.
    """

    snapshot: ContextSnapshot[Any]
    _prior_outputs: Mapping[str, StageOutput] = attrs.field(factory=dict, repr=False)
    ports: Any = None
    declared_deps: Collection[str] = frozenset()
    stage_name: str | None = None
    strict: bool = True

    @property
    def prior_outputs(self) -> Mapping[str, StageOutput]:
        """The outputs of the dependencies that have finished, by stage name."""
        names = self.declared_deps if self.strict else self._prior_outputs
        return {name: self._shared(name) for name in names if name in self._prior_outputs}

    def get(self, key: str, default: Any = MISSING) -> Any:
        """Return the value of *key* from the ports, or else from the first dependency that has it.

        Args:
            key: What to look for.
            default: What to return when nobody has it.

        Raises:
            MissingInputError: If nobody has it and no default was given.
            InputKeyError: If *key* is not a non-empty string.
        """
        _check_key(key, "key")
        found = _from_ports(self.ports, key)
        if found is not MISSING:
            return found
        deps = self.declared_deps if self.strict else self._prior_outputs
        for stage in deps:
            if stage in self._prior_outputs:
                data = self._shared(stage).data
                if key in data:
                    return data[key]
        if default is not MISSING:
            return default
        raise self._missing(key, self.declared_deps)

    def get_from(self, stage: str, key: str, default: Any = MISSING) -> Any:
        """Return the value of *key* in the output of *stage*.

        Args:
            stage: A declared dependency.
            key: What to read.
            default: What to return when *stage* does not have it.

        Raises:
            UndeclaredDependencyError: If *stage* was not declared.
            MissingInputError: If it does not have *key* and no default was given.
            InputKeyError: If either name is not a non-empty string.
        """
        _check_key(stage, "stage name")
        _check_key(key, "key")
        self._check_declared(stage)
        if stage in self._prior_outputs:
            data = self._shared(stage).data
            if key in data:
                return data[key]
        if default is not MISSING:
            return default
        raise self._missing(key, (stage,))

    def require_from(self, stage: str, key: str) -> Any:
        """Return the value of *key* in the output of *stage*, which must have it.

        Raises:
            UndeclaredDependencyError: If *stage* was not declared.
            MissingInputError: If it does not have *key*.
            InputKeyError: If either name is not a non-empty string.
        """
        return self.get_from(stage, key)

    def has_output(self, stage: str) -> bool:
        """Say whether the declared dependency *stage* has given an output.

        Raises:
            UndeclaredDependencyError: If *stage* was not declared.
            InputKeyError: If *stage* is not a non-empty string.
        """
        _check_key(stage, "stage name")
        self._check_declared(stage)
        return stage in self._prior_outputs

    def get_output(self, stage: str) -> StageOutput | None:
        """Return the whole output of the declared dependency *stage*, or None if it gave none.

        Raises:
            UndeclaredDependencyError: If *stage* was not declared.
            InputKeyError: If *stage* is not a non-empty string.
        """
        return self._shared(stage) if self.has_output(stage) else None

    def _shared(self, stage: str) -> StageOutput:
        output = self._prior_outputs[stage]
        # A run hands out views that it keeps; only a hand-made mapping holds plain outputs.
        if isinstance(self._prior_outputs, dict):
            return shared_output(output, stage)
        return output

    def _check_declared(self, stage: str) -> None:
        if not self.strict or stage in self.declared_deps:
            return
        who = f"Stage {self.stage_name!r}" if self.stage_name else "A stage"
        declared = ", ".join(map(repr, self.declared_deps)) or "none"
        raise UndeclaredDependencyError(
            f"{who} reads from {stage!r}, which it did not declare (declared: {declared}).",
            stage_name=stage,
            declared_deps=self.declared_deps,
            accessing_stage=self.stage_name,
            hint=f"Add {stage!r} to its dependencies, or read from a declared one. "
            + did_you_mean(stage, self.declared_deps),
        )

    def _missing(self, key: str, stages: Collection[str]) -> MissingInputError:
        who = f"Stage {self.stage_name!r}" if self.stage_name else "A stage"
        known: set[str] = set()
        notes = []
        for stage in stages:
            output = self._prior_outputs.get(stage)
            if output is None:
                notes.append(f"stage {stage!r} gave no output")
            elif output.status is not StageStatus.OK:
                reason = output.error or output.data.get("reason") or ""
                notes.append(
                    f"stage {stage!r} ended as {output.status}" + (f": {reason}" if reason else "")
                )
            if output is not None:
                known.update(map(str, output.data))
        where = " or ".join(repr(s) for s in list(stages)[:5]) or "any input"
        note = f" ({'; '.join(notes[:5])})" if notes else ""
        return MissingInputError(
            f"{who} reads {key!r} from {where}, where there is no such key{note}.",
            key=key,
            stage_name=next(iter(stages), ""),
            declared_deps=self.declared_deps,
            accessing_stage=self.stage_name,
            hint=f"Give a default, or read a key that is there. {did_you_mean(key, known)}",
        )


def create_stage_inputs(
    snapshot: ContextSnapshot[Any],
    *,
    prior_outputs: Mapping[str, StageOutput] | None = None,
    ports: Any = None,
    declared_deps: Collection[str] | None = None,
    stage_name: str | None = None,
    strict: bool = True,
) -> StageInputs:
    """Return inputs for one stage, for tests and for callers without an engine.

    Args:
        snapshot: What was known when the run began.
        prior_outputs: Outputs by stage name.
        ports: Injected capabilities or the run's inputs.
        declared_deps: What the stage may read from; every given output unless said.
        stage_name: The stage that reads, for messages.
        strict: Whether reading from an undeclared stage is an error.
    """
    outputs = dict(prior_outputs or {})
    deps = tuple(outputs) if declared_deps is None else tuple(dict.fromkeys(declared_deps))
    return StageInputs(snapshot, outputs, ports, deps, stage_name, strict)


def make_stage_inputs(
    snapshot: ContextSnapshot[Any],
    source: Mapping[str, StageOutput],
    ports: Any,
    declared_deps: Collection[str],
    stage_name: str,
) -> StageInputs:
    """Return strict inputs that read shared outputs from *source*, for the engine's hot path."""
    inputs: Any = _Open()
    inputs.snapshot = snapshot
    inputs._prior_outputs = source
    inputs.ports = ports
    inputs.declared_deps = declared_deps
    inputs.stage_name = stage_name
    inputs.strict = True
    inputs.__class__ = StageInputs
    return inputs  # type: ignore[no-any-return]


def _check_key(key: Any, what: str) -> None:
    if type(key) is str and key:
        return
    if not isinstance(key, str) or not key:
        raise InputKeyError(
            f"An input is read by a non-empty {what}, not by {key!r}.",
            hint="Check the variable that holds it.",
        )


def _from_ports(ports: Any, key: str) -> Any:
    if ports is None:
        return MISSING
    if isinstance(ports, Mapping):
        return ports.get(key, MISSING)
    value = getattr(ports, key, MISSING)
    return MISSING if value is None else value
