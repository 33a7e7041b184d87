"""Recorder: keeps the record of one run while it goes on."""

from __future__ import annotations

from typing import Any, Final

import anyio
import attrs

from stageflow._engine.announce import Listener
from stageflow._engine.errors import describe
from stageflow._engine.run import RunOptions, RunReport
from stageflow.context import PipelineContext
from stageflow.contracts.checkpoints import LeaseLostError
from stageflow.contracts.clock import Clock
from stageflow.contracts.logs import get_logger
from stageflow.contracts.run_store import (
    RunEvent,
    RunExistsError,
    RunStatus,
    RunStore,
    RunStoreCapabilities,
)
from stageflow.contracts.storage import StorageError
from stageflow.errors import RunError
from stageflow.runtime.durable import Tenure
from stageflow.runtime.outcome import Runnable

__all__ = ("Recorder", "create_record")

_log = get_logger(__name__)

_PATIENCE: Final = 0.2
"""Seconds for which the events of a durable run wait for a commit that takes them along."""


async def create_record(
    store: Any, context: PipelineContext, pipeline: str, status: RunStatus, **facts: Any
) -> None:
    """Record that a run begins.

    Raises:
        RunExistsError: If there is a record of a run with this identity.
        StorageError: If the store fails.
    """
    await store.create_run(
        context.pipeline_run_id,
        service=context.service,
        topology=context.topology,
        execution_mode=context.execution_mode,
        status=status,
        pipeline_name=pipeline,
        **facts,
    )


class Recorder:
    """Keeps the record of one run: its status, and its events where the store can log them.

    Of a run that is not durable, a store that fails does not fail the run; what it missed is
    said once. Of a durable one, the record is as good as what is committed.

    Args:
        store: Where the record is kept.
        context: The run's.
        pipeline: The pipeline's name.
        tenure: The time in which this process owns the run; None if it is not durable.
    """

    def __init__(
        self,
        store: RunStore,
        context: PipelineContext,
        pipeline: str,
        tenure: Tenure | None = None,
    ) -> None:
        assert context.pipeline_run_id is not None
        self._store: Any = store
        self._context = context
        self._run_id = context.pipeline_run_id
        self._pipeline = pipeline
        self._tenure = tenure
        self._logs_events = RunStoreCapabilities.of(store).event_log
        self._events: list[RunEvent] = []
        self._news = anyio.Event()
        self._over = anyio.Event()
        self._lost = 0

    async def record(self, graph: Runnable, options: RunOptions) -> RunReport:
        """Run *graph* and keep its record meanwhile.

        Raises:
            RunExistsError: If there is a record of a run with this identity.
            StorageError: If a durable run cannot be kept any longer.
            LeaseLostError: If a durable run has another owner now.
        """
        context, tenure = self._context, self._tenure
        if tenure is None and not await self._create():
            return await graph.execute(context, options)
        if self._logs_events:
            listeners = (*options.listeners, self._note(options.clock))
            options = attrs.evolve(options, listeners=listeners)
        report: RunReport | None = None
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks, anyio.create_task_group() as attendants:
            if self._logs_events:
                tasks.start_soon(self._write, options.clock)
            if tenure is not None:
                attendants.start_soon(tenure.keep, context.mark_canceled)
                attendants.start_soon(tenure.waits.watch)
            try:
                report = await graph.execute(context, options)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # noqa: BLE001 - the group would wrap it
                error = raised
            finally:
                attendants.cancel_scope.cancel()
                self._over.set()
                self._news.set()
                with anyio.CancelScope(shield=True):
                    failure = await self._end(report, error)
                error = error or failure
        if error is not None:
            raise error
        assert report is not None
        return report

    async def _create(self) -> bool:
        try:
            await create_record(self._store, self._context, self._pipeline, RunStatus.RUNNING)
        except RunExistsError:
            raise
        except Exception as error:  # noqa: BLE001 - keeping a record never fails a run
            _log.exception("run.not_recorded", run_id=str(self._run_id), error=str(error))
            return False
        return True

    def _note(self, clock: Clock) -> Listener:
        def note(type: str, data: dict[str, Any]) -> None:
            event = RunEvent(type=type, data=data, at=clock.now())
            if self._tenure is None:
                self._events.append(event)
            else:
                self._tenure.note(event)
            self._news.set()

        return note

    async def _write(self, clock: Clock) -> None:
        # Shielded, so that the last events of a cancelled run are written, too.
        with anyio.CancelScope(shield=True):
            while True:
                await self._news.wait()
                if self._tenure is not None and not self._over.is_set():
                    await self._wait_for_commit(clock)
                self._news = anyio.Event()
                if self._tenure is None:
                    events, self._events = self._events, []
                else:
                    if self._over.is_set():
                        return  # the last commit takes the rest along
                    await self._log(self._tenure)
                    continue
                if events:
                    await self._try("append_events", len(events), self._run_id, events)
                elif self._over.is_set():
                    return
                if self._over.is_set():
                    self._news.set()

    async def _log(self, tenure: Tenure) -> None:
        """Log what no commit took along; whoever lost the run logs nothing more."""
        try:
            await tenure.ledger.log()
        except LeaseLostError as error:
            tenure.ledger.lose(error)
        except RunError as error:
            # Whoever keeps the run's progress finds out whether that is for good.
            _log.warning("run.events_not_logged", run_id=str(self._run_id), error=str(error))

    async def _wait_for_commit(self, clock: Clock) -> None:
        """Return after a while, in which a commit may take the events along, or at the end."""
        async with anyio.create_task_group() as tasks:

            async def nap() -> None:
                await clock.sleep(_PATIENCE)
                tasks.cancel_scope.cancel()

            tasks.start_soon(nap)
            await self._over.wait()
            tasks.cancel_scope.cancel()

    async def _end(
        self, report: RunReport | None, raised: BaseException | None
    ) -> BaseException | None:
        """Record how the run ended; return why that could not be, if it matters."""
        status = "cancelled" if report is None else report.status
        facts: dict[str, Any] = {}
        if raised is not None:
            status = "failed"
            facts["error"] = f"{type(raised).__name__}: {raised}"
        if report is not None:
            facts["duration_ms"] = report.duration_ms
            if report.error is not None:
                facts["error"] = describe(report.error)
            if report.stage is not None:
                facts["stage"] = report.stage
            if report.reason is not None:
                facts["reason"] = report.reason
        if self._tenure is None:
            await self._try("update_status", 0, self._run_id, status, **facts)
            return None
        return await self._end_durably(self._tenure, RunStatus(status), facts, raised)

    async def _end_durably(
        self,
        tenure: Tenure,
        status: RunStatus,
        facts: dict[str, Any],
        raised: BaseException | None,
    ) -> BaseException | None:
        if isinstance(raised, LeaseLostError | StorageError):
            return None  # what could not be kept is for the next owner to find out
        if status is RunStatus.WAITING:
            # It was left with its last commit, and may be somebody else's by now; only what was
            # told since is missing.
            tenure.is_over = True
            events = tenure.take_events()
            await self._try("append_events", len(events), self._run_id, events)
            return None
        tenure.ledger.note_end(succeeded=status is RunStatus.COMPLETED)
        try:
            await tenure.ledger.commit(status=status, facts=facts)
        except RunError as error:
            return error
        tenure.is_over = True
        return None

    async def _try(self, method: str, events: int, *args: Any, **kwargs: Any) -> None:
        try:
            await getattr(self._store, method)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - keeping a record never fails a run
            self._lost += events
            _log.exception(
                "run.record_failed",
                run_id=str(self._run_id),
                method=method,
                events_lost=self._lost,
                error=str(error),
            )
