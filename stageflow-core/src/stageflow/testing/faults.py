"""Fault points: what goes wrong before or after which call, as a test or a chaos driver says.

A point is named, such as `commit.before` or `commit.after`, and a fault says what happens when
it is reached for the n-th time, as text: `commit.before#3=kill`. So a child process is told in a
variable or an argument at which write it is to die. `FaultyStore` puts such points around every
call of a run store; a test may put its own anywhere by `await faults.reach("my point")`.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache, wraps
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from uuid import UUID

import anyio.lowlevel
import attrs

from stageflow.contracts.checkpoints import RunCheckpoints, RunRetention
from stageflow.contracts.clock import Clock, SystemClock
from stageflow.contracts.run_store import (
    RunDeletion,
    RunEventLog,
    RunListing,
    RunRecord,
    RunStore,
    RunStoreCapabilities,
)
from stageflow.contracts.shared_values import SharedValues
from stageflow.contracts.storage import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from stageflow.contracts.waits import RunWaits

__all__ = ("FAULTS_VARIABLE", "Fault", "Faults", "FaultyStore", "run_store_points")

#: The variable that tells a child process its faults; no setting of the project begins so.
FAULTS_VARIABLE: Final = "STAGEFLOW_TEST_FAULTS"

_CONTRACTS: Final = (
    *(RunStore, RunListing, RunEventLog, RunDeletion),
    *(RunCheckpoints, RunRetention, RunWaits, SharedValues),
)
_FAILURES: Final[Mapping[str, type[StorageError]]] = {
    "busy": StorageBusyError,
    "corrupt": StorageCorruptError,
    "full": StorageFullError,
    "read-only": StorageReadOnlyError,
    "unavailable": StorageUnavailableError,
}
_TEXT: Final = re.compile(
    r"(?P<point>[^\s#=;]+)(?:#(?P<nth>\*|[1-9]\d*))?=(?P<action>[a-z]+)(?::(?P<argument>[^;]+))?"
)


def run_store_points() -> tuple[str, ...]:
    """Return the points that a `FaultyStore` has around the calls of the contract, sorted."""
    return tuple(f"{name}.{when}" for name in sorted(_calls()) for when in ("before", "after"))


@cache
def _calls() -> frozenset[str]:
    return frozenset(
        name
        for contract in _CONTRACTS
        for name, member in vars(contract).items()
        if inspect.iscoroutinefunction(member)
    )


@attrs.frozen
class Fault:
    """One thing that is to go wrong.

    Attributes:
        point: Where, such as `commit.before`.
        action: `fail` raises a `StorageError`, of the kind that the argument names: busy, corrupt,
            full, read-only or unavailable. `delay` waits for as many seconds as the argument
            says. `cancel` and `call` call what `Faults` was given for it; `cancel` then lets the
            cancellation arrive. `kill` ends the process at once, as SIGKILL does.
        nth: Which reaching of the point it is for, counted from 1 from when the fault is armed;
            None for each.
        argument: What the action says about it.
    """

    point: str
    action: str
    nth: int | None = 1
    argument: str = ""

    def __attrs_post_init__(self) -> None:
        if self.action not in _ACTIONS:
            raise ValueError(f"{self}: there are the actions {', '.join(_ACTIONS)}.")
        if self.action == "fail" and self.argument and self.argument not in _FAILURES:
            raise ValueError(f"{self}: there are the failures {', '.join(_FAILURES)}.")
        if self.action == "delay":
            float(self.argument)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that *text* tells, such as `commit.before#3=kill`.

        Without `#3` it is for the first reaching, with `#*` for each. An argument follows a
        colon: `load_entries.before#*=delay:0.5`, `commit.after=fail:full`.

        Raises:
            ValueError: It tells none.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no fault; write one as in 'commit.before#3=kill'.")
        nth = None if found["nth"] == "*" else int(found["nth"] or 1)
        return cls(found["point"], found["action"], nth, found["argument"] or "")

    def __str__(self) -> str:
        argument = f":{self.argument}" if self.argument else ""
        return f"{self.point}#{self.nth or '*'}={self.action}{argument}"


@attrs.define(eq=False)
class _Armed:
    fault: Fault
    reached: int = 0
    fired: bool = False

    def is_due(self) -> bool:
        self.reached += 1
        due = self.fault.nth in {None, self.reached}
        self.fired = self.fired or due
        return due


class Faults:
    """What is to go wrong, and what was reached so far.

    Args:
        faults: Armed from the beginning; as text, they are separated by semicolons.
        clock: What a delay waits on.
        cancel: What the action `cancel` calls, such as the `cancel` of the scope around a run.
        call: What the action `call` calls, with the point; it is awaited if it wants to be.
    """

    def __init__(
        self,
        faults: str | Iterable[Fault | str] = (),
        *,
        clock: Clock | None = None,
        cancel: Callable[[], object] | None = None,
        call: Callable[[str], object] | None = None,
    ) -> None:
        self._armed: list[_Armed] = []
        self._counts: Counter[str] = Counter()
        self._reached: list[str] = []
        self._clock = clock or SystemClock()
        self.cancel = cancel
        self.call = call
        self.arm(faults)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Faults:
        """Return those that the variable `STAGEFLOW_TEST_FAULTS` tells; none if it is not set."""
        variables = os.environ if environ is None else environ
        return cls(variables.get(FAULTS_VARIABLE, ""), **given)

    def arm(self, faults: str | Iterable[Fault | str]) -> None:
        """Let *faults* happen from now on; each counts from now on."""
        if isinstance(faults, str):
            faults = [text for text in faults.split(";") if text.strip()]
        for fault in faults:
            self._armed.append(_Armed(Fault.parse(fault) if isinstance(fault, str) else fault))

    def disarm(self) -> None:
        """Let nothing go wrong any more."""
        self._armed.clear()

    @property
    def reached(self) -> tuple[str, ...]:
        """Every point reached so far, in order and numbered, such as `commit.before#1`.

        Each is the beginning of a fault, so that a test can first see an undisturbed run and then
        break one at each of its points.
        """
        return tuple(self._reached)

    @property
    def pending(self) -> tuple[Fault, ...]:
        """Those that have not happened; a test that leaves some has not tested what it says."""
        return tuple(armed.fault for armed in self._armed if not armed.fired)

    async def reach(self, point: str) -> None:
        """Do what is armed for *point*; without any, this is no checkpoint.

        Raises:
            StorageError: It was to fail.
        """
        self._counts[point] += 1
        self._reached.append(f"{point}#{self._counts[point]}")
        due = [
            armed.fault for armed in self._armed if armed.fault.point == point and armed.is_due()
        ]
        for fault in due:
            await _ACTIONS[fault.action](self, fault)

    async def _fail(self, fault: Fault) -> NoReturn:
        error = _FAILURES[fault.argument or "unavailable"]
        happened = "after it had happened" if fault.point.endswith(".after") else "before it began"
        raise error(
            f"A call was made to fail {happened}: {fault}.",
            storage="FaultyStore",
            hint="This is a test; what it calls has to cope.",
        )

    async def _delay(self, fault: Fault) -> None:
        await self._clock.sleep(float(fault.argument))

    async def _cancel(self, fault: Fault) -> None:
        if self.cancel is None:
            raise ValueError(f"{fault} cancels nothing: give `Faults` a `cancel`.")
        self.cancel()
        await anyio.lowlevel.checkpoint()

    async def _call(self, fault: Fault) -> None:
        if self.call is None:
            raise ValueError(f"{fault} calls nothing: give `Faults` a `call`.")
        result = self.call(fault.point)
        if inspect.isawaitable(result):
            await result

    async def _kill(self, _: Fault) -> None:
        if hasattr(signal, "SIGKILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(137)

    def __repr__(self) -> str:
        return f"Faults({'; '.join(str(armed.fault) for armed in self._armed)})"


_ACTIONS: Final[Mapping[str, Callable[[Faults, Fault], Awaitable[None]]]] = {
    "fail": Faults._fail,
    "delay": Faults._delay,
    "cancel": Faults._cancel,
    "call": Faults._call,
    "kill": Faults._kill,
}


class FaultyStore:
    """A run store with a fault point before and after each call of another one.

    `METHOD.before` is reached before the call is made, `METHOD.after` once it has returned. What
    the other can do, this can: it declares the same capabilities.

    Args:
        store: What does the work; closed with this one.
        faults: What goes wrong, as `Faults` or as one is made from.
    """

    def __init__(self, store: RunStore, faults: Faults | str | Iterable[Fault | str] = ()) -> None:
        self.store: Any = store
        self.faults = faults if isinstance(faults, Faults) else Faults(faults)

    @property
    def capabilities(self) -> RunStoreCapabilities:
        """What the store within declares."""
        return RunStoreCapabilities.of(self.store)

    async def create_run(self, run_id: UUID, **given: Any) -> Any:
        """See `RunStore.create_run`."""
        return await self._between("create_run", run_id, **given)

    async def update_status(self, run_id: UUID, status: str, **given: Any) -> None:
        """See `RunStore.update_status`."""
        await self._between("update_status", run_id, status, **given)

    async def get_run(self, run_id: UUID) -> RunRecord | None:
        """See `RunStore.get_run`."""
        record: RunRecord | None = await self._between("get_run", run_id)
        return record

    async def _between(self, method: str, *args: Any, **given: Any) -> Any:
        await self.faults.reach(f"{method}.before")
        result = await getattr(self.store, method)(*args, **given)
        await self.faults.reach(f"{method}.after")
        return result

    def __getattr__(self, name: str) -> Any:
        # Copying asks before there is a store.
        if name.startswith("_") or name == "store":
            raise AttributeError(name)
        found = getattr(self.store, name)
        if name not in _calls():
            return found

        @wraps(found)
        async def between(*args: Any, **given: Any) -> Any:
            return await self._between(name, *args, **given)

        return between

    async def __aenter__(self) -> Self:
        if hasattr(self.store, "__aenter__"):
            await self.store.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if hasattr(self.store, "__aexit__"):
            await self.store.__aexit__(exc_type, exc, traceback)

    def __repr__(self) -> str:
        return f"FaultyStore({self.store!r}, {self.faults!r})"
