"""What handlers are called with, and which shapes of function may be one."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from stageflow.context import OutputMutationError
from stageflow.data.pipeline import PipelineContext, PipelineValidationError, Stage, StageStatus
from support.functions import gives, pipeline_of

pytestmark = pytest.mark.anyio


async def result_of(handler: Any, **dependencies: Any) -> Any:
    stages = [(name, gives(value)) for name, value in dependencies.items()]
    pipeline = pipeline_of(*stages, ("tested", handler, list(dependencies)))
    found = (await pipeline.execute("initial")).stage_results["tested"]
    assert found.status is StageStatus.COMPLETED, found.error
    return found.result


async def echo(ctx: PipelineContext, given: Any) -> Any:
    return given


async def test_a_stage_without_dependencies_gets_the_initial_input() -> None:
    assert await result_of(echo) == "initial"


async def test_a_stage_with_one_dependency_gets_its_result() -> None:
    assert await result_of(echo, a=[1, 2]) == [1, 2]


async def test_a_dependency_that_gave_none_gives_none() -> None:
    assert await result_of(echo, a=None) is None


async def test_a_stage_with_several_gets_a_mapping_of_their_results() -> None:
    assert await result_of(echo, a=1, b=2) == {"a": 1, "b": 2}


async def test_the_mapping_is_unpacked_for_parameters_named_like_the_dependencies() -> None:
    async def handler(ctx: PipelineContext, b: int, a: int) -> Any:
        return {"a": a, "b": b}

    assert await result_of(handler, a=1, b=2) == {"a": 1, "b": 2}


async def test_keyword_only_parameters_are_unpacked_too() -> None:
    async def handler(ctx: PipelineContext, *, a: int, b: int) -> Any:
        return a - b

    assert await result_of(handler, a=3, b=1) == 2


async def test_the_mapping_is_not_unpacked_unless_the_names_are_exactly_the_dependencies() -> None:
    async def one_more(ctx: PipelineContext, a: Any, b: Any = "own", c: Any = "own") -> Any:
        return [a, b, c]

    async def one_less(ctx: PipelineContext, a: Any) -> Any:
        return a

    assert await result_of(one_more, a=1, b=2) == [{"a": 1, "b": 2}, "own", "own"]
    assert await result_of(one_less, a=1, b=2) == {"a": 1, "b": 2}


async def test_a_handler_of_the_context_alone_gets_nothing_else() -> None:
    async def handler(ctx: PipelineContext) -> str:
        return ctx.pipeline_id

    assert await result_of(handler, a=1)


async def test_a_plain_function_runs_in_a_thread() -> None:
    def handler(ctx: PipelineContext, given: Any) -> Any:
        return [given, threading.get_ident()]

    given, thread = await result_of(handler, a=1)
    assert given == 1
    assert thread != threading.get_ident()


async def test_a_lambda_is_called_in_the_loop_and_what_it_returns_is_awaited() -> None:
    threads: list[int] = []

    async def work(given: Any, more: int) -> Any:
        return given + more

    def seen(value: Any) -> Any:
        threads.append(threading.get_ident())
        return value

    assert await result_of(lambda _, i: seen(work(i, 2)), a=1) == 3
    assert threads == [threading.get_ident()]


async def test_partial_functions_methods_and_callable_objects_are_handlers() -> None:
    async def work(ctx: PipelineContext, given: Any, more: int) -> Any:
        return given + more

    class Adder:
        async def method(self, ctx: PipelineContext, given: Any) -> Any:
            return given + 5

        async def __call__(self, ctx: PipelineContext, given: Any) -> Any:
            return given + 7

    assert await result_of(functools.partial(work, more=3), a=1) == 4
    assert await result_of(Adder().method, a=1) == 6
    assert await result_of(Adder(), a=1) == 8


async def test_no_stage_changes_what_others_were_given() -> None:
    async def changes(ctx: PipelineContext, given: list[int]) -> None:
        given.append(4)

    pipeline = pipeline_of(("a", gives([1])), ("b", changes, ["a"]))
    result = await pipeline.execute()
    assert isinstance(result.stage_results["b"].exception, OutputMutationError)
    assert result.stage_results["a"].result == [1]


async def test_a_handler_that_cannot_take_its_input_is_a_definition_error() -> None:
    async def none_at_all() -> None:
        """Take nothing."""

    async def too_many(ctx: PipelineContext, x: Any, y: Any) -> None:
        """Take what nobody gives."""

    async def cleanup(ctx: PipelineContext, more: Any) -> None:
        """Take what nobody gives."""

    with pytest.raises(PipelineValidationError) as caught:
        pipeline_of(
            ("a", none_at_all),
            ("b", too_many),
            ("c", "no function"),
            Stage("d", "D", gives(1), cleanup_handler=cleanup),
            "no stage",  # type: ignore[arg-type]
        ).validate()
    found = [(fault.code, fault.context.get("stage")) for fault in caught.value.faults]
    handlers = [("CONTRACT-004-HANDLER", name) for name in "abcd"]
    assert found[:4] == handlers
    assert len(found) == 5
