"""The settings of a project: core's own, what is chosen, what is configured."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from stageflow.plugins import (
    CORE_CONTRACTS,
    ContractEntry,
    PluginRules,
    Settings,
    SettingsError,
    make_settings,
    read_settings,
)
from stageflow.plugins.settings import plugin_rules


def settings(folder: Path, text: str = "", **kwargs) -> Settings:
    (folder / "stageflow.toml").write_text(text, encoding="utf-8")
    environ = kwargs.pop("environ", {})
    return make_settings(read_settings(directory=folder, environ=environ), **kwargs)


def faults(folder: Path, text: str, **kwargs) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        settings(folder, text, **kwargs)
    return {fault.context["path"]: fault.code for fault in caught.value.faults}


def test_without_a_file_everything_has_its_default(tmp_path: Path):
    made = settings(tmp_path)
    assert made.record is None
    assert made.durability == "none"
    assert made.log_level == "warning"
    assert made.plugins == PluginRules()
    assert made.choices == {}
    assert made.root == tmp_path
    assert made == make_settings(made.tree)


def test_core_settings_are_structured(tmp_path: Path):
    made = settings(
        tmp_path,
        'record = "runs.sqlite3"\ndurability = "step"\ncleanup_timeout = 3\n'
        '[plugins]\nblock = ["bad-plugin"]\n',
    )
    assert made.record == tmp_path / "runs.sqlite3"
    assert made.durability == "step"
    assert made.cleanup_timeout == 3.0
    assert made.plugins.block == ("bad-plugin",)
    assert str(made.origin("plugins", "block")) == "stageflow.toml:5"


def test_a_contract_is_chosen_by_its_name(tmp_path: Path):
    made = settings(
        tmp_path,
        'run_store = "postgres"\nevent_sink = ["jsonl", "logging"]\ntelemetry_emitter = "logging"',
        environ={"STAGEFLOW_CONFIG_PROVIDER": "dict, env"},
    )
    assert made.choices == {
        "run_store": ("postgres",),
        "event_sink": ("jsonl", "logging"),
        "telemetry_emitter": ("logging",),
        "config_provider": ("dict", "env"),
    }


def test_what_a_plugin_configures_is_not_looked_into(tmp_path: Path):
    made = settings(tmp_path, '[run_stores.postgres]\nurl = "env:NOT_SET"\nx = [1]\n')
    assert made.tree.table("run_stores", "postgres")["url"] == "env:NOT_SET"


def test_all_faults_come_at_once(tmp_path: Path):
    text = """
        durabilty = "step"
        log_level = "loud"
        run_store = ["a", "b"]
        event_sink = 3
        io_managers = "s3"
        [run_stores]
        memory = "x"
        [io_manager]
        use = "s3"
        [event_sinks.a]
        use = 1
        [resources.pool]
        on_failure = "go on"
        [plugins]
        allow = "x"
        """
    assert faults(tmp_path, text) == {
        "durabilty": "SF202",
        "log_level": "SF203",
        "run_store": "SF203",
        "event_sink": "SF203",
        "io_managers": "SF203",
        "run_stores.memory": "SF203",
        "io_manager": "SF203",
        "event_sinks.a.use": "SF203",
        "resources.pool.on_failure": "SF203",
        "plugins.allow": "SF203",
    }


def test_a_value_below_its_bound_is_a_fault(tmp_path: Path):
    with pytest.raises(SettingsError, match="cleanup_timeout must be above 0"):
        settings(tmp_path, "cleanup_timeout = 0")


def test_an_unknown_key_is_told_with_the_nearest(tmp_path: Path):
    with pytest.raises(SettingsError, match="Did you mean 'run_stores' or 'run_store'"):
        settings(tmp_path, "[run_storess.x]")


def test_an_unknown_variable_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match="STAGEFLOW_RUN_STOER: run_stoer: unknown key"):
        settings(tmp_path, environ={"STAGEFLOW_RUN_STOER": "x"})


@attrs.frozen
class Acme:
    url: str
    size: int = 1


@attrs.frozen
class Optional:
    size: int = 1


def test_declared_sections_become_objects(tmp_path: Path):
    sections = {"acme": Acme, "other": Optional}
    made = settings(tmp_path, '[acme]\nurl = "x"\n', sections=sections)
    assert made.sections == {"acme": Acme("x"), "other": Optional()}
    assert settings(tmp_path, sections=sections).sections == {"other": Optional()}
    assert faults(tmp_path, "[acme]\nsize = 'x'\n", sections=sections) == {
        "acme.url": "SF204",
        "acme.size": "SF203",
    }


def test_contracts_of_others_have_keys_and_tables(tmp_path: Path):
    contracts = (*CORE_CONTRACTS, ContractEntry("notifier", "acme.contract:Notifier"))
    text = 'notifier = "mail"\n[notifiers.mail]\nto = "x"\n'
    assert settings(tmp_path, text, contracts=contracts).choices == {"notifier": ("mail",)}
    assert faults(tmp_path, text) == {"notifier": "SF202", "notifiers": "SF202"}


@pytest.mark.parametrize(
    ("rules", "distribution", "name", "is_refused"),
    [
        (PluginRules(), "acme", "io_managers.s3", False),
        (PluginRules(block=("acme",)), "acme", "io_managers.s3", True),
        (PluginRules(block=("Acme_Corp.Tools",)), "acme-corp-tools", "x.y", True),
        (PluginRules(block=("io_managers.s3",)), "acme", "io_managers.s3", True),
        (PluginRules(block=("io_managers.s3",)), "acme", "io_managers.s4", False),
        (PluginRules(allow=("acme",)), "acme", "io_managers.s3", False),
        (PluginRules(allow=("acme",)), "other", "io_managers.s3", True),
        (PluginRules(allow=("acme",)), "stageflow-core", "io_managers.memory", False),
        (PluginRules(allow=("acme",), block=("acme",)), "acme", "x.y", True),
        (PluginRules(block=("event_sinks.sqlite",)), "stageflow-core", "event_sinks.sqlite", True),
    ],
)
def test_rules_say_what_may_be_used(rules, distribution, name, is_refused):
    assert (rules.refusal(distribution, name) is not None) is is_refused


@pytest.mark.parametrize("text", ["[plugins]\nblock = 3\n", "plugins = 3\n", "plugins = []\n"])
def test_rules_that_cannot_be_read_are_no_rules(tmp_path: Path, text: str):
    (tmp_path / "stageflow.toml").write_text(text, encoding="utf-8")
    assert plugin_rules(read_settings(directory=tmp_path, environ={})) is None
