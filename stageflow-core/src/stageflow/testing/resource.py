"""The kit of the contract `resource`: subclass `ResourceConformance` and give it a resource."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from stageflow.contracts.resource import (
    HealthCheck,
    Healthy,
    Resource,
    ResourceCapabilities,
    Unhealthy,
    settle,
)
from stageflow.errors import StageflowError
from stageflow.testing.conformance import ConformanceKit, every_cut, raising

__all__ = ("ResourceConformance",)


class ResourceConformance(ConformanceKit):
    """Tests every clause of `Resource` and of the capabilities that are declared.

    Attributes:
        config: What the resource can be set up with.
        bad_config: What it cannot be set up with; None if there is no such thing.
    """

    contracts = (Resource, HealthCheck)
    capabilities: ClassVar[ResourceCapabilities] = ResourceCapabilities()
    config: ClassVar[Mapping[str, Any]] = {}
    bad_config: ClassVar[Mapping[str, Any] | None] = None

    @pytest.fixture
    async def resource(self) -> Any:
        """Give the resource, not yet set up; every author overrides this."""
        raise NotImplementedError("override the fixture `resource`: yield a Resource")

    async def use(self, opened: Any) -> None:
        """Use what `setup` returned, raising if it is closed; every author overrides this."""
        raise NotImplementedError("override `use`: it raises if what it is given is closed")

    def open_count(self, resource: Any) -> int | None:
        """Return how many things *resource* has open now; None, the default, if nobody knows."""
        return None

    async def test_it_has_the_shape_of_its_contract(self, resource: Any) -> None:
        self.check_shape(resource)

    async def test_res1_each_setup_opens_one_that_works(self, resource: Any) -> None:
        first = await settle(resource.setup(self.config))
        second = await settle(resource.setup(self.config))
        assert first is not second, "two setups gave the same thing"
        for opened in (first, second):
            await self.use(opened)
        for opened in (first, second):
            await settle(resource.teardown(opened))

    async def test_res2_a_setup_that_fails_leaves_nothing_open(self, resource: Any) -> None:
        if self.bad_config is None:
            pytest.skip(f"{type(self).__name__} has no bad_config")
        with raising(StageflowError, "a setup with a bad configuration"):
            await settle(resource.setup(self.bad_config))
        assert self.open_count(resource) in {None, 0}, "a setup that failed left something open"

    async def test_res3_teardown_closes_its_own_only(self, resource: Any) -> None:
        first = await settle(resource.setup(self.config))
        second = await settle(resource.setup(self.config))
        await settle(resource.teardown(second))
        await self.use(first)
        with raising(Exception, "using what was torn down"):
            await self.use(second)
        await settle(resource.teardown(first))
        assert self.open_count(resource) in {None, 0}, "a teardown left something open"

    async def test_res4_teardown_may_be_repeated(self, resource: Any) -> None:
        opened = await settle(resource.setup(self.config))
        for _ in range(2):
            await settle(resource.teardown(opened))

    async def test_res5_a_cancelled_setup_leaves_nothing_open(self, resource: Any) -> None:
        if self.open_count(resource) is None:
            pytest.skip(f"{type(self).__name__} does not tell its open_count")

        async def setup(_: int) -> Any:
            return await settle(resource.setup(self.config))

        async for cut in every_cut(setup):
            if cut.completed:
                await settle(resource.teardown(cut.value))
            assert self.open_count(resource) == 0, f"cut at {cut.step} it left something open"

    async def test_res5_a_cancelled_teardown_has_closed_all(self, resource: Any) -> None:
        opened = await settle(resource.setup(self.config))

        async def teardown(_: int) -> None:
            await settle(resource.teardown(opened))

        async for cut in every_cut(teardown):
            assert self.open_count(resource) in {None, 0}, f"cut at {cut.step} it left it open"
            with raising(Exception, "using what was torn down"):
                await self.use(opened)
            opened = await settle(resource.setup(self.config))
        await settle(resource.teardown(opened))

    async def test_res6_what_was_set_up_is_healthy(self, resource: Any) -> None:
        self.needs("health_check")
        opened = await settle(resource.setup(self.config))
        health = await settle(resource.health_check(opened))
        assert health == Healthy(), f"it says {health!r}"
        await settle(resource.teardown(opened))

    async def test_res7_what_was_torn_down_is_unhealthy(self, resource: Any) -> None:
        self.needs("health_check")
        opened = await settle(resource.setup(self.config))
        await settle(resource.teardown(opened))
        health = await settle(resource.health_check(opened))
        assert isinstance(health, Unhealthy), f"it says {health!r}"
        assert health.reason, "it does not say why"

    async def test_res8_a_check_changes_nothing(self, resource: Any) -> None:
        self.needs("health_check")
        opened = await settle(resource.setup(self.config))
        async for _ in every_cut(lambda _: settle(resource.health_check(opened))):
            await self.use(opened)
        assert self.open_count(resource) in {None, 1}, "a check left something open"
        await settle(resource.teardown(opened))

    async def test_res9_capabilities_are_declared_as_they_are(self, resource: Any) -> None:
        declared = ResourceCapabilities.of(resource)
        assert declared == self.capabilities, f"the resource declares {declared}"
