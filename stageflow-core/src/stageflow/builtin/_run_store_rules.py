"""What every run store of core refuses, and in which words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from stageflow.contracts.run_store import RunStatus, RunStoreError, as_run_status
from stageflow.contracts.shared_values import SharedValue, ValueChangedError

__all__ = ("check_aware", "check_expected", "final_statuses", "no_such_wait")


def final_statuses(statuses: Iterable[str]) -> tuple[RunStatus, ...]:
    """Return the statuses that are named, if all of them are final.

    Raises:
        UnknownStatusError: One is none.
        RunStoreError: One is not final.
    """
    wanted = tuple(dict.fromkeys(map(as_run_status, statuses)))
    unfinished = [status for status in wanted if not status.is_final]
    if unfinished:
        raise RunStoreError(
            f"Runs that are {' or '.join(unfinished)} have not ended; they are not pruned.",
            hint="Name statuses that are final: completed, failed, cancelled.",
        )
    return wanted


def check_aware(before: datetime) -> None:
    """Return if *before* is one moment all over the world.

    Raises:
        RunStoreError: It has no offset.
    """
    if before.tzinfo is None:
        raise RunStoreError(
            f"Runs cannot be pruned before {before.isoformat()}, which has no offset from UTC.",
            hint="Give an aware time, such as one with tzinfo=UTC.",
        )


def no_such_wait(run_id: UUID, wait_id: str) -> RunStoreError:
    """Return the error of one who wants to end a wait that nobody opened."""
    return RunStoreError(
        f"Run {run_id} has no wait {wait_id!r}.", hint="Open it first, or look at `list_waits`."
    )


def check_expected(
    namespace: str, key: str, expected: int | None, current: SharedValue | None
) -> None:
    """Return if *current* is what a writer expects; None expects nothing, 0 that there is none.

    Raises:
        ValueChangedError: It is not.
    """
    version = 0 if current is None else current.version
    if expected is not None and expected != version:
        raise ValueChangedError(namespace, key, expected, current)
