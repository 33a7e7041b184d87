"""Processes are killed in the middle of durable runs: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.kills import Driver

KILLS = 40

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system"
)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    seed = int(os.environ.get("CHAOS_SEED") or int.from_bytes(os.urandom(4)))
    spec = f"support.killed_run:sqlite={tmp_path / 'runs.sqlite3'}"
    return Driver(spec, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_done_twice_whenever_processes_die(driver: Driver) -> None:
    while driver.kills < KILLS:
        driver.torment(kills=10)


@pytest.mark.slow
def test_of_two_who_resume_a_run_at_once_one_runs_it(driver: Driver) -> None:
    driver.race()


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_chaos(driver: Driver) -> None:
    """As many kills as the variable CHAOS says, or 300; in the places that CHAOS_SEED says."""
    kills = int(os.environ.get("CHAOS") or 300)
    while driver.kills < kills:
        driver.torment(kills=driver.rng.randint(1, 20))
        if driver.rng.random() < 0.1:
            driver.race()
