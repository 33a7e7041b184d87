"""The kit of the contract `config_provider`: subclass `ConfigProviderConformance`."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from stageflow.contracts.config_provider import ConfigKeyError, ConfigProvider
from stageflow.testing.conformance import ConformanceKit, raising

__all__ = ("ConfigProviderConformance",)


class ConfigProviderConformance(ConformanceKit):
    """Tests every clause of `ConfigProvider`.

    Attributes:
        values: What the provider must be made to hold, by key; texts, as every source has
            them.
        changeable: Key of a list that the provider holds beside them; None if it cannot.
    """

    contracts = (ConfigProvider,)
    values: ClassVar[Mapping[str, str]] = {
        "name": "value",
        "empty": "",
        "database.url": "memory",
        "database.pool.size": "5",
    }
    changeable: ClassVar[str | None] = None

    @pytest.fixture
    def provider(self) -> Any:
        """Give a provider that holds `values`; every author overrides this."""
        raise NotImplementedError("override the fixture `provider`: it must hold `self.values`")

    def test_it_has_the_shape_of_its_contract(self, provider: Any) -> None:
        self.check_shape(provider)

    def test_cp1_a_key_that_is_set_has_its_value(self, provider: Any) -> None:
        found = provider.get("name")
        assert found == "value", f"found {found!r}"
        found = provider.get("name", "default")
        assert found == "value", f"found {found!r} where a default was given"

    def test_cp2_a_key_that_is_not_set_has_the_default(self, provider: Any) -> None:
        default = object()
        for key in ("no_such_key", "name.no_such_key", "nam"):
            assert provider.get(key) is None, f"{key!r} has a value"
            assert provider.get(key, default) is default, f"{key!r} does not have the default"
            assert provider.get(key, default=default) is default, "the default has another name"

    def test_cp3_an_empty_value_is_a_value(self, provider: Any) -> None:
        found = provider.get("empty", "default")
        assert found == "", f"found {found!r}"

    def test_cp4_what_is_no_key_raises(self, provider: Any) -> None:
        for key in (None, "", 1, b"name", ["name"]):
            with raising(ConfigKeyError, f"the key {key!r}"):
                provider.get(key, "default")

    def test_cp5_asking_changes_nothing(self, provider: Any) -> None:
        if self.changeable is not None:
            before = list(provider.get(self.changeable))
            provider.get(self.changeable).append("changed")
            found = provider.get(self.changeable)
            assert found == before, f"what was done with an answer has made it {found!r}"
        for _ in range(2):
            assert provider.get("no_such_key", "default") == "default"
            answers = {key: provider.get(key) for key in ("name", "empty")}
            assert answers == {"name": "value", "empty": ""}, f"the answers became {answers}"

    def test_cp6_a_dotted_key_reaches_inside(self, provider: Any) -> None:
        for key in ("database.url", "database.pool.size"):
            found = provider.get(key, "default")
            assert found == self.values[key], f"{key!r} has {found!r}"
