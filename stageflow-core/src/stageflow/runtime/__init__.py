"""Runtime: settings become open backends, backends run pipelines, and runs outlive processes."""

from stageflow._engine.fingerprint import OnChange, PlanChange, PlanChangedError
from stageflow._engine.journal import NotDurableError
from stageflow._engine.waiting import SignalTimeoutError
from stageflow.runtime.durable import (
    Durability,
    DurabilityError,
    RunDocument,
    RunNotResumableError,
)
from stageflow.runtime.outcome import Buildable, Runnable, RunOutcome
from stageflow.runtime.runtime import CHOSEN, Recovery, RunCheck, Runtime, RuntimeCloseError
from stageflow.runtime.shared import SharedState, Versioned

__all__ = (
    "CHOSEN",
    "Buildable",
    "Durability",
    "DurabilityError",
    "NotDurableError",
    "OnChange",
    "PlanChange",
    "PlanChangedError",
    "Recovery",
    "RunCheck",
    "RunDocument",
    "RunNotResumableError",
    "RunOutcome",
    "Runnable",
    "Runtime",
    "RuntimeCloseError",
    "SharedState",
    "SignalTimeoutError",
    "Versioned",
)
