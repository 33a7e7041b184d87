"""Resources, async and plain, keep every clause of the contract, and the kit can tell."""

from __future__ import annotations

from itertools import count

import anyio
import anyio.lowlevel
import pytest

from stageflow.contracts.resource import (
    HealthCheck,
    Healthy,
    Resource,
    ResourceCapabilities,
    ResourceSetupError,
    Unhealthy,
)
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.resource import ResourceConformance

pytestmark = pytest.mark.anyio


class Connection:
    def __init__(self) -> None:
        self.is_open = False

    def ping(self) -> None:
        if not self.is_open:
            raise RuntimeError("closed")


class Pool:
    """Opens connections in several steps, as drivers do."""

    capabilities = ResourceCapabilities(health_check=True)

    def __init__(self) -> None:
        self.open: list[Connection] = []

    async def setup(self, config):
        connection = Connection()
        await anyio.lowlevel.checkpoint()
        self.open.append(connection)
        try:
            if config.get("url") == "bad":
                self.refuse()
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self.open.remove(connection)
            raise
        connection.is_open = True
        return connection

    def refuse(self):
        raise ResourceSetupError("There is no such server.", resource="pool", hint="Look.")

    async def teardown(self, resource):
        if resource.is_open:
            resource.is_open = False
            self.open.remove(resource)
        await anyio.lowlevel.checkpoint()

    async def health_check(self, resource):
        await anyio.lowlevel.checkpoint()
        return Healthy() if resource.is_open else Unhealthy("closed")


class Kit(ResourceConformance):
    capabilities = ResourceCapabilities(health_check=True)
    config = {"url": "good"}  # noqa: RUF012 - a ClassVar of the kit
    bad_config = {"url": "bad"}  # noqa: RUF012 - likewise

    async def use(self, opened):
        opened.ping()

    def open_count(self, resource):
        return len(resource.open)


class TestAsyncResource(Kit):
    @pytest.fixture
    async def resource(self):
        return Pool()


class PlainPool:
    """The same, with plain methods and no health check."""

    def __init__(self) -> None:
        self.open: list[Connection] = []

    def setup(self, config):
        connection = Connection()
        connection.is_open = True
        self.open.append(connection)
        return connection

    def teardown(self, resource):
        if resource.is_open:
            resource.is_open = False
            self.open.remove(resource)


class TestPlainResource(Kit):
    capabilities = ResourceCapabilities()
    bad_config = None

    @pytest.fixture
    async def resource(self):
        return PlainPool()


class TestSparseKit(ResourceConformance):
    """A kit that knows nothing but how to use the thing."""

    async def use(self, opened):
        opened.ping()

    @pytest.fixture
    async def resource(self):
        return PlainPool()


# --- the kit notices each broken clause, and blames no other --------------------


class OpensOneAtATime(Pool):
    """RES-1"""

    async def setup(self, config):
        is_second = bool(self.open)
        connection = await super().setup(config)
        connection.ping = self.refuse if is_second else connection.ping
        return connection


class LeavesItOpenWhenItFails(Pool):
    """RES-2"""

    async def setup(self, config):
        if config.get("url") == "bad":
            self.open.append(Connection())
            raise ResourceSetupError("There is no such server.", resource="pool")
        return await super().setup(config)


class FailsInItsOwnWords(Pool):
    """RES-2"""

    async def setup(self, config):
        if config.get("url") == "bad":
            raise ConnectionError("no such server")
        return await super().setup(config)


class ClosesAll(Pool):
    """RES-3"""

    async def teardown(self, resource):
        for other in list(self.open):
            await super().teardown(other)
        await super().teardown(resource)


class ClosesOnce(Pool):
    """RES-4"""

    async def teardown(self, resource):
        self.open.remove(resource)
        resource.is_open = False


class LeaksWhenCancelled(Pool):
    """RES-5"""

    async def setup(self, config):
        connection = await super().setup(config)
        await anyio.lowlevel.checkpoint()
        return connection


class StopsClosingWhenCancelled(Pool):
    """RES-5"""

    async def teardown(self, resource):
        await anyio.lowlevel.checkpoint()
        await super().teardown(resource)


class IsNeverHealthy(Pool):
    """RES-6"""

    async def health_check(self, resource):
        return Unhealthy("who knows")


class RaisesWhenClosed(Pool):
    """RES-7"""

    async def health_check(self, resource):
        resource.ping()
        return await super().health_check(resource)


class ClosesWhenCancelled(Pool):
    """RES-8"""

    async def health_check(self, resource):
        try:
            return await super().health_check(resource)
        except anyio.get_cancelled_exc_class():
            resource.is_open = False
            self.open.remove(resource)
            raise


class PromisesTooLittle(Pool):
    """RES-9"""

    capabilities = ResourceCapabilities()


BROKEN = [
    OpensOneAtATime,
    LeavesItOpenWhenItFails,
    FailsInItsOwnWords,
    ClosesAll,
    ClosesOnce,
    LeaksWhenCancelled,
    StopsClosingWhenCancelled,
    IsNeverHealthy,
    RaisesWhenClosed,
    ClosesWhenCancelled,
    PromisesTooLittle,
]


def test_every_clause_has_a_test_and_a_broken_resource():
    clauses = clauses_of(Resource, HealthCheck)
    numbers = (f"RES-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_resource_fails_nothing():
    assert await failed_clauses(Kit, Pool) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_resource_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
