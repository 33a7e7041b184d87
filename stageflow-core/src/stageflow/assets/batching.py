"""Batching: which items of a scatter are worked on together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs

from stageflow.codec import Codec
from stageflow.contracts.scatter_keys import ScatterKey

__all__ = ("Batching", "Former", "OnItemError")

OnItemError = Literal["fail_batch", "collect_errors"]
"""Whether an item that fails takes the others of its batch with it."""


@attrs.frozen(kw_only=True)
class Batching:
    """How items are put together; the function is called with a list of them.

    A batch ends when one of the bounds is reached. Batches may reach over pages of the reader;
    never are more items held back than a page has.

    Attributes:
        max_items: How many items a batch may have.
        max_bytes: How much they may come to; an item that is larger is a batch of its own.
        size: Gives the size of an item, in bytes; as the codec writes it unless given.
        group_by: Gives of an item the group it belongs to, something that can be a key of a
            dictionary; a batch has items of one group.
        split: Puts the items of one page together: is given a list, returns lists. Instead of
            all of the above.
        shared: What the function is given as its parameter `shared`, the same for all batches:
            a value, or a function whose parameters name assets like those of the items.
        on_item_error: Whether an item that fails takes the others of its batch with it.
    """

    max_items: int | None = None
    max_bytes: int | None = None
    size: Callable[[Any], int] | None = None
    group_by: Callable[[Any], Any] | None = None
    split: Callable[[list[Any]], Iterable[Sequence[Any]]] | None = None
    shared: Any = None
    on_item_error: OnItemError = "fail_batch"

    def wrong(self) -> Iterator[tuple[str, Any, str]]:
        """Yield each option with a value that it cannot have, and what it must be."""
        for name in ("max_items", "max_bytes"):
            value: Any = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                yield f"batch.{name}", value, "a whole number above 0"
        bounds = (self.max_items, self.max_bytes, self.group_by, self.size)
        if self.split is not None and any(each is not None for each in bounds):
            yield "batch.split", self.split, "given without bounds, sizes and groups"
        if self.split is None and self.max_items is None and self.max_bytes is None:
            yield "batch", self, "bounded: by max_items, or by max_bytes, or by split"
        if self.size is not None and self.max_bytes is None:
            yield "batch.size", self.size, "given together with max_bytes"
        if self.on_item_error not in {"fail_batch", "collect_errors"}:
            yield "batch.on_item_error", self.on_item_error, "'fail_batch' or 'collect_errors'"


@attrs.define
class _Open:
    """A batch that may yet grow."""

    keys: list[ScatterKey] = attrs.field(factory=list)
    size: int = 0


class Former:
    """Forms batches of the items of one scatter, as they come.

    Args:
        batching: How.
        most_held: How many items may wait for their batch to fill.
    """

    def __init__(self, batching: Batching, most_held: int) -> None:
        self._batching = batching
        self._most_held = most_held
        self._open: dict[Any, _Open] = {}
        self._held = 0

    def add(self, page: Sequence[ScatterKey]) -> list[list[ScatterKey]]:
        """Return the batches that these items complete."""
        if self._batching.split is not None:
            return self._split(page, self._batching.split)
        full: list[list[ScatterKey]] = []
        for key in page:
            self._put(key, full)
        while self._held > self._most_held:
            largest = max(self._open, key=lambda group: len(self._open[group].keys))
            full.append(self._close(largest))
        return full

    def rest(self) -> list[list[ScatterKey]]:
        """Return the batches that are not full, for no more items come."""
        return [self._close(group) for group in list(self._open)]

    def _put(self, key: ScatterKey, full: list[list[ScatterKey]]) -> None:
        rules = self._batching
        group = None if rules.group_by is None else rules.group_by(key.value)
        batch = self._open.setdefault(group, _Open())
        size = 0
        if rules.max_bytes is not None:
            size = len(key.payload) if rules.size is None else rules.size(key.value)
            if batch.keys and batch.size + size > rules.max_bytes:
                full.append(self._close(group))
                batch = self._open.setdefault(group, _Open())
        batch.keys.append(key)
        batch.size += size
        self._held += 1
        is_full = rules.max_items is not None and len(batch.keys) >= rules.max_items
        if is_full or (rules.max_bytes is not None and batch.size >= rules.max_bytes):
            full.append(self._close(group))

    def _close(self, group: Any) -> list[ScatterKey]:
        keys = self._open.pop(group).keys
        self._held -= len(keys)
        return keys

    def _split(
        self, page: Sequence[ScatterKey], split: Callable[[list[Any]], Iterable[Sequence[Any]]]
    ) -> list[list[ScatterKey]]:
        left = dict.fromkeys(page)
        batches = []
        for given in split([key.value for key in page]):
            keys = [ScatterKey.of(item, Codec.default()) for item in given]
            # What is no item of the page, or was one of an earlier batch, is nobody's item.
            batch = [key for key in keys if key in left]
            for key in batch:
                left.pop(key, None)
            if batch:
                batches.append(batch)
        # An item that was left out is still to be worked on.
        return [*batches, list(left)] if left else batches
