"""`stageflow graph`, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLOW = """
    from stageflow import Pipeline, stage

    @stage(kind="work")
    def read(name): raise AssertionError("nothing runs")

    @stage(kind="agent")
    def greet(read): raise AssertionError("nothing runs")

    pipeline = Pipeline("greeting").with_stages([read, greet])

    def make(title: str):
        return Pipeline(title).with_stages([read, greet])

    wrong = Pipeline("wrong").with_stage("a", None, "wirk", ["b"])
"""


@pytest.fixture
def graph(write: Callable[[str, str], Path], cli: Callable[..., Any]) -> Callable[..., Any]:
    write("flow_x.py", FLOW)
    return lambda name, *rest: cli("graph", f"flow_x.py:{name}", *rest)


def test_the_terminals_drawing_needs_no_inputs_of_the_run(graph: Callable[..., Any]):
    done = graph("pipeline")
    assert done.status == 0
    assert done.out == "  greeting  2 stages\n  takes name\n\n  ●  read   work\n  ●  greet  agent\n"


@pytest.mark.parametrize(
    ("format", "begin"), [("mermaid", "flowchart TD\n"), ("dot", 'digraph "greeting" {\n')]
)
def test_other_formats(graph: Callable[..., Any], format: str, begin: str):
    assert graph("pipeline", "--format", format).out.startswith(begin)


def test_a_function_is_given_its_inputs(graph: Callable[..., Any]):
    assert "  hello  2 stages" in graph("make", "-i", "title=hello").out
    done = graph("make")
    assert done.status == 2
    assert "error SF911" in done.err


def test_a_drawing_goes_into_a_file(graph: Callable[..., Any], project: Path):
    done = graph("pipeline", "-o", "out.txt")
    assert (done.status, done.out) == (0, "")
    assert "  ●  read   work\n" in (project / "out.txt").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written(graph: Callable[..., Any]):
    done = graph("pipeline", "-o", "nowhere/out.txt")
    assert done.status == 2
    assert "error SF920  nowhere/out.txt cannot be written" in done.err


def test_all_faults_of_a_definition_are_told(graph: Callable[..., Any]):
    done = graph("wrong")
    assert done.status == 2
    assert "error SF101  Pipeline 'wrong' has 3 faults." in done.err
    for code in ("MISSING_DEP", "KIND", "RUNNER"):
        assert f"CONTRACT-004-{code}" in done.err


def test_an_unknown_format_is_refused(graph: Callable[..., Any]):
    assert graph("pipeline", "--format", "pdf").status == 2
