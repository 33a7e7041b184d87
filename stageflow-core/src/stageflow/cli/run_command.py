"""`stageflow run`: make a pipeline, run it, show how it goes and what came out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import anyio
import attrs

from stageflow.cli.errors import DurableRunError
from stageflow.cli.inputs import GivenInputs
from stageflow.cli.interrupts import Interrupts
from stageflow.cli.making import build_target, prepare, run_inputs
from stageflow.cli.origin import origin_of
from stageflow.cli.records import Records, records_of
from stageflow.cli.results import NO_RESULT
from stageflow.cli.run_session import WatchedRun, live_stream
from stageflow.cli.session import leave, log_to_stderr, reporting
from stageflow.cli.targets import Target
from stageflow.context import PipelineContext
from stageflow.plugins import Plugins
from stageflow.runtime import Durability, RunOutcome

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
        durability: What is kept of the run, and when; what the settings say unless given.
        detach: Whether to end when all the run can do is to wait for signals.
        debug: Whether to show tracebacks and debug logs.
    """

    target: str
    inputs: tuple[str, ...] = ()
    input_file: Path | None = None
    json: bool = False
    record: bool = True
    events: bool = False
    max_concurrency: int | None = None
    durability: Durability | None = None
    detach: bool = False
    debug: bool = False


def run_command(request: RunRequest) -> int:
    """Do what was asked and return the exit status.

    Raises:
        SystemExit: If the run could not begin; why has been told.
    """
    with reporting(json=request.json, debug=request.debug, blank=NO_RESULT) as stream:
        with Interrupts(live_on=live_stream(request, stream)) as interrupts:
            plugins = Plugins.load()
            log_to_stderr("debug" if request.debug else plugins.settings.log_level)
            target, given = prepare(request.target, request.inputs, request.input_file)
            session = _NewRun(request, records_of(plugins), stream, interrupts)
            anyio.run(session.run, target, given)
        status = session.conclude()
    leave(status, session.abandoned)
    return status


class _NewRun(WatchedRun):
    """A run that begins."""

    def __init__(
        self, request: RunRequest, records: Records, stream: TextIO, interrupts: Interrupts
    ) -> None:
        super().__init__(request, records, stream, interrupts)
        self._request = request
        self._live_on = live_stream(request, stream)
        self._durability = _durability_of(request, records)

    @property
    def needs_store(self) -> bool:
        """Whether the run cannot do without its record."""
        return self._request.detach or self._durability != "none"

    async def run(self, target: Target, given: GivenInputs) -> None:
        """Make the pipeline and run it."""
        request = self._request
        limit = request.max_concurrency
        with self._preparing(target):
            graph = await build_target(target, given, max_concurrency=limit)
        inputs = run_inputs(target, graph, given)
        self.begin_story(graph)
        context = PipelineContext.for_run(
            inputs=inputs, input_text=given.input_text, topology=graph.name
        )
        assert context.pipeline_run_id is not None
        async with self.runtime() as runtime:

            async def go(listeners: list[Any]) -> RunOutcome:
                assert self.reported is not None
                return await runtime.run(
                    self.reported,
                    context=context,
                    durability=self._durability,
                    park=request.detach,
                    origin=origin_of(target, given, max_concurrency=limit),
                    listeners=listeners,
                    raise_on_error=False,
                )

            await self.watch(context.pipeline_run_id, context.mark_canceled, go)

    @contextmanager
    def _preparing(self, target: Target) -> Iterator[None]:
        """Show that something goes on while a function makes the pipeline, which may take long."""
        if self._live_on is None or not target.is_function:
            yield
            return
        from rich.console import Console
        from rich.markup import escape

        with Console(file=self._live_on).status(f"[dim]{escape(target.text)} prepares the run[/]"):
            yield


def _durability_of(request: RunRequest, records: Records) -> Durability:
    """Return how durable the run is: as was asked for, or else as the settings say.

    Raises:
        DurableRunError: If nothing is recorded in which it could be kept.
    """
    wanted = request.durability
    if wanted is None:
        # Who wants no record of this run wants nothing else kept of it, either.
        wanted = records.plugins.settings.durability if request.record else "none"
    if wanted == "none" and not request.detach:
        return wanted
    what = "--detach" if request.detach else f"durability {wanted!r}"
    if not request.record:
        raise DurableRunError(
            f"{what} needs a record, and --no-record keeps none.",
            hint="Leave one of the two out.",
        )
    if records.name is None:
        raise DurableRunError(
            f"{what} needs a record, and the settings say `record = false`.",
            hint="Remove that line, or choose --durability none.",
        )
    return wanted
