"""Approvals and undo that outlive the process, as far as a runtime's backends can keep them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from stageflow.contracts.run_store import RunStoreCapabilities
from stageflow.tools.approval import ApprovalService
from stageflow.tools.approval_logs import SharedApprovalLog
from stageflow.tools.undo import UndoStore
from stageflow.tools.undo_logs import SharedUndoLog

if TYPE_CHECKING:
    from stageflow.runtime import Runtime

__all__ = ("open_approvals", "open_undo")


@asynccontextmanager
async def open_approvals(
    runtime: Runtime, default_timeout_seconds: float = 60.0, **options: Any
) -> AsyncIterator[ApprovalService]:
    """Give a service for the time of the block whose requests outlive the process.

    They are kept in what the settings of the runtime choose as `approval_log`; else beside its
    runs, if its run store shares values; else in memory. A run of this store that waits for a
    decision may leave memory, and is woken by whoever decides with such a service.

    Args:
        runtime: An open runtime.
        default_timeout_seconds: How long a decision is awaited unless the caller says.
        **options: What else `ApprovalService` takes.
    """
    capabilities = RunStoreCapabilities.of(runtime.run_store)
    if capabilities.waits:
        options.setdefault("signal", _signal_of(runtime))
    async with _chosen(runtime, "approval_log") as chosen:
        shares = chosen is None and capabilities.shared_values
        log = SharedApprovalLog(_store(runtime)) if shares else chosen
        yield ApprovalService(default_timeout_seconds, log=log, **options)


@asynccontextmanager
async def open_undo(
    runtime: Runtime, default_ttl_seconds: float = 3600.0, **options: Any
) -> AsyncIterator[UndoStore]:
    """Give a store for the time of the block whose entries outlive the process.

    They are kept in what the settings of the runtime choose as `undo_log`; else beside its runs,
    if its run store shares values; else in memory.

    Args:
        runtime: An open runtime.
        default_ttl_seconds: How long an action can be undone unless the caller says.
        **options: What else `UndoStore` takes.
    """
    capabilities = RunStoreCapabilities.of(runtime.run_store)
    async with _chosen(runtime, "undo_log") as chosen:
        shares = chosen is None and capabilities.shared_values
        log = SharedUndoLog(_store(runtime)) if shares else chosen
        yield UndoStore(default_ttl_seconds, log=log, **options)


@asynccontextmanager
async def _chosen(runtime: Runtime, contract: str) -> AsyncIterator[Any]:
    """Give what the settings choose for a contract, open; None if they choose nothing."""
    plugins = runtime.plugins
    if plugins is None or not plugins.registry(contract).chosen:
        yield None
        return
    async with plugins.registry(contract).default().open(resources=runtime.resources) as log:
        yield log


def _store(runtime: Runtime) -> Any:
    return runtime.run_store


def _signal_of(runtime: Runtime) -> Any:
    async def signal(run_id: UUID, name: str, signal_id: str) -> None:
        await runtime.signal(run_id, name, signal_id=signal_id, resume=False)

    return signal
