"""From `module:name` and `path/file.py:name` to what they name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stageflow import Pipeline
from stageflow.cli.errors import (
    CommandError,
    TargetImportError,
    TargetMissingError,
    TargetNameError,
    TargetSyntaxError,
    TargetTypeError,
)
from stageflow.cli.targets import load_target
from stageflow.pipeline import PipelineValidationError

HELLO = """
    from stageflow import Pipeline

    pipeline = Pipeline("hello")
    other = Pipeline("other")
    number = 3
    class Shop:
        pipeline = Pipeline("shop")
"""

Write = Callable[[str, str], Path]


def refused(kind: type[CommandError], text: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        load_target(text)
    assert type(caught.value) is kind
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "target", ["hello_x.py:pipeline", "hello_x:pipeline", "./hello_x.py:Shop.pipeline"]
)
def test_a_pipeline_is_found(write: Write, target: str):
    write("hello_x.py", HELLO)
    assert isinstance(load_target(target).value, Pipeline)


def test_a_file_imports_what_lies_beside_it(write: Write):
    write("jobs/beside_x.py", "name = 'beside'")
    write(
        "jobs/main_x.py",
        "import beside_x\nfrom stageflow import Pipeline\npipeline = Pipeline(beside_x.name)",
    )
    assert load_target("jobs/main_x.py:pipeline").value.name == "beside"


def test_a_file_of_a_package_is_imported_as_part_of_it(write: Write, project: Path):
    write("src/pack_x/__init__.py", "")
    write("src/pack_x/sub/__init__.py", "")
    write("src/pack_x/sub/names.py", "name = 'inside'")
    write(
        "src/pack_x/sub/flow.py",
        "from .names import name\nfrom pack_x.sub import names\nfrom stageflow import Pipeline\n"
        "pipeline = Pipeline(name)",
    )
    assert load_target("src/pack_x/sub/flow.py:pipeline").value.name == "inside"
    assert sys.path[0] == str(project / "src")
    assert "pack_x.sub.flow" in sys.modules


@pytest.mark.parametrize("name", ["types.py", "my-flow.py", "1.2.py"])
def test_a_file_may_be_called_anything(write: Write, name: str):
    kept = sys.modules["types"]
    write(name, HELLO)
    assert load_target(f"{name}:pipeline").value.name == "hello"
    assert sys.modules["types"] is kept


def test_classes_of_a_file_find_their_module(write: Write):
    write(
        "typed_x.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from stageflow import Pipeline\n@dataclass\nclass Row:\n    next: Row | None = None\n"
        "pipeline = Pipeline('typed')",
    )
    assert load_target("typed_x.py:pipeline").value.name == "typed"


@pytest.mark.parametrize("text", ["", ":x", "not a module:x", "a/b:x", "3:x"])
def test_what_is_no_target(project: Path, text: str):
    error = refused(TargetSyntaxError, text)
    assert "module:name" in error.hint


def test_a_missing_file_suggests_those_beside(write: Write):
    write("hello_x.py", HELLO)
    assert "Did you mean 'hello_x.py'?" in refused(TargetMissingError, "helo_x.py:pipeline").hint
    assert "no .py files" in refused(TargetMissingError, "nowhere/x.py:pipeline").hint


@pytest.mark.parametrize("target", ["helo_x:pipeline", "helo_x.inner:pipeline"])
def test_a_missing_module_suggests_those_beside(write: Write, target: str):
    write("hello_x.py", HELLO)
    error = refused(TargetMissingError, target)
    assert "'helo_x'" in error.message
    assert "Did you mean 'hello_x'?" in error.hint


def test_a_missing_name_suggests_near_ones(write: Write):
    write("hello_x.py", HELLO)
    assert "Did you mean 'pipeline'?" in refused(TargetNameError, "hello_x.py:pipelin").hint
    assert "Did you mean" in refused(TargetNameError, "hello_x.py:Shop.pipelin").hint


@pytest.mark.parametrize("target", ["hello_x.py", "hello_x.py:", "hello_x"])
def test_no_name_lists_the_pipelines(write: Write, target: str):
    write("hello_x.py", HELLO)
    hint = refused(TargetNameError, target).hint
    assert "hello_x.py:pipeline or hello_x.py:other" in hint.replace("hello_x:", "hello_x.py:")


def test_no_name_where_there_is_no_pipeline(write: Write):
    write("empty_x.py", "import os")
    assert "Nothing in empty_x.py" in refused(TargetNameError, "empty_x.py").hint


@pytest.mark.parametrize(
    ("text", "message", "where", "hint"),
    [
        ("a = 1\nb = {}['k']", "KeyError: 'k'", "bad_x.py:2: b = {}['k']", "Correct"),
        ("def f(:", "SyntaxError", "bad_x.py:1: def f(:", "Correct"),
        (
            "import nothere_x",
            "No module named 'nothere_x'",
            "bad_x.py:1: import",
            "Install 'nothere_x'",
        ),
        ("import sys\nsys.exit(3)", "SystemExit: 3", "bad_x.py:2: sys.exit(3)", "__main__"),
        (
            "import json\njson.loads('{')",
            "JSONDecodeError",
            "bad_x.py:2: json.loads('{')",
            "Correct",
        ),
    ],
)
@pytest.mark.parametrize("target", ["bad_x.py:pipeline", "bad_x:pipeline"])
def test_a_module_that_raises_shows_its_own_line(
    write: Write, target: str, text: str, message: str, where: str, hint: str
):
    write("bad_x.py", text)
    error = refused(TargetImportError, target)
    assert message in error.message
    assert error.where.startswith(where)
    assert hint in error.hint


def test_a_module_that_raised_is_tried_afresh(write: Write):
    write("bad_x.py", "1 / 0")
    for _ in range(2):
        refused(TargetImportError, "bad_x.py:pipeline")


def test_a_wrong_definition_in_the_module_speaks_for_itself(write: Write):
    write("bad_x.py", "from stageflow import Pipeline\ngraph = Pipeline('none').build()")
    with pytest.raises(PipelineValidationError) as caught:
        load_target("bad_x.py:graph")
    assert caught.value.__notes__ == ["while importing bad_x.py"]


@pytest.mark.parametrize(
    ("definition", "what", "hint"),
    [
        ("x = 3", "of type int", "Name a Pipeline"),
        ("from stageflow import Pipeline as x", "the class Pipeline", "pipeline = Pipeline(…)"),
        ("from stageflow import stage\n@stage\ndef x(): pass", "FunctionStage", "It is a stage"),
        ("class S:\n    async def execute(self, ctx): pass\nx = S()", "of type S", "It is a stage"),
    ],
)
def test_what_is_no_pipeline(write: Write, definition: str, what: str, hint: str):
    write("odd_x.py", definition)
    error = refused(TargetTypeError, "odd_x.py:x")
    assert what in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("flow_n.py", "flow_n"),
        ("my-flow.py", "stageflow_target_my_flow"),
        ("queue.py", "stageflow_target_queue"),
    ],
)
def test_a_file_is_called_the_same_in_every_process_and_imported_once(
    write: Callable[[str, str], Path], file: str, module: str
):
    write(file, "def make():\n    return pipeline\npipeline = object()\n")
    first, again = (load_target(f"{file}:make").value for _ in range(2))
    assert first is again
    assert first.__module__ == module


def test_files_of_one_name_are_two_modules(write: Callable[[str, str], Path]):
    for folder in ("a", "b", "c"):
        write(f"{folder}/flow_m.py", "def make():\n    return 1\n")
    made = [load_target(f"{folder}/flow_m.py:make").value for folder in "abc"]
    assert [each.__module__ for each in made] == [
        "flow_m",
        "stageflow_target_flow_m",
        "stageflow_target_flow_m_2",
    ]
