"""What authors of stages and plugins test with: the clock they rule, and a kit per contract."""

from __future__ import annotations

from stageflow.testing.clock import TestClock

__all__ = ("TestClock",)
