"""The faults of a definition, found all at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stageflow.errors import ContractErrorInfo, DefinitionError, did_you_mean

__all__ = (
    "CycleDetectedError",
    "PipelineValidationError",
    "cycle_fault",
    "fault",
    "find_cycle",
    "missing_dependency_fault",
    "raise_faults",
)

_DOCS = "docs/reference/errors.md"
_SHOWN = 10


class PipelineValidationError(DefinitionError, ValueError):
    """A pipeline was declared wrongly; every fault of the declaration is in here.

    Attributes:
        stages: The stages that the first fault concerns.
        error_info: The first fault.
        faults: All faults, the first included.
    """

    code = "SF101"

    def __init__(
        self,
        message: str,
        stages: Sequence[str] = (),
        error_info: ContractErrorInfo | None = None,
        *,
        faults: Sequence[ContractErrorInfo] = (),
    ) -> None:
        all_faults = tuple(faults) or ((error_info,) if error_info else ())
        first = error_info or (all_faults[0] if all_faults else None)
        super().__init__(
            message, hint=(first.fix_hint or "") if len(all_faults) == 1 and first else ""
        )
        self.stages = list(stages)
        self.error_info = first
        self.faults = all_faults
        if first is not None:
            self.code = first.code

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-able data."""
        return {
            "message": self.message,
            "stages": list(self.stages),
            "error_info": self.error_info.to_dict() if self.error_info else None,
            "faults": [fault.to_dict() for fault in self.faults],
        }


class CycleDetectedError(PipelineValidationError):
    """Stages wait for each other in a circle.

    Attributes:
        cycle_path: The circle in order; its first stage stands again at the end.
    """

    code = "SF102"

    def __init__(
        self,
        message: str,
        stages: Sequence[str] = (),
        error_info: ContractErrorInfo | None = None,
        *,
        faults: Sequence[ContractErrorInfo] = (),
        cycle_path: Sequence[str] = (),
    ) -> None:
        super().__init__(message, stages, error_info, faults=faults)
        self.cycle_path = list(cycle_path)


def fault(code: str, summary: str, hint: str, **context: Any) -> ContractErrorInfo:
    """Return a fault of the definition contract, such as `CONTRACT-004-EMPTY`."""
    full = f"CONTRACT-004-{code}"
    return ContractErrorInfo(full, summary, hint, f"{_DOCS}#{full.lower()}", context)


def missing_dependency_fault(
    stage: str, dependency: Any, known: Collection[str] | None
) -> ContractErrorInfo:
    """Return the fault of a *stage* that depends on a stage which does not exist.

    Args:
        stage: Who depends.
        dependency: On what; a text unless that is the mistake.
        known: The names there are, to find near ones; None to do without.
    """
    if not isinstance(dependency, str):
        return fault(
            "MISSING_DEP",
            f"Stage {stage!r} depends on {dependency!r:.100}, which is not the name of a stage.",
            "Give the name of a stage, a text.",
            stage=stage,
        )
    near = "" if known is None else f" {did_you_mean(dependency, known)}"
    return fault(
        "MISSING_DEP",
        f"Stage {stage!r} depends on {dependency!r}, which is not a stage of this pipeline.",
        f"Add a stage {dependency!r} or correct the name.{near}",
        stage=stage,
        missing=dependency,
    )


def cycle_fault(path: Sequence[str]) -> ContractErrorInfo:
    """Return the fault of stages that wait for each other; *path* is the circle in order."""
    shown = list(path) if len(path) <= 2 * _SHOWN else [*path[:_SHOWN], "…", *path[-_SHOWN:]]
    return fault(
        "CYCLE",
        f"Stages wait for each other in a circle: {' -> '.join(shown)}.",
        "Remove one of these dependencies, or split a stage so that the circle opens.",
        cycle_path=list(path),
    )


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Return one circle in order of execution, closed, or None; unknown names are ignored."""
    done: set[str] = set()
    for root in dependencies:
        if root in done:
            continue
        path: dict[str, None] = {}
        stack = [(root, iter(dependencies[root]))]
        path[root] = None
        while stack:
            name, rest = stack[-1]
            for dependency in rest:
                if dependency in path:
                    names = list(path)
                    circle = names[names.index(dependency) :]
                    # The walk goes from a stage to what it waits for; execution goes back.
                    return [circle[0], *reversed(circle)]
                if dependency not in done and dependency in dependencies:
                    path[dependency] = None
                    stack.append((dependency, iter(dependencies[dependency])))
                    break
            else:
                done.add(name)
                del path[name]
                stack.pop()
    return None


def raise_faults(faults: Sequence[ContractErrorInfo], *, pipeline: str) -> None:
    """Raise one error that carries all *faults*; do nothing if there are none."""
    if not faults:
        return
    if len(faults) == 1:
        message = faults[0].summary
    else:
        lines = [f"  {number}. {item}" for number, item in enumerate(faults[:_SHOWN], 1)]
        if len(faults) > _SHOWN:
            lines.append(f"  … and {len(faults) - _SHOWN} more; see the error's `faults`.")
        message = f"Pipeline {pipeline!r} has {len(faults)} faults:\n" + "\n".join(lines)
    cycle = next((item for item in faults if item.code == "CONTRACT-004-CYCLE"), None)
    if cycle is not None:
        path = cycle.context["cycle_path"]
        raise CycleDetectedError(
            message, list(dict.fromkeys(path)), faults[0], faults=faults, cycle_path=path
        )
    stage = faults[0].context.get("stage")
    raise PipelineValidationError(message, [stage] if stage else [], faults[0], faults=faults)
