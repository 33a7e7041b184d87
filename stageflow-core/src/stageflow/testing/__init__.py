"""What authors of stages and plugins test with: the clock they rule, and a kit per contract."""

from __future__ import annotations

from stageflow.testing.clock import TestClock
from stageflow.testing.factories import create_test_snapshot, create_test_stage_context

__all__ = ("TestClock", "create_test_snapshot", "create_test_stage_context")
