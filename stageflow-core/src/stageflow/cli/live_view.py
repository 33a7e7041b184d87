"""The live view of a run on a terminal: what runs, what is done, how fast it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stageflow.cli.story import RunStory, StageStory
from stageflow.cli.text import GLYPHS, STATUS_STYLES, cut, one_line, padded, plural, span, width

__all__ = ("LiveView",)

_FRAMES_PER_SECOND: Final = 12
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FURNITURE: Final = 7
"""Lines that are not stages: title, progress, blank lines, the shell's prompt."""
_MOST_ROWS: Final = 16
_WIDEST_NAME: Final = 40
_WIDEST_BAR: Final = 40
_KIND_WIDTH: Final = 9
_TIME_WIDTH: Final = 8


class LiveView:
    """Shows a run while it goes on; its last picture stays.

    A pipeline that fits on the terminal is shown stage by stage, a larger one by its progress
    and by what runs, what failed and what ended last.

    Args:
        story: What is shown; somebody else tells it the events.
        stream: The terminal.
        redirect: Whether what others write on the standard streams is shown above the view.
        now: Source of time.
    """

    def __init__(
        self,
        story: RunStory,
        stream: TextIO,
        *,
        redirect: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._story = story
        self._now = now
        self._notice = ""
        self._frame = 0
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        self._live = Live(
            console=self._console,
            get_renderable=self.picture,
            refresh_per_second=_FRAMES_PER_SECOND,
            redirect_stdout=redirect,
            redirect_stderr=redirect,
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._notice = ""
        self._live.__exit__(None, None, None)

    def announce(self, notice: str) -> None:
        """Show something that is no event, from now on."""
        self._notice = notice

    # --- the picture ------------------------------------------------------------------------

    def picture(self) -> Text:
        """Return what is shown now."""
        story = self._story
        room = self._console.height - _FURNITURE
        self._frame += 1
        title = self._title()
        if len(story.stages) == story.total and story.total <= room:
            body = self._rows(list(story.stages.values()))
        else:
            body = self._digest(min(room, _MOST_ROWS))
        lines = [title, Text(), *body] if body else [title]
        if story.status == "running":
            lines += [Text(), self._progress()]
        if self._notice:
            lines += [Text(), Text(self._notice, "bold yellow")]
        for line in lines:
            line.truncate(self._console.width - 2, overflow="ellipsis")
        picture = Text(" ", no_wrap=True, overflow="ignore")
        return picture.append_text(Text("\n ").join(lines))

    def _elapsed_ms(self) -> float:
        story = self._story
        if story.duration_ms is not None:
            return story.duration_ms
        began = story.resumed_at or story.started_at
        return 0.0 if began is None else (self._now() - began).total_seconds() * 1000

    def _rate(self) -> float:
        """Return how many stages end in a second; 0 while that is not to be told yet."""
        elapsed = self._elapsed_ms()
        ended = self._story.ended - self._story.kept
        return ended / elapsed * 1000 if elapsed > 200 else 0.0

    def _title(self) -> Text:
        story = self._story
        facts = [plural(story.total, "stage")]
        if story.resumes:
            facts.append(f"resumed, {story.kept:,} kept")
        if story.status == "running":
            rate = self._rate()
            waiting = sum(stage.status == "awaiting" for stage in story.running.values())
            facts.append(f"{len(story.running) - waiting:,} running")
            if waiting:
                facts.append(f"{waiting:,} waiting for signals")
            if rate:
                facts.append(f"{rate:,.0f} stages/s" if rate >= 10 else f"{rate:.1f} stages/s")
        return Text.assemble((one_line(story.pipeline), "bold"), ("  " + "  ".join(facts), "dim"))

    def _progress(self) -> Text:
        story = self._story
        elapsed = self._elapsed_ms()
        done, total = story.ended, story.total or 1
        count = f"{done:,}/{total:,}".rjust(2 * len(f"{total:,}") + 1)
        rate = self._rate()
        is_regular = total >= 20 and elapsed > 2000  # a few stages tell nothing of the others
        left = (total - done) / rate * 1000 if rate and is_regular else 0.0
        size = min(_WIDEST_BAR, max(self._console.width - len(count) - 40, 10))
        filled, half = divmod(2 * size * done // total, 2)
        bar = "━" * filled + "╸" * half
        return Text.assemble(
            (bar, "cyan"),
            ("━" * (size - len(bar)), "bright_black"),
            f"  {count}  ",
            (span(elapsed).rjust(_TIME_WIDTH), "cyan"),
            (f"  about {span(left)} left" if left > 1000 else "", "dim"),
        )

    def _rows(self, stages: Sequence[StageStory]) -> list[Text]:
        now = self._now()
        names = [one_line(stage.name) for stage in stages]
        size = min(max(map(width, names), default=0), _WIDEST_NAME)
        return [
            self._row(stage, cut(name, size), size, now)
            for stage, name in zip(stages, names, strict=True)
        ]

    def _row(self, stage: StageStory, name: str, size: int, now: datetime) -> Text:
        style = STATUS_STYLES[stage.status]
        goes_on = self._story.status == "running"
        is_busy = goes_on and stage.status in {"running", "retrying"}
        style = "dim" if stage.kept else style
        waits = is_busy and stage.resumes_at is not None and now < stage.resumes_at
        glyph = GLYPHS[stage.status]
        if is_busy and not waits:
            glyph, style = _SPINNER[self._frame % len(_SPINNER)], "cyan"
        took = stage.duration_ms if stage.attempts else None
        if stage.started_at is not None and (is_busy or (goes_on and stage.status == "awaiting")):
            took = (now - stage.started_at).total_seconds() * 1000
        return Text.assemble(
            (glyph, style),
            "  ",
            (padded(name, size), _NAME_STYLES.get(stage.status, "")),
            (f"  {stage.kind:<{_KIND_WIDTH}}", "dim"),
            (f"  {span(took):>{_TIME_WIDTH}}", "cyan" if is_busy else ""),
            (
                f"  {_remark(stage, now if waits else None)}",
                _REMARK_STYLES.get(stage.status, style),
            ),
        )

    def _digest(self, rows: int) -> list[Text]:
        """Return the lines of a pipeline that is too large to be shown whole."""
        story = self._story
        failed = story.failed[-4:]
        if story.status != "running":  # the summary that follows has the numbers
            return [Text("failed", "dim"), *self._rows(failed)] if failed else []
        counts = Text("   ").join(
            Text.assemble((GLYPHS[key], STATUS_STYLES[key]), f" {story.counts[key]:,} {word}")
            for key, word in _ENDINGS.items()
            if story.counts[key] or key == "ok"
        )
        if story.retries:
            counts.append(f"   {GLYPHS['retrying']}", "yellow").append(
                f" {plural(story.retries, 'retry')}"
            )
        share = max(rows - len(failed) - 6, 2)
        running = list(story.running.values())[: (share + 1) // 2]
        finished = list(story.finished)[len(running) - share :]
        lines = [counts]
        for title, stages in (("failed", failed), ("running", running), ("just ended", finished)):
            if stages:
                lines += [Text(), Text(title, "dim"), *self._rows(stages)]
        return lines


_ENDINGS: Final = {"ok": "done", "skip": "skipped", "cancel": "cancelled", "fail": "failed"}
_NAME_STYLES: Final = {"waiting": "dim", "skip": "dim", "fail": "bold red"}
_REMARK_STYLES: Final = {"ok": "dim", "running": "yellow"}


def _remark(stage: StageStory, waits_at: datetime | None) -> str:
    """Return what else there is to say about a stage: attempts, reasons, errors."""
    parts = []
    if waits_at is not None and stage.resumes_at is not None:
        delay = (stage.resumes_at - waits_at).total_seconds() * 1000
        parts.append(f"attempt {stage.attempts} in {span(delay)}: {stage.note}")
    elif stage.status == "retrying":
        parts.append(f"attempt {stage.attempts}, after {stage.note}")
    else:
        parts.append(f"{stage.attempts} attempts" if stage.attempts > 1 else "")
        parts.append(stage.note)
        parts.append("kept from before" if stage.kept else "")
    parts.append("a busy thread was left behind" if stage.abandoned else "")
    return one_line("; ".join(filter(None, parts)))
