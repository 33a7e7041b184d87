"""The second door: pipelines of plain functions, in `stageflow.data.pipeline`."""

from stageflow.data import pipeline

__all__ = ("pipeline",)
