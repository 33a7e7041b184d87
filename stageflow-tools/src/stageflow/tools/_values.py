"""What logs are kept in: the shared values of a run store, or values of this process alone."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from anyio.lowlevel import checkpoint

from stageflow.codec import Codec
from stageflow.contracts.shared_values import SharedValue, SharedValues, ValueChangedError

__all__ = ("MemoryValues", "Records")

T = TypeVar("T")
_PAGE: Final = 500
_NO_TIME: Final = datetime(1, 1, 1, tzinfo=UTC)


class MemoryValues:
    """Shared values of one namespace that end with the process; see `SharedValues`."""

    def __init__(self) -> None:
        self._values: dict[str, SharedValue] = {}
        self._keys: list[str] = []
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._keys)

    async def read_value(self, namespace: str, key: str) -> SharedValue | None:
        """See `SharedValues.read_value`."""
        await checkpoint()
        return self._values.get(key)

    async def write_value(
        self, namespace: str, key: str, value: bytes, *, expected: int | None = None
    ) -> SharedValue:
        """See `SharedValues.write_value`."""
        (written,) = await self.write_values(namespace, [(key, value, expected)])
        return written

    async def write_values(
        self, namespace: str, values: Sequence[tuple[str, bytes, int | None]]
    ) -> Sequence[SharedValue]:
        """See `SharedValues.write_values`."""
        await checkpoint()
        for key, _, expected in values:
            self._check(namespace, key, expected)
        return [self._put(namespace, key, value) for key, value, _ in values]

    async def delete_value(self, namespace: str, key: str, *, expected: int | None = None) -> bool:
        """See `SharedValues.delete_value`."""
        await checkpoint()
        self._check(namespace, key, expected)
        gone = self._values.pop(key, None)
        if gone is not None:
            del self._keys[bisect_left(self._keys, key)]
            # Whatever comes later under this key has a version that it never had.
            self._forgotten = max(self._forgotten, gone.version)
        return gone is not None

    async def list_values(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[SharedValue]:
        """See `SharedValues.list_values`."""
        await checkpoint()
        start = bisect_left(self._keys, prefix)
        if after is not None:
            start = max(start, bisect_right(self._keys, after))
        found = []
        for key in self._keys[start : start + limit]:
            if not key.startswith(prefix):
                break
            found.append(self._values[key])
        return found

    def _check(self, namespace: str, key: str, expected: int | None) -> None:
        known = self._values.get(key)
        if expected is not None and expected != (0 if known is None else known.version):
            raise ValueChangedError(namespace, key, expected, known)

    def _put(self, namespace: str, key: str, value: bytes) -> SharedValue:
        known = self._values.get(key)
        if known is None:
            insort(self._keys, key)
        version = 1 + (self._forgotten if known is None else known.version)
        written = SharedValue(
            namespace=namespace, key=key, value=value, version=version, updated_at=_NO_TIME
        )
        self._values[key] = written
        return written


class Records(Generic[T]):
    """The values of a namespace whose keys begin alike, as what the codec makes of them.

    Args:
        values: Where they are kept.
        namespace: Whose they are.
        prefix: How their keys begin.
        codec: Writes them as bytes.
    """

    def __init__(self, values: SharedValues, namespace: str, prefix: str, codec: Codec) -> None:
        self._values = values
        self._namespace = namespace
        self._prefix = prefix
        self._codec = codec

    def key(self, name: object) -> str:
        """Return the key of the record of that name."""
        return f"{self._prefix}{name}"

    def encode(self, record: T) -> bytes:
        """Return a record as bytes.

        Raises:
            CodecError: It cannot be stored.
        """
        return self._codec.encode(record, where=type(record).__name__)

    def decode(self, value: bytes) -> T:
        """Return the record that `encode` wrote."""
        record: T = self._codec.decode(value)
        return record

    async def get(self, name: object) -> T | None:
        """Return a record as it is now; None if there is none."""
        found = await self._values.read_value(self._namespace, self.key(name))
        return None if found is None else self.decode(found.value)

    async def change(self, name: object, change: Callable[[T], T]) -> T | None:
        """Replace a record by what *change* makes of it, and return it as it is then.

        Nobody else's change is lost: should the record change meanwhile, *change* is asked again.
        """
        key = self.key(name)
        while True:
            found = await self._values.read_value(self._namespace, key)
            if found is None:
                return None
            before = self.decode(found.value)
            after = change(before)
            if after is before:
                return before
            written = self.encode(after)
            try:
                await self._values.write_value(
                    self._namespace, key, written, expected=found.version
                )
            except ValueChangedError:
                continue
            return self.decode(written)

    async def delete(self, name: object) -> bool:
        """Delete a record; return whether it was there."""
        return await self._values.delete_value(self._namespace, self.key(name))

    async def walk(self, after: object | None = None) -> AsyncGenerator[tuple[str, bytes]]:
        """Yield the names of all records and what is written there, by name, page by page."""
        last = None if after is None else self.key(after)
        while True:
            page = await self._values.list_values(
                self._namespace, prefix=self._prefix, after=last, limit=_PAGE
            )
            for found in page:
                yield found.key.removeprefix(self._prefix), found.value
            if len(page) < _PAGE:
                return
            last = page[-1].key
