"""Wiring faults that a pipeline can be built with are found; what is open is left alone."""

from __future__ import annotations

import contextlib

import pytest

from stageflow import Pipeline, PipelineBuilder, StageOutput, stage, with_conditional_branch
from stageflow.pipeline.lint import is_hint, lint


async def give(ctx):
    return {"text": "x"}


def reads(function, dependencies=(), **options) -> Pipeline:
    """A stage `reader` beside the stages `first` and `second`, and after those it names."""
    return (
        Pipeline("p")
        .with_stage("first", give)
        .with_stage("second", give)
        .with_stage("reader", function, dependencies=dependencies, **options)
    )


def codes(pipeline) -> list[tuple[str, str]]:
    return [(f.code.removeprefix("LINT-"), f.context["stage"]) for f in lint(pipeline.build())]


# --- what is read ---------------------------------------------------------------------------------


async def from_first(ctx):
    return {"n": ctx.inputs.get_from("first", "text")}


async def requires_first(ctx):
    return {"n": ctx.inputs.require_from(stage="first", key="text")}


async def asks_for_first(ctx):
    return {"n": ctx.inputs.has_output("first")}


async def whole_first(context):
    inputs = context.inputs
    return {"n": inputs.get_output("first")}


class Reader:
    async def execute(self, ctx):
        return self._found(ctx)

    def _found(self, context):
        return {"n": context.inputs.get_from("first", "text")}

    def never_called(self, ctx):
        return ctx.inputs.get_from("second", "text")


READERS = [
    from_first,
    requires_first,
    asks_for_first,
    whole_first,
    Reader,
    Reader(),
    Reader().execute,
]


@pytest.mark.parametrize("reader", READERS)
def test_reading_an_undeclared_stage_is_an_error(reader):
    (found,) = lint(reads(reader).build())
    assert (found.code, found.context["reads"]) == ("LINT-UNDECLARED", "first")
    assert not is_hint(found)
    assert "Add 'first' to its dependencies" in (found.fix_hint or "")
    assert "test_lint.py:" in found.context["where"]


@pytest.mark.parametrize("reader", READERS)
def test_a_declared_stage_may_be_read(reader):
    assert lint(reads(reader, ["first"]).build()) == ()


@pytest.mark.parametrize("reader", READERS)
def test_a_dependency_that_is_never_read_is_a_hint(reader):
    (found,) = lint(reads(reader, ["first", "second"]).build())
    assert (found.code, found.context["dependency"]) == ("LINT-UNUSED", "second")
    assert is_hint(found)


def test_the_place_of_a_read_is_its_line():
    (found,) = lint(reads(from_first).build())
    line = from_first.__code__.co_firstlineno + 1
    assert found.context["where"].endswith(f"test_lint.py:{line}")


def test_a_name_that_no_stage_has_is_told_with_the_nearest():
    async def misspelt(ctx):
        return {"n": ctx.inputs.get_from("frist", "text")}

    (found,) = lint(reads(misspelt).build())
    assert "no stage" in found.summary
    assert "Did you mean 'first'?" in (found.fix_hint or "")


def test_a_stage_that_runs_later_cannot_just_be_added():
    pipeline = (
        Pipeline().with_stage("reader", from_first).with_stage("first", give, dependencies="reader")
    )
    (found,) = lint(pipeline.build())
    assert "runs after it" in found.summary


async def by_variable(ctx):
    name = ctx.stage_name.upper()
    return {"n": ctx.inputs.get_from("first", "text"), "m": ctx.inputs.get_from(name, "text", 1)}


async def by_key(ctx):
    return {"n": ctx.inputs.get_from("first", "text"), "m": ctx.inputs.get("other", 1)}


async def all_of_them(ctx):
    return {"n": ctx.inputs.get_from("first", "text"), "m": ctx.inputs.prior_outputs}


async def helped(ctx):
    return {"n": ctx.inputs.get_from("first", "text"), "m": codes(ctx)}


async def handed_on(ctx):
    return {"n": ctx.inputs.get_from("first", "text"), "m": list(map(str, [ctx.inputs]))}


async def bound_method(ctx):
    read = ctx.inputs.get_from
    return {"n": ctx.inputs.get_from("first", "text"), "m": read("second", "text")}


class Inheriting(Reader):
    async def execute(self, ctx):
        ctx.inputs.get_from("first", "text")
        return await super().execute(ctx)


class Called:
    async def __call__(self, ctx):
        return {"n": ctx.inputs.get("text")}


@pytest.mark.parametrize(
    "reader",
    [by_variable, by_key, all_of_them, helped, handed_on, bound_method, Inheriting, Called()],
)
def test_nothing_is_unused_where_a_read_cannot_be_followed(reader):
    assert codes(reads(reader, ["first", "second"])) == []


def test_a_stage_that_reads_nothing_may_wait_for_others():
    assert codes(reads(give, ["first", "second"])) == []


def test_nothing_is_claimed_where_there_is_no_source():
    space: dict = {}
    exec("async def made(ctx): return ctx.inputs.get_from('first', 'text')", space)  # noqa: S102 - a function without a file
    assert codes(reads(space["made"], ["second"])) == []
    assert codes(reads(lambda ctx: ctx.inputs.get_from("first", "text"), ["second"])) == []


def test_a_guard_or_router_in_front_need_not_be_read():
    pipeline = (
        Pipeline()
        .with_stage("first", give)
        .with_stage("safe", give, "guard")
        .with_stage("reader", from_first, dependencies=["first", "safe"])
    )
    assert codes(pipeline) == []


def test_an_object_of_another_kind_is_not_taken_for_the_inputs():
    async def other(ctx):
        return {"n": client.get_output("first"), "m": self_made.inputs.get_from("first", "x")}

    client = self_made = None
    assert codes(reads(other)) == []


def test_a_runner_of_several_stages_may_read_what_one_of_them_declares():
    pipeline = reads(from_first, ["first"]).with_stage("again", from_first)
    (found,) = lint(pipeline.build())
    assert found.context["stage"] == "again"
    assert is_hint(found)


def test_parameters_of_function_stages_are_reads():
    @stage
    async def first(): ...

    @stage
    async def other(): ...

    @stage(after=["other"])
    async def reader(first, ctx):
        return {"n": ctx.inputs.get_from("first", "x"), "m": ctx.inputs.get_from("third", "x")}

    @stage
    async def third(): ...

    pipeline = Pipeline().with_stages([first, other, reader, third])
    (found,) = lint(pipeline.build())
    assert (found.code, found.context["reads"]) == ("LINT-UNDECLARED", "third")


# --- what is conditional --------------------------------------------------------------------------


async def router(ctx):
    if ctx.snapshot.input_text:
        return {"route": "left"}
    return StageOutput.ok(route="right")


async def open_router(ctx):
    return {"route": ctx.snapshot.input_text}


async def assigned_router(ctx):
    route = "left" if ctx.snapshot.input_text else "right"
    return {"route": route}


async def several(ctx):
    return StageOutput.ok({"route": ["left", "right"]})


async def computed(ctx):
    return {"rou" + "te": "left"}


async def skips(ctx):
    return StageOutput.skip("no")


async def may_skip(ctx):
    return StageOutput.skip("no") if ctx.snapshot.input_text else {"text": "x"}


async def skips_others(ctx):
    return {"skip_reason": "no"}


async def may_skip_others(ctx):
    return {"skip_reason": ctx.snapshot.input_text}


async def routes_nowhere(ctx):
    return {"route": None if ctx.snapshot.input_text else []}


async def raises(ctx):
    raise ValueError


def branches(runner, *keys: str) -> PipelineBuilder:
    named = {key: (f"on_{key}", give) for key in keys}
    return with_conditional_branch(PipelineBuilder("p"), ("router", runner), named)


@pytest.mark.parametrize("runner", [router, assigned_router, several, open_router, computed])
def test_branches_that_can_be_chosen_are_clean(runner):
    assert codes(branches(runner, "left", "right")) == []


@pytest.mark.parametrize("runner", [router, assigned_router, several])
def test_a_key_that_no_router_gives(runner):
    (found,) = lint(branches(runner, "left", "right", "rihgt").build())
    assert (found.code, found.context["stage"]) == ("LINT-BRANCH-KEY", "on_rihgt")
    assert not is_hint(found)
    assert "'left', 'right'" in found.summary
    assert "Did you mean 'right'?" in (found.fix_hint or "")


@pytest.mark.parametrize("runner", [open_router, computed])
def test_a_route_that_is_made_in_the_run_may_be_any_key(runner):
    assert codes(branches(runner, "left", "other")) == []


def test_a_route_that_no_branch_has():
    (found,) = lint(branches(router, "left").build())
    assert (found.code, found.context["route"]) == ("LINT-ROUTE", "right")


def test_a_branch_without_a_router():
    builder = PipelineBuilder().with_stage("first", give)
    alone = builder.with_stage("a", give, conditional=True, branch_key="left")
    behind = builder.with_stage("a", give, "first", conditional=True, branch_key="left")
    assert codes(alone) == codes(behind) == [("NO-ROUTER", "a")]


def test_a_condition_that_nothing_decides():
    alone = Pipeline().with_stage("a", give, conditional=True)
    behind = reads(give, ["first"], conditional=True)
    assert codes(alone) == [("CONDITION", "a")]
    assert codes(behind) == [("CONDITION", "reader")]


@pytest.mark.parametrize("runner", [may_skip, may_skip_others, router, computed])
def test_a_condition_that_something_decides(runner):
    pipeline = (
        Pipeline()
        .with_stage("first", runner)
        .with_stage("a", give, dependencies="first", conditional=True)
        .with_stage("b", give, dependencies="a", conditional=True)
    )
    assert codes(pipeline) == []


def test_a_branch_key_without_a_condition():
    builder = PipelineBuilder().with_stage("r", open_router)
    assert codes(builder.with_stage("a", give, "r", branch_key="left")) == [("CONDITION", "a")]


def test_a_route_stage_that_names_its_branches_but_never_this_one():
    pipeline = Pipeline().with_stage("r", router, "route")
    for name in ("left", "right", "never"):
        pipeline = pipeline.with_stage(name, give, dependencies="r", conditional=True)
    assert codes(pipeline) == [("BRANCH-KEY", "never")]


def test_what_follows_a_branch_that_never_runs_is_unreachable_if_conditional():
    builder = branches(router, "left", "right", "never")
    builder = builder.with_stage("after", give, "on_never", conditional=True)
    builder = builder.with_stage("merge", give, "on_never")
    assert codes(builder) == [("BRANCH-KEY", "on_never"), ("UNREACHABLE", "after")]


@pytest.mark.parametrize("runner", [skips, skips_others])
def test_a_condition_that_is_never_true(runner):
    pipeline = (
        Pipeline()
        .with_stage("first", runner)
        .with_stage("a", give, dependencies="first", conditional=True)
        .with_stage("b", give, dependencies="a", conditional=True)
        .with_stage("c", give, dependencies="a")
    )
    assert codes(pipeline) == [("UNREACHABLE", "a"), ("UNREACHABLE", "b")]
    assert "'first', which always skips it" in lint(pipeline.build())[0].summary


def test_a_router_that_never_chooses():
    (left, right) = lint(branches(routes_nowhere, "left", "right").build())
    assert (left.code, right.code) == ("LINT-BRANCH-KEY", "LINT-BRANCH-KEY")
    assert "(it gives none)" in left.summary


def test_what_follows_a_stage_that_only_raises_is_unreachable():
    pipeline = Pipeline().with_stage("a", raises).with_stage("b", give, dependencies="a")
    assert codes(pipeline) == [("UNREACHABLE", "b")]


def test_a_block_may_swallow_what_is_raised_in_it():
    async def carries_on(ctx):
        with contextlib.suppress(ValueError):
            raise ValueError

    pipeline = Pipeline().with_stage("a", carries_on).with_stage("b", give, dependencies="a")
    assert codes(pipeline) == []


def test_what_follows_a_stage_that_never_succeeds_is_unreachable():
    async def fails(ctx):
        if ctx.snapshot.input_text:
            return StageOutput.fail("a")
        raise ValueError

    pipeline = (
        Pipeline()
        .with_stage("a", fails)
        .with_stage("b", give, dependencies="a")
        .with_stage("c", give, dependencies="b")
    )
    assert codes(pipeline) == [("UNREACHABLE", "b"), ("UNREACHABLE", "c")]


def test_a_stage_that_may_end_without_a_return_may_succeed():
    async def maybe(ctx):  # noqa: RET503 - this is what is tested
        if ctx.snapshot.input_text:
            return StageOutput.fail("a")

    pipeline = Pipeline().with_stage("a", maybe).with_stage("b", give, dependencies="a")
    assert codes(pipeline) == []


def test_a_pipeline_that_is_a_stage_is_looked_into():
    inner = Pipeline("inner").with_stage("first", give).with_stage("x", from_first)
    middle = Pipeline("middle").with_stage("deep", inner.as_stage())
    (found,) = lint(Pipeline("outer").with_stage("m", middle.as_stage()).build())
    assert found.context["inside"] == ["m", "deep"]
    assert found.context["pipeline"] == "inner"


def test_each_finding_says_what_to_do_and_where_to_read_on():
    for found in lint(branches(router, "left", "never").build()):
        assert found.fix_hint
        assert (found.doc_url or "").endswith(f"#{found.code.lower()}")


def test_findings_come_in_the_order_of_the_stages():
    pipeline = reads(from_first).with_stage("c", give, conditional=True)
    pipeline = Pipeline().with_stage("z", give, conditional=True).compose(pipeline)
    assert [name for _, name in codes(pipeline)] == ["z", "reader", "c"]
