"""Functions of assets that run elsewhere: what crosses is an import path and bytes."""

from __future__ import annotations

import os

import pytest

from stageflow.assets import AssetDefinitionError, AssetFailedError, Assets, asset
from stageflow.contracts.executor import UnsendableCallError
from stageflow.plugins import UnknownPluginError
from support.remote_assets import ASSETS, broken, dying, strange, where

pytestmark = pytest.mark.anyio


async def test_inputs_partitions_and_facts_cross(backends):
    async with backends.open(ASSETS) as store:
        done = await store.materialize("total")
        assert await store.get("total") == ["x", "y"]
        assert await store.get("parts", "y") == {"partition": "y", "attempt": 1}
        assert (await store.record("parts", "y")).metadata == {"length": 1}
    assert len(done.steps) == 3


async def test_a_function_that_cannot_be_imported_is_told(backends):
    @asset(executor="inline")
    def local():
        return 1

    async with backends.open([local]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize("local")
    assert isinstance(raised.value.original, UnsendableCallError)
    assert "As the function of asset 'local'" in str(raised.value)


def test_resources_do_not_cross():
    @asset(executor="process", resources=["db"])
    def a():
        return 1

    with pytest.raises(AssetDefinitionError, match="they stay here"):
        Assets([a])


@pytest.mark.slow
async def test_another_process_is_another_process(backends):
    async with backends.open([where]) as store:
        await store.materialize("where")
        assert await store.get("where") != os.getpid()


@pytest.mark.parametrize("made", [broken, dying, strange], ids=lambda each: each.name)
async def test_what_goes_wrong_elsewhere_names_the_function_of_the_asset(backends, made):
    async with backends.open([made]) as store:
        with pytest.raises(AssetFailedError) as raised:
            await store.materialize(made)
    error = raised.value.original
    assert error.target == f"support.remote_assets:{made.name}"
    assert f"support.remote_assets:{made.name}" in error.message
    assert "produce" not in error.message


@pytest.mark.parametrize(
    ("option", "plural"), [("executor", "executors"), ("io_manager", "io_managers")]
)
async def test_a_name_that_nothing_has_is_told_with_the_asset_that_gives_it(
    backends, option, plural
):
    @asset(**{option: "nosuch"})
    def lost():
        return 1

    with pytest.raises(UnknownPluginError, match=f"{plural} is named 'nosuch' .asset 'lost'"):
        async with backends.open([lost]):
            pass


async def test_a_failure_is_told_with_its_kind_and_its_hint_once(backends):
    @asset
    def wrong():
        raise KeyError("left")

    @asset(executor="inline")
    def local():
        return 1

    async with backends.open([wrong, local]) as store:
        with pytest.raises(AssetFailedError, match="KeyError: 'left'"):
            await store.materialize("wrong")
        with pytest.raises(AssetFailedError, match="SF453") as raised:
            await store.materialize("local")
    assert str(raised.value).count("Hint:") == 1
