"""`stageflow runs`: list what ran, and tell the story of one run from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import anyio
import attrs

from stageflow.cli.errors import NoRecordError, RunLookupError
from stageflow.cli.plain_view import event_line
from stageflow.cli.records import Records, find_run, project_records
from stageflow.cli.session import reporting, write_json
from stageflow.cli.story import RunStory, StageStory
from stageflow.cli.text import (
    GLYPHS,
    STATUS_STYLES,
    Terminal,
    ago,
    columns,
    cut,
    one_line,
    padded,
    plural,
    span,
    width,
)
from stageflow.contracts.checkpoints import RunLease
from stageflow.contracts.run_store import RunEvent, RunRecord, RunStoreCapabilities, as_run_status
from stageflow.contracts.waits import RunWait, WaitState
from stageflow.plugins import Plugins, opened
from stageflow.runtime.owners import is_gone

__all__ = ("list_command", "show_command")

_SHORT_ID: Final = 8
_MOST_STAGES: Final = 100
_SHOWN_OF_MORE: Final = 40
_WIDEST_NAME: Final = 40
_NARROWEST_BAR: Final = 12
_SHOWN_WAITS: Final = 5
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


# --- list ---------------------------------------------------------------------------------------


def list_command(*, status: str | None, limit: int, json: bool, debug: bool = False) -> None:
    """List the newest runs.

    Raises:
        SystemExit: If they cannot be listed; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        records = project_records(Plugins.load())
        found = anyio.run(_listed, records, status, limit)
        if json:
            write_json(
                stream, [{**_as_dict(each), **standing.to_dict()} for each, standing in found]
            )
            return
        terminal = Terminal(stream)
        if not found:
            what = f"No run with the status {status}" if status else "No run"
            terminal.line(f"{what} is recorded in {records.place}.")
            return
        now = datetime.now(UTC)
        rows = [_row(record, standing, now) for record, standing in found]
        head = ("run", "pipeline", "status", "started", "took", "")
        terminal.lines(columns(terminal, head, rows, right=(4,)))


async def _listed(
    records: Records, status: str | None, limit: int
) -> Sequence[tuple[RunRecord, _Standing]]:
    if status is not None:
        as_run_status(status)
    if records.path is not None and not records.path.exists():
        return ()
    async with records.store(read_only=True) as made, opened(made) as store:
        if not RunStoreCapabilities.of(store).listing:
            raise NoRecordError(
                f"{records.place} cannot list its runs.".capitalize(),
                hint="`stageflow runs show ID` shows one of them.",
            )
        listed = await store.list_runs(status=status, limit=limit)
        return [(record, await _standing_of(store, record)) for record in listed]


def _row(record: RunRecord, standing: _Standing, now: datetime) -> list[str | tuple[str, str]]:
    why = (record.error or record.metadata.get("reason") or "").partition(" Hint: ")[0]
    if not record.status.is_final:
        why = standing.told()
    return [
        str(record.run_id)[:_SHORT_ID],
        one_line(_pipeline(record)),
        (record.status.value, STATUS_STYLES.get(record.status.value, "")),
        ago(record.created_at, now),
        span(record.duration_ms),
        (one_line(why), "dim"),
    ]


def _pipeline(record: RunRecord) -> str:
    return str(record.metadata.get("pipeline_name") or record.topology or "")


def _as_dict(record: RunRecord) -> dict[str, Any]:
    known = {
        "run_id": str(record.run_id),
        "pipeline_name": _pipeline(record),
        "status": record.status.value,
        "created_at": record.created_at.isoformat(),
        "updated_at": record.updated_at.isoformat(),
        "duration_ms": record.duration_ms,
        "error": record.error,
        "service": record.service,
        "topology": record.topology,
        "execution_mode": record.execution_mode,
    }
    return {**known, "metadata": dict(record.metadata)}


# --- show ---------------------------------------------------------------------------------------


def show_command(
    run: str, *, json: bool, events: bool, every: bool = False, debug: bool = False
) -> None:
    """Tell the story of one run.

    Args:
        run: `last`, an id, or the beginning of one.
        json: Whether to print it as one JSON document.
        events: Whether to show each event, too.
        every: Whether to show each stage, however many there are.
        debug: Whether to show tracebacks.

    Raises:
        SystemExit: If there is no such run; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        record, log, standing = anyio.run(_read, project_records(Plugins.load()), run)
        story = RunStory()
        for event in log:
            story.note(event.type, {"timestamp": event.at.isoformat(), **(event.data or {})})
        if record.status in {"failed", "cancelled"}:
            story.close(str(record.get("reason") or record.error or ""))
        if json:
            _write_document(stream, record, story, standing, log if events else None)
            return
        page = _Page(Terminal(stream), record, story, standing)
        page.write_head()
        page.write_stages(every=every)
        if events:
            page.write_events(log)


@attrs.frozen
class _Standing:
    """Who has a run that has not ended, and what it waits for.

    Attributes:
        lease: The lease of its owner, if it has one.
        waits: What it waits for.
    """

    lease: RunLease | None = None
    waits: tuple[RunWait, ...] = ()

    @property
    def is_left(self) -> bool:
        """Whether nobody goes on with it who ought to: its owner is gone, or has not said so."""
        lease = self.lease
        return lease is not None and (is_gone(lease.owner) or lease.expires_at <= datetime.now(UTC))

    def told(self) -> str:
        """Return in a few words what it waits for, or that it is left; empty if it goes on."""
        if self.waits:
            names = ", ".join(dict.fromkeys(wait.name for wait in self.waits[:_SHOWN_WAITS]))
            more = ", …" if len(self.waits) > _SHOWN_WAITS else ""
            return f"waits for {names}{more}"
        return "its process is gone" if self.is_left else ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "owner": None if self.lease is None else self.lease.owner,
            "owner_is_gone": self.is_left,
            "waits": [
                {
                    "stage": wait.stage,
                    "signal": wait.name,
                    "wait_id": wait.wait_id,
                    "deadline": wait.deadline and wait.deadline.isoformat(),
                }
                for wait in self.waits
            ],
        }


async def _standing_of(store: Any, record: RunRecord) -> _Standing:
    can = RunStoreCapabilities.of(store)
    if record.status.is_final or not (can.checkpoints and can.waits):
        return _Standing()
    waits = await store.list_waits(record.run_id)
    is_open = tuple(wait for wait in waits if wait.state is WaitState.OPEN)
    return _Standing(await store.get_lease(record.run_id), is_open)


async def _read(records: Records, run: str) -> tuple[RunRecord, Sequence[RunEvent], _Standing]:
    if records.path is not None and not records.path.exists():
        raise RunLookupError(
            f"No run is recorded in {records.place}.",
            hint="Start one with `stageflow run`, or go to the project whose runs you look for.",
        )
    async with records.store(read_only=True) as made, opened(made) as store:
        record = await find_run(store, run)
        standing = await _standing_of(store, record)
        has_log = RunStoreCapabilities.of(store).event_log
        log = await store.read_events(record.run_id) if has_log else ()
        return record, log, standing


def _write_document(
    stream: TextIO,
    record: RunRecord,
    story: RunStory,
    standing: _Standing,
    log: Sequence[RunEvent] | None,
) -> None:
    document = {
        **_as_dict(record),
        "stage_counts": dict(story.counts),
        "retries": story.retries,
        "resumes": story.resumes,
        **standing.to_dict(),
        "stages": {name: stage.to_dict() for name, stage in story.stages.items()},
    }
    if log is not None:
        document["events"] = [
            {"number": each.number, "type": each.type, "at": each.at.isoformat(), "data": each.data}
            for each in log
        ]
    write_json(stream, document)


class _Page:
    """The story of one run, as lines."""

    def __init__(
        self, terminal: Terminal, record: RunRecord, story: RunStory, standing: _Standing
    ) -> None:
        self._terminal = terminal
        self._standing = standing
        self._record = record
        self._story = story
        self._began = story.started_at or record.created_at

    def write_head(self) -> None:
        """Write who and when, how it ended and why."""
        record, story, out = self._record, self._story, self._terminal
        status = out.paint(record.status.value, f"bold {STATUS_STYLES[record.status.value]}")
        took = f" in {span(record.duration_ms)}" if record.duration_ms is not None else ""
        out.line(f" {out.paint(one_line(_pipeline(record)), 'bold')}  {status}{took}")
        started = record.created_at.astimezone()
        facts = {
            "run": str(record.run_id),
            "started": f"{started:%Y-%m-%d %H:%M:%S %Z}, {ago(started, datetime.now(UTC))}",
            "stages": f"{story.total:,}: {story.ending()}" if story.ended else f"{story.total:,}",
            "reason": str(record.metadata.get("reason") or ""),
            "failed": str(record.metadata.get("stage") or "") if record.error else "",
            "error": record.error or "",
        }
        if story.resumes:
            facts["resumed"] = plural(story.resumes, "time")
        if self._standing.waits:
            facts.update(self._waiting())
        elif self._standing.is_left:
            short = str(record.run_id)[:_SHORT_ID]
            facts["note"] = f"its process is gone; `stageflow runs resume {short}` goes on"
        elif not record.status.is_final:
            last = max(
                filter(None, (stage.ended_at for stage in story.stages.values())), default=None
            )
            when = ago(last or record.updated_at, datetime.now(UTC))
            facts["note"] = f"no end is recorded; the last news is from {when}"
        for label, text in facts.items():
            if text:
                out.line(f"   {out.paint(f'{label:<7}', 'dim')}  {one_line(text)}")

    def _waiting(self) -> dict[str, str]:
        """Return what the run waits for, and how to answer the first of it."""
        waits = self._standing.waits
        listed = ", ".join(f"{wait.name} (stage {wait.stage})" for wait in waits[:_SHOWN_WAITS])
        more = f" and {len(waits) - _SHOWN_WAITS:,} more" if len(waits) > _SHOWN_WAITS else ""
        short = str(self._record.run_id)[:_SHORT_ID]
        command = f"stageflow runs signal {short} {waits[0].name} VALUE"
        return {"waits": f"for {listed}{more}", "answer": command}

    def write_stages(self, *, every: bool) -> None:
        """Write a line for each stage, with a bar for when it ran."""
        stages = list(self._story.stages.values())
        out = self._terminal
        if not stages:
            out.line("   The record holds no events.")
            return
        shown = stages if every or len(stages) <= _MOST_STAGES else _notable(stages)
        names = [one_line(stage.name) for stage in shown]
        size = min(max(map(width, ("stage", *names))), _WIDEST_NAME)
        # What a run that went on kept, and what it ran, is what people ask first.
        parts = f"{'':<4}  " if self._story.resumes else ""
        room = max(out.width - size - 53 - len(parts), _NARROWEST_BAR)
        whole = self._whole_ms()
        scale = f"0{span(whole):>{room - 1}}"
        facts = f"{'kind':<9}  {'tries':>5}  {'start':>9}  {'took':>9}"
        head = f"      {padded('stage', size)}  {parts}{facts}  {scale}"
        out.line()
        out.line(out.paint(head, "dim"))
        for stage, name in zip(shown, names, strict=True):
            self._write_stage(stage, padded(cut(name, size), size), room, whole)
        if len(shown) < len(stages):
            left = plural(len(stages) - len(shown), "more stage")
            told = f"{left}; above are those that failed, were tried again or took longest."
            out.lines(["", f"   {told} --all shows all."])

    def _whole_ms(self) -> float:
        # What was interrupted took longer than its last part.
        if self._record.duration_ms and not self._story.resumes:
            return self._record.duration_ms
        ends = [self._offset_ms(stage.ended_at) for stage in self._story.stages.values()]
        return max([*(end for end in ends if end is not None), 1.0])

    def _offset_ms(self, at: datetime | None) -> float | None:
        return None if at is None else (at - self._began).total_seconds() * 1000

    def _write_stage(self, stage: StageStory, name: str, room: int, whole: float) -> None:
        out, style = self._terminal, STATUS_STYLES[stage.status]
        start = self._offset_ms(stage.started_at)
        ran = start is not None
        took = span(stage.duration_ms) if ran else ""
        bar = _bar(start, stage.duration_ms or 0.0, whole, room) if start is not None else ""
        facts = f"{stage.attempts or '':>5}  {span(start):>9}  {took:>9}"
        kind = out.paint(f"{stage.kind:<9}", "dim")
        if self._story.resumes:
            part = "kept" if stage.kept else "ran" if ran else ""
            kind = f"{out.paint(f'{part:<4}', 'dim')}  {kind}"
        # What ran before the last interruption stands back a little.
        style = "dim" if stage.kept else style
        glyph = out.paint(GLYPHS[stage.status], style)
        out.line(f"   {glyph}  {name}  {kind}  {facts}  {out.paint(bar, style)}".rstrip())
        left = "a busy thread was left behind" if stage.abandoned else ""
        note = "; ".join(filter(None, (stage.note, left)))
        if note:
            out.line(f"        {out.paint(f'↳ {one_line(note)}', style)}")

    def write_events(self, log: Sequence[RunEvent]) -> None:
        """Write the log, a line for each event."""
        self._terminal.line()
        for event in log:
            data: Mapping[str, Any] = event.data or {}
            self._terminal.line(event_line(self._terminal, event.type, data, event.at, self._began))


def _notable(stages: Sequence[StageStory]) -> list[StageStory]:
    """Return the stages of a large run that people look for, in the order in which they ran."""
    troubled = [stage for stage in stages if stage.status == "fail" or stage.attempts > 1]
    slowest = sorted(stages, key=lambda stage: -(stage.duration_ms or 0.0))
    ranked = list(dict.fromkeys(stage.name for stage in [*troubled, *slowest]))
    chosen = set(ranked[:_SHOWN_OF_MORE])
    return [stage for stage in stages if stage.name in chosen]


def _bar(start: float, took: float, whole: float, room: int) -> str:
    """Return a bar of blocks at its place on a scale of *room* columns."""
    first = min(int(start / whole * room), room - 1)
    eighths = max(round(took / whole * room * 8), 1)
    eighths = min(eighths, (room - first) * 8)
    blocks = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return " " * first + blocks
