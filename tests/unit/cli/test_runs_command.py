"""`stageflow runs`, in this process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.contracts.run_store import RunEvent

NOW = datetime.now(UTC)


def uid(number: int) -> UUID:
    return UUID(f"{number:08x}-0000-4000-8000-000000000000")


def event(type: str, seconds: float, **data: Any) -> RunEvent:
    at = NOW - timedelta(minutes=5) + timedelta(seconds=seconds)
    return RunEvent(type=type, data={"timestamp": at.isoformat(), **data}, at=at)


def ran(
    name: str, start: float, took: float, ending: str = "completed", **data: Any
) -> list[RunEvent]:
    times = {
        "started_at": event("", start).at.isoformat(),
        "ended_at": event("", start + took).at.isoformat(),
        "duration_ms": took * 1000,
    }
    return [
        event("stage.started", start, stage=name, kind="work", attempt=1),
        event(f"stage.{ending}", start + took, stage=name, kind="work", **times, **data),
    ]


@pytest.fixture
def record(project: Path) -> Callable[..., None]:
    """Put a run into the records of the project."""

    async def put(run_id: UUID, status: str, events: list[RunEvent], **facts: Any) -> None:
        async with SqliteRunStore(project / ".stageflow" / "runs.sqlite3") as store:
            await store.create_run(
                run_id, service="pipeline", status="running", pipeline_name="shop"
            )
            await store.append_events(run_id, events)
            await store.update_status(run_id, status, **facts)

    def record(
        number: int, status: str = "completed", events: list[RunEvent] | None = None, **facts: Any
    ) -> None:
        anyio.run(lambda: put(uid(number), status, events or [], **facts))

    return record


STORY = [
    event("pipeline.started", 0, pipeline_name="shop", stages_total=4),
    *ran("read", 0, 1),
    event("stage.started", 1, stage="fetch", kind="work"),
    event("stage.retry_scheduled", 2, stage="fetch", attempt=1, error="no answer", delay_ms=100),
    *ran("fetch", 1, 2, attempt=2)[1:],
    *ran("pay", 3, 1, "failed", error="ValueError: no money"),
    event("stage.skipped", 4, stage="send", kind="work", reason="dependency 'pay' failed"),
    event("pipeline.failed", 4, pipeline_name="shop", duration_ms=4000.0),
]


def test_no_record_yet(cli: Callable[..., Any]):
    done = cli("runs", "list")
    assert (done.status, done.out) == (0, "No run is recorded in .stageflow/runs.sqlite3.\n")
    assert cli("runs", "list", "--json").json == []
    done = cli("runs", "show", "last")
    assert done.status == 2
    assert "error SF930" in done.err
    assert "stageflow run" in done.err


def test_a_list_is_a_table_newest_first(cli: Callable[..., Any], record: Callable[..., None]):
    record(1, duration_ms=1500.0)
    record(2, "failed", error="[SF301] Stage 'pay' failed. Hint: pay.", duration_ms=20.0)
    record(3, "cancelled", reason="enough")
    record(4, "running")
    lines = cli("runs", "list").out.splitlines()
    assert lines[0].split() == ["run", "pipeline", "status", "started", "took"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["00000004", "shop", "running"],
        ["00000003", "shop", "cancelled"],
        ["00000002", "shop", "failed"],
        ["00000001", "shop", "completed"],
    ]
    assert lines[3].endswith("20 ms  [SF301] Stage 'pay' failed.")
    assert lines[2].endswith("enough")


def test_a_list_is_filtered_and_limited(cli: Callable[..., Any], record: Callable[..., None]):
    for number in range(4):
        record(number, "failed" if number % 2 else "completed")
    found = cli("runs", "list", "--status", "failed", "--json").json
    assert [run["run_id"] for run in found] == [str(uid(3)), str(uid(1))]
    assert len(cli("runs", "list", "-n", "3", "--json").json) == 3
    done = cli("runs", "list", "--status", "cancelled")
    assert done.out.startswith("No run with the status cancelled")


def test_an_unknown_status_is_refused(cli: Callable[..., Any]):
    done = cli("runs", "list", "--status", "broken")
    assert done.status == 2
    assert "SF423" in done.err


def test_the_story_of_a_run(cli: Callable[..., Any], record: Callable[..., None]):
    record(1, "failed", STORY, duration_ms=4000.0, error="no money", stage="pay")
    done = cli("runs", "show")
    assert done.status == 0
    head, table = done.out.split("\n\n")
    assert head.splitlines()[0] == " shop  failed in 4.00 s"
    assert f"run      {uid(1)}" in head
    assert "4: 2 done, 1 skipped, 1 failed, 1 retry" in head
    assert "failed   pay" in head
    lines = table.splitlines()
    assert [line.split()[:2] for line in lines[1:] if "↳" not in line] == [
        ["✓", "read"],
        ["✓", "fetch"],
        ["✗", "pay"],
        ["↷", "send"],
    ]
    bars = [line for line in lines if "█" in line]
    starts = [line.index("█") for line in bars]
    assert starts == sorted(starts)
    assert bars[1].count("█") - 2 * bars[0].count("█") in {0, 1}, "twice as long"
    assert "↳ ValueError: no money" in table
    assert "↳ dependency 'pay' failed" in table


def test_the_story_as_a_document(cli: Callable[..., Any], record: Callable[..., None]):
    record(1, "failed", STORY, duration_ms=4000.0, error="no money", stage="pay")
    document = cli("runs", "show", "last", "--json", "--events").json
    assert document["status"] == "failed"
    assert document["stage_counts"] == {"ok": 2, "fail": 1, "skip": 1}
    assert document["stages"]["fetch"]["attempts"] == 2
    assert document["stages"]["pay"]["error"] == "ValueError: no money"
    assert [each["number"] for each in document["events"]] == list(range(1, len(STORY) + 1))
    assert "events" not in cli("runs", "show", "last", "--json").json


def test_the_events_of_a_run(cli: Callable[..., Any], record: Callable[..., None]):
    record(1, "failed", STORY)
    lines = cli("runs", "show", "--events").out.splitlines()[-len(STORY) :]
    assert lines[0].split()[:3] == ["0.000s", "pipeline.started", "shop"]
    assert lines[-1].split()[:3] == ["4.000s", "pipeline.failed", "shop"]


def test_a_run_without_an_end_says_so(cli: Callable[..., Any], record: Callable[..., None]):
    record(1, "running", STORY[:4])
    out = cli("runs", "show").out
    assert "no end is recorded" in out
    assert "▸  fetch" in out


def test_a_large_run_shows_what_people_look_for(
    cli: Callable[..., Any], record: Callable[..., None]
):
    events = [event("pipeline.started", 0, stages_total=150)]
    for number in range(150):
        ending = "failed" if number == 70 else "completed"
        events += ran(f"s{number}", number, 0.1 + number / 100, ending)
    record(1, "failed", events)
    out = cli("runs", "show").out
    assert "✗  s70" in out
    assert "✓  s149" in out
    assert "✓  s1 " not in out
    assert "110 more stages" in out
    whole = cli("runs", "show", "--all").out
    assert "✓  s1 " in whole
    assert "more stages" not in whole


def test_a_run_is_found_by_its_id_or_the_beginning(
    cli: Callable[..., Any], record: Callable[..., None]
):
    record(0x12345678)
    record(0x12345699)
    for name in (str(uid(0x12345678)), uid(0x12345678).hex.upper(), "1234567", "12345678-0000"):
        assert cli("runs", "show", name, "--json").json["run_id"] == str(uid(0x12345678))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("1234", "2 runs begin with '1234'"),
        ("99999999", "No run that is recorded begins with '99999999'"),
        (str(uid(7)), f"No run {uid(7)} is recorded"),
        ("lst", "'lst' is no run"),
        ("123", "'123' is no run"),
    ],
)
def test_a_run_that_cannot_be_found(
    cli: Callable[..., Any], record: Callable[..., None], name: str, told: str
):
    record(0x12345678)
    record(0x12345699)
    done = cli("runs", "show", name)
    assert done.status == 2
    assert "error SF930" in done.err
    assert told in done.err
    assert cli("runs", "show", name, "--json").json["errors"][0]["code"] == "SF930"


def test_without_records_there_is_nothing_to_read(
    cli: Callable[..., Any], write: Callable[[str, str], Path]
):
    write("pyproject.toml", "[tool.stageflow]\nrecord = false\n")
    for command in ("list", "show"):
        done = cli("runs", command)
        assert done.status == 2
        assert "error SF931" in done.err


def test_a_damaged_file_is_told(cli: Callable[..., Any], write: Callable[[str, str], Path]):
    write(".stageflow/runs.sqlite3", "this is no database, and long enough to be sure of it" * 40)
    done = cli("runs", "list")
    assert done.status == 2
    assert "runs.sqlite3" in done.err
    assert "Traceback" not in done.err


def test_reading_changes_nothing(cli: Callable[..., Any], project: Path):
    cli("runs", "list")
    cli("runs", "show")
    assert not (project / ".stageflow").exists()
