"""Where config providers look, and what they say if they cannot."""

from __future__ import annotations

import pytest

from stageflow.builtin.config_providers import (
    DictConfigProvider,
    EnvConfigProvider,
    TomlConfigProvider,
)
from stageflow.contracts.config_provider import ConfigKeyError, ConfigSourceError


def test_the_environment_is_asked_as_written_and_then_by_custom():
    environ = {"APP_url": "exact", "APP_URL": "custom", "APP_DATABASE__POOL_SIZE": "5"}
    provider = EnvConfigProvider("APP_", environ=environ)
    assert provider.get("url") == "exact"
    assert provider.get("Url") == "custom"
    assert provider.get("database.pool-size") == "5"
    assert provider.get("APP_url") is None
    assert repr(provider) == "EnvConfigProvider('APP_')"


def test_the_environment_is_asked_anew_each_time(monkeypatch):
    provider = EnvConfigProvider()
    monkeypatch.setenv("STAGEFLOW_TEST_KEY", "1")
    assert provider.get("STAGEFLOW_TEST_KEY") == "1"
    monkeypatch.delenv("STAGEFLOW_TEST_KEY")
    assert provider.get("STAGEFLOW_TEST_KEY", 2) == 2


def test_a_dictionary_prefers_keys_as_written():
    provider = DictConfigProvider(
        {"a.b": 1, "a": {"b": 2, "c": {"d": None}}, "x.y": {"z": 3}, "list": [1]}
    )
    assert provider.get("a.b") == 1
    assert provider.get("a") == {"b": 2, "c": {"d": None}}
    assert provider.get("a.c.d", "default") is None
    assert provider.get("x.y.z") == 3
    for key in ("a.b.c", "list.0", "a.", ".a", "a..b"):
        assert provider.get(key, "default") == "default"


def test_a_dictionary_is_taken_as_it_is_now():
    given = {"hosts": ["a"]}
    provider = DictConfigProvider(given)
    given["hosts"].append("b")
    assert provider.get("hosts") == ["a"]


def test_no_representation_shows_a_value(tmp_path):
    path = tmp_path / "app.toml"
    path.write_text("password = 'canary'")
    for provider in (
        DictConfigProvider({"password": "canary"}),
        EnvConfigProvider(environ={"password": "canary"}),
        TomlConfigProvider(path),
    ):
        assert "canary" not in repr(provider)


def test_bug_20260114_01_what_is_no_key_never_gives_the_default():
    with pytest.raises(ConfigKeyError, match="None is no configuration key"):
        DictConfigProvider({}).get(None, "default")
    with pytest.raises(ConfigKeyError):
        EnvConfigProvider(environ={}).get("", "default")


def test_a_table_of_a_toml_file(tmp_path):
    path = tmp_path / "app.toml"
    path.write_bytes(b"\xef\xbb\xbf[tool.app]\nname = 'x'\nday = 2025-01-31\n[tool.app.db]\nn = 1")
    provider = TomlConfigProvider(path, table="tool.app")
    assert provider.get("name") == "x"
    assert provider.get("day").isoformat() == "2025-01-31"
    assert provider.get("db.n") == 1
    assert provider.get("tool.app.name") is None
    assert repr(provider) == f"TomlConfigProvider('{path}, table tool.app')"


def test_a_toml_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(ConfigSourceError, match="cannot be read") as caught:
            TomlConfigProvider(path)
        assert caught.value.source == str(path)
        assert caught.value.code == "SF451"


@pytest.mark.parametrize("content", [b"name = ", b"name = '\xff'"])
def test_a_file_that_is_not_toml(tmp_path, content):
    path = tmp_path / "app.toml"
    path.write_bytes(b"a = 1\n" + content)
    with pytest.raises(ConfigSourceError, match="is not TOML"):
        TomlConfigProvider(path)


def test_a_fault_in_a_toml_file_has_its_line(tmp_path):
    path = tmp_path / "app.toml"
    path.write_text("a = 1\nb == 2\n")
    with pytest.raises(ConfigSourceError, match="line 2"):
        TomlConfigProvider(path)


def test_a_table_that_is_not_in_the_file(tmp_path):
    path = tmp_path / "app.toml"
    path.write_text("[tool.app]\nname = 'x'\n")
    with pytest.raises(ConfigSourceError, match=r"has no table 'tool\.ap'") as caught:
        TomlConfigProvider(path, table="tool.ap")
    assert "'tool.app'" in caught.value.hint
    assert caught.value.source == f"{path}, table tool.ap"
    with pytest.raises(ConfigSourceError, match="has a value, not a table"):
        TomlConfigProvider(path, table="tool.app.name")
