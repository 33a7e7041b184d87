"""What the coordinators of scatters, parallel branches and routes have in common."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stageflow.contracts.partitions import Partition, escape_segment, partition_key

__all__ = ("coordination_id", "error_as_value", "run_prefix")


def coordination_id(run_id: UUID | str, asset_name: str, partition: Partition) -> str:
    """Return the one id that a run, an asset and a partition have together.

    Raises:
        PartitionError: *partition* cannot name one.
    """
    return f"{run_prefix(run_id)}{escape_segment(asset_name)}/{partition_key(partition)}"


def run_prefix(run_id: UUID | str) -> str:
    """Return what the ids of the run begin with, and no others."""
    return f"{escape_segment(str(run_id))}/"


def error_as_value(error: Any) -> Any:
    """Return *error* as something the codec can store: an exception by its type, text and code."""
    if not isinstance(error, BaseException):
        return error
    kind = type(error)
    told = {"type": f"{kind.__module__}.{kind.__qualname__}", "message": str(error)}
    code = getattr(error, "code", None)
    return {**told, "code": code} if isinstance(code, str) else told
