"""PostgresItemReader: rows of a table or a query, page by page, in the order of their key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from operator import eq, itemgetter
from typing import Any, Final
from uuid import UUID

import attrs

from stageflow.codec import Codec, CodecError
from stageflow.contracts.item_reader import (
    CheckpointError,
    ItemReaderCapabilities,
    ItemReaderError,
    ReadPage,
    check_page_size,
)
from stageflow.contracts.storage import StorageClosedError
from stageflow.errors import ConfigurationError
from stageflow_io_postgres.database import Connection, Database, Row
from stageflow_io_postgres.queries import quoted

__all__ = ("ItemKeyError", "PostgresItemReader", "PostgresReaderSettings", "ReaderQueryError")

_FORMAT: Final = 1
_PRIMARY_KEY: Final = """
    select a.attname from pg_index i
    cross join lateral unnest(i.indkey) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = to_regclass($1) and i.indisprimary
    order by k.place
"""

# What the driver gives that the codec does not know, or that says less than the column does.
_CONVERTED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "uuid": lambda value: UUID(int=value.int),
    "json": json.loads,
    "jsonb": json.loads,
    "inet": str,
    "cidr": str,
}


class ReaderQueryError(ConfigurationError):
    """A reader is not told which rows to read, or in which order."""

    code = "SF531"


class ItemKeyError(ItemReaderError):
    """The key by which rows are read does not tell them apart."""

    code = "SF532"


@attrs.frozen(kw_only=True)
class PostgresReaderSettings:
    """Which rows are read, in which order: those of a table or of a query.

    Attributes:
        table: The table or view, such as `public.orders`.
        query: A query that gives the rows, instead; without an order of its own, since the key
            is the order.
        parameters: What `$1`, `$2` and so on in the query stand for.
        key: The columns by which rows are told apart and ordered; no two rows may have the same
            values in them, and none may be null. The primary key of the table unless given.
        columns: The columns that items have; all unless given.
        resource: The name of the database in the settings of resources.
    """

    table: str | None = None
    query: str | None = None
    parameters: tuple[Any, ...] = ()
    key: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    resource: str = "postgres"


@attrs.define(eq=False)
class _Reading:
    """What the states of one reading share.

    Attributes:
        source: What is read, for messages.
        fingerprint: By which a checkpoint is known to be of the same rows in the same order.
        key: The columns of the key.
        shown: The columns that items have; None for all.
        parameters: Of the query.
        first: The statement that gives the first page.
        next: The statement that gives the page after a key.
        count: The statement that counts.
        converted: By column, what becomes of its values.
    """

    source: str
    fingerprint: str
    key: tuple[str, ...]
    shown: tuple[str, ...] | None
    parameters: tuple[Any, ...]
    first: str
    next: str
    count: str
    converted: Mapping[str, Callable[[Any], Any]] = attrs.field(factory=dict)
    is_closed: bool = False


@attrs.frozen
class _State:
    """Where a reading stands: after the row with this key, or before the first."""

    reading: _Reading
    after: tuple[Any, ...] | None = None


class PostgresItemReader:
    """Reads rows as mappings of columns to values, in the order of their key.

    A page begins after the last key of the page before. So a page far along takes no longer than
    the first, rows that come or go meanwhile push no other row out, and a reading goes on
    where it was when the connection was lost, or in another process. What is read is what is
    there when its page is read: a row that comes after its place was passed is not.

    Args:
        settings: Which rows.
        database: Where; it must be open for as long as this is used.
        codec: What checkpoints write keys with; the default one unless given.
    """

    capabilities: Final = ItemReaderCapabilities(count=True, checkpoint=True, close=True)

    def __init__(
        self, settings: PostgresReaderSettings, database: Database, *, codec: Codec | None = None
    ) -> None:
        self._settings = settings
        self._database = database
        self._codec = codec or Codec.default()

    async def init(self, config: Mapping[str, Any], deps: Mapping[str, Any]) -> _State:
        """See `ItemReader.init`; *config* holds what `PostgresReaderSettings` does.

        Raises:
            ReaderQueryError: The rows or their order are not told, or in two ways.
            ItemKeyError: Some rows have no key.
        """
        known = attrs.fields_dict(PostgresReaderSettings)
        if unknown := [name for name in config if name not in known or name == "resource"]:
            raise ReaderQueryError(
                f"A reading has no setting {unknown[0]!r}.",
                hint=f"It may have {', '.join(sorted({*known} - {'resource'}))}.",
            )
        settings = attrs.evolve(self._settings, **config)
        rows = _rows(settings)
        key = _names("key", settings.key) or await self._primary_key(settings)
        reading = _reading(settings, rows, key)
        reading.converted = await self._converters(reading)
        await self._check_keys(reading, rows)
        return _State(reading)

    async def read(self, state: _State, n: int) -> ReadPage:
        """See `ItemReader.read`.

        Raises:
            ItemKeyError: Two rows have the same key.
        """
        check_page_size(n)
        reading = _open(state)
        # One more tells whether that is all, and whether its key is another one.
        after = () if state.after is None else state.after
        rows = await self._database.fetch(
            reading.next if after else reading.first,
            *reading.parameters,
            *after,
            n + 1,
            repeatable=True,
        )
        self._check_apart(reading, rows)
        page = list(map(dict, rows[:n]))
        for name, convert in reading.converted.items():
            for item in page:
                if (value := item[name]) is not None:
                    item[name] = convert(value)
        following = None
        if len(rows) > n:
            following = _State(reading, _key_of(reading, page[-1]))
        if reading.shown is not None:
            page = [{name: item[name] for name in reading.shown} for item in page]
        return ReadPage(page, following)

    async def count(self, state: _State) -> int | None:
        """See `CountedReading.count`."""
        reading = _open(state)
        found = await self._database.fetchval(reading.count, *reading.parameters, repeatable=True)
        return int(found)

    def checkpoint(self, state: _State) -> dict[str, Any]:
        """See `CheckpointedReading.checkpoint`."""
        after = None
        if state.after is not None:
            after = self._codec.encode(list(state.after), where="key").decode()
        return {"format": _FORMAT, "rows": state.reading.fingerprint, "after": after}

    async def restore(self, state: _State, checkpoint: Mapping[str, Any]) -> _State:
        """See `CheckpointedReading.restore`."""
        reading = _open(state)
        wanted = {"format": _FORMAT, "rows": reading.fingerprint}
        if {name: checkpoint.get(name) for name in wanted} != wanted or "after" not in checkpoint:
            raise CheckpointError("it is of other rows, or of another order", source=reading.source)
        after = checkpoint["after"]
        if after is None:
            return _State(reading)
        try:
            key = self._codec.decode(str(after).encode())
        except CodecError as error:
            raise CheckpointError(error.message, source=reading.source) from error
        if not isinstance(key, list) or len(key) != len(reading.key):
            raise CheckpointError("it holds no key", source=reading.source)
        return _State(reading, tuple(key))

    async def close(self, state: _State | None) -> None:
        """See `ClosableReading.close`."""
        if state is not None:
            state.reading.is_closed = True

    # --- the rest -----------------------------------------------------------------------

    async def _primary_key(self, settings: PostgresReaderSettings) -> tuple[str, ...]:
        hint = 'Name columns whose values tell the rows apart: key = ["id"].'
        if settings.table is None:
            raise ReaderQueryError("The rows of the query have no order.", hint=hint)
        rows = await self._database.fetch(_PRIMARY_KEY, _table(settings.table), repeatable=True)
        if not rows:
            raise ReaderQueryError(
                f"There is no table {settings.table!r} with a primary key.", hint=hint
            )
        return tuple(row["attname"] for row in rows)

    async def _converters(self, reading: _Reading) -> Mapping[str, Callable[[Any], Any]]:
        """Return what becomes of values, by column, where they do not stay as they come."""

        async def look(connection: Connection) -> Any:
            return (await connection.prepare(reading.first)).get_attributes()

        found = {
            column.name: _converter(column.type.name)
            for column in await self._database.run(look, repeatable=True)
        }
        return {name: convert for name, convert in found.items() if convert is not None}

    async def _check_keys(self, reading: _Reading, rows: str) -> None:
        """Raise if rows have no key: they would be passed over without a word."""
        without = " or ".join(f"{quoted(name)} is null" for name in reading.key)
        found = await self._database.fetchval(
            f"select exists (select from {rows} where {without})",  # noqa: S608 - quoted
            *reading.parameters,
            repeatable=True,
        )
        if found:
            raise ItemKeyError(
                f"Some rows of {reading.source} have no value in the key {reading.key}.",
                source=reading.source,
                hint="Choose columns that are never null, or leave such rows out by a query.",
            )

    def _check_apart(self, reading: _Reading, rows: list[Row]) -> None:
        keys = list(map(itemgetter(*reading.key), rows))
        if any(map(eq, keys, keys[1:])):
            raise ItemKeyError(
                f"Rows of {reading.source} have the same values in the key {reading.key}.",
                source=reading.source,
                hint="Add columns to `key` until no two rows have the same.",
            )

    def __repr__(self) -> str:
        return f"PostgresItemReader({self._database.label!r})"


def _open(state: _State) -> _Reading:
    if state.reading.is_closed:
        raise StorageClosedError(f"The reading of {state.reading.source}")
    return state.reading


def _key_of(reading: _Reading, row: Row) -> tuple[Any, ...]:
    return tuple([row[name] for name in reading.key])


def _converter(kind: str) -> Callable[[Any], Any] | None:
    one = _CONVERTED.get(kind.removesuffix("[]"))
    return partial(_each, one) if one is not None and kind.endswith("[]") else one


def _each(convert: Callable[[Any], Any], value: Any) -> Any:
    """Return an array, which may be of several dimensions, with each value converted."""
    if isinstance(value, list):
        return [_each(convert, item) for item in value]
    return None if value is None else convert(value)


def _table(name: str) -> str:
    return ".".join(quoted(part) for part in name.split("."))


def _names(what: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise ReaderQueryError(f"{names!r:.100} are no names of columns.", hint=f"Of `{what}`.")
    return tuple(names)


def _rows(settings: PostgresReaderSettings) -> str:
    """Return what stands behind `from`."""
    if (settings.table is None) == (settings.query is None):
        raise ReaderQueryError(
            "The rows are to be those of a table or those of a query.",
            hint='Give one of both: {"table": "public.orders"}.',
        )
    text = settings.table if settings.query is None else settings.query
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ReaderQueryError(f"{text!r:.100} names no rows.", hint="Give a text.")
    if settings.query is None:
        return f"{_table(text)} as rows"
    return f"(\n{text.strip().rstrip(';')}\n) as rows"


def _reading(settings: PostgresReaderSettings, rows: str, key: tuple[str, ...]) -> _Reading:
    columns = _names("columns", settings.columns)
    fetched = ", ".join(map(quoted, dict.fromkeys((*columns, *key)))) if columns else "*"
    order = ", ".join(map(quoted, key))
    given = len(settings.parameters)
    after = ", ".join(f"${given + place}" for place in range(1, len(key) + 1))
    limit = f"${given + 1 + len(key)}"
    select = f"select {fetched} from {rows}"  # noqa: S608 - names are quoted
    told = repr((rows, key, settings.parameters))
    source = f"the table {settings.table}" if settings.query is None else "the query"
    return _Reading(
        source=source,
        fingerprint=blake2b(told.encode("utf-8", "replace"), digest_size=8).hexdigest(),
        key=key,
        shown=None if not columns or {*key} <= {*columns} else columns,
        parameters=settings.parameters,
        first=f"{select} order by {order} limit ${given + 1}",
        next=f"{select} where ({order}) > ({after}) order by {order} limit {limit}",
        count=f"select count(*) from {rows}",  # noqa: S608 - names are quoted
    )
