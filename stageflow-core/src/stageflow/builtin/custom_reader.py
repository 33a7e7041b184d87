"""CustomItemReader: items from functions of the user, or from any iterable."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from stageflow.builtin.row_readers import ReaderConfigError
from stageflow.contracts.item_reader import (
    CheckpointError,
    ItemReaderCapabilities,
    ItemReaderError,
    ReadPage,
    check_page_size,
)
from stageflow.contracts.resource import settle
from stageflow.contracts.storage import StorageClosedError

__all__ = ("CustomItemReader", "CustomReaderSettings")

_FUNCTIONS: Final = ("init", "read", "count", "checkpoint", "restore", "close")


@attrs.frozen(kw_only=True)
class CustomReaderSettings:
    """Where the items come from: `items`, or `read` and what it needs.

    Each function may be given as it is, or as a text `module:name`; it may be `async`.

    Attributes:
        items: An iterable or async iterable, or a function that is given the dependencies and
            returns one. It can be restored if it can be had again: by passing over what has
            been read.
        read: Given a state and the number of items, returns the items and the next state, or
            None for a state if there are no more.
        init: Given the configuration and the dependencies, returns the first state; the
            configuration is the first state unless given.
        count: Given a state, returns how many items there are, or None.
        checkpoint: Given a state, returns it as JSON-able data.
        restore: Given the state of a new reading and such data, returns the state to go on with.
        close: Given a state, closes what the reading holds open.
    """

    items: Any = None
    read: Any = None
    init: Any = None
    count: Any = None
    checkpoint: Any = None
    restore: Any = None
    close: Any = None


@attrs.define(eq=False)
class _Reading:
    """What the states of one reading share.

    Attributes:
        source: What the items come from; None for functions.
        deps: What the source was made of.
        iterator: Where they come from now; None if that must be begun anew.
        position: How many items have been given.
        fetched: Items that have come and not been given, since a call was cancelled.
    """

    source: Any = None
    deps: Mapping[str, Any] = attrs.field(factory=dict)
    iterator: Iterator[Any] | AsyncIterator[Any] | None = None
    position: int = 0
    fetched: list[Any] = attrs.field(factory=list)
    is_closed: bool = False


@attrs.frozen
class _State:
    reading: _Reading
    value: Any


class CustomItemReader:
    """Reads items that functions of the user give, or any iterable.

    Plain functions run in worker threads; an iterable is iterated in the event loop, where
    what it belongs to was made. What they raise is raised as it is.

    Args:
        settings: The functions.

    Raises:
        ReaderConfigError: They do not go together.
    """

    Settings = CustomReaderSettings

    def __init__(self, settings: CustomReaderSettings) -> None:
        functions = {name: _imported(getattr(settings, name)) for name in _FUNCTIONS}
        self._functions = {name: found for name, found in functions.items() if found is not None}
        self._items = _imported(settings.items)
        self._is_begun = False
        _check(self._items, self._functions)
        is_again = self._items is not None and not isinstance(
            self._items, (Iterator, AsyncIterator)
        )
        self.capabilities: Final = ItemReaderCapabilities(
            count="count" in self._functions or hasattr(self._items, "__len__"),
            checkpoint="checkpoint" in self._functions or is_again,
            close="close" in self._functions or self._items is not None,
        )

    async def init(self, config: Mapping[str, Any], deps: Mapping[str, Any]) -> _State:
        """See `ItemReader.init`."""
        if self._items is None:
            first = await self._call("init", config, deps) if "init" in self._functions else config
            if first is None:
                raise ItemReaderError(
                    "The function `init` returned no state.", hint="None says that all is read."
                )
            return _State(_Reading(), first)
        if not self.capabilities.checkpoint:
            if self._is_begun:
                raise ItemReaderError(
                    "An iterator can be read once.", hint="Give a function that returns one."
                )
            self._is_begun = True
        source = self._items
        if callable(source):
            source = await settle(source(deps))
        return _State(_Reading(source, deps, _iterator(source)), 0)

    async def read(self, state: _State, n: int) -> ReadPage:
        """See `ItemReader.read`."""
        check_page_size(n)
        if state.reading.is_closed:
            raise StorageClosedError("The reading")
        if self._items is not None:
            return await self._next(state, n)
        page = await self._call("read", state.value, n)
        if not isinstance(page, ReadPage):
            items, value = page
            page = ReadPage(items, value)
        items = list(page.items)
        if len(items) > n:
            raise ItemReaderError(
                f"The function `read` gave {len(items)} items when asked for {n}.",
                hint="Return no more than are asked for; keep the others in the state.",
            )
        following = None if page.state is None else _State(state.reading, page.state)
        return ReadPage(items, following, skipped=page.skipped)

    async def count(self, state: _State) -> int | None:
        """See `CountedReading.count`."""
        if "count" in self._functions:
            counted: int | None = await self._call("count", state.value)
            return counted
        source = state.reading.source
        return len(source) if hasattr(source, "__len__") else None

    def checkpoint(self, state: _State) -> dict[str, Any]:
        """See `CheckpointedReading.checkpoint`."""
        if self._items is not None:
            return {"position": state.value}
        return cast("dict[str, Any]", self._functions["checkpoint"](state.value))

    async def restore(self, state: _State, checkpoint: Mapping[str, Any]) -> _State:
        """See `CheckpointedReading.restore`."""
        if self._items is None:
            value = await self._call("restore", state.value, checkpoint)
            return _State(state.reading, value)
        position = checkpoint.get("position")
        if type(position) is not int or position < 0:
            raise CheckpointError("it holds no position", source="An iterable")
        reading = state.reading
        for _ in range(position - reading.position):
            if await _taken(reading, 1) == []:
                told = f"{position} items had been read, and now there are fewer"
                raise CheckpointError(told, source="An iterable")
            reading.fetched.clear()
            reading.position += 1
        return _State(reading, position)

    async def close(self, state: _State) -> None:
        """See `ClosableReading.close`."""
        reading = state.reading
        if reading.is_closed:
            return
        reading.is_closed = True
        with anyio.CancelScope(shield=True):
            if "close" in self._functions:
                await self._call("close", state.value)
            await _closed(reading)

    async def _next(self, state: _State, n: int) -> ReadPage:
        reading = state.reading
        if reading.iterator is None:
            await self._begin_anew(reading)
        items = await _taken(reading, n)
        reading.fetched = reading.fetched[len(items) :]
        reading.position += len(items)
        is_last = len(items) < n
        return ReadPage(items, None if is_last else _State(reading, reading.position))

    async def _begin_anew(self, reading: _Reading) -> None:
        """Go back to where an iterator was when it was broken off."""
        if not self.capabilities.checkpoint:
            raise ItemReaderError(
                "The iterator was broken off, and cannot be had again.",
                hint="Give a function that returns one.",
            )
        source = await settle(self._items(reading.deps)) if callable(self._items) else self._items
        again = _Reading(source, reading.deps, _iterator(source))
        missing = reading.position + len(reading.fetched)
        while missing and (passed := await _taken(again, min(missing, 1000))):
            missing -= len(passed)
            again.fetched.clear()
        reading.iterator = again.iterator

    async def _call(self, name: str, *arguments: Any) -> Any:
        function = self._functions[name]
        if inspect.iscoroutinefunction(function):
            return await function(*arguments)
        return await settle(await anyio.to_thread.run_sync(function, *arguments))


def _check(items: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
    if (items is None) == ("read" not in functions):
        raise ReaderConfigError(
            "A custom reader reads from `items` or with `read`; it has both or neither.",
            hint="Give an iterable as `items`, or a function as `read`.",
        )
    if items is not None and (others := sorted(functions.keys() - {"count", "close"})):
        raise ReaderConfigError(
            f"{', '.join(others)} would have nothing to do beside `items`.",
            hint="Give `read` instead of `items`.",
        )
    if ("checkpoint" in functions) != ("restore" in functions):
        raise ReaderConfigError(
            "`checkpoint` and `restore` go together.", hint="Give both functions or neither."
        )
    for name, function in functions.items():
        if not callable(function):
            raise ReaderConfigError(
                f"{name} is {type(function).__name__}, not a function.",
                hint="Give a function, or a text module:name.",
            )
    if items is not None and not (callable(items) or isinstance(items, (Iterable, AsyncIterable))):
        raise ReaderConfigError(
            f"items is {type(items).__name__}, nothing to iterate over.",
            hint="Give an iterable, or a function that returns one.",
        )


def _imported(given: Any) -> Any:
    """Return what a text `module:name` stands for; anything else as it is."""
    if not isinstance(given, str):
        return given
    module, separator, name = given.partition(":")
    try:
        if separator:
            return getattr(import_module(module), name)
        reason = "it is not written as module:name"
    except (ImportError, AttributeError) as error:
        reason = str(error)
    raise ReaderConfigError(
        f"{given!r} names no function: {reason}.", hint="Write module:name of what is there."
    )


def _iterator(source: Iterable[Any] | AsyncIterable[Any]) -> Iterator[Any] | AsyncIterator[Any]:
    if isinstance(source, AsyncIterable):
        return aiter(source)
    try:
        return iter(source)
    except TypeError as error:
        raise ItemReaderError(
            f"What gives the items returned {type(source).__name__}, nothing to iterate over.",
            hint="Return a list or another iterable, or yield the items.",
        ) from error


async def _taken(reading: _Reading, n: int) -> list[Any]:
    """Return the next *n* items, or what is left; they stay in `fetched`, whatever happens."""
    iterator, fetched = reading.iterator, reading.fetched
    assert iterator is not None
    await anyio.lowlevel.checkpoint()
    try:
        while len(fetched) < n:
            if isinstance(iterator, AsyncIterator):
                fetched.append(await anext(iterator))
            else:
                fetched.append(next(iterator))
    except (StopIteration, StopAsyncIteration):
        pass
    except BaseException:
        # A generator that something was raised in has ended, and would look exhausted.
        reading.iterator = None
        raise
    return fetched[:n]


async def _closed(reading: _Reading) -> None:
    iterator: Any = reading.iterator
    reading.iterator = None
    if hasattr(iterator, "aclose"):
        await iterator.aclose()
    elif hasattr(iterator, "close"):
        iterator.close()
