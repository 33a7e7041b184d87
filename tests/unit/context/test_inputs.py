"""StageInputs: a stage reads what it declared, and is told what it should have done."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs
import pytest

from stageflow import (
    ContextSnapshot,
    CorePorts,
    MissingInputError,
    StageInputs,
    StageOutput,
    UndeclaredDependencyError,
    create_stage_inputs,
)
from stageflow.context.inputs import MISSING, InputKeyError
from stageflow.context.views import OutputMutationError

SNAPSHOT: ContextSnapshot[Any] = ContextSnapshot()
OUTPUTS = {
    "first": StageOutput.ok(x=1, both="first's", nothing=None),
    "second": StageOutput.ok(y=[2], both="second's", temperature=20),
    "skipped": StageOutput.skip("no input", {"partial": 3}),
    "failed": StageOutput.fail("went wrong"),
}


def inputs(*declared: str, **more: Any) -> StageInputs:
    given = {"prior_outputs": OUTPUTS, "stage_name": "reader", "declared_deps": declared, **more}
    return create_stage_inputs(SNAPSHOT, **given)


class TestGet:
    def test_it_looks_in_ports_then_in_dependencies_in_declared_order(self) -> None:
        assert inputs("first", "second").get("both") == "first's"
        assert inputs("second", "first").get("both") == "second's"
        assert inputs("second", "first", ports={"both": "a port"}).get("both") == "a port"
        assert inputs("first", "second").get("y") == [2]

    def test_a_none_that_was_given_is_a_value(self) -> None:
        assert inputs("first").get("nothing", default=5) is None
        assert inputs(ports={"x": None}).get("x", default=5) is None

    def test_ports_may_be_an_object_whose_nones_are_missing(self) -> None:
        database = object()
        ports = CorePorts(db=database)
        assert inputs(ports=ports).get("db") is database
        assert inputs(ports=ports).get("call_logger", default=5) == 5
        assert inputs("first", ports=ports).get("x") == 1

    def test_what_a_skipped_stage_left_can_be_read(self) -> None:
        assert inputs("skipped").get("partial") == 3

    def test_a_default_is_returned_only_when_it_is_given(self) -> None:
        assert inputs("first").get("z", default=None) is None
        assert inputs("first").get("z", 0) == 0
        with pytest.raises(MissingInputError):
            inputs("first").get("z")
        with pytest.raises(MissingInputError):
            inputs("first").get("z", MISSING)

    def test_v13_a_missing_key_names_stage_key_and_near_matches(self) -> None:
        with pytest.raises(MissingInputError) as caught:
            inputs("first", "second").get("temprature")
        error = caught.value
        assert error.key == "temprature"
        assert error.accessing_stage == "reader"
        for part in ("'reader'", "'temprature'", "'first' or 'second'", "'temperature'"):
            assert part in str(error)

    def test_why_a_dependency_gave_nothing_is_said(self) -> None:
        with pytest.raises(MissingInputError, match="no input") as caught:
            inputs("skipped", "failed", "absent").get("z")
        assert "'failed' ended as fail: went wrong" in str(caught.value)
        assert "'absent' gave no output" in str(caught.value)

    def test_undeclared_stages_are_not_searched(self) -> None:
        with pytest.raises(MissingInputError):
            inputs("first").get("y")
        with pytest.raises(MissingInputError, match="any input"):
            inputs().get("x")


class TestGetFrom:
    def test_it_reads_one_stage(self) -> None:
        found = inputs("first", "second")
        assert found.get_from("second", "both") == "second's"
        assert found.require_from("first", "x") == 1
        assert found.get_from("first", "z", default=7) == 7
        assert found.get_from("first", "nothing", default=7) is None

    @pytest.mark.parametrize("default", [MISSING, None, 5], ids=repr)
    def test_an_undeclared_stage_is_an_error_with_or_without_a_default(self, default: Any) -> None:
        with pytest.raises(UndeclaredDependencyError) as caught:
            inputs("first").get_from("second", "y", default)
        error = caught.value
        assert type(error) is UndeclaredDependencyError
        assert (error.stage_name, error.accessing_stage) == ("second", "reader")
        assert error.declared_deps == frozenset({"first"})
        assert "'second'" in str(error)
        assert "Add 'second' to its dependencies" in error.hint

    def test_a_near_name_is_suggested(self) -> None:
        with pytest.raises(UndeclaredDependencyError, match="Did you mean 'second'"):
            inputs("first", "second").get_from("secnod", "y")

    def test_a_missing_key_is_an_undeclared_one_too_for_who_catches_that(self) -> None:
        with pytest.raises(UndeclaredDependencyError):
            inputs("first").require_from("first", "z")
        with pytest.raises(MissingInputError) as caught:
            inputs("first").get_from("first", "z")
        assert (caught.value.key, caught.value.stage_name) == ("z", "first")

    def test_a_declared_stage_that_gave_nothing_takes_the_default(self) -> None:
        assert inputs("absent").get_from("absent", "x", default=1) == 1
        with pytest.raises(MissingInputError, match="gave no output"):
            inputs("absent").require_from("absent", "x")


class TestOutputs:
    def test_whole_outputs_of_declared_stages(self) -> None:
        found = inputs("first", "absent", "failed")
        assert found.has_output("first")
        assert not found.has_output("absent")
        assert found.get_output("absent") is None
        output = found.get_output("failed")
        assert output is not None
        assert (output.status, output.error) == ("fail", "went wrong")

    def test_undeclared_ones_are_refused(self) -> None:
        for ask in (inputs("first").has_output, inputs("first").get_output):
            with pytest.raises(UndeclaredDependencyError):
                ask("second")

    def test_prior_outputs_are_the_declared_ones_in_order(self) -> None:
        assert list(inputs("second", "first", "absent").prior_outputs) == ["second", "first"]
        assert list(inputs("first", strict=False).prior_outputs) == list(OUTPUTS)

    def test_nothing_that_is_read_can_be_changed(self) -> None:
        found = inputs("first", "second")
        output = found.get_output("second")
        assert output is not None
        for spoil in (
            lambda: found.get("y").append(3),
            lambda: found.get_from("second", "y").append(3),
            lambda: output.data.update(y=1),
            lambda: output.metadata.update(y=1),
            found.prior_outputs["second"].data.clear,
        ):
            with pytest.raises(OutputMutationError, match="'second'"):
                spoil()
        assert OUTPUTS["second"].data["y"] == [2]

    def test_they_are_values(self) -> None:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            inputs("first").strict = False  # type: ignore[misc]
        assert inputs("first") == inputs("first")


class Key(StrEnum):
    X = "x"


class TestKeys:
    @pytest.mark.parametrize("key", [None, "", 5, b"x", ["x"], ("x",)], ids=repr)
    def test_bug20260114_a_key_that_is_none_is_refused_at_once(self, key: Any) -> None:
        found = inputs("first", strict=False)
        for read in (
            lambda: found.get(key),
            lambda: found.get(key, default=1),
            lambda: found.get_from("first", key, default=1),
            lambda: found.get_from(key, "x", default=1),
            lambda: found.require_from("first", key),
            lambda: found.has_output(key),
            lambda: found.get_output(key),
        ):
            with pytest.raises(InputKeyError, match="non-empty") as caught:
                read()
            assert isinstance(caught.value, ValueError)

    def test_a_text_of_another_class_is_a_text(self) -> None:
        assert inputs("first").get(Key.X) == 1
        assert inputs("first").get_from("first", Key.X) == 1


class TestWithoutStrictness:
    def test_undeclared_stages_can_be_read(self) -> None:
        found = inputs("first", strict=False)
        assert found.get_from("second", "both") == "second's"
        assert found.get("temperature") == 20
        assert found.has_output("second")

    def test_strict_is_the_default(self) -> None:
        assert create_stage_inputs(SNAPSHOT).strict
        assert StageInputs(SNAPSHOT).strict


def test_everything_that_is_given_is_declared_unless_said() -> None:
    found = create_stage_inputs(SNAPSHOT, prior_outputs=OUTPUTS)
    assert tuple(found.declared_deps) == tuple(OUTPUTS)
    assert found.get("both") == "first's"
    with pytest.raises(MissingInputError, match="A stage reads"):
        found.get("z")


def test_what_is_given_may_change_afterwards_without_effect() -> None:
    outputs = dict(OUTPUTS)
    found = create_stage_inputs(SNAPSHOT, prior_outputs=outputs)
    outputs.clear()
    assert found.get("x") == 1
