"""Stage: one function of a pipeline, and what is to happen around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from stageflow._engine.plan import ordered_names
from stageflow.data.pipeline.config import RetryConfig

__all__ = ("Stage", "create_stage", "stage")


@attrs.frozen(hash=False)
class Stage:
    """One stage of a pipeline.

    The handler is an `async def`, a `def`, which then runs in a worker thread, or a lambda that
    returns what is to be awaited. Its first parameter is the context. The second is the
    pipeline's initial input for a stage without dependencies, the result of the dependency for
    one with a single one, and a mapping of stage id to result for one with several. If its
    parameters after the context have exactly the names of the dependencies, each gets the
    result of its own. A handler of the context alone gets nothing else.

    Attributes:
        stage_id: Unique in its pipeline.
        name: Its name for people.
        handler: What it does.
        dependencies: The ids of the stages it waits for, and whose results it gets.
        timeout_seconds: What one attempt may take; the pipeline's choice unless given.
        retry_config: When a failed attempt is followed by another; the pipeline's choice unless
            given.
        critical: Whether its failure stops the pipeline.
        cleanup_handler: A function of the context that is called when the execution ends,
            however it ends, if the stage was started; the last started stage's is called first.
        description: What it does, in words.
        tags: Words to find it by.
    """

    stage_id: str
    name: str
    handler: Callable[..., Any]
    dependencies: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)
    timeout_seconds: float | None = None
    retry_config: RetryConfig | None = None
    critical: bool = True
    cleanup_handler: Callable[..., Any] | None = None
    description: str = ""
    tags: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)


def create_stage(
    stage_id: str,
    name: str,
    handler: Callable[..., Any],
    dependencies: Iterable[str] = (),
    timeout_seconds: float | None = None,
    retry_config: RetryConfig | None = None,
    critical: bool = True,
    cleanup_handler: Callable[..., Any] | None = None,
    description: str = "",
    tags: Iterable[str] = (),
) -> Stage:
    """Return a stage; see `Stage` for what the arguments mean."""
    return Stage(
        stage_id,
        name,
        handler,
        dependencies,
        timeout_seconds,
        retry_config,
        critical,
        cleanup_handler,
        description,
        tags,
    )


def stage(
    stage_id: str | None = None,
    name: str | None = None,
    dependencies: Iterable[str] = (),
    timeout_seconds: float | None = None,
    retry_config: RetryConfig | None = None,
    critical: bool = True,
    cleanup_handler: Callable[..., Any] | None = None,
    description: str | None = None,
    tags: Iterable[str] = (),
) -> Callable[[Callable[..., Any]], Stage]:
    """Make a stage of the decorated function; see `Stage` for what the arguments mean.

    The id is the function's name unless given, and the description its docstring.
    """

    def decorate(handler: Callable[..., Any]) -> Stage:
        identity = stage_id or handler.__name__
        told = inspect.getdoc(handler) or "" if description is None else description
        return create_stage(
            identity,
            name or identity,
            handler,
            dependencies,
            timeout_seconds,
            retry_config,
            critical,
            cleanup_handler,
            told,
            tags,
        )

    return decorate
