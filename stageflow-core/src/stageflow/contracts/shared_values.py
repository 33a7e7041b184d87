"""Shared values: small facts that outlive runs, changed atomically by many processes.

A capability of `RunStore`. Whatever keeps a record beside the runs, such as which partitions of
an asset are there, or which approvals are open, keeps it here, so that it lies where the runs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import attrs

from stageflow.contracts.run_store import RunStoreError

__all__ = ("SharedValue", "SharedValues", "ValueChangedError")


@attrs.frozen(kw_only=True)
class SharedValue:
    """A value as it is now.

    Attributes:
        namespace: Whose it is, such as `assets`.
        key: Unique in its namespace.
        value: What was written, encoded by whoever wrote it.
        version: 1 when it was written first; each writing adds 1.
        updated_at: When it was written last, in UTC.
    """

    namespace: str
    key: str
    value: bytes = attrs.field(repr=False)
    version: int
    updated_at: datetime


class ValueChangedError(RunStoreError):
    """A shared value was to be replaced, but is no longer the one that was read.

    Attributes:
        namespace: Whose it is.
        key: Which one.
        expected: The version that it was to have; 0 for none at all.
        current: What it is now; None if it is gone.
    """

    code = "SF429"

    def __init__(
        self, namespace: str, key: str, expected: int, current: SharedValue | None
    ) -> None:
        found = "it is not there" if current is None else f"it has version {current.version}"
        wanted = "not to be there" if expected == 0 else f"to have version {expected}"
        super().__init__(
            f"The shared value {key!r} of {namespace!r} was expected {wanted}, but {found}.",
            hint="Read it again, and decide anew.",
        )
        self.namespace = namespace
        self.key = key
        self.expected = expected
        self.current = current


class SharedValues(Protocol):
    """The capability `shared_values`: keyed values with atomic update.

    RS-54  [shared_values] A value is read as it was written last, with its version.
    RS-55  [shared_values] A write that expects a version succeeds only if the value has it, and
      one that expects 0 only if there is none; else it raises `ValueChangedError` with the value
      as it is, and changes nothing. Of writes at once that expect the same, one succeeds.
    RS-56  [shared_values] A write that expects nothing always succeeds and adds 1 to the version.
    RS-57  [shared_values] Writes of one call happen all or not at all, also when it is cancelled
      or one of them expected something else.
    RS-58  [shared_values] A deletion answers whether the value was there; it obeys what it expects
      as a write does. A value that is written after its deletion has a version that it never had.
    RS-59  [shared_values] Values are listed by key, in the order of their UTF-8 bytes, those whose
      key starts with the prefix and comes after the one given; pages show each value once.
    RS-60  [shared_values] Namespaces are apart; keys are any text, the empty one too.
    """

    async def read_value(self, namespace: str, key: str) -> SharedValue | None:
        """Return the value as it is now; None if there is none."""
        ...

    async def write_value(
        self, namespace: str, key: str, value: bytes, *, expected: int | None = None
    ) -> SharedValue:
        """Write a value and return it as it is then.

        Args:
            namespace: Whose it is.
            key: Which one.
            value: What to write.
            expected: The version that it must have now; 0 for none; None for whatever it has.

        Raises:
            ValueChangedError: It has not the version expected.
        """
        ...

    async def write_values(
        self, namespace: str, values: Sequence[tuple[str, bytes, int | None]]
    ) -> Sequence[SharedValue]:
        """Write many values, each as (key, value, expected), in one transaction.

        Raises:
            ValueChangedError: One has not the version expected; none was written.
        """
        ...

    async def delete_value(self, namespace: str, key: str, *, expected: int | None = None) -> bool:
        """Delete a value; return whether it was there.

        Raises:
            ValueChangedError: It has not the version expected.
        """
        ...

    async def list_values(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[SharedValue]:
        """Return up to *limit* values of the namespace, by key."""
        ...
