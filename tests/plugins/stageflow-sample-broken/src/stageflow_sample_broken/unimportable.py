"""Needs something that is not installed."""

import stageflow_sample_driver_that_nobody_has  # noqa: F401
