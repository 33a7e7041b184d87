"""PipelineContext: who a run is for, and what its parts share."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import pytest

from stageflow import ContextSnapshot, PipelineContext, RunIdentity
from stageflow.events import NoOpEventSink, clear_event_sink, set_event_sink
from support.runs import RememberingSink

RUN_ID, CHILD_ID, USER_ID = (UUID(int=n) for n in (1, 2, 3))


class TestIdentity:
    def test_it_is_in_its_snapshot_too(self) -> None:
        context = PipelineContext(
            pipeline_run_id=RUN_ID, user_id=USER_ID, topology="fast", execution_mode="practice"
        )
        snapshot = context.snapshot
        assert (snapshot.pipeline_run_id, snapshot.user_id) == (RUN_ID, USER_ID)
        assert (snapshot.topology, snapshot.execution_mode) == ("fast", "practice")
        assert context.snapshot is snapshot

    def test_what_only_a_snapshot_says_is_the_contexts_too(self) -> None:
        snapshot: ContextSnapshot[Any] = ContextSnapshot(
            run_id=RunIdentity(pipeline_run_id=RUN_ID, user_id=USER_ID),
            topology="fast",
            execution_mode="practice",
            input_text="hello",
        )
        context = PipelineContext(snapshot=snapshot)
        assert (context.pipeline_run_id, context.user_id) == (RUN_ID, USER_ID)
        assert (context.topology, context.execution_mode) == ("fast", "practice")
        assert PipelineContext(snapshot=snapshot, topology="other").topology == "other"

    def test_without_an_id_it_can_be_given_one(self) -> None:
        context = PipelineContext()
        context.identify()
        first = context.pipeline_run_id
        assert first is not None
        context.identify()
        assert context.pipeline_run_id == first
        context.identify(RUN_ID)
        assert (context.pipeline_run_id, context.snapshot.pipeline_run_id) == (RUN_ID, RUN_ID)

    def test_identifying_keeps_all_else_of_a_snapshot(self) -> None:
        snapshot: ContextSnapshot[Any] = ContextSnapshot(
            run_id=RunIdentity(user_id=USER_ID), input_text="hello"
        )
        context = PipelineContext(snapshot=snapshot)
        context.identify(RUN_ID)
        assert context.snapshot.input_text == "hello"
        assert context.snapshot.user_id == USER_ID
        assert context.snapshot.pipeline_run_id == RUN_ID


class TestForRun:
    def test_each_has_an_identity_of_its_own(self) -> None:
        first, second = PipelineContext.for_run(), PipelineContext.for_run()
        assert first.pipeline_run_id != second.pipeline_run_id
        assert first.snapshot.pipeline_run_id == first.pipeline_run_id
        made = PipelineContext.for_run(new_id=lambda: CHILD_ID)
        assert made.pipeline_run_id == CHILD_ID
        given = PipelineContext.for_run(pipeline_run_id=RUN_ID, new_id=lambda: CHILD_ID)
        assert given.pipeline_run_id == RUN_ID

    def test_what_is_said_of_the_run_is_in_its_snapshot(self) -> None:
        context = PipelineContext.for_run(
            inputs={"x": 1}, input_text="hello", metadata={"a": 1}, topology="fast"
        )
        assert context.inputs == {"x": 1}
        assert context.snapshot.input_text == "hello"
        assert context.snapshot.metadata == {"a": 1}
        assert context.snapshot.topology == "fast"

    def test_what_a_given_snapshot_says_stays_unless_said_otherwise(self) -> None:
        snapshot: ContextSnapshot[Any] = ContextSnapshot(
            run_id=RunIdentity(pipeline_run_id=RUN_ID), input_text="hello", metadata={"a": 1}
        )
        context = PipelineContext.for_run(snapshot=snapshot)
        assert context.pipeline_run_id == RUN_ID
        assert context.snapshot == snapshot
        more = PipelineContext.for_run(snapshot=snapshot, metadata={"b": 2}).snapshot
        assert (more.input_text, more.metadata) == ("hello", {"b": 2})
        other = PipelineContext.for_run(snapshot=snapshot, input_text="bye").snapshot
        assert (other.input_text, other.metadata) == ("bye", {"a": 1})

    def test_an_unknown_field_is_refused_with_near_ones(self) -> None:
        with pytest.raises(TypeError, match="'user_id'"):
            PipelineContext.for_run(userid=USER_ID)
        with pytest.raises(TypeError, match="'a', 'b'"):
            PipelineContext.for_run(a=1, b=2)

    def test_given_inputs_may_change_afterwards_without_effect(self) -> None:
        inputs = {"x": 1}
        context = PipelineContext.for_run(inputs=inputs)
        inputs["x"] = 2
        assert context.inputs == {"x": 1}


class TestCancellation:
    def test_asking_sets_every_sign(self) -> None:
        context = PipelineContext()
        assert not context.canceled
        context.mark_canceled("enough")
        assert context.canceled
        assert context.is_canceled
        assert context.cancel_token.reason == "enough"
        assert PipelineContext(canceled=True).is_canceled

    def test_it_may_be_asked_from_any_thread(self) -> None:
        context = PipelineContext()
        thread = threading.Thread(target=context.mark_canceled)
        thread.start()
        thread.join()
        assert context.is_canceled

    def test_two_contexts_are_two_requests(self) -> None:
        first, second = PipelineContext(), PipelineContext()
        first.mark_canceled()
        assert not second.is_canceled


class TestFork:
    def fork(self, parent: PipelineContext, **more: Any) -> PipelineContext:
        return parent.fork(CHILD_ID, "spawns", UUID(int=9), **more)

    def test_a_child_knows_its_parent(self) -> None:
        parent = PipelineContext(pipeline_run_id=RUN_ID)
        child = self.fork(parent)
        assert child.is_child_run
        assert not parent.is_child_run
        assert (child.pipeline_run_id, child.parent_run_id) == (CHILD_ID, RUN_ID)
        assert (child.parent_stage_id, child.correlation_id) == ("spawns", UUID(int=9))
        grandchild = child.fork(UUID(int=5), "deeper")
        assert grandchild.ancestry == (RUN_ID, CHILD_ID)

    def test_it_has_the_callers_identity_and_settings(self) -> None:
        sink = RememberingSink()
        parent = PipelineContext(
            pipeline_run_id=RUN_ID,
            user_id=USER_ID,
            topology="fast",
            execution_mode="practice",
            configuration={"a": 1},
            service="audit",
            db="db",
            event_sink=sink,
        )
        child = parent.fork_for_subpipeline(CHILD_ID, "spawns")
        assert (child.user_id, child.service, child.db) == (USER_ID, "audit", "db")
        assert (child.topology, child.execution_mode) == ("fast", "practice")
        assert child.event_sink is sink
        assert self.fork(parent, topology="slow", execution_mode="live").topology == "slow"
        child.configuration["a"] = 2
        assert parent.configuration == {"a": 1}

    def test_it_reads_the_parents_data_as_they_were_and_has_its_own(self) -> None:
        parent = PipelineContext(data={"a": 1})
        child = self.fork(parent)
        parent.data["a"] = 2
        parent.data["b"] = 3
        assert child.get_parent_data("a") == 1
        assert child.get_parent_data("b", "none") == "none"
        assert child.data == {}
        child.data["c"] = 4
        assert "c" not in parent.data

    def test_its_snapshot_is_the_parents_under_its_own_identity(self) -> None:
        parent = PipelineContext.for_run(input_text="hello", pipeline_run_id=RUN_ID)
        child = self.fork(parent)
        assert child.snapshot.input_text == "hello"
        assert child.snapshot.pipeline_run_id == CHILD_ID
        assert parent.snapshot.pipeline_run_id == RUN_ID

    def test_its_request_to_stop_is_its_own(self) -> None:
        parent = PipelineContext()
        child = self.fork(parent)
        child.mark_canceled()
        assert not parent.is_canceled


class TestShared:
    def test_metadata_of_stages_are_copied_both_ways(self) -> None:
        context = PipelineContext()
        given = {"a": 1}
        context.set_stage_metadata("s", given)
        given["a"] = 2
        found = context.get_stage_metadata("s")
        assert found == {"a": 1}
        found["a"] = 3
        assert context.get_stage_metadata("s") == {"a": 1}
        assert context.get_stage_metadata("other") is None
        context.set_stage_metadata("s", {"b": 1})
        assert context.get_stage_metadata("s") == {"b": 1}

    def test_defaults_are_nobody_elses(self) -> None:
        first, second = PipelineContext(), PipelineContext()
        for field in ("configuration", "data", "artifacts", "inputs"):
            assert getattr(first, field) is not getattr(second, field), field

    def test_it_takes_keywords_only_and_is_itself_alone(self) -> None:
        with pytest.raises(TypeError):
            PipelineContext(RUN_ID)  # type: ignore[misc]
        assert PipelineContext(pipeline_run_id=RUN_ID) != PipelineContext(pipeline_run_id=RUN_ID)
        assert len({PipelineContext(), PipelineContext()}) == 2
        assert attrs.has(PipelineContext)

    def test_its_dictionary_can_be_written_as_json(self) -> None:
        context = PipelineContext(
            pipeline_run_id=RUN_ID, data={"a": 1}, configuration={"b": 2}, parent_run_id=CHILD_ID
        )
        written = json.loads(json.dumps(context.to_dict()))
        assert written["pipeline_run_id"] == str(RUN_ID)
        assert written["parent_run_id"] == str(CHILD_ID)
        assert (written["data"], written["configuration"]) == ({"a": 1}, {"b": 2})
        assert written["canceled"] is False
        assert written["user_id"] is None

    def test_now_is_in_utc(self) -> None:
        now = PipelineContext.now()
        assert now.tzinfo is UTC
        assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


class TestEvents:
    def test_its_sink_is_the_current_one_unless_given(self) -> None:
        current, own = RememberingSink(), RememberingSink()
        assert isinstance(PipelineContext().event_sink, NoOpEventSink)
        set_event_sink(current)
        try:
            assert PipelineContext().event_sink is current
            assert PipelineContext(event_sink=own).event_sink is own
            assert PipelineContext(event_sink=None).event_sink is None
        finally:
            clear_event_sink()

    def test_stage_events_bear_the_status_in_their_type(self) -> None:
        sink = RememberingSink()
        context = PipelineContext(event_sink=sink, pipeline_run_id=RUN_ID)
        context.record_stage_event(stage="load", status="started", payload={"x": 1})
        context.record_stage_event(stage="load", status="done")
        assert sink.types() == ["stage.load.started", "stage.load.done"]
        [(_, first), _] = sink.events
        assert (first["stage"], first["status"], first["x"]) == ("load", "started", 1)
        assert first["pipeline_run_id"] == str(RUN_ID)
        assert datetime.fromisoformat(first["timestamp"]).tzinfo is not None

    def test_without_a_sink_nothing_happens(self) -> None:
        PipelineContext(event_sink=None).try_emit_event("my.event", {"x": 1})
