"""Processes that share a database die, and the server dies under them: nothing suffers from it."""

from __future__ import annotations

import os
import signal
from uuid import UUID

import attrs
import pytest

from support.kills import Driver, Process

KILLS = 15


@attrs.define
class OnAsyncio(Driver):
    """The driver knows asyncio alone."""

    def start(self, run_id: UUID, seed: int, *, faults: str = "", loop: str = "asyncio") -> Process:
        return super().start(run_id, seed, faults=faults, loop="asyncio")


@pytest.fixture
def driver(server, name, tmp_path):
    seed = int(os.environ.get("CHAOS_SEED") or int.from_bytes(os.urandom(4)))
    return OnAsyncio(f"support.postgres_runs:opened_store={server.address(name)}", tmp_path, seed)


pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system"
)


def test_nothing_is_lost_when_processes_die(driver):
    driver.torment(kills=2)


def test_of_two_who_resume_a_run_at_once_one_runs_it(driver):
    driver.race()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_however_often_processes_die(driver):
    while driver.kills < KILLS:
        driver.torment(kills=10)
        driver.race()
