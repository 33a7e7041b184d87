"""Functions that make pipelines, and who gets which input."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from stageflow import Pipeline, stage
from stageflow.cli.errors import (
    CommandError,
    InputError,
    OptionError,
    TargetCallError,
    TargetTypeError,
)
from stageflow.cli.inputs import read_inputs
from stageflow.cli.making import build_target, prepare, run_inputs
from stageflow.cli.targets import Target
from stageflow.pipeline import PipelineValidationError, UnifiedStageGraph

pytestmark = pytest.mark.anyio


@stage
async def greet(name: str, times: int = 1) -> str:
    return name * times


GREETING = Pipeline("greeting").with_stage(greet)


async def made(value: Any, *pairs: str, **options: Any) -> tuple[UnifiedStageGraph, dict[str, Any]]:
    target, given = Target("flow.py:x", value), read_inputs(pairs)
    graph = await build_target(target, given, **options)
    return graph, run_inputs(target, graph, given)


async def faults(value: Any, *pairs: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        await made(value, *pairs)
    return {fault.context["input"]: fault.code for fault in caught.value.faults}


@pytest.mark.parametrize(
    "value",
    [
        GREETING,
        GREETING.build(),
        lambda: GREETING,
        lambda: GREETING.build(),  # noqa: PLW0108 - `build` itself takes other inputs
        partial(lambda pipeline: pipeline, GREETING),
    ],
    ids=["declared", "built", "function", "function-built", "partial"],
)
async def test_a_target_is_built(value: Any):
    graph, inputs = await made(value, "name=Ada")
    assert graph.name == "greeting"
    assert inputs == {"name": "Ada"}


async def test_an_async_function_is_awaited():
    async def make(name: str) -> Pipeline:
        return Pipeline(name).with_stage(greet)

    graph, inputs = await made(make, "name=Ada")
    assert graph.name == "Ada"
    assert inputs == {"name": "Ada"}, "a stage names it, too"


async def test_what_the_function_took_is_not_left_for_the_run():
    def make(folder: str, *, depth: int = 2) -> Pipeline:
        return Pipeline(f"{folder}-{depth}").with_stage(greet)

    graph, inputs = await made(make, "folder=docs", "depth=3", "name=Ada", "input_text=hi")
    assert graph.name == "docs-3"
    assert inputs == {"name": "Ada"}


async def test_a_function_may_take_everything():
    seen: dict[str, Any] = {}

    def make(**inputs: Any) -> Pipeline:
        seen.update(inputs)
        return Pipeline("x").with_stage("a", print)

    _, inputs = await made(make, "a=1", "b=two")
    assert seen == {"a": 1, "b": "two"}
    assert inputs == {}


async def test_texts_stay_texts_where_they_are_wanted():
    def make(folder: str) -> Pipeline:
        return Pipeline(folder).with_stage(greet)

    graph, inputs = await made(make, "folder=2024", "name=007", "times=2")
    assert graph.name == "2024"
    assert inputs == {"name": "007", "times": 2}


async def test_classes_get_whatever_is_given():
    class Reads:
        async def execute(self, ctx: Any) -> None: ...

    _, inputs = await made(Pipeline("x").with_stage("a", Reads), "anything=1")
    assert inputs == {"anything": 1}


async def test_missing_inputs_are_told_together():
    def make(folder: str, output: str, depth: int = 1) -> Pipeline:
        return GREETING

    assert await faults(make) == {"folder": "SF911", "output": "SF911"}
    assert await faults(GREETING) == {"name": "SF911"}


async def test_a_missing_input_names_the_near_miss():
    with pytest.raises(InputError) as caught:
        await made(lambda folder: GREETING, "foldr=x")
    assert caught.value.faults[0].fix_hint == "Give it: --input folder=…, not foldr=…"


async def test_a_function_that_names_its_inputs_is_taken_at_its_word():
    def make(folder: str = ".") -> Pipeline:
        return Pipeline("x").with_stage("a", print)

    assert await faults(make, "foldr=x") == {"foldr": "SF912"}


async def test_a_function_that_raises_shows_its_own_line():
    def make() -> Pipeline:
        raise PermissionError("cannot list it")

    with pytest.raises(TargetCallError) as caught:
        await made(make)
    assert "flow.py:x raised PermissionError: cannot list it." in caught.value.message
    assert "test_making.py" in caught.value.where
    assert caught.value.where.endswith('in make: raise PermissionError("cannot list it")')


async def test_a_function_must_return_a_pipeline():
    with pytest.raises(TargetTypeError, match=r"What flow.py:x returns is of type int"):
        await made(lambda: 3)


async def test_a_function_with_positional_parameters_cannot_be_called():
    def make(folder: str, /) -> Pipeline:
        return GREETING

    with pytest.raises(TargetTypeError, match="by position"):
        await made(make, "folder=x")


async def test_a_limit_goes_to_whoever_builds():
    graph, _ = await made(GREETING, "name=x", max_concurrency=3)
    assert graph.plan.max_concurrency == 3
    built = GREETING.build()
    graph, _ = await made(built, "name=x", max_concurrency=3)
    assert graph.plan.max_concurrency == 3
    assert built.plan.max_concurrency is None


async def test_a_limit_that_nobody_takes_is_refused():
    class Built:
        """Runs, and knows no limit."""

        def __init__(self) -> None:
            graph = GREETING.build()
            self.plan, self.inputs, self.execute = graph.plan, graph.inputs, graph.execute

    with pytest.raises(OptionError, match="takes no other limit"):
        await made(Built(), "name=x", max_concurrency=3)


async def test_a_wrong_definition_is_told_as_such():
    with pytest.raises(PipelineValidationError):
        await made(Pipeline("none"))


async def test_the_target_and_the_inputs_are_told_together(project: Any):
    with pytest.raises(ExceptionGroup) as caught:
        prepare("nowhere.py:x", ["a"], None)
    assert [getattr(error, "code", "") for error in caught.value.exceptions] == ["SF907", "SF902"]
    with pytest.raises(CommandError):
        prepare("nowhere.py:x", ["a=1"], None)
