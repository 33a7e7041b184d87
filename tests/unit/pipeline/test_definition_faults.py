"""Faults of a definition: each with its code, all at once, and said so that one can mend them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stageflow import (
    CycleDetectedError,
    Pipeline,
    PipelineValidationError,
    StageKind,
    StageOutput,
)
from stageflow._engine.plan import StagePolicy, compile_plan
from stageflow.interceptors import BaseInterceptor, TimeoutInterceptor
from support.runs import node

WORK = StageKind.WORK


async def no_op(ctx: Any) -> None: ...


class Plain:
    def execute(self, ctx: Any) -> None: ...


class Wants:
    def __init__(self, url: str, *, retries: int = 3) -> None:
        self.url = url

    async def execute(self, ctx: Any) -> StageOutput:
        return StageOutput.ok(url=self.url)


def error_of(nodes: Any, **plan: Any) -> PipelineValidationError:
    with pytest.raises(PipelineValidationError) as caught:
        compile_plan(nodes, **plan)
    return caught.value


def codes(error: PipelineValidationError) -> list[str]:
    return [fault.code.removeprefix("CONTRACT-004-") for fault in error.faults]


CASES: dict[str, tuple[list[Any], dict[str, Any], list[str]]] = {
    "EMPTY": ([], {}, ["no stages", "Add"]),
    "NAME": ([node(" ", no_op)], {}, ["' '", "not blank"]),
    "DUPLICATE": (
        [node("a", no_op), node("a", Plain)],
        {},
        ["2 stages", "'a'", "name of its own"],
    ),
    "MISSING_DEP": (
        [node("load", no_op), node("a", no_op, "laod")],
        {},
        ["'a'", "'laod'", "Did you mean 'load'?"],
    ),
    "SELF_DEP": ([node("a", no_op, "a")], {}, ["'a' depends on itself", "Remove"]),
    "CYCLE": (
        [node("a", no_op, "b"), node("b", no_op, "a")],
        {},
        ["circle", "a -> b -> a", "Remove one"],
    ),
    "KIND": (
        [node("a", no_op, kind="transfrom")],
        {},
        ["'a'", "'transfrom'", "'transform'", "StageKind"],
    ),
    "RUNNER": ([node("a", 5)], {}, ["'a'", "5", "execute"]),
    "CONFIG": (
        [node("a", Wants, config={"ulr": "x"})],
        {},
        ["'a'", "Wants", "'url'", "keywords"],
    ),
    "PARAMETER": ([node("a", no_op)], {"max_concurrency": 0}, ["max_concurrency", "0", "1"]),
}


@pytest.mark.parametrize("code", CASES)
def test_each_fault_has_a_code_of_its_own_and_says_what_where_and_what_to_do(code: str) -> None:
    nodes, plan, told = CASES[code]
    error = error_of(nodes, **plan)
    [fault] = error.faults
    assert fault.code == f"CONTRACT-004-{code}"
    assert error.code == fault.code
    assert error.error_info is fault
    for part in told:
        assert part in str(error)
    assert fault.fix_hint
    assert fault.fix_hint in str(error)
    assert (fault.doc_url or "").endswith(f"#contract-004-{code.lower()}")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node(5, no_op), node("b", no_op, "nowhere")], ["NAME", "MISSING_DEP"]),
        ([node(None, no_op)], ["NAME"]),
        ([node(["a"], no_op), node("b", no_op, ["a"])], ["NAME", "MISSING_DEP"]),
        ([node(b"a", no_op)], ["NAME"]),
        ([node("a", no_op, 5)], ["MISSING_DEP"]),
        ([node("a", no_op, None)], ["MISSING_DEP"]),
        ([node("a", no_op, no_op)], ["MISSING_DEP"]),
        ([node("a", no_op, kind=None)], ["KIND"]),
        ([node("a", no_op, kind=5)], ["KIND"]),
        ([node("a", None)], ["RUNNER"]),
        ([node("a", int)], ["RUNNER"]),
        ([node("a", object())], ["RUNNER"]),
        ([node("a", Wants)], ["CONFIG"]),
        ([node("a", Wants, config={"url": "x", "more": 1})], ["CONFIG"]),
        ([node("a", Plain, config={"more": 1})], ["CONFIG"]),
        ([node("a", Plain, config=5)], ["CONFIG"]),
        ([node("a", Plain, config={5: 1})], ["CONFIG"]),
        ([node("a", Plain(), config={"more": 1})], ["CONFIG"]),
        ([node("a", no_op, policy=StagePolicy(timeout=float("nan")))], ["PARAMETER"]),
        ([node("a", no_op, policy=StagePolicy(timeout=0))], ["PARAMETER"]),
    ],
)
def test_no_wrong_value_escapes_the_list_of_faults(nodes: Any, expected: list[str]) -> None:
    assert codes(error_of(nodes)) == expected


@pytest.mark.parametrize("dependencies", [5, None.__class__, [5], [["a"]], [None]])
def test_dependencies_that_are_no_names_are_faults_of_the_definition(dependencies: Any) -> None:
    pipeline = Pipeline().with_stage("a", no_op, WORK, dependencies=dependencies)
    with pytest.raises(PipelineValidationError, match="Give the name of a stage"):
        pipeline.build()


@pytest.mark.parametrize(
    ("wrong", "hint"), [(object(), "BaseInterceptor"), (TimeoutInterceptor, "TimeoutInterceptor()")]
)
def test_interceptors_that_are_none_are_faults_of_the_definition(wrong: Any, hint: str) -> None:
    pipeline = Pipeline().with_stage("a", no_op, WORK)
    with pytest.raises(PipelineValidationError, match="interceptors") as caught:
        pipeline.build(interceptors=[BaseInterceptor(), wrong])
    assert hint in str(caught.value)


def test_all_faults_come_at_once_and_the_first_ones_are_shown() -> None:
    nodes = [
        node("a", no_op, "nowhere", policy=StagePolicy(timeout=-1, on_failure="ignore")),  # type: ignore[arg-type]
        node("a", 5, kind="nonsense"),
        node("b", no_op, "b"),
        node("c", Wants, "d"),
        node("d", no_op, "c"),
        node("", no_op),
    ]
    error = error_of(nodes, on_failure="explode", max_concurrency=-1, name="all wrong")
    assert sorted(codes(error)) == sorted(
        [
            "NAME",
            "DUPLICATE",
            "MISSING_DEP",
            "SELF_DEP",
            "CYCLE",
            "KIND",
            "RUNNER",
            "CONFIG",
            *["PARAMETER"] * 4,
        ]
    )
    assert isinstance(error, CycleDetectedError)
    text = str(error)
    assert "'all wrong' has 12 faults" in text
    assert "and 2 more" in text
    assert len(error.to_dict()["faults"]) == 12


def test_the_circle_is_told_in_the_order_of_execution() -> None:
    nodes = [
        node("fetch", no_op),
        node("parse", no_op, "fetch", "publish"),
        node("check", no_op, "parse"),
        node("publish", no_op, "check"),
        node("after", no_op, "publish"),
    ]
    error = error_of(nodes)
    assert isinstance(error, CycleDetectedError)
    path = error.cycle_path
    assert path[0] == path[-1]
    assert set(path) == {"parse", "check", "publish"}
    needs = {each.name: each.dependencies for each in nodes}
    for earlier, later in itertools.pairwise(path):
        assert earlier in needs[later]
    assert " -> ".join(path) in str(error)
    assert error.stages == path[:-1]


def test_a_long_circle_needs_no_recursion_and_its_text_stays_short() -> None:
    size = 10_000
    error = error_of([node(f"s{n}", no_op, f"s{(n + 1) % size}") for n in range(size)])
    assert isinstance(error, CycleDetectedError)
    assert len(error.cycle_path) == size + 1
    assert len(str(error)) < 1000
    assert "…" in str(error)


def test_a_circle_behind_a_long_way_is_found() -> None:
    size = 5_000
    nodes = [node(f"s{n}", no_op, f"s{n - 1}") for n in range(1, size)]
    nodes.insert(0, node("s0", no_op, "s10"))
    error = error_of(nodes[::-1])
    assert isinstance(error, CycleDetectedError)
    assert len(error.cycle_path) == 12


def test_many_wrong_names_are_compared_with_the_right_ones_for_few_hints_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0

    def count(name: str, known: Any) -> str:
        nonlocal compared
        compared += len(known)
        return "Did you mean …?"

    monkeypatch.setattr("stageflow._engine.validation.did_you_mean", count)
    error = error_of([node(f"stage {n}", no_op, f"stgae {n}") for n in range(3_000)])
    assert len(error.faults) == 3_000
    assert 0 < compared <= 100_000


def test_a_dependency_named_twice_is_one() -> None:
    [_, spec] = compile_plan([node("a", no_op), node("b", no_op, "a", "a")]).nodes
    assert spec.dependencies == ("a",)


def test_nothing_is_made_before_everything_is_right() -> None:
    made: list[str] = []

    class Made:
        def __init__(self) -> None:
            made.append("made")

        async def execute(self, ctx: Any) -> None: ...

    error_of([node("a", Made), node("b", no_op, "nowhere")])
    compile_plan([node("a", Made)])
    assert made == []
