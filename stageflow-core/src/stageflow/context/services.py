"""RunServices: what a running engine offers to the contexts it hands out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from stageflow.context.cancellation import CancellationToken
    from stageflow.context.pipeline_context import PipelineContext
    from stageflow.contracts.clock import Clock
    from stageflow.events.delivery import PendingEmit

__all__ = ("RunServices",)


class RunServices(Protocol):
    """The run behind a `StageContext`; a context made by hand has none."""

    @property
    def context(self) -> PipelineContext:
        """The context of the whole run."""
        ...

    @property
    def clock(self) -> Clock:
        """The run's source of time."""
        ...

    @property
    def cancel_token(self) -> CancellationToken:
        """The run's request to stop."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether the run was told to stop, or is over."""
        ...

    @property
    def config(self) -> Any:
        """The configuration provider that the run was given, or None."""
        ...

    @property
    def resources(self) -> Any:
        """The opened resources that the run was given, by name."""
        ...

    def collect_delivery(self, delivery: PendingEmit) -> None:
        """Take over an event delivery that must be awaited before the run ends."""
        ...

    async def call_in_thread(self, body: Callable[..., Any], context: Any) -> Any:
        """Return what *body* gives for *context*, called in a worker thread."""
        ...

    def register_cleanup(
        self, callback: Callable[[], Any], name: str | None, stage: str | None = None
    ) -> None:
        """Call *callback*, which *stage* registers, when the run ends, however it ends."""
        ...

    async def wait_for(self, context: Any, name: str, timeout: float | None) -> Any:
        """Return the answer to a wait of the stage with that *context*."""
        ...

    def execution_key(self, stage: str) -> str:
        """Return a text that names this execution of *stage*, the same for all its attempts."""
        ...
