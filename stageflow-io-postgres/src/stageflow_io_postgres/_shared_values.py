"""Shared values of `PostgresRunStore`."""

from __future__ import annotations

from collections.abc import Sequence

from stageflow.contracts.shared_values import SharedValue, ValueChangedError
from stageflow_io_postgres._runs import PostgresRuns, from_utf8, utf8
from stageflow_io_postgres.database import Connection, Row

__all__ = ("PostgresSharedValues",)


class PostgresSharedValues(PostgresRuns):
    """The capability `shared_values`."""

    async def read_value(self, namespace: str, key: str) -> SharedValue | None:
        """See `SharedValues.read_value`."""
        row = await self._database.fetchrow(
            self._sql["read_value"], utf8(namespace), utf8(key), repeatable=True
        )
        return self._value(namespace, row)

    async def write_value(
        self, namespace: str, key: str, value: bytes, *, expected: int | None = None
    ) -> SharedValue:
        """See `SharedValues.write_value`."""
        return (await self.write_values(namespace, [(key, value, expected)]))[0]

    async def write_values(
        self, namespace: str, values: Sequence[tuple[str, bytes, int | None]]
    ) -> Sequence[SharedValue]:
        """See `SharedValues.write_values`."""
        given = [(key, bytes(value), expected) for key, value, expected in values]

        async def write(connection: Connection) -> list[SharedValue]:
            written: dict[int, SharedValue] = {}
            # In the order of keys, so that two who write the same ones do not block each other.
            for place, each in sorted(enumerate(given), key=lambda pair: utf8(pair[1][0])):
                written[place] = await self._write(connection, namespace, *each)
            return [written[place] for place in range(len(given))]

        # A second write of what expects nothing only counts its version twice.
        return tuple(await self._database.run(write))

    async def delete_value(self, namespace: str, key: str, *, expected: int | None = None) -> bool:
        """See `SharedValues.delete_value`."""
        place = (utf8(namespace), utf8(key))
        # None expects nothing and 0 that there is none, in which case there is nothing to do.
        if expected != 0:
            done = await self._database.fetchval(self._sql["delete_value"], *place, expected)
            if done is not None:
                return True
        if expected is not None:
            current = await self.read_value(namespace, key)
            if expected != (0 if current is None else current.version):
                raise ValueChangedError(namespace, key, expected, current)
        return False

    async def list_values(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[SharedValue]:
        """See `SharedValues.list_values`."""
        start = utf8(prefix)
        # No byte of UTF-8 is the highest, so that the last one can be raised.
        below = start[:-1] + bytes([start[-1] + 1]) if start else None
        rows = await self._database.fetch(
            self._sql["list_values"],
            *(utf8(namespace), start, below, None if after is None else utf8(after)),
            max(limit, 0),
            repeatable=True,
        )
        found = (self._value(namespace, row) for row in rows)
        return tuple(value for value in found if value is not None)

    async def _write(
        self, connection: Connection, namespace: str, key: str, value: bytes, expected: int | None
    ) -> SharedValue:
        arguments: tuple[object, ...] = (utf8(namespace), utf8(key), value)
        query = "write_any" if expected is None else "write_over" if expected else "write_new"
        if expected:
            arguments = (*arguments, expected)
        row = await connection.fetchrow(self._sql[query], *arguments)
        if row is None:
            found = await connection.fetchrow(self._sql["read_value"], *arguments[:2])
            raise ValueChangedError(namespace, key, expected or 0, self._value(namespace, found))
        return SharedValue(
            namespace=namespace,
            key=key,
            value=value,
            version=row["version"],
            updated_at=row["updated_at"],
        )

    def _value(self, namespace: str, row: Row | None) -> SharedValue | None:
        if row is None or row["value"] is None:
            return None
        with self._sound(f"the shared values of {namespace!r}"):
            return SharedValue(
                namespace=namespace,
                key=from_utf8(row["key"]),
                value=row["value"],
                version=row["version"],
                updated_at=row["updated_at"],
            )
