"""Values of the wrong type in a declaration or in a run's inputs: named before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stageflow import (
    Pipeline,
    PipelineValidationError,
    RetryPolicy,
    RunInputError,
    UnifiedStageExecutionError,
    stage,
)


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


@pytest.mark.parametrize("limit", [0, "2", 1.5])
def test_a_wrong_limit_is_a_fault_of_the_definition(limit: Any) -> None:
    with pytest.raises(PipelineValidationError, match="max_concurrency"):
        Pipeline("p").with_stages([stage(nothing)]).build(max_concurrency=limit)


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
