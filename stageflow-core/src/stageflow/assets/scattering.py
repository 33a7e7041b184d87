"""Scattering: the items of one scatter are read, worked on, and recorded, side by side.

One task reads pages of items and inserts them into the barrier, each with the reader's
checkpoint, in one transaction. Workers take items from the newest page; a page more waits, so
that there is always work and never much in memory. Outcomes are recorded many at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from stageflow._engine.deadlines import TimeLimit
from stageflow._engine.errors import describe
from stageflow.assets.barriers import SOUND, Barrier
from stageflow.assets.batching import Former
from stageflow.assets.fanout_errors import ItemTimeoutError, ScatterFailedError
from stageflow.assets.item_calls import Worker, results_of
from stageflow.codec import CodecError
from stageflow.contracts.executor import TargetError, UnsendableCallError, UnsendableResultError
from stageflow.contracts.item_reader import ItemReader, ItemReaderCapabilities
from stageflow.contracts.scatter_coordinator import (
    BarrierState,
    BarrierStatus,
    ScatterCoordinator,
)
from stageflow.contracts.scatter_keys import ScatterKey

if TYPE_CHECKING:
    from stageflow.assets.scatter_asset import Scatter
    from stageflow.assets.services import AssetServices

__all__ = ("Scattering",)

_WORKER: Final = "scatter"
# Only one run at a time has the barrier: claims here only say what was handed out already.
_FOR_LONG: Final = 30 * 86400.0
_PATIENCE: Final = 1.0
_TURN_SECONDS: Final = 0.005
_TURN_UNITS: Final = 100
_MOST_ERRORS: Final = 10
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 30.0
_NEVER_AGAIN: Final = (UnsendableCallError, UnsendableResultError, TargetError)


class Scattering:
    """The work on one barrier.

    Args:
        spec: How items are worked on.
        asset: The asset.
        barrier: Its barrier.
        reader: Gives the items.
        deps: What the reader is given: data of assets, by name.
        worker: Works on one item, or on a batch.
        services: What the run offers.
    """

    def __init__(
        self,
        spec: Scatter,
        asset: str,
        barrier: Barrier,
        reader: ItemReader,
        deps: dict[str, Any],
        worker: Worker,
        services: AssetServices,
    ) -> None:
        self._spec = spec
        self._asset = asset
        self._barrier = barrier
        self._coordinator: ScatterCoordinator = barrier.coordinator
        self._reader = reader
        self._deps = deps
        self._worker = worker
        self._services = services
        self._clock = services.run.clock
        batch = spec.batch
        self._former = None if batch is None else Former(batch, spec.page_size)
        self._at_once = min(spec.max_concurrent, spec.page_size)
        # With what is being recorded, what waits for that and what is under way: below a page.
        self._most_unrecorded = max(1, (spec.page_size - self._at_once) // 3)
        self._fails_early = spec.fails_early
        self._units: Iterator[Any] = iter(())
        self._send, self._pages = anyio.create_memory_object_stream[Sequence[Any]](0)
        self._asking = anyio.Lock()
        self._recording = anyio.Lock()
        self._completed: list[tuple[ScatterKey, Any]] = []
        self._failed: list[tuple[ScatterKey, Any]] = []
        self._unrecorded = anyio.Event()
        self._status = barrier.state.status
        self._next_start = 0.0
        self._told_at = self._clock.monotonic()
        self._read = self._skipped = 0
        self._counts = [barrier.state.total, barrier.state.completed, barrier.state.failed]
        self.errors: list[tuple[Any, str]] = []

    @property
    def skipped_rows(self) -> int:
        """How many rows the reader passed over, because they were bad."""
        return self._skipped

    async def execute(self) -> BarrierState:
        """Work on all items and return the counts in the end.

        Raises:
            ScatterFailedError: More items failed than may.
            Exception: What the reader or the coordinator raised.
        """
        raised: list[Exception] = []
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                for part in (self._feed, self._record_late, self._work_all):
                    tasks.start_soon(self._guarded, part, raised)
        finally:
            # What is done is done, also where the run was cancelled.
            with anyio.CancelScope(shield=True):
                self._send.close()
                self._pages.close()
                if self._completed or self._failed:
                    try:
                        await self._record()
                    except Exception as error:  # noqa: BLE001 - raised below, or the first was
                        raised.append(error)
        if raised:
            raise raised[0]
        state = await self._coordinator.status(self._barrier.id)
        self._tell_progress(state)
        if state.status is not BarrierStatus.COMPLETE:
            raise ScatterFailedError(self._asset, state, self.errors)
        return state

    async def _guarded(self, part: Any, raised: list[Exception]) -> None:
        try:
            await part()
        except Exception as error:  # noqa: BLE001 - raised by `execute`; the group would wrap it
            raised.append(error)
            self._tasks.cancel_scope.cancel()

    # --- reading ----------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Hand items to the workers: first those that were left, then what the reader gives."""
        async with self._send:
            await self._feed_pending()
            if not self._barrier.state.sealed:
                await self._feed_read()
            if self._former is not None and (rest := self._former.rest()):
                await self._send.send(rest)

    async def _feed_pending(self) -> None:
        if not self._barrier.was_begun or not self._barrier.capabilities.claims:
            return
        claims: Any = self._coordinator
        await claims.release(self._barrier.id, _WORKER)
        while keys := await claims.claim(
            self._barrier.id, _WORKER, limit=self._spec.page_size, lease=_FOR_LONG
        ):
            await self._hand_out(keys)

    async def _feed_read(self) -> None:
        reader: Any = self._reader
        capabilities = ItemReaderCapabilities.of(reader)
        coordinator: Any = self._coordinator
        keeps = capabilities.checkpoint and self._barrier.capabilities.checkpoint
        state: Any = await reader.init(self._spec.reader_config, self._deps)
        newest = state
        try:
            if keeps and (at := await coordinator.checkpoint(self._barrier.id)) is not None:
                state = newest = await reader.restore(state, at)
            while state is not None:
                page = await reader.read(state, self._spec.page_size)
                state = page.state
                if state is not None:
                    newest = state
                self._read += len(page.items)
                self._skipped += page.skipped
                inserted = await coordinator.insert_results(
                    self._barrier.id,
                    page.items,
                    checkpoint=reader.checkpoint(state) if keeps and state is not None else None,
                    sealed=state is None,
                )
                self._counts[0] += len(inserted.added)
                self._note(inserted.status)
                await self._hand_out(inserted.added)
        finally:
            if capabilities.close:
                await reader.close(newest)

    async def _hand_out(self, keys: Sequence[ScatterKey]) -> None:
        units: Sequence[Any] = keys if self._former is None else self._former.add(keys)
        if units:
            await self._send.send(units)

    # --- working ----------------------------------------------------------------------------

    async def _next(self) -> Any:
        """Return the next item or batch; None if there are no more."""
        while self._status in SOUND:
            unit = next(self._units, None)
            if unit is not None:
                return unit
            async with self._asking:
                unit = next(self._units, None)
                if unit is not None:
                    return unit
                try:
                    self._units = iter(await self._pages.receive())
                except anyio.EndOfStream:
                    return None
        return None

    async def _work_all(self) -> None:
        """Have all items worked on, and all outcomes recorded."""
        raised: list[Exception] = []
        async with anyio.create_task_group() as workers:
            for _ in range(self._at_once):
                workers.start_soon(self._guarded, self._work, raised)
        if raised:
            raise raised[0]
        await self._record()
        self._tasks.cancel_scope.cancel()

    async def _work(self) -> None:
        work = self._work_on_item if self._former is None else self._work_on_batch
        limited, monotonic = self._spec.rate_limit is not None, self._clock.monotonic
        last_turn, since = monotonic(), 0
        while (unit := await self._next()) is not None:
            if limited:
                await self._wait_for_start()
            await work(unit)
            if len(self._completed) + len(self._failed) >= self._most_unrecorded:
                await self._record()
            # Items that wait for nothing would keep everybody else from running.
            since += 1
            if since >= _TURN_UNITS or monotonic() - last_turn > _TURN_SECONDS:
                await anyio.lowlevel.checkpoint()
                last_turn, since = monotonic(), 0

    async def _work_on_item(self, key: ScatterKey) -> None:
        attempt = 1
        while True:
            try:
                if self._spec.item_timeout is None:
                    result = await self._worker(key.value)
                else:
                    result = await self._within(key.value, self._spec.item_timeout)
            except Exception as error:  # noqa: BLE001 - it is the item's failure
                if not await self._is_to_try_again(attempt, error):
                    await self._fail(key, error)
                    return
                attempt += 1
            else:
                self._complete(key, result)
                return

    async def _work_on_batch(self, keys: list[ScatterKey]) -> None:
        batch = self._spec.batch
        assert batch is not None
        attempt, left = 1, keys
        while left:
            outcomes = await self._attempt_batch(left)
            errors = [each for each in outcomes if isinstance(each, Exception)]
            if errors and batch.on_item_error == "fail_batch":
                outcomes = [errors[0]] * len(left)
            again = bool(errors) and await self._is_to_try_again(attempt, errors[0])
            remaining = []
            for key, outcome in zip(left, outcomes, strict=True):
                if not isinstance(outcome, Exception):
                    self._complete(key, outcome)
                elif again:
                    remaining.append(key)
                else:
                    await self._fail(key, outcome)
            left, attempt = remaining, attempt + 1

    async def _attempt_batch(self, keys: list[ScatterKey]) -> list[Any]:
        """Return a result or an exception for each item."""
        items = [key.value for key in keys]
        try:
            if self._spec.item_timeout is None:
                returned = await self._worker(items)
            else:
                returned = await self._within(items, self._spec.item_timeout)
            return results_of(self._asset, returned, len(keys))
        except Exception as error:  # noqa: BLE001 - it is the items' failure
            return [error] * len(keys)

    async def _within(self, given: Any, timeout: float) -> Any:
        run = self._services.run
        value: Any = None
        with anyio.CancelScope() as scope:
            limit = TimeLimit(run.deadlines, scope, timeout)
            try:
                value = await self._worker(given)
            finally:
                limit.close()
        if limit.passed:
            raise ItemTimeoutError(self._asset, timeout)
        return value

    async def _is_to_try_again(self, attempt: int, error: Exception) -> bool:
        """Wait for the next attempt and return true, if there is to be one."""
        if attempt >= self._spec.max_attempts or isinstance(error, _NEVER_AGAIN):
            return False
        longest = min(_FIRST_DELAY * 2.0 ** min(attempt - 1, 20), _LONGEST_DELAY)
        await self._clock.sleep(self._services.run.random.uniform(0.0, longest))
        return True

    async def _wait_for_start(self) -> None:
        assert self._spec.rate_limit is not None
        now = self._clock.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + 1.0 / self._spec.rate_limit
        if start > now:
            await self._clock.sleep(start - now)

    # --- recording --------------------------------------------------------------------------

    def _complete(self, key: ScatterKey, result: Any) -> None:
        self._completed.append((key, result))
        if not self._unrecorded.is_set():
            self._unrecorded.set()

    async def _fail(self, key: ScatterKey, error: Exception) -> None:
        self._failed.append((key, error))
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append((key.value, describe(error)))
        self._unrecorded.set()
        if self._fails_early:
            await self._record()

    async def _record_late(self) -> None:
        """Record what has been done for a while, where items take long."""
        while True:
            await self._unrecorded.wait()
            await self._clock.sleep(_PATIENCE)
            if self._completed or self._failed:
                await self._record()

    async def _record(self) -> None:
        async with self._recording:
            completed, self._completed = self._completed, []
            failed, self._failed = self._failed, []
            self._unrecorded = anyio.Event()
            if not (completed or failed):
                return
            try:
                status = await self._coordinator.record(
                    self._barrier.id, completed=completed, failed=failed
                )
            except CodecError:
                # One of them cannot be stored; nothing of the call was kept.
                completed, failed = await self._storable(completed, failed)
                status = await self._coordinator.record(
                    self._barrier.id, completed=completed, failed=failed
                )
            except BaseException:
                self._completed, self._failed = completed + self._completed, failed + self._failed
                raise
            self._counts[1] += len(completed)
            self._counts[2] += len(failed)
            self._note(status)
        now = self._clock.monotonic()
        if now - self._told_at >= _PATIENCE:
            self._told_at = now
            self._tell_progress(None)

    async def _storable(
        self, completed: list[tuple[ScatterKey, Any]], failed: list[tuple[ScatterKey, Any]]
    ) -> tuple[list[tuple[ScatterKey, Any]], list[tuple[ScatterKey, Any]]]:
        """Return the outcomes with those that cannot be stored as failures."""
        from stageflow.codec import Codec

        sound, codec = [], Codec.default()
        for key, result in completed:
            try:
                codec.encode(result, where="result")
            except CodecError as error:
                failed = [*failed, (key, error)]
                self.errors.append((key.value, describe(error)))
            else:
                sound.append((key, result))
        return sound, failed

    def _note(self, status: BarrierStatus) -> None:
        self._status = status
        if status not in SOUND:
            self._tasks.cancel_scope.cancel()

    def _tell_progress(self, state: BarrierState | None) -> None:
        total, completed, failed = self._counts
        if state is not None:
            total, completed, failed = state.total, state.completed, state.failed
        self._services.tell(
            "asset.scatter_progress",
            barrier_id=self._barrier.id,
            total=total,
            completed=completed,
            failed=failed,
        )
