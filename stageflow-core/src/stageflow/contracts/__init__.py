"""What a plugin may implement: one module per contract, with its values, errors and clauses."""

from __future__ import annotations

from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.contract import Contract

__all__ = ("Clock", "Contract", "SystemClock")
