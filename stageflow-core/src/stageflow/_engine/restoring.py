"""Restoring: how a run takes over what had been committed before it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from stageflow._engine.outcomes import microseconds
from stageflow.contracts.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stageflow._engine.journal import Journal
    from stageflow._engine.outcomes import Outcome
    from stageflow._engine.run import Run

__all__ = ("restore", "take_over_cleanups")

_log = get_logger(__name__)


def restore(run: Run, journal: Journal) -> dict[int, Outcome]:
    """Give *run* the outcomes that had been committed; return them, in order of their ends."""
    ended: dict[int, Outcome] = {}
    if journal.knows_anything:
        started = microseconds(run.started_at)
        for index, name in enumerate(run.plan.names):
            outcome = journal.outcome_of(name)
            if outcome is not None:
                ended[index] = outcome
        for group in run.plan.together:
            if not group <= ended.keys():
                for index in group & ended.keys():
                    del ended[index]
        for index, outcome in ended.items():
            run.outputs[index] = outcome.output
            run.ends[index] = run.began + (outcome.ended - started) / 1e6
            if outcome.began is not None:
                run.starts[index] = run.began + (outcome.began - started) / 1e6
            if outcome.attempts != 1:
                run.attempts[index] = outcome.attempts
        if run.guard_retries is not None:
            run.guard_retries.restore(journal, ended)
    return {index: ended[index] for index in sorted(ended, key=run.ends.__getitem__)}


async def take_over_cleanups(run: Run, journal: Journal, ended: Mapping[int, Outcome]) -> None:
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
        elif outcome.cleanups and outcome.turn > journal.ledger.cleaned:
            _log.warning("stage.cleanups_lost", stage=node.name, cleanups=outcome.cleanups)
            facts = {
                "stage": node.name,
                "kind": run.plan.calls[index].kind.value,
                "attempt": outcome.attempts,
                "cleanups": list(outcome.cleanups),
            }
            run.tell("stage.cleanups_lost", facts)
