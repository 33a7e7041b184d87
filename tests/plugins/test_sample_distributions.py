"""Plugins as real distributions: the good one works, the others fail alone and say why."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

import anyio
import pytest

from stageflow.plugins import (
    BlockedPluginError,
    ContractVersionError,
    DuplicatePluginError,
    LegacyPluginWarning,
    MissingMethodError,
    PluginBuildError,
    PluginImportError,
    PluginOpenError,
    PluginRow,
    Plugins,
    ResourceCycleError,
    ResourceOpenError,
    ResourceUnhealthyError,
    SignatureError,
    UnknownPluginError,
    check_plugins,
    list_plugins,
    read_settings,
    show_plugin,
)

ALL = (
    "stageflow-sample",
    "stageflow-sample-broken",
    "stageflow-sample-contract",
    "stageflow-sample-duplicate",
    "stageflow-sample-incompatible",
    "stageflow-sample-legacy",
)
CANARY = "canary-5ecret"


@pytest.fixture
def load(install, tmp_path):
    """Install samples, write settings, return the plugins of that project."""

    def load(*names: str, settings: str = "", **environ: str) -> Plugins:
        discovery = install(*names)
        (tmp_path / "stageflow.toml").write_text(settings, encoding="utf-8")
        return Plugins.load(directory=tmp_path, environ=environ, discovery=discovery)

    return load


def by_name(rows: tuple[PluginRow, ...]) -> dict[str, PluginRow]:
    return {f"{row.registry}.{row.name}": row for row in rows}


# --- the good one -----------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_sink_is_chosen_configured_and_used(load, tmp_path: Path):
    plugins = load(
        "stageflow-sample",
        settings='event_sink = "transcript"\n[event_sinks.transcript]\npath = "logs/events.txt"\n',
    )
    async with plugins.registry("event_sink").default().open() as sink:
        await sink.emit(type="a", data={"n": 1})
    assert (tmp_path / "logs/events.txt").read_text() == 'a\t{"n": 1}\n'


@pytest.mark.anyio
async def test_an_instance_of_the_manager_is_used_by_its_name(load, tmp_path: Path):
    plugins = load(
        "stageflow-sample", settings='[io_managers.warehouse]\nuse = "folder"\nroot = "data"\n'
    )
    manager = plugins.registry("io_managers").resolve_with_config("warehouse")
    await manager.store("asset", {"a": 1}, None)
    assert await manager.load("asset", None) == {"a": 1}
    assert (tmp_path / "data").is_dir()


def test_a_command_is_listed_and_loaded_when_it_is_invoked(load, tmp_path: Path, capsys):
    plugins = load("stageflow-sample")
    (found,) = [each for each in plugins.commands() if each.distribution == "stageflow-sample"]
    assert (found.name, "stageflow_sample" in sys.modules) == ("transcript", False)
    (tmp_path / "events.txt").write_text("b\tnull\na\t{}\nb\t{}\n", encoding="utf-8")
    plugins.load_command("transcript")(tmp_path / "events.txt")
    assert capsys.readouterr().out == "     1 a\n     2 b\n"
    with pytest.raises(UnknownPluginError, match="Did you mean 'transcript'"):
        plugins.load_command("transcripts")


@pytest.mark.slow
def test_the_sample_keeps_its_contracts(site):
    from support.workspace import run

    run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-pno:cacheprovider",
        cwd=Path(__file__).parent / "stageflow-sample",
        PYTHONPATH=str(site("stageflow-sample")),
    )


# --- the others -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tomorrow", "next-year"])
def test_an_incompatible_plugin_is_refused_without_importing_it(load, name: str):
    plugins = load("stageflow-sample-incompatible")
    with pytest.raises(ContractVersionError, match=r"stageflow-sample-incompatible 1\.0\.0"):
        plugins.registry("io_manager").resolve(name)
    assert "stageflow_sample_incompatible" not in sys.modules


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("unimportable", PluginImportError),
        ("absent", PluginImportError),
        ("half", MissingMethodError),
        ("strange", SignatureError),
    ],
)
def test_a_broken_plugin_fails_when_it_is_used(load, name: str, error: type[Exception]):
    plugins = load("stageflow-sample", "stageflow-sample-broken")
    with pytest.raises(error):
        plugins.registry("event_sink").resolve(name)
    assert plugins.registry("event_sink").resolve("transcript").origin == "stageflow-sample 1.0.0"


def test_a_plugin_that_cannot_be_built_shows_no_secret(load):
    plugins = load(
        "stageflow-sample-broken",
        settings='[event_sinks.unbuildable]\npassword = "env:PASSWORD"\n',
        PASSWORD=CANARY,
    )
    with pytest.raises(PluginBuildError) as caught:
        plugins.registry("event_sink").resolve("unbuildable").build()
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("unopenable", ResourceOpenError),
        ("unwell", ResourceUnhealthyError),
        ("hen", ResourceCycleError),
    ],
)
async def test_a_broken_resource_is_its_own_error(load, name: str, error: type[Exception]):
    with pytest.raises(error):
        await load("stageflow-sample-broken").resources().open(name)


def test_two_owners_of_one_name_are_told_apart_by_the_settings(load):
    both = ("stageflow-sample", "stageflow-sample-duplicate")
    plugins = load(*both)
    with pytest.raises(DuplicatePluginError) as caught:
        plugins.registry("io_manager").resolve("folder")
    assert caught.value.origins == ("stageflow-sample 1.0.0", "stageflow-sample-duplicate 1.0.0")
    with pytest.raises(DuplicatePluginError):
        plugins.load_command("transcript")
    assert plugins.registry("io_manager").contract.origin == "stageflow-core"
    plugins = load(*both, settings='[plugins]\nblock = ["stageflow-sample-duplicate"]\n')
    assert plugins.registry("io_manager").resolve("folder").origin == "stageflow-sample 1.0.0"
    assert plugins.load_command("transcript").__module__ == "stageflow_sample.command"


def test_a_blocked_plugin_says_so(load):
    plugins = load("stageflow-sample", settings='[plugins]\nallow = ["other"]\n')
    with pytest.raises(BlockedPluginError, match=r"not listed in plugins\.allow"):
        plugins.registry("event_sink").resolve("transcript")
    with pytest.raises(BlockedPluginError):
        plugins.load_command("transcript")
    assert plugins.registry("event_sink").default().name == "noop"


def test_a_legacy_plugin_works_with_one_warning(load):
    registry = load("stageflow-sample-legacy").registry("event_sink")
    with pytest.warns(LegacyPluginWarning, match="stageflow-sample-legacy") as caught:
        registry.resolve_with_config("legacy")
    registry.resolve_with_config("legacy")
    assert len(caught) == 1


# --- a contract and hooks of its own ----------------------------------------------------


def test_a_contract_of_its_own_is_like_any_other(load):
    plugins = load(
        "stageflow-sample-contract",
        settings='notifier = "mine"\n[notifiers.mine]\nuse = "list"\nprefix = "> "\n'
        '[notify]\non = ["completed"]\n',
    )
    notifier: Any = plugins.registry("notifier").default().build()
    notifier.notify("hello")
    assert notifier.texts == ["> hello"]
    assert plugins.settings.sections["notify"].on == ("completed",)


def test_hooks_register_and_observe(load):
    plugins = load("stageflow-sample-contract")
    loud: Any = plugins.registry("notifier").resolve_with_config("loud")
    observers = plugins.observers()
    assert observers is not None
    observers("pipeline.failed", {"pipeline_name": "p", "status": "failed"})
    assert loud.texts == ["! p failed"]
    loud.texts.clear()


@pytest.mark.anyio
async def test_hooks_see_a_real_run(load):
    from stageflow import Pipeline, Runtime, StageKind

    plugins = load("stageflow-sample-contract")
    observers = plugins.observers()
    assert observers is not None
    loud: Any = plugins.registry("notifier").resolve_with_config("loud")
    pipeline = Pipeline("daily").with_stage("a", lambda ctx: None, StageKind.WORK)
    async with Runtime() as runtime:
        await runtime.run(pipeline, listeners=[observers])
    assert loud.texts == ["! daily completed"]
    loud.texts.clear()


# --- reports ----------------------------------------------------------------------------


def test_listing_says_what_metadata_and_settings_say(install, tmp_path: Path):
    discovery = install(*ALL)
    (tmp_path / "stageflow.toml").write_text(
        'event_sink = ["transcript", "absent-sink"]\n[event_sinks.transcript]\npath = "x"\n'
        '[io_managers.warehouse]\nuse = "folder"\n[plugins]\nblock = ["stageflow-sample-legacy"]\n',
        encoding="utf-8",
    )
    rows = list_plugins(discovery, read_settings(directory=tmp_path, environ={}))
    assert [name for name in sys.modules if name.startswith("stageflow_sample")] == []
    named = by_name(rows)
    assert named["event_sinks.transcript"].to_dict() == {
        "registry": "event_sinks",
        "name": "transcript",
        "distribution": "stageflow-sample",
        "version": "1.0.0",
        "contract_version": "1.0",
        "target": "stageflow_sample.event_sink:TranscriptEventSink",
        "uses": None,
        "configured": True,
        "chosen": True,
        "loadable": None,
        "healthy": None,
        "code": None,
        "reason": None,
        "hint": None,
    }
    assert named["io_managers.warehouse"].uses == "folder"
    assert named["event_sinks.legacy"].code == BlockedPluginError.code
    assert [row.code for row in rows if row.name == "folder"] == [DuplicatePluginError.code] * 2
    assert {"hooks.notify", "commands.unimportable", "contracts.notifier"} <= named.keys()
    assert named["notifiers.list"].contract_version == "2.0"
    assert named["event_sinks.absent-sink"].distribution is None


@pytest.mark.anyio
async def test_checking_says_what_loads_opens_and_is_healthy(load, tmp_path: Path):
    plugins = load(
        *ALL,
        settings=f"""
        event_sink = "transcript"
        [event_sinks.transcript]
        path = "events.txt"
        [event_sinks.second]
        use = "transcript"
        path = "{tmp_path}"
        [event_sinks.unbuildable]
        password = "env:PASSWORD"
        [event_sinks.unopenable]
        password = "env:PASSWORD"
        [event_sinks.jsonl]
        file = "x"
        [event_sinks.gone]
        [resources.unopenable]
        [resources.unwell]
        [resources.unclosable]
        [resources.hen]
        [notifiers.list]
        """,
        PASSWORD=CANARY,
    )
    rows = await check_plugins(plugins)
    found = {
        name: (row.loadable, row.healthy, row.code)
        for name, row in by_name(rows).items()
        if row.distribution != "stageflow-core" or row.is_configured
    }
    expected = {
        "commands.transcript": (False, None, "SF211"),
        "commands.unimportable": (False, None, "SF212"),
        "contracts.io_manager": (False, None, "SF211"),
        "contracts.notifier": (True, None, None),
        "event_sinks.absent": (False, None, "SF212"),
        "event_sinks.gone": (False, None, "SF210"),
        "event_sinks.half": (False, None, "SF214"),
        "event_sinks.jsonl": (True, False, "SF201"),
        "event_sinks.legacy": (True, None, None),
        "event_sinks.second": (True, False, "SF224"),
        "event_sinks.strange": (False, None, "SF215"),
        "event_sinks.transcript": (True, True, None),
        "event_sinks.unbuildable": (True, False, "SF217"),
        "event_sinks.unimportable": (False, None, "SF212"),
        "event_sinks.unopenable": (True, False, "SF224"),
        "hooks.broken-hooks": (False, None, "SF223"),
        "hooks.notify": (True, None, None),
        "io_managers.folder": (False, None, "SF211"),
        "io_managers.next-year": (False, None, "SF213"),
        "io_managers.tomorrow": (False, None, "SF213"),
        "notifiers.list": (True, True, None),
        "notifiers.loud": (True, None, None),
        "resources.egg": (True, None, None),
        "resources.hen": (True, False, "SF230"),
        "resources.unclosable": (True, False, "SF234"),
        "resources.unopenable": (True, False, "SF231"),
        "resources.unwell": (True, False, "SF232"),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert CANARY not in repr([row.to_dict() for row in rows])
    assert all(row.reason for row in rows if row.code)


@pytest.mark.anyio
async def test_checking_imports_nothing_that_is_blocked(load):
    plugins = load("stageflow-sample", settings='[plugins]\nblock = ["stageflow-sample"]\n')
    row = by_name(await check_plugins(plugins))["event_sinks.transcript"]
    assert (row.code, row.loadable, row.healthy) == (BlockedPluginError.code, None, None)
    assert "stageflow_sample.event_sink" not in sys.modules


class HangingSink:
    """Never opens."""

    async def emit(self, *, type, data):
        return None

    def try_emit(self, *, type, data):
        return None

    async def __aenter__(self):
        await anyio.sleep_forever()

    async def __aexit__(self, *_):
        return None


@pytest.mark.anyio
async def test_checking_does_not_wait_for_ever(load):
    plugins = load(settings='event_sink = "hangs"\nhealth_timeout = 0.001\n')
    plugins.registry("event_sink").register("hangs", HangingSink, origin="me")
    row = by_name(await check_plugins(plugins))["event_sinks.hangs"]
    assert (row.code, row.healthy) == (PluginOpenError.code, False)
    assert "longer than 0.001 s" in (row.reason or "")


def test_showing_tells_what_can_be_set_and_where_it_is(load):
    plugins = load("stageflow-sample", settings='[event_sinks.transcript]\npath = "x"\n')
    (detail,) = show_plugin(plugins, "transcript")[1:]
    assert detail.to_dict()["settings"] == [
        {"name": "path", "kind": "a path", "default": None, "origin": "stageflow.toml:2"}
    ]
    assert detail.summary == "Writes the type of each event and, after a tab, its data as JSON."
    assert show_plugin(plugins, "event_sinks.transcript") == (detail,)
    with pytest.raises(UnknownPluginError, match="Did you mean 'transcript'"):
        show_plugin(plugins, "transcrip")
