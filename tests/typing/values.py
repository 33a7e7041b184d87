"""How users' code sees the values of a run; only type checkers read this."""

from __future__ import annotations

from typing import Any, assert_type

from stageflow.errors import ContractErrorInfo, StageflowError
from stageflow.stages import StageArtifact, StageKind, StageOutput, StageResult, StageStatus


def outputs_are_made_by_class_methods() -> None:
    output = assert_type(StageOutput.ok({"a": 1}, b=2), StageOutput)
    assert_type(output.status, StageStatus)
    assert_type(output.data, dict[str, Any])
    assert_type(StageOutput(StageStatus.OK, {}, (StageArtifact("file", {}),)), StageOutput)
    assert_type(StageOutput.skip("nothing to do"), StageOutput)
    assert_type(StageOutput.cancel("enough", scope="branch"), StageOutput)
    assert_type(StageOutput.fail("broken", retryable=True), StageOutput)
    assert_type(StageOutput.retry("not yet"), StageOutput)
    StageOutput.cancel("enough", scope="all")  # type: ignore[arg-type]


def values_do_not_change(output: StageOutput) -> None:
    output.error = "late"  # type: ignore[misc]


def results_tell_how_long(result: StageResult) -> float:
    return assert_type(result.duration_ms, float)


def kinds_are_strings(kind: StageKind) -> str:
    return kind


def errors_carry_code_and_hint(error: StageflowError) -> None:
    assert_type(error.code, str)
    assert_type(error.hint, str)
    assert_type(ContractErrorInfo("SF100", "wrong").with_context(stage="a"), ContractErrorInfo)
