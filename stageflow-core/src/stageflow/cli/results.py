"""What is told when a run is over: as a JSON document, or as a few lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stageflow.cli.failures import describe
from stageflow.cli.story import RunStory
from stageflow.cli.text import (
    STATUS_STYLES,
    Terminal,
    cut,
    one_line,
    padded,
    plural,
    short_json,
    span,
    width,
)
from stageflow.errors import StageflowError
from stageflow.runtime import RunOutcome

__all__ = ("NO_RESULT", "result_document", "tell_result")

NO_RESULT: Final[dict[str, Any]] = {
    "run_id": None,
    "pipeline_name": None,
    "stages": {},
    "outputs": {},
}
"""What the document of a run that could not begin holds, beside its errors."""
_MOST_OUTPUTS: Final = 12
_MOST_FAILURES: Final = 10


def result_document(
    outcome: RunOutcome,
    story: RunStory,
    errors: Sequence[StageflowError],
    *,
    recorded_in: str | None,
) -> dict[str, Any]:
    """Return the result of a run as JSON-able data, apart from what its stages gave."""
    return {
        "run_id": str(outcome.run_id),
        "pipeline_name": outcome.pipeline_name,
        "status": outcome.status,
        "duration_ms": outcome.duration_ms,
        "stage": outcome.stage,
        "reason": outcome.reason,
        "errors": [describe(error).to_dict() for error in errors],
        "recorded_in": recorded_in,
        "stages": {name: stage.to_dict() for name, stage in story.stages.items()},
        "restored": len(outcome.restored),
        "waits": outcome.to_dict()["waits"],
        "outputs": {name: output.data for name, output in outcome.outputs.items()},
    }


def tell_result(
    out: Terminal, outcome: RunOutcome, story: RunStory, last: Sequence[str], *, is_recorded: bool
) -> None:
    """Write how a run went.

    Args:
        out: Where to.
        outcome: How it went.
        story: What happened.
        last: The stages that nobody waits for: what they gave is the result, mostly.
        is_recorded: Whether `stageflow runs` knows the run.
    """
    out.line()
    head = out.paint(outcome.status, f"bold {STATUS_STYLES[outcome.status]}")
    took = f"{plural(story.total, 'stage')} in {span(outcome.duration_ms)}"
    out.line(f" {head}  {': '.join(filter(None, (took, story.ending())))}")
    if outcome.restored and len(outcome.restored) == len(outcome.outputs) == story.total:
        out.line(f"   {out.paint('note', 'dim')}  it had completed before; nothing ran again")
    if outcome.reason:
        out.line(f"   {out.paint('reason', 'dim')}  {one_line(outcome.reason)}")
    if len(story.failed) > 1:
        label = out.paint("failed", "red")
        for stage in story.failed[:_MOST_FAILURES]:
            out.line(f"   {label}  {one_line(stage.name)}: {one_line(stage.note)}")
        if len(story.failed) > _MOST_FAILURES:
            out.line(f"   … and {len(story.failed) - _MOST_FAILURES:,} more")
    short = str(outcome.run_id)[:8]
    for wait in outcome.waits[:_MOST_FAILURES]:
        label = out.paint("waits", "cyan")
        out.line(f"   {label}   for {one_line(wait.name)} (stage {one_line(wait.stage)})")
    if outcome.waits:
        name = one_line(outcome.waits[0].name)
        out.line(f"   {out.paint('answer', 'dim')}  stageflow runs signal {short} {name} VALUE")
    _tell_outputs(out, outcome, last)
    if is_recorded:
        command = f"stageflow runs show {short}"
        out.line(f"   {out.paint('record', 'dim')}  {command}")


def _tell_outputs(out: Terminal, outcome: RunOutcome, last: Sequence[str]) -> None:
    outputs = [
        (f"{one_line(name)}.{one_line(key)}", value)
        for name in last
        if outcome.results[name].status == "ok"
        for key, value in outcome.results[name].data.items()
    ]
    shown = outputs[:_MOST_OUTPUTS]
    size = max((width(label) for label, _ in shown), default=0)
    room = max(out.width - size - 5, 20) if out.is_terminal else 1000
    for label, value in shown:
        text = one_line(value) if isinstance(value, str) else short_json(value, room)
        out.line(f"   {out.paint(padded(label, size), 'cyan')}  {cut(text, room)}")
    if len(outputs) > len(shown):
        out.line(f"   … and {len(outputs) - len(shown):,} more; --json prints all")
