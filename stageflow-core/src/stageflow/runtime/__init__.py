"""Runtime: settings become open backends, backends run pipelines, and runs outlive processes."""

from stageflow.runtime.durable import Durability, DurabilityError, RunNotResumableError
from stageflow.runtime.outcome import Buildable, Runnable, RunOutcome
from stageflow.runtime.runtime import CHOSEN, Recovery, RunCheck, Runtime, RuntimeCloseError

__all__ = (
    "CHOSEN",
    "Buildable",
    "Durability",
    "DurabilityError",
    "Recovery",
    "RunCheck",
    "RunNotResumableError",
    "RunOutcome",
    "Runnable",
    "Runtime",
    "RuntimeCloseError",
)
