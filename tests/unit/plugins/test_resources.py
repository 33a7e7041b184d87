"""Resources: opened in order, checked, closed in reverse, whatever fails on the way."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from stageflow.contracts.resource import Healthy, Unhealthy
from stageflow.plugins import (
    CORE_CONTRACTS,
    PluginBuildError,
    PluginError,
    Registry,
    ResourceCloseError,
    ResourceCycleError,
    ResourceManager,
    ResourceOpenError,
    ResourceUnavailableError,
    ResourceUnhealthyError,
    Secret,
    SettingsError,
    UnknownPluginError,
    make_settings,
    opened,
    read_settings,
)

pytestmark = pytest.mark.anyio

CANARY = "canary-5ecret"
CONTRACT = next(each for each in CORE_CONTRACTS if each.name == "resource")


@attrs.frozen(kw_only=True)
class PipeSettings:
    width: int = 1
    key: Secret | None = None


class World:
    """Makes resources that note what is done with them, and fail on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.parts: dict[str, type] = {}

    def add(
        self,
        name: str,
        *requires: str,
        settings: type | None = PipeSettings,
        setup: Any = None,
        teardown: Any = None,
        health: Any = None,
        **members: Any,
    ) -> None:
        world = self

        class Part:
            def __init__(self, **given: Any) -> None:
                self.given = given

            async def setup(self, config: Mapping[str, Any]) -> Any:
                await anyio.lowlevel.checkpoint()
                if setup is not None:
                    setup(config)
                world.done.append(f"open {name}")
                return (name, dict(config), {k: dict(v) for k, v in self.given.items()})

            async def teardown(self, resource: Any) -> None:
                await anyio.lowlevel.checkpoint()
                world.done.append(f"close {name}")
                if teardown is not None:
                    await teardown()

        if settings is not None:
            Part.Settings = settings  # type: ignore[attr-defined]
        if requires:
            Part.requires = requires  # type: ignore[attr-defined]
        if health is not None:
            Part.health_check = lambda self, resource: health()  # type: ignore[attr-defined]
        for key, value in members.items():
            setattr(Part, key, value)
        self.parts[name] = Part

    def manager(self, text: str = "", environ: Mapping[str, str] | None = None) -> ResourceManager:
        (self.folder / "stageflow.toml").write_text(text, encoding="utf-8")
        settings = make_settings(read_settings(directory=self.folder, environ=environ or {}))
        registry: Registry[Any] = Registry(CONTRACT, settings)
        for name, part in self.parts.items():
            registry.register(name, part, origin="me")
        return ResourceManager(registry, settings)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def failing(error: Exception) -> Any:
    def fails(*_: Any) -> None:
        raise error

    return fails


def async_failing(error: Exception) -> Any:
    async def fails() -> None:
        raise error

    return fails


# --- order ------------------------------------------------------------------------------


async def test_what_is_required_opens_first_and_closes_last(world: World):
    world.add("app", "pool", "cache")
    world.add("cache", "pool")
    world.add("pool")
    async with world.manager() as manager:
        open_ = await manager.open("app")
        assert set(open_) == {"app", "cache", "pool"}
    assert world.done == [
        "open pool",
        "open cache",
        "open app",
        "close app",
        "close cache",
        "close pool",
    ]
    assert manager.opened == {}
    assert {each.state for each in manager.status()} == {"closed"}


async def test_what_is_required_is_passed_and_nothing_else(world: World):
    world.add("app", "pool")
    world.add("pool")
    world.add("other")
    async with world.manager() as manager:
        await manager.open("other", "app")
        assert manager.get("app") == (
            "app",
            {"width": 1, "key": None},
            {"resources": {"pool": manager.get("pool")}},
        )


async def test_all_that_is_configured_opens_if_none_is_named(world: World):
    world.add("pool")
    world.add("idle")
    text = '[resources.pool]\n[resources.second]\nuse = "pool"\nwidth = 3\n'
    async with world.manager(text) as manager:
        await manager.open()
        assert list(manager.opened) == ["pool", "second"]
        assert manager.get("second")[1]["width"] == 3


async def test_opening_again_opens_only_what_is_new(world: World):
    world.add("app", "pool")
    world.add("pool")
    async with world.manager() as manager:
        await manager.open("pool")
        await manager.open("app", "pool")
    assert world.done.count("open pool") == 1


async def test_opening_at_once_opens_once(world: World):
    world.add("pool")
    async with world.manager() as manager, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(manager.open, "pool")
    assert world.done == ["open pool", "close pool"]


async def test_a_plan_opens_nothing(world: World):
    world.add("app", "pool")
    world.add("pool")
    assert world.manager().plan(["app"]) == ("pool", "app")
    assert world.done == []


async def test_a_circle_is_told_in_order(world: World):
    world.add("a", "b")
    world.add("b", "c")
    world.add("c", "a")
    with pytest.raises(ResourceCycleError) as caught:
        await world.manager().open("a")
    assert caught.value.cycle[0] == caught.value.cycle[-1]
    assert set(zip(caught.value.cycle, caught.value.cycle[1:], strict=False)) == {
        ("a", "b"),
        ("b", "c"),
        ("c", "a"),
    }
    assert world.done == []


async def test_an_unknown_requirement_is_found_before_anything_opens(world: World):
    world.add("app", "pool", "polo")
    world.add("pool")
    with pytest.raises(UnknownPluginError, match="polo"):
        await world.manager().open("app")
    assert world.done == []


async def test_faults_of_the_settings_of_all_come_at_once(world: World):
    world.add("app", "pool")
    world.add("pool")
    text = "[resources.app]\nwidht = 2\n[resources.pool]\nkey = 'env:NOT_SET'\n"
    with pytest.raises(SettingsError) as caught:
        await world.manager(text).open("app", "pool")
    assert {fault.context["path"] for fault in caught.value.faults} == {
        "resources.app.widht",
        "resources.pool.key",
    }


async def test_without_a_settings_class_setup_gets_the_table(world: World):
    world.add("pool", settings=None)
    text = "[resources.pool]\nuse = 'pool'\non_failure = 'stop'\nurl = 'env:URL'\n"
    async with world.manager(text, {"URL": "x"}) as manager:
        await manager.open("pool")
        assert manager.get("pool")[1] == {"url": "x"}


async def test_plain_methods_do(world: World):
    class Plain:
        def setup(self, config):
            return "plain"

        def teardown(self, resource):
            world.done.append(f"close {resource}")

        def health_check(self, resource):
            return Healthy()

    world.parts["plain"] = Plain
    async with world.manager() as manager:
        assert await manager.open("plain") == {"plain": "plain"}
    assert world.done == ["close plain"]


# --- failing to open --------------------------------------------------------------------


async def test_a_failure_closes_what_this_call_opened_and_keeps_the_rest(world: World):
    world.add("first")
    world.add("pool")
    world.add("app", "pool", setup=failing(OSError("no route")))
    async with world.manager() as manager:
        await manager.open("first")
        with pytest.raises(ResourceOpenError, match=r"resources\.app of me .*no route") as caught:
            await manager.open("app")
        assert world.done == ["open first", "open pool", "close pool"]
        assert list(manager.opened) == ["first"]
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(ResourceUnavailableError, match="no route"):
            manager.get("app")


async def test_failures_to_close_again_are_attached(world: World):
    world.add("pool", teardown=async_failing(ValueError("stuck")))
    world.add("app", "pool", setup=failing(OSError("no route")))
    with pytest.raises(ResourceOpenError) as caught:
        await world.manager().open("app")
    assert [error.name for error in caught.value.close_failures] == ["pool"]


async def test_a_failure_that_quotes_a_secret_does_not_show_it(world: World):
    def setup(config: Mapping[str, Any]) -> None:
        raise OSError(f"cannot log in with {config['key'].reveal()}")

    world.add("pool", setup=setup)
    manager = world.manager("[resources.pool]\nkey = 'env:KEY'\n", {"KEY": CANARY})
    with pytest.raises(ResourceOpenError, match=r"log in with \*\*\*") as caught:
        await manager.open("pool")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(manager.status())


@pytest.mark.parametrize("where", ["settings", "class"])
async def test_one_that_may_fail_fails_alone(
    world: World, where: str, caplog: pytest.LogCaptureFixture
):
    members = {"on_failure": "continue"} if where == "class" else {}
    world.add("soft", setup=failing(OSError("no route")), **members)
    world.add("pool")
    text = "[resources.soft]\non_failure = 'continue'\n" if where == "settings" else ""
    with caplog.at_level(logging.WARNING, "stageflow.plugins"):
        async with world.manager(text) as manager:
            assert set(await manager.open("soft", "pool")) == {"pool"}
            states = {each.name: each.state for each in manager.status()}
            assert states == {"soft": "failed", "pool": "open"}
            with pytest.raises(ResourceUnavailableError, match="no route"):
                manager.get("soft")
    assert "resource.failed" in caplog.text


async def test_the_settings_can_forbid_what_the_class_allows(world: World):
    world.add("soft", setup=failing(OSError("no")), on_failure="continue")
    with pytest.raises(ResourceOpenError):
        await world.manager("[resources.soft]\non_failure = 'stop'\n").open("soft")


async def test_one_that_may_fail_need_not_even_exist(world: World):
    world.add("pool")
    text = "[resources.pool]\n[resources.soft]\nuse = 'absent'\non_failure = 'continue'\n"
    async with world.manager(text) as manager:
        await manager.open()
        assert list(manager.opened) == ["pool"]
        with pytest.raises(ResourceUnavailableError, match="absent"):
            manager.get("soft")


async def test_who_requires_a_failed_one_fails_too(world: World):
    world.add("soft", setup=failing(OSError("no")), on_failure="continue")
    world.add("app", "soft")
    with pytest.raises(ResourceUnavailableError, match="app requires it"):
        await world.manager().open("app")
    world.add("app2", "soft", on_failure="continue")
    async with world.manager() as manager:
        assert await manager.open("app2") == {}


async def test_a_cancelled_open_closes_what_it_opened(world: World):
    async with anyio.create_task_group() as group:

        def setup(config: Mapping[str, Any]) -> None:
            group.cancel_scope.cancel()

        world.add("pool")
        world.add("app", "pool", setup=setup, health=anyio.sleep_forever)
        manager = world.manager()
        await manager.open("app")
    assert world.done == ["open pool", "open app", "close app", "close pool"]


# --- health -----------------------------------------------------------------------------


async def unhealthy() -> Unhealthy:
    return Unhealthy(f"no answer with {CANARY}")


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (unhealthy, r"no answer with \*\*\*"),
        (async_failing(ValueError("odd")), "ValueError: odd"),
        (anyio.sleep_forever, "longer than 0.001 s"),
    ],
    ids=["unhealthy", "raises", "hangs"],
)
async def test_one_that_is_not_healthy_is_closed_again(world: World, health: Any, reason: str):
    world.add("pool", health=health)
    text = "health_timeout = 0.001\n[resources.pool]\nkey = 'env:KEY'\n"
    with pytest.raises(ResourceUnhealthyError, match=reason) as caught:
        await world.manager(text, {"KEY": CANARY}).open("pool")
    assert CANARY not in str(caught.value)
    assert world.done == ["open pool", "close pool"]


async def test_health_is_told_of_all_that_is_open(world: World):
    answers = [Healthy(), Unhealthy("tired")]

    async def health() -> Healthy | Unhealthy:
        return answers.pop(0)

    world.add("pool", health=health)
    world.add("plain")
    async with world.manager() as manager:
        await manager.open("pool", "plain")
        assert await manager.health() == {"pool": Unhealthy("tired"), "plain": Healthy()}


# --- closing ----------------------------------------------------------------------------


async def test_every_close_is_tried_and_failures_are_grouped(world: World):
    world.add("a", teardown=async_failing(ValueError("a is stuck")))
    world.add("b")
    world.add("c", teardown=async_failing(OSError("c is stuck")))
    manager = world.manager()
    await manager.open("a", "b", "c")
    with pytest.raises(ResourceCloseError) as caught:
        await manager.aclose()
    assert sorted(world.done[-3:]) == ["close a", "close b", "close c"]
    causes = [error.__cause__ for error in caught.value.exceptions]
    assert {type(cause) for cause in causes} == {ValueError, OSError}
    part, rest = caught.value.split(lambda error: getattr(error, "name", "") == "a")
    assert isinstance(part, ResourceCloseError)
    assert isinstance(rest, ResourceCloseError)
    assert "Resources failed to close: a." in str(part)
    await manager.aclose()


async def test_a_close_that_hangs_is_given_up(world: World):
    world.add("a", teardown=anyio.sleep_forever)
    world.add("b")
    manager = world.manager("cleanup_timeout = 0.001")
    await manager.open("b", "a")
    with pytest.raises(ResourceCloseError) as caught:
        await manager.aclose()
    assert "longer than 0.001 s" in str(caught.value.exceptions[0])
    assert {"close a", "close b"} <= set(world.done)


async def test_closing_is_not_cut_short_by_cancellation(world: World):
    async def slow() -> None:
        await anyio.lowlevel.checkpoint()
        world.done.append("closed")

    world.add("a", teardown=slow)
    manager = world.manager()
    await manager.open("a")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await manager.aclose()
    assert world.done[-1] == "closed"


async def test_a_manager_that_is_not_closed_warns(world: World):
    world.add("a")
    managers = [world.manager()]
    await managers[0].open("a")

    def lose() -> None:
        managers.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="never closed: a"):
        lose()


# --- implementations of other contracts -------------------------------------------------


async def test_opened_enters_context_managers_and_closes_the_others():
    done = []

    class Managed:
        async def __aenter__(self):
            done.append("enter")

        async def __aexit__(self, *_):
            done.append("leave")

    class Closing:
        async def aclose(self):
            await anyio.lowlevel.checkpoint()
            done.append("close")

    managed, closing, plain = Managed(), Closing(), object()
    async with opened(managed) as a, opened(closing) as b, opened(plain) as c:
        assert (a, b, c) == (managed, closing, plain)
    assert done == ["enter", "close", "leave"]


async def test_all_errors_are_plugin_errors():
    assert issubclass(ResourceUnhealthyError, ResourceOpenError)
    assert issubclass(ResourceOpenError, PluginBuildError)
    assert issubclass(ResourceUnavailableError, PluginError)
