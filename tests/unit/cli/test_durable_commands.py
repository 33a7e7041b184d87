"""`stageflow run --durability` and the commands that go on with runs, end them and forget them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.codec import Codec

FLOW = """
    import os, signal
    from pathlib import Path
    from stageflow import Pipeline, StageOutput, stage

    def ran(name):
        with open("ran.txt", "a") as file:
            print(name, file=file)

    @stage(kind="work")
    async def read(name: str = "nobody"):
        ran("read")
        return {"name": name}

    @stage
    async def pay(read):
        ran("pay")
        if Path("die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if Path("fail").exists():
            raise ValueError("no money")
        if Path("cancel").exists():
            return StageOutput.cancel("not today")
        return {"paid": read["name"]}

    @stage
    async def send(pay):
        ran("send")
        return {"sent": pay["paid"]}

    shop = Pipeline("shop").with_stages([read, pay, send])

    def make(folder: str):
        return Pipeline("made").with_stages([stage(name=folder)(lambda: 1), *shop_stages])

    shop_stages = (read, pay, send)

    @stage
    async def ask(ctx, read):
        ran("ask")
        return {"answer": await ctx.wait_for("approval")}

    @stage
    async def tell(ask):
        return {"told": ask["answer"]}

    asking = Pipeline("asking").with_stages([read, ask, tell])

    @stage
    async def odd():
        return {"thing": object()}

    opaque = Pipeline("opaque").with_stages([odd])

    @stage
    async def breaks(read):
        raise ValueError("boom")

    @stage
    async def refuses(read):
        return StageOutput.fail("not like this")

    many = Pipeline("many").with_stages([read, breaks, refuses]).build(on_failure="continue")

    from stageflow.data.pipeline import PipelineBuilder

    async def first(ctx, given):
        ran("first")
        return given

    async def second(ctx, given):
        if Path("fail").exists():
            raise ValueError("no")
        return {"given": given}

    functions = (
        PipelineBuilder("functions").with_retry(max_retries=0).add_stage("first", "F", first)
        .add_stage("second", "S", second, dependencies=["first"])
    )
"""
CHANGED = FLOW.replace("stages([read, pay, send])", "stages([read, check, pay, send])").replace(
    "    @stage\n    async def pay(read):",
    '    @stage\n    async def check(read):\n        ran("check")\n\n'
    "    @stage\n    async def pay(read, check):",
)
COMMAND = (sys.executable, "-m", "stageflow")
UNKNOWN = "00000000-0000-4000-8000-000000000000"

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def flow(write: Callable[[str, str], Path]) -> None:
    write("flow_x.py", FLOW)


@pytest.fixture
def ran(project: Path) -> Callable[[], list[str]]:
    """What stages noted since this was asked last."""

    def read() -> list[str]:
        notes = project / "ran.txt"
        names = notes.read_text().split() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return names

    return read


@pytest.fixture
def interrupted(project: Path, cli: Cli, ran: Callable[[], list[str]]) -> Callable[..., str]:
    """Make a run that ended before its end; return its id."""

    def make(how: str = "fail", name: str = "shop", *options: str) -> str:
        (project / how).touch()
        begun = cli(
            "run", f"flow_x.py:{name}", "-i", "name=Ada", "--durability", "step", "--json", *options
        )
        (project / how).unlink()
        ran()
        return str(begun.json["run_id"])

    return make


def killed(project: Path, *options: str) -> str:
    """Have a run whose process was killed; return its id."""
    (project / "die").touch()
    done = subprocess.run(
        [*COMMAND, "run", "flow_x.py:shop", "-i", "name=Ada", "--durability", "step", *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (project / "die").unlink()
    (project / "ran.txt").unlink()
    found = re.search(r"run ([0-9a-f-]{36})", done.stdout)
    assert found is not None
    return found[1]


def in_store(project: Path, act: Callable[[Any], Any]) -> Any:
    async def go() -> Any:
        async with SqliteRunStore(project / ".stageflow" / "runs.sqlite3") as store:
            return await act(store)

    return anyio.run(go)


# --- resume ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_whose_process_was_killed_goes_on(project: Path, cli: Cli, ran: Any):
    run_id = killed(project)
    listed = cli("runs", "list")
    assert re.search(rf"{run_id[:8]} +shop +running .* its process is gone", listed.out)
    assert cli("runs", "list", "--json").json[0]["owner_is_gone"] is True
    assert "its process is gone; `stageflow runs resume" in cli("runs", "show").out
    done = cli("runs", "resume", run_id[:8])
    assert (done.status, done.err) == (0, "")
    assert ran() == ["pay", "send"]
    assert "pipeline.resumed       shop  1 of 3 stages kept" in done.out
    assert "completed  3 stages in" in done.out
    assert "3 done, 1 of them kept from before" in done.out
    assert "send.sent  Ada" in done.out
    shown = cli("runs", "show").out
    assert "resumed  1 time" in shown
    assert re.search(r"✓  read +kept +work +1 ", shown), "also what its process could not tell"
    assert re.search(r"✓  pay +ran +transform +2 ", shown)
    assert re.search(r"✓  send +ran +transform +1 ", shown)
    document = cli("runs", "show", "--json").json
    assert {name: each["kept"] for name, each in document["stages"].items()} == {
        "read": True,
        "pay": False,
        "send": False,
    }
    assert (document["resumes"], document["owner"], document["waits"]) == (1, None, [])


@pytest.mark.parametrize(("how", "status"), [("fail", "failed"), ("cancel", "cancelled")])
def test_a_run_that_failed_or_was_cancelled_goes_on(
    interrupted: Any, cli: Cli, ran: Any, how: str, status: str
):
    run_id = interrupted(how)
    assert cli("runs", "list", "--json").json[0]["status"] == status
    done = cli("runs", "resume", "--json")
    assert done.status == 0
    assert ran() == ["pay", "send"]
    assert (done.json["run_id"], done.json["status"]) == (run_id, "completed")
    assert (done.json["restored"], done.json["outputs"]["send"]) == (1, {"sent": "Ada"})


def test_a_run_that_has_completed_says_so(interrupted: Any, cli: Cli, ran: Any):
    interrupted()
    cli("runs", "resume")
    ran()
    again = cli("runs", "resume")
    assert again.status == 0
    assert "it had completed before; nothing ran again" in again.out
    assert "send.sent  Ada" in again.out
    assert ran() == []


def test_a_resumed_run_may_fail_again(interrupted: Any, cli: Cli, project: Path):
    interrupted()
    (project / "fail").touch()
    done = cli("runs", "resume", "--events")
    assert done.status == 1
    assert "error SF301  Stage 'pay' failed: ValueError: no money" in done.err
    assert "1 done, 1 cancelled, 1 failed, 1 of them kept from before" in done.out


@pytest.mark.parametrize(
    ("on_change", "status", "did"),
    [
        ("refuse", 2, []),
        ("pin", 0, ["check", "pay", "send"]),
        ("adopt", 0, ["check", "pay", "send"]),
    ],
)
def test_a_changed_plan(
    interrupted: Any, cli: Cli, write: Any, ran: Any, on_change: str, status: int, did: list[str]
):
    interrupted()
    write("flow_x.py", CHANGED)
    del sys.modules["flow_x"]  # as if the process were another one
    done = cli("runs", "resume", "--on-change", on_change)
    assert (done.status, ran()) == (status, did)
    if status:
        assert "error SF350" in done.err
        assert "stage 'check' was added" in done.err
        assert "--on-change" in done.err, "in the words of the command line"


def test_adopting_runs_anew_what_changed_and_pinning_does_not(
    interrupted: Any, cli: Cli, write: Any, ran: Any
):
    other = FLOW.replace('@stage(kind="work")\n    async def read', "@stage\n    async def read")
    for on_change, did in (("pin", ["pay", "send"]), ("adopt", ["read", "pay", "send"])):
        write("flow_x.py", FLOW)
        sys.modules.pop("flow_x", None)
        interrupted()
        write("flow_x.py", other)
        del sys.modules["flow_x"]
        done = cli("runs", "resume", "--on-change", on_change)
        assert (done.status, ran()) == (0, did)


def test_a_function_is_given_the_same_inputs_again(interrupted: Any, cli: Cli, ran: Any):
    interrupted("fail", "make", "-i", "folder=docs")
    done = cli("runs", "resume", "--json")
    assert done.status == 0
    assert done.json["outputs"]["docs"] == {"value": 1}
    assert done.json["outputs"]["send"] == {"sent": "Ada"}
    assert ran() == ["pay", "send"]


def test_a_pipeline_of_functions_goes_on(interrupted: Any, cli: Cli, ran: Any):
    interrupted("fail", "functions", "-i", 'initial_input={"n": 1}')
    done = cli("runs", "resume", "--json")
    assert done.json["outputs"]["second"] == {"value": {"given": {"n": 1}}}
    assert (done.status, ran()) == (0, [])
    refused = cli("run", "flow_x.py:functions", "--max-concurrency", "2")
    assert (refused.status, "SF915" in refused.err) == (2, True)


def test_a_run_goes_on_from_another_directory_of_the_project(
    interrupted: Any, cli: Cli, ran: Any, project: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupted()
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    assert cli("runs", "resume").status == 0
    assert ran() == ["pay", "send"], "in the folder in which it was started"


def test_a_pipeline_that_was_moved(interrupted: Any, cli: Cli, project: Path, ran: Any):
    interrupted()
    (project / "flow_x.py").rename(project / "moved_x.py")
    lost = cli("runs", "resume")
    assert lost.status == 2
    assert "error SF902" in lost.err
    assert "If the pipeline was moved, say where it is now: --target TARGET." in lost.err
    wrong = cli("runs", "resume", "--target", "moved_x.py:ship")
    assert "SF904" in wrong.err
    assert "was moved" not in wrong.err
    there = cli("runs", "resume", "--target", "moved_x.py:shop")
    assert "'flow_x.read' became 'moved_x.read'" in there.err
    pinned = cli("runs", "resume", "--target", "moved_x.py:shop", "--on-change", "pin")
    assert (pinned.status, ran()) == (0, ["pay", "send"])


def test_a_run_that_was_not_started_from_the_command_line(cli: Cli, project: Path):
    code = """if True:
        import anyio, flow_x
        from stageflow import Runtime
        from stageflow.builtin.sqlite_run_store import SqliteRunStore
        async def main():
            store = SqliteRunStore(".stageflow/runs.sqlite3")
            async with Runtime(run_store=store, durability="step") as runtime:
                await runtime.run(flow_x.shop, inputs={"name": "Ada"}, raise_on_error=False)
        anyio.run(main)
    """
    (project / ".stageflow").mkdir()
    (project / "fail").touch()
    environ = {**os.environ, "PYTHONPATH": str(project)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=30)
    (project / "fail").unlink()
    done = cli("runs", "resume")
    assert done.status == 2
    assert "error SF353" in done.err
    assert "--target TARGET" in done.err
    assert cli("runs", "resume", "--target", "flow_x.py:shop").status == 0


@pytest.mark.parametrize("command", ["resume", "cancel", "show", "signal"])
@pytest.mark.parametrize(("run", "code"), [(UNKNOWN, "SF930"), ("nonsense", "SF930")])
def test_a_run_that_nobody_knows(interrupted: Any, cli: Cli, command: str, run: str, code: str):
    interrupted()
    done = cli("runs", command, run, *(["approval"] if command == "signal" else []))
    assert done.status == 2
    assert f"error {code}" in done.err
    assert "`stageflow runs list` shows what is recorded." in done.err
    again = cli("runs", command, run, *(["approval"] if command == "signal" else []), "--json")
    assert again.json["errors"][0]["code"] == code


@pytest.mark.parametrize("command", ["resume", "cancel", "prune", "recover", "check"])
def test_where_no_run_was_recorded(cli: Cli, command: str):
    extra = {"prune": ["--older-than", "1d"], "check": ["flow_x.py:shop"]}.get(command, [])
    done = cli("runs", command, *(extra or ([] if command == "recover" else ["last"])))
    if command == "recover":
        assert (done.status, "No run is left without a process." in done.out) == (0, True)
    else:
        assert (done.status, "error SF930" in done.err) == (2, True)
        assert "stageflow run" in done.err


def test_a_run_of_which_nothing_was_kept(cli: Cli):
    cli("run", "flow_x.py:many")
    done = cli("runs", "resume")
    assert done.status == 2
    assert "error SF354  Nothing was kept of run" in done.err
    assert "durability 'step' or 'exit'" in done.err


def test_a_store_that_keeps_no_checkpoints_and_no_store(
    cli: Cli, write: Callable[[str, str], Path], project: Path
):
    write("stageflow.toml", "record = false\n")
    for arguments in (["resume"], ["recover"], ["cancel", "last"], ["check", "flow_x.py:shop"]):
        done = cli("runs", *arguments)
        assert (done.status, "SF931" in done.err) == (2, True)
    for options in (["--durability", "step"], ["--detach"]):
        done = cli("run", "flow_x.py:shop", *options)
        assert (done.status, "error SF960" in done.err) == (2, True)
        assert "record = false" in done.err
    (project / "stageflow.toml").unlink()
    done = cli("run", "flow_x.py:shop", "--no-record", "--durability", "exit", "--json")
    assert done.status == 2
    assert done.json["errors"][0]["code"] == "SF960"
    assert done.json["errors"][0]["hint"] == "Leave one of the two out."


def test_a_run_that_another_process_has_is_left_to_it(interrupted: Any, cli: Cli, project: Path):
    run_id = interrupted()
    in_store(project, lambda store: store.acquire_lease(UUID(run_id), "elsewhere", ttl=60))
    done = cli("runs", "resume")
    assert done.status == 2
    assert "error SF42" in done.err
    assert "elsewhere" in done.err


def test_what_cannot_be_stored_fails_the_stage(cli: Cli):
    done = cli("run", "flow_x.py:opaque", "--durability", "step")
    assert done.status == 1
    assert "Stage 'odd' failed" in done.err
    assert "object" in done.err


# --- what the settings say ------------------------------------------------------------------------


def test_the_settings_choose_how_durable_runs_are(
    cli: Cli, write: Callable[[str, str], Path], project: Path, ran: Any
):
    write("stageflow.toml", 'durability = "step"\n')
    (project / "fail").touch()
    cli("run", "flow_x.py:shop")
    (project / "fail").unlink()
    ran()
    assert cli("runs", "resume").status == 0
    assert ran() == ["pay", "send"]
    assert cli("run", "flow_x.py:shop", "--no-record").status == 0, "which keeps nothing"
    cli("run", "flow_x.py:many", "--durability", "none")
    assert "SF354" in cli("runs", "resume").err


def test_exit_keeps_what_stages_gave_when_the_run_ends(cli: Cli, project: Path, ran: Any):
    (project / "fail").touch()
    cli("run", "flow_x.py:shop", "--durability", "exit")
    (project / "fail").unlink()
    ran()
    cli("runs", "resume")
    assert ran() == ["pay", "send"]


# --- waiting --------------------------------------------------------------------------------------


def test_a_run_that_waits_leaves_and_goes_on_by_a_signal(cli: Cli, ran: Any):
    begun = cli("run", "flow_x.py:asking", "--detach")
    assert begun.status == 0
    run = re.search(r"runs signal ([0-9a-f]{8}) approval VALUE", begun.out)
    assert run is not None
    assert "stage.waiting          ask  for the signal approval" in begun.out
    assert "waits   for approval (stage ask)" in begun.out
    listed = cli("runs", "list")
    assert re.search(r"asking +waiting .* waits for approval", listed.out)
    [entry] = cli("runs", "list", "--json", "--status", "waiting").json
    assert [wait["signal"] for wait in entry["waits"]] == ["approval"]
    assert "answer   stageflow runs signal" in cli("runs", "show").out
    assert re.search(r"◇  ask .*\n +↳ waits for the signal approval", cli("runs", "show").out)
    done = cli("runs", "signal", run[1], "approval", '{"by": "Ada"}')
    assert done.status == 0
    assert ran() == ["read", "ask", "ask"], "the stage begins anew, with the answer at hand"
    assert 'tell.told  {"by":"Ada"}' in done.out


def test_a_signal_that_nobody_waits_for_yet_is_kept(cli: Cli, ran: Any):
    cli("run", "flow_x.py:asking", "--detach")
    ran()
    done = cli("runs", "signal", "last", "aproval", "yes")
    assert (done.status, ran()) == (0, [])
    assert "aproval is kept for run" in done.out
    assert "which waits for approval" in done.out
    document = cli("runs", "signal", "last", "aproval", "--json").json
    assert (document["was_awaited"], document["waits_for"]) == (False, ["approval"])


def test_a_signal_may_be_given_without_going_on(cli: Cli, ran: Any):
    cli("run", "flow_x.py:asking", "--detach")
    ran()
    given = cli("runs", "signal", "last", "approval", "text, not JSON", "--no-resume", "--id", "1")
    assert (given.status, ran()) == (0, [])
    assert "goes on." in given.out
    done = cli("runs", "recover")
    assert done.status == 0
    assert re.search(r"completed +asking +1 stage kept", done.out)
    assert ran() == ["ask"]
    assert cli("runs", "resume", "--json").json["outputs"]["tell"] == {"told": "text, not JSON"}


def test_a_run_that_still_waits_leaves_again_when_resumed(cli: Cli):
    cli("run", "flow_x.py:asking", "--detach")
    done = cli("runs", "resume", "--detach", "--json")
    assert (done.status, done.json["status"]) == (0, "waiting")
    assert [wait["signal"] for wait in done.json["waits"]] == ["approval"]


def test_a_signal_to_a_run_that_has_ended_is_refused(interrupted: Any, cli: Cli):
    interrupted()
    done = cli("runs", "signal", "last", "approval", "yes")
    assert done.status == 2
    assert "error SF428" in done.err
    assert "takes signals again once it is resumed" in done.err


# --- recover --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_run_that_was_left_goes_on(project: Path, cli: Cli, ran: Any):
    ids = [killed(project), killed(project)]
    (project / "fail").touch()
    first = cli("runs", "recover", "--limit", "1")
    assert first.status == 1
    assert "error SF301  Stage 'pay' failed: ValueError: no money" in first.err
    (project / "fail").unlink()
    ran()
    done = cli("runs", "recover", "--json")
    assert done.status == 0
    [found] = done.json["runs"]
    assert found["run_id"] in ids
    assert (found["status"], found["restored"], found["error"]) == ("completed", 1, None)
    assert ran() == ["pay", "send"]
    assert "No run is left without a process." in cli("runs", "recover").out


@pytest.mark.slow
def test_what_cannot_be_recovered_is_told_with_its_reason(project: Path, cli: Cli):
    run_id = killed(project)
    (project / "flow_x.py").unlink()
    done = cli("runs", "recover")
    assert done.status == 1
    assert re.search(rf"{run_id[:8]} +refused +SF902", done.out)
    assert "error SF902" in done.err
    again = cli("runs", "recover", "--json")
    assert again.json["runs"][0]["error"]["code"] == "SF902"


# --- cancel, check, prune -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_was_left_is_cancelled_at_once(project: Path, cli: Cli):
    killed(project)
    done = cli("runs", "cancel", "last", "--reason", "changed our mind")
    assert (done.status, "is cancelled." in done.out) == (0, True)
    assert "changed our mind" in cli("runs", "list").out
    again = cli("runs", "cancel", "last")
    assert (again.status, "has ended already: cancelled." in again.out) == (1, True)
    assert cli("runs", "cancel", "last", "--json").json["requested"] is False


@pytest.mark.slow
def test_a_run_of_another_process_is_asked_to_stop(project: Path, cli: Cli):
    with subprocess.Popen(
        [*COMMAND, "run", "flow_x.py:asking", "--durability", "step"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any("stage.waiting" in line for line in process.stdout)
        done = cli("runs", "cancel", "last", "--reason", "enough")
        assert (done.status, "was asked to stop" in done.out) == (0, True)
        out = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    assert "reason  enough" in out


def test_a_run_that_waits_is_cancelled_at_once(cli: Cli):
    cli("run", "flow_x.py:asking", "--detach")
    assert (
        cli("runs", "cancel", "last", "--reason", "enough", "--json").json["status"] == "cancelled"
    )
    shown = cli("runs", "show")
    assert "waits for the signal" not in shown.out
    assert "1 cancelled" in shown.out
    assert "enough" in shown.out.partition("stage ")[2]


@pytest.mark.slow
def test_checking_code_against_unfinished_runs(project: Path, cli: Cli, write: Any):
    run_id = killed(project)
    same = cli("runs", "check", "flow_x.py:shop")
    assert (same.status, re.search(rf"{run_id[:8]}  running +goes on", same.out) is not None) == (
        0,
        True,
    )
    write("flow_y.py", CHANGED)
    other = cli("runs", "check", "flow_y.py:shop")
    assert other.status == 1
    assert "stage 'check' was added" in other.out
    assert "--on-change pin" in other.out
    [found] = cli("runs", "check", "flow_y.py:shop", "--json").json["runs"]
    assert (found["run_id"], found["continues"]) == (run_id, False)
    nothing = cli("runs", "check", "flow_x.py:asking")
    assert (nothing.status, "is unfinished." in nothing.out) == (0, True)


def test_checking_a_function_takes_its_inputs(interrupted: Any, cli: Cli):
    interrupted()
    assert "SF911" in cli("runs", "check", "flow_x.py:make").err
    assert cli("runs", "check", "flow_x.py:make", "-i", "folder=docs").status == 0


def test_pruning_tells_first_and_forgets_then(interrupted: Any, cli: Cli):
    run_id = interrupted()
    assert (
        "0 runs would be forgotten." in cli("runs", "prune", "--older-than", "1h", "--dry-run").out
    )
    would = cli("runs", "prune", "--older-than", "0s", "--dry-run", "--json").json
    assert would == {"dry_run": True, "runs": [run_id]}
    assert (
        "0 runs forgotten"
        in cli("runs", "prune", "--older-than", "0s", "--status", "completed").out
    )
    done = cli("runs", "prune", "--older-than", "0s")
    assert "1 run forgotten." in done.out
    assert run_id in done.out
    assert cli("runs", "list", "--json").json == []


@pytest.mark.parametrize("age", ["", "soon", "5", "-1d", "1y"])
def test_an_age_that_is_none(interrupted: Any, cli: Cli, age: str):
    interrupted()
    done = cli("runs", "prune", f"--older-than={age}")
    assert done.status == 2
    assert f"error SF915  {age!r} is no span of time." in done.err
    assert "90s, 30m, 12h, 30d or 4w" in done.err


@pytest.mark.parametrize("age", ["1e9d", "99999999999d"])
def test_an_age_beyond_all_time(interrupted: Any, cli: Cli, age: str):
    interrupted()
    done = cli("runs", "prune", f"--older-than={age}")
    assert (done.status, "SF915" in done.err) == (2, True)


def test_a_status_that_no_run_ends_with(interrupted: Any, cli: Cli):
    interrupted()
    done = cli("runs", "prune", "--older-than", "1d", "--status", "done")
    assert done.status == 2
    assert "Traceback" not in done.err


# --- failures, and what helps ---------------------------------------------------------------------


def test_each_of_several_failures_has_its_code_place_and_advice(cli: Cli):
    done = cli("run", "flow_x.py:many")
    assert done.status == 1
    assert "error SF301  Stage 'breaks' failed: ValueError: boom" in done.err
    assert re.search(r"where flow_x.py:\d+ in breaks: raise ValueError", done.err)
    assert re.search(r"error SF\d+  Stage 'refuses' failed: .*not like this", done.err)
    document = cli("run", "flow_x.py:many", "--json").json
    assert [error["message"].split("'")[1] for error in document["errors"]] == ["breaks", "refuses"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("resume", ["--target", "--on-change", "refuse|pin|adopt", "--detach", "--json"]),
        ("recover", ["--on-change", "--limit", "--detach", "--json"]),
        ("signal", ["NAME", "VALUE", "--id", "--no-resume"]),
        ("cancel", ["--reason"]),
        ("prune", ["--older-than", "--dry-run", "--status"]),
        ("check", ["TARGET", "--input", "Exit status"]),
        ("show", ["--events", "--all"]),
        ("list", ["--status", "--limit"]),
    ],
)
def test_each_command_explains_itself(cli: Cli, command: str, words: list[str]):
    out = cli("runs", command, "--help").out
    missing = [word for word in words if word not in out]
    assert missing == []
    assert command in cli("runs", "--help").out


def test_a_run_says_how_it_can_be_durable(cli: Cli):
    out = cli("run", "--help").out
    assert "--durability" in out
    assert "--detach" in out
    bad = cli("run", "flow_x.py:shop", "--durability", "always")
    assert (bad.status, "none" in bad.err) == (2, True)


def test_what_a_run_was_started_with_is_kept_for_whoever_resumes_it(
    interrupted: Any, project: Path
):
    run_id = UUID(interrupted())
    entries = in_store(project, lambda store: store.load_entries(run_id))
    [document] = [Codec.default().decode(each.value) for each in entries if each.key == "run"]
    assert document["origin"]["target"] == "flow_x.py:shop"
    assert document["origin"]["directory"] == str(project)
    assert json.loads(json.dumps(document["origin"]["inputs"])) == {"name": "Ada"}
