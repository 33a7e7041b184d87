"""Guard-retry: a guard that fails sends the run back to the stage whose work it refused.

What lies on a path from that stage to the guard is run again, and its outputs are overwritten.
Nothing else has seen them: whoever depends on one of them waits until the guard has ended. The
ends of these stages are told when no guard can send the run back to them any more, once each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from stageflow._engine.errors import GuardRetryExhaustedError
from stageflow.contracts.logs import get_logger
from stageflow.stages import StageOutput, StageStatus

if TYPE_CHECKING:
    from stageflow._engine.guard_regions import GuardRegions, Region
    from stageflow._engine.journal import Journal
    from stageflow._engine.run import Run
    from stageflow.context import StageContext

__all__ = ("GuardRetries", "GuardRetryPolicy", "GuardRetryStrategy", "fingerprint")

_log = get_logger(__name__)


def _as_fields(names: Iterable[str] | str | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


@attrs.frozen
class GuardRetryPolicy:
    """What happens when one guard fails; checked when the pipeline is built.

    The retried stage sees `ctx.attempt`, and may read why it is run again from the guard, as if
    it were a dependency: `ctx.inputs.get_output("guard")` is None in the first attempt.

    Attributes:
        retry_stage: The stage to go back to; the guard must depend on it, directly or not.
        max_attempts: How often the guard may judge in all, the first time included.
        stagnation_limit: How many outputs alike in a row are too many; at least 2.
        hash_fields: The keys by which outputs are compared, from the data of the retried stage
            or else of the guard; all data of the retried stage unless given.
        timeout_seconds: No attempt begins later than this after the retried stage first began.
    """

    retry_stage: str
    max_attempts: int = 2
    stagnation_limit: int = 2
    hash_fields: tuple[str, ...] | None = attrs.field(default=None, converter=_as_fields)
    timeout_seconds: float | None = None


def _unchangeable(
    policies: Mapping[str, GuardRetryPolicy] | None,
) -> Mapping[str, GuardRetryPolicy]:
    return MappingProxyType(dict(policies or {}))


@attrs.frozen(hash=False)
class GuardRetryStrategy:
    """Which failing guards send a run back, and how often.

    Attributes:
        policies: What happens when a guard fails, by the guard's name.
    """

    policies: Mapping[str, GuardRetryPolicy] = attrs.field(factory=dict, converter=_unchangeable)


@attrs.define(eq=False)
class _State:
    """How often one guard has failed since it last succeeded."""

    since: float
    failures: int = 0
    alike: int = 0
    last: str | None = None


class GuardRetries:
    """What one run remembers about its guards. Made by the run, for itself."""

    __slots__ = (
        "_bodies",
        "_ended",
        "_groups",
        "_regions",
        "_restored",
        "_rounds",
        "_run",
        "_settled",
        "_states",
        "_told",
    )

    def __init__(self, run: Run, regions: GuardRegions) -> None:
        self._run = run
        self._regions = regions.regions
        self._groups = regions.groups
        self._states: dict[int, _State] = {}
        self._ended: set[int] = set()
        self._told: set[int] = set()
        self._restored: frozenset[int] = frozenset()
        self._settled: dict[int, Sequence[int]] = {}
        self._rounds: dict[int, int] = {}
        self._bodies: dict[int, Callable[[StageContext], Awaitable[Any]]] = {}

    def judge(self, index: int, output: StageOutput, now: float) -> StageOutput | None:
        """Return the output with which stage *index* ends, or None if the run goes back.

        Args:
            index: A stage that has just ended.
            output: What it gave.
            now: The instant of its end.
        """
        region = self._regions.get(index)
        if region is None:
            return output
        run = self._run
        run.forget_output(index)
        state = self._states.get(index)
        if output.status is not StageStatus.FAIL:
            if state is not None:
                del self._states[index]
                if output.status is StageStatus.OK:
                    self._tell("recovered", region, state, now, attempt=state.failures + 1)
            return output
        if state is None:
            began = run.starts[region.retry]
            state = self._states[index] = _State(now if began is None else began)
        self._count(region, state, output)
        self._tell("attempt", region, state, now, error=output.error)
        reason = self._reason_to_stop(region, state, output, now)
        if reason is None:
            again = [run.plan.names[stage] for stage in region.stages]
            self._tell("scheduled", region, state, now, error=output.error, stages=again)
            self._go_back(region, output)
            self._run.note_guard(index, self._plain_state(region, state, output, now))
            return None
        del self._states[index]
        # Should the run be taken up again, what is done then is not what was refused now.
        self._run.note_guard(index, {"rounds": self._count_round(region)})
        self._tell("exhausted", region, state, now, error=output.error, reason=reason)
        error = GuardRetryExhaustedError(
            run.plan.names[index],
            region.policy.retry_stage,
            state.failures,
            reason,
            output.error or "Unknown error",
        )
        error.__cause__ = run.errors.get(index)
        run.errors[index] = error
        return attrs.evolve(output, error=error.message)

    def now_final(self, index: int) -> Sequence[int]:
        """Return whose ends may be told now that stage *index* has ended, in order of their ends.

        Args:
            index: A stage that has just ended.
        """
        settled = self._settled.pop(index, None)
        return self._final(index) if settled is None else settled

    def settle(self, index: int) -> Sequence[int]:
        """Return what `now_final` will answer, for who has to keep it before it is told."""
        self._settled[index] = final = self._final(index)
        return final

    def _final(self, index: int) -> Sequence[int]:
        group = self._groups.get(index)
        if group is None:
            return (index,)
        if index in group.guards:
            self._ended.add(index)
        if not group.guards <= self._ended:
            return ()
        run = self._run
        final = [
            stage
            for stage in group.stages
            if stage not in self._told and run.outputs[stage] is not None
        ]
        self._told.update(final)
        return sorted(final, key=run.ends.__getitem__)

    def round_of(self, index: int) -> int:
        """Return how often the run has gone back to, or behind, stage *index*."""
        return self._rounds.get(index, 0)

    def body(
        self, index: int, make: Callable[[], Callable[[StageContext], Awaitable[Any]]]
    ) -> Callable[[StageContext], Awaitable[Any]]:
        """Return the body of stage *index*, made once per run however often it is run."""
        body = self._bodies.get(index)
        if body is None:
            body = self._bodies[index] = make()
        return body

    def _count(self, region: Region, state: _State, output: StageOutput) -> None:
        retried = self._run.outputs[region.retry]
        assert retried is not None
        state.failures += 1
        current = fingerprint(retried.data, output.data, region.policy.hash_fields)
        state.alike = state.alike + 1 if current is not None and current == state.last else 1
        state.last = current

    def _reason_to_stop(
        self, region: Region, state: _State, output: StageOutput, now: float
    ) -> str | None:
        policy = region.policy
        if output.retryable is False:
            return "not_retryable"
        if self._run.starts[region.retry] is None or region.retry in self._restored:
            return "not_run"  # or not here: others use what it gave
        if state.failures >= policy.max_attempts:
            return "max_attempts"
        if policy.timeout_seconds is not None and now - state.since >= policy.timeout_seconds:
            return "timeout"
        return "stagnation" if state.alike >= policy.stagnation_limit else None

    def _go_back(self, region: Region, output: StageOutput) -> None:
        self._count_round(region)
        for guard in region.guards:
            self._ended.discard(guard)
            if guard != region.guard:
                self._states.pop(guard, None)
        self._run.run_again(region)
        self._run.remember_output(region.guard, output)

    def _count_round(self, region: Region) -> dict[str, int]:
        """Count one more round of all stages of *region*; return their rounds by name."""
        for stage in region.stages:
            self._rounds[stage] = self._rounds.get(stage, 0) + 1
        return {self._run.plan.names[stage]: self._rounds[stage] for stage in region.stages}

    def _plain_state(
        self, region: Region, state: _State, output: StageOutput, now: float
    ) -> dict[str, Any]:
        names = self._run.plan.names
        return {
            "elapsed": now - state.since,
            "failures": state.failures,
            "alike": state.alike,
            "last": state.last,
            "error": output.error,
            "rounds": {names[stage]: self._rounds[stage] for stage in region.stages},
        }

    def restore(self, journal: Journal, ended: Container[int]) -> None:
        """Remember what another process had seen guards do that have not ended."""
        run = self._run
        index_of = run.plan.index
        for guard in self._regions:
            if guard in ended:
                self._ended.add(guard)
                continue
            for name, rounds in journal.rounds_of(run.plan.names[guard]).items():
                if name in index_of:
                    stage = index_of[name]
                    self._rounds[stage] = max(rounds, self._rounds.get(stage, 0))
                    run.attempts[stage] = self._rounds[stage]
            found = journal.guard_state_of(run.plan.names[guard])
            if found is None:
                continue
            since = run.began - found["elapsed"]
            self._states[guard] = _State(since, found["failures"], found["alike"], found["last"])
            run.remember_output(guard, StageOutput.fail(found["error"]))
        self._restored = frozenset(stage for stage in self._groups if stage in ended)
        self._told.update(self._restored)

    def covers(self, index: int) -> bool:
        """Say whether a guard can send the run back to, or behind, stage *index*."""
        return index in self._groups

    def _tell(self, what: str, region: Region, state: _State, now: float, **facts: Any) -> None:
        policy = region.policy
        self._run.tell(
            f"guard_retry.{what}",
            {
                "guard": self._run.plan.names[region.guard],
                "retry_stage": policy.retry_stage,
                "attempt": state.failures,
                "max_attempts": policy.max_attempts,
                "alike": state.alike,
                "stagnation_limit": policy.stagnation_limit,
                "elapsed_ms": (now - state.since) * 1000.0,
                "timeout_seconds": policy.timeout_seconds,
                **facts,
            },
        )


def fingerprint(
    data: Mapping[str, Any], guard_data: Mapping[str, Any], fields: tuple[str, ...] | None
) -> str | None:
    """Return a hash that is the same for equal outputs, or None if there cannot be one.

    Args:
        data: What the retried stage gave.
        guard_data: What the guard gave.
        fields: The keys to look at, in either; all of *data* if None.
    """
    chosen: Any = data if fields is None else [_field(data, guard_data, key) for key in fields]
    digest = hashlib.sha256()
    try:
        _digest(chosen, digest.update)
    except Exception:  # noqa: BLE001 - a value that cannot be written is like no other
        _log.warning("guard_retry.output_not_comparable", exc_info=True)
        return None
    return digest.hexdigest()


def _field(data: Mapping[str, Any], guard_data: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    for source in (data, guard_data):
        if key in source:
            return (source[key],)
    return ()


def _digest(value: Any, update: Callable[[bytes], object]) -> None:
    # Equal dictionaries may have been filled in different orders; sets have none at all.
    if isinstance(value, Mapping):
        update(b"{")
        for key in sorted(value, key=repr):
            _digest(key, update)
            _digest(value[key], update)
        update(b"}")
    elif isinstance(value, list | tuple):
        update(b"[")
        for item in value:
            _digest(item, update)
        update(b"]")
    elif isinstance(value, set | frozenset):
        update(b"<")
        for item in sorted(value, key=repr):
            _digest(item, update)
        update(b">")
    else:
        # With its length, so that no two sequences of values are written alike.
        text = f"{type(value).__qualname__}:{value!r}".encode("utf-8", "surrogatepass")
        update(b"%d:" % len(text))
        update(text)
