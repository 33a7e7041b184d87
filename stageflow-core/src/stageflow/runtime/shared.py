"""SharedState: small facts that runs and processes share, each changed atomically."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import attrs

from stageflow.codec import Codec
from stageflow.contracts.shared_values import SharedValue, ValueChangedError

__all__ = ("SharedState", "Versioned")

_PAGE: Final = 500


@attrs.frozen
class Versioned:
    """A shared value as it was read.

    Attributes:
        key: Which one.
        value: What it was.
        version: How often it had been written.
    """

    key: str
    value: Any
    version: int


class SharedState:
    """The shared values of one namespace, as values that the codec knows.

    Whatever lies beside the runs in a run store with the capability `shared_values`: all runs and
    processes that use the store see the same. Made by `Runtime.shared`.

    Args:
        store: Keeps the values.
        namespace: Whose they are; other namespaces never meet them.
        codec: Writes values as bytes; the default one unless given.
    """

    def __init__(self, store: Any, namespace: str, codec: Codec | None = None) -> None:
        self._store = store
        self._codec = codec or Codec.default()
        self.namespace = namespace

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of *key* as it is now, or *default* if there is none."""
        found = await self.read(key)
        return default if found is None else found.value

    async def read(self, key: str) -> Versioned | None:
        """Return the value of *key* with its version; None if there is none."""
        found = await self._store.read_value(self.namespace, key)
        return None if found is None else self._read(found)

    async def set(self, key: str, value: Any, *, expected: int | None = None) -> int:
        """Write the value of *key* and return its version.

        Args:
            key: Which one.
            value: What it shall be.
            expected: The version that it must have now; 0 for none at all; None for any.

        Raises:
            ValueChangedError: If it has another version.
            CodecError: If the value cannot be stored.
        """
        written = await self._store.write_value(
            self.namespace, key, self._encode(key, value), expected=expected
        )
        return int(written.version)

    async def update(self, key: str, change: Callable[[Any], Any], *, default: Any = None) -> Any:
        """Replace the value of *key* by what *change* makes of it, and return that.

        Nobody else's change is lost: should the value change meanwhile, *change* is asked again.

        Args:
            key: Which one.
            change: Is given the value as it is now; must have no other effects.
            default: What it is given where there is none.
        """
        while True:
            found = await self.read(key)
            value = change(default if found is None else found.value)
            try:
                await self.set(key, value, expected=0 if found is None else found.version)
            except ValueChangedError:
                continue
            return value

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete the value of *key*; return whether there was one.

        Raises:
            ValueChangedError: If it has another version than was expected.
        """
        return bool(await self._store.delete_value(self.namespace, key, expected=expected))

    async def items(self, prefix: str = "") -> AsyncIterator[Versioned]:
        """Yield all values whose key starts with *prefix*, by key, a page at a time."""
        after: str | None = None
        while True:
            page = await self._store.list_values(
                self.namespace, prefix=prefix, after=after, limit=_PAGE
            )
            for found in page:
                yield self._read(found)
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def _encode(self, key: str, value: Any) -> bytes:
        return self._codec.encode(value, where=f"the shared value {key!r}")

    def _read(self, found: SharedValue) -> Versioned:
        return Versioned(found.key, self._codec.decode(found.value), found.version)
