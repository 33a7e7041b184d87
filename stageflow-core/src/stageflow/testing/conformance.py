"""The machinery of conformance kits: proof that an implementation keeps every clause of a contract.

A kit is a class of tests with one fixture to override. An author writes

    class TestMyRunStore(RunStoreConformance):
        capabilities = RunStoreCapabilities(listing=True)

        @pytest.fixture
        async def store(self):
            async with MyRunStore() as store:
                yield store

and has each clause tested on each event loop. The name of a test begins with the id of
its clause: `test_rs4_…` proves `RS-4`.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar

import anyio
import attrs
import pytest

from stageflow.plugins._conformity import shape_faults

__all__ = (
    "Clause",
    "ConformanceKit",
    "Cut",
    "all_at_once",
    "clauses_of",
    "every_cut",
    "failed_clauses",
    "raising",
    "same_value",
)

_CLAUSE = re.compile(r"^(?P<id>[A-Z]{2,4}-\d+) {2}(?:\[(?P<capability>\w+)\] )?(?P<text>.*)$")
_TEST = re.compile(r"^test_(?P<prefix>[a-z]+)(?P<number>\d+)_")
# Suspensions: a call may shield some work that it has begun, but not go on for ever.
_PATIENCE = 10_000


@attrs.frozen
class Clause:
    """One numbered promise of a contract.

    Attributes:
        id: Such as `RS-4`; never reused for another promise.
        text: The promise, on one line.
        capability: The capability that it belongs to; None if everyone must keep it.
    """

    id: str
    text: str
    capability: str | None = None


def clauses_of(*contracts: type) -> dict[str, Clause]:
    """Return the clauses in the docstrings of *contracts*, by id and in order.

    A clause begins a line with its id and two spaces, then the capability in brackets if
    it belongs to one; indented lines continue it.

    Raises:
        ValueError: An id stands for two clauses.
    """
    found: dict[str, Clause] = {}
    for contract in contracts:
        current: Clause | None = None
        for line in (inspect.getdoc(contract) or "").splitlines():
            if match := _CLAUSE.match(line):
                current = Clause(match["id"], match["text"].strip(), match["capability"])
                if current.id in found:
                    raise ValueError(f"{contract.__name__} gives the id {current.id} away twice.")
            elif current is not None and line.startswith("  ") and line.strip():
                current = attrs.evolve(current, text=f"{current.text} {line.strip()}")
            else:
                current = None
                continue
            found[current.id] = current
    return found


@pytest.mark.anyio
class ConformanceKit:
    """Base of all kits; subclass the kit of a contract, not this.

    Attributes:
        contracts: The classes whose docstrings hold the clauses.
        capabilities: What the implementation declares; tests of the rest are skipped.
        event_loops: The event loops that it works on.
        closable: Whether it has `aclose`, after which every call is refused.
    """

    contracts: ClassVar[tuple[type, ...]] = ()
    capabilities: ClassVar[Any] = None
    event_loops: ClassVar[tuple[str, ...]] = ("asyncio", "trio")
    closable: ClassVar[bool] = True
    anyio_backend: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        # Not one fixture that skips: tests of a loop that does not matter should not be seen.
        cls.anyio_backend = _event_loop(cls.event_loops)

    def needs(self, capability: str) -> None:
        """Skip the test unless *capability* is declared."""
        if not getattr(self.capabilities, capability):
            pytest.skip(f"{type(self).__name__} does not declare the capability {capability}")

    def needs_closing(self) -> None:
        """Skip the test unless the implementation can be closed."""
        if not self.closable:
            pytest.skip(f"{type(self).__name__} has nothing to close")

    def check_shape(self, implementation: object) -> None:
        """Fail unless *implementation* has the methods of its contract, callable as it says.

        A plugin that does not is refused when it is loaded, whatever its methods do.
        """
        faults = shape_faults(self.contracts[0], implementation)
        assert not faults, "; ".join(fault.summary for fault in faults)

    @classmethod
    def proofs(cls) -> dict[str, list[str]]:
        """Return the names of the tests by the id of the clause that they prove."""
        found: dict[str, list[str]] = {}
        for name in dir(cls):
            if match := _TEST.match(name):
                clause_id = f"{match['prefix'].upper()}-{match['number']}"
                found.setdefault(clause_id, []).append(name)
        return found


def _event_loop(event_loops: tuple[str, ...]) -> Any:
    """Return the fixture by which anyio's plugin runs each test on each of *event_loops*."""

    @pytest.fixture(params=event_loops)
    def anyio_backend(_: object, request: pytest.FixtureRequest) -> str:
        if request.param == "trio":
            pytest.importorskip("trio", reason="install trio to test on it, or narrow event_loops")
        return str(request.param)

    return anyio_backend


async def failed_clauses(
    kit: type[ConformanceKit], make: Callable[[], object]
) -> dict[str, BaseException]:
    """Return the clauses that an implementation breaks, each with the first failure that shows it.

    Runs the kit within the running event loop and without pytest's collection, so that a
    kit itself can be tested against implementations that are broken on purpose.

    Args:
        kit: A kit, with its capabilities declared.
        make: Gives a fresh implementation for each test.
    """
    failures: dict[str, BaseException] = {}
    for clause_id, names in kit.proofs().items():
        for name in names:
            try:
                outcome = getattr(kit(), name)(make())
                if inspect.isawaitable(outcome):
                    await outcome
            except pytest.skip.Exception:
                continue
            except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - it is the result
                failures.setdefault(clause_id, failure)
    return failures


@attrs.frozen
class Cut:
    """How one cancelled call ended.

    Attributes:
        step: How often the call had suspended when it was cancelled; 0 is before it began.
        completed: Whether it came to its end in spite of that.
        value: What it returned, if it did.
    """

    step: int
    completed: bool
    value: Any = None


def every_cut(call: Callable[[int], Awaitable[object]]) -> AsyncIterator[Cut]:
    """Make *call* again and again, cancelled once at each of its points of suspension.

    Args:
        call: Given the step, makes the call anew. The loop's body checks what it left behind.

    Returns:
        One `Cut` per point, to be had by `async for`; the last one is of a call that ended
        before its cancellation. A call that goes on and on in spite of it raises
        `AssertionError`.
    """
    return _Cuts(call)


class _Cuts(AsyncIterator[Cut]):
    # Not an async generator: a failing test leaves its loop, and nobody would close it.
    def __init__(self, call: Callable[[int], Awaitable[object]]) -> None:
        self._call = call
        self._step = 0
        self._has_ended = False

    async def __anext__(self) -> Cut:
        if self._has_ended:
            raise StopAsyncIteration
        step, completed, value = self._step, False, None
        self._step += 1
        with anyio.CancelScope() as scope:
            if step == 0:
                scope.cancel()
            value = await _suspending(self._call(step), step, scope.cancel)
            completed = True
        self._has_ended = not scope.cancel_called
        return Cut(step, completed, value)


@types.coroutine
def _suspending(
    call: Awaitable[Any], step: int, cancel: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Await *call* and run *cancel* as it suspends for the *step*-th time."""
    inner = call.__await__()
    resume: Callable[[], Any] = inner.__next__
    for suspension in count(1):
        try:
            waiting_for = resume()
        except StopIteration as stop:
            return stop.value
        if suspension == step:
            cancel()
        if suspension > step + _PATIENCE:
            raise AssertionError(f"a call cancelled at its suspension {step} does not end")
        # What reaches us while suspended is passed on outside the `except` block, or it would
        # become the context of every exception in the call.
        raised: BaseException | None = None
        try:
            sent = yield waiting_for
        except BaseException as exc:  # noqa: BLE001 - thrown into the call, just below
            raised = exc
        resume = _sender(inner, sent) if raised is None else _thrower(inner, raised)
    raise AssertionError("unreachable")


def _sender(inner: Generator[Any, Any, Any], value: object) -> Callable[[], Any]:
    # `await` offers iterators without `send`, too; then there is nothing to send.
    return inner.__next__ if value is None else lambda: inner.send(value)


def _thrower(inner: Generator[Any, Any, Any], raised: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(raised)


def same_value(left: object, right: object) -> bool:
    """Return whether two values are equal and of the same types throughout."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_value, left, right))
    return left == right


@contextmanager
def raising(error: type[BaseException], what: str) -> Iterator[None]:
    """Fail unless the block raises *error*, naming *what* should have raised it."""
    try:
        yield
    except error:
        return
    except Exception as exc:
        raise AssertionError(f"{what} must raise {error.__name__}, not {exc!r}") from exc
    raise AssertionError(f"{what} must raise {error.__name__}")


async def all_at_once(calls: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Make all *calls* at once and return their results in order; an `Exception` is a result."""
    results: list[Any] = []

    async def make(position: int, call: Callable[[], Awaitable[Any]]) -> None:
        try:
            results[position] = await call()
        except Exception as exc:  # noqa: BLE001 - the caller looks at it
            results[position] = exc

    async with anyio.create_task_group() as group:
        for position, call in enumerate(calls):
            results.append(None)
            group.start_soon(make, position, call)
    return results
