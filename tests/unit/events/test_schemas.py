"""Every event type has one schema, and a schema notices what does not fit it."""

from __future__ import annotations

import attrs
import pytest

from stageflow.events.catalogue import EventCatalogue, EventField, EventSchema
from stageflow.events.schemas import EVENTS
from support.golden_events import ANY_ID, ANY_MS, ANY_TIME, assert_golden, check_schemas

AT = "2025-01-01T00:00:00+00:00"
RUN_ID = "550e8400-e29b-41d4-a716-446655440000"
RUN = {
    "pipeline_run_id": RUN_ID,
    "request_id": None,
    "session_id": None,
    "user_id": None,
    "org_id": None,
    "interaction_id": None,
    "pipeline_name": "demo",
    "topology": None,
    "execution_mode": None,
    "service": "pipeline",
    "timestamp": AT,
}
STAGE = {**RUN, "stage": "a", "kind": "work", "attempt": 1}
SPAN = {"started_at": AT, "ended_at": AT, "duration_ms": 1.5}
PIPELINE_END = {**RUN, **SPAN, "error": None, "failed_stage": None, "reason": None}
COUNTS = {"ok": 1, "skip": 0, "cancel": 0, "fail": 0}

GOLDEN = {
    "pipeline.started": {**RUN, "stages_total": 1},
    "pipeline.completed": {**PIPELINE_END, "status": "completed", "stage_counts": COUNTS},
    "pipeline.failed": {
        **PIPELINE_END,
        "status": "failed",
        "stage_counts": COUNTS,
        "error": "no",
        "failed_stage": "a",
    },
    "pipeline.cancelled": {
        **PIPELINE_END,
        "status": "cancelled",
        "stage_counts": COUNTS,
        "reason": "enough",
    },
    "stage.started": STAGE,
    "stage.completed": {**STAGE, **SPAN, "status": "ok", "data_keys": ["a", "b"]},
    "stage.failed": {
        **STAGE,
        **SPAN,
        "status": "fail",
        "error": "no",
        "error_type": "ValueError",
        "error_code": None,
    },
    "stage.skipped": {**STAGE, **SPAN, "status": "skip", "reason": "nothing to do"},
    "stage.cancelled": {**STAGE, **SPAN, "status": "cancel", "reason": "enough"},
    "stage.retry_scheduled": {**STAGE, "max_attempts": 3, "delay_ms": 100.0, "error": "no"},
    "stage.retry_exhausted": {**STAGE, "max_attempts": 3, "error": "no"},
    "stage.thread_abandoned": STAGE,
}


@pytest.mark.parametrize("type", GOLDEN)
def test_a_golden_payload_fits_its_schema(type):
    assert EVENTS.faults(type, GOLDEN[type]) == ()


@pytest.mark.parametrize("type", GOLDEN)
def test_every_key_of_a_lifecycle_event_is_required(type):
    for key in GOLDEN[type]:
        without = {name: value for name, value in GOLDEN[type].items() if name != key}
        assert EVENTS.faults(type, without) == (f"{key} is missing",)


@pytest.mark.parametrize("type", GOLDEN)
def test_a_key_that_nobody_knows_is_noticed(type):
    faults = EVENTS.faults(type, {**GOLDEN[type], "surprise": 1})
    assert faults == ("surprise is not in the schema",)


@pytest.mark.parametrize("type", GOLDEN)
def test_ids_are_text_or_null(type):
    payload = {**GOLDEN[type], "pipeline_run_id": 7}
    assert EVENTS.faults(type, payload) == ("pipeline_run_id must be id or null, not 7",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"timestamp": "2025-01-01T00:00:00"}, "timestamp must be ISO time in UTC"),
        ({"timestamp": "2025-01-01T00:00:00Z"}, "timestamp must be ISO time in UTC"),
        ({"timestamp": "yesterday+00:00"}, "timestamp must be ISO time in UTC"),
        ({"attempt": "1"}, "attempt must be integer"),
        ({"attempt": True}, "attempt must be integer"),
        ({"attempt": 1.5}, "attempt must be integer"),
        ({"duration_ms": "fast"}, "duration_ms must be number"),
        ({"duration_ms": None}, "duration_ms must not be null"),
        ({"status": "OK"}, "status must be `ok`"),
        ({"data_keys": ["b", "a"]}, "data_keys must be sorted list of texts"),
        ({"data_keys": "ab"}, "data_keys must be sorted list of texts"),
        ({"data_keys": [1]}, "data_keys must be sorted list of texts"),
    ],
)
def test_what_does_not_fit_is_told(change, told):
    [fault] = EVENTS.faults("stage.completed", {**GOLDEN["stage.completed"], **change})
    assert fault.startswith(told)


def test_all_faults_come_at_once():
    payload = {**GOLDEN["stage.started"], "attempt": None, "surprise": 1}
    del payload["stage"]
    assert len(EVENTS.faults("stage.started", payload)) == 3


def test_no_payload_has_every_fault():
    assert len(EVENTS.faults("stage.started", None)) == len(GOLDEN["stage.started"])


def test_an_unknown_event_is_told_with_its_neighbours():
    [fault] = EVENTS.faults("stage.complete", {})
    assert "'stage.completed'" in fault


def test_wide_events_may_hold_more():
    schema = EVENTS["stage.wide"]
    assert schema.open
    assert not any("surprise" in fault for fault in schema.faults({"surprise": 1}))


def test_the_lifecycle_is_complete():
    assert set(GOLDEN) | {"stage.wide", "pipeline.wide"} <= set(EVENTS)


# --- catalogues ------------------------------------------------------------------


def schema(type, *fields, **given):
    return EventSchema(type, f"{type} happened.", fields, **given)


def test_a_type_has_one_schema():
    with pytest.raises(ValueError, match=r"'a\.b' has two"):
        EventCatalogue([schema("a.b"), schema("a.b")])
    with pytest.raises(ValueError, match="two schemas"):
        _ = EVENTS | EventCatalogue([schema("stage.started")])


def test_a_distribution_adds_its_own_beside_them():
    both = EVENTS | EventCatalogue([schema("tool.started")])
    assert both.faults("tool.started", {}) == ()
    assert len(both) == len(EVENTS) + 1
    assert "tool.started" not in EVENTS


def test_a_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        EVENTS["x"] = schema("x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        EVENTS["stage.started"].about = "no"


def test_optional_keys_and_objects():
    one = schema(
        "a",
        EventField("given", "boolean", "x"),
        EventField("maybe", "object", "x", required=False),
        EventField("many", "objects", "x", required=False),
    )
    assert one.faults({"given": True}) == ()
    assert one.faults({"given": True, "maybe": {}, "many": [{}]}) == ()
    assert len(one.faults({"given": 1, "maybe": [], "many": [1]})) == 3


def test_the_reference_page_has_a_section_and_a_row_for_everything():
    page = EVENTS.to_markdown()
    for name, described in EVENTS.items():
        section = page.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert described.about in section
        for field in described.fields:
            assert f"| `{field.name}` | {field.describe()} |" in section


def test_the_reference_page_says_what_is_optional_sorted_and_open():
    page = EVENTS.to_markdown()
    assert "| `data_keys` | sorted list of texts | the keys of its output |" in page
    assert "not always there; " in page
    assert "Further keys may be there." in page


# --- the machinery of golden tests ------------------------------------------------


def test_golden_events_are_compared_whole():
    events = [("stage.started", STAGE)]
    assert_golden(
        events, [("stage.started", {**STAGE, "pipeline_run_id": ANY_ID, "timestamp": ANY_TIME})]
    )
    with pytest.raises(AssertionError):
        assert_golden(events, [("stage.started", {**STAGE, "stage": "b"})])
    with pytest.raises(AssertionError):
        assert_golden(events, [])


def test_golden_events_must_fit_their_schemas():
    with pytest.raises(AssertionError, match="attempt is missing"):
        check_schemas([("stage.started", {k: v for k, v in STAGE.items() if k != "attempt"})])


@pytest.mark.parametrize(
    ("stand_in", "fits", "does_not"),
    [
        (ANY_ID, RUN_ID, [None, "x", 3]),
        (ANY_TIME, AT, [None, "x", "2025-01-01T00:00:00", 3]),
        (ANY_MS, 0.5, [None, "x", -1, True]),
    ],
    ids=repr,
)
def test_stand_ins_fit_what_they_stand_for(stand_in, fits, does_not):
    assert fits == stand_in
    assert all(value != stand_in for value in does_not)
