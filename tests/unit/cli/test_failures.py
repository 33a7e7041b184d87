"""Failures told so that a person can mend them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from stageflow import Pipeline
from stageflow.cli.errors import InputError, TargetImportError
from stageflow.cli.failures import describe, tell
from stageflow.cli.inputs import read_inputs
from stageflow.cli.places import place_of
from stageflow.cli.text import Terminal
from stageflow.errors import RunError
from stageflow.pipeline import PipelineValidationError, UnifiedStageExecutionError


def text(*errors: BaseException, debug: bool = False) -> str:
    stream = io.StringIO()
    tell(Terminal(stream, {}), errors, debug=debug)
    return stream.getvalue()


def raised(error: BaseException) -> BaseException:
    """Return *error* with the traceback of having been raised."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_an_error_says_what_where_why_and_what_to_do():
    error = TargetImportError("It broke.", hint="Mend it.", where="x.py:3: boom()")
    assert text(error).splitlines() == [
        "error SF903  It broke.",
        "  where x.py:3: boom()",
        "  do    Mend it.",
        "  see   docs/reference/errors.md#sf903",
    ]


def test_all_faults_of_a_definition_are_listed():
    pipeline = (
        Pipeline("x").with_stage("a", None, "wirk", ["b"]).with_stage("b", print, "work", ["a"])
    )
    with pytest.raises(PipelineValidationError) as caught:
        pipeline.build()
    shown = text(caught.value)
    assert shown.splitlines()[0] == "error SF102  Pipeline 'x' has 3 faults."
    for code in ("CONTRACT-004-CYCLE", "CONTRACT-004-KIND", "CONTRACT-004-RUNNER"):
        assert shown.count(code) == 1
    assert "a -> b -> a" in shown
    assert len(describe(caught.value).to_dict()["faults"]) == 3


def test_a_single_fault_is_the_error():
    with pytest.raises(InputError) as caught:
        read_inputs(["x"])
    failure = describe(caught.value)
    assert failure.code == "SF908"
    assert failure.faults == ()
    assert failure.hint.startswith("Write it as NAME=VALUE")


def test_a_great_many_faults_are_cut():
    with pytest.raises(InputError) as caught:
        read_inputs([f"x{number}" for number in range(100)])
    assert "… and 75 more faults" in text(caught.value)


def test_a_stage_that_raised_shows_its_own_line():
    cause = raised(ValueError("boom\n\x1b[2J"))
    error = UnifiedStageExecutionError("fetch", cause, {})
    failure = describe(error)
    assert failure.code == "SF301"
    assert failure.where.endswith("in raised: raise error")
    shown = text(error)
    assert "Stage 'fetch' failed: ValueError: boom" in shown
    assert "\x1b" not in shown


def test_a_stage_that_raised_one_of_ours_keeps_its_code_and_hint():
    class PortError(RunError):
        code = "SF399"

    failure = describe(
        UnifiedStageExecutionError("fetch", raised(PortError("No.", hint="Open it.")), {})
    )
    assert (failure.code, failure.hint) == ("SF399", "Open it.")


def test_the_users_line_comes_before_a_librarys(write: Callable[[str, str], Path]):
    write("site-packages/library_x.py", "def read(): raise OSError('gone')")
    write("own_x.py", "import library_x\ndef fetch(): library_x.read()\n")
    sys.path[:0] = ["site-packages", "."]
    own, library = import_module("own_x"), import_module("library_x")
    with pytest.raises(OSError, match="gone") as caught:
        own.fetch()
    assert place_of(caught.value).startswith("own_x.py:2 in fetch: ")
    with pytest.raises(OSError, match="gone") as caught:
        exec("call()", {"call": library.read})  # noqa: S102 - a caller without a file
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    assert "library_x.py:1 in read" in place_of(caught.value), "better than nothing"


def test_causes_and_notes_say_why():
    inner = ConnectionError("refused")
    error = raised(RuntimeError("cannot read"))
    error.__cause__ = inner
    error.add_note("The stage was given up (after 3 attempts).")
    shown = text(UnifiedStageExecutionError("fetch", error, {}))
    assert "why   ConnectionError: refused" in shown
    assert "why   The stage was given up (after 3 attempts)." in shown


def test_a_circle_of_causes_ends():
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert describe(UnifiedStageExecutionError("a", one, {})).why == ("RuntimeError: two",)


def test_what_nobody_foresaw_is_a_defect():
    failure = describe(raised(KeyError("x")))
    assert failure.code == "SF999"
    assert "--debug" in failure.hint
    assert failure.where.endswith("in raised: raise error")


def test_tracebacks_are_for_debugging():
    error = raised(TargetImportError("It broke."))
    assert "Traceback" not in text(error)
    assert "Traceback" in text(error, debug=True)
