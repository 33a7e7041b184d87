"""Killing processes in the middle of durable runs, and proving that nothing suffers from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import anyio
import attrs

from stageflow.testing.faults import FAULTS_VARIABLE
from support.killed_run import HELD, open_store

__all__ = ("Driver", "Process")

_TESTS = Path(__file__).parents[1]
_PATIENCE = 60.0


@attrs.define
class Process:
    """One process on its way, or at its end."""

    popen: subprocess.Popen[str]

    def end(self) -> tuple[int, dict[str, Any] | None]:
        """Wait for it; return how it ended and what it told."""
        out, err = self.popen.communicate(timeout=_PATIENCE)
        code = self.popen.returncode
        assert code in (0, HELD, -signal.SIGKILL), f"ended with {code}:\n{out}\n{err}"
        return code, json.loads(out.splitlines()[-1]) if code == 0 else None


@attrs.define
class Driver:
    """Starts runs, kills them, goes on with them, and looks at what became of them.

    Args:
        spec: The store, as `support.killed_run.open_store` takes it.
        folder: Where the ledgers go.
        seed: The same one kills in the same places, but for those at random instants.
    """

    spec: str
    folder: Path
    seed: int
    kills: int = 0
    runs: int = 0
    points: Counter[str] = attrs.field(factory=Counter)
    rng: Random = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.rng = Random(self.seed)  # noqa: S311 - to play with

    def start(self, run_id: UUID, seed: int, *, faults: str = "", loop: str = "asyncio") -> Process:
        environment = {**os.environ, FAULTS_VARIABLE: faults, "PYTHONPATH": str(_TESTS)}
        command = [sys.executable, "-m", "support.killed_run", self.spec, str(run_id), str(seed)]
        popen = subprocess.Popen(
            [*command, str(self.ledger(run_id)), loop],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return Process(popen)

    def ledger(self, run_id: UUID) -> Path:
        return self.folder / f"{run_id}.ledger"

    def done(self, run_id: UUID) -> list[list[str]]:
        """What the stages of a run did so far, in order."""
        ledger = self.ledger(run_id)
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return [line.split() for line in lines]

    def kept(self, run_id: UUID) -> set[str]:
        """The stages of which the outcome is committed; those of a child by their own names."""

        async def load() -> set[str]:
            async with open_store(self.spec) as store:
                entries = await store.load_entries(run_id)
                return {
                    entry.key.rpartition("stage/")[2] for entry in entries if "stage/" in entry.key
                }

        return anyio.run(load)

    def leases(self, run_id: UUID) -> list[Any]:
        async def load() -> list[Any]:
            async with open_store(self.spec) as store:
                lease = await store.get_lease(run_id)
                return [] if lease is None else [lease]

        return anyio.run(load)

    def undisturbed(self, seed: int) -> dict[str, Any]:
        """How a run goes that nobody kills."""
        run_id = UUID(int=self.rng.getrandbits(128))
        code, told = self.start(run_id, seed).end()
        assert code == 0
        assert told is not None
        return told

    def torment(self, kills: int) -> None:
        """Kill a run at least so often, see it through, and hold what it did against the rules."""
        seed, run_id = self.rng.getrandbits(32), UUID(int=self.rng.getrandbits(128))
        expected = self.undisturbed(seed)
        points = [point for point in expected["points"] if not point.startswith("append")]
        self.runs += 1
        killed = 0
        loop = self.rng.choice(["asyncio", "trio"])
        seen = 0
        ever: set[str] = set()  # what is kept of a child is forgotten with its end
        while True:
            at_random = killed < kills and self.rng.random() < 0.3
            fault = ""
            if killed < kills and not at_random:
                # Early in what is left of the run, so that it can be killed once more.
                point = self.rng.choice(points).partition("#")[0]
                fault = f"{point}#{self.rng.randint(1, 4)}=kill"
            process = self.start(run_id, seed, faults=fault, loop=loop)
            if at_random:
                assert process.popen.stdout is not None
                assert process.popen.stdout.readline() == "ready\n"
                time.sleep(self.rng.uniform(0.0, 0.12))  # at no chosen point, so by real time
                process.popen.kill()
            code, told = process.end()
            # Whatever was committed before this process has not been begun by it.
            done = self.done(run_id)
            begun = {stage for what, stage, _ in done[seen:] if what == "begin"}
            assert not ever & begun, f"ran again: {sorted(ever & begun)} ({fault}, seed {seed})"
            seen, kept = len(done), self.kept(run_id)
            ever |= kept
            # Whatever is committed has been done by somebody.
            ended = {stage for what, stage, _ in done if what == "end"}
            assert kept - {"inner"} <= ended
            if code == 0:
                break
            assert code == -signal.SIGKILL
            killed += 1
            self.kills += 1
            self.points[fault.partition("#")[0] or "any"] += 1
        assert told is not None
        assert told["status"] == "completed"
        assert told["outputs"] == expected["outputs"], f"seed {seed}"
        assert kept == set(expected["outputs"])
        assert self.leases(run_id) == []

    def race(self) -> None:
        """Have two processes go on with a killed run at once; one does, and only once."""
        seed, run_id = self.rng.getrandbits(32), UUID(int=self.rng.getrandbits(128))
        expected = self.undisturbed(seed)
        code, _ = self.start(run_id, seed, faults="commit.before#4=kill").end()
        assert code == -signal.SIGKILL
        self.kills += 1
        kept, seen = self.kept(run_id), len(self.done(run_id))
        # Slow enough for the other one to come while it goes on.
        slow = "commit.before#2=delay:0.3"
        racers = [self.start(run_id, seed, faults=slow, loop=loop) for loop in ("asyncio", "trio")]
        outcomes = [told for _, told in [racer.end() for racer in racers] if told is not None]
        done = self.done(run_id)[seen:]
        # One did all that was left; the other was refused, or came late and was told of it.
        assert outcomes
        assert all(told["outputs"] == expected["outputs"] for told in outcomes)
        assert len({pid for _, _, pid in done}) == 1
        assert not kept & {stage for what, stage, _ in done if what == "begin"}
        assert self.leases(run_id) == []
