"""Keeper: what a run does besides running when its progress is kept; absent when nothing is.

What a stage gave is committed before anything that depends on it starts. While one commit is
under way, others end, and all of them go into the next: so a wide graph needs few commits, and
nobody who could start waits for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from stageflow._engine.errors import describe
from stageflow._engine.journal import Journal, Outcome
from stageflow._engine.restoring import restore
from stageflow.codec import CodecError
from stageflow.contracts.checkpoints import LeaseLostError
from stageflow.contracts.storage import StorageError
from stageflow.contracts.waits import RunWait
from stageflow.stages import StageOutput, StageStatus

if TYPE_CHECKING:
    from stageflow._engine.run import Run
    from stageflow.context import StageContext

__all__ = ("Keeper",)


class Keeper:
    """Keeps the progress of one run in its journal. Made by the run, for itself."""

    __slots__ = (
        "_cleanups",
        "_counts",
        "_earlier",
        "_encoded",
        "_run",
        "_uncommitted",
        "is_busy",
        "journal",
        "parked",
    )

    def __init__(self, run: Run, journal: Journal) -> None:
        self._run = run
        self.journal = journal
        self.is_busy = False
        self.parked: dict[int, tuple[str, ...]] = {}
        self._uncommitted: list[tuple[int, StageOutput]] = []
        self._encoded: dict[int, bytes] = {}
        self._earlier: dict[int, tuple[int, int]] = {}
        self._counts: dict[tuple[str, int], Counter[str]] = {}
        self._cleanups: dict[str, list[str]] = {}
        if not journal.prefix:
            journal.ledger.on_lost = run.lose

    # What had been kept before.

    def restore(self) -> dict[int, Outcome]:
        """Give the run what had been committed; return the outcomes, in order of their ends."""
        ended, self._earlier = restore(self._run, self.journal)
        return ended

    def earlier_attempts(self, index: int) -> tuple[int, int]:
        """Return how many attempts of stage *index* another process saw fail, and be cut short."""
        return self._earlier.get(index, (0, 0))

    def continued(self, index: int, context: StageContext) -> StageContext:
        """Return the context of a stage that is about to begin, and may have run before."""
        self._counts.pop((context.stage_name, context.attempt), None)
        earlier = self._earlier.get(index)
        if earlier is None:
            return context
        attempt = 1 + sum(earlier)
        self._run.note_attempt(index, attempt)
        return attrs.evolve(context, attempt=attempt)

    # What is kept from now on.

    @property
    def is_due(self) -> bool:
        """Whether something waits to be committed, and nobody is about it."""
        return bool(self._uncommitted) and not self.is_busy

    def note_cleanup(self, stage: str, name: str) -> None:
        """Remember that *stage* registered a clean-up."""
        self._cleanups.setdefault(stage, []).append(name)

    async def note_failure(self, index: int, failures: int) -> None:
        """Keep that another attempt of stage *index* failed, before the next one begins."""
        if self.journal.eager:
            self.journal.add_failures(self._run.plan.names[index], failures)
            await self.journal.ledger.commit()

    def note_guard(self, guard: int, state: Mapping[str, Any]) -> None:
        """Have it kept how often a guard sent the run back, with what is committed next."""
        self.journal.add_guard_state(self._run.plan.names[guard], state)

    def take(self, index: int, output: StageOutput) -> StageOutput | None:
        """Return the output with which a stage ends at once, or None if that is kept first."""
        if not _is_final(output):
            return output
        run, journal = self._run, self.journal
        name = run.plan.names[index]
        began = run.starts[index]
        outcome = Outcome(
            output=output,
            began=None if began is None else run.time_of(began),
            ended=run.time_of(run.ends[index]),
            attempts=run.attempts.get(index, 1),
            lease=journal.lease,
            cleanups=tuple(self._cleanups.get(name, ())),
        )
        try:
            encoded = journal.encode(name, outcome)
        except CodecError as error:
            run.errors[index] = error
            return StageOutput.fail(describe(error)).with_duration(output.duration_ms or 0.0)
        if run.guard_retries is None:
            journal.add_outcome(name, encoded)
        elif not self._add_final(index, output, encoded):
            return output
        if not journal.eager:
            return output
        self._uncommitted.append((index, output))
        return None

    def _add_final(self, index: int, output: StageOutput, encoded: bytes) -> bool:
        """Add what no guard can send the run back to any more; return whether there was any."""
        run = self._run
        assert run.guard_retries is not None
        run.outputs[index] = output
        self._encoded[index] = encoded
        final = run.guard_retries.settle(index)
        for each in final:
            if each in self._encoded:
                self.journal.add_outcome(run.plan.names[each], self._encoded.pop(each))
        return bool(final)

    async def commit(self) -> None:
        """Commit whatever has ended, and let it end, until nothing is left."""
        run = self._run
        self.is_busy = True
        try:
            while self._uncommitted and not run.is_stopping:
                batch, self._uncommitted = self._uncommitted, []
                try:
                    await self.journal.ledger.commit()
                except BaseException:
                    self._uncommitted = batch + self._uncommitted
                    raise
                now = run.clock.monotonic()
                for index, output in batch:
                    run.settle(index, output, now)
                if self._uncommitted:
                    run.wake()
        except (StorageError, LeaseLostError) as error:
            run.lose(error)
        finally:
            self.is_busy = False

    async def commit_aside(self) -> None:
        """Commit beside the workers, and see that they go on."""
        await self.commit()
        self._run.wake()
        if self.parked:
            await self.leave_or_go_on()

    def settle_the_rest(self) -> None:
        """Let those end that were about to be committed when the run was stopped."""
        rest, self._uncommitted = self._uncommitted, []
        for index, output in rest:
            self._run.settle(index, output, self._run.ends[index])

    # Waiting.

    @property
    def wait_ids(self) -> tuple[str, ...]:
        """What the parked stages wait for."""
        return tuple(wait for waits in self.parked.values() for wait in waits)

    async def wait_for(self, context: StageContext, name: str, timeout: float | None) -> Any:
        """Return the answer to a wait of a stage, whoever gives it, and whenever."""
        stage = context.stage_name
        counts = self._counts.setdefault((stage, context.attempt), Counter())
        counts[name] += 1
        wait_id = f"{self.journal.prefix}{self._run.round_name(stage)}/{name}/{counts[name]}"
        return await self.journal.waits.wait(
            wait_id,
            stage=stage,
            name=name,
            timeout=timeout,
            on_open=lambda wait: self._tell(context, wait),
        )

    def _tell(self, context: StageContext, wait: RunWait) -> None:
        plan = self._run.plan
        self._run.tell(
            "stage.waiting",
            {
                "stage": context.stage_name,
                "kind": plan.calls[plan.index[context.stage_name]].kind.value,
                "attempt": context.attempt,
                "signal": wait.name,
                "wait_id": wait.wait_id,
                "deadline": None if wait.deadline is None else wait.deadline.isoformat(),
            },
        )

    async def leave_or_go_on(self) -> None:
        """Leave the run if all it can do is to wait; go on with what was answered meanwhile."""
        run, journal = self._run, self.journal
        if not run.is_idle or self._uncommitted or self.is_busy:
            return
        if journal.prefix:
            # A run below leaves with the stage that started it; the outermost one decides.
            run.leave()
            return
        self.is_busy = True  # nobody else is to decide meanwhile
        try:
            with anyio.CancelScope(shield=True):
                await journal.ledger.commit()
                left = await journal.waits.park(self.wait_ids)
        except (StorageError, LeaseLostError) as error:
            run.lose(error)
            return
        finally:
            self.is_busy = False
        if left:
            run.leave()
            return
        parked, self.parked = self.parked, {}
        for index in parked:
            name = run.plan.names[index]
            journal.restart(name, self._execution(index))
        run.begin_again(parked)

    # The runs below.

    def journal_below(self, stage: str) -> Journal | None:
        """Return the journal of the next run that *stage* starts; None if it is no stage."""
        index = self._run.plan.index.get(stage)
        return None if index is None else self.journal.child(stage, self._execution(index))

    def _execution(self, index: int) -> str:
        """Return a text that names what a stage does now, the same after an interruption."""
        interrupted = self._earlier.get(index, (0, 0))[1]
        made = self._run.attempts.get(index, 1) - interrupted
        return f"{self._run.round_name(self._run.plan.names[index])}.{made}"


def _is_final(output: StageOutput) -> bool:
    """Say whether an outcome is kept; a stage that failed or was stopped has another chance."""
    status = output.status
    return (
        status is StageStatus.OK
        or status is StageStatus.SKIP
        or (status is StageStatus.CANCEL and output.cancel_scope == "branch")
    )
