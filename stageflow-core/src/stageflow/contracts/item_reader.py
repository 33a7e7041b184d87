"""ItemReader: where the items of a scatter come from, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from stageflow.contracts.contract import Contract
from stageflow.errors import RunError

__all__ = (
    "CONTRACT",
    "BadRowError",
    "CheckpointError",
    "CheckpointedReading",
    "ClosableReading",
    "CountedReading",
    "ItemReader",
    "ItemReaderCapabilities",
    "ItemReaderError",
    "ReadPage",
    "check_page_size",
)

CONTRACT: Final = Contract("item_reader", "1.0")


@attrs.frozen(kw_only=True)
class ItemReaderCapabilities:
    """What an item reader can do beyond `init` and `read`.

    Attributes:
        count: It is a `CountedReading`.
        checkpoint: It is a `CheckpointedReading`.
        close: It is a `ClosableReading`.
    """

    count: bool = False
    checkpoint: bool = False
    close: bool = False

    @classmethod
    def of(cls, reader: object) -> ItemReaderCapabilities:
        """Return what *reader* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(reader, "capabilities", None)
        return declared if isinstance(declared, ItemReaderCapabilities) else cls()


@attrs.frozen
class ReadPage:
    """What one `read` gives.

    Attributes:
        items: The items, in order; there may be none.
        state: What the next `read` is given; None if there are no more items.
        skipped: How many rows were passed over for this page, because they were bad.
    """

    items: Sequence[Any]
    state: Any | None = None
    skipped: int = attrs.field(default=0, kw_only=True)


class ItemReaderError(RunError):
    """Items cannot be read.

    Attributes:
        source: What they are read from, such as a path; empty if that is not known.
    """

    code = "SF442"

    def __init__(self, message: str, *, source: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.source = source


class BadRowError(ItemReaderError):
    """A row of the source is not what it should be.

    Attributes:
        line: The number of its (first) line, counted from 1.
        reason: What is wrong with it.
    """

    code = "SF443"

    def __init__(self, source: str, line: int, reason: str) -> None:
        super().__init__(
            f"{source}, line {line}: {reason}.",
            source=source,
            hint='Mend the row, or have bad rows passed over and counted: on_error = "skip".',
        )
        self.line = line
        self.reason = reason


class CheckpointError(ItemReaderError):
    """A checkpoint does not belong to what is read, or to the reader."""

    code = "SF444"

    def __init__(self, reason: str, *, source: str) -> None:
        super().__init__(
            f"{source} cannot be read on from the checkpoint: {reason}.",
            source=source,
            hint="Restore from a checkpoint of the same source as it was, or begin anew.",
        )
        self.reason = reason


def check_page_size(n: object) -> None:
    """Return if *n* items can be asked for.

    Raises:
        ItemReaderError: It is no whole number above zero.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ItemReaderError(
            f"{n!r:.50} items cannot be read at once.", hint="Ask for one item or more."
        )


@runtime_checkable
class ItemReader(Protocol):
    """Reads items from somewhere outside, page by page, in an order that stays the same.

    The reader itself keeps nothing about a reading: that is in the state, which only the
    reader looks into. Only the newest state is read from. Every method may suspend and be
    cancelled.

    IR-1  Each item is given once, in the same order whatever the sizes of the pages are.
    IR-2  A page has no more items than were asked for.
    IR-3  The state of a page is None if and only if no items are left; that may become known
      only with an empty page.
    IR-4  Asking for less than one item raises `ItemReaderError`.
    IR-5  An item is a value that the codec can store.
    IR-6  A configuration that is wrong raises a `StageflowError` at `init`.
    IR-7  Two readings are apart from each other, also at the same time.
    IR-8  After a cancelled or failed `read`, the state that it was given is as it was.
    IR-15  What it declares as `capabilities` is what it can do beyond this.
    """

    async def init(self, config: Mapping[str, Any], deps: Mapping[str, Any]) -> Any:
        """Begin a reading and return its state, which is never None.

        A cancelled call leaves nothing open.

        Args:
            config: Settings of this reading; they win over the reader's own.
            deps: The outputs of what the scatter depends on, by name.

        Raises:
            StageflowError: *config* is wrong, or what is to be read cannot be opened.
        """
        ...

    async def read(self, state: Any, n: int) -> ReadPage:
        """Return the next items, *n* at most, and the state after them.

        Raises:
            ItemReaderError: *n* is below one, or a row is bad.
            StageflowError: What is read from fails.
        """
        ...


class CountedReading(Protocol):
    """The capability `count`: may know how many items there are.

    IR-9  [count] A count that is given is the number of all items, read or not; None stands
      for unknown. Counting changes nothing.
    """

    async def count(self, state: Any) -> int | None:
        """Return the number of all items, or None if it is not known.

        Idempotent.
        """
        ...


class CheckpointedReading(Protocol):
    """The capability `checkpoint`: a reading can go on in another process.

    IR-10  [checkpoint] A checkpoint is JSON, also after more has been read.
    IR-11  [checkpoint] Restored from a checkpoint, a new reading gives exactly the items that
      had not been given, with pages of any size.
    IR-12  [checkpoint] What is no checkpoint of this source raises `CheckpointError`.
    """

    def checkpoint(self, state: Any) -> dict[str, Any]:
        """Return where the reading stands, as JSON-able data.

        Never suspends. Idempotent; changes nothing.
        """
        ...

    async def restore(self, state: Any, checkpoint: Mapping[str, Any]) -> Any:
        """Return a state from which reading goes on where *checkpoint* was taken.

        Args:
            state: The state of a new reading of the same source, used up by this.
            checkpoint: What `checkpoint` returned, in any process.

        Raises:
            CheckpointError: It does not belong to this source.
        """
        ...


class ClosableReading(Protocol):
    """The capability `close`: a reading holds something open.

    IR-13  [close] A reading may be closed at any time, and again.
    IR-14  [close] Reading on after that raises `StorageClosedError`.
    """

    async def close(self, state: Any) -> None:
        """Close what the reading holds open; any of its states will do.

        Idempotent. Closes it also when it is cancelled.
        """
        ...
