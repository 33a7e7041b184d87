"""Whether a stage whose dependencies are done runs, or ends without running, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stageflow.stages import StageKind, StageOutput, StageStatus

if TYPE_CHECKING:
    from stageflow._engine.plan import Plan

__all__ = ("chosen_branches", "verdict")


def verdict(plan: Plan, outputs: Sequence[StageOutput | None], index: int) -> StageOutput | None:
    """Return the output with which stage *index* ends unrun, or None if it is to run.

    Args:
        plan: The plan.
        outputs: What has ended so far; all dependencies of the stage have.
        index: The stage.
    """
    conditional = plan.calls[index].conditional
    skip: StageOutput | None = None
    for dependency in plan.dependencies[index]:
        output = outputs[dependency]
        assert output is not None
        name = plan.names[dependency]
        if output.status is StageStatus.CANCEL:
            reason = str(output.data.get("cancel_reason") or f"stage {name!r} was cancelled")
            return StageOutput(
                StageStatus.CANCEL,
                {"cancel_reason": reason},
                metadata={"cancel_scope": "branch", "by_engine": True},
                duration_ms=0.0,
            )
        if output.status is StageStatus.FAIL:
            return _skipped(f"dependency {name!r} failed: {output.error}", failed_dependency=name)
        if output.status is StageStatus.SKIP and "failed_dependency" in output.metadata:
            failed = output.metadata["failed_dependency"]
            reason = f"dependency {name!r} was skipped because {failed!r} failed"
            return _skipped(reason, failed_dependency=failed)
        if conditional and skip is None:
            skip = _passed_by(plan, dependency, output, index)
    return skip


def chosen_branches(output: StageOutput) -> tuple[Any, ...]:
    """Return the keys that a router's output names, whatever it put there."""
    route = output.data.get("route")
    if route is None:
        return ()
    return tuple(route) if isinstance(route, (list, tuple, set, frozenset)) else (route,)


def _passed_by(plan: Plan, dependency: int, output: StageOutput, index: int) -> StageOutput | None:
    """Return how conditional stage *index* is skipped on account of *dependency*, if it is."""
    name = plan.names[dependency]
    if output.status is StageStatus.SKIP:
        # The first reason is handed on: reasons of reasons would grow with every stage.
        first = output.metadata.get("skip_cause") or output.data.get("reason")
        reason = f"dependency {name!r} was skipped" + (f": {first}" if first else "")
        return _skipped(reason, skip_cause=first or reason)
    if output.data.get("skip_reason"):
        return _skipped(str(output.data["skip_reason"]))
    if "route" not in output.data:
        return None
    mine = plan.calls[index].policy.branch_key
    chosen = chosen_branches(output)
    if mine is not None:
        if mine not in plan.branch_keys.get(dependency, ()):
            return None
    else:
        if plan.calls[dependency].kind is not StageKind.ROUTE:
            return None
        mine = plan.names[index]
        # A route that names no branch is a router's own business, not a choice of branches.
        if chosen and not _names_a_branch(plan, dependency, chosen):
            return None
    if mine in chosen:
        return None
    return _skipped(f"router {name!r} chose {', '.join(map(str, chosen)) or 'none'}")


def _names_a_branch(plan: Plan, router: int, chosen: Iterable[Any]) -> bool:
    # Looks the chosen names up; going through the router's followers would cost their square.
    for key in chosen:
        follower = plan.index.get(key) if isinstance(key, str) else None
        if follower is None or not plan.calls[follower].conditional:
            continue
        if router in plan.dependencies[follower]:
            return True
    return False


def _skipped(reason: str, **facts: Any) -> StageOutput:
    return StageOutput(
        StageStatus.SKIP,
        {"reason": reason},
        metadata=facts,
        duration_ms=0.0,
    )
