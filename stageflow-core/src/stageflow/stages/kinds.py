"""The closed vocabularies of a stage: what kind of work it does and how it ended."""

from __future__ import annotations

from enum import StrEnum

from stageflow.codec import codec_type

__all__ = ("StageKind", "StageStatus")


@codec_type(name="stageflow.StageKind")
class StageKind(StrEnum):
    """What kind of work a stage does; a member equals its lower-case string."""

    TRANSFORM = "transform"
    ENRICH = "enrich"
    ROUTE = "route"
    GUARD = "guard"
    WORK = "work"
    AGENT = "agent"


@codec_type(name="stageflow.StageStatus")
class StageStatus(StrEnum):
    """How a stage ended, or asks to go on; a member equals its lower-case string.

    `RETRY` is a request: the engine runs the stage again under its retry policy, so no
    finished stage has it.
    """

    OK = "ok"
    SKIP = "skip"
    CANCEL = "cancel"
    FAIL = "fail"
    RETRY = "retry"
