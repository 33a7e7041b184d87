"""Fingerprint: what of a plan a stored run relies on, and what has changed of it since.

It is made of what the stages are called, what they depend on, of which kind they are and what runs
them, by name and declared version; not of source text, so that a mended line stops no run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from stageflow.errors import RunError

if TYPE_CHECKING:
    from stageflow._engine.plan import Plan

__all__ = ("OnChange", "PlanChange", "PlanChangedError", "affected_by", "changes", "fingerprint_of")

OnChange = Literal["refuse", "pin", "adopt"]

Fingerprint = Mapping[str, Mapping[str, Any]]
"""What is known of each stage, by name."""

_SHOWN = 20


@attrs.frozen
class PlanChange:
    """One difference between the plan of a run and the plan at hand.

    Attributes:
        stage: The stage.
        what: `added`, `removed`, or the part of it that is not the same.
        before: What it was when the run began; None if the stage is new.
        after: What it is now; None if the stage is gone.
    """

    stage: str
    what: str
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        if self.what in ("added", "removed"):
            return f"stage {self.stage!r} was {self.what}"
        return f"{self.what} of stage {self.stage!r}: {self.before!r} became {self.after!r}"


class PlanChangedError(RunError):
    """The plan of a run has changed since the run began.

    Attributes:
        changes: All that changed.
    """

    code = "SF350"

    def __init__(self, pipeline: str, found: Iterable[PlanChange]) -> None:
        self.changes = tuple(found)
        listed = "; ".join(map(str, self.changes[:_SHOWN]))
        if len(self.changes) > _SHOWN:
            listed += f"; and {len(self.changes) - _SHOWN} more"
        super().__init__(
            f"Pipeline {pipeline!r} is not what it was when the run began: {listed}.",
            hint="Run the code it began with; or say on_change='pin' to keep all that was committed"
            " and run the rest as it is now; or on_change='adopt' to run anew what changed and"
            " all that depends on it.",
        )


def fingerprint_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what a stored run relies on, as plain data."""
    found = {}
    for number, node in enumerate(plan.nodes):
        call = plan.calls[number]
        facts: dict[str, Any] = {
            "dependencies": sorted(node.dependencies),
            "kind": call.kind.value,
            "runner": _qualified_name(node.runner),
        }
        if node.conditional:
            facts["conditional"] = True
        if call.policy.branch_key is not None:
            facts["branch_key"] = call.policy.branch_key
        if call.policy.version is not None:
            facts["version"] = call.policy.version
        nested = getattr(getattr(node.runner, "graph", None), "plan", None)
        if nested is not None:
            facts["stages"] = fingerprint_of(nested)
        found[node.name] = facts
    return found


def changes(before: Fingerprint, after: Fingerprint) -> list[PlanChange]:
    """Return all differences, those of the plan at hand in its order, then what is gone."""
    found = []
    for stage, facts in after.items():
        old = before.get(stage)
        if old is None:
            found.append(PlanChange(stage, "added"))
        elif old != facts:
            found += [
                PlanChange(stage, key, old.get(key), facts.get(key))
                for key in dict.fromkeys((*old, *facts))
                if old.get(key) != facts.get(key)
            ]
    found += [PlanChange(stage, "removed") for stage in before if stage not in after]
    return found


def affected_by(found: Iterable[PlanChange], plan: Plan) -> frozenset[str]:
    """Return the stages that changed and all that depend on them, directly or not."""
    waiting = [plan.index[change.stage] for change in found if change.stage in plan.index]
    reached = set(waiting)
    while waiting:
        for follower in plan.successors[waiting.pop()]:
            if follower not in reached:
                reached.add(follower)
                waiting.append(follower)
    return frozenset(plan.names[number] for number in reached)


def _qualified_name(runner: Any) -> str:
    runner = inspect.unwrap(runner) if callable(runner) else runner
    named = runner if hasattr(runner, "__qualname__") else type(runner)
    return f"{named.__module__}.{named.__qualname__}"
