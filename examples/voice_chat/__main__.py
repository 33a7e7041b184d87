"""Have the conversation, and draw when each stage ran: `python -m voice_chat [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.helpers import AnalyticsSink, CompositeExporter, JSONFileExporter
from voice_chat.chat import TURNS, Heard, converse
from voice_chat.timeline import Collector, Timeline, render, svg

__all__ = ("main", "talk")


async def talk(folder: Path, *, clock: Clock | None = None) -> tuple[list[Heard], list[Timeline]]:
    """Have the conversation; leave `events.jsonl` and `timeline.svg` in *folder*.

    Args:
        folder: Made if it is not there.
        clock: Source of time.
    """
    clock = clock or SystemClock()
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    collector = Collector()
    exporter = CompositeExporter(
        [JSONFileExporter(folder / "events.jsonl", append=False), collector]
    )
    wanted = (".wide", "stream.", "guardrail.", "voice.")
    async with AnalyticsSink(exporter, include_patterns=wanted, clock=clock) as sink:
        heard = await converse(TURNS, sink, clock=clock)
    runs = collector.runs.values()
    timelines = [
        Timeline.of(each.turn.says, events) for each, events in zip(heard, runs, strict=True)
    ]
    (folder / "timeline.svg").write_text(svg(timelines), encoding="utf-8")
    return heard, timelines


def main(arguments: list[str]) -> int:
    """Print the conversation and its timelines; return the exit status."""
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        sys.stderr.write("Usage: python -m voice_chat [FOLDER]\n")
        return 2
    folder = Path(arguments[0] if arguments else "voice-chat")
    try:
        heard, timelines = anyio.run(talk, folder)
    except OSError as error:
        sys.stderr.write(f"Cannot write to {folder}: {error}\n")
        return 2
    console = Console()
    for each, timeline in zip(heard, timelines, strict=True):
        console.print(render(timeline))
        said = Text(each.refusal or each.answer or "", "red" if each.refusal else "italic")
        console.print(said)
        console.print()
    console.print(
        f"The picture: {folder / 'timeline.svg'}    The events: {folder / 'events.jsonl'}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
