"""`stageflow plugins`, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_list(cli: Callable[..., Any]):
    done = cli("plugins", "list")
    assert done.status == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == [
        "contract",
        "name",
        "distribution",
        "version",
        "written",
        "for",
        "in",
        "use",
    ]
    assert ["run_stores", "sqlite", "stageflow-core", "0.1.0", "1.0"] in lines
    rows = {(row["registry"], row["name"]): row for row in cli("plugins", "list", "--json").json}
    assert rows["run_stores", "sqlite"]["loadable"] is None, "nothing was imported"


def test_what_is_configured_is_listed(cli: Callable[..., Any], write: Callable[[str, str], Path]):
    write("pyproject.toml", "[tool.stageflow.run_stores.archive]\nuse = 'sqlite'\npath = 'a'\n")
    assert "an instance of sqlite" in cli("plugins", "list").out


def test_a_check_that_finds_nothing(cli: Callable[..., Any]):
    done = cli("plugins", "check")
    assert done.status == 0
    assert "none of them with faults" in done.out
    assert all(row["loadable"] for row in cli("plugins", "check", "--json").json)


@pytest.mark.parametrize(
    "settings", ["run_store = 'postgress'", "[tool.stageflow.run_stores.sqlite]\npth = 'x'"]
)
def test_a_check_that_finds_something(
    cli: Callable[..., Any], write: Callable[[str, str], Path], settings: str
):
    write("pyproject.toml", f"[tool.stageflow]\n{settings}\n")
    done = cli("plugins", "check")
    assert done.status == 1
    assert "1 of them with faults" in done.out
    assert "Did you mean" in done.out or "Known:" in done.out
    bad = [row for row in cli("plugins", "check", "--json").json if row["code"]]
    assert [row["registry"] for row in bad] == ["run_stores"]


def test_everything_of_one_plugin(cli: Callable[..., Any]):
    done = cli("plugins", "show", "run_stores.sqlite")
    assert done.status == 0
    assert "stageflow.builtin.run_stores:" in done.out
    assert "busy_timeout" in done.out
    (detail,) = cli("plugins", "show", "run_stores.sqlite", "--json").json
    assert {"path", "synchronous"} <= {field["name"] for field in detail["settings"]}


def test_several_of_one_name(cli: Callable[..., Any]):
    assert len(cli("plugins", "show", "sqlite", "--json").json) > 1
    assert "\n\nrun_stores.sqlite" in cli("plugins", "show", "sqlite").out


def test_an_unknown_plugin_is_refused(cli: Callable[..., Any]):
    done = cli("plugins", "show", "sqlit")
    assert done.status == 2
    assert "Did you mean 'sqlite'?" in done.err


def test_wrong_settings_are_told(cli: Callable[..., Any], write: Callable[[str, str], Path]):
    write("pyproject.toml", "[tool.stageflow\n")
    for command in (("list",), ("check",), ("show", "sqlite")):
        done = cli("plugins", *command)
        assert done.status == 2
        assert "pyproject.toml" in done.err
