"""What was said, and the stages that fetch it and write it down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from stageflow.codec import Codec
from stageflow.context import (
    ContextSnapshot,
    PipelineTimer,
    RunIdentity,
    UndeclaredDependencyError,
    create_stage_context,
    create_stage_inputs,
)
from stageflow.helpers.events import HELPER_EVENTS
from stageflow.helpers.memory import (
    InMemoryStore,
    MemoryConfig,
    MemoryEntry,
    MemoryFetchStage,
    MemoryWriteStage,
)
from stageflow.helpers.tokens import approximate_tokens
from stageflow.stages import StageKind, StageOutput, StageStatus
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio

SESSION, TURN, RUN = uuid4(), uuid4(), uuid4()


class Told:
    def __init__(self):
        self.events = []

    async def emit(self, *, type, data):
        raise AssertionError("stages do not wait for sinks")

    def try_emit(self, *, type, data):
        assert HELPER_EVENTS.faults(type, data) == ()
        self.events.append((type, data))


def context(*, session=SESSION, turn=TURN, text="hello", outputs=None, deps=None, sink=None):
    identity = RunIdentity(pipeline_run_id=RUN, session_id=session, interaction_id=turn)
    snapshot = ContextSnapshot(run_id=identity, input_text=text)
    inputs = create_stage_inputs(snapshot, prior_outputs=outputs, declared_deps=deps)
    return create_stage_context(snapshot, inputs, "memory", PipelineTimer(), sink)


async def remembering(*contents):
    store = InMemoryStore()
    for number, content in enumerate(contents):
        await store.write(MemoryEntry(str(number), SESSION, "user", content))
    return store


# --- MemoryEntry and MemoryConfig -------------------------------------------------------------


def test_entry_defaults():
    before = datetime.now(UTC)
    entry = MemoryEntry("1", SESSION, "user", "hi")
    assert before <= entry.timestamp <= datetime.now(UTC)
    assert entry.metadata == {}


def test_entry_to_dict_writes_session_and_time_as_text():
    at = datetime(2025, 1, 2, tzinfo=UTC)
    assert MemoryEntry("1", SESSION, "user", "hi", at, {"a": 1}).to_dict() == {
        "id": "1",
        "session_id": str(SESSION),
        "role": "user",
        "content": "hi",
        "timestamp": "2025-01-02T00:00:00+00:00",
        "metadata": {"a": 1},
    }


def test_entry_from_dict_reads_what_to_dict_wrote():
    entry = MemoryEntry("1", SESSION, "user", "hi", metadata={"a": 1})
    assert MemoryEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


def test_entry_survives_the_codec():
    entry = MemoryEntry("1", SESSION, "user", "hi", metadata={"a": SESSION})
    assert Codec.default().decode(Codec.default().encode(entry)) == entry


def test_config_defaults():
    config = MemoryConfig()
    assert (config.max_entries, config.max_tokens) == (20, 4000)
    assert config.include_system is True
    assert config.recency_window_seconds == 0


@pytest.mark.parametrize(("content", "tokens"), [("", 0), ("abc", 0), ("abcd", 1), ("x" * 11, 2)])
def test_tokens_are_approximately_a_quarter_of_the_characters(content, tokens):
    assert approximate_tokens(content) == tokens
    assert MemoryConfig().count_tokens(content) == tokens


# --- MemoryFetchStage -------------------------------------------------------------------------


async def test_fetch_skips_without_a_session():
    output = await MemoryFetchStage(InMemoryStore()).execute(context(session=None))
    assert output == StageOutput.skip(reason="No session_id in context")


async def test_fetch_gives_the_entries_their_number_and_their_tokens():
    store = await remembering("x" * 8, "y" * 7)
    output = await MemoryFetchStage(store).execute(context())
    entries = await store.fetch(SESSION)
    assert output.status is StageStatus.OK
    assert output.data == {
        "memory_entries": [entry.to_dict() for entry in entries],
        "memory_count": 2,
        "memory_tokens": 3,
        "memory_left_out": 0,
    }


async def test_fetch_counts_tokens_as_configured():
    store = await remembering("a b", "c")
    config = MemoryConfig(count_tokens=lambda text: len(text.split()))
    output = await MemoryFetchStage(store, config).execute(context())
    assert output.data["memory_tokens"] == 3


async def test_bug043_bug044_truncation_is_in_the_output_and_an_event():
    sink = Told()
    store = await remembering("one", "two", "three")
    stage = MemoryFetchStage(store, MemoryConfig(max_entries=1))
    output = await stage.execute(context(sink=sink))
    assert output.data["memory_left_out"] == 2
    ((event_type, data),) = sink.events
    assert event_type == "memory.truncated"
    assert data["session_id"] == str(SESSION)
    assert (data["kept"], data["left_out"], data["max_entries"]) == (1, 2, 1)


async def test_bug045_bug046_nothing_is_said_when_everything_fits():
    sink = Told()
    await MemoryFetchStage(await remembering("one")).execute(context(sink=sink))
    assert sink.events == []


async def test_fetch_makes_do_with_a_store_that_returns_a_plain_list():
    class Plain:
        async def fetch(self, session_id, config=None):
            return [MemoryEntry("1", SESSION, "user", "hi")]

    output = await MemoryFetchStage(Plain()).execute(context())
    assert (output.data["memory_count"], output.data["memory_left_out"]) == (1, 0)


# --- MemoryWriteStage -------------------------------------------------------------------------


async def written(stage_context, **options):
    store = InMemoryStore()
    output = await MemoryWriteStage(store, clock=TestClock(), **options).execute(stage_context)
    return output, list(await store.fetch(SESSION))


async def test_write_skips_without_a_session():
    output, entries = await written(context(session=None))
    assert output == StageOutput.skip(reason="No session_id in context")
    assert entries == []


async def test_write_writes_what_the_user_said_and_what_the_model_answered():
    outputs = {"llm": StageOutput.ok(response="hi there")}
    output, entries = await written(context(outputs=outputs))
    assert output == StageOutput.ok(entries_written=2, session_id=str(SESSION))
    at, run = TestClock().now(), {"pipeline_run_id": str(RUN)}
    assert entries == [
        MemoryEntry(f"{TURN}_user", SESSION, "user", "hello", at, run),
        MemoryEntry(f"{TURN}_assistant", SESSION, "assistant", "hi there", at, run),
    ]


async def test_write_calls_an_unknown_turn_unknown():
    outputs = {"llm": StageOutput.ok(response="hi")}
    _, entries = await written(context(turn=None, outputs=outputs))
    assert [entry.id for entry in entries] == ["unknown_user", "unknown_assistant"]


async def test_write_takes_the_answer_from_the_stage_and_key_it_is_told():
    outputs = {"agent": StageOutput.ok(text=42)}
    output, entries = await written(
        context(text=None, outputs=outputs), response_stage="agent", response_key="text"
    )
    assert output.data["entries_written"] == 1
    assert [entry.content for entry in entries] == ["42"]


@pytest.mark.parametrize(
    ("text", "outputs", "roles"),
    [
        ("hello", {"llm": StageOutput.ok(response="")}, ["user"]),
        ("hello", {"llm": StageOutput.skip("no need")}, ["user"]),
        ("hello", None, ["user"]),
        ("", {"llm": StageOutput.ok(response="hi")}, ["assistant"]),
        (None, None, []),
    ],
)
async def test_write_writes_only_what_was_said(text, outputs, roles):
    output, entries = await written(context(text=text, outputs=outputs))
    assert output.data["entries_written"] == len(roles)
    assert [entry.role for entry in entries] == roles


async def test_write_says_so_when_its_response_stage_is_not_a_dependency():
    outputs = {"model": StageOutput.ok(response="hi")}
    with pytest.raises(UndeclaredDependencyError, match="'llm'"):
        await written(context(outputs=outputs))


async def test_bug072_a_repeated_attempt_writes_nothing_twice():
    store = InMemoryStore()
    for _ in range(2):
        outputs = {"llm": StageOutput.ok(response="hi")}
        await MemoryWriteStage(store).execute(context(outputs=outputs))
    assert len(await store.fetch(SESSION)) == 2


async def test_what_is_written_is_remembered_the_next_time():
    store = InMemoryStore()
    outputs = {"llm": StageOutput.ok(response="hi there")}
    await MemoryWriteStage(store).execute(context(outputs=outputs))
    output = await MemoryFetchStage(store).execute(context())
    assert [entry["content"] for entry in output.data["memory_entries"]] == ["hello", "hi there"]


async def test_what_the_user_said_may_be_what_a_stage_understood():
    outputs = {
        "llm": StageOutput.ok(response="Hi."),
        "hear": StageOutput.ok(text="hello there"),
        "hush": StageOutput.skip("silence"),
    }
    store = InMemoryStore()
    for stage, expected in (("hear", 2), ("hush", 1)):
        write = MemoryWriteStage(store, input_stage=stage)
        output = await write.execute(context(text=None, outputs=outputs, deps=set(outputs)))
        assert output.data["entries_written"] == expected
    said = [(entry.role, entry.content) for entry in await store.fetch(SESSION)]
    assert said == [("user", "hello there"), ("assistant", "Hi.")]
    with pytest.raises(UndeclaredDependencyError):
        await MemoryWriteStage(store, input_stage="ear").execute(
            context(outputs=outputs, deps=set(outputs))
        )


def test_the_stages_say_what_they_are():
    store = InMemoryStore()
    assert MemoryFetchStage(store).kind is StageKind.ENRICH
    assert MemoryWriteStage(store).kind is StageKind.WORK
