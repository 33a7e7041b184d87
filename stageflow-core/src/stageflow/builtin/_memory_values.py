"""Shared values of `MemoryRunStore`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import islice

import attrs

from stageflow.builtin._memory_runs import MemoryRuns
from stageflow.builtin._run_store_rules import check_expected
from stageflow.codec import Codec
from stageflow.contracts.clock import Clock
from stageflow.contracts.shared_values import SharedValue

__all__ = ("MemorySharedValues",)


@attrs.define(eq=False)
class _Namespace:
    """The values of one namespace; of one that was deleted its last version remains.

    Attributes:
        order: The keys that have a value, as UTF-8, sorted.
        values: By key.
        last_versions: Of keys whose value was deleted.
    """

    order: list[bytes] = attrs.field(factory=list)
    values: dict[str, SharedValue] = attrs.field(factory=dict)
    last_versions: dict[str, int] = attrs.field(factory=dict)

    def put(self, value: SharedValue) -> None:
        if value.key not in self.values:
            insort(self.order, _utf8(value.key))
            self.last_versions.pop(value.key, None)
        self.values[value.key] = value

    def drop(self, key: str) -> bool:
        gone = self.values.pop(key, None)
        if gone is None:
            return False
        self.last_versions[key] = gone.version
        del self.order[bisect_left(self.order, _utf8(key))]
        return True

    def after(self, prefix: bytes, after: bytes | None) -> Iterator[SharedValue]:
        start = bisect_left(self.order, prefix)
        if after is not None:
            start = max(start, bisect_right(self.order, after))
        for position in range(start, len(self.order)):
            if not self.order[position].startswith(prefix):
                return
            yield self.values[_text(self.order[position])]


class MemorySharedValues(MemoryRuns):
    """The capability `shared_values`."""

    def __init__(self, *, codec: Codec | None = None, clock: Clock | None = None) -> None:
        super().__init__(codec=codec, clock=clock)
        self._namespaces: dict[str, _Namespace] = {}

    async def read_value(self, namespace: str, key: str) -> SharedValue | None:
        """See `SharedValues.read_value`."""
        self._check_open()
        there = self._namespaces.get(namespace)
        return None if there is None else there.values.get(key)

    async def write_value(
        self, namespace: str, key: str, value: bytes, *, expected: int | None = None
    ) -> SharedValue:
        """See `SharedValues.write_value`."""
        return (await self.write_values(namespace, [(key, value, expected)]))[0]

    async def write_values(
        self, namespace: str, values: Sequence[tuple[str, bytes, int | None]]
    ) -> Sequence[SharedValue]:
        """See `SharedValues.write_values`."""
        self._check_open()
        there = self._namespaces.setdefault(namespace, _Namespace())
        now = self._clock.now()
        written: list[SharedValue] = []
        latest: dict[str, SharedValue] = {}  # a key may be written twice
        for key, value, expected in values:
            current = latest.get(key) or there.values.get(key)
            check_expected(namespace, key, expected, current)
            last = there.last_versions.get(key, 0) if current is None else current.version
            latest[key] = SharedValue(
                namespace=namespace, key=key, value=bytes(value), version=last + 1, updated_at=now
            )
            written.append(latest[key])
        for shared in latest.values():
            there.put(shared)
        return tuple(written)

    async def delete_value(self, namespace: str, key: str, *, expected: int | None = None) -> bool:
        """See `SharedValues.delete_value`."""
        self._check_open()
        there = self._namespaces.setdefault(namespace, _Namespace())
        check_expected(namespace, key, expected, there.values.get(key))
        return there.drop(key)

    async def list_values(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[SharedValue]:
        """See `SharedValues.list_values`."""
        self._check_open()
        there = self._namespaces.get(namespace, _Namespace())
        found = there.after(_utf8(prefix), None if after is None else _utf8(after))
        return tuple(islice(found, max(limit, 0)))


def _utf8(text: str) -> bytes:
    # Half a surrogate pair, as in the name of a file that is no text, has its place too.
    return text.encode("utf-8", "surrogatepass")


def _text(utf8: bytes) -> str:
    return utf8.decode("utf-8", "surrogatepass")
