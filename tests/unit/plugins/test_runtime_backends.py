"""A Runtime picks its backends by name: opened in order, used by runs, closed in reverse."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from stageflow import Pipeline, RetryPolicy, StageKind
from stageflow.contracts import Healthy, NormalizedError, Unhealthy
from stageflow.plugins import (
    PluginOpenError,
    Plugins,
    RegistryFrozenError,
    ResourceOpenError,
    SettingsError,
    UnknownPluginError,
    hookimpl,
)
from stageflow.runtime import Runtime, RuntimeCloseError
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio


class Diary:
    """What happened to the backends of one test, in order; and makes them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.made: dict[str, Any] = {}

    def backend(self, name: str, kind: type, **fields: Any) -> type:
        """Return a class of backends that write down when they are opened and closed."""
        diary = self

        @attrs.frozen(kw_only=True)
        class Options:
            size: int = 1
            fails: bool = False

        class Backend(kind):  # type: ignore[misc]
            Settings = Options

            def __init__(self, settings: Options, *, resources: Any = None) -> None:
                super().__init__()
                self.settings, self.given = settings, dict(resources or {})
                diary.made[name] = self

            async def __aenter__(self):
                if self.settings.fails:
                    raise ConnectionRefusedError("nobody is there")
                diary.lines.append(f"open {name}")
                return self

            async def __aexit__(self, *_):
                diary.lines.append(f"close {name}")
                if fields.get("breaks"):
                    raise OSError(f"{name} does not close")

        for key, value in fields.items():
            setattr(Backend, key, value)
        return Backend

    def resource(self, name: str, *requires: str, health: Any = None) -> type:
        """Return a class of resources that do so."""
        diary = self

        @attrs.frozen(kw_only=True)
        class Options:
            size: int = 1
            fails: bool = False

        class Resource:
            Settings = Options

            def __init__(self, *, resources: Any = None) -> None:
                self.given = dict(resources or {})

            def setup(self, config: Any) -> str:
                if config["fails"]:
                    raise ConnectionRefusedError("nobody is there")
                diary.lines.append(f"open {name}")
                return f"{name} of size {config['size']}"

            def teardown(self, resource: str) -> None:
                diary.lines.append(f"close {name}")

            def health_check(self, resource: str) -> Healthy | Unhealthy:
                return Unhealthy(health) if health else Healthy()

        Resource.requires = requires  # type: ignore[attr-defined]
        return Resource


class Memory:
    """The least that a run store is."""

    def __init__(self) -> None:
        self.statuses: list[str] = []

    async def create_run(
        self, run_id, *, service, topology=None, execution_mode=None, status="created", **metadata
    ):
        self.statuses.append(status)

    async def update_status(self, run_id, status, *, error=None, duration_ms=None, **data):
        self.statuses.append(status)

    async def get_run(self, run_id):
        return None


class Known:
    """A configuration provider."""

    values: ClassVar = {}

    def get(self, key, default=None):
        return self.values.get(key, default)


Make = Callable[..., Plugins]


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Write settings, register what is given by contract and name, and return the plugins."""

    def project(text: str = "", *hooks: Any, **registered: Any) -> Plugins:
        (tmp_path / "stageflow.toml").write_text(text, encoding="utf-8")
        named = {f"hook{number}": hook for number, hook in enumerate(hooks)}
        plugins = Plugins.load(directory=tmp_path, environ={}, hooks=named)
        for place, value in registered.items():
            contract, _, name = place.partition("__")
            plugins.registry(contract).register(name, value, origin="the test")
        return plugins

    return project


def one_stage(runner: Any, **fields: Any) -> Pipeline:
    return Pipeline("daily").with_stage("a", runner, StageKind.WORK, **fields)


SAYS_HELLO = one_stage(lambda ctx: {"said": "hello"})


# --- chosen ---------------------------------------------------------------------------------


async def test_backends_are_chosen_by_the_settings(project: Make, diary: Diary):
    plugins = project(
        'event_sink = "mine"\nrun_store = "kept"\n[run_stores.kept]\nsize = 7\n',
        event_sink__mine=diary.backend("sink", RememberingSink),
        run_store__kept=diary.backend("store", Memory),
    )
    async with Runtime(plugins=plugins) as runtime:
        assert runtime.event_sink is diary.made["sink"]
        assert runtime.run_store is diary.made["store"]
        await runtime.run(SAYS_HELLO)
    assert diary.made["sink"].types()[0] == "pipeline.started"
    assert diary.made["store"].statuses == ["running", "completed"]
    assert diary.made["store"].settings.size == 7


async def test_a_name_wins_over_the_settings_and_an_object_over_both(project: Make, diary: Diary):
    plugins = project(
        'event_sink = "absent"\nrun_store = "absent"\nconfig_provider = "absent"\n'
        '[run_stores.archive]\nuse = "kept"\nsize = 3\n',
        run_store__kept=diary.backend("store", Memory),
    )
    sink = RememberingSink()
    async with Runtime(
        event_sink=sink, run_store="archive", config=None, plugins=plugins
    ) as runtime:
        assert (runtime.event_sink, runtime.run_store) == (sink, diary.made["store"])
    assert diary.made["store"].settings.size == 3


async def test_without_settings_the_embedded_defaults_serve(project: Make):
    async with Runtime(plugins=project()) as runtime:
        outcome = await runtime.run(one_stage(lambda ctx: {"home": ctx.config.get("no such key")}))
        assert outcome.outputs["a"].data == {"home": None}
        assert await runtime.run_store.get_run(outcome.run_id) is not None
        assert (runtime.resources, runtime.telemetry) == ({}, ())


async def test_a_name_alone_loads_the_settings_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stageflow.toml").write_text('[run_stores.sqlite]\npath = "runs.db"\n')
    async with Runtime(run_store="sqlite") as runtime:
        outcome = await runtime.run(SAYS_HELLO)
        assert (await runtime.run_store.get_run(outcome.run_id)).status == "completed"
    assert (tmp_path / "runs.db").is_file()


async def test_from_settings_reads_a_project_and_takes_arguments(tmp_path: Path):
    (tmp_path / "stageflow.toml").write_text('event_sink = "absent"\n')
    events = tmp_path / "events.jsonl"
    arguments = {"event_sink": "jsonl", "event_sinks.jsonl.path": str(events)}
    async with Runtime.from_settings(directory=tmp_path, arguments=arguments) as runtime:
        await runtime.run(SAYS_HELLO)
    assert '"type":"pipeline.completed"' in events.read_text()


async def test_a_runtime_without_names_reads_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stageflow.toml").write_text("this is no TOML")
    async with Runtime() as runtime:
        assert (runtime.plugins, runtime.event_sink) == (None, None)
        await runtime.run(SAYS_HELLO)


# --- several --------------------------------------------------------------------------------


class Grumpy(RememberingSink):
    """Refuses everything."""

    def try_emit(self, *, type, data):
        raise RuntimeError("no")


async def test_every_sink_gets_every_event(project: Make, diary: Diary):
    plugins = project(
        'event_sink = ["one", "grumpy", "two"]\n',
        event_sink__one=diary.backend("one", RememberingSink),
        event_sink__grumpy=diary.backend("grumpy", Grumpy),
        event_sink__two=diary.backend("two", RememberingSink),
    )
    async with Runtime(plugins=plugins) as runtime:
        await runtime.run(SAYS_HELLO)
    assert diary.made["one"].events == diary.made["two"].events
    assert diary.made["two"].types()[-1] == "pipeline.completed"


async def test_config_providers_are_asked_in_turn(project: Make, diary: Diary):
    plugins = project(
        'config_provider = ["near", "far"]\n',
        config_provider__near=diary.backend("near", Known, values={"a": None, "b": "near"}),
        config_provider__far=diary.backend("far", Known, values={"a": 1, "b": 2, "c": "far"}),
    )

    def ask(ctx):
        return {key: ctx.config.get(key, "default") for key in "abcd"}

    async with Runtime(plugins=plugins) as runtime:
        outcome = await runtime.run(one_stage(ask))
    assert outcome.outputs["a"].data == {"a": None, "b": "near", "c": "far", "d": "default"}


# --- errors and telemetry -------------------------------------------------------------------


class DriverError(Exception):
    """Of a library that core does not know."""


class DriverNormalizer:
    """Knows it."""

    def normalize(self, exc, /):
        return NormalizedError("driver", "it happens", isinstance(exc, DriverError))


@pytest.mark.parametrize(("chosen", "attempts"), [("", 1), ('"driver"', 3), ('"standard"', 1)])
async def test_the_chosen_normalizer_drives_the_retries(project: Make, chosen: str, attempts: int):
    calls = []

    def flaky(ctx):
        calls.append(1)
        raise DriverError

    plugins = project(
        f"error_normalizer = {chosen}\n" if chosen else "",
        error_normalizer__driver=DriverNormalizer,
    )
    pipeline = one_stage(flaky, retry=RetryPolicy(max_attempts=3, base_delay_ms=0))
    async with Runtime(plugins=plugins) as runtime:
        await runtime.run(pipeline, raise_on_error=False)
    assert len(calls) == attempts


async def test_several_normalizers_each_have_a_say(project: Make):
    calls = []

    def flaky(ctx):
        calls.append(1)
        raise (DriverError if len(calls) == 1 else ConnectionResetError)

    plugins = project(
        'error_normalizer = ["driver", "standard"]\n', error_normalizer__driver=DriverNormalizer
    )
    pipeline = one_stage(flaky, retry=RetryPolicy(max_attempts=3, base_delay_ms=0))
    async with Runtime(plugins=plugins) as runtime:
        await runtime.run(pipeline, raise_on_error=False)
    assert len(calls) == 3


async def test_a_graphs_own_normalizer_wins(project: Make):
    class Never:
        def normalize(self, exc, /):
            return NormalizedError("never", "no", retryable=False)

    calls = []

    def flaky(ctx):
        calls.append(1)
        raise DriverError

    plugins = project('error_normalizer = "driver"\n', error_normalizer__driver=DriverNormalizer)
    pipeline = one_stage(flaky, retry=RetryPolicy(max_attempts=3, base_delay_ms=0))
    graph = pipeline.build(error_normalizer=Never())
    async with Runtime(plugins=plugins) as runtime:
        await runtime.run(graph, raise_on_error=False)
    assert len(calls) == 1


async def test_the_chosen_telemetry_emitter_is_told_of_runs(
    project: Make, caplog: pytest.LogCaptureFixture
):
    async with Runtime(plugins=project('telemetry_emitter = "logging"\n')) as runtime:
        with caplog.at_level(logging.INFO, logger="stageflow.telemetry"):
            await runtime.run(SAYS_HELLO)
        assert len(runtime.telemetry) == 1
    told = {record.telemetry_event: record for record in caplog.records}
    assert ("stageflow", "pipeline", "completed") in told
    record = told["stageflow", "stage", "completed"]
    assert record.telemetry_measurements["duration_ms"] >= 0
    assert record.telemetry_metadata["stage"] == "a"
    assert "duration_ms" not in record.telemetry_metadata


# --- resources ------------------------------------------------------------------------------


async def test_resources_open_in_order_and_close_in_reverse(project: Make, diary: Diary):
    plugins = project(
        'event_sink = "mine"\n[resources.cache]\nsize = 2\n[resources.pool]\n',
        resource__cache=diary.resource("cache", "pool"),
        resource__pool=diary.resource("pool"),
        event_sink__mine=diary.backend("sink", RememberingSink),
    )
    async with Runtime(plugins=plugins) as runtime:
        outcome = await runtime.run(one_stage(lambda ctx: dict(ctx.resources)))
    expected = {"pool": "pool of size 1", "cache": "cache of size 2"}
    assert outcome.outputs["a"].data == expected
    opened = ["open pool", "open cache", "open sink"]
    assert diary.lines == [*opened, "close sink", "close cache", "close pool"]


async def test_a_backend_is_given_what_it_requires_configured_or_not(project: Make, diary: Diary):
    plugins = project(
        'event_sink = "mine"\n',
        event_sink__mine=diary.backend("sink", RememberingSink, requires=("pool",)),
        resource__pool=diary.resource("pool"),
        resource__idle=diary.resource("idle"),
    )
    async with Runtime(plugins=plugins):
        assert diary.made["sink"].given == {"pool": "pool of size 1"}
    assert diary.lines == ["open pool", "open sink", "close sink", "close pool"]


async def test_given_resources_stand_beside_configured_ones(project: Make, diary: Diary):
    plugins = project("[resources.pool]\n", resource__pool=diary.resource("pool"))
    async with Runtime(plugins=plugins, resources={"mine": "a thing"}) as runtime:
        outcome = await runtime.run(one_stage(lambda ctx: dict(ctx.resources)))
    assert outcome.outputs["a"].data == {"pool": "pool of size 1", "mine": "a thing"}


async def test_a_resource_may_be_missing_where_that_is_declared(project: Make, diary: Diary):
    plugins = project(
        '[resources.bad]\nfails = true\non_failure = "continue"\n[resources.good]\n',
        resource__bad=diary.resource("bad"),
        resource__good=diary.resource("good"),
    )
    async with Runtime(plugins=plugins) as runtime:
        assert dict(runtime.resources) == {"good": "good of size 1"}
        await runtime.run(SAYS_HELLO)


@pytest.mark.parametrize("what", ["fails", "unwell"])
async def test_any_other_resource_stops_the_opening(project: Make, diary: Diary, what: str):
    fails = "true" if what == "fails" else "false"
    plugins = project(
        f'event_sink = "mine"\n[resources.a]\n[resources.b]\nfails = {fails}\n',
        resource__a=diary.resource("a"),
        resource__b=diary.resource("b", "a", health="ill" if what == "unwell" else None),
        event_sink__mine=diary.backend("sink", RememberingSink),
    )
    with pytest.raises(ResourceOpenError, match=r"resources\.b of the test"):
        async with Runtime(plugins=plugins):
            pytest.fail("it opened")
    assert "open sink" not in diary.lines
    assert diary.lines[-1] == "close a"


# --- hooks ----------------------------------------------------------------------------------


class Watcher:
    """Observes runs and stages."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def stageflow_run_started(self, pipeline):
        self.seen.append(f"{pipeline} started")

    @hookimpl
    def stageflow_stage_finished(self, stage, status):
        self.seen.append(f"{stage} {status}")

    @hookimpl
    def stageflow_run_finished(self, pipeline, status, duration_ms):
        assert duration_ms is not None
        self.seen.append(f"{pipeline} {status}")


class Breaks:
    """Raises at everything."""

    @hookimpl
    def stageflow_stage_started(self, stage):
        raise RuntimeError("it does not like it")


async def test_hooks_observe_runs_and_what_they_raise_changes_nothing(project: Make):
    watcher = Watcher()
    async with Runtime(plugins=project("", Breaks(), watcher)) as runtime:
        outcome = await runtime.run(SAYS_HELLO)
    assert outcome.status == "completed"
    assert watcher.seen == ["daily started", "a ok", "daily completed"]


async def test_nobody_listens_where_there_are_no_hooks(project: Make):
    plugins = project("")
    assert plugins.observers() is None
    graph, seen = SAYS_HELLO.build(), []

    class Watched:
        def __getattr__(self, name):
            if name == "build":  # it is built
                raise AttributeError(name)
            return getattr(graph, name)

        async def execute(self, ctx, options=None):
            seen.append(options.listeners)
            return await graph.execute(ctx, options)

    async with Runtime(plugins=plugins, run_store=None) as runtime:
        await runtime.run(Watched())
    assert seen == [()]


# --- opening and closing --------------------------------------------------------------------


async def test_all_faults_come_at_once_before_anything_opens(project: Make, diary: Diary):
    plugins = project(
        """
        event_sink = ["mine", "other"]
        run_store = "kept"
        [event_sinks.mine]
        size = "many"
        [event_sinks.other]
        sise = 3
        [run_stores.kept]
        fails = 3
        [resources.good]
        [resources.bad]
        size = []
        """,
        event_sink__mine=diary.backend("mine", RememberingSink),
        event_sink__other=diary.backend("other", RememberingSink),
        run_store__kept=diary.backend("store", Memory),
        resource__good=diary.resource("good"),
        resource__bad=diary.resource("bad"),
    )
    with pytest.raises(SettingsError) as caught:
        async with Runtime(plugins=plugins):
            pytest.fail("it opened")
    told = str(caught.value)
    places = ("mine.size", "other.sise", "kept.fails", "bad.size")
    assert all(place in told for place in places), told
    assert len(caught.value.faults) == len(places)
    assert "stageflow.toml:5" in told
    assert (diary.lines, diary.made) == ([], {})


async def test_what_opened_is_closed_when_a_later_one_fails(project: Make, diary: Diary):
    plugins = project(
        'event_sink = ["one", "two"]\n[event_sinks.two]\nfails = true\n[resources.pool]\n',
        event_sink__one=diary.backend("one", RememberingSink),
        event_sink__two=diary.backend("two", RememberingSink),
        resource__pool=diary.resource("pool"),
    )
    with pytest.raises(PluginOpenError, match=r"event_sinks\.two of the test could not be opened"):
        async with Runtime(plugins=plugins):
            pytest.fail("it opened")
    assert diary.lines == ["open pool", "open one", "close one", "close pool"]


async def test_every_close_is_tried_and_failures_come_together(project: Make, diary: Diary):
    plugins = project(
        'event_sink = ["one", "two"]\nrun_store = "kept"\n',
        event_sink__one=diary.backend("one", RememberingSink, breaks=True),
        event_sink__two=diary.backend("two", RememberingSink),
        run_store__kept=diary.backend("store", Memory, breaks=True),
    )
    with pytest.raises(RuntimeCloseError) as caught:
        async with Runtime(plugins=plugins):
            pass
    assert [str(error) for error in caught.value.exceptions] == [
        "one does not close",
        "store does not close",
    ]
    assert diary.lines[-3:] == ["close two", "close one", "close store"]


async def test_a_runtime_opens_again_with_the_same_plugins(project: Make, diary: Diary):
    plugins = project('event_sink = "mine"', event_sink__mine=diary.backend("s", RememberingSink))
    runtime = Runtime(plugins=plugins)
    for _ in range(2):
        async with runtime:
            await runtime.run(SAYS_HELLO)
    assert diary.lines == ["open s", "close s"] * 2


async def test_nothing_is_registered_while_it_is_open(project: Make, diary: Diary):
    plugins = project()
    async with Runtime(plugins=plugins):
        with pytest.raises(RegistryFrozenError):
            plugins.registry("event_sink").register("late", RememberingSink, origin="the test")


async def test_an_unknown_name_is_refused_with_what_is_near(project: Make):
    with pytest.raises(UnknownPluginError, match="Did you mean 'sqlite'"):
        async with Runtime(run_store="sqlit", plugins=project()):
            pytest.fail("it opened")


async def test_only_what_is_chosen_is_imported(project: Make, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith("stageflow.builtin.sqlite")]:
        monkeypatch.delitem(sys.modules, name)
    async with Runtime(plugins=project()) as runtime:
        await runtime.run(SAYS_HELLO)
    assert not [name for name in sys.modules if name.startswith("stageflow.builtin.sqlite")]


async def test_the_settings_switch_wide_events_on(tmp_path: Path):
    async def noop(ctx):
        return {"n": 1}

    async def told_by(settings: dict[str, Any], **build: Any) -> list[str]:
        sink = RememberingSink()
        pipeline = Pipeline("p").with_stage("a", noop, StageKind.WORK).build(**build)
        runtime = Runtime.from_settings(directory=tmp_path, arguments=settings, event_sink=sink)
        async with runtime:
            await runtime.run(pipeline)
        return [told for told in sink.types() if told.endswith(".wide")]

    both = {"emit_stage_wide_events": True, "emit_pipeline_wide_event": True}
    assert await told_by({}) == []
    assert await told_by(both) == ["stage.wide", "pipeline.wide"]
    assert await told_by({"emit_pipeline_wide_event": True}) == ["pipeline.wide"]
    # What a graph brings itself, it keeps.
    told = await told_by(both, emit_stage_wide_events=True)
    assert told == ["stage.wide", "pipeline.wide"]
