"""Executor: where the body of a stage or an asset runs, be it another thread, process or machine.

What crosses to it is a `Call`: the import path of a function and its arguments as bytes of the
codec. What comes back is bytes of the codec as well. Neither functions nor values are pickled,
so the far side can be any process that has the same code installed.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from stageflow.codec import Codec, CodecError
from stageflow.contracts.contract import Contract
from stageflow.errors import RunError

__all__ = (
    "CONTRACT",
    "Call",
    "ExecutionTimeoutError",
    "Executor",
    "ExecutorCapabilities",
    "ExecutorClosedError",
    "ExecutorError",
    "RemoteError",
    "TargetError",
    "UnsendableCallError",
    "UnsendableResultError",
    "WorkerCrashedError",
    "dump_result",
    "load_call",
    "run_in",
)

CONTRACT: Final = Contract("executor", "1.0")


@attrs.frozen(kw_only=True)
class ExecutorCapabilities:
    """What an executor can do beyond running a function.

    Attributes:
        isolated: Bodies run in processes of their own: see `EX-9` to `EX-11`.
        timely: A time-out or a cancellation is told on time also while a body blocks.
        kills: A body that is timed out or cancelled is stopped, also while it blocks.
    """

    isolated: bool = False
    timely: bool = False
    kills: bool = False

    @classmethod
    def of(cls, executor: object) -> ExecutorCapabilities:
        """Return what *executor* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(executor, "capabilities", None)
        return declared if isinstance(declared, ExecutorCapabilities) else cls()


class ExecutorError(RunError):
    """A call could not be executed.

    Attributes:
        target: The import path of its function.
        retryable: Whether the same call may succeed if it is made again.
    """

    code = "SF452"
    retryable: bool = False

    def __init__(self, message: str, *, target: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.target = target


class UnsendableCallError(ExecutorError):
    """A function or its arguments cannot cross to where they would be executed.

    Attributes:
        faults: What is wrong, each in a sentence.
    """

    code = "SF453"

    def __init__(self, target: str, faults: Sequence[str], *, hint: str = "") -> None:
        super().__init__(
            f"{target} cannot be sent to an executor: {' '.join(faults)}",
            target=target,
            hint=hint
            or "Give a function that stands at the top of an installed module, and arguments "
            "that the codec can store.",
        )
        self.faults = tuple(faults)


class UnsendableResultError(ExecutorError):
    """What a function returned cannot cross back."""

    code = "SF454"

    def __init__(self, target: str, reason: str, *, hint: str = "") -> None:
        super().__init__(
            f"What {target} returned cannot be sent back: {reason}",
            target=target,
            hint=hint or "Return a value that the codec can store, or keep it in an IO manager.",
        )
        self.reason = reason


class TargetError(ExecutorError):
    """A function is not where its import path says, in the place that executes it."""

    code = "SF455"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(
            f"{target} cannot be imported where it would be executed: {reason}.",
            target=target,
            hint="Install the same code there, or look at the path.",
        )
        self.reason = reason


class WorkerCrashedError(ExecutorError):
    """The process that executed a call ended before the call did.

    Attributes:
        exit_code: How it ended: below zero the number of a signal; None if that is not known.
    """

    code = "SF456"
    retryable = True

    def __init__(self, target: str, exit_code: int | None) -> None:
        how = "ended" if exit_code is None else f"ended with {exit_code}"
        if exit_code is not None and exit_code < 0:
            how = f"was killed by signal {-exit_code}"
        super().__init__(
            f"The worker process that executed {target} {how}.",
            target=target,
            hint="It may have run out of memory, or a library in it has crashed; try again.",
        )
        self.exit_code = exit_code


class ExecutionTimeoutError(ExecutorError, TimeoutError):
    """A call took longer than it was allowed to.

    Attributes:
        timeout: The time allowed, in seconds.
    """

    code = "SF457"
    retryable = True

    def __init__(self, target: str, timeout: float) -> None:
        super().__init__(
            f"{target} has taken longer than {timeout:g} s.",
            target=target,
            hint="Allow it more time, or have it do less at once.",
        )
        self.timeout = timeout


class RemoteError(ExecutorError):
    """A function raised an error somewhere else.

    Attributes:
        error_type: The qualified name of the error's class.
        error_message: What it said.
        error_code: Its code, if it was one of Stageflow's.
        remote_traceback: Where it was raised, as text.
    """

    code = "SF458"

    def __init__(
        self,
        target: str,
        *,
        error_type: str,
        error_message: str,
        error_code: str | None = None,
        retryable: bool = False,
        remote_traceback: str = "",
    ) -> None:
        told = f"{error_type}: {error_message}" if error_message else error_type
        super().__init__(
            f"{target} raised {told}", target=target, hint="`remote_traceback` tells where."
        )
        self.error_type = error_type
        self.error_message = error_message
        self.error_code = error_code
        self.retryable = retryable
        self.remote_traceback = remote_traceback


class ExecutorClosedError(ExecutorError):
    """The executor was closed before the call was done."""

    code = "SF459"

    def __init__(self, target: str) -> None:
        super().__init__(
            f"The executor was closed before {target} was done.",
            target=target,
            hint="Use it within `async with`; whoever opened it closes it.",
        )


@attrs.frozen(kw_only=True)
class Call:
    """What is executed.

    Attributes:
        target: The import path of the function: `module:name`.
        payload: Its arguments as bytes of the codec: `{"args": [...], "kwargs": {...}}`.
    """

    target: str
    payload: bytes = attrs.field(repr=False)

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Call:
        """Return the call of *function* with these arguments.

        Args:
            function: A function, or its import path.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Raises:
            UnsendableCallError: With everything that keeps it from being sent.
        """
        faults: list[str] = []
        hint = ""
        if isinstance(function, str):
            target = function
            if not all(part for part in target.partition(":")):
                faults.append("It is not written as module:name.")
        else:
            target = _path_of(function)
            faults += _faults_of(function, target)
        payload = b""
        try:
            content = {"args": list(args), "kwargs": dict(kwargs or {})}
            payload = Codec.default().encode(content)
        except CodecError as error:
            faults.append(error.message)
            hint = error.hint if len(faults) == 1 else ""
        if faults:
            raise UnsendableCallError(target, faults, hint=hint)
        return cls(target=target, payload=payload)


@runtime_checkable
class Executor(Protocol):
    """Executes calls somewhere. Several may be under way at once.

    EX-1  The result of a call is what its function returns, equal and of the same types.
    EX-2  A function may be `async`, or return something to be awaited.
    EX-3  What a function raises is raised: as it is, or by an executor that is `isolated` as
      a `RemoteError` that tells its type and message.
    EX-4  A result that the codec cannot store raises `UnsendableResultError`.
    EX-5  A target that cannot be imported raises `TargetError`.
    EX-6  Each of several calls at once has its own result.
    EX-7  A call that takes too long raises `ExecutionTimeoutError`, and what waited in it was
      cancelled; so it is, too, when the call is cancelled. The executor works on.
    EX-8  [timely] It is told on time, also while the function blocks.
    EX-9  [isolated] A worker that ends raises `WorkerCrashedError`, which is retryable, and
      leaves other calls alone.
    EX-10  [isolated] What a function writes to its standard output or reads from its
      standard input disturbs nothing.
    EX-11  [isolated] A worker is used again, for one call after the other.
    EX-12  [kills] A function that is timed out or cancelled has been stopped when the call
      ends.
    EX-13  After `aclose`, which may be called again, every call raises `ExecutorClosedError`;
      so do calls under way when it is closed, and no process of theirs is left.
    EX-14  What it declares as `capabilities` is what it can do beyond this.
    """

    async def execute(self, call: Call, *, timeout: float | None = None) -> bytes:
        """Return the result of *call*, as bytes of the codec.

        Not idempotent. A cancelled call may have happened, wholly or in part.

        Args:
            call: What is executed.
            timeout: Seconds that the function may take, from when it begins; unbounded
                unless given.

        Raises:
            ExecutorError: As the clauses say.
            Exception: What the function raised, if the executor is not `isolated`.
        """
        ...

    async def aclose(self) -> None:
        """End what is under way and refuse further calls; again is no error."""
        ...


async def run_in(
    executor: Executor,
    function: Callable[..., Any] | str,
    *args: Any,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Return what *function* returns for these arguments, executed by *executor*.

    Raises:
        UnsendableCallError: The function or an argument cannot be sent there.
        ExecutorError: As `Executor.execute` does.
    """
    call = Call.of(function, args, kwargs)
    return Codec.default().decode(await executor.execute(call, timeout=timeout))


def load_call(call: Call) -> Callable[[], Any]:
    """Return *call* as a function without parameters; what an executor does at the far side.

    The function that it calls is its attribute `func`.

    Raises:
        TargetError: The function cannot be imported.
        UnsendableCallError: The arguments cannot be read here.
    """
    try:
        function = pkgutil.resolve_name(call.target)
    except Exception as error:
        raise TargetError(call.target, f"{type(error).__name__}: {error}") from error
    # After importing it, since that may have registered the classes of its arguments.
    try:
        content = Codec.default().decode(call.payload)
    except CodecError as error:
        raise UnsendableCallError(call.target, [error.message], hint=error.hint) from error
    return functools.partial(function, *content["args"], **content["kwargs"])


def dump_result(call: Call, result: Any) -> bytes:
    """Return what the function of *call* returned as `Executor.execute` does.

    Raises:
        UnsendableResultError: The codec cannot store it.
    """
    try:
        return Codec.default().encode(result)
    except CodecError as error:
        raise UnsendableResultError(call.target, error.message, hint=error.hint) from error


def _path_of(function: Any) -> str:
    module = getattr(function, "__module__", None) or type(function).__module__
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{module}:{name}"


def _faults_of(function: Any, target: str) -> list[str]:
    if not callable(function):
        return [f"It is {type(function).__name__}, not a function."]
    module, _, name = target.partition(":")
    if "<lambda>" in name:
        return ["A lambda has no import path."]
    if "<locals>" in name:
        return ["It was defined within another function."]
    if module == "__main__":
        return ["It was defined in the program itself, which no other process can import."]
    try:
        found = pkgutil.resolve_name(target)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return [f"Importing it gives {type(error).__name__}: {error}."]
    if found is not function and found != function:
        return ["At its import path stands something else."]
    return []
