"""`stageflow run`: make a pipeline, run it, show how it goes and what came out."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TextIO

import anyio
import attrs

from stageflow.cli.errors import StageExitError
from stageflow.cli.failures import tell
from stageflow.cli.inputs import GivenInputs
from stageflow.cli.interrupts import Interrupts
from stageflow.cli.making import build_target, prepare, run_inputs
from stageflow.cli.places import place_of
from stageflow.cli.plain_view import PlainView
from stageflow.cli.records import Records, records_of
from stageflow.cli.results import NO_RESULT, result_document, tell_result
from stageflow.cli.session import (
    FAILED,
    leave,
    log_to_stderr,
    reporting,
    write_json,
)
from stageflow.cli.story import RunStory
from stageflow.cli.targets import Target
from stageflow.cli.text import Terminal, one_line
from stageflow.context import PipelineContext
from stageflow.contracts.run_store import RunStore
from stageflow.errors import StageflowError
from stageflow.plugins import Plugins
from stageflow.plugins.implementation import opened
from stageflow.runtime import RunOutcome, Runtime

__all__ = ("RunRequest", "run_command")


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
    with reporting(json=request.json, debug=request.debug, blank=NO_RESULT) as stream:
        with Interrupts(live_on=_live_stream(request, stream)) as interrupts:
            plugins = Plugins.load()
            log_to_stderr("debug" if request.debug else plugins.settings.log_level)
            target, given = prepare(request.target, request.inputs, request.input_file)
            session = _Session(request, records_of(plugins), stream, interrupts)
            anyio.run(session.run, target, given)
        status = session.conclude()
    leave(status, session.abandoned)
    return status


def _live_stream(request: RunRequest, stream: TextIO) -> TextIO | None:
    """Return the terminal for a live view, if one is wanted and somebody would see it."""
    shown_on = sys.stderr if request.json else stream
    return shown_on if Terminal(shown_on).is_terminal and not request.events else None


class _Session:
    """One run from the command line, from its making to its last line."""

    def __init__(
        self, request: RunRequest, records: Records, stream: TextIO, interrupts: Interrupts
    ) -> None:
        self._request = request
        self._records = records
        self._stream = stream
        self._interrupts = interrupts
        self._out = Terminal(stream)
        self._err = Terminal(sys.stderr)
        self._events: list[dict[str, Any]] = []
        self._story = RunStory()
        self._outcome: RunOutcome | None = None
        self._graph: Any = None
        self._exit: StageExitError | None = None
        self._is_recorded = False

    @property
    def abandoned(self) -> list[str]:
        """The stages of which a busy thread was given up."""
        return [stage.name for stage in self._story.stages.values() if stage.abandoned]

    async def run(self, target: Target, given: GivenInputs) -> None:
        """Make the pipeline and run it."""
        request = self._request
        limit = request.max_concurrency
        with self._preparing(target):
            self._graph = await build_target(target, given, max_concurrency=limit)
        inputs = run_inputs(target, self._graph, given)
        nodes = self._graph.plan.nodes
        self._story = RunStory(((node.name, node.kind.value) for node in nodes), self._graph.name)
        context = PipelineContext.for_run(
            inputs=inputs, input_text=given.input_text, topology=self._graph.name
        )
        async with self._runtime() as runtime:
            with self._shown() as view:
                announce = None if isinstance(view, PlainView | None) else view.announce
                self._interrupts.cancel_by(context.mark_canceled, announce)
                listeners: list[Any] = [self._story.note]
                if isinstance(view, PlainView):
                    listeners.append(view.note)
                if request.json and request.events:
                    listeners.append(self._keep)
                try:
                    with _telling_of_exits():
                        self._outcome = await runtime.run(
                            self._graph, context=context, listeners=listeners, raise_on_error=False
                        )
                except StageExitError as error:
                    self._exit = error
                    self._outcome = self._outcome_of_exit(context, error)

    def _outcome_of_exit(self, context: PipelineContext, error: StageExitError) -> RunOutcome:
        """Return how a run went that a stage tore down, as far as its events tell."""
        assert context.pipeline_run_id is not None
        failed = self._story.failed
        return RunOutcome(
            run_id=context.pipeline_run_id,
            pipeline_name=self._graph.name,
            status="failed",
            outputs={},
            results={},
            stage=failed[0].name if failed else None,
            error=error,
            reason=None,
            duration_ms=self._story.duration_ms or 0.0,
        )

    @asynccontextmanager
    async def _runtime(self) -> AsyncIterator[Runtime]:
        """Give the runtime that the settings describe, with the store of the project."""
        async with AsyncExitStack() as stack:
            store = await self._store(stack)
            self._is_recorded = store is not None
            runtime = Runtime(run_store=store, plugins=self._records.plugins)
            yield await stack.enter_async_context(runtime)

    async def _store(self, stack: AsyncExitStack) -> RunStore | None:
        """Return the open store that keeps the run's record, or None if it is not recorded."""
        if not self._request.record or self._records.name is None:
            return None
        try:
            store: RunStore = await stack.enter_async_context(self._records.store())
            # One that was chosen is opened with everything else; failing then is right.
            if self._records.is_chosen:
                return store
            return await stack.enter_async_context(opened(store))
        except (StageflowError, OSError) as error:
            if self._records.is_chosen:
                raise
            # Where nobody asked for a record, its lack stops nobody.
            why = error.message if isinstance(error, StageflowError) else str(error)
            told = f"This run is not recorded: {one_line(why)}"
            self._err.line(self._err.paint(told, "yellow"))
            return None

    @contextmanager
    def _shown(self) -> Iterator[Any]:
        live_on = _live_stream(self._request, self._stream)
        if live_on is not None:
            from stageflow.cli.live_view import LiveView

            both = sys.stdout.isatty() and sys.stderr.isatty()
            with LiveView(self._story, live_on, redirect=both) as view:
                yield view
        else:
            yield None if self._request.json else PlainView(self._out)

    @contextmanager
    def _preparing(self, target: Target) -> Iterator[None]:
        """Show that something goes on while a function makes the pipeline, which may take long."""
        live_on = _live_stream(self._request, self._stream)
        if live_on is None or not target.is_function:
            yield
            return
        from rich.console import Console
        from rich.markup import escape

        with Console(file=live_on).status(f"[dim]{escape(target.text)} prepares the run[/]"):
            yield

    def _keep(self, type: str, data: Mapping[str, Any]) -> None:
        self._events.append({"type": type, "data": data})

    # --- the end ----------------------------------------------------------------------------

    def conclude(self) -> int:
        """Tell how the run went and return the exit status."""
        outcome = self._outcome
        assert outcome is not None
        error = self._exit or _error_of(outcome)
        if self._request.json:
            place = self._records.place if self._is_recorded else None
            document = result_document(outcome, self._story, error, recorded_in=place)
            if self._request.events:
                document["events"] = self._events
            write_json(self._stream, document)
        else:
            # A store in memory ends with this process.
            is_kept = self._is_recorded and self._records.name != "memory"
            plan = self._graph.plan
            pairs = zip(plan.names, plan.successors, strict=True)
            last = [name for name, followers in pairs if not followers and name in outcome.results]
            tell_result(self._out, outcome, self._story, last, is_recorded=is_kept)
        if error is not None:
            if self._out.is_terminal and self._err.is_terminal:
                self._err.line()
            tell(self._err, [error], debug=self._request.debug)
            return FAILED
        if outcome.status == "cancelled" and self._interrupts.signal is not None:
            return self._interrupts.status
        return 0


@contextmanager
def _telling_of_exits() -> Iterator[None]:
    """Turn a stage's wish to end the whole process into an error that names the line."""
    try:
        yield
    except (SystemExit, BaseExceptionGroup) as error:
        leaf: BaseException = error
        while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
            leaf = leaf.exceptions[0]
        if not isinstance(leaf, SystemExit):
            raise
        raise StageExitError(
            f"A stage asked for the end of the whole process: SystemExit({leaf.code!r}).",
            hint="Let the stage raise an error, or return StageOutput.fail(…) or .cancel(…).",
            where=place_of(leaf),
        ) from leaf


def _error_of(outcome: RunOutcome) -> StageflowError | None:
    if outcome.status != "failed":
        return None
    try:
        outcome.raise_for_status()
    except StageflowError as error:
        return error
    return None
