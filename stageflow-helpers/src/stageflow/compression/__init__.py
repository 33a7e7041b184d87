"""Deltas between two shallow dictionaries, and how much they save."""

from __future__ import annotations

from stageflow.compression.delta import (
    CompressionMetrics,
    apply_delta,
    compress,
    compute_delta,
)

__all__ = ("CompressionMetrics", "apply_delta", "compress", "compute_delta")
