"""Stage: the protocol that a class-based stage fulfils."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from stageflow.stages.kinds import StageKind
from stageflow.stages.output import StageOutput

if TYPE_CHECKING:
    from stageflow.context.stage_context import StageContext

__all__ = ("Stage", "StageReturn")

StageReturn = StageOutput | Mapping[str, Any] | None
"""What a stage may return: an output, its data (taken as `ok`), or nothing (also `ok`)."""


@runtime_checkable
class Stage(Protocol):
    """One node's work: a name, a kind and `execute`.

    `execute` may be `async def`, or plain `def`, which then runs in a worker thread. One
    instance of a stage class serves one run; an instance given by hand serves all runs and
    must keep no state between them.
    """

    @property
    def name(self) -> str:
        """The name the stage goes by where it is used alone."""

    @property
    def kind(self) -> StageKind:
        """What kind of work it does."""

    def execute(self, ctx: StageContext) -> Awaitable[StageReturn] | StageReturn:
        """Do the work with what *ctx* offers and return its outcome."""
