"""`stageflow runs resume | signal | recover`: go on with runs that were interrupted or wait."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO
from uuid import UUID

import anyio
import attrs

from stageflow._engine.fingerprint import PlanChangedError
from stageflow.cli.failures import describe, tell
from stageflow.cli.interrupts import Interrupts
from stageflow.cli.origin import pipeline_of
from stageflow.cli.records import Records, find_run, project_records
from stageflow.cli.results import NO_RESULT
from stageflow.cli.run_session import WatchedRun, failure_of, live_stream
from stageflow.cli.session import FAILED, leave, log_to_stderr, reporting, write_json
from stageflow.cli.text import STATUS_STYLES, Terminal, one_line, plural
from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.contracts.waits import RunWait, WaitState
from stageflow.plugins import Plugins
from stageflow.runtime import OnChange, Recovery, RunDocument, RunNotResumableError, RunOutcome

__all__ = ("ResumeRequest", "recover_command", "resume_command", "signal_command")


@attrs.frozen(kw_only=True)
class ResumeRequest:
    """What `stageflow runs resume` or `signal` was asked to do.

    Attributes:
        run: `last`, an id, or the beginning of one.
        target: Where the run's pipeline is now, if it was moved.
        on_change: What to do if the pipeline has changed.
        signal: The name and the value of a signal to give first.
        signal_id: Makes giving it idempotent.
        resumes: Whether to go on here with a run that has left memory.
        detach: Whether to end when all the run can do is to wait for signals.
        json: Whether the result is one JSON document.
        events: Whether to show every event.
        debug: Whether to show tracebacks and debug logs.
    """

    run: str
    target: str | None = None
    on_change: OnChange = "refuse"
    signal: tuple[str, Any] | None = None
    signal_id: str | None = None
    resumes: bool = True
    detach: bool = False
    json: bool = False
    events: bool = False
    debug: bool = False

    @property
    def record(self) -> bool:
        """Whether to keep a record: there is one."""
        return True


def resume_command(request: ResumeRequest) -> int:
    """Go on with a run and return the exit status.

    Raises:
        SystemExit: If it cannot go on; why has been told.
    """
    with reporting(json=request.json, debug=request.debug, blank=NO_RESULT) as stream:
        with Interrupts(live_on=live_stream(request, stream)) as interrupts:
            plugins = Plugins.load()
            log_to_stderr("debug" if request.debug else plugins.settings.log_level)
            session = _OldRun(request, project_records(plugins), stream, interrupts)
            anyio.run(session.run)
        status = session.conclude() if session.outcome is not None else session.tell_receipt()
    leave(status, session.abandoned)
    return status


def signal_command(request: ResumeRequest, value: str) -> int:
    """Give a run a signal, and go on with it if it waits without a process.

    Args:
        request: What was asked; its signal has the name.
        value: The value, as JSON if it is that, else as text.

    Raises:
        SystemExit: If it cannot be given; why has been told.
    """
    assert request.signal is not None
    try:
        parsed = json_library.loads(value)
    except ValueError:
        parsed = value
    return resume_command(attrs.evolve(request, signal=(request.signal[0], parsed)))


class _OldRun(WatchedRun):
    """A run that goes on."""

    def __init__(
        self, request: ResumeRequest, records: Records, stream: TextIO, interrupts: Interrupts
    ) -> None:
        super().__init__(request, records, stream, interrupts)
        self._request = request
        self._stream = stream
        self._told: dict[str, Any] = {}

    @property
    def needs_store(self) -> bool:
        """Whether the run cannot do without its record."""
        return True

    async def run(self) -> None:
        """Find the run and its pipeline, and go on."""
        request = self._request
        async with self.runtime() as runtime:
            store: Any = runtime.run_store
            record = await find_run(store, request.run)
            run_id = record.run_id
            if request.signal is not None:
                name, value = request.signal
                asked = {wait.name for wait in await _open_waits(store, run_id)}
                await runtime.signal(run_id, name, value, signal_id=request.signal_id, resume=False)
                record = await store.get_run(run_id)
                lease = await store.get_lease(run_id)
                self._told = {
                    "run_id": str(run_id),
                    "signal": name,
                    "status": record.status.value,
                    "was_awaited": name in asked,
                    "waits_for": sorted(asked - {name}),
                }
                goes_on_here = record.status == "waiting" and lease is None and name in asked
                if not request.resumes or not goes_on_here:
                    return
            document = await runtime.document(run_id)
            graph = await pipeline_of(document, target=request.target)
            if graph is None:
                raise _unknown(run_id)
            self.begin_story(graph)
            if RunStoreCapabilities.of(store).event_log:
                for event in await store.read_events(run_id):
                    facts = {"timestamp": event.at.isoformat(), **(event.data or {})}
                    self.story.note(event.type, facts)

            async def go(listeners: list[Any]) -> RunOutcome:
                with _in_words_of_options():
                    return await runtime.resume(
                        run_id,
                        self.reported,
                        on_change=request.on_change,
                        park=request.detach,
                        listeners=listeners,
                        raise_on_error=False,
                    )

            await self.watch(run_id, lambda reason: runtime.stop(run_id, reason), go)

    def tell_receipt(self) -> int:
        """Tell what became of a signal that set nothing going here."""
        if self._request.json:
            write_json(self._stream, self._told)
        else:
            out = Terminal(self._stream)
            run, name = self._told["run_id"][:8], one_line(self._told["signal"])
            if not self._told["was_awaited"] and self._told["waits_for"]:
                others = ", ".join(map(one_line, self._told["waits_for"]))
                out.line(f" {name} is kept for run {run}, which waits for {others}.")
            elif self._told["status"] == "waiting":
                out.line(f" {name} given to run {run}; `stageflow runs resume {run}` goes on.")
            else:
                out.line(f" {name} given to run {run}, which goes on by itself.")
        return 0


@contextmanager
def _in_words_of_options() -> Iterator[None]:
    """Tell who may go on with a changed pipeline what to say on the command line."""
    try:
        yield
    except PlanChangedError as error:
        error.hint = _PIN_OR_ADOPT
        raise


_PIN_OR_ADOPT: Final = (
    "Run the code it began with; or say --on-change pin, which keeps all that was done and runs the"
    " rest as it is now; or --on-change adopt, which does anew what changed and all after it."
)


async def _open_waits(store: Any, run_id: UUID) -> list[RunWait]:
    if not RunStoreCapabilities.of(store).waits:
        return []
    return [wait for wait in await store.list_waits(run_id) if wait.state is WaitState.OPEN]


def _unknown(run_id: object) -> RunNotResumableError:
    return RunNotResumableError(
        f"Run {run_id} was not started from the command line, and does not say where its pipeline"
        " is.",
        hint=f"Say it: `stageflow runs resume {run_id} --target TARGET`.",
    )


def recover_command(
    *, on_change: OnChange, detach: bool, limit: int | None, json: bool, debug: bool = False
) -> int:
    """Go on with every run whose process is gone, or that waited for what has come.

    Raises:
        SystemExit: If that cannot be; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        plugins = Plugins.load()
        log_to_stderr("debug" if debug else plugins.settings.log_level)
        records = project_records(plugins)
        with Interrupts() as interrupts:
            session = _Recovering(_Quiet(json=json, debug=debug), records, stream, interrupts)
            found = anyio.run(session.recover, on_change, detach, limit)
        status = _tell_recovered(found, stream, json=json, debug=debug)
    leave(status, [])
    return status


@attrs.frozen(kw_only=True)
class _Quiet:
    json: bool
    debug: bool
    events: bool = False
    record: bool = True


class _Recovering(WatchedRun):
    """Several runs that go on, one after the other."""

    @property
    def needs_store(self) -> bool:
        """Whether the runs cannot do without their record."""
        return True

    async def recover(self, on_change: OnChange, detach: bool, limit: int | None) -> list[Recovery]:
        """Go on with them and return how that went."""

        async def find(document: RunDocument) -> Any:
            return await pipeline_of(document)

        async with self.runtime(find_pipeline=find) as runtime:
            return await runtime.recover(
                on_change=on_change, park=detach, limit=limit, max_concurrency=1
            )


def _tell_recovered(found: list[Recovery], stream: TextIO, *, json: bool, debug: bool) -> int:
    failed = [each for each in found if each.error is not None]
    if json:
        runs = [
            {
                "run_id": str(each.run_id),
                "status": each.outcome.status if each.outcome is not None else None,
                "restored": len(each.outcome.restored) if each.outcome is not None else None,
                "error": _document(_error_of(each)),
            }
            for each in found
        ]
        write_json(stream, {"runs": runs})
        return FAILED if failed else 0
    out = Terminal(stream)
    if not found:
        out.line(" No run is left without a process.")
    for each in found:
        short = str(each.run_id)[:8]
        if each.outcome is None:
            # It is as it was: it has not failed, and may go on elsewhere.
            code = getattr(each.error, "code", type(each.error).__name__)
            refused = out.paint(f"{'refused':<9}", "red")
            out.line(f"   {short}  {refused}  {code}")
            continue
        status = each.outcome.status
        shown = out.paint(f"{status:<9}", STATUS_STYLES[status])
        name, kept = one_line(each.outcome.pipeline_name), len(each.outcome.restored)
        out.line(f"   {short}  {shown}  {name}  {plural(kept, 'stage')} kept")
    errors = [error for each in failed if (error := _error_of(each)) is not None]
    if errors:
        tell(Terminal(sys.stderr), errors, debug=debug)
    return FAILED if failed else 0


def _error_of(recovery: Recovery) -> BaseException | None:
    """Return what is to be told of a run that failed: with the stage, if it was one."""
    if recovery.outcome is None:
        if isinstance(recovery.error, PlanChangedError):
            recovery.error.hint = _PIN_OR_ADOPT
        return recovery.error
    return failure_of(recovery.outcome)


def _document(error: BaseException | None) -> Any:
    return None if error is None else describe(error).to_dict()
