"""DynamoDBItemReader: the items of a table, scanned in segments or queried."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, ClassVar, Final

import anyio
import anyio.lowlevel
import attrs

from stageflow.contracts.storage import StorageClosedError, StorageUnavailableError
from stageflow.plugins import Secret
from stageflow_io_s3._reading import Got, Source, StoreItemReader
from stageflow_io_s3.errors import (
    AccessDeniedError,
    ConnectionSettingsError,
    EventLoopError,
    TableNotFoundError,
    ThrottledError,
)
from stageflow_io_s3.settings import AwsSettings

__all__ = ("DynamoDBItemReader", "DynamoDBSettings")

_DENIED: Final = {
    *("AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException"),
    *("InvalidSignatureException", "MissingAuthenticationTokenException"),
    "UnrecognizedClientException",
}
_THROTTLED: Final = {
    *("ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"),
}

Key = dict[str, Any] | None


@attrs.frozen(kw_only=True)
class DynamoDBSettings(AwsSettings):
    """Which items are read, and how fast.

    Attributes:
        table: The table.
        index: An index of it.
        key_condition: What a query is made of, such as `#day = :day`; a scan unless given.
        filter: What items must fulfil, in the service's expression language.
        projection: Which attributes are read, likewise.
        names: What `#name` stands for in these expressions.
        values: What `:name` stands for in them, as plain values.
        segments: How many parts of a scan are read at the same time.
        page_size: How many items one request looks at.
        consistent: Whether to see what has been written before.
        capacity_per_second: How many read units may be consumed in a second, on average.
        max_items: How many items are read; all unless given.
    """

    table: str
    index: str | None = None
    key_condition: str | None = None
    filter: str | None = None
    projection: str | None = None
    names: dict[str, str] = attrs.Factory(dict)
    values: dict[str, Any] = attrs.Factory(dict)
    segments: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    page_size: int = attrs.field(default=500, validator=attrs.validators.ge(1))
    consistent: bool = False
    capacity_per_second: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    max_items: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )

    def check(self) -> None:
        """See `AwsSettings.check`."""
        super().check()
        if self.key_condition is not None and self.segments > 1:
            raise ConnectionSettingsError(
                "A query has no segments.", hint="Leave out key_condition or segments."
            )


@attrs.frozen
class _Round:
    """Where a reading stands: in a round, which is one page of each segment that has one left.

    Attributes:
        starts: By segment, the key to go on after; None at the beginning, `False` at the end.
        offset: How many items of the round have been given.
    """

    starts: tuple[Any, ...]
    offset: int = 0


class _TableSource(Source[_Round]):
    """Items in rounds: so their order does not hang on how many are asked for at once."""

    def __init__(
        self,
        settings: DynamoDBSettings,
        sleep: Callable[[float], Awaitable[None]],
        session_for: Callable[[DynamoDBSettings], Any],
    ) -> None:
        settings.check()
        names = (
            *("table", "index", "key_condition", "filter", "projection", "names", "values"),
            *("segments", "page_size", "max_items"),
        )
        told = {name: getattr(settings, name) for name in names}
        told["values"] = {name: repr(_typed(value)) for name, value in settings.values.items()}
        super().__init__(f"dynamodb table {settings.table}", told)
        self._settings = settings
        self._sleep = sleep
        self._session_for = session_for
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._round: tuple[tuple[Any, ...], list[Any], tuple[Any, ...]] | None = None
        self._owed = 0.0  # seconds to wait for what has been consumed

    async def begin(self) -> _Round:
        _need_asyncio()
        from aiobotocore.config import AioConfig
        from botocore.exceptions import BotoCoreError

        settings = self._settings
        try:
            config = AioConfig(
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.timeout,
                retries={"total_max_attempts": settings.retries + 1, "mode": "standard"},
                max_pool_connections=max(10, settings.segments),
                parameter_validation=False,
            )
            session = self._session_for(settings)
            region = settings.region or session.get_config_variable("region") or "us-east-1"
            making = session.create_client(
                "dynamodb",
                region_name=region,
                endpoint_url=settings.address("dynamodb"),
                config=config,
            )
            self._client = await self._stack.enter_async_context(making)
        except BotoCoreError as error:
            raise ConnectionSettingsError(
                f"No client of DynamoDB can be made: {error}.",
                hint="Look at the profile, the region and the endpoint.",
            ) from error
        await self._called(self._client.describe_table(TableName=settings.table))
        return _Round((None,) * settings.segments)

    async def read(self, position: _Round, n: int) -> Got[_Round]:
        items: list[Any] = []
        while True:
            found, following = await self._page(position.starts)
            taken = found[position.offset : position.offset + n - len(items)]
            items += [_plain_item(item) for item in taken]
            offset = position.offset + len(taken)
            if offset < len(found):
                return Got(items, attrs.evolve(position, offset=offset))
            if all(start is False for start in following):
                return Got(items, None)
            position = _Round(following)
            if len(items) == n:
                return Got(items, position)

    def freeze(self, position: _Round) -> dict[str, Any]:
        starts = [
            start if start is None or start is False else _packed(start)
            for start in position.starts
        ]
        return {"starts": starts, "offset": position.offset}

    async def thaw(self, frozen: Mapping[str, Any]) -> _Round:
        starts, offset = frozen["starts"], frozen["offset"]
        if type(offset) is not int or offset < 0 or len(starts) != self._settings.segments:
            raise ValueError("the offset or the segments are none")
        return _Round(
            tuple(
                start if start is None or start is False else _unpacked(start) for start in starts
            ),
            offset,
        )

    async def close(self) -> None:
        self._round = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        await anyio.lowlevel.checkpoint()

    async def _page(self, starts: tuple[Any, ...]) -> tuple[list[Any], tuple[Any, ...]]:
        """Return the items of a round, and where the next one begins."""
        if self._round is None or self._round[0] != starts:
            await self._pace()
            pages: list[Any] = [None] * len(starts)

            async def fetch(segment: int) -> None:
                pages[segment] = await self._fetch(segment, starts[segment])

            try:
                async with anyio.create_task_group() as group:
                    for segment, start in enumerate(starts):
                        if start is not False:
                            group.start_soon(fetch, segment)
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from errors.exceptions[0].__cause__
            items = [item for page in pages if page for item in page["Items"]]
            following = tuple(
                (page.get("LastEvaluatedKey") or False) if page else False for page in pages
            )
            units = sum(
                page.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0) for page in pages if page
            )
            if self._settings.capacity_per_second is not None:
                self._owed += units / self._settings.capacity_per_second
            self._round = starts, items, following
        return self._round[1], self._round[2]

    async def _fetch(self, segment: int, start: Key) -> Any:
        settings = self._settings
        request: dict[str, Any] = {
            "TableName": settings.table,
            "Limit": settings.page_size,
            "ReturnConsumedCapacity": "TOTAL",
        }
        optional = {
            "ConsistentRead": settings.consistent or None,
            "ExclusiveStartKey": start,
            "ExpressionAttributeNames": settings.names or None,
            "ExpressionAttributeValues": {
                name: _typed(value) for name, value in settings.values.items()
            },
            "FilterExpression": settings.filter,
            "IndexName": settings.index,
            "KeyConditionExpression": settings.key_condition,
            "ProjectionExpression": settings.projection,
        }
        request |= {name: value for name, value in optional.items() if value}
        if settings.key_condition is not None:
            return await self._called(self._client.query(**request))
        if settings.segments > 1:
            request |= {"Segment": segment, "TotalSegments": settings.segments}
        return await self._called(self._client.scan(**request))

    async def _pace(self) -> None:
        """Wait for as long as what has been consumed asks for."""
        owed, self._owed = self._owed, 0.0
        try:
            if owed > 0:
                await self._sleep(owed)
        except BaseException:
            self._owed = owed
            raise

    async def _called(self, call: Awaitable[Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await call
        except ClientError as error:
            raise self._answer(error) from error
        except BotoCoreError as error:
            if self.is_closed:
                raise StorageClosedError(self.name) from error
            raise StorageUnavailableError(
                f"{self.name} cannot be reached: {type(error).__name__}.",
                storage=self.name,
                hint="Look at the region, the endpoint and the network.",
            ) from error

    def _answer(self, error: Any) -> Exception:
        told = error.response.get("Error", {})
        code, message = told.get("Code", ""), told.get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "ResourceNotFoundException":
            return TableNotFoundError(self.name)
        if code in _DENIED:
            return AccessDeniedError(self.name, code)
        if code in _THROTTLED:
            hint = "Set capacity_per_second below what the table has, or fewer segments."
            return ThrottledError(f"{self.name} is busy: {code}.", storage=self.name, hint=hint)
        if status >= 500:
            hint = "Try again later."
            return StorageUnavailableError(
                f"{self.name} fails: {code}.", storage=self.name, hint=hint
            )
        return ConnectionSettingsError(
            f"{self.name} refuses the request: {code} {message:.300}",
            hint="Look at key_condition, filter, projection, names and values.",
        )


class DynamoDBItemReader(StoreItemReader[DynamoDBSettings, _Round]):
    """Reads the items of a table as plain dictionaries; it works on asyncio alone.

    Numbers come as `int` or `Decimal`, sets as `set`, bytes as `bytes`.

    Args:
        settings: What each reading's configuration is merged over.
        sleep: Waits for as many seconds as it is given; for pacing.
    """

    name: ClassVar[str] = "dynamodb"
    Settings = DynamoDBSettings

    def __init__(
        self,
        settings: DynamoDBSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        super().__init__(settings)
        self._sleep = sleep
        self._sessions: dict[tuple[str | None, Secret | None, Secret | None], Any] = {}

    def _source(self, settings: DynamoDBSettings) -> _TableSource:
        return _TableSource(settings, self._sleep, self._session_for)

    def _session_for(self, settings: DynamoDBSettings) -> Any:
        """Return a session, which is kept: what it reads of a service takes its time."""
        from aiobotocore.credentials import AioCredentials
        from aiobotocore.session import AioSession

        who = settings.profile, settings.secret_access_key, settings.session_token
        session = self._sessions.get(who)
        if session is None:
            session = self._sessions[who] = AioSession(profile=settings.profile)
            if settings.access_key_id is not None and settings.secret_access_key is not None:
                token = settings.session_token and settings.session_token.reveal()
                session._credentials = AioCredentials(
                    settings.access_key_id.reveal(), settings.secret_access_key.reveal(), token
                )
        return session


def _need_asyncio() -> None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop of asyncio runs
        task = None
    if task is None:
        raise EventLoopError("aiobotocore")


def _typed(value: Any) -> dict[str, Any]:
    """Return a plain value as the service writes it."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": str(value)}
        case float() if math.isfinite(value):
            return {"N": repr(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": {name: _typed(each) for name, each in value.items()}}
        case Sequence():
            return {"L": [_typed(each) for each in value]}
    raise ConnectionSettingsError(
        f"{value!r:.100} is no value of an expression.",
        hint="Use text, numbers, bytes, booleans, lists and tables.",
    )


def _plain_item(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Mapping[str, Any]) -> Any:
    """Return what the service wrote as a plain value."""
    ((kind, held),) = value.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return _number(held)
        case "M":
            return _plain_item(held)
        case "L":
            return [_plain(each) for each in held]
        case "NS":
            return {_number(each) for each in held}
        case "SS" | "BS":
            return set(held)
    return held


def _number(text: str) -> int | Decimal:
    return int(text) if text.lstrip("-").isdigit() else Decimal(text)


def _packed(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key of an item as JSON."""
    return {
        name: {
            kind: base64.b64encode(held).decode() if kind == "B" else held
            for kind, held in value.items()
        }
        for name, value in key.items()
    }


def _unpacked(key: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            kind: base64.b64decode(held) if kind == "B" else held for kind, held in value.items()
        }
        for name, value in key.items()
    }
