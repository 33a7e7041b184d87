"""Shared values of `SqliteRunStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from stageflow.builtin._run_store_rules import check_expected
from stageflow.builtin._sqlite_errors import sound
from stageflow.builtin._sqlite_runs import Row, SqliteRuns, from_utf8, utf8
from stageflow.contracts.shared_values import SharedValue

__all__ = ("SqliteSharedValues",)

_VALUE: Final = "select key, version, value, updated_at from shared_values where namespace = ?"


class SqliteSharedValues(SqliteRuns):
    """The capability `shared_values`."""

    async def read_value(self, namespace: str, key: str) -> SharedValue | None:
        """See `SharedValues.read_value`."""
        row = await self._database.read(
            lambda connection: _find(connection, utf8(namespace), utf8(key))
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
        now, there = self._clock.now(), utf8(namespace)

        def write(connection: sqlite3.Connection) -> list[SharedValue]:
            written = []
            for key, value, expected in given:
                row = _find(connection, there, utf8(key))
                check_expected(namespace, key, expected, self._value(namespace, row))
                version = 1 if row is None else row[1] + 1
                connection.execute(
                    "insert or replace into shared_values"
                    " (namespace, key, version, value, updated_at) values (?, ?, ?, ?, ?)",
                    (there, utf8(key), version, value, now.isoformat()),
                )
                written.append(
                    SharedValue(
                        namespace=namespace, key=key, value=value, version=version, updated_at=now
                    )
                )
            return written

        return tuple(await self._database.write(write))

    async def delete_value(self, namespace: str, key: str, *, expected: int | None = None) -> bool:
        """See `SharedValues.delete_value`."""
        there, known_by = utf8(namespace), utf8(key)

        def delete(connection: sqlite3.Connection) -> bool:
            current = self._value(namespace, _find(connection, there, known_by))
            check_expected(namespace, key, expected, current)
            connection.execute(
                "update shared_values set value = null where namespace = ? and key = ?",
                (there, known_by),
            )
            return current is not None

        return await self._database.write(delete)

    async def list_values(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[SharedValue]:
        """See `SharedValues.list_values`."""
        start = utf8(prefix)
        # With a second lower bound, SQLite would seek the first and read on from there.
        begin, bound = start, ">="
        if after is not None and utf8(after) >= start:
            begin, bound = utf8(after), ">"
        conditions = [_VALUE, "value is not null", f"key {bound} ?"]
        parameters: list[object] = [utf8(namespace), begin]
        if start:
            # No byte of UTF-8 is the highest, so that the last one can be raised.
            conditions.append("key < ?")
            parameters.append(start[:-1] + bytes([start[-1] + 1]))
        select = f"{' and '.join(conditions)} order by key limit ?"
        rows = await self._database.read(
            lambda connection: connection.execute(select, (*parameters, max(limit, 0))).fetchall()
        )
        found = (self._value(namespace, row) for row in rows)
        return tuple(value for value in found if value is not None)

    def _value(self, namespace: str, row: Row | None) -> SharedValue | None:
        if row is None or row[2] is None:
            return None
        key, version, value, updated_at = row
        with sound(self._path, f"the shared value {key!r} of {namespace!r}"):
            return SharedValue(
                namespace=namespace,
                key=from_utf8(key),
                value=bytes(memoryview(value)),
                version=version,
                updated_at=datetime.fromisoformat(updated_at),
            )


def _find(connection: sqlite3.Connection, namespace: bytes, key: bytes) -> Row | None:
    """Return the row of a value, also of one that was deleted: it has the last version."""
    row: Row | None = connection.execute(f"{_VALUE} and key = ?", (namespace, key)).fetchone()
    return row
