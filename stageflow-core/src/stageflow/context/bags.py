"""Bags: shared stores of a run in which nothing is lost or overwritten unseen."""

from __future__ import annotations

from threading import Lock
from typing import Any

from stageflow.errors import RunError
from stageflow.stages import StageOutput

__all__ = ("ContextBag", "DataConflictError", "OutputBag", "OutputConflictError")


class DataConflictError(RunError):
    """A key of a `ContextBag` was written a second time.

    Attributes:
        key: The key.
        existing_writer: The stage that wrote it.
        new_writer: The stage that tried to write it again.
    """

    code = "SF332"

    def __init__(self, key: str, existing_writer: str, new_writer: str) -> None:
        super().__init__(
            f"Stage {new_writer!r} writes {key!r}, which stage {existing_writer!r} has written.",
            hint="Let each key have one writer, or give them different keys.",
        )
        self.key = key
        self.existing_writer = existing_writer
        self.new_writer = new_writer


class OutputConflictError(RunError):
    """An output was written over one that is not to be replaced.

    Attributes:
        stage_name: The stage.
        existing_attempt: The attempt whose output is kept.
        new_attempt: The attempt whose output was refused.
    """

    code = "SF333"

    def __init__(
        self, message: str, *, stage_name: str, existing_attempt: int, new_attempt: int, hint: str
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage_name = stage_name
        self.existing_attempt = existing_attempt
        self.new_attempt = new_attempt


class ContextBag:
    """Values that stages share, each written once; safe from any number of threads and tasks."""

    __slots__ = ("_entries", "_lock")

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Any, str]] = {}
        self._lock = Lock()

    async def write(self, key: str, value: Any, stage_name: str) -> None:
        """Keep *value* under *key*; not a checkpoint, so it happens whole or not at all.

        Args:
            key: The key, which nobody has written yet.
            value: The value.
            stage_name: Who writes it.

        Raises:
            DataConflictError: If *key* has been written, also by the same stage.
        """
        entry = (value, stage_name)
        # One step under the lock: two writers can never both be told that they were first.
        with self._lock:
            kept = self._entries.setdefault(key, entry)
        if kept is not entry:
            raise DataConflictError(key, kept[1], stage_name)

    def read(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*, or *default* if nobody has written it."""
        entry = self._entries.get(key)
        return default if entry is None else entry[0]

    def has(self, key: str) -> bool:
        """Say whether *key* has been written."""
        return key in self._entries

    def keys(self) -> list[str]:
        """Return the keys written so far, in order."""
        with self._lock:
            return list(self._entries)

    def get_writer(self, key: str) -> str | None:
        """Return the stage that wrote *key*, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of what is kept, as one moment had it."""
        with self._lock:
            return {key: value for key, (value, _) in self._entries.items()}


class OutputBag:
    """The outputs of a run's stages, with every attempt; safe from any number of threads and tasks.

    A stage's first output stays unless a later attempt is written with `allow_overwrite`.
    """

    __slots__ = ("_lock", "_outputs")

    def __init__(self) -> None:
        self._outputs: dict[str, list[tuple[int, StageOutput]]] = {}
        self._lock = Lock()

    async def write(
        self,
        stage_name: str,
        output: StageOutput,
        *,
        attempt: int = 1,
        allow_overwrite: bool = False,
    ) -> None:
        """Keep *output* as what *stage_name* gave; not a checkpoint.

        Args:
            stage_name: The stage.
            output: What it gave.
            attempt: The attempt that gave it, counted from 1.
            allow_overwrite: Whether it may take the place of an earlier attempt's output.

        Raises:
            OutputConflictError: If the stage has an output and *allow_overwrite* is false, or
                that output is of the same or a later attempt.
            ValueError: If *attempt* is less than 1.
        """
        if attempt < 1:
            raise ValueError(f"attempts are counted from 1, so {attempt} is none")
        with self._lock:
            written = self._outputs.setdefault(stage_name, [])
            latest = written[-1][0] if written else 0
            fits = attempt > latest and (allow_overwrite or not written)
            if fits:
                written.append((attempt, output))
        if not fits:
            raise _conflict(stage_name, latest, attempt, allow_overwrite=allow_overwrite)

    def get(self, stage_name: str) -> StageOutput | None:
        """Return the latest output of *stage_name*, or None if it gave none."""
        with self._lock:
            written = self._outputs.get(stage_name)
            return written[-1][1] if written else None

    def attempts(self, stage_name: str) -> int:
        """Return the number of the latest attempt that gave an output; 0 if none did."""
        with self._lock:
            written = self._outputs.get(stage_name)
            return written[-1][0] if written else 0

    def history(self, stage_name: str) -> tuple[StageOutput, ...]:
        """Return every output of *stage_name*, the earliest attempt first."""
        with self._lock:
            return tuple(output for _, output in self._outputs.get(stage_name, ()))

    def to_dict(self) -> dict[str, StageOutput]:
        """Return a copy that holds the latest output of each stage, as one moment had it."""
        with self._lock:
            return {stage: written[-1][1] for stage, written in self._outputs.items()}


def _conflict(
    stage_name: str, existing: int, new: int, *, allow_overwrite: bool
) -> OutputConflictError:
    if not allow_overwrite:
        message = f"Stage {stage_name!r} has an output already, of attempt {existing}."
        hint = "Write each output once, or pass allow_overwrite=True for a later attempt."
    else:
        message = (
            f"Attempt {new} of stage {stage_name!r} cannot replace that of attempt {existing}."
        )
        hint = "Only a later attempt replaces an output: pass its number as attempt=."
    return OutputConflictError(
        message, stage_name=stage_name, existing_attempt=existing, new_attempt=new, hint=hint
    )
