"""How a function says which settings it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ("configured_by",)

F = TypeVar("F", bound=Callable[..., object])


def configured_by(settings: type) -> Callable[[F], F]:
    """Mark a factory as taking one object of the class *settings*, as plugins do."""

    def mark(factory: F) -> F:
        cast("Any", factory).Settings = settings
        return factory

    return mark
