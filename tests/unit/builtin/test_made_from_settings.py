"""Run stores and config providers are made from their settings objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from stageflow.builtin.config_providers import (
    DictConfigSettings,
    EnvConfigSettings,
    TomlConfigSettings,
    make_dict_config_provider,
    make_env_config_provider,
    make_toml_config_provider,
)
from stageflow.builtin.run_stores import SqliteRunStoreSettings, make_sqlite_run_store
from stageflow.plugins import Plugins, check_plugins

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("factory", "settings"),
    [
        (make_sqlite_run_store, SqliteRunStoreSettings),
        (make_env_config_provider, EnvConfigSettings),
        (make_dict_config_provider, DictConfigSettings),
        (make_toml_config_provider, TomlConfigSettings),
    ],
)
def test_a_factory_names_its_settings(factory, settings):
    assert factory.Settings is settings


async def test_a_run_store_is_made_as_its_settings_say(tmp_path):
    path = tmp_path / "runs.sqlite3"
    settings = SqliteRunStoreSettings(path=path, synchronous="normal")
    async with make_sqlite_run_store(settings) as store:
        pragma = await store._database.read(lambda c: c.execute("pragma synchronous").fetchone())
    assert (path.exists(), pragma) == (True, (1,))
    async with make_sqlite_run_store(SqliteRunStoreSettings(path=path, read_only=True)) as store:
        assert "runs.sqlite3" in repr(store)
    assert SqliteRunStoreSettings().path == Path(".stageflow/runs.sqlite3")
    with pytest.raises(ValueError, match="busy_timeout"):
        SqliteRunStoreSettings(busy_timeout=-1)


def test_config_providers_are_made_as_their_settings_say(tmp_path, monkeypatch):
    monkeypatch.setenv("APP_NAME", "from env")
    path = tmp_path / "app.toml"
    path.write_text("[app]\nname = 'from toml'\n")
    values = {"name": "from dict"}
    assert make_env_config_provider(EnvConfigSettings(prefix="APP_")).get("name") == "from env"
    assert make_dict_config_provider(DictConfigSettings(values=values)).get("name") == "from dict"
    settings = TomlConfigSettings(path=path, table="app")
    assert make_toml_config_provider(settings).get("name") == "from toml"
    assert "from dict" not in repr(DictConfigSettings(values=values))


async def test_what_serves_unless_something_is_chosen_needs_no_settings(tmp_path):
    rows = await check_plugins(Plugins.load(directory=tmp_path, environ={}))
    serving = {f"{row.registry}.{row.name}": row.healthy for row in rows if row.is_chosen}
    assert serving.keys() >= {"run_stores.memory", "io_managers.memory", "executors.inline"}
    assert set(serving.values()) == {True}
