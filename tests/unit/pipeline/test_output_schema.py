"""Output schemas (BUG-019): what a stage gives is checked where it is declared."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, TypedDict

import attrs
import pytest

from stageflow import (
    OutputSchemaError,
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineValidationError,
    RetryPolicy,
    StageOutput,
    StageStatus,
    UnifiedStageExecutionError,
    stage,
)
from stageflow.interceptors import BaseInterceptor, InterceptorResult
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


@attrs.frozen
class Item:
    price: float
    at: datetime


@attrs.frozen
class Order:
    id: str
    items: list[Item]
    paid: bool = False
    kind: Literal["new", "old"] = "new"
    note: str | None = None


@dataclass
class Sized:
    size: int


class Typed(TypedDict):
    size: int
    note: NotRequired[str]


class Model:
    """Looks like the models of a validation library."""

    @classmethod
    def model_validate(cls, data: Any) -> Model:
        if "size" not in data:
            raise ValueError("size: field required")
        return cls()


JSON = {
    "type": "object",
    "properties": {
        "size": {"type": "integer"},
        "parts": {"type": "array", "items": {"minimum": 0}},
    },
    "required": ["size"],
}
AT = datetime(2025, 1, 1, tzinfo=UTC)


async def outcome(schema: Any, data: Any, **options: Any) -> StageOutput:
    async def gives(ctx: Any) -> Any:
        return data

    pipeline = Pipeline().with_stage("a", gives, output_schema=schema, **options)
    report = await pipeline.build().execute(PipelineContext())
    if report.status == "failed":
        assert isinstance(report.error, OutputSchemaError)
        assert report.error.stage == "a"
        assert all(problem in str(report.error) for problem in report.error.problems[:5])
        return StageOutput.fail("", problems=report.error.problems)
    return report.outputs["a"]


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (JSON, {"size": 1, "parts": [1, 2], "more": "is fine"}),
        (Order, {"id": "x", "items": [{"price": 1.5, "at": AT}, {"price": 2, "at": AT}]}),
        (Order, {"id": "x", "items": [Item(1.5, AT)], "note": None, "more": 1}),
        (Order, {"id": "x", "items": [], "paid": True, "kind": "old", "note": "n"}),
        (Sized, {"size": 1}),
        (Typed, {"size": 1, "note": "n"}),
        (Model, {"size": 1}),
        (lambda data: None, {}),
        (lambda data: True, {}),
        (lambda data: [], {}),
    ],
)
async def test_bug019_what_fits_goes_through_as_it_is(schema: Any, data: Any) -> None:
    output = await outcome(schema, data)
    assert output.status is StageStatus.OK
    assert output.data == data


@pytest.mark.parametrize(
    ("schema", "data", "paths"),
    [
        (JSON, {"parts": [1, -1]}, ["$: ", "$.parts[1]: "]),
        (JSON, {"size": "1"}, ["$.size: "]),
        (
            Order,
            {"id": 1, "items": [{"price": "1", "at": AT}, {"price": 1}], "paid": "yes"},
            ["$.id: ", "$.items[0].price: ", "$.items[1].at: ", "$.paid: "],
        ),
        (Order, {"id": "x", "items": [], "kind": "odd"}, ["$.kind: "]),
        (Order, {"id": "x", "items": [7]}, ["$.items[0]: "]),
        (Sized, {"size": True}, ["$.size: "]),
        (Sized, {"size": 1.5}, ["$.size: "]),
        (Sized, {}, ["$.size: "]),
        (Typed, {"size": 1, "note": 2}, ["$.note: "]),
        (Model, {}, ["$: ValueError: size: field required"]),
        (lambda data: data["x"], {}, ["$: KeyError: 'x'"]),
        (lambda data: False, {}, ["$: "]),
        (lambda data: "$.x is odd", {}, ["$.x is odd"]),
        (lambda data: ["$.x is odd", "$.y is odd"], {}, ["$.x is odd", "$.y is odd"]),
    ],
)
async def test_bug019_what_does_not_fit_fails_the_stage_and_names_each_path(
    schema: Any, data: Any, paths: list[str]
) -> None:
    output = await outcome(schema, data)
    assert output.status is StageStatus.FAIL
    problems = sorted(output.data["problems"])
    assert len(problems) == len(paths)
    assert all(
        problem.startswith(path) for problem, path in zip(problems, sorted(paths), strict=True)
    )


@pytest.mark.parametrize(
    "given", [StageOutput.skip("no"), StageOutput.cancel("no", scope="branch")]
)
async def test_only_a_success_has_a_schema_to_fit(given: StageOutput) -> None:
    assert (await outcome(JSON, given)).status is given.status


async def test_a_stage_that_gives_nothing_does_not_fit_either() -> None:
    assert (await outcome(JSON, None)).status is StageStatus.FAIL
    assert (await outcome({"type": "object"}, None)).status is StageStatus.OK


async def test_an_attempt_that_does_not_fit_can_be_followed_by_another() -> None:
    calls: list[int] = []

    class Improves:
        async def execute(self, ctx: Any) -> dict[str, Any]:
            calls.append(ctx.attempt)
            return {"size": ctx.attempt if ctx.attempt > 1 else "one"}

    graph = (
        Pipeline()
        .with_stage(
            "a", Improves, output_schema=Sized, retry=RetryPolicy(retry_on=OutputSchemaError)
        )
        .build(clock=TestClock(autojump=True))
    )
    outputs = await graph.run(PipelineContext())
    assert (calls, outputs["a"].data) == ([1, 2], {"size": 2})


async def test_functions_are_judged_by_what_they_return() -> None:
    @stage(output_schema=Sized)
    def made() -> Any:
        return Sized(3)

    @stage(output_schema={"type": "integer", "maximum": 3})
    async def number(made: Any) -> int:
        return made.size + 1

    with pytest.raises(UnifiedStageExecutionError, match="4 is greater") as caught:
        await Pipeline().with_stages([made, number]).run()
    assert caught.value.stage == "number"
    assert caught.value.results["made"].status is StageStatus.OK


async def test_builders_take_a_schema_too() -> None:
    async def gives(ctx: Any) -> dict[str, Any]:
        return {"size": "1"}

    graph = PipelineBuilder().with_stage("a", gives, output_schema=Sized).build()
    with pytest.raises(UnifiedStageExecutionError, match=r"\$\.size"):
        await graph.run(PipelineContext())


async def test_what_an_interceptor_supplies_is_its_own_affair() -> None:
    class Supplies(BaseInterceptor):
        async def before(self, stage_name: str, ctx: Any) -> InterceptorResult:
            return InterceptorResult(result={"size": "from a cache"})

    graph = Pipeline().with_stage("a", lambda ctx: None, output_schema=Sized)
    outputs = await graph.build(interceptors=[Supplies()]).run(PipelineContext())
    assert outputs["a"].data == {"size": "from a cache"}


async def test_one_schema_for_many_stages_names_the_right_one() -> None:
    async def gives(ctx: Any) -> dict[str, Any]:
        return {"size": 1 if ctx.stage_name == "a" else "1"}

    pipeline = Pipeline().with_stage("a", gives, output_schema=JSON)
    with pytest.raises(UnifiedStageExecutionError, match="stage 'b'"):
        await pipeline.with_stage("b", gives, output_schema=JSON).run()


@pytest.mark.parametrize(
    ("schema", "said"),
    [({"type": "strange"}, "$.type"), (int, "describes nothing"), (7, "describes nothing")],
)
def test_a_schema_that_cannot_be_used_is_a_fault_of_the_definition(schema: Any, said: str) -> None:
    pipeline = Pipeline().with_stage("a", lambda ctx: None, output_schema=schema)
    with pytest.raises(PipelineValidationError) as caught:
        pipeline.with_stage("b", 7).build()
    fault, runner = caught.value.faults
    assert fault.code == "CONTRACT-004-SCHEMA"
    assert runner.code == "CONTRACT-004-RUNNER"
    assert said in fault.summary


def test_a_json_schema_without_its_companion_says_what_to_install(monkeypatch: Any) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("jsonschema"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PipelineValidationError) as caught:
        Pipeline().with_stage("a", lambda ctx: None, output_schema=JSON).build()
    assert "Install `jsonschema`" in (caught.value.faults[0].fix_hint or "")
