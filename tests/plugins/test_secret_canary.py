"""A secret that is configured by reference shows up nowhere that anything is written to."""

from __future__ import annotations

import io
import logging
import traceback
from pathlib import Path
from typing import Any

import attrs
import pytest

from stageflow import Pipeline, StageKind, StageOutput
from stageflow.codec import Codec, CodecError
from stageflow.events.encoding import to_json
from stageflow.plugins import Plugins, Secret, check_plugins, list_plugins, show_plugin
from stageflow.runtime import RunOutcome, Runtime
from support.runs import RememberingSink
from support.workspace import run

CANARIES = ("canary-from-a-variable", "canary-from-a-file")
SETTINGS = """
run_store = "sqlite"
event_sink = ["jsonl", "sqlite", "logging", "remembering"]
telemetry_emitter = "logging"
[event_sinks.jsonl]
path = "events.jsonl"
[event_sinks.sqlite]
path = "events.sqlite3"
[run_stores.sqlite]
path = "runs.sqlite3"
[resources.server]
password = "env:PASSWORD"
token = "file:token"
"""


def shows_nothing(text: str | bytes) -> bool:
    """Whether no canary is in what was written, in any spelling."""
    if isinstance(text, str):
        text = text.encode("utf-8", "backslashreplace")
    encodings = ("utf-8", "utf-16-le", "utf-16-be")
    return not any(canary.encode(each) in text for canary in CANARIES for each in encodings)


@attrs.frozen(kw_only=True)
class ServerSettings:
    password: Secret
    token: Secret


@attrs.frozen
class Client:
    """What stages use; it has the secrets, as every real one does."""

    settings: ServerSettings

    def greet(self) -> int:
        assert [self.settings.password.reveal(), self.settings.token.reveal()] == [*CANARIES]
        return sum(map(len, CANARIES))


class Server:
    Settings = ServerSettings

    def setup(self, config: Any) -> Client:
        return Client(ServerSettings(**config))

    def teardown(self, resource: Client) -> None:
        return None


def careless(ctx: Any) -> StageOutput:
    """Write what it has wherever a stage can write."""
    client = ctx.resources["server"]
    assert client.greet() > 0
    settings, password = client.settings, client.settings.password
    everything = {"settings": settings, "password": password, "text": f"{password!s} {settings}"}
    ctx.try_emit_event("careless.told", everything)
    logging.getLogger("careless").error("connecting %s %r", password, settings, extra=everything)
    return StageOutput.ok(everything)


def failing(ctx: Any) -> None:
    settings = ctx.resources["server"].settings
    raise PermissionError(f"{settings.password!r} was refused", settings, settings.token)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{CANARIES[1]}\n", encoding="utf-8")
    (tmp_path / "stageflow.toml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path


def load(folder: Path, **sources: Any) -> Plugins:
    plugins = Plugins.load(directory=folder, environ={"PASSWORD": CANARIES[0]}, **sources)
    plugins.registry("resource").register("server", Server, origin="the test")
    plugins.registry("event_sink").register("remembering", RememberingSink, origin="the test")
    return plugins


class Everything(logging.Handler):
    """Keeps every record whole, with whatever was attached to it."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.text = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.text.write(f"{self.format(record)}\n{vars(record)!r}\n")


@pytest.mark.anyio
@pytest.mark.parametrize("ends", ["completed", "failed"])
@pytest.mark.parametrize("store", ["sqlite", "memory"])
async def test_a_run_writes_it_nowhere(
    folder: Path, ends: str, store: str, capfd: pytest.CaptureFixture[str]
):
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    pipeline = Pipeline("careless").with_stage("told", careless, StageKind.WORK)
    if ends == "failed":
        pipeline = pipeline.with_stage("fails", failing, StageKind.WORK, dependencies=("told",))
    try:
        async with Runtime(plugins=load(folder), run_store=store) as runtime:
            outcome = await runtime.run(pipeline, raise_on_error=False)
            record = await runtime.run_store.get_run(outcome.run_id)
            events = await runtime.run_store.read_events(outcome.run_id)
            sinks = repr((runtime.event_sink, runtime.run_store, runtime.resources, runtime))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert outcome.status == ends
    assert "careless.told" in (folder / "events.jsonl").read_text()
    assert "careless" in handler.text.getvalue()
    written = {
        "logs": handler.text.getvalue(),
        "streams": "".join(capfd.readouterr()),
        "record": repr((record, events)),
        "backends": sinks,
        **{path.name: path.read_bytes() for path in files_of(folder)},
        **told_of(outcome),
    }
    assert {name for name, text in written.items() if not shows_nothing(text)} == set()


def files_of(folder: Path) -> list[Path]:
    """What was written, apart from the secret itself."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "token"]
    assert len(found) >= 3
    return found


def told_of(outcome: RunOutcome) -> dict[str, str]:
    """Every way in which somebody may look at how a run went."""
    told = {
        "outcome": repr(outcome),
        "outputs": repr(outcome.outputs),
        "results": repr(outcome.results),
        "as JSON": to_json(outcome.to_dict()),
    }
    if outcome.error is not None:
        told["error"] = f"{outcome.error} {outcome.error!r}"
        told |= tracebacks(outcome.error)
        try:
            outcome.raise_for_status()
        except Exception as error:  # noqa: BLE001 - to look at it
            told |= {f"raised, {name}": text for name, text in tracebacks(error).items()}
    return told


def tracebacks(error: BaseException) -> dict[str, str]:
    """A traceback as Python prints it, and one with local variables, as error trackers send it."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    return {
        "traceback": "".join(traceback.format_exception(error)),
        "traceback with variables": "".join(whole.format()),
    }


def test_no_codec_stores_it(folder: Path):
    settings = load(folder).registry("resource").resolve("server").settings()
    assert settings.password.reveal() == CANARIES[0]
    for value in (settings, settings.password, {"a": [settings.token]}):
        with pytest.raises(CodecError) as caught:
            Codec.default().encode(value, where="data")
        told = f"{caught.value} {tracebacks(caught.value)}"
        assert shows_nothing(told)


@pytest.mark.anyio
async def test_no_report_on_plugins_shows_it(folder: Path):
    plugins = load(folder)
    rows = await check_plugins(plugins)
    details = show_plugin(plugins, "server")
    listed = list_plugins(plugins.discovery, plugins.settings.tree)
    assert {row.name: row.healthy for row in rows if row.name == "server"} == {"server": True}
    for told in (rows, details, listed, plugins.settings, plugins.settings.tree, plugins):
        assert shows_nothing(repr(told))
        assert shows_nothing(to_json(told))
    implementation = plugins.registry("resource").resolve("server")
    assert shows_nothing(repr((implementation, implementation.settings())))


WRONG = {
    "a secret of the wrong type": '[resources.server]\npassword = ["env:PASSWORD"]\ntoken = 1\n',
    "an unknown key beside it": "[resources.server]\ntokn = 'file:token'\n",
    "a secret where a number belongs": "health_timeout = 'env:PASSWORD'\n",
    "a secret as it is": f"[resources.server]\npassword = '{CANARIES[0]}'\ntoken = 'x'\n",
    "a file that is cut off": f"[resources.server]\npassword = '{CANARIES[0]}\n",
}


@pytest.mark.anyio
@pytest.mark.parametrize("settings", WRONG.values(), ids=WRONG)
async def test_no_fault_of_the_settings_quotes_it(folder: Path, settings: str):
    (folder / "stageflow.toml").write_text(settings, encoding="utf-8")
    with pytest.raises(Exception) as caught:
        async with Runtime(plugins=load(folder)):
            pytest.fail("it opened")
    assert shows_nothing(str(caught.value))
    # Not with variables: this very test has one with what is written in the file.
    assert shows_nothing(tracebacks(caught.value)["traceback"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("plugins", "list", "--json"), 0),
        (("plugins", "check", "--json", "--debug"), 1),
        (("plugins", "check", "--debug"), 1),
        (("plugins", "show", "unbuildable", "--json"), 0),
        (("run", "flow.py:pipeline", "--json", "--events", "--debug"), 2),
        (("run", "flow.py:pipeline"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_no_command_shows_what_a_broken_plugin_tells_of_it(
    folder: Path, site: Any, command: tuple[str, ...], status: int
):
    (folder / "stageflow.toml").write_text(
        'event_sink = ["unbuildable", "unopenable"]\n'
        '[event_sinks.unbuildable]\npassword = "env:PASSWORD"\n'
        '[event_sinks.unopenable]\npassword = "file:token"\n',
        encoding="utf-8",
    )
    (folder / "flow.py").write_text(
        "from stageflow import Pipeline, stage\n\n\n@stage\ndef a() -> int:\n    return 1\n\n\n"
        "pipeline = Pipeline('p').with_stages([a])\n",
        encoding="utf-8",
    )
    path = str(site("stageflow-sample-broken"))
    done = run(
        *("stageflow", *command), cwd=folder, status=None, PYTHONPATH=path, PASSWORD=CANARIES[0]
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "unbuildable" in said
    assert shows_nothing(said)
