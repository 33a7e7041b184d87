"""Resource: something outside that a run's stages share, opened before and closed after.

A method may be `async` or plain; use `settle` to call one without knowing which.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import attrs

from stageflow.contracts.contract import Contract
from stageflow.errors import RunError

__all__ = (
    "CONTRACT",
    "Health",
    "HealthCheck",
    "Healthy",
    "Resource",
    "ResourceCapabilities",
    "ResourceError",
    "ResourceSetupError",
    "Unhealthy",
    "settle",
)

CONTRACT: Final = Contract("resource", "1.0")

T = TypeVar("T")


@attrs.frozen
class Healthy:
    """The resource can be used."""


@attrs.frozen
class Unhealthy:
    """The resource cannot be used.

    Attributes:
        reason: Why not, for people to read; never holds a secret.
    """

    reason: str


Health: TypeAlias = Healthy | Unhealthy


@attrs.frozen(kw_only=True)
class ResourceCapabilities:
    """What a resource can do beyond being set up and torn down.

    Attributes:
        health_check: It is a `HealthCheck`.
    """

    health_check: bool = False

    @classmethod
    def of(cls, resource: object) -> ResourceCapabilities:
        """Return what *resource* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(resource, "capabilities", None)
        return declared if isinstance(declared, ResourceCapabilities) else cls()


class ResourceError(RunError):
    """A resource cannot be used.

    Attributes:
        resource: Its name.
    """

    code = "SF460"

    def __init__(self, message: str, *, resource: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.resource = resource


class ResourceSetupError(ResourceError):
    """A resource could not be set up."""

    code = "SF461"


async def settle(result: Awaitable[T] | T) -> T:
    """Return the result of a method that may be `async` or plain.

    A checkpoint if it is `async`.
    """
    if inspect.isawaitable(result):
        return cast("T", await result)
    return result


@runtime_checkable
class Resource(Protocol):
    """Opens something outside, such as a pool of connections, and closes it.

    Stages find what `setup` returned in `ctx.resources`. If a method is `async` it may
    suspend and be cancelled.

    RES-1  Each setup gives something of its own that can be used.
    RES-2  A setup that fails raises a `StageflowError` and leaves nothing open.
    RES-3  Teardown closes what setup opened, and only that.
    RES-4  Teardown may be repeated.
    RES-5  A cancelled setup leaves nothing open; a cancelled teardown has closed all.
    RES-9  What it declares as `capabilities` is what it can do beyond this.
    """

    def setup(self, config: Mapping[str, Any]) -> Awaitable[Any] | Any:
        """Open the resource and return what stages use.

        Not idempotent: each call opens another one.

        Raises:
            StageflowError: It cannot be opened, or *config* is wrong.
        """
        ...

    def teardown(self, resource: Any) -> Awaitable[None] | None:
        """Close *resource*, which `setup` returned.

        Idempotent. Closes it also when it is cancelled.
        """
        ...


class HealthCheck(Protocol):
    """The capability `health_check`: tells whether a resource can be used.

    RES-6  [health_check] A resource that was set up is `Healthy`.
    RES-7  [health_check] One that was torn down is `Unhealthy`, with a reason: the check
      never raises.
    RES-8  [health_check] A check changes nothing, and a cancelled one neither.
    """

    def health_check(self, resource: Any) -> Awaitable[Health] | Health:
        """Return whether *resource*, which `setup` returned, can be used now.

        Idempotent; changes nothing, however it ends.
        """
        ...
