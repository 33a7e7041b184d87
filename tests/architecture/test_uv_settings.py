"""`dev/uv.py` hands pip's settings to uv, and nothing that would not work there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.uv import environment, local_path, pip_options


@pytest.fixture(autouse=True)
def nothing_set_for_uv(monkeypatch: pytest.MonkeyPatch):
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("UV_FIND_LINKS", "UV_CACHE_DIR", "SSL_CERT_FILE", "UV_HTTP_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


def test_indexes_and_options_are_translated():
    env = environment(
        {
            "index-url": "https://mirror.example/simple",
            "extra-index-url": "\nhttps://one.example/simple\nhttps://two.example/simple",
            "cert": "/etc/ssl/company.pem",
            "timeout": "180",
            "trusted-host": "one.example two.example",
        }
    )
    assert env["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert env["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert env["SSL_CERT_FILE"] == "/etc/ssl/company.pem"
    assert env["UV_HTTP_TIMEOUT"] == "180"
    assert env["UV_INSECURE_HOST"] == "one.example two.example"
    assert env["UV_PYTHON_DOWNLOADS"] == "never"
    assert env["UV_SYSTEM_CERTS"] == "1"


def test_places_that_are_not_there_are_passed_over(tmp_path: Path):
    gone = tmp_path / "gone"
    env = environment(
        {
            "extra-index-url": f"{gone.as_uri()} {tmp_path.as_uri()}",
            "find-links": f"{gone} {tmp_path}",
        }
    )
    assert env["UV_INDEX"] == tmp_path.as_uri()
    assert env["UV_FIND_LINKS"] == str(tmp_path)


def test_several_places_to_find_links_in(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    env = environment({"find-links": f"{tmp_path / 'a'} {tmp_path / 'b'}"})
    assert env["UV_FIND_LINKS"] == f"{tmp_path / 'a'},{tmp_path / 'b'}"


def test_what_is_portable_uses_nothing_on_this_disk(tmp_path: Path):
    options = {
        "extra-index-url": f"{tmp_path.as_uri()} https://one.example/simple",
        "find-links": str(tmp_path),
    }
    env = environment(options, portable=True)
    assert env["UV_INDEX"] == "https://one.example/simple"
    assert "UV_FIND_LINKS" not in env


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_variables_for_uv_itself_win(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "https://own.example/simple")
    env = environment({"index-url": "https://mirror.example/simple"})
    assert env[name] == "https://own.example/simple"
    assert "https://mirror.example/simple" not in env.values()


@pytest.mark.parametrize("home", [None, "/dev/null"])
def test_without_a_home_the_cache_goes_into_the_environment(
    home: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    if home:
        monkeypatch.setenv("HOME", home)
    assert Path(environment({})["UV_CACHE_DIR"]).name == "cache"


def test_with_a_home_the_cache_is_uvs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "UV_CACHE_DIR" not in environment({})


def test_pips_variables_rank_above_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://file.example/simple\nretries = 7\n"
        "[install]\nretries = 9\n[list]\nformat = json\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    options = pip_options()
    assert options["index-url"] == "https://variable.example/simple"
    assert options["retries"] == "9"
    assert "format" not in options


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///srv/simple", Path("/srv/simple")),
        ("file:///srv/with%20blank", Path("/srv/with blank")),
        ("/srv/wheels", Path("/srv/wheels")),
        ("https://one.example/simple", None),
    ],
)
def test_local_places_are_told_from_others(location: str, path: Path | None):
    assert local_path(location) == path
