"""Memory stores are plugins of a contract that this distribution declares."""

from __future__ import annotations

from uuid import uuid4

import pytest

from stageflow.helpers.memory import InMemoryStore, MemoryEntry, SqliteMemoryStore
from stageflow.plugins import Plugins, SettingsError, check_plugins

pytestmark = pytest.mark.anyio


@pytest.fixture
def plugins(tmp_path):
    def load(**tables):
        arguments = {"memory_stores": tables} if tables else None
        return Plugins.load(directory=tmp_path, environ={}, arguments=arguments)

    return load


def test_the_contract_and_its_stores_are_found_with_their_versions(plugins):
    found = {entry.name: entry for entry in plugins().registry("memory_store").list()}
    assert set(found) >= {"memory", "sqlite"}
    assert found["memory"].contract_version == "1.0"
    assert found["sqlite"].contract_version == "1.0"


async def test_the_stores_pass_the_check(plugins, tmp_path):
    rows = await check_plugins(plugins(sqlite={"path": str(tmp_path / "m.sqlite3")}))
    checked = {row.name: row for row in rows if row.registry == "memory_stores"}
    assert set(checked) >= {"memory", "sqlite"}
    assert [checked[name].reason for name in ("memory", "sqlite")] == [None, None]
    assert checked["sqlite"].loadable
    assert checked["sqlite"].healthy


async def test_a_store_is_built_from_its_settings(plugins, tmp_path):
    path = tmp_path / "m.sqlite3"
    table = {"use": "sqlite", "path": str(path), "busy_timeout_seconds": 1}
    registry = plugins(chats=table).registry("memory_store")
    async with registry.resolve("chats").build() as store:
        assert isinstance(store, SqliteMemoryStore)
        await store.write(MemoryEntry("1", uuid4(), "user", "hello"))
    assert path.exists()
    assert isinstance(registry.resolve("memory").build(), InMemoryStore)


def test_a_wrong_setting_is_refused(plugins):
    registry = plugins(sqlite={"paht": "x"}).registry("memory_store")
    with pytest.raises(SettingsError, match="paht"):
        registry.resolve("sqlite").build()
