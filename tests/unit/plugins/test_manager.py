"""Plugins: settings, registries and hooks of one project, together."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from stageflow.contracts.contract import Contract
from stageflow.plugins import (
    DuplicatePluginError,
    HookSignatureError,
    NoDefaultError,
    Plugins,
    Registrar,
    RegistryFrozenError,
    Secret,
    SettingsError,
    UnknownContractError,
    UnknownPluginError,
    hookimpl,
    read_settings,
)
from support.installed import distribution, installed

NOTHING = installed()


@attrs.frozen(kw_only=True)
class StoreSettings:
    url: str
    password: Secret


class Store:
    """Takes settings and a resource; its contract has no definition here, so it may be anything."""

    Settings = StoreSettings
    requires = ("pool",)

    def __init__(self, settings: StoreSettings, *, resources: Mapping[str, Any]) -> None:
        self.settings = settings
        self.resources = resources


@attrs.frozen(kw_only=True)
class PoolSettings:
    size: int = 1


class Pool:
    Settings = PoolSettings

    def setup(self, config):
        return "a pool"

    def teardown(self, resource):
        return None


OWN = distribution("acme", {"stageflow.contracts": {"thing": "test_things:Thing"}})


@pytest.fixture(autouse=True)
def things(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("test_things")
    module.Thing = type("Thing", (), {})
    module.CONTRACT = Contract("thing", "1.0")
    monkeypatch.setitem(sys.modules, "test_things", module)


class Registers:
    """Registers a thing and a pool, and declares a section."""

    @hookimpl
    def stageflow_register(self, plugins: Registrar) -> None:
        plugins.register("thing", "store", Store)
        plugins.register("resources", "pool", Pool)
        assert plugins.settings.durability == "none"


def plugins(
    folder: Path, text: str = "", *hooks: Any, discovery: Any = None, **environ: str
) -> Plugins:
    (folder / "stageflow.toml").write_text(text, encoding="utf-8")
    return Plugins.load(
        directory=folder,
        environ=environ,
        discovery=discovery or installed(OWN),
        hooks={f"h{number}": hook for number, hook in enumerate(hooks)},
    )


def test_every_contract_has_a_registry_by_either_name(tmp_path: Path):
    made = plugins(tmp_path)
    assert made.registry("io_manager") is made.registry("io_managers")
    assert made.registry("thing").contract.origin == "acme 1.0"
    assert len(made.registries) == len(made.contracts) == 14
    with pytest.raises(UnknownContractError, match="Did you mean 'io_manager'"):
        made.registry("io_manger")


def test_a_contract_with_two_owners_is_nobodys(tmp_path: Path):
    twin = distribution("bolt", {"stageflow.contracts": {"thing": "test_things:Thing"}})
    made = plugins(tmp_path, discovery=installed(OWN, twin))
    with pytest.raises(DuplicatePluginError) as caught:
        made.registry("thing")
    assert caught.value.origins == ("acme 1.0", "bolt 1.0")
    made.registry("io_manager")
    blocked = '[plugins]\nblock = ["bolt"]\n'
    assert plugins(tmp_path, blocked, discovery=installed(OWN, twin)).registry("things")


def test_a_contract_of_core_stays_cores(tmp_path: Path):
    taker = distribution("acme", {"stageflow.contracts": {"run_store": "test_things:Thing"}})
    made = plugins(tmp_path, discovery=installed(taker))
    assert made.registry("run_store").contract.origin == "stageflow-core"


@pytest.mark.parametrize("name", ["plugin", "record"])
def test_a_contract_does_not_take_a_key_of_the_settings(tmp_path: Path, name: str):
    taker = distribution("acme", {"stageflow.contracts": {name: "test_things:Thing"}})
    made = plugins(tmp_path, 'record = "x"\n[plugins]\nblock = []\n', discovery=installed(taker))
    assert made.settings.record == tmp_path / "x"
    with pytest.raises(UnknownContractError):
        made.registry(name)


def test_what_a_hook_registers_names_its_plugin(tmp_path: Path):
    made = plugins(tmp_path, "", Registers())
    assert made.registry("thing").resolve("store").origin == "the program"


def test_after_freezing_nothing_is_registered(tmp_path: Path):
    made = plugins(tmp_path)
    made.freeze()
    with pytest.raises(RegistryFrozenError):
        made.registry("thing").register("late", Store, origin="me")


def test_a_hook_that_fails_to_register_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    class Fails:
        @hookimpl
        def stageflow_register(self, plugins):
            plugins.register("no_such_contract", "x", Store)

    with caplog.at_level(logging.WARNING, "stageflow.plugins"):
        made = plugins(tmp_path, "", Fails(), Registers())
    states = {
        each.name: (each.state, each.error and each.error.code) for each in made.hooks.plugins
    }
    assert states == {"h0": ("failed", "SF221"), "h1": ("loaded", None)}
    assert made.registry("thing").resolve("store")
    assert "plugin.failed" in caplog.text


def test_a_hook_of_the_program_that_does_not_fit_is_an_error_at_once(tmp_path: Path):
    class Bad:
        @hookimpl
        def stageflow_nothing(self):
            return None

    with pytest.raises(HookSignatureError):
        plugins(tmp_path, "", Bad())


# --- sections ---------------------------------------------------------------------------


@attrs.frozen
class Acme:
    size: int = 1


def sections(**declared: Any) -> Any:
    class Declares:
        @hookimpl
        def stageflow_settings_sections(self):
            return declared

    return Declares()


def test_a_declared_section_is_part_of_the_settings(tmp_path: Path):
    made = plugins(tmp_path, "[acme]\nsize = 2\n", sections(acme=Acme))
    assert made.settings.sections["acme"] == Acme(2)


@pytest.mark.parametrize("name", ["record", "run_store", "run_stores", "plugins", "thing", "acme"])
def test_a_section_does_not_take_a_name_that_is_taken(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
):
    made = plugins(tmp_path, "", sections(acme=Acme), sections(**{name: Acme}))
    failed = [each for each in made.hooks.plugins if each.state == "failed"]
    assert [each.error and each.error.code for each in failed] == ["SF211"]


@pytest.mark.parametrize("declared", [{"acme": dict}, {"acme": None}])
def test_a_section_that_is_no_attrs_class_fails_alone(tmp_path: Path, declared: Any, caplog):
    made = plugins(tmp_path, "", sections(**declared))
    assert [each.state for each in made.hooks.plugins] == ["failed"]
    assert made.settings.sections == {}


def test_rules_that_cannot_be_read_let_no_plugin_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Any] = []

    class Noted:
        def __init__(self) -> None:
            made.append(self)

    module: Any = ModuleType("test_hook_plugins")
    module.Hooks = Noted
    monkeypatch.setitem(sys.modules, "test_hook_plugins", module)
    discovery = installed(distribution("acme", {"stageflow": {"x": "test_hook_plugins:Hooks"}}))
    plugins(tmp_path, "", discovery=discovery)
    assert len(made) == 1
    with pytest.raises(SettingsError, match=r"plugins\.block"):
        plugins(tmp_path, "[plugins]\nblock = 3\n", discovery=discovery)
    assert len(made) == 1


# --- preparing --------------------------------------------------------------------------


def test_preparing_resolves_and_checks_everything_together(tmp_path: Path):
    text = '[things.store]\nurl = "u"\npassword = "env:PASSWORD"\n[resources.pool]\nsize = 2\n'
    made = plugins(tmp_path, text, Registers(), PASSWORD="x")
    (store,) = made.prepare(("thing", "store"))
    assert store.build(resources={"pool": "p"}).settings == StoreSettings(
        url="u", password=Secret("x")
    )


def test_all_faults_of_what_is_needed_come_at_once(tmp_path: Path):
    text = (
        '[things.store]\npasword = "env:PASSWORD"\n[resources.pool]\nsize = "x"\n'
        '[things.second]\nuse = "store"\nurl = 3\npassword = "env:ABSENT"\n'
    )
    made = plugins(tmp_path, text, Registers())
    with pytest.raises(SettingsError) as caught:
        made.prepare(("thing", "store"), ("thing", "second"), ("resource", "pool"))
    found = {(fault.context["path"], fault.code) for fault in caught.value.faults}
    assert found == {
        ("things.store.url", "SF204"),
        ("things.store.password", "SF204"),
        ("things.store.pasword", "SF202"),
        ("things.second.url", "SF203"),
        ("things.second.password", "SF205"),
        ("resources.pool.size", "SF203"),
    }


def test_preparing_what_is_chosen(tmp_path: Path):
    made = plugins(
        tmp_path,
        'thing = "store"\n[things.store]\nurl = "u"\npassword = "env:P"',
        Registers(),
        P="x",
    )
    assert [each.name for each in made.prepare(("thing", None))] == ["store"]
    assert plugins(tmp_path, "", Registers()).prepare(("thing", None)) == ()
    with pytest.raises(UnknownPluginError):
        made.prepare(("thing", "absent"))
    with pytest.raises(NoDefaultError):
        plugins(tmp_path, "", Registers()).registry("thing").default()


def test_resources_are_those_of_the_project(tmp_path: Path):
    made = plugins(tmp_path, "", Registers())
    assert made.resources().plan(["pool"]) == ("pool",)


def test_variables_know_the_names_of_what_is_installed(tmp_path: Path):
    discovery = installed(distribution("acme", {"stageflow.run_stores": {"big-store": "m:S"}}))
    made = plugins(tmp_path, discovery=discovery, STAGEFLOW_RUN_STORES__BIG_STORE__URL="u")
    assert made.settings.tree.table("run_stores", "big-store") == {"url": "u"}


def test_a_tree_that_was_read_before_will_do(tmp_path: Path):
    tree = read_settings(directory=tmp_path, environ={})
    assert Plugins(tree, discovery=NOTHING).settings.root == tmp_path
