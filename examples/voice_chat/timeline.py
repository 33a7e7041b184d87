"""When each stage of a turn ran, drawn from the run's wide events: on a terminal and as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Final

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stageflow.helpers import AnalyticsEvent

__all__ = ("Bar", "Collector", "Mark", "Timeline", "render", "svg")

_COLOURS: Final = {"OK": "green", "FAIL": "red", "SKIP": "yellow", "CANCEL": "magenta"}
_FILLS: Final = {"OK": "#3fa45b", "FAIL": "#d5473d", "SKIP": "#d8b13a", "CANCEL": "#a05cb5"}
_MARKS: Final = {"voice.first_sound": "first sound", "stream.interrupted": "interrupted"}
_WIDTH: Final = 46
_ROW: Final = 26
_LEFT: Final = 110
_SCALE: Final = 620


@attrs.frozen
class Bar:
    """When one stage ran.

    Attributes:
        stage: The stage.
        status: How it ended.
        start_ms: When it began, from the beginning of the turn.
        end_ms: When it ended.
    """

    stage: str
    status: str
    start_ms: float
    end_ms: float


@attrs.frozen
class Mark:
    """Something that happened in a moment.

    Attributes:
        what: What it was.
        at_ms: When, from the beginning of the turn.
    """

    what: str
    at_ms: float


@attrs.frozen
class Timeline:
    """One turn.

    Attributes:
        title: What to call it.
        bars: Its stages, in the order in which they began.
        marks: What else happened.
        total_ms: How long it took.
    """

    title: str
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    total_ms: float

    @classmethod
    def of(cls, title: str, events: Iterable[AnalyticsEvent]) -> Timeline:
        """Return the timeline of one run, from its events."""
        listed = list(events)
        wide = [event.data for event in listed if event.event_type == "stage.wide"]
        began = min(_instant(facts["started_at"]) for facts in wide)

        def since(instant: datetime) -> float:
            return max((instant - began).total_seconds() * 1000, 0.0)

        bars = sorted(
            (
                Bar(
                    facts["stage"],
                    facts["status"],
                    since(_instant(facts["started_at"])),
                    since(_instant(facts["ended_at"])),
                )
                for facts in wide
            ),
            key=lambda bar: (bar.start_ms, bar.end_ms),
        )
        marks = [
            Mark(_MARKS[event.event_type], since(event.timestamp))
            for event in listed
            if event.event_type in _MARKS
        ]
        total = max(bar.end_ms for bar in bars)
        return cls(title, tuple(bars), tuple(marks), max(total, 1.0))


class Collector:
    """An exporter that keeps the events of each run."""

    def __init__(self) -> None:
        self.runs: dict[str, list[AnalyticsEvent]] = {}

    async def export(self, event: AnalyticsEvent) -> None:
        """Keep one event."""
        self.runs.setdefault(str(event.pipeline_run_id), []).append(event)

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Keep several."""
        for event in events:
            await self.export(event)

    async def flush(self) -> None:
        """Do nothing: they are kept."""

    async def close(self) -> None:
        """Do nothing: they stay."""


def render(timeline: Timeline) -> RenderableType:
    """Return *timeline* for a terminal."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold", justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    per_ms = _WIDTH / timeline.total_ms
    for bar in timeline.bars:
        start = min(round(bar.start_ms * per_ms), _WIDTH - 1)
        length = max(round(bar.end_ms * per_ms) - start, 1)
        drawn = Text(" " * start + "━" * length, _COLOURS.get(bar.status, "white"))
        drawn.append(" " * (_WIDTH - len(drawn.plain)))
        table.add_row(bar.stage, drawn, f"{bar.end_ms - bar.start_ms:5,.0f} ms {bar.status}")
    for mark in timeline.marks:
        place = min(round(mark.at_ms * per_ms), _WIDTH - 1)
        label = " " * place + f"╵ {mark.what}"
        if len(label) > _WIDTH:
            label = f"{mark.what} ╵".rjust(place + 1)
        table.add_row("", Text(label, "cyan"), f"{mark.at_ms:5,.0f} ms")
    return Group(Text(timeline.title, "bold underline"), table)


def svg(timelines: Sequence[Timeline]) -> str:
    """Return *timelines* as one picture, all to the same scale."""
    longest = max((timeline.total_ms for timeline in timelines), default=1.0)
    parts: list[str] = []
    top = 10
    for timeline in timelines:
        parts.append(f'<text x="10" y="{top + 16}" class="title">{escape(timeline.title)}</text>')
        top += _ROW
        bottom = top + _ROW * len(timeline.bars)
        for mark in timeline.marks:
            x = _LEFT + mark.at_ms / longest * _SCALE
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom + 4}"/>')
            parts.append(f'<text x="{x + 4:.1f}" y="{bottom + 12}">{escape(mark.what)}</text>')
        for bar in timeline.bars:
            parts += _bar(bar, top, longest)
            top += _ROW
        top += _ROW + 6
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-weight:bold;font-size:14px}"
        "line{stroke:#2a7fb8;stroke-dasharray:3 2}"
    )
    size = f'width="{_LEFT + _SCALE + 90}" height="{top}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{style}</style>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _bar(bar: Bar, top: float, longest: float) -> list[str]:
    x = _LEFT + bar.start_ms / longest * _SCALE
    width = max((bar.end_ms - bar.start_ms) / longest * _SCALE, 1.5)
    fill = _FILLS.get(bar.status, "#888")
    took = f"{bar.end_ms - bar.start_ms:,.0f} ms"
    return [
        f'<text x="{_LEFT - 10}" y="{top + 15}" text-anchor="end">{escape(bar.stage)}</text>',
        f'<rect x="{x:.1f}" y="{top + 4}" width="{width:.1f}" height="14" rx="3" fill="{fill}"/>',
        f'<text x="{x + width + 6:.1f}" y="{top + 15}">{took}</text>',
    ]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
