"""Logs of approvals: beside the runs in a run store, or in this process alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from stageflow.codec import Codec
from stageflow.contracts.shared_values import SharedValues, ValueChangedError
from stageflow.tools._values import MemoryValues, Records
from stageflow.tools.approval_log import ApprovalRequest, ApprovalSettlement, ApprovalStatus

__all__ = ("MemoryApprovalLog", "SharedApprovalLog")

_NAMESPACE: Final = "stageflow.approvals"


class SharedApprovalLog:
    """Keeps requests in a run store, where every process that uses the store finds them.

    Three keys stand for a request: the request itself, one that leads from its action to it, and
    as long as it is pending one by which it is found among all others. The request decides: the
    other two are followed, never believed.

    Args:
        store: A run store with the capability `shared_values`.
        namespace: Keeps logs in one store apart.
        codec: Writes requests as bytes; the default one unless given.
    """

    def __init__(
        self, store: SharedValues, *, namespace: str = _NAMESPACE, codec: Codec | None = None
    ) -> None:
        self._values = store
        self._namespace = namespace
        codec = codec or Codec.default()
        self._requests: Records[ApprovalRequest] = Records(store, namespace, "request/", codec)
        self._actions: Records[UUID] = Records(store, namespace, "action/", codec)
        self._pending: Records[bool] = Records(store, namespace, "pending/", codec)

    async def add(self, request: ApprovalRequest) -> ApprovalRequest:
        """Add a request unless its action has one; return the one that is there then."""
        written = self._requests.encode(request)
        action, name = self._actions.key(request.action_id), self._requests.key(request.id)
        while True:
            pointer = await self._values.read_value(self._namespace, action)
            if pointer is not None:
                known = await self.get(self._actions.decode(pointer.value))
                if known is not None:
                    return known
            try:
                await self._values.write_values(
                    self._namespace,
                    [
                        (
                            action,
                            self._actions.encode(request.id),
                            0 if pointer is None else pointer.version,
                        ),
                        (name, written, 0),
                        (self._pending.key(request.id), self._pending.encode(True), None),
                    ],
                )
            except ValueChangedError as error:
                if error.key == name:
                    raise  # the id of another action's request
                continue
            return self._requests.decode(written)

    async def get(self, request_id: UUID) -> ApprovalRequest | None:
        """Return a request as it is now; None if there is none."""
        return await self._requests.get(request_id)

    async def settle(
        self, request_id: UUID, settlement: ApprovalSettlement
    ) -> ApprovalRequest | None:
        """Settle a request unless it is; return it as it is then."""
        request = await self._requests.change(request_id, lambda known: known.settled(settlement))
        if request is not None:
            await self._pending.delete(request_id)
        return request

    async def begin(
        self,
        request_id: UUID,
        execution_id: str,
        *,
        at: datetime,
        instead_of: str | None = None,
    ) -> ApprovalRequest | None:
        """Begin the execution of an approved call, if it may begin; return the request then."""
        return await self._requests.change(
            request_id, lambda known: known.begun(execution_id, at, instead_of)
        )

    async def finish(
        self,
        request_id: UUID,
        execution_id: str,
        *,
        at: datetime,
        outcome: Mapping[str, Any] | None,
    ) -> ApprovalRequest | None:
        """Finish an execution that is under way; return the request as it is then."""
        return await self._requests.change(
            request_id, lambda known: known.finished(execution_id, at, outcome)
        )

    async def list_requests(
        self,
        *,
        pending: bool = False,
        pipeline_run_id: UUID | None = None,
        after: UUID | None = None,
        limit: int = 1000,
    ) -> list[ApprovalRequest]:
        """Return up to *limit* requests, by id."""
        found: list[ApprovalRequest] = []
        names = self._pending.walk(after) if pending else self._requests.walk(after)
        async with aclosing(names):
            async for name, value in names:
                if len(found) >= limit:
                    break
                request = (
                    await self._still_pending(UUID(name))
                    if pending
                    else self._requests.decode(value)
                )
                if request is None:
                    continue
                if pipeline_run_id is None or request.pipeline_run_id == pipeline_run_id:
                    found.append(request)
        return found

    async def _still_pending(self, request_id: UUID) -> ApprovalRequest | None:
        request = await self.get(request_id)
        if request is not None and request.is_pending:
            return request
        await self._pending.delete(request_id)  # whoever settled it died before
        return None

    async def remove(self, request_id: UUID) -> bool:
        """Forget a request; return whether it was there."""
        request = await self.get(request_id)
        if request is None or not await self._requests.delete(request_id):
            return False
        # What leads to a request that is not there leads nowhere, so the rest may be cut short.
        await self._pending.delete(request_id)
        key = self._actions.key(request.action_id)
        pointer = await self._values.read_value(self._namespace, key)
        if pointer is not None and self._actions.decode(pointer.value) == request_id:
            try:
                await self._values.delete_value(self._namespace, key, expected=pointer.version)
            except ValueChangedError:
                return True  # the action has another request by now
        return True


class MemoryApprovalLog(SharedApprovalLog):
    """Keeps requests in this process, as they would be kept in a store.

    Args:
        max_settled: How many requests that are over it remembers; the oldest are forgotten.
    """

    def __init__(self, *, max_settled: int = 10_000) -> None:
        super().__init__(MemoryValues())
        self._max_settled = max_settled
        self._over: deque[UUID] = deque()

    async def settle(
        self, request_id: UUID, settlement: ApprovalSettlement
    ) -> ApprovalRequest | None:
        """Settle a request unless it is; return it as it is then."""
        request = await super().settle(request_id, settlement)
        mine = request is not None and request.settlement == settlement
        if mine and settlement.status is not ApprovalStatus.APPROVED:
            await self._forget_after(request_id)
        return request

    async def finish(
        self,
        request_id: UUID,
        execution_id: str,
        *,
        at: datetime,
        outcome: Mapping[str, Any] | None,
    ) -> ApprovalRequest | None:
        """Finish an execution that is under way; return the request as it is then."""
        request = await super().finish(request_id, execution_id, at=at, outcome=outcome)
        if request is not None:
            await self._forget_after(request_id)
        return request

    async def _forget_after(self, request_id: UUID) -> None:
        self._over.append(request_id)
        while len(self._over) > self._max_settled:
            await self.remove(self._over.popleft())
