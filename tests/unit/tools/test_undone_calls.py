"""What tools have done, undone: once, by the definition that did it, and not lost by a failure."""

from __future__ import annotations

from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest

from stageflow.testing import TestClock
from stageflow.tools import (
    TOOL_EVENTS,
    AdvancedToolExecutor,
    ToolExecutorConfig,
    ToolOutput,
    ToolUndoError,
    UndoMetadata,
    UndoStore,
)
from support.golden_events import ANY_MS, ANY_TIME, assert_golden
from support.tools import Listening, action, definition

pytestmark = pytest.mark.anyio
ACTION = UUID("00000000-0000-4000-8000-000000000001")
ABOUT = {
    "tool_name": "edit_document",
    "action_type": "EDIT",
    "action_id": str(ACTION),
    "timestamp": ANY_TIME,
}


class Document:
    """A text that a tool changes and its undo changes back."""

    def __init__(self):
        self.text = "before"
        self.undone = 0

    async def edit(self, given):
        before, self.text = self.text, given.payload["text"]
        return ToolOutput.ok({"length": len(self.text)}, None, {"before": before})

    async def restore(self, metadata):
        await anyio.lowlevel.checkpoint()
        self.text = metadata.undo_data["before"]
        self.undone += 1

    def tool(self, **more):
        facts = {"name": "edit_document", "undoable": True, "undo_handler": self.restore, **more}
        return definition("EDIT", facts.pop("handler", self.edit), **facts)


@pytest.fixture
def ctx():
    return Listening()


@pytest.fixture
def document():
    return Document()


@pytest.fixture
def store():
    return UndoStore()


async def test_an_action_is_undone_once_and_told(ctx, document, store):
    executor = AdvancedToolExecutor(undo_store=store, tools=[document.tool()])
    await executor.execute(action("EDIT", id=ACTION, text="after"), ctx)
    assert ctx.last("tool.completed")["undo_available"] is True
    assert document.text == "after"
    assert len(store) == 1
    assert await executor.undo_action(ACTION, ctx) is True
    assert document.text == "before"
    assert len(store) == 0
    assert_golden(ctx.events[3:], [("tool.undone", {**ABOUT, "duration_ms": ANY_MS})], TOOL_EVENTS)
    assert await executor.undo_action(ACTION, ctx) is False
    assert document.undone == 1


async def test_what_only_the_undo_knows_is_told_to_nobody_else(ctx, document, store):
    executor = AdvancedToolExecutor(undo_store=store, tools=[document.tool()])
    (result,) = await executor.execute_batch([action("EDIT", text="after")], ctx)
    assert result.to_dict()["output"] == {"success": True, "data": {"length": 5}}
    assert result.output.undo_metadata == {"before": "before"}


async def test_another_executor_undoes_by_the_definition(ctx, document, store):
    await AdvancedToolExecutor(undo_store=store, tools=[document.tool()]).execute(
        action("edit_document", id=ACTION, text="after"), ctx
    )
    later = AdvancedToolExecutor(undo_store=store, tools=[document.tool()])
    assert await later.undo_action(ACTION, ctx) is True
    assert document.text == "before"


@pytest.mark.parametrize(
    "more",
    [
        {"undoable": False},
        {"handler": lambda _: ToolOutput(False, None, "no", None, {"before": "x"})},
        {"handler": lambda _: ToolOutput.ok({"length": 1})},
    ],
    ids=["not undoable", "failed", "no metadata"],
)
async def test_nothing_is_kept_where_nothing_can_be_undone(ctx, document, store, more):
    executor = AdvancedToolExecutor(undo_store=store, tools=[document.tool(**more)])
    await executor.execute(action("EDIT", id=ACTION, text="after"), ctx)
    assert len(store) == 0
    assert await executor.undo_action(ACTION, ctx) is False
    assert document.undone == 0


async def test_metadata_that_is_a_value_already_and_metadata_that_is_empty_count(ctx, store):
    kept = UndoMetadata(ACTION, "edit_document", {"before": "x"})
    for given, expected in ((kept, {"before": "x"}), ({}, {})):
        document = Document()
        tool = document.tool(handler=lambda _, given=given: ToolOutput.ok(undo_metadata=given))
        await AdvancedToolExecutor(undo_store=store, tools=[tool]).execute(
            action("EDIT", id=ACTION), ctx
        )
        assert (await store.get(ACTION)).undo_data == expected


async def test_an_action_that_nobody_knows_is_not_undone(ctx, document, store):
    executor = AdvancedToolExecutor(undo_store=store, tools=[document.tool()])
    assert await executor.undo_action(uuid4(), ctx) is False
    assert ctx.events == []


@pytest.mark.parametrize("tools", ["none", "no handler"])
async def test_without_an_undo_handler_nothing_is_undone_and_nothing_lost(
    ctx, document, store, tools
):
    await store.store(ACTION, "edit_document", {"before": "x"})
    given = [] if tools == "none" else [document.tool(undo_handler=None)]
    executor = AdvancedToolExecutor(undo_store=store, tools=given)
    assert await executor.undo_action(ACTION, ctx) is False
    assert len(store) == 1


async def test_an_undo_that_fails_is_told_and_can_be_tried_again(ctx, document, store):
    broken = True

    def restore(metadata, context):
        assert context is ctx
        if broken:
            raise OSError("no disk")
        document.text = metadata.undo_data["before"]

    tools = [document.tool(undo_handler=restore)]
    executor = AdvancedToolExecutor(undo_store=store, tools=tools)
    await executor.execute(action("EDIT", id=ACTION, text="after"), ctx)
    with pytest.raises(ToolUndoError, match="no disk") as caught:
        await executor.undo_action(ACTION, ctx)
    error = caught.value
    assert (error.tool, error.action_id) == ("edit_document", ACTION)
    assert_golden(
        ctx.events[3:],
        [
            (
                "tool.undo_failed",
                {
                    **ABOUT,
                    "duration_ms": ANY_MS,
                    "error": error.message,
                    "error_type": "OSError",
                    "error_code": "SF505",
                },
            )
        ],
        TOOL_EVENTS,
    )
    broken = False
    assert await executor.undo_action(ACTION, ctx) is True
    assert document.text == "before"


async def test_an_undo_that_hangs_is_out_of_time(document, store):
    clock, ctx = TestClock(autojump=True), Listening()

    async def hang(metadata):
        await anyio.sleep_forever()

    executor = AdvancedToolExecutor(
        undo_store=store,
        tools=[document.tool(undo_handler=hang, timeout_seconds=5)],
        clock=clock,
    )
    await executor.execute(action("EDIT", id=ACTION, text="after"), ctx)
    with pytest.raises(ToolUndoError, match="within 5 seconds"):
        await executor.undo_action(ACTION, ctx)
    assert len(store) == 1


async def test_fifty_undos_of_one_action_at_once_undo_it_once(ctx, document, store):
    executor = AdvancedToolExecutor(undo_store=store, tools=[document.tool()])
    await executor.execute(action("EDIT", id=ACTION, text="after"), ctx)
    outcomes = []

    async def undo():
        outcomes.append(await executor.undo_action(ACTION, ctx))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(undo)
    assert sorted(outcomes) == [False] * 49 + [True]
    assert document.undone == 1


async def test_what_is_kept_lives_as_long_as_the_executor_says(ctx, document):
    class Remembering(UndoStore):
        async def store(self, *args, **kwargs):
            self.asked = kwargs
            return await super().store(*args, **kwargs)

    store = Remembering()
    executor = AdvancedToolExecutor(
        ToolExecutorConfig(undo_ttl_seconds=5), undo_store=store, tools=[document.tool()]
    )
    await executor.execute(action("EDIT", text="after"), ctx)
    assert store.asked == {"ttl_seconds": 5}


async def test_a_store_that_fails_does_not_make_a_success_a_failure(ctx, document):
    class Broken(UndoStore):
        async def store(self, *args, **kwargs):
            raise OSError("no disk")

    executor = AdvancedToolExecutor(undo_store=Broken(), tools=[document.tool()])
    output = await executor.execute(action("EDIT", text="after"), ctx)
    assert output.success
    assert ctx.last("tool.completed")["undo_available"] is False


async def test_what_was_done_can_be_undone_also_when_the_run_ends_meanwhile(ctx, document):
    class Slow(UndoStore):
        async def store(self, *args, **kwargs):
            group.cancel_scope.cancel()
            await anyio.lowlevel.checkpoint()
            return await super().store(*args, **kwargs)

    store = Slow()
    executor = AdvancedToolExecutor(undo_store=store, tools=[document.tool()])
    async with anyio.create_task_group() as group:
        group.start_soon(executor.execute, action("EDIT", id=ACTION, text="after"), ctx)
    assert len(store) == 1


async def test_a_batch_is_undone_call_by_call(ctx, store):
    documents = [Document() for _ in range(10)]
    tools = [
        definition(
            f"EDIT_{n}",
            each.edit,
            name=f"edit document {n}",
            undoable=True,
            undo_handler=each.restore,
        )
        for n, each in enumerate(documents)
    ]
    executor = AdvancedToolExecutor(undo_store=store, tools=tools)
    results = await executor.execute_batch(
        [action(f"EDIT_{n}", text="after") for n in range(10)], ctx
    )
    assert len(store) == 10
    for result in results[::2]:
        assert await executor.undo_action(result.action_id, ctx)
    assert [each.text for each in documents] == ["before", "after"] * 5
