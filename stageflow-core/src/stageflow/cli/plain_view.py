"""The plain view of a run: one line per event, for pipes, files and whoever likes lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from stageflow.cli.text import Terminal, one_line, plural, span

__all__ = ("PlainView", "event_line")

_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "dim",
    "retry_scheduled": "yellow",
    "retry_exhausted": "red",
    "thread_abandoned": "red",
    "resumed": "cyan",
    "waiting": "cyan",
    "cleanups_lost": "red",
}


class PlainView:
    """Writes each event as it comes.

    Args:
        terminal: Where to.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._began: datetime | None = None

    def note(self, type: str, data: Mapping[str, Any]) -> None:
        """Write one event."""
        at = datetime.fromisoformat(data["timestamp"])
        self._began = self._began or at
        self._terminal.line(event_line(self._terminal, type, data, at, self._began))


def event_line(
    terminal: Terminal, type: str, data: Mapping[str, Any], at: datetime, began: datetime
) -> str:
    """Return one event as a line: seconds since the beginning, type, subject, details."""
    seconds = (at - began).total_seconds()
    subject = one_line(data.get("stage") or data.get("pipeline_name") or "")
    style = _STYLES.get(type.rpartition(".")[2], "")
    details = one_line(", ".join(filter(None, _details(type, data))))
    line = f"{_since(seconds)}  {terminal.paint(f'{type:<21}', style)}  {subject}"
    return f"{line}  {details}".rstrip()


def _since(seconds: float) -> str:
    # What a run that goes on tells of its stages may have happened before.
    return f"{seconds:9.3f}s" if seconds >= 0 else f"{'before':>10}"


def _details(type: str, data: Mapping[str, Any]) -> list[str]:
    match type:
        case "pipeline.started":
            return [
                plural(data.get("stages_total") or 0, "stage"),
                f"run {data.get('pipeline_run_id')}",
            ]
        case "pipeline.resumed":
            kept = f"{data.get('stages_restored') or 0:,} of {data.get('stages_total') or 0:,}"
            return [f"{kept} stages kept", f"run {data.get('pipeline_run_id')}"]
        case "stage.waiting":
            return [f"for the signal {data.get('signal')}"]
        case "stage.cleanups_lost":
            return [*map(str, data.get("cleanups") or ())]
        case "stage.started" | "stage.thread_abandoned":
            return [str(data.get("kind") or "")]
        case "stage.retry_scheduled":
            attempt = f"attempt {data.get('attempt')} of {data.get('max_attempts')} failed"
            return [f"{attempt}: {data.get('error')}", f"again in {span(data.get('delay_ms'))}"]
        case "stage.retry_exhausted":
            return [
                f"given up after {plural(data.get('attempt') or 0, 'attempt')}: {data.get('error')}"
            ]
        case _:
            attempts = data.get("attempt") or 1
            tried = f"{attempts} attempts" if attempts > 1 else ""
            why = data.get("error") or data.get("reason")
            took = span(data.get("duration_ms")) if data.get("duration_ms") else ""
            return [took, tried, str(why) if why else ""]
