"""Pages of outcomes, fetched one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from stageflow.contracts.scatter_coordinator import ScatterOptionError

__all__ = ("Page", "Pages", "check_page_size")

Page: TypeAlias = Sequence[tuple[Any, Any]]
_Fetch: TypeAlias = Callable[[int], Awaitable[tuple[int, Page]]]


class Pages(AsyncIterator[Page]):
    """An iterator that may be left at any page; an async generator would have to be closed.

    Args:
        fetch: Given where to go on, returns where to go on after that, and the page.
    """

    def __init__(self, fetch: _Fetch) -> None:
        self._fetch: Final = fetch
        self._next = 0

    async def __anext__(self) -> Page:
        self._next, page = await self._fetch(self._next)
        if not page:
            raise StopAsyncIteration
        return page


def check_page_size(page_size: int) -> None:
    """Return if a page of this size holds anything.

    Raises:
        ScatterOptionError: It does not.
    """
    if page_size < 1:
        raise ScatterOptionError("page_size", page_size, hint="Give at least 1.")
