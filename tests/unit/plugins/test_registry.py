"""From names to implementations: late, checked, never replaced, each failure with its own code."""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import attrs
import pytest
from importlib_metadata import Distribution

from stageflow.contracts.contract import Contract
from stageflow.plugins import (
    BlockedPluginError,
    ContractEntry,
    ContractLoadError,
    ContractVersionError,
    DuplicatePluginError,
    LegacyPluginWarning,
    MissingMethodError,
    NoDefaultError,
    PluginBuildError,
    PluginImportError,
    PluginOpenError,
    PluginShapeError,
    Registry,
    RegistryFrozenError,
    Secret,
    SettingsError,
    SignatureError,
    UnknownPluginError,
    make_settings,
    read_settings,
)
from support.installed import distribution, installed

CANARY = "canary-5ecret"


class Shop(Protocol):
    """A contract for these tests."""

    def sell(self, thing: str) -> int: ...


@attrs.frozen(kw_only=True)
class ShopSettings:
    street: str = "Main Street"
    limits: Mapping[str, int] = attrs.field(factory=dict)
    key: Secret | None = None


class CornerShop:
    """Sells things at the corner."""

    Settings = ShopSettings

    def __init__(self, settings: ShopSettings) -> None:
        self.settings = settings

    def sell(self, thing: str) -> int:
        return len(thing)

    @classmethod
    def open(cls, settings: ShopSettings) -> CornerShop:
        return cls(settings)


class Kiosk:
    def sell(self, thing: str) -> int:
        return 1

    @classmethod
    def open(cls) -> Kiosk:
        return cls()

    @staticmethod
    def open_badly() -> HalfAShop:
        return HalfAShop()


def open_stall(settings: ShopSettings) -> CornerShop:
    return CornerShop(settings)


open_stall.Settings = ShopSettings


class HalfAShop:
    pass


class StrangeShop:
    def sell(self, item: str) -> int:
        return 1


class BrokenShop:
    Settings = ShopSettings

    def __init__(self, settings: ShopSettings) -> None:
        told = settings.key.reveal() if settings.key else "the roof"
        raise OSError(f"{told} fell down")

    def sell(self, thing: str) -> int:
        return 1


class NeedyShop(CornerShop):
    requires = ("power", "water")

    def __init__(self, settings: ShopSettings, *, resources: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.resources = dict(resources)


CONTRACT = ContractEntry("shop", "test_shops:Shop", "corner", origin="tests 1")


@pytest.fixture(autouse=True)
def shops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the made-up distributions name."""
    module: Any = ModuleType("test_shops")
    for value in (Shop, CornerShop, Kiosk, HalfAShop, StrangeShop, BrokenShop, open_stall):
        setattr(module, value.__name__, value)
    module.CONTRACT = Contract("shop", "1.2")
    module.kiosk = Kiosk()
    monkeypatch.setitem(sys.modules, "test_shops", module)
    return module


def registry(
    text: str = "", *distributions: Distribution, folder: Path | None = None, environ: Any = None
) -> Registry[Shop]:
    arguments = {}
    if text and folder is not None:
        (folder / "stageflow.toml").write_text(text, encoding="utf-8")
    tree = read_settings(directory=folder, environ=environ or {}, arguments=arguments)
    made: Registry[Shop] = Registry(CONTRACT, make_settings(tree, contracts=[CONTRACT]))
    for found in installed(*distributions).group("stageflow.shops"):
        made.offer(found)
    return made


def offers(
    name: str, version: str | None = "v1_0", version_of_distribution: str = "1.0", **shops: str
) -> Distribution:
    groups: dict[str, dict[str, str]] = {
        "stageflow.shops": {shop: f"test_shops:{value}" for shop, value in shops.items()}
    }
    if version is not None:
        groups["stageflow.contract_versions"] = {
            f"shops.{shop}": f"test_shops:{version}" for shop in shops
        }
    return distribution(name, groups, version_of_distribution)


# --- filling ----------------------------------------------------------------------------


def test_what_is_registered_is_resolved():
    made = registry()
    made.register("corner", CornerShop, origin="me")
    assert made.resolve("corner").factory is CornerShop
    assert made.resolve("corner").origin == "me"
    assert made.resolve_with_config("corner").sell("abc") == 3


def test_two_owners_of_a_name_are_both_named():
    made = registry()
    made.register("corner", CornerShop, origin="me")
    with pytest.raises(DuplicatePluginError) as caught:
        made.register("corner", Kiosk, origin="you")
    assert caught.value.origins == ("me", "you")
    assert made.resolve("corner").factory is CornerShop


def test_what_is_installed_is_not_replaced_either():
    made = registry("", offers("acme", corner="CornerShop"))
    with pytest.raises(DuplicatePluginError, match=r"by acme 1\.0 and by me"):
        made.register("corner", Kiosk, origin="me")


def test_two_distributions_with_one_name_fail_when_it_is_asked_for():
    made = registry(
        "", offers("acme", corner="CornerShop", other="Kiosk"), offers("bolt", corner="Kiosk")
    )
    with pytest.raises(DuplicatePluginError) as caught:
        made.resolve("corner")
    assert caught.value.origins == ("acme 1.0", "bolt 1.0")
    assert made.resolve("other").factory is Kiosk


def test_a_refused_owner_does_not_contest_a_name():
    found = installed(offers("acme", corner="CornerShop"), offers("bolt", corner="Kiosk"))
    made = registry()
    for each in found.group("stageflow.shops"):
        made.offer(each, refusal="blocked" if each.distribution == "bolt" else None)
    assert made.resolve("corner").factory is CornerShop
    assert [entry.refusal for entry in made.list()] == [None, "blocked"]


def test_a_refused_name_says_so():
    made = registry()
    for each in installed(offers("acme", corner="Kiosk")).group("stageflow.shops"):
        made.offer(each, refusal="blocked by plugins.block")
    with pytest.raises(BlockedPluginError, match=r"acme 1\.0 is blocked by plugins\.block"):
        made.resolve("corner")


def test_a_frozen_registry_takes_nothing_more():
    made = registry()
    made.freeze()
    with pytest.raises(RegistryFrozenError):
        made.register("late", Kiosk, origin="me")


# --- resolving --------------------------------------------------------------------------


def test_listing_imports_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "test_shops")
    made = registry("", offers("acme", corner="CornerShop"))
    assert [(entry.name, entry.origin) for entry in made.list()] == [("corner", "acme 1.0")]
    assert "test_shops" not in sys.modules
    with pytest.raises(PluginImportError, match="No module named 'test_shops'"):
        made.resolve("corner")


def test_the_second_time_is_a_look_up(monkeypatch: pytest.MonkeyPatch):
    made = registry("", offers("acme", corner="CornerShop"))
    first = made.resolve("corner")
    monkeypatch.setattr(Registry, "_load", None)
    assert made.resolve("corner") is first


def test_an_unknown_name_has_near_ones():
    made = registry("", offers("acme", corner="CornerShop"))
    with pytest.raises(UnknownPluginError, match="Did you mean 'corner'"):
        made.resolve("coner")


def test_a_name_known_from_the_workspace_says_what_to_install():
    made: Registry[Any] = Registry(
        ContractEntry("io_manager", "stageflow.contracts.io_manager:IOManager")
    )
    with pytest.raises(UnknownPluginError, match="Install stageflow-io-s3") as caught:
        made.resolve("s3")
    assert caught.value.install == "stageflow-io-s3"


def test_an_unknown_name_in_the_settings_is_told_with_its_place(tmp_path: Path):
    made = registry('shop = "coner"\n[shops.mine]\nuse = "krner"\n', folder=tmp_path)
    with pytest.raises(UnknownPluginError, match=r"stageflow\.toml:1"):
        made.default()
    with pytest.raises(UnknownPluginError, match=r"'krner' \(stageflow\.toml:3\)"):
        made.resolve("mine")


@pytest.mark.parametrize("stated", ["v1_0", "v1_2", "v1"])
def test_a_version_that_is_served(stated: str):
    assert registry("", offers("acme", stated, corner="Kiosk")).resolve("corner").factory is Kiosk


@pytest.mark.parametrize("stated", ["v1_3", "v2_0", "v0_9", "vnext", "1_0", "v1_2_3"])
def test_a_version_that_is_not_served_is_refused_before_the_import(
    stated: str, shops: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(shops, "Kiosk")
    with pytest.raises(ContractVersionError, match=r"serves 1\.0 to 1\.2") as caught:
        registry("", offers("acme", stated, corner="Kiosk")).resolve("corner")
    assert caught.value.required == "1.0 to 1.2"
    assert "acme" in caught.value.hint


def test_no_version_is_taken_as_compatible_with_one_warning():
    made = registry("", offers("acme", None, corner="Kiosk"))
    with pytest.warns(LegacyPluginWarning, match=r"corner of acme 1\.0") as caught:
        made.resolve("corner")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.resolve("corner")


def test_what_is_registered_in_code_needs_no_version_but_may_state_one():
    made = registry()
    made.register("corner", Kiosk, origin="me")
    made.resolve("corner")
    made.register("old", Kiosk, origin="me", contract_version="2.0")
    with pytest.raises(ContractVersionError):
        made.resolve("old")


@pytest.mark.parametrize("value", ["Absent", "Kiosk.absent"])
def test_an_object_that_is_not_there_is_an_import_failure(value: str):
    made = registry("", offers("acme", corner=value, other="Kiosk"))
    with pytest.raises(PluginImportError, match="Reinstall acme"):
        made.resolve("corner")
    assert made.resolve("other").factory is Kiosk


@pytest.mark.parametrize("body", ["1/0", "import not_there", "raise SystemExit(3)", "x ="])
def test_a_module_that_fails_is_an_import_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
):
    (tmp_path / "broken_shop.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    made = registry(
        "",
        distribution(
            "acme",
            {
                "stageflow.shops": {"corner": "broken_shop:X"},
                "stageflow.contract_versions": {"shops.corner": "m:v1_0"},
            },
        ),
    )
    with pytest.raises(PluginImportError, match="broken_shop:X") as caught:
        made.resolve("corner")
    assert caught.value.__cause__ is not None


def test_a_missing_method_is_found_at_load():
    with pytest.raises(MissingMethodError, match="sell is missing") as caught:
        registry("", offers("acme", corner="HalfAShop")).resolve("corner")
    assert caught.value.faults[0].fix_hint == "Add def sell(self, thing)."


def test_a_signature_that_does_not_fit_is_found_at_load():
    with pytest.raises(SignatureError, match="'item' instead of 'thing'"):
        registry("", offers("acme", corner="StrangeShop")).resolve("corner")


def test_a_settings_class_that_is_none_is_found_at_load():
    made = registry()
    made.register("corner", Kiosk, origin="me", settings_type=dict)
    with pytest.raises(PluginShapeError, match="Settings is not an attrs class"):
        made.resolve("corner")


def test_a_contract_without_a_definition_checks_nothing():
    later = ContractEntry("executor", "stageflow.contracts.executor_of_later:Executor")
    made: Registry[Any] = Registry(later)
    for found in installed(
        distribution("acme", {"stageflow.executors": {"fast": "test_shops:HalfAShop"}})
    ).group("stageflow.executors"):
        made.offer(found)
    assert made.resolve("fast").factory is HalfAShop


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (SimpleNamespace(Shop=Shop), "no CONTRACT named 'shop'"),
        (SimpleNamespace(Shop=Shop, CONTRACT=Contract("shoe", "1.0")), "no CONTRACT named 'shop'"),
        (SimpleNamespace(CONTRACT=Contract("shop", "1.0")), "test_other:Shop is not a class"),
        (
            SimpleNamespace(CONTRACT=Contract("shop", "1.0"), Shop=Shop),
            r"its metadata state version 2\.0, its module 1\.0",
        ),
    ],
)
def test_a_contract_that_is_not_as_declared_is_its_own_error(
    module: Any, reason: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "test_other", module)
    made: Registry[Any] = Registry(
        ContractEntry("shop", "test_other:Shop", origin=repr(module), stated_version="2.0")
    )
    made.register("corner", Kiosk, origin="me")
    with pytest.raises(ContractLoadError, match=reason):
        made.resolve("corner")


@pytest.mark.parametrize(("body", "told"), [("1/0", "ZeroDivisionError"), (None, "No module")])
def test_a_contract_that_cannot_be_imported_is_its_own_error(
    body: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if body is not None:
        (tmp_path / "broken_contract.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    made: Registry[Any] = Registry(ContractEntry("shop", "broken_contract:Shop", origin="acme 1"))
    made.register("corner", Kiosk, origin="me")
    with pytest.raises(ContractLoadError, match=told):
        made.resolve("corner")


# --- choosing ---------------------------------------------------------------------------


def test_the_embedded_default_serves_until_another_is_chosen(tmp_path: Path):
    acme = offers("acme", corner="CornerShop", kiosk="Kiosk")
    assert registry("", acme).default().factory is CornerShop
    chosen = registry('shop = "kiosk"', acme, folder=tmp_path)
    assert chosen.chosen == ("kiosk",)
    assert [each.factory for each in chosen.defaults()] == [Kiosk]


def test_a_contract_without_default_asks_for_a_choice():
    made: Registry[Any] = Registry(ContractEntry("shop", "test_shops:Shop"))
    made.register("corner", CornerShop, origin="me")
    with pytest.raises(NoDefaultError, match="Set shop in the settings; to choose from: corner"):
        made.default()
    assert made.defaults() == ()


# --- building ---------------------------------------------------------------------------


def test_settings_are_merged_from_default_to_override(tmp_path: Path):
    made = registry(
        '[shops.corner]\nstreet = "File Street"\nlimits = {a = 1, b = 2}\n', folder=tmp_path
    )
    made.register(
        "corner", CornerShop, origin="me", default_settings={"street": "x", "limits": {"z": 0}}
    )
    built: Any = made.resolve_with_config("corner", {"limits": {"b": 3}})
    assert built.settings.street == "File Street"
    assert built.settings.limits == {"z": 0, "a": 1, "b": 3}
    assert made.resolve("corner").settings().limits == {"z": 0, "a": 1, "b": 2}


def test_a_name_is_first_an_instance_and_then_an_implementation(tmp_path: Path):
    made = registry(
        '[shops.corner]\nstreet = "A"\n[shops.mine]\nuse = "corner"\nstreet = "B"\n'
        '[shops.kiosk]\nuse = "corner"\n',
        offers("acme", corner="CornerShop", kiosk="Kiosk"),
        folder=tmp_path,
    )
    assert made.instances() == ("corner", "mine", "kiosk")
    assert made.resolve_with_config("corner").settings.street == "A"
    assert made.resolve_with_config("mine").settings.street == "B"
    assert made.resolve("mine").implementation == "corner"
    assert made.resolve("kiosk").factory is CornerShop
    assert made.load("kiosk") is Kiosk


def test_each_build_makes_a_new_object():
    made = registry("", offers("acme", corner="CornerShop"))
    assert made.resolve_with_config("corner") is not made.resolve_with_config("corner")


@pytest.mark.parametrize("value", ["CornerShop", "open_stall"])
def test_what_takes_settings_is_called_with_them(value: str, tmp_path: Path):
    text = '[shops.corner]\nstreet = "A"\n'
    made = registry(text, offers("acme", corner=value), folder=tmp_path)
    built = made.resolve_with_config("corner")
    assert isinstance(built, CornerShop)
    assert built.settings == ShopSettings(street="A")


def test_classes_functions_and_objects_without_settings_do(shops: Any):
    made = registry("", offers("acme", cls="Kiosk", obj="kiosk"))
    made.register("function", Kiosk.open, origin="me")
    made.register("partial", functools.partial(open_stall, ShopSettings()), origin="me")
    assert isinstance(made.resolve_with_config("cls"), Kiosk)
    assert made.resolve_with_config("obj") is shops.kiosk
    assert isinstance(made.resolve_with_config("function"), Kiosk)
    assert isinstance(made.resolve_with_config("partial"), CornerShop)


def test_a_class_of_settings_may_be_given_at_registration():
    made = registry()
    made.register("corner", CornerShop.open, origin="me", settings_type=ShopSettings)
    assert made.resolve_with_config("corner", {"street": "B"}).settings.street == "B"


def test_settings_for_what_takes_none_are_a_fault(tmp_path: Path):
    made = registry("[shops.kiosk]\nsize = 1\n", offers("acme", kiosk="Kiosk"), folder=tmp_path)
    with pytest.raises(SettingsError, match="kiosk takes no settings") as caught:
        made.resolve_with_config("kiosk")
    assert caught.value.faults[0].context == {
        "path": "shops.kiosk.size",
        "origin": "stageflow.toml:2",
    }


def test_a_fault_of_an_override_does_not_blame_the_file(tmp_path: Path):
    text = '[shops.corner]\nstreet = "A"\nlimits = {a = "x"}'
    made = registry(text, offers("acme", corner="CornerShop"), folder=tmp_path)
    with pytest.raises(SettingsError) as caught:
        made.resolve_with_config("corner", {"street": 3})
    assert [fault.context["origin"] for fault in caught.value.faults] == [
        "argument shops.corner.street",
        "stageflow.toml:3",
    ]


def test_a_build_that_fails_names_the_plugin_and_keeps_the_cause():
    with pytest.raises(
        PluginBuildError, match=r"shops\.corner of acme 1\.0 .* roof fell"
    ) as caught:
        registry("", offers("acme", corner="BrokenShop")).resolve_with_config("corner")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_build_that_fails_quoting_a_secret_does_not_show_it():
    made = registry("", offers("acme", corner="BrokenShop"), environ={"KEY": CANARY})
    with pytest.raises(PluginBuildError) as caught:
        made.resolve_with_config("corner", {"key": "env:KEY"})
    text = "".join(traceback.format_exception(caught.value))
    assert "*** fell down" in text
    assert CANARY not in text


class Door:
    """Opens and closes, or does not open."""

    Settings = ShopSettings

    def __init__(self, settings: ShopSettings) -> None:
        self.settings = settings
        self.states: list[str] = []

    def sell(self, thing: str) -> int:
        return 1

    async def __aenter__(self) -> None:
        if self.settings.key is not None:
            raise OSError(f"{self.settings.key.reveal()} does not turn")
        self.states.append("open")

    async def __aexit__(self, *_: object) -> None:
        self.states.append("closed")


@pytest.mark.anyio
async def test_an_implementation_is_open_for_the_time_of_a_block():
    made = registry()
    made.register("door", Door, origin="me")
    seen: list[Any] = []

    async def use() -> None:
        async with made.resolve("door").open({"street": "B"}) as door:
            seen.append(door)
            assert (door.settings.street, door.states) == ("B", ["open"])
            raise KeyError("what the block raises goes through as it is")

    with pytest.raises(KeyError):
        await use()
    assert seen[0].states == ["open", "closed"]


@pytest.mark.anyio
async def test_an_open_that_fails_is_its_own_error_without_the_secret():
    made = registry(environ={"KEY": CANARY})
    made.register("door", Door, origin="me")
    with pytest.raises(
        PluginOpenError, match=r"could not be opened: OSError: \*\*\* does"
    ) as caught:
        async with made.resolve("door").open({"key": "env:KEY"}):
            raise AssertionError("it is not open")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_what_a_function_makes_is_checked():
    made = registry()
    made.register("corner", Kiosk.open_badly, origin="me")
    with pytest.raises(MissingMethodError):
        made.resolve_with_config("corner")


def test_required_resources_are_passed_and_nothing_else():
    made = registry()
    made.register("corner", NeedyShop, origin="me")
    built: Any = made.resolve_with_config("corner", resources={"power": 1, "water": 2, "gas": 3})
    assert built.resources == {"power": 1, "water": 2}
    with pytest.raises(PluginBuildError, match="not open: water"):
        made.resolve_with_config("corner", resources={"power": 1})


def test_what_is_required_may_depend_on_the_settings():
    class Choosy(NeedyShop):
        @staticmethod
        def requires(settings: ShopSettings) -> list[str]:
            return [settings.street]

    made = registry()
    made.register("corner", Choosy, origin="me")
    built: Any = made.resolve_with_config("corner", {"street": "power"}, resources={"power": 1})
    assert built.resources == {"power": 1}
