"""Every config provider of core keeps every clause of the contract, and the kit can tell."""

from __future__ import annotations

from itertools import count

import pytest

from stageflow.builtin.config_providers import (
    DictConfigProvider,
    EnvConfigProvider,
    TomlConfigProvider,
)
from stageflow.contracts.config_provider import ConfigProvider
from stageflow.testing.config_provider import ConfigProviderConformance
from stageflow.testing.conformance import clauses_of, failed_clauses

pytestmark = pytest.mark.anyio

NESTED = {
    "name": "value",
    "empty": "",
    "database": {"url": "memory", "pool": {"size": "5"}},
    "hosts": ["a", "b"],
}
TOML = """
name = "value"
empty = ""
hosts = ["a", "b"]
[database]
url = "memory"
pool.size = "5"
"""


class TestEnvConfigProvider(ConfigProviderConformance):
    @pytest.fixture
    def provider(self, monkeypatch):
        for key, value in self.values.items():
            monkeypatch.setenv(f"APP_{key.upper().replace('.', '__')}", value)
        return EnvConfigProvider("APP_")


class TestDictConfigProvider(ConfigProviderConformance):
    changeable = "hosts"

    @pytest.fixture
    def provider(self):
        return DictConfigProvider(NESTED)


class TestTomlConfigProvider(ConfigProviderConformance):
    changeable = "hosts"

    @pytest.fixture
    def provider(self, tmp_path):
        path = tmp_path / "app.toml"
        path.write_text(TOML)
        return TomlConfigProvider(path)


# --- the kit notices each broken clause, and blames no other --------------------


class Kit(ConfigProviderConformance):
    changeable = "hosts"


class PrefersTheDefault(DictConfigProvider):
    """CP-1"""

    def get(self, key, default=None):
        return default if key == "name" and default else super().get(key, default)


class RaisesForTheMissing(DictConfigProvider):
    """CP-2"""

    def get(self, key, default=None):
        if key == "nam":
            raise KeyError(key)
        return super().get(key, default)


class TakesEmptyForMissing(DictConfigProvider):
    """CP-3"""

    def get(self, key, default=None):
        return super().get(key) or default or super().get(key)


class AnswersAnything(DictConfigProvider):
    """CP-4"""

    def get(self, key, default=None):
        return super().get(key, default) if isinstance(key, str) and key else default


class HandsOutItsOwn(DictConfigProvider):
    """CP-5"""

    def get(self, key, default=None):
        return self._config["hosts"] if key == "hosts" else super().get(key, default)


class IsFlat(DictConfigProvider):
    """CP-6"""

    def get(self, key, default=None):
        super().get(key)
        return super().get(key, default) if "." not in key else default


BROKEN = [
    PrefersTheDefault,
    RaisesForTheMissing,
    TakesEmptyForMissing,
    AnswersAnything,
    HandsOutItsOwn,
    IsFlat,
]


def test_every_clause_has_a_test_and_a_broken_provider():
    clauses = clauses_of(ConfigProvider)
    numbers = (f"CP-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_provider_fails_nothing():
    assert await failed_clauses(Kit, lambda: DictConfigProvider(NESTED)) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_provider_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, lambda: broken(NESTED))
    assert list(failures) == [broken.__doc__], failures
