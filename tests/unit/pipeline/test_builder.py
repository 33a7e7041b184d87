"""The checklist's sections 2.1 to 2.3: specs, faults, builders; each test names its criterion."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

import stageflow
from stageflow import (
    ContractErrorInfo,
    ContractSuggestion,
    CycleDetectedError,
    Pipeline,
    PipelineBuilder,
    PipelineContext,
    PipelineSpec,
    PipelineValidationError,
    RetryPolicy,
    StageKind,
    StageOutput,
    UnifiedStageGraph,
    UnifiedStageSpec,
    get_contract_suggestion,
    register_suggestion,
    stage,
)
from stageflow.pipeline import SuggestionRegistry, get_suggestion_registry, set_suggestion_registry


async def runs(ctx: Any) -> dict[str, str]:
    return {"ran": ctx.stage_name}


async def other(ctx: Any) -> None: ...


class Greets:
    kind = StageKind.ENRICH

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def execute(self, ctx: Any) -> StageOutput:
        return StageOutput.ok(said=self.greeting)


BUILDERS = [PipelineBuilder, Pipeline]


def with_stages(cls: Any, name: str, *stages: tuple[Any, ...]) -> Any:
    declared = cls(name)
    for stage_name, runner, *needs in stages:
        declared = declared.with_stage(stage_name, runner, dependencies=needs)
    return declared


class TestSpec:
    """2.1"""

    def test_2_1_a_spec_is_frozen(self) -> None:
        spec = PipelineSpec("a", runs)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            spec.name = "b"  # type: ignore[misc]

    def test_2_1_a_spec_is_immutable_in_depth(self) -> None:
        args = {"greeting": "hello"}
        spec = PipelineSpec("a", Greets, ["b"], ["x"], "y", args=args)
        args["greeting"] = "changed"
        assert spec.args == {"greeting": "hello"}
        with pytest.raises(TypeError):
            spec.args["greeting"] = "no"  # type: ignore[index]
        assert (spec.dependencies, spec.inputs, spec.outputs) == (("b",), ("x",), ("y",))

    def test_2_1_a_spec_is_hashable_whatever_its_runner_is(self) -> None:
        class Unhashable:
            __hash__ = None  # type: ignore[assignment]

            async def execute(self, ctx: Any) -> None: ...

        runner = Unhashable()
        one, same = (PipelineSpec("a", runner, args={"list": []}) for _ in range(2))
        assert hash(one) == hash(same)
        assert one == same
        assert {one: 1}[same] == 1

    @pytest.mark.parametrize("name", ["", " ", "\t\n"])
    def test_2_1_a_name_cannot_be_empty_or_blank(self, name: str) -> None:
        with pytest.raises(PipelineValidationError) as caught:
            PipelineSpec(name, runs)
        assert caught.value.code == "CONTRACT-004-NAME"
        assert isinstance(caught.value, ValueError)

    def test_2_1_a_spec_cannot_depend_on_itself(self) -> None:
        with pytest.raises(ValueError, match="itself") as caught:
            PipelineSpec("a", runs, ("b", "a"))
        assert isinstance(caught.value, PipelineValidationError)
        assert caught.value.stages == ["a"]

    def test_2_1_all_faults_of_a_spec_come_at_once(self) -> None:
        with pytest.raises(PipelineValidationError) as caught:
            PipelineSpec(" ", runs, " ")
        assert [fault.code for fault in caught.value.faults] == [
            "CONTRACT-004-NAME",
            "CONTRACT-004-SELF_DEP",
        ]


class TestErrorMetadata:
    """2.2"""

    def test_2_2_with_context_merges_context(self) -> None:
        info = ContractErrorInfo("C", "s", context={"a": 1, "b": 1})
        more = info.with_context(b=2, c=3)
        assert more.context == {"a": 1, "b": 2, "c": 3}
        assert info.context == {"a": 1, "b": 1}

    def test_2_2_to_dict_is_stable(self) -> None:
        info = ContractErrorInfo("C", "s", "hint", "url", {"a": 1})
        assert list(info.to_dict().items()) == [
            ("code", "C"),
            ("summary", "s"),
            ("fix_hint", "hint"),
            ("doc_url", "url"),
            ("context", {"a": 1}),
        ]

    def test_2_2_a_validation_error_carries_message_stages_and_info(self) -> None:
        info = ContractErrorInfo("C", "s")
        error = PipelineValidationError("broken", ["a"], info)
        assert (error.message, error.stages, error.error_info) == ("broken", ["a"], info)
        assert error.to_dict() == {
            "message": "broken",
            "stages": ["a"],
            "error_info": info.to_dict(),
            "faults": [info.to_dict()],
        }
        assert PipelineValidationError("broken").to_dict()["error_info"] is None

    def test_2_2_there_is_a_suggestion_for_every_fault_of_the_builders(self) -> None:
        source = Path(stageflow.__path__[0])
        used = {
            code
            for room in ("_engine", "pipeline")
            for path in (source / room).glob("*.py")
            for code in re.findall(r'\bfault\(\s*"([A-Z_]+)"', path.read_text("utf-8"))
        }
        assert {"EMPTY", "MISSING_DEP", "CYCLE", "CONFLICT", "GUARD_RETRY", "SCHEMA"} <= used
        for code in used:
            found = get_contract_suggestion(f"CONTRACT-004-{code}")
            assert found is not None, code
            assert found.fix_steps
            assert found.doc_url

    def test_2_2_suggestions_are_looked_up_by_code_and_can_be_registered(self) -> None:
        before = set_suggestion_registry(SuggestionRegistry())
        try:
            assert get_contract_suggestion("CONTRACT-004-CYCLE") is None
            mine = ContractSuggestion("MY-1", "title", "summary", ["first", "then"])
            register_suggestion(mine)
            assert get_contract_suggestion("MY-1") is mine
            assert mine.to_dict()["fix_steps"] == ["first", "then"]
            assert [each.code for each in get_suggestion_registry()] == ["MY-1"]
        finally:
            set_suggestion_registry(before)
        assert get_suggestion_registry() is before
        assert get_contract_suggestion("MY-1") is None


@pytest.mark.parametrize("cls", BUILDERS)
class TestDeclaration:
    """2.3, for both declarations: they share one implementation."""

    def test_2_3_a_missing_dependency_is_found_on_init(self, cls: Any) -> None:
        with pytest.raises(PipelineValidationError) as caught:
            cls("p", stages={"a": PipelineSpec("a", runs, ["b"])})
        assert caught.value.code == "CONTRACT-004-MISSING_DEP"
        assert caught.value.error_info.context == {"stage": "a", "missing": "b"}

    def test_2_3_a_circle_is_found_on_init(self, cls: Any) -> None:
        ring = {"a": "c", "b": "a", "c": "b"}
        with pytest.raises(CycleDetectedError) as caught:
            cls("p", {name: PipelineSpec(name, runs, [need]) for name, need in ring.items()})
        path = caught.value.cycle_path
        assert caught.value.code == "CONTRACT-004-CYCLE"
        assert path[0] == path[-1]
        assert len(path) == 4
        assert all(ring[after] == before for before, after in pairwise(path))

    def test_2_3_all_faults_come_at_once(self, cls: Any) -> None:
        with pytest.raises(CycleDetectedError) as caught:
            cls(
                "p",
                {
                    "a": PipelineSpec("a", runs, ["b", "nowhere"]),
                    "b": PipelineSpec("b", 7, ["a"]),
                    "c": PipelineSpec("d", runs),
                },
            )
        assert {fault.code.removeprefix("CONTRACT-004-") for fault in caught.value.faults} == {
            "NAME",
            "MISSING_DEP",
            "CYCLE",
            "RUNNER",
        }

    def test_2_3_a_chain_is_checked_at_build(self, cls: Any) -> None:
        forward = with_stages(cls, "p", ("a", runs, "b"))
        with pytest.raises(PipelineValidationError) as caught:
            forward.build()
        assert caught.value.code == "CONTRACT-004-MISSING_DEP"
        assert forward.with_stage("b", runs).build().stage_specs[0].dependencies == ("b",)

    def test_2_3_an_empty_declaration_cannot_be_built(self, cls: Any) -> None:
        for empty in (cls("p"), cls("p", {}), cls("p").with_stages([])):
            with pytest.raises(PipelineValidationError) as caught:
                empty.build()
            assert caught.value.code == "CONTRACT-004-EMPTY"

    @pytest.mark.anyio
    async def test_2_3_build_gives_a_graph_that_runs(self, cls: Any) -> None:
        graph = with_stages(cls, "p", ("a", runs), ("b", runs, "a")).build()
        assert isinstance(graph, UnifiedStageGraph)
        outputs = await graph.run(PipelineContext())
        assert [output.data["ran"] for output in outputs.values()] == ["a", "b"]

    def test_declarations_are_immutable_and_share_structure(self, cls: Any) -> None:
        first = cls("p").with_stage("a", runs)
        left, right = first.with_stage("b", runs), first.with_stage("c", runs)
        assert list(first.stages) == ["a"]
        assert list(left.stages) == ["a", "b"]
        assert list(right.stages) == ["a", "c"]
        assert left.stages["a"] is right.stages["a"]

    def test_a_long_chain_costs_no_copies(self, cls: Any) -> None:
        declared = cls("p")
        for index in range(2_000):
            declared = declared.with_stage(f"s{index}", runs)
        assert len(declared._tail) == 1
        assert len(declared.stages) == 2_000

    def test_2_3_compose_joins_names_and_stages(self, cls: Any) -> None:
        left = with_stages(cls, "left", ("a", runs), ("b", runs, "a"))
        right = with_stages(cls, "right", ("c", runs, "b"))
        both = left.compose(right)
        assert type(both) is cls
        assert both.name == "left+right"
        assert list(both.stages) == ["a", "b", "c"]
        assert both.build().name == "left+right"
        assert list(left.stages) == ["a", "b"]

    def test_2_3_compose_allows_identical_stages(self, cls: Any) -> None:
        left = with_stages(cls, "l", ("a", runs), ("b", runs, "a"))
        right = with_stages(cls, "r", ("a", runs), ("c", runs, "a"))
        assert list(left.compose(right).stages) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        "differently",
        [
            {"runner": other},
            {"dependencies": ["x"]},
            {"conditional": True},
            {"timeout": 3.0},
            {"retry": RetryPolicy()},
        ],
    )
    def test_2_3_compose_refuses_one_name_for_two_stages(
        self, cls: Any, differently: dict[str, Any]
    ) -> None:
        declared = {"runner": runs, "dependencies": [], "conditional": False}
        left = cls("left").with_stage("x", runs).with_stage("a", **declared)
        right = cls("right").with_stage("a", **{**declared, **differently})
        with pytest.raises(PipelineValidationError) as caught:
            left.compose(right)
        assert caught.value.code == "CONTRACT-004-CONFLICT"
        assert caught.value.stages == ["a"]

    def test_2_3_compose_lists_every_conflict(self, cls: Any) -> None:
        left = with_stages(cls, "l", ("a", runs), ("b", runs))
        right = with_stages(cls, "r", ("a", other), ("b", other))
        with pytest.raises(PipelineValidationError) as caught:
            left.compose(right)
        assert [fault.context["stage"] for fault in caught.value.faults] == ["a", "b"]

    def test_compose_keeps_a_name_given_twice_for_build_to_refuse(self, cls: Any) -> None:
        twice = with_stages(cls, "l", ("a", runs), ("a", runs))
        with pytest.raises(PipelineValidationError) as caught:
            twice.compose(with_stages(cls, "r", ("b", runs))).build()
        assert caught.value.code == "CONTRACT-004-DUPLICATE"

    def test_whatever_is_a_stage_can_be_added(self, cls: Any) -> None:
        @stage
        async def made(spec: Any) -> None: ...

        declared = cls("p").with_stages(
            [PipelineSpec("spec", runs), UnifiedStageSpec(name="unified", runner=runs), made]
        )
        assert list(declared.stages) == ["spec", "unified", "made"]
        assert declared.build().plan.nodes[2].dependencies == ("spec",)

    def test_what_is_no_stage_is_refused(self, cls: Any) -> None:
        with pytest.raises(PipelineValidationError) as caught:
            cls("p").with_stages([runs])
        assert caught.value.code == "CONTRACT-004-RUNNER"


class TestPipelineBuilder:
    def test_2_3_a_builder_composes_with_a_pipeline(self) -> None:
        builder = PipelineBuilder("l").with_stage("a", runs)
        pipeline = Pipeline("r").with_stage("a", runs).with_stage("b", runs, "work", ["a"])
        assert list(builder.compose(pipeline).stages) == ["a", "b"]
        assert list(pipeline.compose(builder).stages) == ["a", "b"]

    def test_2_3_what_is_said_for_readers_is_no_conflict(self) -> None:
        left = PipelineBuilder("l").with_stage("a", runs, inputs=["x"], outputs="y")
        right = PipelineBuilder("r").with_stage("a", runs)
        assert left.compose(right).get_stage("a").inputs == ("x",)

    def test_2_3_other_keywords_are_a_conflict(self) -> None:
        left = PipelineBuilder("l").with_stage("a", Greets, args={"greeting": "hello"})
        right = PipelineBuilder("r").with_stage("a", Greets, args={"greeting": "bye"})
        with pytest.raises(PipelineValidationError, match="differently"):
            left.compose(right)

    def test_stages_can_be_looked_up(self) -> None:
        builder = PipelineBuilder("p").with_stage("a", runs, outputs=["x"])
        assert builder.get_stage("a") == PipelineSpec("a", runs, outputs=["x"])
        assert builder.get_stage("b") is None
        assert builder.has_stage("a")
        assert not builder.has_stage("b")
        assert builder.with_stage("b", runs).stage_names() == ["a", "b"]
        assert "2 stages" in repr(builder.with_stage("b", runs))

    @pytest.mark.anyio
    async def test_args_are_keywords_of_a_runner_class_and_its_kind_counts(self) -> None:
        builder = PipelineBuilder("p").with_stage("a", Greets, args={"greeting": "hello"})
        graph = builder.build()
        assert graph.stage_specs[0].kind is StageKind.ENRICH
        outputs = await graph.run(PipelineContext())
        assert outputs["a"].data == {"said": "hello"}

    def test_wrong_args_are_found_at_build(self) -> None:
        with pytest.raises(PipelineValidationError) as caught:
            PipelineBuilder("p").with_stage("a", Greets, args={"greting": "hello"}).build()
        assert caught.value.code == "CONTRACT-004-CONFIG"

    def test_a_blank_name_is_refused_at_once(self) -> None:
        with pytest.raises(PipelineValidationError):
            PipelineBuilder("p").with_stage(" ", runs)
