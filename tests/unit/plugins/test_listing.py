"""Listing imports nothing, however much is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stageflow.plugins import list_plugins, read_settings
from support.installed import distribution, installed

LIST = """
import json, sys
from stageflow.plugins import list_plugins, process_discovery, read_settings
rows = list_plugins(process_discovery(), read_settings(environ={}, directory=sys.argv[1]))
heavy = {"cattrs", "pluggy", "structlog", "rich", "typer"} & set(sys.modules)
mine = [name for name in sys.modules if name.startswith("many_plugins")]
print(json.dumps([[row.to_dict() for row in rows], sorted(heavy), mine]))
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Fifty installed plugins, whose modules must not be imported."""
    for number in range(50):
        info = tmp_path / f"many_plugins_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: many-plugins-{number}\nVersion: 1.{number}\n\nText.\n"
        )
        (info / "entry_points.txt").write_text(
            f"[stageflow.event_sinks]\nmany-{number} = many_plugins_{number}:Sink\n"
            "[stageflow.contract_versions]\n"
            f"event_sinks.many-{number} = stageflow.contracts.event_sink:v1_0\n"
            f"[stageflow]\nhook-{number} = many_plugins_{number}.hooks\n"
        )
        (tmp_path / f"many_plugins_{number}.py").write_text("raise AssertionError('imported')\n")
    return tmp_path


def test_fifty_plugins_are_listed_and_none_is_imported(many: Path):
    path = [str(many), *filter(None, sys.path)]
    code = f"import sys; sys.path[:] = {path!r}\n{LIST}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(many)], capture_output=True, text=True, check=True
    )
    rows, heavy, imported = json.loads(done.stdout)
    listed = [row for row in rows if row["name"].startswith("many-")]
    assert len(listed) == 50
    assert {row["contract_version"] for row in listed} == {"1.0"}
    assert len([row for row in rows if row["registry"] == "hooks"]) >= 50
    assert (heavy, imported) == ([], [])


def rows(folder: Path, text: str, *distributions) -> dict[str, tuple]:
    (folder / "stageflow.toml").write_text(text, encoding="utf-8")
    tree = read_settings(directory=folder, environ={})
    return {
        f"{row.registry}.{row.name}": (row.is_configured, row.is_chosen, row.uses, row.code)
        for row in list_plugins(installed(*distributions), tree)
    }


ACME = distribution("acme", {"stageflow.event_sinks": {"noop": "m:N", "a": "m:A", "b": "m:B"}})


def test_defaults_are_chosen_until_the_settings_choose(tmp_path: Path):
    assert rows(tmp_path, "", ACME) == {
        "event_sinks.a": (False, False, None, None),
        "event_sinks.b": (False, False, None, None),
        "event_sinks.noop": (False, True, None, None),
    }
    chosen = rows(tmp_path, 'event_sink = ["a", "mine"]\n[event_sinks.mine]\nuse = "b"\n', ACME)
    assert chosen == {
        "event_sinks.a": (False, True, None, None),
        "event_sinks.b": (False, False, None, None),
        "event_sinks.mine": (True, True, "b", None),
        "event_sinks.noop": (False, False, None, None),
    }


def test_an_instance_takes_the_name_of_an_implementation(tmp_path: Path):
    found = rows(tmp_path, 'event_sink = "a"\n[event_sinks.a]\nuse = "b"\n', ACME)
    assert found["event_sinks.a"] == (True, True, "b", None)


def test_what_nothing_installed_has_says_what_to_install(tmp_path: Path):
    (tmp_path / "stageflow.toml").write_text(
        'run_store = "postgres"\n[run_stores.postgres]\nurl = "x"\n', encoding="utf-8"
    )
    tree = read_settings(directory=tmp_path, environ={})
    (row,) = list_plugins(installed(), tree)
    assert (row.code, row.distribution) == ("SF210", None)
    assert row.hint == "Install stageflow-io-postgres, which has it."


def test_a_plugin_with_hooks_may_have_what_is_missing(tmp_path: Path):
    hooks = distribution("acme", {"stageflow": {"h": "m:H"}})
    found = rows(tmp_path, 'run_store = "made-in-code"\n', hooks)
    assert found["run_stores.made-in-code"] == (False, True, None, None)


def test_two_plugins_may_call_their_hooks_the_same_but_not_their_commands(tmp_path: Path):
    points = {"stageflow": {"h": "m:H"}, "stageflow.commands": {"c": "m:c"}}
    found = rows(tmp_path, "", distribution("a", points), distribution("b", points))
    assert found["hooks.h"][-1] is None
    assert found["commands.c"][-1] == "SF211"


def test_a_choice_from_a_variable_may_be_a_list(tmp_path: Path):
    tree = read_settings(directory=tmp_path, environ={"STAGEFLOW_EVENT_SINK": "a, b"})
    chosen = [row.name for row in list_plugins(installed(ACME), tree) if row.is_chosen]
    assert chosen == ["a", "b"]
