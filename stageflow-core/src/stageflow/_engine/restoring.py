"""Restoring: how a run takes over what had been committed before it."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from stageflow.contracts.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stageflow._engine.journal import Journal, Outcome
    from stageflow._engine.run import Run

__all__ = ("restore", "take_over_cleanups")

_log = get_logger(__name__)
_MICROSECOND: Final = timedelta(microseconds=1)


def restore(run: Run, journal: Journal) -> tuple[dict[int, Outcome], dict[int, tuple[int, int]]]:
    """Give *run* the outcomes that had been committed.

    Returns:
        The outcomes, in order of their ends, and for stages that may have run without ending how
        many attempts failed and how many were cut short.
    """
    ended: dict[int, Outcome] = {}
    if journal.knows_anything:
        for index, name in enumerate(run.plan.names):
            outcome = journal.outcome_of(name)
            if outcome is None:
                continue
            ended[index] = outcome
            run.outputs[index] = outcome.output
            run.ends[index] = _instant(run, outcome.ended)
            if outcome.began is not None:
                run.starts[index] = _instant(run, outcome.began)
            if outcome.attempts != 1:
                run.attempts[index] = outcome.attempts
        if run.guard_retries is not None:
            run.guard_retries.restore(journal, ended)
    earlier = _earlier_attempts(run, journal, ended) if journal.lease > 1 else {}
    return {index: ended[index] for index in sorted(ended, key=run.ends.__getitem__)}, earlier


def _instant(run: Run, time: datetime) -> float:
    return run.began + (time - run.started_at) / _MICROSECOND / 1e6


def _earlier_attempts(
    run: Run, journal: Journal, ended: Mapping[int, Outcome]
) -> dict[int, tuple[int, int]]:
    """Return, for stages that may have run before, how many attempts failed or were cut short.

    A stage may have been under way whenever the run was interrupted after all that it depends
    on had ended, which the leases tell: each time another one takes over.
    """
    found = {}
    for index, dependencies in enumerate(run.plan.dependencies):
        if index in ended or not all(needed in ended for needed in dependencies):
            continue
        ready_under = max((ended[needed].lease for needed in dependencies), default=1)
        failed = journal.failures_of(run.plan.names[index])
        interrupted = max(0, journal.lease - ready_under)
        if run.guard_retries is not None and run.guard_retries.covers(index):
            # There all attempts are counted together.
            run.attempts[index] = run.attempts.get(index, 0) + failed + interrupted
        elif failed or interrupted:
            found[index] = (failed, interrupted)
    return found


async def take_over_cleanups(run: Run, ended: Mapping[int, Outcome]) -> None:
    """Let restored stages register their clean-ups again, and tell of those that are lost."""
    for index, outcome in ended.items():
        node = run.plan.nodes[index]
        hook = getattr(inspect.unwrap(node.runner), "on_resume", None)
        if hook is not None:
            if inspect.isclass(node.runner):
                runner: Any = node.runner
                hook = runner(**(node.config or {})).on_resume
            answer: Any = hook(run.context_of(index), outcome.output)
            if inspect.isawaitable(answer):
                await answer
        elif outcome.cleanups:
            _log.warning("stage.cleanups_lost", stage=node.name, cleanups=outcome.cleanups)
            facts = {
                "stage": node.name,
                "kind": run.plan.calls[index].kind.value,
                "attempt": outcome.attempts,
                "cleanups": list(outcome.cleanups),
            }
            run.tell("stage.cleanups_lost", facts)
