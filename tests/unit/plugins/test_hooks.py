"""Hooks: checked when they are loaded, guarded when they are called, free when there are none."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from stageflow.plugins import DuplicatePluginError, HookSignatureError, hookimpl
from stageflow.plugins.hooks import Hooks
from support.installed import distribution, installed

FACTS = {
    "pipeline_run_id": "r1",
    "pipeline_name": "p",
    "stage": "s",
    "status": "ok",
    "duration_ms": 1.5,
}


class Observer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @hookimpl
    def stageflow_run_started(self, run_id, pipeline):
        self.told.append(("run started", run_id, pipeline))

    @hookimpl
    def stageflow_run_finished(self, status, duration_ms):
        self.told.append(("run finished", status, duration_ms))

    @hookimpl
    def stageflow_stage_started(self, stage):
        self.told.append(("stage started", stage))

    @hookimpl
    def stageflow_stage_finished(self, stage, status, facts):
        self.told.append(("stage finished", stage, status, dict(facts)))


def hooks(**objects: Any) -> Hooks:
    made = Hooks()
    for name, value in objects.items():
        made.register(value, name=name, origin="me")
    return made


def plugin(**functions: Any) -> Any:
    """Make an object whose marked functions take no self."""
    members = {name: staticmethod(hookimpl(function)) for name, function in functions.items()}
    return type("Plugin", (), members)()


# --- observation ------------------------------------------------------------------------


def test_without_hooks_there_is_no_observer():
    assert Hooks().observers() is None
    assert hooks(other=plugin(stageflow_register=lambda plugins: None)).observers() is None


def test_without_plugins_pluggy_is_not_imported():
    code = (
        "import sys; from stageflow.plugins import Plugins, read_settings; from support.installed "
        "import installed; Plugins(read_settings(environ={}), discovery=installed()).observers();"
        "print('pluggy' in sys.modules)"
    )
    path = [entry for entry in sys.path if entry]
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "False"


def test_each_event_goes_to_its_hook_with_what_it_wants():
    observer = Observer()
    tell = hooks(o=observer).observers()
    assert tell is not None
    tell("pipeline.started", FACTS)
    tell("stage.started", FACTS)
    for event in ("completed", "skipped", "cancelled", "failed"):
        tell(f"stage.{event}", FACTS)
    tell("stage.retry_scheduled", FACTS)
    for event in ("completed", "failed", "cancelled"):
        tell(f"pipeline.{event}", FACTS)
    assert observer.told == [
        ("run started", "r1", "p"),
        ("stage started", "s"),
        *[("stage finished", "s", "ok", FACTS)] * 4,
        *[("run finished", "ok", 1.5)] * 3,
    ]


def test_an_observer_cannot_change_the_facts():
    changed = []

    def finished(facts):
        try:
            facts["status"] = "fail"
        except TypeError:
            changed.append(False)

    facts = dict(FACTS)
    tell = hooks(o=plugin(stageflow_stage_finished=finished)).observers()
    assert tell is not None
    tell("stage.completed", facts)
    assert changed == [False]
    assert facts == FACTS


def test_an_observer_that_raises_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture):
    def fails(stage):
        raise ValueError("no")

    first, last = Observer(), Observer()
    tell = hooks(a=first, b=plugin(stageflow_stage_started=fails), c=last).observers()
    assert tell is not None
    with caplog.at_level(logging.WARNING, "stageflow.plugins"):
        tell("stage.started", FACTS)
    assert first.told == last.told == [("stage started", "s")]
    assert "hook.failed" in caplog.text
    assert "plugin='b'" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_goes_through(error: type[BaseException]):
    def stops(stage):
        raise error

    tell = hooks(a=plugin(stageflow_stage_started=stops)).observers()
    assert tell is not None
    with pytest.raises(error):
        tell("stage.started", FACTS)


# --- validation -------------------------------------------------------------------------


async def waits(stage): ...
def wants_too_much(stage, colour): ...
def misspelled(stage): ...
def plain(stage): ...


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (plugin(stageflow_stage_started=waits), "stageflow_stage_started must not be async"),
        (plugin(stageflow_stage_started=wants_too_much), "colour"),
        (plugin(stageflow_stage_startd=misspelled), "Did you mean 'stageflow_stage_started'"),
        (
            type("P", (), {"stageflow_stage_started": staticmethod(plain)})(),
            "stageflow_stage_started is not marked with @hookimpl",
        ),
        (
            type("P", (), {"stageflow_register": hookimpl(wrapper=True)(lambda self: (yield))})(),
            "stageflow_register must not be a wrapper",
        ),
    ],
    ids=["async", "argument", "misspelled", "unmarked", "wrapper"],
)
def test_a_hook_that_does_not_fit_is_refused_at_load(value: Any, told: str):
    made = hooks(good=Observer())
    with pytest.raises(HookSignatureError, match=told):
        made.register(value, name="bad", origin="me")
    assert [each.name for each in made.plugins] == ["good"]
    assert made.observers() is not None
    made.register(Observer(), name="bad", origin="me")


def test_two_plugins_registered_under_one_name():
    with pytest.raises(DuplicatePluginError):
        hooks(a=Observer()).register(Observer(), name="a", origin="you")


# --- installed plugins ------------------------------------------------------------------


def loaded(monkeypatch: pytest.MonkeyPatch, refusal: str | None = None, **members: Any) -> Hooks:
    module: Any = ModuleType("test_hook_plugins")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, "test_hook_plugins", module)
    points = {name: f"test_hook_plugins:{name}" for name in members}
    made = Hooks()
    for found in installed(distribution("acme", {"stageflow": points})).group("stageflow"):
        made.load(found, refusal=refusal)
    return made


def test_an_entry_point_may_name_an_object_or_a_class(monkeypatch: pytest.MonkeyPatch):
    made = loaded(monkeypatch, Obj=Observer(), Cls=Observer)
    assert [(each.name, each.state) for each in made.plugins] == [
        ("Cls", "loaded"),
        ("Obj", "loaded"),
    ]
    assert len(made.implementations("stageflow_run_started")) == 2


def test_a_broken_plugin_is_noted_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fails():
        raise RuntimeError("no")

    cls = type("Fails", (), {"__init__": lambda self: fails()})
    with caplog.at_level(logging.WARNING, "stageflow.plugins"):
        made = loaded(
            monkeypatch,
            a_bad=cls,
            b_good=Observer(),
            c_bad=plugin(stageflow_stage_started=waits),
        )
    codes = {each.name: each.error and each.error.code for each in made.plugins}
    assert codes == {"a_bad": "SF212", "b_good": None, "c_bad": "SF223"}
    assert caplog.text.count("plugin.failed") == 2
    assert len(made.implementations("stageflow_stage_started")) == 1


def test_a_refused_plugin_is_not_imported(monkeypatch: pytest.MonkeyPatch):
    def never():
        raise AssertionError("it must not be made")

    made = loaded(monkeypatch, refusal="blocked", bad=type("Bad", (), {"__init__": never}))
    assert [(each.state, each.refusal) for each in made.plugins] == [("blocked", "blocked")]


def test_two_distributions_may_call_their_hooks_the_same(monkeypatch: pytest.MonkeyPatch):
    module: Any = ModuleType("test_hook_plugins")
    module.Observer = Observer
    monkeypatch.setitem(sys.modules, "test_hook_plugins", module)
    points = {"stageflow": {"observer": "test_hook_plugins:Observer"}}
    discovery = installed(distribution("a", points), distribution("b", points))
    made = Hooks()
    for found in discovery.group("stageflow"):
        made.load(found)
    assert [each.origin for each in made.plugins] == ["a 1.0", "b 1.0"]
    assert {each.state for each in made.plugins} == {"loaded"}
