"""`stageflow run`, in this process."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLOW = """
    import logging, signal, sys
    from stageflow import Pipeline, RetryPolicy, StageOutput, stage

    @stage(kind="work")
    async def read(name: str = "nobody"):
        return {"name": name}

    @stage(kind="agent")
    async def greet(read):
        print("a stage talks")
        return f"Hello {read['name']}"

    pipeline = Pipeline("greeting").with_stages([read, greet])

    tries = []
    @stage(retry=RetryPolicy(max_attempts=3, base_delay_ms=0, retry_all=True))
    def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return {"tries": len(tries)}

    retried = Pipeline("retried").with_stage(flaky)

    @stage
    async def breaks(read):
        raise ValueError("boom\\n\\x1b[31mred")

    failing = Pipeline("failing").with_stages([read, breaks])
    many = Pipeline("many").with_stages(
        [stage(name=f"bad-{n}")(lambda: 1 / 0) for n in range(3)]).build(on_failure="continue")

    @stage
    async def stops():
        return StageOutput.cancel("enough")

    cancelling = Pipeline("cancelling").with_stage(stops)

    @stage
    async def interrupted(ctx):
        ctx.register_cleanup(lambda: print("cleaned up"), name="tidy")
        signal.raise_signal(signal.SIGINT)
        import anyio
        await anyio.sleep(60)

    interrupting = Pipeline("interrupting").with_stage(interrupted)

    @stage
    async def terminated():
        signal.raise_signal(signal.SIGTERM)
        import anyio
        await anyio.sleep(60)

    terminating = Pipeline("terminating").with_stage(terminated)

    @stage
    async def quits():
        sys.exit(7)

    quitting = Pipeline("quitting").with_stage(quits)

    @stage
    async def text(ctx):
        return {"text": ctx.snapshot.input_text, "run": str(ctx.pipeline_run_id)}

    speaking = Pipeline("speaking").with_stage(text)

    def make(folder: str, *, deep: bool = False):
        return Pipeline(f"{folder}:{deep}").with_stage(stops)

    def interrupted_function():
        signal.raise_signal(signal.SIGINT)

    @stage
    async def odd():
        return {"nan": float("nan"), "huge": 10 ** 5000, "where": "\\udc80", "set": {1}}

    odds = Pipeline("odds").with_stage(odd)

    @stage
    async def logs():
        logging.getLogger("x").warning("to you")

    logged = Pipeline("logged").with_stage(logs)
"""


@pytest.fixture
def run(write: Callable[[str, str], Path], cli: Callable[..., Any]) -> Callable[..., Any]:
    write("flow_x.py", FLOW)
    return lambda name, *rest: cli("run", f"flow_x.py:{name}", *rest)


# --- what people read -----------------------------------------------------------------------------


def test_a_pipe_gets_a_plain_line_for_each_event(run: Callable[..., Any]):
    done = run("pipeline", "-i", "name=Ada")
    assert done.status == 0
    assert done.out.replace("\n", "").isprintable()
    lines = [line.split() for line in done.out.splitlines() if re.match(r" *[\d.]+s ", line)]
    assert [line[1:3] for line in lines] == [
        ["pipeline.started", "greeting"],
        ["stage.started", "read"],
        ["stage.completed", "read"],
        ["stage.started", "greet"],
        ["stage.completed", "greet"],
        ["pipeline.completed", "greeting"],
    ]
    assert "a stage talks" in done.out
    assert "greet.value  Hello Ada" in done.out
    assert done.err == ""


def test_retries_are_told(run: Callable[..., Any]):
    done = run("retried")
    assert done.out.count("stage.retry_scheduled") == 2
    assert "attempt 2 of 3 failed: ConnectionError: not yet" in done.out
    assert "1 done, 2 retries" in done.out


def test_a_failure_is_told_on_stderr(run: Callable[..., Any]):
    done = run("failing")
    assert done.status == 1
    assert "error SF301  Stage 'breaks' failed: ValueError: boom" in done.err
    assert re.search(r"where flow_x.py:\d+ in breaks: raise ValueError", done.err)
    assert "Traceback" not in done.err
    assert "\x1b" not in done.out + done.err


def test_every_failure_of_a_run_that_goes_on_is_named(run: Callable[..., Any]):
    done = run("many")
    assert done.status == 1
    assert done.out.count("failed  bad-") == 3


def test_debug_shows_the_traceback(run: Callable[..., Any]):
    done = run("failing", "--debug")
    assert done.status == 1
    assert "Traceback" in done.err
    assert logging.getLogger("stageflow").level == logging.DEBUG


def test_logs_go_to_stderr(run: Callable[..., Any]):
    done = run("logged", "--json")
    assert "warning x: to you" in done.err
    assert done.json["status"] == "completed"


# --- exit statuses --------------------------------------------------------------------------------


def test_a_run_that_cancels_itself_is_done(run: Callable[..., Any]):
    done = run("cancelling", "--json")
    assert done.status == 0
    assert (done.json["status"], done.json["reason"], done.json["stage"]) == (
        "cancelled",
        "enough",
        "stops",
    )


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("interrupting", 130, "interrupted by Ctrl-C"),
        ("terminating", 143, "interrupted by SIGTERM"),
    ],
)
def test_a_signal_cancels_the_run_cleanly(
    run: Callable[..., Any], name: str, status: int, reason: str
):
    before = signal.getsignal(signal.SIGINT)
    done = run(name)
    assert done.status == status
    assert f"reason  {reason}" in done.out
    assert ("cleaned up" in done.out) is (name == "interrupting")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_ctrl_c_before_the_run_ends_the_command(run: Callable[..., Any], options: tuple[str, ...]):
    done = run("interrupted_function", *options)
    assert done.status == 130
    assert "Interrupted." in done.err
    assert not options or done.json["status"] == "cancelled"


def test_a_stage_that_wants_to_end_the_process_fails_the_run(run: Callable[..., Any]):
    done = run("quitting")
    assert done.status == 1
    assert "error SF916" in done.err
    assert "in quits: sys.exit(7)" in done.err
    assert "1 failed" in done.out
    assert "record  stageflow runs show" in done.out
    document = run("quitting", "--json").json
    assert document["run_id"]
    assert (document["status"], document["stage"]) == ("failed", "quits")
    assert document["stages"]["quits"]["status"] == "fail"
    assert [error["code"] for error in document["errors"]] == ["SF916"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nowhere",), "SF904"),
        (("pipeline", "-i", "name"), "SF908"),
        (("pipeline", "-i", "nam=x"), "CONTRACT-004-INPUT"),
        (("make",), "SF911"),
        (("pipeline", "--max-concurrency", "0"), ""),
        (("pipeline", "--bogus"), ""),
    ],
)
def test_what_cannot_begin_exits_with_2(
    run: Callable[..., Any], arguments: tuple[str, ...], code: str
):
    done = run(*arguments)
    assert done.status == 2
    assert f"error {code}" in done.err or (not code and "Usage:" in done.err)
    assert done.out == ""


# --- documents ------------------------------------------------------------------------------------


def test_json_is_one_document(run: Callable[..., Any], project: Path):
    done = run("pipeline", "--json", "-i", "name=Ada", "--events")
    document = done.json
    assert done.status == 0
    assert document["status"] == "completed"
    assert document["pipeline_name"] == "greeting"
    assert document["outputs"] == {"read": {"name": "Ada"}, "greet": {"value": "Hello Ada"}}
    assert [stage["status"] for stage in document["stages"].values()] == ["ok", "ok"]
    assert document["recorded_in"] == ".stageflow/runs.sqlite3"
    assert document["errors"] == []
    assert [event["type"] for event in document["events"]][::5] == [
        "pipeline.started",
        "pipeline.completed",
    ]
    assert "a stage talks" in done.err


def test_json_of_a_failed_run(run: Callable[..., Any]):
    document = run("failing", "--json").json
    assert document["status"] == "failed"
    assert document["stage"] == "breaks"
    assert document["stages"]["breaks"]["error"].startswith("ValueError: boom")
    assert document["outputs"]["read"] == {"name": "nobody"}
    (error,) = document["errors"]
    assert error["code"] == "SF301"
    assert "in breaks" in error["where"]


def test_json_of_a_run_that_could_not_begin(run: Callable[..., Any]):
    document = run("nowhere", "--json", "-i", "x").json
    assert document["status"] == "error"
    assert [error["code"] for error in document["errors"]] == ["SF908", "SF904"]
    assert (document["run_id"], document["stages"], document["outputs"]) == (None, {}, {})


def test_json_has_words_for_everything(run: Callable[..., Any]):
    outputs = run("odds", "--json").json["outputs"]["odd"]
    assert outputs["nan"] == "nan"
    assert outputs["where"] == "\udc80"
    assert outputs["set"] == [1]


# --- inputs ---------------------------------------------------------------------------------------


def test_a_function_takes_the_inputs_it_names(
    run: Callable[..., Any], write: Callable[[str, str], Path]
):
    write("in.json", '{"folder": "docs", "deep": false}')
    done = run("make", "--input-file", "in.json", "-i", "deep=true", "--json")
    assert done.json["pipeline_name"] == "docs:True"


def test_input_text_is_the_snapshots(run: Callable[..., Any]):
    document = run("speaking", "--json", "-i", "input_text=007").json
    assert document["outputs"]["text"] == {"text": "007", "run": document["run_id"]}


# --- records --------------------------------------------------------------------------------------


def test_runs_are_recorded_beside_the_project_file(
    run: Callable[..., Any], cli: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
):
    run("pipeline")
    assert (project / ".stageflow" / "runs.sqlite3").exists()
    assert (project / ".stageflow" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    inner = project / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    (record,) = cli("runs", "list", "--json").json
    assert (record["pipeline_name"], record["status"]) == ("greeting", "completed")


@pytest.mark.parametrize("how", ["option", "settings"])
def test_runs_need_not_be_recorded(
    run: Callable[..., Any], write: Callable[[str, str], Path], project: Path, how: str
):
    if how == "settings":
        write("pyproject.toml", "[tool.stageflow]\nrecord = false\n")
    done = run("pipeline", *(["--no-record"] if how == "option" else []))
    assert done.status == 0
    assert "stageflow runs" not in done.out
    assert not (project / ".stageflow").exists()


def test_a_record_in_memory_is_not_pointed_to(
    run: Callable[..., Any], write: Callable[[str, str], Path]
):
    write("pyproject.toml", "[tool.stageflow]\nrun_store = 'memory'\n")
    done = run("pipeline")
    assert done.status == 0
    assert "stageflow runs" not in done.out


def test_settings_say_where(
    run: Callable[..., Any], write: Callable[[str, str], Path], project: Path
):
    write("pyproject.toml", "[tool.stageflow]\nrecord = 'kept/here.sqlite3'\n")
    assert run("pipeline", "--json").json["recorded_in"] == "kept/here.sqlite3"
    assert (project / "kept" / "here.sqlite3").exists()


def test_a_place_nobody_chose_may_fail(run: Callable[..., Any], write: Callable[[str, str], Path]):
    write(".stageflow", "a file where the folder should be")
    done = run("pipeline")
    assert done.status == 0
    assert "This run is not recorded:" in done.err


def test_a_place_somebody_chose_must_work(
    run: Callable[..., Any], write: Callable[[str, str], Path]
):
    write("taken", "a file where the folder should be")
    write("pyproject.toml", "[tool.stageflow]\nrecord = 'taken/runs.sqlite3'\n")
    done = run("pipeline")
    assert done.status != 0
    assert "stage.started" not in done.out


def test_wrong_settings_are_told(run: Callable[..., Any], write: Callable[[str, str], Path]):
    write("pyproject.toml", "[tool.stageflow]\nrecrod = false\nlog_level = 'loud'\n")
    done = run("pipeline")
    assert done.status == 2
    assert "pyproject.toml:2" in done.err
    assert "pyproject.toml:3" in done.err
