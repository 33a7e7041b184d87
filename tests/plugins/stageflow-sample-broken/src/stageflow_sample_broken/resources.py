"""Resources with one fault each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stageflow.contracts.resource import Healthy, Unhealthy


class _Resource:
    def __init__(self, *, resources: Mapping[str, Any] | None = None) -> None:
        self.resources = resources

    async def setup(self, config: Mapping[str, Any]) -> str:
        """Open it."""
        return type(self).__name__

    async def teardown(self, resource: str) -> None:
        """Close it."""

    async def health_check(self, resource: str) -> Healthy | Unhealthy:
        """Look at it."""
        return Healthy()


class Unopenable(_Resource):
    """Cannot be opened."""

    async def setup(self, config: Mapping[str, Any]) -> str:
        """Fail."""
        raise ConnectionRefusedError("nobody is there")


class Unwell(_Resource):
    """Opens, and is not healthy."""

    async def health_check(self, resource: str) -> Healthy | Unhealthy:
        """Find that it is not."""
        return Unhealthy("it does not answer")


class Unclosable(_Resource):
    """Opens, and cannot be closed."""

    async def teardown(self, resource: str) -> None:
        """Fail."""
        raise ConnectionResetError("it has gone")


class Hen(_Resource):
    """Needs the egg."""

    requires = ("egg",)


class Egg(_Resource):
    """Needs the hen."""

    requires = ("hen",)
