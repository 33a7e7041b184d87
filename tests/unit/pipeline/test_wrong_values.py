"""Values of the wrong type in a declaration or in a run's inputs: named before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stageflow import (
    GuardRetryPolicy,
    GuardRetryStrategy,
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineValidationError,
    RetryPolicy,
    RunInputError,
    UnifiedStageExecutionError,
    UnifiedStageGraph,
    UnifiedStageSpec,
    stage,
)
from stageflow.errors import RunError
from stageflow.interceptors import BaseInterceptor, LoggingInterceptor
from stageflow.observability import WideEventEmitter


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timeout": "1"}, "timeout='1'"),
        ({"timeout": True}, "timeout=True"),
        ({"timeout": -1}, "timeout=-1"),
        ({"retry": 3}, "retry=3"),
        ({"priority": "high"}, "priority='high'"),
        ({"on_failure": "ignore"}, "on_failure='ignore'"),
    ],
)
def test_a_wrong_policy_is_a_fault_of_the_definition(given: dict[str, Any], said: str) -> None:
    with pytest.raises(PipelineValidationError) as caught:
        Pipeline("p").with_stages([stage(**given)(nothing)]).build()
    (fault,) = caught.value.faults
    assert fault.code == "CONTRACT-004-PARAMETER"
    assert said in fault.summary
    assert "nothing" in fault.summary


class A:
    async def execute(self, ctx: Any) -> None: ...


@pytest.mark.parametrize("kind", [Pipeline, PipelineBuilder])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([A], ["dictionary of stages by name", "with_stage('a', A)"]),
        ("abc", ["dictionary of stages by name"]),
        (A, ["dictionary of stages by name"]),
        ({"a": A, "b": 3}, ["with_stage('a', A)", "3 is not a stage"]),
    ],
)
def test_stages_of_the_wrong_type_are_faults_all_together(
    kind: type[Any], given: Any, said: list[str]
) -> None:
    with pytest.raises(PipelineValidationError) as caught:
        kind("p", given)
    assert len(caught.value.faults) == len(said)
    for fault, words in zip(caught.value.faults, said, strict=True):
        assert words in f"{fault.summary} {fault.fix_hint}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (A, ["with_stage(name, runner)"]),
        (7, ["with_stage(name, runner)"]),
        ("ab", ["with_stage(name, runner)"]),
        ([A, 3, A()], ["A is not a stage", "3 is not a stage", "is not a stage"]),
        ([UnifiedStageSpec], ["UnifiedStageSpec is not a stage"]),
    ],
)
def test_further_stages_of_the_wrong_type_are_faults_all_together(
    given: Any, said: list[str]
) -> None:
    with pytest.raises(PipelineValidationError) as caught:
        Pipeline("p").with_stage("x", A).with_stages(given)
    assert len(caught.value.faults) == len(said)
    for fault, words in zip(caught.value.faults, said, strict=True):
        assert words in f"{fault.summary} {fault.fix_hint}"


@pytest.mark.parametrize(
    ("specs", "count"),
    [(A, 1), ([A, 3], 2), ("ab", 1), ([UnifiedStageSpec(name="x", runner=3), 4], 2)],
)
def test_specs_of_the_wrong_type_are_faults_of_the_graph(specs: Any, count: int) -> None:
    with pytest.raises(PipelineValidationError) as caught:
        UnifiedStageGraph(specs)
    assert len(caught.value.faults) == count


class Unordered(BaseInterceptor):
    priority = "first"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (LoggingInterceptor, ["[LoggingInterceptor()]"]),
        (LoggingInterceptor(), ["[LoggingInterceptor()]"]),
        ("logging", ["[LoggingInterceptor()]"]),
        ([Unordered(), 3], ["a number", "BaseInterceptor"]),
        ([LoggingInterceptor, None], ["LoggingInterceptor()", "BaseInterceptor"]),
    ],
)
def test_interceptors_of_the_wrong_type_are_faults_with_all_others(
    given: Any, said: list[str]
) -> None:
    pipeline = Pipeline("p").with_stage("a", A, timeout=-1)
    with pytest.raises(PipelineValidationError) as caught:
        pipeline.build(interceptors=given)
    hints = [fault.fix_hint for fault in caught.value.faults]
    assert len(hints) == len(said) + 1, "the timeout is the other fault"
    for words in said:
        assert any(words in str(hint) for hint in hints)


def test_only_a_pipeline_can_be_composed_with() -> None:
    wrong: Any = Pipeline("q").with_stage("a", A).build()
    with pytest.raises(PipelineValidationError, match="not built"):
        Pipeline("p").compose(wrong)


@pytest.mark.parametrize("limit", [0, "2", 1.5])
def test_a_wrong_limit_is_a_fault_of_the_definition(limit: Any) -> None:
    with pytest.raises(PipelineValidationError, match="max_concurrency"):
        Pipeline("p").with_stages([stage(nothing)]).build(max_concurrency=limit)


class Late(WideEventEmitter):
    async def emit_stage_wide(self, *args: Any) -> None: ...  # type: ignore[override]


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ("cleanup_timeout", ["1", -1, None, float("nan"), True]),
        ("guard_retry_strategy", [5, {"guard": GuardRetryPolicy("draft")}, GuardRetryStrategy]),
        ("wide_event_emitter", [5, WideEventEmitter, Late()]),
    ],
)
def test_a_wrong_choice_is_a_fault_with_all_others(choice: str, values: list[Any]) -> None:
    pipeline = Pipeline("p").with_stage("a", A, timeout=-1)
    for value in values:
        with pytest.raises(PipelineValidationError) as caught:
            pipeline.build(**{choice: value})
        told = [fault.context.get("parameter") for fault in caught.value.faults]
        assert choice in told, value
        assert len(told) == 2, "the timeout is the other fault"


@pytest.mark.anyio
@pytest.mark.parametrize("context", [None, 5, {}, PipelineContext])
async def test_a_run_takes_a_context(context: Any) -> None:
    graph = Pipeline("p").with_stage("a", A).build()
    with pytest.raises(RunError, match="takes a PipelineContext"):
        await graph.run(context)


def test_after_takes_decorated_functions_and_a_single_name() -> None:
    first = stage(name="first")(nothing)
    second = stage(name="second", after=first)(nothing)
    third = stage(name="third", after="first")(nothing)
    fourth = stage(name="fourth", after=[second, "third"])(nothing)
    graph = Pipeline("p").with_stages([fourth, third, second, first]).build()
    needs = {spec.name: tuple(spec.dependencies) for spec in graph.stage_specs}
    assert needs == {
        "first": (),
        "second": ("first",),
        "third": ("first",),
        "fourth": ("second", "third"),
    }


@stage
def takes(
    number: int, share: float = 0.5, names: list[str] | None = None, rows: Sequence[int] = ()
) -> None: ...


@pytest.mark.parametrize(
    ("inputs", "wrong"),
    [
        ({"number": "two"}, {"number"}),
        ({"number": True}, {"number"}),
        ({"number": 1, "share": "half", "names": "abc"}, {"share", "names"}),
        ({"number": 1.5, "nmae": 1}, {"number", "nmae"}),
    ],
)
def test_inputs_of_another_type_are_named_together(inputs: Any, wrong: set[str]) -> None:
    with pytest.raises(RunInputError) as caught:
        Pipeline("p").with_stages([takes]).run_sync(inputs=inputs)
    assert {fault.context["input"] for fault in caught.value.faults} == wrong


@pytest.mark.parametrize(
    "inputs",
    [{"number": 1}, {"number": 1, "share": 1, "names": None}, {"number": 1, "rows": (1, 2)}],
)
def test_inputs_of_a_fitting_type_are_taken(inputs: Any) -> None:
    outputs = Pipeline("p").with_stages([takes]).run_sync(inputs=inputs)
    assert outputs["takes"].status == "ok"


@pytest.mark.anyio
async def test_who_is_not_tried_again_is_told_why() -> None:
    @stage(retry=RetryPolicy(max_attempts=3))
    async def breaks() -> None:
        raise ValueError("no")

    with pytest.raises(UnifiedStageExecutionError, match=r"retry_on=\(ValueError,\)"):
        await Pipeline("p").with_stages([breaks]).run()
