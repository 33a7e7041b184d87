"""The values of the contract: records, statuses, capabilities, errors."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import attrs
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.run_store import (
    InvalidTransitionError,
    RunRecord,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
    UnknownStatusError,
    as_run_status,
    check_run_transition,
)

NOW = datetime(2025, 1, 1, tzinfo=UTC)


class PlainStore:
    """What seeds of users' own stores look like: three methods, no base class."""

    def __init__(self):
        self.runs = {}

    async def create_run(self, run_id, *, service, **metadata):
        self.runs[run_id] = {"service": service, "status": "created", **metadata}
        return self.runs[run_id]

    async def update_status(self, run_id, status, **data):
        self.runs[run_id] |= {"status": status, **data}

    async def get_run(self, run_id):
        return self.runs.get(run_id)


def record(**given):
    return RunRecord(run_id=UUID(int=1), service="voice", created_at=NOW, updated_at=NOW, **given)


def test_a_record_is_read_by_attribute_and_by_key():
    run = record(status="running", metadata={"user": "u-1", "service": "theirs"})
    assert run.status is run["status"] is RunStatus.RUNNING
    assert run["user"] == run.metadata["user"] == "u-1"
    assert run["service"] == run.service == "voice"
    assert run.get("nothing", 7) == 7
    assert dict(run)["user"] == "u-1"
    assert len(run) == len(list(run)) == len(dict(run)) == 11
    with pytest.raises(KeyError):
        run["nothing"]


def test_a_record_is_frozen_and_hashable():
    run = record(metadata={"list": []})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        run.status = "running"
    assert hash(run) == hash(record(metadata={"list": []}))
    assert run == record(metadata={"list": []})
    assert run != record(metadata={})


@pytest.mark.parametrize(
    ("current", "allowed"),
    [
        ("created", "created running waiting completed failed cancelled"),
        ("running", "running waiting completed failed cancelled"),
        ("waiting", "running waiting completed failed cancelled"),
        ("completed", "completed"),
        ("failed", "failed running"),
        ("cancelled", "cancelled running"),
    ],
)
def test_the_ways_of_a_run(current, allowed):
    status = RunStatus(current)
    assert {new for new in RunStatus if status.may_become(new)} == set(allowed.split())
    assert status.is_final is (current in {"completed", "failed", "cancelled"})


def test_errors_about_statuses_say_what_would_do():
    with pytest.raises(UnknownStatusError, match="runing") as caught:
        as_run_status("runing")
    assert caught.value.status == "runing"
    assert "'running'" in caught.value.hint
    with pytest.raises(InvalidTransitionError) as caught:
        check_run_transition(UUID(int=1), RunStatus.FAILED, RunStatus.WAITING)
    assert caught.value.hint == "From failed a run may become: running, failed."
    assert (caught.value.current, caught.value.new) == ("failed", "waiting")


def test_a_plain_class_is_a_run_store_without_capabilities():
    assert isinstance(PlainStore(), RunStore)
    assert RunStoreCapabilities.of(PlainStore()) == RunStoreCapabilities()
    assert RunStoreCapabilities.of(MemoryRunStore()).listing
    assert not isinstance(object(), RunStore)
