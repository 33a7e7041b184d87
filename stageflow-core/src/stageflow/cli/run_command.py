"""`stageflow run`: make a pipeline, run it, show how it goes and what came out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TextIO

import anyio
import attrs

from stageflow.cli.failures import describe, tell
from stageflow.cli.inputs import GivenInputs
from stageflow.cli.interrupts import Interrupts
from stageflow.cli.plain_view import PlainView
from stageflow.cli.records import make_store, records_path
from stageflow.cli.session import (
    FAILED,
    REFUSED,
    leave,
    log_to_stderr,
    reporting,
    write_json,
)
from stageflow.cli.story import RunStory
from stageflow.cli.targets import Target, build_target, prepare, run_inputs
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
from stageflow.context import PipelineContext
from stageflow.errors import StageflowError
from stageflow.runtime import RunOutcome, Runtime

__all__ = ("RunRequest", "run_command")

_MOST_RESULTS: Final = 5
_MOST_FAILURES: Final = 10
_BLANK: Final = {"run_id": None, "pipeline_name": None, "stages": {}, "outputs": {}}


@attrs.frozen(kw_only=True)
class RunRequest:
    """What `stageflow run` was asked to do.

    Attributes:
        target: What to run.
        inputs: Inputs, each `NAME=VALUE`.
        input_file: A JSON object with more of them.
        json: Whether the result is one JSON document.
        record: Whether to keep a record.
        events: Whether to show every event.
        max_concurrency: How many stages may run at once.
        debug: Whether to show tracebacks and debug logs.
    """

    target: str
    inputs: tuple[str, ...] = ()
    input_file: Path | None = None
    json: bool = False
    record: bool = True
    events: bool = False
    max_concurrency: int | None = None
    debug: bool = False


def run_command(request: RunRequest) -> int:
    """Do what was asked and return the exit status.

    Raises:
        SystemExit: If the run could not begin; why has been told.
    """
    log_to_stderr("debug" if request.debug else "warning")
    with reporting(json=request.json, debug=request.debug, blank=_BLANK) as stream:
        with Interrupts(is_live=_is_live(request, stream)) as interrupts:
            target, given = prepare(request.target, request.inputs, request.input_file)
            session = _Session(request, stream, interrupts)
            anyio.run(session.run, target, given)
        status = session.conclude()
    leave(status, session.abandoned)
    return status


def _is_live(request: RunRequest, stream: TextIO) -> bool:
    shown_on = sys.stderr if request.json else stream
    return not request.events and Terminal(shown_on).is_terminal


class _Session:
    """One run from the command line, from its making to its last line."""

    def __init__(self, request: RunRequest, stream: TextIO, interrupts: Interrupts) -> None:
        self._request = request
        self._stream = stream
        self._interrupts = interrupts
        self._out = Terminal(stream)
        self._err = Terminal(sys.stderr)
        self._events: list[dict[str, Any]] = []
        self._story = RunStory()
        self._outcome: RunOutcome | None = None
        self._graph: Any = None
        self._recorded_in: Path | None = None

    @property
    def abandoned(self) -> list[str]:
        """The stages of which a busy thread was given up."""
        return [stage.name for stage in self._story.stages.values() if stage.abandoned]

    async def run(self, target: Target, given: GivenInputs) -> None:
        """Make the pipeline and run it."""
        request = self._request
        limit = request.max_concurrency
        self._graph = await build_target(target, given, max_concurrency=limit)
        inputs = run_inputs(target, self._graph, given)
        nodes = self._graph.plan.nodes
        self._story = RunStory(((node.name, node.kind.value) for node in nodes), self._graph.name)
        context = PipelineContext.for_run(
            inputs=inputs, input_text=given.input_text, topology=self._graph.name
        )
        async with Runtime(run_store=await self._store()) as runtime:
            with self._shown() as view:
                announce = None if isinstance(view, PlainView | None) else view.announce
                self._interrupts.cancel_by(context.mark_canceled, announce)
                listeners: list[Any] = [self._story.note]
                if isinstance(view, PlainView):
                    listeners.append(view.note)
                if request.json and request.events:
                    listeners.append(self._keep)
                self._outcome = await runtime.run(
                    self._graph, context=context, listeners=listeners, raise_on_error=False
                )

    async def _store(self) -> Any:
        if not self._request.record:
            return None
        path = records_path()
        store = None
        try:
            store = make_store(path)
            await store.open()
        except (StageflowError, OSError) as error:
            if store is not None:
                await store.aclose()
            why = error.message if isinstance(error, StageflowError) else str(error)
            self._err.line(self._err.paint(f"This run is not recorded: {one_line(why)}", "yellow"))
            return None
        self._recorded_in = path
        return store

    @contextmanager
    def _shown(self) -> Iterator[Any]:
        request = self._request
        if _is_live(request, self._stream):
            from stageflow.cli.live_view import LiveView

            stream = sys.stderr if request.json else self._stream
            both = sys.stdout.isatty() and sys.stderr.isatty()
            with LiveView(self._story, stream, redirect=both) as view:
                yield view
        else:
            with nullcontext(None if request.json else PlainView(self._out)) as plain:
                yield plain

    def _keep(self, type: str, data: Mapping[str, Any]) -> None:
        self._events.append({"type": type, "data": data})

    # --- the end ----------------------------------------------------------------------------

    def conclude(self) -> int:
        """Tell how the run went and return the exit status."""
        outcome = self._outcome
        if outcome is None:
            return REFUSED
        error = _error_of(outcome)
        if self._request.json:
            write_json(self._stream, self._document(outcome, error))
        else:
            self._tell_result(outcome)
        if error is not None:
            tell(self._err, [error], debug=self._request.debug)
            return FAILED
        if outcome.status == "cancelled" and self._interrupts.signal is not None:
            return self._interrupts.status
        return 0

    def _document(self, outcome: RunOutcome, error: StageflowError | None) -> dict[str, Any]:
        known = outcome.to_dict()
        stages = {
            name: {**stage.to_dict(), "error": outcome.results[name].error}
            for name, stage in self._story.stages.items()
            if name in outcome.results
        }
        document = {
            "run_id": known["run_id"],
            "pipeline_name": known["pipeline_name"],
            "status": known["status"],
            "duration_ms": known["duration_ms"],
            "stage": known["stage"],
            "reason": known["reason"],
            "errors": [] if error is None else [describe(error).to_dict()],
            "recorded_in": self._recorded_in and str(self._recorded_in),
            "stages": stages,
            "outputs": {name: output.data for name, output in outcome.outputs.items()},
        }
        return {**document, "events": self._events} if self._request.events else document

    def _tell_result(self, outcome: RunOutcome) -> None:
        out, story = self._out, self._story
        out.line()
        head = out.paint(outcome.status, f"bold {STATUS_STYLES[outcome.status]}")
        took = f"{plural(story.total, 'stage')} in {span(outcome.duration_ms)}: {story.ending()}"
        out.line(f" {head}  {took}")
        if outcome.reason:
            out.line(f"   {out.paint('reason', 'dim')}  {one_line(outcome.reason)}")
        if len(story.failed) > 1:
            for stage in story.failed[:_MOST_FAILURES]:
                out.line(f"   {out.paint('failed', 'red')}  {one_line(stage.name)}: {one_line(stage.note)}")
            if len(story.failed) > _MOST_FAILURES:
                out.line(f"   … and {plural(len(story.failed) - _MOST_FAILURES, 'more')}")
        self._tell_outputs(outcome)
        if self._recorded_in is not None:
            told = f"stageflow runs show {str(outcome.run_id)[:8]}"
            out.line(f"   {out.paint('record', 'dim')}  {told}")

    def _tell_outputs(self, outcome: RunOutcome) -> None:
        """Show what the last stages gave: the pipeline's result, mostly."""
        plan, out = self._graph.plan, self._out
        leaves = [name for name, next in zip(plan.names, plan.successors, strict=True) if not next]
        results = outcome.results
        given = [name for name in leaves if results[name].status == "ok" and results[name].data]
        shown = [
            (f"{one_line(name)}.{one_line(key)}", value)
            for name in given[:_MOST_RESULTS]
            for key, value in list(results[name].data.items())[:_MOST_RESULTS]
        ]
        size = max((width(label) for label, _ in shown), default=0)
        room = max(out.width - size - 5, 20) if out.is_terminal else 1000
        for label, value in shown:
            text = one_line(value) if isinstance(value, str) else short_json(value, room)
            out.line(f"   {out.paint(padded(label, size), 'cyan')}  {cut(text, room)}")


def _error_of(outcome: RunOutcome) -> StageflowError | None:
    if outcome.status != "failed":
        return None
    try:
        outcome.raise_for_status()
    except StageflowError as error:
        return error
    return None
