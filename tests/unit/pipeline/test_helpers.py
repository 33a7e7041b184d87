"""The checklist's section 2.4: the usual shapes of pipelines; each test names its criterion."""

from __future__ import annotations

from typing import Any

import pytest

from stageflow import (
    FluentPipelineBuilder,
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineValidationError,
    StageOutput,
    StageStatus,
    UnifiedStageExecutionError,
    with_conditional_branch,
    with_fan_out_fan_in,
    with_linear_chain,
    with_parallel_stages,
)

pytestmark = pytest.mark.anyio


async def runs(ctx: Any) -> dict[str, str]:
    return {"ran": ctx.stage_name}


def make(prefix: str = "s") -> Any:
    return lambda index: (f"{prefix}{index}", runs)


def needs(declared: Any) -> dict[str, tuple[str, ...]]:
    return {name: item.dependencies for name, item in declared.stages.items()}


@pytest.fixture(params=[PipelineBuilder, Pipeline])
def builder(request: Any) -> Any:
    return request.param("p").with_stage("start", runs)


@pytest.mark.parametrize("count", [0, -1])
@pytest.mark.parametrize("add", [with_linear_chain, with_parallel_stages])
def test_2_4_no_stages_leave_the_builder_unchanged(builder: Any, add: Any, count: int) -> None:
    assert add(builder, count, make()) is builder


def test_2_4_a_chain_begins_where_it_is_told(builder: Any) -> None:
    assert needs(with_linear_chain(builder, 3, make(), first_depends_on="start")) == {
        "start": (),
        "s0": ("start",),
        "s1": ("s0",),
        "s2": ("s1",),
    }
    assert needs(with_linear_chain(builder, 1, make()))["s0"] == ()
    wanted = ("start", "s0")
    chained = with_linear_chain(
        with_linear_chain(builder, 1, make()), 1, make("t"), first_depends_on=wanted
    )
    assert needs(chained)["t0"] == wanted


@pytest.mark.parametrize(
    "given",
    [lambda: None, lambda: "start", lambda: iter(["start"])],
    ids=["nothing", "a name", "an iterator"],
)
def test_2_4_parallel_stages_share_their_dependencies(builder: Any, given: Any) -> None:
    shared = () if given() is None else ("start",)
    found = needs(with_parallel_stages(builder, 3, make(), depends_on=given()))
    assert found == {"start": (), "s0": shared, "s1": shared, "s2": shared}


def test_2_4_fan_out_and_fan_in(builder: Any) -> None:
    fan = with_fan_out_fan_in(
        builder, ("out", runs), 2, make(), ("in", runs), fan_out_depends_on="start"
    )
    assert needs(fan) == {
        "start": (),
        "out": ("start",),
        "s0": ("out",),
        "s1": ("out",),
        "in": ("s0", "s1"),
    }
    alone = needs(with_fan_out_fan_in(builder, ("out", runs), 0, make(), ("in", runs)))
    assert (alone["out"], alone["in"]) == ((), ("out",))


def test_2_4_branches_depend_on_the_router_and_are_conditional(builder: Any) -> None:
    branches = {"yes": ("accept", runs), "no": ("refuse", runs)}
    found = with_conditional_branch(
        builder, ("router", runs), branches, ("merge", runs), router_depends_on=("start",)
    )
    assert needs(found) == {
        "start": (),
        "router": ("start",),
        "accept": ("router",),
        "refuse": ("router",),
        "merge": ("accept", "refuse"),
    }
    assert [name for name, item in found.stages.items() if item.conditional] == ["accept", "refuse"]
    assert "merge" not in needs(with_conditional_branch(builder, ("router", runs), branches))


@pytest.mark.parametrize(
    ("route", "ran"),
    [("yes", {"accept"}), (["yes", "no"], {"accept", "refuse"}), ([], set())],
)
async def test_2_4_the_routers_route_names_the_key_of_what_runs(
    builder: Any, route: Any, ran: set[str]
) -> None:
    async def routes(ctx: Any) -> StageOutput:
        return StageOutput.ok(route=route)

    branches = {"yes": ("accept", runs), "no": ("refuse", runs)}
    graph = with_conditional_branch(builder, ("router", routes), branches, ("merge", runs)).build()
    outputs = await graph.run(PipelineContext())
    done = {name for name, output in outputs.items() if output.status is StageStatus.OK}
    assert done == {"start", "router", "merge"} | ran


async def test_2_4_a_route_without_a_branch_fails_the_router(builder: Any) -> None:
    async def routes(ctx: Any) -> StageOutput:
        return StageOutput.ok(route="maybe")

    graph = with_conditional_branch(
        builder, ("router", routes), {"yes": ("accept", runs)}, ("merge", runs)
    ).build()
    with pytest.raises(UnifiedStageExecutionError, match="maybe"):
        await graph.run(PipelineContext())


class TestFluent:
    def test_2_4_it_tracks_the_last_stage(self) -> None:
        fluent = FluentPipelineBuilder("p")
        assert fluent._last_stage is None
        assert fluent.stage("a", runs)._last_stage == "a"
        assert fluent.stage("a", runs).linear_chain(2, make())._last_stage == "s1"
        fan = fluent.fan_out_fan_in(("out", runs), 2, make(), ("in", runs))
        assert fan._last_stage == "in"

    def test_2_4_stage_adds_no_dependencies_by_itself(self) -> None:
        fluent = FluentPipelineBuilder("p").stage("a", runs).stage("b", runs)
        assert needs(fluent.builder)["b"] == ()
        explicit = fluent.stage("c", runs, depends_on=["a"], conditional=True).builder
        assert needs(explicit)["c"] == ("a",)
        assert explicit.get_stage("c").conditional

    def test_each_shape_begins_where_the_one_before_ended(self) -> None:
        fluent = (
            FluentPipelineBuilder("p")
            .stage("a", runs)
            .linear_chain(2, make("chain"))
            .parallel(2, make("side"))
            .fan_out_fan_in(("out", runs), 1, make("work"), ("in", runs))
            .conditional_branch(("router", runs), {"x": ("x", runs), "y": ("y", runs)})
            .linear_chain(1, make("end"))
        )
        assert needs(fluent.builder) == {
            "a": (),
            "chain0": ("a",),
            "chain1": ("chain0",),
            "side0": ("chain1",),
            "side1": ("chain1",),
            "out": ("side0", "side1"),
            "work0": ("out",),
            "in": ("work0",),
            "router": ("in",),
            "x": ("router",),
            "y": ("router",),
            "end0": ("x", "y"),
        }
        assert fluent.build().name == "p"

    def test_no_stages_leave_it_unchanged(self) -> None:
        fluent = FluentPipelineBuilder("p").stage("a", runs)
        assert fluent.linear_chain(0, make()) is fluent
        assert fluent.parallel(0, make()) is fluent

    def test_it_is_immutable(self) -> None:
        first = FluentPipelineBuilder("p").stage("a", runs)
        first.linear_chain(2, make())
        assert first.builder.stage_names() == ["a"]


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda b: with_linear_chain(b, "3", make()), "count is '3'"),
        (lambda b: with_parallel_stages(b, 1.5, make()), "count is 1.5"),
        (lambda b: with_linear_chain(b, 1, lambda index: None), r"stage_factory\(0\) is None"),
        (lambda b: with_parallel_stages(b, 1, lambda index: ("a",)), r"is \('a',\)"),
        (lambda b: with_fan_out_fan_in(b, runs, 1, make(), ("z", runs)), "fan_out_stage is"),
        (lambda b: with_fan_out_fan_in(b, ("a", runs), 1, make(), "ab"), "fan_in_stage is 'ab'"),
        (lambda b: with_conditional_branch(b, None, {}), "router_stage is None"),
        (lambda b: with_conditional_branch(b, ("r", runs), {"x": runs}), r"branches\['x'\] is"),
        (lambda b: with_conditional_branch(b, ("r", runs), {}, runs), "merge_stage is"),
    ],
)
def test_what_is_no_stage_is_named(builder: Any, declare: Any, said: str) -> None:
    with pytest.raises(PipelineValidationError, match=said):
        declare(builder)
