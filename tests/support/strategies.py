"""Scenarios of runs, and hypothesis strategies that make them: whatever may happen to a graph.

A new feature of the engine joins here: as a field of a scenario, drawn like the others, with
its meaning in `support.model` and its deed in `support.play`.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

__all__ = (
    "Attempt",
    "Cancellation",
    "Scenario",
    "StagePlay",
    "dags",
    "scenarios",
)


@attrs.frozen
class Attempt:
    """What one attempt of a stage does.

    Attributes:
        lasts: How long it waits, in virtual milliseconds; None for ever.
        outcome: How it ends then.
        route: What it gives as `route`, if it ends well.
    """

    lasts: int | None = 0
    outcome: str = "ok"
    route: tuple[str, ...] | None = None


@attrs.frozen
class StagePlay:
    """One stage: how it is declared, and what its attempts do; the last attempt repeats.

    Attributes:
        body: What its runner is; `later` is a plain function that gives a coroutine.
        on_cancel: Whether it ends when it is cancelled, swallows that, or is shielded from it.
        max_attempts: Of its retry policy; None for no policy.
        backoff: Of its retry policy, in milliseconds.
        timeout: In milliseconds.
        cleanups: How many clean-ups each attempt registers; every third raises.
    """

    name: str
    needs: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = (Attempt(),)
    body: str = "async"
    on_cancel: str = "ends"
    conditional: bool = False
    router: bool = False
    branch_key: str | None = None
    timeout: int | None = None
    max_attempts: int | None = None
    backoff: int = 0
    on_failure: str | None = None
    cleanups: int = 0


@attrs.frozen
class Cancellation:
    """Somebody outside cancels at *at* milliseconds.

    Attributes:
        how: By the run's token, by a scope around the run, or by asyncio's own means.
    """

    at: int
    how: str


@attrs.frozen
class Scenario:
    """A graph, how it is run, and what happens to it meanwhile."""

    stages: tuple[StagePlay, ...]
    on_failure: str = "stop"
    limit: int | None = None
    layered: bool = False
    cancellation: Cancellation | None = None


def dags(max_size: int = 12) -> st.SearchStrategy[dict[str, tuple[str, ...]]]:
    """Graphs without circles: the needs of each stage by name, in any order of declaration."""

    @st.composite
    def draw_dag(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
        size = draw(st.integers(1, max_size))
        needs = {
            f"s{n}": tuple(
                f"s{m}" for m in draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3))
            )
            if n
            else ()
            for n in range(size)
        }
        return {name: needs[name] for name in draw(st.permutations(list(needs)))}

    return draw_dag()


_WAITS = st.sampled_from([0, 0, 0, 1000, 2000, 3000])
_OUTCOMES = st.sampled_from(
    [
        *["ok"] * 24,
        *["skip", "skip_reason", "cancel_run", "cancel_branch"],
        *["fail", "fail_retryable", "raise", "raise_transient", "raise_transient"],
        *["retry", "retry", "bad", "alone", "fatal"],
    ]
)


@st.composite
def _attempts(draw: st.DrawFn, body: str, timed: bool) -> Attempt:
    if body == "sync":
        return Attempt(0, draw(_OUTCOMES))
    if timed and draw(st.integers(0, 3)) == 0:
        return Attempt(None, "ok")
    return Attempt(draw(_WAITS), draw(_OUTCOMES))


@st.composite
def _plays(draw: st.DrawFn, name: str, needs: tuple[str, ...], threads: bool) -> StagePlay:
    rare = st.integers(0, 4).map(lambda n: n == 0)
    bodies = ["async", "async", "class", "object", "lambda", *(["sync", "later"] * threads)]
    body = draw(st.sampled_from(bodies))
    timeout = draw(st.sampled_from([None, None, 500, 1500]))
    tries = draw(st.sampled_from([None, None, 1, 2, 3]))
    patience = draw(st.sampled_from(["ends", "ends", "swallows", "shielded"]))
    if body == "sync":
        patience = "ends"
    # What waits for ever under a shield is beyond anybody's help.
    timed = timeout is not None and patience != "shielded"
    return StagePlay(
        name,
        needs,
        tuple(draw(st.lists(_attempts(body, timed), min_size=1, max_size=3))),
        body,
        patience,
        conditional=bool(needs) and draw(st.booleans()),
        timeout=timeout,
        max_attempts=tries,
        backoff=draw(st.sampled_from([0, 250, 1000])) if tries else 0,
        on_failure=draw(st.sampled_from([None, None, None, "stop", "continue"])),
        cleanups=0 if body == "sync" or not draw(rare) else draw(st.integers(1, 2)),
    )


@st.composite
def _routed(draw: st.DrawFn, plays: dict[str, StagePlay]) -> dict[str, StagePlay]:
    """Make one stage a router over the conditional stages that need it, if there are any."""
    followers = {
        name: [play.name for play in plays.values() if play.conditional and name in play.needs]
        for name in plays
    }
    routers = sorted(name for name, found in followers.items() if found)
    if not routers or not draw(st.booleans()):
        return plays
    router = draw(st.sampled_from(routers))
    branches = followers[router]
    keyed = draw(st.booleans())
    keys = {name: f"to {name}" if keyed else name for name in branches}
    if keyed:
        for name in branches:
            plays[name] = attrs.evolve(plays[name], branch_key=keys[name])
    options = st.sampled_from([*keys.values(), *keys.values(), "nowhere"])
    route = tuple(draw(st.lists(options, unique=True, max_size=2)))
    plays[router] = attrs.evolve(
        plays[router],
        router=True,
        attempts=tuple(attrs.evolve(each, route=route) for each in plays[router].attempts),
    )
    return plays


@st.composite
def scenarios(draw: st.DrawFn, max_size: int = 8, *, threads: bool = True) -> Scenario:
    """Scenarios with every feature of the engine in any mixture.

    Args:
        draw: Given by hypothesis.
        max_size: Most stages.
        threads: Whether some bodies run in threads, whose order nobody can foresee.
    """
    graph = draw(dags(max_size))
    plays: dict[str, Any] = {
        name: draw(_plays(name, needs, threads)) for name, needs in graph.items()
    }
    plays = draw(_routed(plays))
    cancellation = None
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.sampled_from([100, 1000, 1250, 2000, 2500, 4000]))
        cancellation = Cancellation(at, draw(st.sampled_from(["token", "scope", "native"])))
    return Scenario(
        tuple(plays.values()),
        on_failure=draw(st.sampled_from(["stop", "stop", "continue"])),
        limit=draw(st.sampled_from([None, None, 1, 2, 3])),
        layered=draw(st.booleans()),
        cancellation=cancellation,
    )
