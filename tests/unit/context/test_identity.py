"""RunIdentity and CorrelationIds: ids that are written as text or null."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.context import ContextSnapshot, CorrelationIds, OutputMutationError, RunIdentity
from stageflow.context import values as shared
from stageflow.context.identity import ID_FIELDS
from stageflow.context.values import SnapshotFormatError

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

identities = st.builds(
    RunIdentity,
    *(st.none() | st.uuids() for _ in ID_FIELDS),
    created_at=st.datetimes(timezones=st.just(UTC)),
)


def test_an_identity_carries_six_ids_which_are_none_unless_given():
    identity = RunIdentity()
    assert [getattr(identity, name) for name in ID_FIELDS] == [None] * 6
    assert ID_FIELDS == (
        "pipeline_run_id",
        "request_id",
        "session_id",
        "user_id",
        "org_id",
        "interaction_id",
    )


def test_ids_are_written_as_text_or_null():
    run, org = uuid4(), uuid4()
    written = RunIdentity(pipeline_run_id=run, org_id=org).to_dict()
    assert written["pipeline_run_id"] == str(run)
    assert written["org_id"] == str(org)
    assert written["user_id"] is None
    assert json.loads(json.dumps(written)) == written


@given(identity=identities)
def test_an_identity_comes_back_from_what_it_wrote(identity):
    assert RunIdentity.from_dict(json.loads(json.dumps(identity.to_dict()))) == identity


def test_an_identity_is_immutable():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RunIdentity().user_id = uuid4()


@pytest.mark.parametrize("bad", ["no uuid", 7, ["x"]])
def test_an_id_that_is_no_uuid_is_refused_by_name(bad):
    with pytest.raises(SnapshotFormatError, match="session_id is not a UUID") as caught:
        RunIdentity.from_dict({"session_id": bad})
    assert caught.value.path == "session_id"


def test_bug008_bug076_times_are_aware_and_in_utc():
    identity = RunIdentity()
    assert identity.created_at.tzinfo is UTC
    assert identity.to_dict()["created_at"].endswith("+00:00")
    assert ContextSnapshot().created_at.tzinfo is UTC
    naive = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - what careless callers give
    paris = timezone(timedelta(hours=2))
    for given_time in (naive, NOON, NOON.astimezone(paris)):
        identity = RunIdentity(created_at=given_time)
        assert identity.created_at == NOON
        assert identity.to_dict()["created_at"] == "2024-05-01T12:00:00+00:00"


@pytest.mark.parametrize("text", ["2024-05-01T12:00:00Z", "2024-05-01T14:00:00+02:00"])
def test_readers_accept_z_and_any_offset(text):
    assert RunIdentity.from_dict({"created_at": text}).created_at == NOON


@pytest.mark.parametrize("bad", ["yesterday", 7, []])
def test_a_time_that_cannot_be_read_is_refused_by_name(bad):
    with pytest.raises(SnapshotFormatError, match="created_at is not a time"):
        RunIdentity.from_dict({"created_at": bad})


def test_a_test_can_set_the_time(monkeypatch):
    monkeypatch.setattr(shared, "utc_now", lambda: NOON)
    assert RunIdentity().created_at == NOON
    assert ContextSnapshot().created_at == NOON
    assert RunIdentity.from_dict({}).created_at == NOON


def test_correlation_ids_are_written_for_logs():
    run, request = uuid4(), uuid4()
    ids = CorrelationIds(
        run_id=run, request_id=request, trace_id="abc", extra={"interaction_id": "i-1"}
    )
    written = ids.to_dict()
    assert written["run_id"] == str(run)
    assert written["request_id"] == str(request)
    assert written["trace_id"] == "abc"
    assert written["session_id"] is None
    assert written["extra"] == {"interaction_id": "i-1"}
    assert written["interaction_id"] == "i-1"


def test_extra_ids_never_hide_the_others():
    assert CorrelationIds(trace_id="a", extra={"trace_id": "b"}).to_dict()["trace_id"] == "a"


def test_correlation_ids_are_positional_immutable_and_hashable():
    ids = CorrelationIds(UUID(int=1), UUID(int=2), "t", UUID(int=3), UUID(int=4), UUID(int=5))
    assert ids.org_id == UUID(int=5)
    assert hash(ids) == hash(attrs.evolve(ids))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ids.trace_id = "x"
    with pytest.raises(OutputMutationError):
        ids.extra["a"] = 1
