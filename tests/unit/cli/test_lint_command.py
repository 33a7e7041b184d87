"""`stageflow lint`, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FLOW = """
    from stageflow import Pipeline

    async def fetch(ctx): assert False, "nothing runs"

    async def parse(ctx):
        return {"n": ctx.inputs.get_from("fetch", "text")}

    good = (
        Pipeline("good").with_stage("fetch", fetch)
        .with_stage("parse", parse, dependencies="fetch")
    )
    bad = Pipeline("bad").with_stage("fetch", fetch).with_stage("parse", parse)
    spare = (
        Pipeline("spare").with_stage("fetch", fetch).with_stage("more", fetch)
        .with_stage("parse", parse, dependencies=["fetch", "more"])
    )
    outer = Pipeline("outer").with_stage("inner", bad.as_stage())
    broken = Pipeline("broken").with_stage("parse", parse, dependencies="nothing")
"""


@pytest.fixture
def lint(write: Callable[..., Any], cli: Callable[..., Any]) -> Callable[..., Any]:
    write("flow_l.py", FLOW)
    return lambda name, *rest: cli("lint", f"flow_l.py:{name}", *rest)


def test_a_clean_pipeline(lint: Callable[..., Any]):
    done = lint("good")
    assert (done.status, done.out, done.err) == (0, "good: nothing found\n", "")


def test_errors_are_told_with_place_and_remedy(lint: Callable[..., Any]):
    done = lint("bad")
    assert done.status == 1
    assert done.out == (
        "error LINT-UNDECLARED  Stage 'parse' reads 'fetch' without depending on it"
        " (flow_l.py:7).\n"
        "  do    Add 'fetch' to its dependencies, or read a declared one.\n"
        "bad: 1 error\n"
    )


def test_hints_count_only_if_it_is_strict(lint: Callable[..., Any]):
    done = lint("spare")
    assert done.status == 0
    assert done.out.startswith("hint LINT-UNUSED  ")
    assert done.out.endswith("spare: 1 hint\n")
    assert lint("spare", "--strict").status == 1


def test_json(lint: Callable[..., Any]):
    done = lint("bad", "--json")
    assert done.status == 1
    assert (done.json["status"], done.json["pipeline"], done.json["errors"]) == (
        "findings",
        "bad",
        [],
    )
    (found,) = done.json["findings"]
    assert found["code"] == "LINT-UNDECLARED"
    assert found["context"] == {
        "pipeline": "bad",
        "stage": "parse",
        "severity": "error",
        "reads": "fetch",
        "where": "flow_l.py:7",
    }
    assert lint("good", "--json").json["status"] == "clean"
    assert lint("spare", "--json").json["status"] == "clean"
    assert lint("spare", "--json", "--strict").json["status"] == "findings"


def test_a_pipeline_inside_is_named(lint: Callable[..., Any]):
    assert "  where inside stage 'inner'\n" in lint("outer").out


@pytest.mark.parametrize("arguments", [["broken"], ["absent"], ["good", "-i", "x"]])
def test_what_cannot_be_looked_at_is_no_finding(lint: Callable[..., Any], arguments: list[str]):
    assert lint(*arguments).status == 2
    done = lint(*arguments, "--json")
    assert done.status == 2
    assert (done.json["status"], done.json["findings"]) == ("error", [])
    assert done.json["errors"]


def test_a_target_is_needed(cli: Callable[..., Any]):
    assert cli("lint").status == 2
