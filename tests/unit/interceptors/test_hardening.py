"""Immutability and size of the context: what stages must not do to it is noticed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow import ContextSnapshot, Pipeline, PipelineContext, StageStatus
from stageflow._engine.run import RunReport
from stageflow.interceptors import (
    ContextSizeInterceptor,
    ImmutabilityInterceptor,
    SnapshotMutatedError,
)
from stageflow.interceptors.hardening import json_size
from stageflow.interceptors.image import differences, image_of

pytestmark = pytest.mark.anyio


@dataclass
class Cart:
    items: list[str] = field(default_factory=list)
    owner: dict[str, Any] = field(default_factory=dict)


class Plain:
    def __init__(self) -> None:
        self.count = 0


class Slotted:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


@attrs.define
class Defined:
    count: int = 0


async def run_changing(value: Any, change: Any, *, crash: bool = True) -> RunReport:
    context = PipelineContext.for_run(metadata={"it": value}, event_sink=None)

    def changes(ctx: Any) -> dict[str, int]:
        change(ctx.snapshot)
        return {"x": 1}

    graph = (
        Pipeline()
        .with_stage("spoils", changes, "work")
        .build(interceptors=[ImmutabilityInterceptor(crash_on_violation=crash)])
    )
    return await graph.execute(context)


def _set(name: str, value: Any) -> Any:
    return lambda snapshot: setattr(snapshot.metadata["it"], name, value)


class TestImmutability:
    @pytest.mark.parametrize(
        ("make", "change", "path"),
        [
            (Cart, lambda s: s.metadata["it"].items.append("x"), "metadata['it'].items[0]"),
            (Cart, lambda s: s.metadata["it"].owner.update(a=1), "metadata['it'].owner['a']"),
            (
                lambda: Cart(owner={"a": 1}),
                lambda s: s.metadata["it"].owner.pop("a"),
                "metadata['it'].owner['a']",
            ),
            (
                lambda: Cart(["a"]),
                lambda s: s.metadata["it"].items.clear(),
                "metadata['it'].items[0]",
            ),
            (Plain, _set("count", 2), "metadata['it'].count"),
            (Plain, _set("new", 2), "metadata['it'].new"),
            (Slotted, _set("count", 2), "metadata['it'].count"),
            (Defined, _set("count", 2), "metadata['it'].count"),
            (Cart, lambda s: dict.__setitem__(s.metadata, "more", 1), "metadata['more']"),
            (int, lambda s: object.__setattr__(s, "topology", "other"), "topology"),
        ],
    )
    async def test_a_changed_snapshot_fails_the_stage_and_is_told_where(
        self, make: Any, change: Any, path: str
    ) -> None:
        report = await run_changing(make(), change)
        assert report.outputs["spoils"].status is StageStatus.FAIL
        assert isinstance(report.error, SnapshotMutatedError)
        assert (report.error.stage, report.error.paths) == ("spoils", (path,))

    async def test_it_can_be_a_warning_instead(self, caplog: pytest.LogCaptureFixture) -> None:
        report = await run_changing(Plain(), _set("count", 2), crash=False)
        assert report.status == "completed"
        assert "snapshot.mutated" in caplog.text
        assert caplog.records[-1].levelno == logging.WARNING

    async def test_a_stage_that_raises_keeps_its_error_with_a_note(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(snapshot: ContextSnapshot[Any]) -> None:
            snapshot.metadata["it"].count = 5
            raise LookupError("own")

        report = await run_changing(Plain(), fails)
        assert isinstance(report.error, LookupError)
        assert "metadata['it'].count" in report.error.__notes__[0]
        assert "snapshot.mutated" in caplog.text

    async def test_reading_is_no_violation(self) -> None:
        report = await run_changing(Cart(["a"], {"b": 1}), lambda s: s.to_dict())
        assert report.status == "completed"

    async def test_a_changed_order_of_equal_values_is_found(self) -> None:
        report = await run_changing(Cart(["a", "b"]), lambda s: s.metadata["it"].items.reverse())
        assert isinstance(report.error, SnapshotMutatedError)
        assert len(report.error.paths) == 2


_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


class TestImages:
    @given(_values)
    def test_a_value_that_did_not_change_has_the_same_image(self, value: Any) -> None:
        assert differences(image_of(value), image_of(value)) == ()

    @given(st.lists(_values, max_size=3), _values)
    def test_a_value_that_grew_has_another_image(self, value: list[Any], more: Any) -> None:
        before = image_of(value)
        value.append(more)
        assert differences(before, image_of(value)) == (f"[{len(value) - 1}]",)

    def test_what_contains_itself_has_an_image(self) -> None:
        value: list[Any] = []
        value.append(value)
        before = image_of(value)
        value.append(1)
        assert differences(before, image_of(value)) == ("[1]",)

    def test_a_replaced_part_is_told_once_with_what_is_in_it(self) -> None:
        value: dict[str, Any] = {"a": {"b": [1, 2]}, "ab": 1}
        before = image_of(value)
        value["a"] = {"b": [3]}
        value["ab"] = 2
        assert differences(before, image_of(value)) == ("['a']", "['ab']")

    def test_a_part_whose_name_begins_like_another_is_told_as_well(self) -> None:
        value = Plain()
        before = image_of(value)
        value.count, value.counter = 1, 1  # type: ignore[attr-defined]
        assert differences(before, image_of(value)) == ("count", "counter")

    def test_many_changes_are_told_in_short(self) -> None:
        value = list(range(20))
        before = image_of(value)
        value[:] = range(20, 40)
        told = differences(before, image_of(value))
        assert len(told) == 6
        assert told[-1] == "and 15 more"

    @pytest.mark.parametrize(("was", "now"), [(1, 1.0), (1, True), ("1", 1), (None, [])])
    def test_equal_values_of_other_types_differ(self, was: Any, now: Any) -> None:
        value = [was]
        before = image_of(value)
        value[0] = now
        assert differences(before, image_of(value)) == ("[0]",)

    def test_sets_are_looked_into(self) -> None:
        value = {1, 2}
        before = image_of(value)
        value.add(3)
        assert differences(before, image_of(value)) == ("{3}",)

    def test_a_very_deep_value_has_an_image(self) -> None:
        value: list[Any] = []
        for _ in range(10_000):
            value = [value]
        assert differences(image_of(value), image_of(value)) == ()


def large(size: int) -> Any:
    return lambda _: {"text": "x" * size}


class TestContextSize:
    async def test_a_large_context_is_warned_of_and_measured(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        sizes = ContextSizeInterceptor(max_size_bytes=3000, warn_on_growth_bytes=10_000)
        graph = (
            Pipeline()
            .with_stage("a", large(2000), "work")
            .with_stage("b", large(1000), "work", ["a"])
            .build(interceptors=[sizes])
        )
        await graph.run(PipelineContext())
        assert [record.__dict__["stage"] for record in caplog.records] == ["b"]
        assert caplog.records[0].getMessage().startswith("context.large")
        found = sizes.get_metrics()
        assert (found["a"].last_growth_bytes, found["a"].warnings) == (2012, 0)
        assert (found["b"].last_growth_bytes, found["b"].warnings) == (1012, 1)
        assert found["b"].last_bytes - found["a"].last_bytes == 1012

    async def test_a_growing_context_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        sizes = ContextSizeInterceptor(warn_on_growth_bytes=1000)

        def fills(ctx: Any) -> None:
            context.data["more"] = "x" * 2000

        context = PipelineContext()
        graph = Pipeline().with_stage("a", fills, "work").build(interceptors=[sizes])
        await graph.run(context)
        (record,) = caplog.records
        assert record.getMessage().startswith("context.grew")
        assert record.__dict__["bytes"] > 2000

    async def test_small_contexts_are_measured_without_a_word(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        sizes = ContextSizeInterceptor()
        graph = Pipeline().with_stage("a", large(10), "work").build(interceptors=[sizes])
        for _ in range(2):
            await graph.run(PipelineContext())
        assert caplog.records == []
        found = sizes.get_metrics()["a"]
        assert (found.measured, found.warnings) == (2, 0)
        # Two runs do not add up to one context.
        assert found.last_bytes == found.max_bytes

    async def test_the_default_limits_are_those_of_the_interface(self) -> None:
        sizes = ContextSizeInterceptor()
        assert (sizes.max_size_bytes, sizes.warn_on_growth_bytes) == (1_048_576, 102_400)

    async def test_stages_that_end_meanwhile_are_not_this_ones_growth(self) -> None:
        sizes = ContextSizeInterceptor()
        ended = anyio.Event()

        async def waits(ctx: Any) -> None:
            await ended.wait()

        async def gives(ctx: Any) -> dict[str, str]:
            ended.set()
            return {"text": "x" * 5000}

        graph = (
            Pipeline()
            .with_stage("waits", waits, "work")
            .with_stage("gives", gives, "work")
            .build(interceptors=[sizes])
        )
        await graph.run(PipelineContext())
        assert sizes.get_metrics()["waits"].last_growth_bytes < 100

    async def test_nothing_is_kept_of_a_run_that_is_over(self) -> None:
        sizes = ContextSizeInterceptor()
        graph = Pipeline().with_stage("a", large(1), "work").build(interceptors=[sizes])
        await graph.run(PipelineContext())
        assert len(sizes._sizes) == 0

    @pytest.mark.parametrize(
        ("value", "size"),
        [
            ({"a": [1, 2]}, len('{"a": [1, 2]}')),
            (b"12345", 7),
            ({1, 2}, len("[1, 2]")),
            (Plain(), len('{"count": 0}')),
            (Defined(), len('{"count": 0}')),
            ({(1, 2): 3}, 2),
        ],
    )
    def test_sizes_are_those_of_json(self, value: Any, size: int) -> None:
        assert json_size(value) == size

    def test_whatever_a_value_is_it_has_a_size(self) -> None:
        class Mute:
            __slots__ = ()

            def __str__(self) -> str:
                raise ValueError

        circle: list[Any] = []
        circle.append(circle)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        assert json_size(circle) > 0
        assert json_size(Mute()) == 2
        assert json_size(deep) >= 0
