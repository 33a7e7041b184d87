"""Stages declared by functions: how they are bound, checked and called."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

import anyio
import pytest

from stageflow import (
    MissingInputError,
    Pipeline,
    PipelineContext,
    PipelineValidationError,
    RetryPolicy,
    Runtime,
    StageContext,
    StageKind,
    StageOutput,
    UnifiedStageExecutionError,
    stage,
)
from stageflow._engine.fingerprint import PlanChangedError, fingerprint_of
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.pipeline import FunctionStage, RunInputError

if TYPE_CHECKING:
    from somewhere_else import Unheard  # type: ignore[import-not-found]

pytestmark = pytest.mark.anyio


@stage
async def numbers() -> dict[str, list[int]]:
    return {"numbers": [1, 2, 3]}


@stage
def total(numbers: Mapping[str, Any], factor: int = 1) -> int:
    return sum(numbers["numbers"]) * factor


def codes(error: PipelineValidationError) -> list[str]:
    return [fault.code.removeprefix("CONTRACT-004-") for fault in error.faults]


def faults_of(*stages: Any) -> list[str]:
    with pytest.raises(PipelineValidationError) as caught:
        Pipeline().with_stages(stages).build()
    return codes(caught.value)


class TestBinding:
    async def test_a_parameter_that_names_a_stage_is_what_it_returned(self) -> None:
        @stage
        async def shown(total: int, numbers: dict[str, Any]) -> dict[str, str]:
            return {"text": f"{numbers['numbers']} make {total}"}

        # In any order of declaration.
        outputs = await Pipeline().with_stages([shown, total, numbers]).run()
        assert outputs["shown"].data == {"text": "[1, 2, 3] make 6"}
        assert outputs["total"].data == {"value": 6}

    @pytest.mark.parametrize(
        ("returned", "read"),
        [
            ({"x": 1}, {"x": 1}),
            ({}, {}),
            (None, {}),
            (5, 5),
            ("text", "text"),
            ([1], [1]),
            (False, False),
            ((), ()),
            (StageOutput.ok(x=1), {"x": 1}),
            ({"value": 1}, {"value": 1}),
        ],
    )
    async def test_every_value_arrives_as_it_was_returned(self, returned: Any, read: Any) -> None:
        seen: list[Any] = []

        @stage
        async def gives() -> Any:
            return returned

        @stage
        async def reads(gives: Any) -> None:
            seen.append(gives)

        await Pipeline().with_stages([gives, reads]).run()
        assert seen == [read]
        assert isinstance(seen[0], type(read))

    @pytest.mark.parametrize("annotation", [StageOutput, StageOutput | None, Optional[StageOutput]])  # noqa: UP045
    async def test_a_parameter_annotated_as_the_output_is_the_output(self, annotation: Any) -> None:
        async def reads(numbers: Any) -> dict[str, str]:
            return {"status": numbers.status.value}

        reads.__annotations__["numbers"] = annotation
        outputs = await Pipeline().with_stages([numbers, stage(reads)]).run()
        assert outputs["reads"].data == {"status": "ok"}

    async def test_a_list_of_outputs_is_no_output(self) -> None:
        @stage
        async def gives() -> list[int]:
            return [1]

        async def reads(gives: Any) -> int:
            return len(gives)

        reads.__annotations__["gives"] = list[StageOutput]
        outputs = await Pipeline().with_stages([gives, stage(reads)]).run()
        assert outputs["reads"].data == {"value": 1}

    async def test_an_annotation_that_cannot_be_resolved_hides_no_other(self) -> None:
        @stage
        async def reads(numbers: StageOutput, ctx: Unheard) -> dict[str, str]:
            return {"stage": ctx.stage_name, "status": numbers.status.value}

        outputs = await Pipeline().with_stages([numbers, reads]).run()
        assert outputs["reads"].data == {"stage": "reads", "status": "ok"}

    async def test_ctx_is_the_context_and_can_be_had_alone(self) -> None:
        @stage
        async def tells(ctx: Any) -> str:
            return str(ctx.stage_name)

        outputs = await Pipeline().with_stages([tells]).run()
        assert outputs["tells"].data == {"value": "tells"}

    async def test_after_waits_without_reading(self) -> None:
        order: list[str] = []

        @stage
        async def first() -> None:
            await anyio.lowlevel.checkpoint()
            order.append("first")

        @stage(after=["first"])
        async def second() -> None:
            order.append("second")

        @stage(after=second)  # type: ignore[call-overload]  # a stage may stand for its name
        async def third() -> None:
            order.append("third")

        await Pipeline().with_stages([third, second, first]).run()
        assert order == ["first", "second", "third"]

    async def test_a_stage_may_be_named_unlike_its_function(self) -> None:
        @stage(name="numbers")
        async def other() -> dict[str, list[int]]:
            return {"numbers": [4]}

        outputs = await Pipeline().with_stages([other, total]).run()
        assert outputs["total"].data == {"value": 4}

    async def test_one_function_can_be_several_stages(self) -> None:
        async def half(numbers: Any) -> int:
            return len(numbers["numbers"])

        stages = [numbers, stage(half), stage(name="again")(half)]
        outputs = await Pipeline().with_stages(stages).run()
        assert outputs["half"].data == outputs["again"].data == {"value": 3}

    async def test_the_pipeline_decides_what_a_parameter_is(self) -> None:
        alone = Pipeline().with_stages([total])
        outputs = await alone.run(inputs={"numbers": {"numbers": [5]}})
        assert outputs["total"].data == {"value": 5}
        assert (await alone.with_stages([numbers]).run())["total"].data == {"value": 6}

    async def test_a_run_input_may_be_called_like_the_stage_that_takes_it(self) -> None:
        @stage
        async def folder(folder: str) -> str:
            return folder.upper()

        outputs = await Pipeline().with_stages([folder]).run(inputs={"folder": "here"})
        assert outputs["folder"].data == {"value": "HERE"}

    async def test_function_stages_and_others_read_each_other(self) -> None:
        async def classic(ctx: Any) -> dict[str, int]:
            return {"twice": ctx.inputs.get_from("total", "value") * 2}

        @stage
        async def last(classic: dict[str, int]) -> int:
            return classic["twice"] + 1

        pipeline = (
            Pipeline()
            .with_stages([numbers, total, last])
            .with_stage("classic", classic, StageKind.WORK, ["total"])
        )
        assert (await pipeline.run())["last"].data == {"value": 13}

    def test_calling_a_stage_calls_its_function(self) -> None:
        assert total({"numbers": [1]}, factor=3) == 3

    def test_its_options_are_its_policy(self) -> None:
        retry = RetryPolicy(max_attempts=2)

        @stage(kind="guard", timeout=5, retry=retry, on_failure="continue", priority=3, version="2")
        async def all_set() -> None: ...

        [spec] = Pipeline().with_stages([all_set]).build().stage_specs
        policy = spec.policy
        assert spec.kind is StageKind.GUARD
        assert (policy.timeout, policy.retry, policy.on_failure) == (5, retry, "continue")
        assert (policy.priority, policy.version) == (3, "2")


class Greets:
    """Callable, with methods."""

    greeting = "hello"

    def __call__(self, who: str) -> str:
        return f"{self.greeting} {who}"

    def method(self, who: str) -> str:
        return f"{self.greeting}, {who}"

    @staticmethod
    def static(who: str) -> str:
        return f"static {who}"


class GreetsLater(Greets):
    async def __call__(self, who: str) -> str:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        return f"later {who}"


async def add(one: int, other: int) -> int:
    return one + other


class TestWhatCanBeAStage:
    @pytest.mark.parametrize(
        ("function", "name", "value"),
        [
            (Greets().method, "method", "hello, you"),
            (Greets.static, "static", "static you"),
            (Greets(), "Greets", "hello you"),
            (GreetsLater(), "GreetsLater", "later you"),
            (partial(Greets().method), "method", "hello, you"),
            (lambda who: who * 2, "<lambda>", "youyou"),
        ],
    )
    async def test_whatever_can_be_called(self, function: Any, name: str, value: str) -> None:
        made = stage(function)
        assert made.name == name
        outputs = await Pipeline().with_stages([made]).run(inputs={"who": "you"})
        assert outputs[name].data == {"value": value}

    async def test_what_a_partial_function_knows_need_not_be_given(self) -> None:
        plus_one = stage(name="plus_one")(partial(add, 1))
        by_name = stage(name="by_name")(partial(add, other=10))
        pipeline = Pipeline().with_stages([plus_one, by_name])
        outputs = await pipeline.run(inputs={"one": 5, "other": 6})
        assert outputs["plus_one"].data == {"value": 7}
        # A keyword of a partial function is a default: another value may be given.
        assert outputs["by_name"].data == {"value": 11}
        alone = await Pipeline().with_stages([by_name]).run(inputs={"one": 5})
        assert alone["by_name"].data == {"value": 15}

    @pytest.mark.parametrize(
        ("make", "threaded"),
        [
            (lambda: _where, True),
            (lambda: lambda: _where(), False),  # noqa: PLW0108 - a lambda is what is tried here
        ],
    )
    async def test_plain_functions_run_in_threads_and_lambdas_in_the_loop(
        self, make: Any, threaded: bool
    ) -> None:
        outputs = await Pipeline().with_stages([stage(name="a")(make())]).run()
        assert (outputs["a"].data["value"] != threading.get_ident()) is threaded

    async def test_a_plain_function_may_return_something_to_await(self) -> None:
        @stage
        def later(one: int) -> Any:
            return add(one, 1)

        outputs = await Pipeline().with_stages([later]).run(inputs={"one": 1})
        assert outputs["later"].data == {"value": 2}

    @pytest.mark.parametrize("wrong", [5, "text", dict])
    def test_what_has_no_parameters_to_read_is_refused_at_once(self, wrong: Any) -> None:
        with pytest.raises(PipelineValidationError, match="cannot be made of"):
            stage(name="wrong")(wrong)


def _where() -> int:
    return threading.get_ident()


class TestInputs:
    async def test_run_inputs_are_given_by_name(self) -> None:
        outputs = await Pipeline().with_stages([numbers, total]).run(inputs={"factor": 2})
        assert outputs["total"].data == {"value": 12}

    def test_the_graph_says_what_it_takes(self) -> None:
        @stage
        async def other(factor: int, path: str) -> None: ...

        inputs = Pipeline().with_stages([numbers, total, other]).build().inputs
        assert list(inputs) == ["factor", "path"]
        assert inputs["factor"].stages == ("total", "other")
        assert inputs["factor"].required  # by one of the two
        assert inputs["path"].annotation is str

    async def test_every_wrong_input_is_said_at_once(self) -> None:
        @stage
        async def takes(path: str, size: int, depth: int = 1) -> None: ...

        with pytest.raises(RunInputError) as caught:
            await Pipeline("audit").with_stages([takes]).run(inputs={"pth": "x", "depth": "deep"})
        told = {fault.context["input"]: fault for fault in caught.value.faults}
        assert list(told) == ["path", "size", "pth", "depth"]
        assert "'path'" in (told["pth"].fix_hint or "")
        assert "'audit'" in str(caught.value)

    async def test_nothing_runs_with_wrong_inputs(self) -> None:
        ran: list[str] = []

        @stage
        async def first() -> None:
            ran.append("first")

        @stage
        async def takes(path: str) -> None: ...

        with pytest.raises(RunInputError):
            await Pipeline().with_stages([first, takes]).run()
        assert ran == []

    async def test_none_is_an_input_like_any(self) -> None:
        @stage
        async def takes(path: Any = "default") -> Any:
            return {"path": path}

        outputs = await Pipeline().with_stages([takes]).run(inputs={"path": None})
        assert outputs["takes"].data == {"path": None}

    async def test_inputs_beside_a_context_are_refused_rather_than_lost(self) -> None:
        pipeline = Pipeline().with_stages([numbers, total])
        with pytest.raises(TypeError, match="not both"):
            await pipeline.run(PipelineContext(), inputs={"factor": 2})
        context = PipelineContext(inputs={"factor": 2})
        assert (await pipeline.run(context))["total"].data == {"value": 12}


class TestDependenciesThatGaveNothing:
    @pytest.mark.parametrize(
        ("output", "status"),
        [(StageOutput.skip("no input"), "skip"), (StageOutput.ok(x=1), "ok")],
    )
    async def test_a_default_is_for_a_stage_that_was_skipped(
        self, output: StageOutput, status: str
    ) -> None:
        @stage
        async def gives() -> StageOutput:
            return output

        @stage
        async def reads(gives: Any = "nothing") -> Any:
            return {"read": gives}

        outputs = await Pipeline().with_stages([gives, reads]).run()
        assert outputs["gives"].status.value == status
        assert outputs["reads"].data["read"] == ("nothing" if status == "skip" else {"x": 1})

    async def test_without_a_default_it_is_an_error_that_says_why(self) -> None:
        @stage
        async def gives() -> StageOutput:
            return StageOutput.skip("no input")

        @stage
        async def reads(gives: Any) -> None: ...

        with pytest.raises(UnifiedStageExecutionError, match="no input") as caught:
            await Pipeline().with_stages([gives, reads]).run()
        assert isinstance(caught.value.original, MissingInputError)
        assert caught.value.original.key == "gives"

    async def test_a_conditional_stage_is_skipped_with_it(self) -> None:
        @stage
        async def gives() -> StageOutput:
            return StageOutput.skip("no input")

        @stage(conditional=True)
        async def reads(gives: Any) -> None: ...

        outputs = await Pipeline().with_stages([gives, reads]).run()
        assert outputs["reads"].status.value == "skip"


class TestFaults:
    @pytest.mark.parametrize(
        "signature", ["def f(*args): ...", "def f(**more): ...", "def f(a, /): ..."]
    )
    def test_a_parameter_that_names_nothing(self, signature: str) -> None:
        found: dict[str, Any] = {}
        exec(signature, found)  # noqa: S102 - a signature cannot be a parameter
        assert faults_of(stage(found["f"])) == ["PARAMETER"]

    @pytest.mark.parametrize(
        ("given", "wanted", "fits"),
        [
            (int, int, True),
            (int, float, True),
            (float, int, False),
            (str, int, False),
            (bool, int, True),
            (int | str, str, True),
            (str, int | None, False),
            (int, int | None, True),
            (dict[str, int], Mapping[str, Any], True),
            (list[int], list[str], True),
            (list[int], dict, False),
            (None, dict, True),
            (None, int, False),
            (StageOutput, int, True),
            (int, StageOutput, True),
            (Any, int, True),
            (object, int, True),
        ],
    )
    def test_types_that_cannot_fit_are_a_fault(self, given: Any, wanted: Any, fits: bool) -> None:
        async def gives() -> Any: ...

        async def reads(gives: Any) -> None: ...

        gives.__annotations__["return"] = given
        reads.__annotations__["gives"] = wanted
        pipeline = Pipeline().with_stages([stage(gives), stage(reads)])
        if fits:
            pipeline.build()
        else:
            assert faults_of(stage(gives), stage(reads)) == ["TYPE"]

    def test_all_come_at_once(self) -> None:
        @stage(kind="nonsense", timeout=-1)
        async def first(*args: Any) -> str: ...

        @stage
        async def second(first: int, third: Any) -> None: ...

        @stage(after=["nowhere"])
        async def third(second: Any) -> None: ...

        assert Counter(faults_of(first, second, third, third)) == {
            "PARAMETER": 2,  # *args, and the timeout
            "TYPE": 1,
            "DUPLICATE": 1,
            "MISSING_DEP": 2,  # of the third, which is there twice
            "CYCLE": 1,
            "KIND": 1,
        }

    def test_what_only_a_type_checker_can_see_is_no_fault(self) -> None:
        @stage
        async def gives() -> Unheard: ...

        @stage
        async def reads(gives: Unheard) -> None: ...

        assert isinstance(gives, FunctionStage)
        Pipeline().with_stages([gives, reads]).build()


class TestResuming:
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_stage_that_ended_before_registers_its_cleanups_again(
        self, is_async: bool
    ) -> None:
        log: list[str] = []

        def again(ctx: StageContext, output: StageOutput) -> None:
            log.append(f"{ctx.stage_name} gave {output.data['value']} to {output.status}")
            ctx.register_cleanup(lambda: log.append("closed"))

        async def again_async(ctx: StageContext, output: StageOutput) -> None:
            await anyio.lowlevel.checkpoint()
            again(ctx, output)

        @stage(on_resume=again_async if is_async else again)
        async def opens() -> int:
            log.append("opened")
            return 1

        @stage(on_resume=again)
        async def fails_once(opens: int) -> int:
            log.append("tried")
            if log.count("tried") == 1:
                raise ValueError("not yet")
            return opens

        pipeline = Pipeline("opening").with_stages([opens, fails_once])
        async with Runtime(run_store=MemoryRunStore(), durability="step") as runtime:
            first = await runtime.run(pipeline, raise_on_error=False)
            assert (first.status, log) == ("failed", ["opened", "tried"])
            second = await runtime.resume(first.run_id)
        assert second.restored == ("opens",)
        assert log[2:] == ["opens gave 1 to ok", "tried", "closed"]

    @pytest.mark.parametrize(
        "wrong", [5, lambda ctx: None, lambda a, b, c: None], ids=["none", "one", "three"]
    )
    def test_what_cannot_be_called_with_context_and_output_is_a_fault(self, wrong: Any) -> None:
        assert faults_of(stage(name="a", on_resume=wrong)(lambda: 1)) == ["PARAMETER"]

    async def test_another_function_of_the_same_name_is_another_stage(self) -> None:
        def first() -> int:
            return 1

        class Doubler:
            def __call__(self, total: int) -> int:
                return 2 * total

        def build(body: Any) -> Pipeline:
            return Pipeline("x").with_stages([numbers, stage(name="total")(body)])

        wrapped = [partial(first), partial(partial(first)), Doubler()]
        plans = [build(body).build().plan for body in (first, *wrapped, total.function)]
        runners = [fingerprint_of(plan)["total"]["runner"].rpartition(".")[2] for plan in plans]
        assert runners == ["first", "first", "first", "Doubler", "total"]
        async with Runtime(run_store=MemoryRunStore(), durability="step") as runtime:
            failing = build(lambda numbers: 1 / 0)
            outcome = await runtime.run(failing, raise_on_error=False)
            with pytest.raises(PlanChangedError, match="runner of stage 'total'"):
                await runtime.resume(outcome.run_id, build(first))
