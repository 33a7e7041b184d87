"""ApprovalService: asks whether calls may run, and waits for what somebody decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import anyio

from stageflow.contracts import Clock, SystemClock
from stageflow.contracts.logs import get_logger
from stageflow.errors import StageflowError
from stageflow.tools._limits import door_of_this_loop
from stageflow.tools._shared import Shared
from stageflow.tools.approval_log import (
    ApprovalDecision,
    ApprovalExecution,
    ApprovalLog,
    ApprovalRequest,
    ApprovalSettlement,
    ApprovalStatus,
)
from stageflow.tools.approval_logs import MemoryApprovalLog
from stageflow.tools.errors import (
    ApprovalDecisionError,
    ApprovalMismatchError,
    ApprovalNotFoundError,
    ApprovalSettledError,
    ToolApprovalTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = (
    "ApprovalDecision",
    "ApprovalExecution",
    "ApprovalRequest",
    "ApprovalService",
    "ApprovalSettlement",
    "ApprovalStatus",
    "Signal",
    "clear_approval_service",
    "get_approval_service",
    "set_approval_service",
)

_log = get_logger(__name__)
_PAGE: Final = 500
_MAX_DEPTH: Final = 100
_MAX_TEXT: Final = 10_000
# What a wait in memory and a wait in a run raise where nothing is kept of the run.
_NOT_IN_A_DURABLE_RUN: Final = frozenset({"SF300", "SF351"})

Signal = Callable[[UUID, str, str], Awaitable[object]]
"""Wakes a run: is given the run's id, the signal's name, and an id that makes it count once."""


class ApprovalService:
    """Asks whether calls may run, and gives the decision to whoever waits for it.

    A call has one request, named by its action, however often it is asked for. The first decision
    stands. Who waits in this process is woken at once by a decision made with the same service;
    one that is made elsewhere is found by looking.

    Args:
        default_timeout_seconds: How long a decision is awaited unless the caller says.
        log: Keeps requests; this process alone unless given.
        clock: Source of time.
        new_id: Source of the ids of requests.
        poll_seconds: How often a log that others may write to is looked at.
        signal: Wakes the run that waits for a decision; runs do not leave memory without.
    """

    def __init__(
        self,
        default_timeout_seconds: float = 60.0,
        *,
        log: ApprovalLog | None = None,
        clock: Clock | None = None,
        new_id: Callable[[], UUID] = uuid4,
        poll_seconds: float = 0.5,
        signal: Signal | None = None,
    ) -> None:
        self.default_timeout_seconds = default_timeout_seconds
        self._log: ApprovalLog = MemoryApprovalLog() if log is None else log
        self._clock = clock or SystemClock()
        self._new_id = new_id
        self._poll_seconds = None if log is None else poll_seconds
        self._signal = signal
        self._waiting: dict[UUID, list[Callable[[], object]]] = {}

    @property
    def log(self) -> ApprovalLog:
        """Where requests are kept."""
        return self._log

    @property
    def wakes_runs(self) -> bool:
        """Whether a run that waits for a decision may leave memory meanwhile."""
        return self._signal is not None

    # --- asking ---

    async def request_approval(
        self,
        action_id: UUID,
        tool_name: str,
        pipeline_run_id: UUID | None = None,
        approval_message: str = "",
        *,
        payload: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> ApprovalRequest:
        """Ask whether a call may run; return the request, which may have been decided before.

        Args:
            action_id: The action that wants to run; asking for it again finds the same request.
            tool_name: The tool's name.
            pipeline_run_id: The run that the action belongs to.
            approval_message: What is asked.
            payload: The arguments as they are shown to whoever decides.
            timeout_seconds: How long a decision counts, from now; as long as somebody waits
                unless given.

        Raises:
            ApprovalMismatchError: The action was asked for with another tool or other arguments.
        """
        now = self._clock.now()
        request = ApprovalRequest(
            self._new_id(),
            action_id,
            tool_name,
            pipeline_run_id,
            approval_message,
            payload=None if payload is None else _plain(payload),
            created_at=now,
            expires_at=_later(now, timeout_seconds),
        )
        standing = await self._log.add(request)
        # What was decided about is what was shown, and nothing else.
        shown = (standing.tool_name, standing.payload)
        if standing.id != request.id and shown != (tool_name, request.payload):
            raise ApprovalMismatchError(tool_name, standing.id, action_id)
        return standing

    async def await_decision(
        self, request_id: UUID, timeout_seconds: float | None = None
    ) -> ApprovalDecision:
        """Return what somebody decides.

        Args:
            request_id: The request.
            timeout_seconds: How long to wait, the service's default unless given; never longer
                than the request counts. Then the request expires.

        Raises:
            ToolApprovalTimeoutError: Nobody decided in time (a `TimeoutError` too).
            ApprovalNotFoundError: There is no such request.
        """
        seconds = self.default_timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = self._clock.monotonic() + seconds
        with self._woken(request_id) as news:
            while True:
                news.clear()
                request = await self._known(request_id)
                left = deadline - self._clock.monotonic()
                if request.expires_at is not None:
                    left = min(left, (request.expires_at - self._clock.now()).total_seconds())
                if request.is_pending and left > 0:
                    await self._sleep_until_news(news, left)
                    continue
                if request.is_pending:
                    request = await self._settle(request, ApprovalStatus.EXPIRED)
                if (decision := request.decision) is not None:
                    return decision
                raise ToolApprovalTimeoutError(request.tool_name, request_id, seconds)

    async def await_in_run(
        self, ctx: Any, request_id: UUID, timeout_seconds: float | None = None
    ) -> ApprovalDecision | None:
        """Return what somebody decides, or None if the run of *ctx* is not durable.

        A durable run that may leave memory does, and begins the stage anew when it is decided.
        The signal that wakes it only says that there is something to be read in the log.

        Raises:
            ToolApprovalTimeoutError: Nobody decided in time (a `TimeoutError` too).
            ApprovalNotFoundError: There is no such request.
        """
        wait_for = getattr(ctx, "wait_for", None)
        if wait_for is None or not self.wakes_runs:
            return None
        seconds = self.default_timeout_seconds if timeout_seconds is None else timeout_seconds
        while (request := await self._known(request_id)).is_pending:
            now = self._clock.now()
            ends = request.expires_at or _later(request.created_at, seconds) or now
            if ends <= now:
                break
            try:
                await wait_for(_signal_name(request_id), timeout=(ends - now).total_seconds())
            except TimeoutError:
                break
            except StageflowError as error:
                if error.code not in _NOT_IN_A_DURABLE_RUN:
                    raise
                return None
        return await self.await_decision(request_id, 0)

    # --- deciding ---

    async def record_decision(
        self,
        request_id: UUID,
        granted: bool,
        decided_by: str | None = None,
        reason: str | None = None,
        *,
        payload: Any = None,
    ) -> ApprovalDecision:
        """Decide a request, and wake whoever waits for it.

        Args:
            request_id: The request.
            granted: Whether the call may run.
            decided_by: Who decides.
            reason: Why, in their words.
            payload: The arguments with which it may run, if they are to be changed.

        Returns:
            The decision; making the same one again changes nothing.

        Raises:
            ApprovalDecisionError: *granted* is neither True nor False; nothing is decided.
            ApprovalSettledError: It was decided otherwise, has expired or was cancelled before.
            ApprovalNotFoundError: There is no such request.
            CodecError: *payload* cannot be stored.
        """
        if not isinstance(granted, bool):
            raise ApprovalDecisionError(request_id, granted)
        request = await self._known(request_id)
        if request.is_overdue(self._clock.now()):
            request = await self._settle(request, ApprovalStatus.EXPIRED)
        status = ApprovalStatus.APPROVED if granted else ApprovalStatus.DENIED
        if request.is_pending:
            request = await self._settle(
                request, status, decided_by=decided_by, reason=reason, payload=payload
            )
        wanted = ApprovalDecision(request_id, granted, decided_by, reason, payload=payload)
        if request.decision != wanted or request.status is not status:
            raise ApprovalSettledError(request)
        await self._tell(request)
        return wanted

    async def cancel_request(self, request_id: UUID, reason: str = "cancelled") -> bool:
        """Withdraw a request, so that its call does not run; return whether it was pending."""
        request = await self._log.get(request_id)
        if request is None or not request.is_pending:
            return False
        settled = await self._settle(request, ApprovalStatus.CANCELLED, reason=reason)
        await self._tell(settled)
        return settled.status is ApprovalStatus.CANCELLED

    async def _settle(
        self, request: ApprovalRequest, status: ApprovalStatus, **facts: Any
    ) -> ApprovalRequest:
        settlement = ApprovalSettlement(status=status, at=self._clock.now(), **facts)
        settled = await self._log.settle(request.id, settlement)
        if settled is None:
            raise ApprovalNotFoundError(request.id)
        self._wake(request.id)
        return settled

    async def _tell(self, request: ApprovalRequest) -> None:
        """Wake the run that may wait for this; the decision stands whether or not that works."""
        if self._signal is None or request.pipeline_run_id is None:
            return
        try:
            await self._signal(request.pipeline_run_id, _signal_name(request.id), str(request.id))
        except StageflowError as error:
            _log.info("approval.run_not_woken", request_id=str(request.id), error=str(error))

    # --- carrying out ---

    async def begin_execution(
        self, request_id: UUID, *, instead_of: str | None = None
    ) -> tuple[str, ApprovalRequest]:
        """Use an approval, once; return the id of the execution, and the request as it is then.

        The call may run if the request has this execution. Another one that is there has begun
        before.

        Args:
            request_id: The request.
            instead_of: An execution whose end is not known and that may be repeated.

        Raises:
            ApprovalNotFoundError: There is no such request.
        """
        execution = str(self._new_id())
        request = await self._log.begin(
            request_id, execution, at=self._clock.now(), instead_of=instead_of
        )
        if request is None:
            raise ApprovalNotFoundError(request_id)
        return execution, request

    async def finish_execution(
        self, request_id: UUID, execution_id: str, outcome: Mapping[str, Any] | None
    ) -> None:
        """Keep what an execution gave.

        Raises:
            CodecError: It cannot be stored.
        """
        await self._log.finish(request_id, execution_id, at=self._clock.now(), outcome=outcome)

    # --- looking ---

    async def get_request(self, request_id: UUID) -> ApprovalRequest | None:
        """Return a request as it is now; None if there is none."""
        return await self._log.get(request_id)

    async def get_pending_requests(
        self, pipeline_run_id: UUID | None = None
    ) -> list[ApprovalRequest]:
        """Return the requests that can still be decided, the oldest first."""
        now = self._clock.now()
        found = [
            request
            async for request in self._all(pending=True, pipeline_run_id=pipeline_run_id)
            if not request.is_overdue(now)
        ]
        return sorted(found, key=lambda request: (request.created_at, request.id))

    async def cleanup(self, request_id: UUID) -> bool:
        """Forget a request; return whether it was there. Its action may be asked for anew."""
        return await self._log.remove(request_id)

    async def cleanup_settled(self, older_than: timedelta) -> int:
        """Forget the requests that were settled longer ago than *older_than*; return how many."""
        before = self._clock.now() - older_than
        count = 0
        async for request in self._all():
            if request.decided_at is not None and request.decided_at < before:
                count += await self._log.remove(request.id)
        return count

    async def _all(self, **wanted: Any) -> Any:
        after: UUID | None = None
        while True:
            page = await self._log.list_requests(**wanted, after=after, limit=_PAGE)
            for request in page:
                yield request
            if len(page) < _PAGE:
                return
            after = page[-1].id

    async def _known(self, request_id: UUID) -> ApprovalRequest:
        request = await self._log.get(request_id)
        if request is None:
            raise ApprovalNotFoundError(request_id)
        return request

    # --- waiting in this process ---

    @contextmanager
    def _woken(self, request_id: UUID) -> Iterator[_News]:
        news = _News()
        waiting = self._waiting.setdefault(request_id, [])
        waiting.append(news.tell)
        try:
            yield news
        finally:
            waiting.remove(news.tell)
            if not waiting:
                self._waiting.pop(request_id, None)

    def _wake(self, request_id: UUID) -> None:
        for tell in tuple(self._waiting.get(request_id, ())):
            tell()

    async def _sleep_until_news(self, news: _News, seconds: float) -> None:
        if self._poll_seconds is not None:
            seconds = min(seconds, self._poll_seconds)

        async def give_up() -> None:
            await self._clock.sleep(seconds)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(give_up)
            await news.wait()
            group.cancel_scope.cancel()


class _News:
    """Whether there is something new, for one who waits in this event loop."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._soon = door_of_this_loop()

    def clear(self) -> None:
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def tell(self) -> None:
        """Tell that there is; from any thread."""
        try:
            self._soon(self._set)
        except RuntimeError:  # that event loop has ended, and whoever waited in it
            return

    def _set(self) -> None:
        self._event.set()


def _signal_name(request_id: UUID) -> str:
    return f"approval.{request_id}"


def _later(moment: Any, seconds: float | None) -> Any:
    return None if seconds is None else moment + timedelta(seconds=seconds)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return arguments as data that every log can keep; what is no data is shown as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return str(value)[:_MAX_TEXT]


_shared: Final = Shared(ApprovalService)


def get_approval_service() -> ApprovalService:
    """Return the service of those who name none."""
    return _shared.get()


def set_approval_service(service: ApprovalService) -> None:
    """Make *service* the one of those who name none."""
    _shared.set(service)


def clear_approval_service() -> None:
    """Forget the service of those who name none; the next use makes a new one."""
    _shared.set(None)
