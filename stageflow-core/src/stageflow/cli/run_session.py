"""What `stageflow run` and `stageflow runs resume` share: a run, watched until its last line."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, Protocol, TextIO
from uuid import UUID

from stageflow._engine.errors import StageFailedError, UnifiedStageExecutionError
from stageflow._engine.plan import Plan
from stageflow._engine.run import RunOptions, RunReport
from stageflow.cli.errors import StageExitError
from stageflow.cli.failures import tell
from stageflow.cli.interrupts import Interrupts
from stageflow.cli.places import place_of
from stageflow.cli.plain_view import PlainView
from stageflow.cli.records import Records
from stageflow.cli.results import result_document, tell_result
from stageflow.cli.session import FAILED, write_json
from stageflow.cli.story import RunStory
from stageflow.cli.text import Terminal, one_line
from stageflow.context import PipelineContext
from stageflow.contracts.run_store import RunStore
from stageflow.errors import StageflowError
from stageflow.plugins.implementation import opened
from stageflow.runtime import RunOutcome, Runtime
from stageflow.stages import StageStatus

__all__ = ("Shown", "WatchedRun", "failure_of", "live_stream")

_MOST_FAILURES: Final = 10


class Shown(Protocol):
    """How a run is to be shown."""

    @property
    def json(self) -> bool:
        """Whether the result is one JSON document."""
        ...

    @property
    def events(self) -> bool:
        """Whether to show every event."""
        ...

    @property
    def record(self) -> bool:
        """Whether to keep a record."""
        ...

    @property
    def debug(self) -> bool:
        """Whether to show tracebacks."""
        ...


def live_stream(shown: Shown, stream: TextIO) -> TextIO | None:
    """Return the terminal for a live view, if one is wanted and somebody would see it."""
    on = sys.stderr if shown.json else stream
    return on if Terminal(on).is_terminal and not shown.events else None


class WatchedRun:
    """One run from the command line, from its beginning or resumption to its last line.

    Args:
        shown: How it is to be shown.
        records: Where it is recorded.
        stream: Where the result goes.
        interrupts: Takes Ctrl-C.
    """

    def __init__(
        self, shown: Shown, records: Records, stream: TextIO, interrupts: Interrupts
    ) -> None:
        self._shown_as = shown
        self._records = records
        self._stream = stream
        self._interrupts = interrupts
        self._out = Terminal(stream)
        self._err = Terminal(sys.stderr)
        self._events: list[dict[str, Any]] = []
        self._outcome: RunOutcome | None = None
        self._exit: StageExitError | None = None
        self._is_recorded = False
        self.graph: Any = None
        self.reported: _Reported | None = None
        self.story = RunStory()

    @property
    def outcome(self) -> RunOutcome | None:
        """How it went; None until then."""
        return self._outcome

    @property
    def abandoned(self) -> list[str]:
        """The stages of which a busy thread was given up."""
        return [stage.name for stage in self.story.stages.values() if stage.abandoned]

    def begin_story(self, graph: Any) -> None:
        """Tell the story of *graph* from now on."""
        self.graph = graph
        self.reported = _Reported(graph)
        nodes = graph.plan.nodes
        self.story = RunStory(((node.name, node.kind.value) for node in nodes), graph.name)

    async def watch(
        self,
        run_id: UUID,
        cancel: Callable[[str], object],
        go: Callable[[list[Any]], Awaitable[RunOutcome]],
    ) -> None:
        """Show how the run goes that *go*, given listeners, carries out.

        Args:
            run_id: The run.
            cancel: Cancels it, told why.
            go: Carries it out.
        """
        with self._shown() as view:
            announce = None if isinstance(view, PlainView | None) else view.announce
            self._interrupts.cancel_by(cancel, announce)
            listeners: list[Any] = [self.story.note]
            if isinstance(view, PlainView):
                listeners.append(view.note)
            if self._shown_as.json and self._shown_as.events:
                listeners.append(self._keep)
            try:
                with _telling_of_exits():
                    self._outcome = await go(listeners)
            except StageExitError as error:
                self._exit = error
                self._outcome = self._outcome_of_exit(run_id, error)

    def _outcome_of_exit(self, run_id: UUID, error: StageExitError) -> RunOutcome:
        """Return how a run went that a stage tore down, as far as its events tell."""
        failed = self.story.failed
        return RunOutcome(
            run_id=run_id,
            pipeline_name=self.graph.name,
            status="failed",
            outputs={},
            results={},
            stage=failed[0].name if failed else None,
            error=error,
            reason=None,
            duration_ms=self.story.duration_ms or 0.0,
        )

    @asynccontextmanager
    async def runtime(self, **options: Any) -> AsyncIterator[Runtime]:
        """Give the runtime that the settings describe, with the store of the project."""
        async with AsyncExitStack() as stack:
            store = await self._store(stack)
            self._is_recorded = store is not None
            runtime = Runtime(run_store=store, plugins=self._records.plugins, **options)
            yield await stack.enter_async_context(runtime)

    async def _store(self, stack: AsyncExitStack) -> RunStore | None:
        """Return the open store that keeps the run's record, or None if it is not recorded."""
        if not self._shown_as.record or self._records.name is None:
            return None
        try:
            store: RunStore = await stack.enter_async_context(self._records.store())
            # One that was chosen is opened with everything else; failing then is right.
            if self._records.is_chosen:
                return store
            return await stack.enter_async_context(opened(store))
        except (StageflowError, OSError) as error:
            if self._records.is_chosen or self.needs_store:
                raise
            # Where nobody asked for a record, its lack stops nobody.
            why = error.message if isinstance(error, StageflowError) else str(error)
            told = f"This run is not recorded: {one_line(why)}"
            self._err.line(self._err.paint(told, "yellow"))
            return None

    @property
    def needs_store(self) -> bool:
        """Whether the run cannot do without its record."""
        return False

    @contextmanager
    def _shown(self) -> Iterator[Any]:
        live_on = live_stream(self._shown_as, self._stream)
        if live_on is not None:
            from stageflow.cli.live_view import LiveView

            both = sys.stdout.isatty() and sys.stderr.isatty()
            with LiveView(self.story, live_on, redirect=both) as view:
                yield view
        else:
            yield None if self._shown_as.json else PlainView(self._out)

    def _keep(self, type: str, data: Mapping[str, Any]) -> None:
        self._events.append({"type": type, "data": data})

    def _errors(self) -> list[StageflowError]:
        """Return what is to be told of a run that failed."""
        assert self._outcome is not None
        if self._exit is not None:
            return [self._exit]
        first = failure_of(self._outcome)
        if first is None:
            return []
        found = [] if self.reported is None else self.reported.failures()
        return found or [first]

    # --- the end ----------------------------------------------------------------------------

    def conclude(self) -> int:
        """Tell how the run went and return the exit status."""
        outcome = self._outcome
        assert outcome is not None
        errors = self._errors()
        if self._shown_as.json:
            place = self._records.place if self._is_recorded else None
            document = result_document(outcome, self.story, errors, recorded_in=place)
            if self._shown_as.events:
                document["events"] = self._events
            write_json(self._stream, document)
        else:
            # A store in memory ends with this process.
            is_kept = self._is_recorded and self._records.name != "memory"
            last = _last_stages(self.graph.plan, outcome.results)
            tell_result(self._out, outcome, self.story, last, is_recorded=is_kept)
        if errors:
            if self._out.is_terminal and self._err.is_terminal:
                self._err.line()
            tell(self._err, errors[:_MOST_FAILURES], debug=self._shown_as.debug)
            if len(errors) > _MOST_FAILURES:
                self._err.line(f"… and {len(errors) - _MOST_FAILURES:,} more; --json prints all")
            return FAILED
        if outcome.status == "cancelled" and self._interrupts.signal is not None:
            return self._interrupts.status
        return 0


class _Reported:
    """A graph that remembers what was raised in its last run, of every stage that failed."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.report: RunReport | None = None
        self.name: str = graph.name
        self.options: RunOptions = graph.options
        self.plan: Plan = graph.plan

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Return if a run can start with the inputs *given*; raise if it cannot."""
        self._graph.check_inputs(given)

    async def execute(self, ctx: PipelineContext, options: RunOptions | None = None) -> RunReport:
        """Run it and report how it went."""
        self.report = await self._graph.execute(ctx, options)
        return self.report

    def failures(self) -> list[StageflowError]:
        """Return an error for each stage that failed, in the order of their ends."""
        if self.report is None:
            return []
        run, outputs = self.report._run, self.report.outputs
        failed = [name for name, output in outputs.items() if output.status is StageStatus.FAIL]
        failed.sort(key=lambda name: run.ends[self.plan.index[name]])
        found: list[StageflowError] = []
        for name in failed:
            raised = run.errors.get(self.plan.index[name])
            raised = raised or StageFailedError(name, outputs[name].error or "Unknown error")
            error = UnifiedStageExecutionError(name, raised, outputs)
            error.__cause__ = raised
            found.append(error)
        return found


def _last_stages(plan: Any, results: Iterable[str]) -> list[str]:
    known = set(results)
    pairs = zip(plan.names, plan.successors, strict=True)
    return [name for name, followers in pairs if not followers and name in known]


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


def failure_of(outcome: RunOutcome) -> StageflowError | None:
    """Return the error of a run that failed, which names the stage; None if it did not."""
    if outcome.status != "failed":
        return None
    try:
        outcome.raise_for_status()
    except StageflowError as error:
        return error
    return None
