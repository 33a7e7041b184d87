"""Calls: what can be sent to an executor, and what is said of what cannot."""

from __future__ import annotations

import attrs
import pytest

from stageflow.builtin.executors import InlineExecutor
from stageflow.codec import Codec
from stageflow.contracts.executor import (
    Call,
    RemoteError,
    UnsendableCallError,
    WorkerCrashedError,
    dump_result,
    load_call,
    run_in,
)
from stageflow.testing import _executor_bodies as bodies

pytestmark = pytest.mark.anyio


def at_the_top():
    """Not importable by its name: a test module is none."""


class Machine:
    def run(self):
        """Bound to an object."""

    def __call__(self):
        """Of an object."""


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: None, "A lambda has no import path"),
        (Machine().run, "something else|ModuleNotFoundError"),
        (Machine(), "something else|ModuleNotFoundError|nothing"),
        (3, "It is int, not a function"),
        ("no-colon", "not written as module:name"),
        (":name", "not written as module:name"),
    ],
)
def test_a_function_that_has_no_import_path_is_refused(function, told):
    with pytest.raises(UnsendableCallError, match=told):
        Call.of(function)


def test_a_function_of_a_function_or_of_the_program_is_refused(monkeypatch):
    def inner():
        pass

    with pytest.raises(UnsendableCallError, match="defined within another function"):
        Call.of(inner)
    monkeypatch.setattr(at_the_top, "__module__", "__main__")
    with pytest.raises(UnsendableCallError, match="no other process can import"):
        Call.of(at_the_top)


def test_a_name_that_leads_to_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(at_the_top, "__module__", bodies.__name__)
    monkeypatch.setattr(at_the_top, "__qualname__", "give")
    with pytest.raises(UnsendableCallError, match="something else"):
        Call.of(at_the_top)


def test_all_faults_are_told_at_once():
    with pytest.raises(UnsendableCallError) as caught:
        Call.of(lambda: None, [object()], {"a": 1j})
    first, second = caught.value.faults
    assert "lambda" in first
    assert "args[0]" in second
    assert "kwargs.a" in second or "kwargs['a']" in second


def test_arguments_that_cannot_be_stored_are_told_with_their_place_and_what_to_do():
    with pytest.raises(UnsendableCallError, match=r"args\[1\]\.x") as caught:
        Call.of(bodies.give, [1, {"x": object()}])
    assert "Register" in caught.value.hint
    assert caught.value.target == f"{bodies.__name__}:give"


def test_what_was_sent_is_what_arrives():
    call = Call.of(bodies.give, [(1, 2)], {"a": {3}})
    body = load_call(call)
    assert body() == [((1, 2),), {"a": {3}}]
    assert Codec.default().decode(dump_result(call, body())) == body()
    assert "payload" not in repr(call)


def test_arguments_that_cannot_be_read_there_are_told():
    @attrs.frozen
    class Place:
        name: str

    codec = Codec()
    codec.register(Place)
    payload = codec.encode({"args": [Place("a")], "kwargs": {}})
    with pytest.raises(UnsendableCallError, match="Place"):
        load_call(Call(target=f"{bodies.__name__}:give", payload=payload))


async def test_values_are_nobody_elses_in_the_same_process_too():
    given = {"rows": [1]}
    async with InlineExecutor() as executor:
        ((found,), _) = await run_in(executor, bodies.give, given)
    assert found == given
    assert found is not given
    assert found["rows"] is not given["rows"]


def test_errors_say_how_a_worker_ended_and_what_a_function_raised():
    assert "killed by signal 9" in str(WorkerCrashedError("a:b", -9))
    assert "ended with 7" in str(WorkerCrashedError("a:b", 7))
    assert "ended." in str(WorkerCrashedError("a:b", None))
    error = RemoteError("a:b", error_type="ValueError", error_message="", retryable=True)
    assert error.message == "a:b raised ValueError"
    assert error.retryable
