"""Outcome: how a stage ended, as it is committed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from stageflow.codec import MalformedPayloadError
from stageflow.stages import StageArtifact, StageEvent, StageOutput, StageStatus

__all__ = ("Outcome", "microseconds")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@attrs.frozen(kw_only=True)
class Outcome:
    """How a stage ended, as it is committed.

    Attributes:
        output: What it gave.
        began: When it began, in microseconds since 1970; None if it never ran.
        ended: When it ended, likewise.
        attempts: How many attempts it took.
        turn: In which turn of the run it ended; the first is 1.
        cleanups: The names of the clean-ups that it had registered for the end of the run.
    """

    output: StageOutput
    began: int | None
    ended: int
    attempts: int = 1
    turn: int = 1
    cleanups: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data; what is as usual is left out, since most stages are usual."""
        output = self.output
        facts: dict[str, Any] = {
            "status": output.status._value_,
            "data": output.data,
            "began": self.began,
            "ended": self.ended,
            "ms": output.duration_ms,
            "turn": self.turn,
        }
        if self.attempts != 1:
            facts["attempts"] = self.attempts
        if output.artifacts:
            facts["artifacts"] = [
                (each.type, each.payload, each.timestamp) for each in output.artifacts
            ]
        if output.events:
            facts["events"] = [(each.type, each.data, each.timestamp) for each in output.events]
        if output.metadata:
            facts["metadata"] = output.metadata
        if output.version is not None:
            facts["version"] = output.version
        if self.cleanups:
            facts["cleanups"] = list(self.cleanups)
        return facts

    @classmethod
    def from_plain(cls, facts: Any) -> Outcome:
        """Return the outcome that `to_plain` had described.

        Raises:
            MalformedPayloadError: If *facts* describe none.
        """
        try:
            return cls._from_plain(facts)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            found = f"{type(error).__name__}: {error}"
            raise MalformedPayloadError((("the outcome of a stage", found),)) from error

    @classmethod
    def _from_plain(cls, facts: Mapping[str, Any]) -> Outcome:
        began, ended = facts["began"], facts["ended"]
        if not isinstance(ended, int) or not isinstance(began, int | None):
            raise TypeError("it does not say when it was")
        return cls(
            output=StageOutput(
                StageStatus(facts["status"]),
                facts["data"],
                tuple(StageArtifact(*each) for each in facts.get("artifacts", ())),
                tuple(StageEvent(*each) for each in facts.get("events", ())),
                None,
                facts["ms"],
                facts.get("version"),
                facts.get("metadata", {}),
            ),
            began=began,
            ended=ended,
            attempts=facts.get("attempts", 1),
            turn=facts["turn"],
            cleanups=tuple(facts.get("cleanups", ())),
        )


def microseconds(time: datetime) -> int:
    """Return *time* in microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND
