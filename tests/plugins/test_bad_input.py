"""What is wrong with a plugin has a code of its own, says what to do, and stops nobody else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stageflow.cli.app import app
from stageflow.errors import StageflowError
from stageflow.plugins import (
    ContractVersionError,
    DuplicatePluginError,
    MissingMethodError,
    PluginImportError,
    PluginOpenError,
    Plugins,
    ResourceCycleError,
    ResourceOpenError,
    ResourceUnhealthyError,
    SignatureError,
)
from stageflow.runtime import Runtime
from support.workspace import run

ALL = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/pyproject.toml")))
FLOW = """
from stageflow import Pipeline, stage

@stage
def a() -> int:
    return 1

pipeline = Pipeline("p").with_stages([a])
"""
OPEN = '[event_sinks.unopenable]\npassword = "file:secret"\n'
# What is wrong: the settings that make somebody use it, its error, and what the hint says.
WRONG: dict[str, tuple[str, type[StageflowError], str]] = {
    "wrong contract version": (
        'io_manager = "next-year"',
        ContractVersionError,
        "Install a release of stageflow-sample-incompatible written for 1.0",
    ),
    "missing method": ('event_sink = "half"', MissingMethodError, "Correct the implementation"),
    "wrong signature": ('event_sink = "strange"', SignatureError, "Correct the implementation"),
    "failing import": ('event_sink = "unimportable"', PluginImportError, "stageflow-sample-broken"),
    "failing open": (f'event_sink = "unopenable"\n{OPEN}', PluginOpenError, "Check its settings"),
    "failing open of a resource": (
        "[resources.unopenable]",
        ResourceOpenError,
        "Check its settings",
    ),
    "failing health check": ("[resources.unwell]", ResourceUnhealthyError, "what it connects to"),
    "two owners of a name": (
        'io_manager = "folder"',
        DuplicatePluginError,
        "name its distribution in plugins.block",
    ),
    "a cycle among resources": ("[resources.hen]", ResourceCycleError, "Take one name"),
}
Load = Callable[[str], Plugins]


@pytest.fixture
def load(install: Any, tmp_path: Path) -> Load:
    """Install every sample and return the plugins of a project with these settings."""

    def load(settings: str) -> Plugins:
        discovery = install(*ALL)
        (tmp_path / "secret").write_text("x", encoding="utf-8")
        (tmp_path / "stageflow.toml").write_text(settings, encoding="utf-8")
        return Plugins.load(directory=tmp_path, environ={}, discovery=discovery)

    return load


def test_each_has_a_code_of_its_own():
    codes = [error.code for _, error, _ in WRONG.values()]
    assert len(set(codes)) == len(codes)


@pytest.mark.anyio
@pytest.mark.parametrize(("settings", "error", "hint"), WRONG.values(), ids=WRONG)
async def test_it_says_what_to_do(load: Load, settings: str, error: type[Any], hint: str):
    plugins = load(settings)
    with pytest.raises(error) as caught:
        async with Runtime(plugins=plugins):
            await use(plugins)
    assert caught.type is error
    assert hint in caught.value.hint
    assert f"[{error.code}]" in str(caught.value)


async def use(plugins: Plugins) -> None:
    """Use what a Runtime leaves to those who store assets."""
    async with plugins.registry("io_manager").default().open():
        pytest.fail("it opened")


@pytest.mark.anyio
async def test_they_stop_no_run_that_does_not_need_them(load: Load):
    from stageflow import Pipeline, StageKind

    before = set(sys.modules)
    plugins = load('event_sink = "transcript"\n[event_sinks.transcript]\npath = "t.txt"\n')
    pipeline = Pipeline("p").with_stage("a", lambda ctx: {"n": 1}, StageKind.WORK)
    async with Runtime(plugins=plugins) as runtime:
        outcome = await runtime.run(pipeline)
    assert outcome.status == "completed"
    imported = {name.partition(".")[0] for name in set(sys.modules) - before}
    samples = {name for name in imported if name.startswith("stageflow_sample")}
    # The other two are there for their hooks, one of which is broken itself.
    hooks = {"stageflow_sample_contract", "stageflow_sample_broken"}
    assert samples <= {"stageflow_sample", *hooks}
    assert "stageflow_sample_broken.sinks" not in sys.modules


@pytest.mark.slow
def test_they_stop_no_command(site: Any, tmp_path: Path):
    """The command line as users have it, beside every sample there is."""
    path = ":".join(str(site(name)) for name in ALL)
    (tmp_path / "flow.py").write_text(FLOW, encoding="utf-8")
    (tmp_path / "stageflow.toml").write_text(
        'event_sink = "transcript"\n[event_sinks.transcript]\npath = "t.txt"\n', encoding="utf-8"
    )

    def stageflow(*arguments: str, status: int = 0) -> str:
        done = run("stageflow", *arguments, cwd=tmp_path, status=status, PYTHONPATH=path)
        return done.stdout + done.stderr

    assert "completed" in stageflow("run", "flow.py:pipeline")
    assert "pipeline.completed" in (tmp_path / "t.txt").read_text()
    assert "SF213" not in stageflow("plugins", "list")
    checked = stageflow("plugins", "check")
    assert "1.0" in checked
    for code in ("SF211", "SF212", "SF213", "SF214", "SF215", "SF223"):
        assert code in checked, code
    assert "SF212" in stageflow("unimportable", status=2)
    assert "SF211" in stageflow("transcript", "t.txt", status=2)
    (tmp_path / "stageflow.toml").write_text('event_sink = "half"\n', encoding="utf-8")
    assert "SF214" in stageflow("run", "flow.py:pipeline", status=2)
    assert "SF214" in stageflow("plugins", "check", status=1)


def test_the_help_of_the_command_imports_no_plugin(site: Any, monkeypatch: pytest.MonkeyPatch):
    from typer.testing import CliRunner

    from stageflow.plugins import process_discovery

    monkeypatch.syspath_prepend(site("stageflow-sample-broken"))
    process_discovery.cache_clear()
    try:
        done = CliRunner().invoke(app, ["--help"])
    finally:
        process_discovery.cache_clear()
    assert (done.exit_code, "unimportable" in done.output) == (0, True), done.output
