"""ContextSnapshot and its parts: immutable, and read back from what they write."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.codec import Codec, UnencodableValueError
from stageflow.context import (
    ContextSnapshot,
    Conversation,
    DocumentEnrichment,
    Enrichments,
    MemoryEnrichment,
    Message,
    OutputMutationError,
    ProfileEnrichment,
    RoutingDecision,
    RunIdentity,
)
from stageflow.context.identity import ID_FIELDS
from stageflow.context.values import SnapshotFormatError
from stageflow.errors import RunError
from support.values import json_values, storable_values, user_codec

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
PART_KEYS = ("messages", "routing_decision", "profile", "memory", "documents", "web_results")
FLAT_KEYS = (*ID_FIELDS, *PART_KEYS)

texts = st.text(max_size=5)
facts = st.dictionaries(texts, json_values, max_size=3)
some_texts = st.lists(texts, max_size=2)
times = st.datetimes(timezones=st.just(UTC))
decisions = st.builds(RoutingDecision, texts, texts, texts, st.none() | texts)
conversations = st.builds(
    Conversation,
    st.lists(st.builds(Message, texts, texts, st.none() | times, facts), max_size=3),
    st.none() | decisions,
)
enrichments = st.builds(
    Enrichments,
    st.none() | st.builds(ProfileEnrichment, st.none() | st.uuids(), texts, facts, some_texts),
    st.none() | st.builds(MemoryEnrichment, recent_topics=some_texts, key_facts=some_texts),
    st.lists(
        st.builds(DocumentEnrichment, document_id=texts, blocks=st.lists(facts, max_size=2)),
        max_size=2,
    ),
    st.lists(facts, max_size=2),
)
snapshots = st.builds(
    ContextSnapshot,
    st.builds(RunIdentity, *(st.none() | st.uuids() for _ in ID_FIELDS), created_at=times),
    st.none() | enrichments,
    st.none() | conversations,
    st.none() | st.dictionaries(texts, json_values, max_size=2),
    st.none() | texts,
    st.none() | st.floats(0, 1e6),
    st.none() | texts,
    st.none() | texts,
    times,
    facts,
)


def full_snapshot():
    return ContextSnapshot(
        run_id=RunIdentity(*(UUID(int=i) for i in range(6)), created_at=NOON),
        enrichments=Enrichments(
            ProfileEnrichment(UUID(int=3), "Kim", {"tone": {"formal": True}}, ["learn"]),
            MemoryEnrichment(recent_topics=["tea"], key_facts=["k"]),
            [DocumentEnrichment(document_id="d", blocks=[{"text": "b"}], metadata={"p": [1]})],
            [{"url": "u"}],
        ),
        conversation=Conversation(
            [Message("user", "hi", NOON, {"lang": ["en"]})], RoutingDecision("a", "p", "t", "why")
        ),
        extensions={"skills": {"level": [3]}},
        input_text="hi",
        topology="fast",
        execution_mode="practice",
        created_at=NOON,
        metadata={"channel": {"name": "web", "tags": [1, (2, [3])]}},
    )


def test_the_defaults_are_empty():
    snapshot = ContextSnapshot()
    assert snapshot.pipeline_run_id is None
    assert (snapshot.messages, snapshot.documents, snapshot.web_results) == ([], [], [])
    assert (snapshot.routing_decision, snapshot.profile, snapshot.memory) == (None, None, None)
    assert snapshot.metadata == {}
    assert snapshot.extensions is None


def test_properties_read_the_parts():
    snapshot = full_snapshot()
    assert [getattr(snapshot, name) for name in ID_FIELDS] == [UUID(int=i) for i in range(6)]
    assert snapshot.messages[0].content == "hi"
    assert snapshot.routing_decision.agent_id == "a"
    assert snapshot.profile.display_name == "Kim"
    assert snapshot.memory.recent_topics == ["tea"]
    assert snapshot.documents[0].document_id == "d"
    assert snapshot.web_results == [{"url": "u"}]


def test_a_snapshot_and_its_parts_are_immutable():
    snapshot = full_snapshot()
    for part in (
        snapshot,
        snapshot.run_id,
        snapshot.conversation,
        snapshot.messages[0],
        snapshot.routing_decision,
        snapshot.enrichments,
        snapshot.profile,
        snapshot.memory,
        snapshot.documents[0],
    ):
        for field in attrs.fields(type(part)):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(part, field.name, None)


CHANGES = {
    "metadata": lambda s: s.metadata.update(x=1),
    "nested metadata": lambda s: s.metadata["channel"].update(x=1),
    "list in metadata": lambda s: s.metadata["channel"]["tags"].append(1),
    "list in a tuple": lambda s: s.metadata["channel"]["tags"][1][1].append(1),
    "messages": lambda s: s.messages.append(Message("user", "x")),
    "message metadata": lambda s: s.messages[0].metadata["lang"].append("x"),
    "preferences": lambda s: s.profile.preferences["tone"].clear(),
    "goals": lambda s: s.profile.goals.pop(),
    "key facts": lambda s: s.memory.key_facts.sort(),
    "documents": lambda s: s.documents.clear(),
    "blocks": lambda s: s.documents[0].blocks[0].pop("text"),
    "document metadata": lambda s: s.documents[0].metadata["p"].extend([1]),
    "web results": lambda s: s.web_results[0].update(url="x"),
    "extensions": lambda s: s.extensions["skills"]["level"].append(4),
    "the shared empty metadata": lambda _: ContextSnapshot().metadata.update(x=1),
    "the shared empty messages": lambda _: ContextSnapshot().messages.append(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_inside_a_snapshot_can_be_changed(change):
    snapshot = full_snapshot()
    before = snapshot.to_dict()
    with pytest.raises(OutputMutationError):
        change(snapshot)
    assert snapshot.to_dict() == before
    assert ContextSnapshot().metadata == {}


def test_what_the_caller_changes_later_does_not_show():
    metadata, messages = {"a": {"b": [1]}}, [Message("user", "hi")]
    snapshot = ContextSnapshot(metadata=metadata, conversation=Conversation(messages))
    metadata["a"]["b"].append(2)
    messages.clear()
    assert snapshot.metadata == {"a": {"b": [1]}}
    assert len(snapshot.messages) == 1


def test_collections_equal_plain_ones_and_deepcopy_gives_plain_ones():
    snapshot = full_snapshot()
    copy = deepcopy(snapshot.metadata)
    copy["channel"]["tags"].append(4)
    assert snapshot.metadata == {"channel": {"name": "web", "tags": [1, (2, [3])]}}
    assert isinstance(snapshot.metadata, dict)
    assert isinstance(snapshot.messages, list)


def test_a_snapshot_can_be_a_key():
    one, other = full_snapshot(), full_snapshot()
    assert one == other
    assert {one: 1}[other] == 1


def test_with_methods_return_a_new_snapshot_that_shares_the_rest():
    snapshot = full_snapshot()
    identity, new = RunIdentity(pipeline_run_id=uuid4()), Conversation([Message("user", "new")])
    changed = {
        "run_id": snapshot.with_run_id(identity),
        "conversation": snapshot.with_conversation(new),
        "enrichments": snapshot.with_enrichments(Enrichments()),
        "extensions": snapshot.with_extensions({"x": 1}),
    }
    for field, other in changed.items():
        assert other is not snapshot
        for name in ("run_id", "conversation", "enrichments", "extensions", "metadata"):
            is_same = getattr(other, name) is getattr(snapshot, name)
            assert is_same is (name != field), (field, name)
    assert snapshot == full_snapshot()
    assert changed["run_id"].pipeline_run_id == identity.pipeline_run_id
    assert changed["conversation"].messages[0].content == "new"


def test_to_dict_has_the_composed_and_the_flat_keys():
    snapshot = full_snapshot()
    written = snapshot.to_dict()
    assert written["run_id"] == snapshot.run_id.to_dict()
    assert written["conversation"] == snapshot.conversation.to_dict()
    assert written["enrichments"] == snapshot.enrichments.to_dict()
    assert written["extensions"] == {"skills": {"level": [3]}}
    for key in FLAT_KEYS:
        parts = (written["run_id"], written["conversation"], written["enrichments"])
        assert written[key] == next(part[key] for part in parts if key in part)
    assert written["pipeline_run_id"] == str(UUID(int=0))
    assert written["created_at"] == "2024-05-01T12:00:00+00:00"


def test_to_dict_of_an_empty_snapshot_has_every_key():
    written = ContextSnapshot().to_dict()
    assert written.keys() == full_snapshot().to_dict().keys()
    assert {key: written[key] for key in FLAT_KEYS if written[key] is not None} == {
        "messages": [],
        "documents": [],
        "web_results": [],
    }
    assert (written["conversation"], written["enrichments"], written["extensions"]) == (None,) * 3


def test_what_to_dict_returns_is_plain_and_the_callers_own():
    snapshot = full_snapshot()
    written = snapshot.to_dict()
    written["metadata"]["channel"]["tags"].append("x")
    written["messages"].clear()
    written["conversation"]["messages"][0]["metadata"]["lang"].append("x")
    written["extensions"]["skills"].clear()
    assert snapshot == full_snapshot()
    assert type(written["metadata"]["channel"]) is dict


@given(snapshot=snapshots)
@settings(max_examples=25, deadline=None)
def test_a_snapshot_comes_back_from_what_it_wrote(snapshot):
    written = snapshot.to_dict()
    assert ContextSnapshot.from_dict(written) == snapshot
    assert ContextSnapshot.from_dict(json.loads(json.dumps(written))).to_dict() == written
    assert ContextSnapshot.from_json(snapshot.to_json()) == snapshot


@given(snapshot=snapshots)
@settings(max_examples=25, deadline=None)
def test_the_flat_keys_alone_are_enough(snapshot):
    written = snapshot.to_dict()
    for key in ("run_id", "conversation", "enrichments"):
        del written[key]
    back = ContextSnapshot.from_dict(written)
    for name in FLAT_KEYS:
        assert getattr(back, name) == getattr(snapshot, name)


@given(snapshot=snapshots)
@settings(max_examples=20, deadline=None)
def test_the_composed_keys_alone_are_enough(snapshot):
    written = {key: item for key, item in snapshot.to_dict().items() if key not in FLAT_KEYS}
    assert ContextSnapshot.from_dict(written) == snapshot


def test_the_composed_keys_win_over_the_flat_ones():
    written = full_snapshot().to_dict()
    written["pipeline_run_id"], written["messages"] = str(uuid4()), []
    assert ContextSnapshot.from_dict(written) == full_snapshot()


def test_a_run_id_that_is_one_id_is_the_runs():
    run = uuid4()
    assert ContextSnapshot.from_dict({"run_id": str(run)}).pipeline_run_id == run
    assert ContextSnapshot.from_dict({}).pipeline_run_id is None


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"conversation": {"messages": [{}]}}, "conversation.messages[0].role"),
        ({"messages": [{"role": "user"}]}, "conversation.messages[0].content"),
        ({"conversation": {"messages": 7}}, "conversation.messages"),
        ({"routing_decision": {"agent_id": "a"}}, "conversation.routing_decision.pipeline_name"),
        ({"enrichments": {"profile": {"user_id": "x"}}}, "enrichments.profile.user_id"),
        ({"enrichments": {"documents": [{}, []]}}, "enrichments.documents[1]"),
        ({"enrichments": 7}, "enrichments"),
        ({"run_id": {"user_id": "x"}}, "run_id.user_id"),
        ({"extensions": 7}, "extensions"),
        ({"metadata": []}, "metadata"),
        ({"created_at": "x"}, "created_at"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_path(data, path):
    with pytest.raises(SnapshotFormatError) as caught:
        ContextSnapshot.from_dict(data)
    assert caught.value.path == path
    assert path in str(caught.value)


def test_v15_a_5001_digit_int_in_a_snapshot_is_stored_and_read():
    snapshot = ContextSnapshot(metadata={"n": [10**5000]}, created_at=NOON)
    back = ContextSnapshot.from_json(snapshot.to_json())
    assert back.metadata["n"] == [10**5000]
    assert back == snapshot


def test_v15_a_value_that_json_cannot_hold_is_refused_with_its_path():
    snapshot = ContextSnapshot(metadata={"a": [{"handle": object()}]})
    with pytest.raises(UnencodableValueError) as caught:
        snapshot.to_json()
    assert caught.value.path == "metadata.a[0].handle"


@given(facts=st.dictionaries(st.text(), storable_values, max_size=2))
@settings(max_examples=30, deadline=None)
def test_any_storable_value_survives_in_the_metadata(facts):
    codec = user_codec()
    text = ContextSnapshot(metadata=facts, created_at=NOON).to_json(codec)
    assert ContextSnapshot.from_json(text.encode(), codec=codec).to_json(codec) == text


def test_the_codec_stores_a_snapshot_once_it_is_registered():
    codec = Codec()
    codec.register(
        ContextSnapshot, encode=ContextSnapshot.to_dict, decode=ContextSnapshot.from_dict
    )
    assert codec.decode(codec.encode([full_snapshot()])) == [full_snapshot()]


def test_ids_in_enrichments_are_text_or_null():
    assert ProfileEnrichment(UUID(int=1)).to_dict()["user_id"] == str(UUID(int=1))
    assert ProfileEnrichment().to_dict()["user_id"] is None
    assert DocumentEnrichment(document_id=UUID(int=1)).document_id == str(UUID(int=1))


def test_a_message_time_is_in_utc():
    assert Message("user", "x", datetime(2024, 5, 1, 12)).timestamp == NOON  # noqa: DTZ001
    written = {"role": "user", "content": "x", "timestamp": "2024-05-01T12:00:00Z"}
    assert Message.from_dict(written) == Message("user", "x", NOON)


def test_errors_about_a_snapshot_speak_of_no_stage():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(RunError, match=r"The context snapshot is nested too deeply"):
        ContextSnapshot(metadata={"endless": endless})
    with pytest.raises(OutputMutationError, match=r"the context snapshot, which every stage"):
        ContextSnapshot(metadata={"a": 1}).metadata["a"] = 2
