"""Keeper: what a run does besides running when its progress is kept; absent when nothing is.

What a stage gave is committed before anything that depends on it starts. While one commit is
under way, others end, and all of them go into the next: so a wide graph needs few commits, and
nobody who could start waits for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from stageflow._engine.errors import describe
from stageflow._engine.journal import Journal
from stageflow._engine.outcomes import Outcome, microseconds
from stageflow._engine.restoring import restore
from stageflow.codec import CodecError
from stageflow.contracts.checkpoints import LeaseLostError
from stageflow.contracts.storage import StorageError
from stageflow.contracts.waits import RunWait
from stageflow.stages import StageOutput, StageStatus

if TYPE_CHECKING:
    from stageflow._engine.guard_regions import Region
    from stageflow._engine.run import Run
    from stageflow.context import StageContext

__all__ = ("Keeper",)


class Keeper:
    """Keeps the progress of one run in its journal. Made by the run, for itself."""

    __slots__ = (
        "_before",
        "_cleanups",
        "_counts",
        "_earlier",
        "_encoded",
        "_failures",
        "_held",
        "_ready_in",
        "_run",
        "_started",
        "_turns",
        "_uncommitted",
        "is_busy",
        "is_leaving",
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
        self._counts: dict[str, tuple[int, Counter[str]]] = {}
        self._cleanups: dict[str, list[str]] = {}
        # How many attempts of a stage failed, and were cut short, before it begins.
        self._earlier: dict[int, tuple[int, int]] = {}
        # How many attempts failed of what a stage does now, and how many it made before that.
        self._failures: dict[int, int] = {}
        self._before: dict[int, int | None] = {}
        # In which turns stages ended, or had all they need; asked only if there were several.
        self._turns: dict[int, int] = {}
        self._ready_in: dict[int, int] = {}
        # The stages to which a guard sent the run back, which is not committed yet.
        self._held: list[int] = []
        self.is_leaving = False
        self._started = microseconds(run.started_at)
        if not journal.prefix:
            journal.ledger.on_lost = run.lose

    # What had been kept before.

    def restore(self) -> dict[int, Outcome]:
        """Give the run what had been committed; return the outcomes, in order of their ends."""
        ended = restore(self._run, self.journal)
        self._turns = {index: outcome.turn for index, outcome in ended.items()}
        return ended

    def earlier_attempts(self, index: int) -> tuple[int, int]:
        """Return how many attempts of stage *index* failed before it begins, or were cut short."""
        earlier = self._earlier.get(index)
        if earlier is not None:
            return earlier
        if self.journal.turn == 1:
            return (0, 0)
        # It may have been under way whenever the run was interrupted after all that it needs had
        # ended, which the turns tell: with each another one took over.
        ready_in = self._ready_in[index] = self._turn_of_needs(index)
        interrupted = max(0, self.journal.turn - ready_in)
        failed = self.journal.failures_of(self._run.plan.names[index])
        earlier = self._earlier[index] = (failed, interrupted)
        return earlier

    def _turn_of_needs(self, index: int) -> int:
        """Return the turn in which all that stage *index* needs had ended."""
        regions = self._run.guard_retries
        # What a guard may send the run back to is not committed when it ends: what depends on it
        # there may have begun as soon as it may have.
        tentative = {} if regions is None or not regions.covers(index) else self._ready_in
        ended, now = self._turns, self.journal.turn
        return max(
            (
                ended.get(needed) or tentative.get(needed) or now
                for needed in self._run.plan.dependencies[index]
            ),
            default=self.journal.ready_in,
        )

    def note_unrun(self, index: int) -> None:
        """Remember that stage *index* has ended without having been run."""
        if self.journal.turn > 1:
            self._turns[index] = self._turn_of_needs(index)
        regions = self._run.guard_retries
        if regions is not None and regions.covers(index):
            self._add_all(regions.settle(index))

    def continued(self, index: int, context: StageContext) -> StageContext:
        """Return the context of a stage that is about to begin, and may have run before."""
        if self._counts:
            self._counts.pop(context.stage_name, None)
        earlier = self.earlier_attempts(index)
        run = self._run
        if run.guard_retries is not None and run.guard_retries.covers(index):
            self._before[index] = run.attempts.get(index)
            return context  # there all attempts are counted together, by the call
        if earlier == (0, 0):
            return context
        attempt = 1 + sum(earlier)
        run.note_attempt(index, attempt)
        return attrs.evolve(context, attempt=attempt)

    # What is kept from now on.

    @property
    def is_due(self) -> bool:
        """Whether something waits to be committed, and nobody is about it."""
        return bool(self._uncommitted or self._held) and not self.is_busy

    def note_cleanup(self, stage: str, name: str) -> None:
        """Remember that *stage* registered a clean-up."""
        self._cleanups.setdefault(stage, []).append(name)

    async def note_failure(self, index: int, failures: int) -> None:
        """Keep that another attempt of stage *index* failed, before the next one begins."""
        self._failures[index] = failures
        if self.journal.eager:
            self.journal.add_failures(self._run.plan.names[index], failures)
            await self.journal.ledger.commit()

    def note_guard(self, guard: int, state: Mapping[str, Any]) -> None:
        """Have it kept with what is committed next how often a guard refused something."""
        self.journal.add_guard_state(self._run.plan.names[guard], state)

    def hold(self, region: Region) -> bool:
        """Forget what the stages did that a guard sends the run back to.

        Returns:
            Whether the first of them begins only once it is committed that it has to.
        """
        for index in region.stages:
            self._earlier[index] = (0, 0)
            self._ready_in[index] = self.journal.turn
            self._failures.pop(index, None)
            self._encoded.pop(index, None)
        if self.journal.eager:
            self._held.append(region.retry)
        return self.journal.eager

    def take(self, index: int, output: StageOutput) -> StageOutput | None:
        """Return the output with which a stage ends at once, or None if that is kept first."""
        run, journal = self._run, self.journal
        regions = run.guard_retries
        if not _is_final(output):
            # If the run goes on, others use what the guard's region gave; else all of it is done
            # anew with the guard.
            goes_on = (run.plan.calls[index].policy.on_failure or run.plan.on_failure) != "stop"
            if regions is not None and regions.covers(index) and goes_on:
                run.outputs[index] = output
                self._add_all(regions.settle(index))
            return output
        if run.stopping == "waiting":
            return output  # nobody owns the run any more
        name = run.plan.names[index]
        began = run.starts[index]
        outcome = Outcome(
            output=output,
            began=None if began is None else self._moment_of(began),
            ended=self._moment_of(run.ends[index]),
            attempts=run.attempts.get(index, 1),
            turn=journal.turn,
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
        if not journal.eager or run.is_stopping:
            return output
        self._uncommitted.append((index, output))
        return None

    def _moment_of(self, instant: float) -> int:
        """Return the time of day at an instant of the run's clock, as an `Outcome` holds it."""
        # Rounded as the times of events are.
        return self._started + round((instant - self._run.began) * 1e6)

    def _add_final(self, index: int, output: StageOutput, encoded: bytes) -> bool:
        """Add what no guard can send the run back to any more; return whether there was any."""
        run = self._run
        assert run.guard_retries is not None
        run.outputs[index] = output
        self._encoded[index] = encoded
        final = run.guard_retries.settle(index)
        self._add_all(final)
        return bool(final)

    def _add_all(self, stages: Iterable[int]) -> None:
        for index in stages:
            if index in self._encoded:
                self.journal.add_outcome(self._run.plan.names[index], self._encoded.pop(index))

    async def commit(self) -> None:
        """Commit whatever has ended, and let it end, until nothing is left."""
        run = self._run
        self.is_busy = True
        try:
            while (self._uncommitted or self._held) and not run.is_stopping:
                batch, self._uncommitted = self._uncommitted, []
                held, self._held = self._held, []
                try:
                    await self.journal.ledger.commit()
                except BaseException:
                    self._uncommitted = batch + self._uncommitted
                    raise
                now = run.clock.monotonic()
                for index, output in batch:
                    run.settle(index, output, now)
                if held:
                    run.begin_again(held)
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
        attempt, counts = self._counts.get(stage, (0, Counter()))
        if attempt != context.attempt:
            counts = Counter()  # another attempt asks the same again
            self._counts[stage] = context.attempt, counts
        counts[name] += 1
        wait_id = f"{self.journal.prefix}{self._run.round_name(stage)}/{name}/{counts[name]}"
        return await self.journal.waits.wait(
            wait_id,
            attempt=(self.journal.ledger.ends, self._failed(self._run.plan.index[stage])),
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

    def park(self, index: int, wait_ids: tuple[str, ...]) -> None:
        """Remember that stage *index* has left to wait, and begin it anew once that is answered."""
        self.parked[index] = wait_ids
        if not self.journal.prefix:
            self.journal.waits.call_when_answered(wait_ids, lambda: self._begin_again((index,)))

    async def leave_or_go_on(self) -> None:
        """Leave the run if all it can do is to wait; go on with what was answered meanwhile."""
        run, journal = self._run, self.journal
        if not run.is_idle or self._uncommitted or self._held or self.is_busy:
            return
        if journal.prefix:
            # A run below leaves with the stage that started it; the outermost one decides.
            run.leave()
            return
        self.is_busy = self.is_leaving = True  # nobody else is to decide meanwhile
        ledger = journal.ledger
        try:
            with anyio.CancelScope(shield=True):
                ledger.note_cleaned()
                await ledger.commit()
                left = await journal.waits.park(self.wait_ids)
        except (StorageError, LeaseLostError) as error:
            self.is_leaving = False
            run.lose(error)
            return
        finally:
            self.is_busy = self.is_leaving = False
        if left:
            run.leave()
            return
        ledger.forget_cleaned()
        self._begin_again(tuple(self.parked))

    def _begin_again(self, stages: Iterable[int]) -> None:
        if self.is_leaving:
            return  # it will be found that this is answered
        run = self._run
        again = [index for index in stages if self.parked.pop(index, None) is not None]
        for index in again:
            self.journal.restart(run.plan.names[index], self._execution(index))
            # It goes on with the attempt in which it left.
            self._earlier[index] = (self._failed(index), self.earlier_attempts(index)[1])
            if index in self._before:
                before = self._before[index]
                run.attempts.pop(index, None)
                if before is not None:
                    run.attempts[index] = before
        run.begin_again(again)

    # The runs below.

    def journal_below(self, stage: str) -> Journal | None:
        """Return the journal of the next run that *stage* starts; None if it is no stage."""
        index = self._run.plan.index.get(stage)
        if index is None:
            return None
        failed, interrupted = self.earlier_attempts(index)
        # What the stage does for the first time now, its runs below do for the first time.
        since = interrupted if self._failed(index) == failed else 0
        return self.journal.child(stage, self._execution(index), ready_in=self.journal.turn - since)

    def _failed(self, index: int) -> int:
        """Return how many attempts failed of what stage *index* does now."""
        failures = self._failures.get(index)
        return self.earlier_attempts(index)[0] if failures is None else failures

    def _execution(self, index: int) -> str:
        """Return a text that names what a stage does now, the same after an interruption."""
        return f"{self._run.round_name(self._run.plan.names[index])}.{1 + self._failed(index)}"


def _is_final(output: StageOutput) -> bool:
    """Say whether an outcome is kept; a stage that failed or was stopped has another chance."""
    status = output.status
    return (
        status is StageStatus.OK
        or status is StageStatus.SKIP
        or (status is StageStatus.CANCEL and output.cancel_scope == "branch")
    )
