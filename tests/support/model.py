"""A plain model of a run: it follows what was seen, and says what may not happen.

What follows from a scenario alone, such as when and how a stage ends that began at a given
time, is computed and must be exactly so. Where the engine is free, as in the order of what
happens at one instant, the model goes along with what was seen, if that is allowed.
It knows nothing of workers, queues and scopes, and counts steps in lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from support.strategies import Attempt, Scenario, StagePlay

__all__ = ("Course", "Model", "Seen", "course_of")


@attrs.frozen
class Seen:
    """Something that happened at *at* virtual milliseconds.

    Attributes:
        what: `start` or `end` of a stage, `cancel` by somebody outside, or the run is `over`.
        status: With which the stage or the run ended.
    """

    at: int
    what: str
    stage: str = ""
    status: str = ""


@attrs.frozen
class Course:
    """How a stage goes that nobody stops.

    Attributes:
        attempts: When each attempt begins and ends, and how.
        ends: When the stage ends.
        status: How it ends.
    """

    attempts: tuple[tuple[int, int, str], ...]
    ends: int
    status: str


_STATUS = {
    "ok": "ok",
    "skip_reason": "ok",
    "skip": "skip",
    "cancel_run": "cancel",
    "cancel_branch": "cancel",
}
_RAISED = ("raise", "raise_transient", "alone", "fatal")


def course_of(play: StagePlay, begins: int) -> Course:
    """Return how *play* goes from *begins* on if nobody stops it."""
    attempts: list[tuple[int, int, str]] = []
    now = begins
    while True:
        attempt = play.attempts[min(len(attempts), len(play.attempts) - 1)]
        ends, outcome = _end_of(play, attempt, now)
        attempts.append((now, ends, outcome))
        if not is_tried_again(play, outcome, len(attempts)):
            return Course(tuple(attempts), ends, _STATUS.get(outcome, "fail"))
        now = ends + _pause(play, len(attempts))


def _end_of(play: StagePlay, attempt: Attempt, now: int) -> tuple[int, str]:
    if play.timeout is not None and (attempt.lasts is None or attempt.lasts > play.timeout):
        if play.on_cancel == "shielded":
            assert attempt.lasts is not None
            # A late result counts for nothing; what it raises tells more than the timeout.
            late = attempt.outcome if attempt.outcome in _RAISED else "timeout"
            return now + attempt.lasts, late
        return now + play.timeout, "timeout"
    assert attempt.lasts is not None
    return now + attempt.lasts, attempt.outcome


def is_tried_again(play: StagePlay, outcome: str, attempts: int) -> bool:
    """Say whether an attempt is followed by another."""
    if outcome == "retry":
        return attempts < (play.max_attempts or 3)
    if outcome in ("fail_retryable", "raise_transient", "timeout"):
        return attempts < (play.max_attempts or 1)
    return False


def _pause(play: StagePlay, retry: int) -> int:
    # The second is the default policy, with chance always at its upper bound.
    return play.backoff if play.max_attempts else 100 * 2 ** (retry - 1)


class Model:
    """Follows one run of a scenario; an assertion fails at the first thing that may not be."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.plays = {play.name: play for play in scenario.stages}
        self.now = 0
        self.started: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.ends: dict[str, int] = {}
        self.unrun: set[str] = set()
        self.stopped_at: int | None = None
        self.stopped_by = ""
        self.caller_left_at: int | None = None
        self.first_failure: str | None = None
        self.asked: str | None = None
        self.fatal = False

    # What was seen.

    def follow(self, trace: Iterable[Seen]) -> None:
        """Go along with *trace*, from the first start to the end of the run."""
        for seen in trace:
            assert seen.at >= self.now, f"time went back: {seen}"
            if seen.at > self.now:
                self._nothing_left_to_do(seen)
                self.now = seen.at
            getattr(self, f"_saw_{seen.what}")(seen)

    def _saw_start(self, seen: Seen) -> None:
        name = seen.stage
        assert name not in self.started, f"{name} started twice"
        assert name not in self.ended, f"{name} started after it had ended"
        needs = self.plays[name].needs
        assert all(need in self.ended for need in needs), f"{name} started too early"
        assert "run" in self._verdicts(name), f"{name} should not have run"
        assert len(self._running()) < (self.scenario.limit or len(self.plays)), "limit exceeded"
        late = self.stopped_by == "outside" and seen.at == self.stopped_at
        assert self.stopped_at is None or late, f"{name} started after the run was stopped"
        self.started[name] = seen.at

    def _saw_end(self, seen: Seen) -> None:
        name, status = seen.stage, seen.status
        assert name not in self.ended, f"{name} ended twice"
        if name in self.started:
            allowed = self._ends_of(name)
            assert (seen.at, status) in allowed, f"{seen}, but only {allowed} may be"
        elif self.stopped_at is not None:
            assert status == "cancel", f"{seen}: it never started"
        else:
            assert all(need in self.ended for need in self.plays[name].needs), f"{seen}: too early"
            assert status in self._verdicts(name), f"{seen}: {self._verdicts(name)}"
        if name not in self.started:
            self.unrun.add(name)
        self.ended[name] = status
        self.ends[name] = seen.at
        self._take_effect(name, status)

    def _saw_cancel(self, seen: Seen) -> None:
        assert self.scenario.cancellation is not None
        by_token = self.scenario.cancellation.how == "token"
        if not by_token:
            self.caller_left_at = seen.at
        # A request that comes when all is done is too late; a cancelled caller may still notice.
        if self.stopped_at is None and not (by_token and len(self.ended) == len(self.plays)):
            self._stop("token" if by_token else "outside")

    def _saw_over(self, seen: Seen) -> None:
        assert len(self.ended) == len(self.plays), "the run is over before its stages are"
        assert seen.status in self.results(), f"{seen}, but only {self.results()} may be"

    # What follows.

    def results(self) -> set[str]:
        """Return the statuses with which the run may end, once every stage has ended."""
        found = {"completed" if self.first_failure is None else "failed"}
        if self.stopped_by in ("stage", "token"):
            found = {"cancelled"}
        if self.caller_left_at is not None:
            # If nothing was left to be done, it may have gone unnoticed.
            unnoticed = max(self.ends.values()) <= self.caller_left_at
            found = found | {"cancelled"} if unnoticed else {"cancelled"}
        return found

    def values(self) -> dict[str, int]:
        """Return the value that each stage that ended well has: one more than it could read."""
        found: dict[str, int] = {}
        while len(found) < len(self.ended):
            for name, status in self.ended.items():
                needs = self.plays[name].needs
                if name not in found and all(need in found for need in needs):
                    found[name] = 1 + sum(found[need] for need in needs) if status == "ok" else 0
        return found

    def attempts_of(self, name: str) -> tuple[tuple[int, ...], bool]:
        """Return when the attempts of a stage begin if it goes its way, and whether it did so."""
        began = tuple(begins for begins, _, _ in self._course(name).attempts)
        return began, self.stopped_at is None or self.ends[name] < self.stopped_at

    def _take_effect(self, name: str, status: str) -> None:
        play = self.plays[name]
        if status == "fail" and self._course(name).attempts[-1][2] == "fatal":
            self.fatal = True
        if self.stopped_at is not None or name in self.unrun:
            return
        if status == "fail":
            self.first_failure = self.first_failure or name
            if self.fatal or (play.on_failure or self.scenario.on_failure) == "stop":
                self._stop("failure")
        elif status == "cancel" and self._course(name).attempts[-1][2] == "cancel_run":
            self.asked = name
            self._stop("stage")

    def _stop(self, by: str) -> None:
        self.stopped_at = self.now
        self.stopped_by = by

    def _running(self) -> list[str]:
        return [name for name in self.started if name not in self.ended]

    def _course(self, name: str) -> Course:
        play = self.plays[name]
        course = course_of(play, self.started[name])
        if course.status == "ok" and self._is_lost(play, course):
            return attrs.evolve(course, status="fail")
        return course

    def _is_lost(self, play: StagePlay, course: Course) -> bool:
        """Say whether a router chose a branch that it does not have."""
        keys = {p.branch_key for p in self._followers(play.name)} - {None}
        return bool(keys) and any(key not in keys for key in self._route_of(play.name) or ())

    def _followers(self, name: str) -> list[StagePlay]:
        return [play for play in self.plays.values() if play.conditional and name in play.needs]

    def _route_of(self, name: str) -> Sequence[str] | None:
        play = self.plays[name]
        attempts = course_of(play, 0).attempts
        return play.attempts[min(len(attempts), len(play.attempts)) - 1].route

    def _ends_of(self, name: str) -> set[tuple[int, str]]:
        """Return when and how a stage that was started may end."""
        play, course = self.plays[name], self._course(name)
        if self.stopped_at is None:
            return {(course.ends, course.status)}
        stop = max(self.stopped_at, self.started[name])
        allowed: set[tuple[int, str]] = set()
        before = self.started[name]
        for number, (begins, ends, outcome) in enumerate(course.attempts, 1):
            if before <= stop <= begins:
                allowed.add((stop, "cancel"))
            before = ends
            if begins <= stop <= ends:
                if play.on_cancel == "ends":
                    allowed.add((stop, "cancel"))
                elif play.on_cancel == "swallows":
                    allowed.add((stop, "ok"))
                elif is_tried_again(play, outcome, number):
                    allowed.add((ends, "cancel"))
                else:
                    allowed.add((course.ends, course.status))
                    if outcome == "alone":
                        # Then nobody can tell whose cancellation it is.
                        allowed.add((course.ends, "cancel"))
        if course.ends <= stop:
            allowed.add((course.ends, course.status))
        return allowed

    def _verdicts(self, name: str) -> set[str]:
        """Return whether a stage whose needs have ended is to run, or how it ends unrun."""
        play = self.plays[name]
        ended = {need: self.ended[need] for need in play.needs}
        found = set()
        if "cancel" in ended.values():
            found.add("cancel")
        if any(self._is_due_to_failure(need) for need in play.needs):
            found.add("skip")
        if found:
            return found
        if play.conditional and any(self._is_passed_by(play, need) for need in play.needs):
            return {"skip"}
        return {"run"}

    def _is_due_to_failure(self, name: str) -> bool:
        if self.ended[name] == "fail":
            return True
        needs = self.plays[name].needs
        skipped = self.ended[name] == "skip" and name in self.unrun
        return skipped and any(self._is_due_to_failure(need) for need in needs)

    def _is_passed_by(self, play: StagePlay, need: str) -> bool:
        """Say whether a conditional stage is skipped on account of one of its needs."""
        if self.ended[need] == "skip":
            return True
        if self._course(need).attempts[-1][2] == "skip_reason":
            return True
        route = self._route_of(need)
        if route is None:
            return False
        if play.branch_key is not None:
            return play.branch_key not in route
        branches = [follower.name for follower in self._followers(need)]
        if route and not any(key in branches for key in route):
            return False
        return play.name not in route

    def _nothing_left_to_do(self, seen: Seen) -> None:
        """Fail if time went on although something was to happen before."""
        for name in self._running():
            latest = max(at for at, _ in self._ends_of(name))
            assert latest >= seen.at, f"{name} should have ended at {latest}, before {seen}"
        if self.stopped_at is not None:
            return
        free = len(self._running()) < (self.scenario.limit or len(self.plays))
        for name, play in self.plays.items():
            if name in self.started or name in self.ended:
                continue
            if all(need in self.ended for need in play.needs):
                wait = free or "run" not in self._verdicts(name)
                assert not wait, f"{name} was ready at {self.now}, but waited: {seen}"
