"""What the values around a run share: times, ids, read-only collections, how each is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from stageflow.context.views import SNAPSHOT, ReadOnlyDict, ReadOnlyList, read_only
from stageflow.errors import RunError

__all__ = (
    "SnapshotFormatError",
    "as_mapping",
    "as_sequence",
    "frozen_dict",
    "frozen_list",
    "now",
    "parse_id",
    "parse_time",
    "plain",
    "read_part",
    "read_parts",
    "text_of_id",
    "text_of_time",
    "utc",
    "utc_now",
)

T = TypeVar("T")

_NO_ENTRIES: dict[Any, Any] = read_only({}, SNAPSHOT)
_NO_ITEMS: list[Any] = read_only([], SNAPSHOT)


class SnapshotFormatError(RunError, ValueError):
    """Something that was written down about a run cannot be read back.

    Attributes:
        path: Where in the data the fault is.
        problem: What is wrong there.
    """

    code = "SF330"

    def __init__(self, path: str, problem: str, *, hint: str = "") -> None:
        super().__init__(
            f"{path or 'The data'} {problem}.",
            hint=hint or "Give what `to_dict` returned, or mend the stored data.",
        )
        self.path = path
        self.problem = problem

    def under(self, parent: str) -> SnapshotFormatError:
        """Return the same fault as seen from *parent*, which holds the faulty part."""
        path = f"{parent}.{self.path}" if self.path else parent
        return SnapshotFormatError(path, self.problem, hint=self.hint)


def utc_now() -> datetime:
    """Return the current time in UTC; the one place where values around a run take it from."""
    return datetime.now(UTC)


def now() -> datetime:
    """Return what `utc_now` returns."""
    # A default keeps this function; `utc_now` is looked up at each call, so a test can replace it.
    return utc_now()


def utc(value: datetime) -> datetime:
    """Return *value* in UTC; one without a time zone is taken to be in UTC already."""
    zone = value.tzinfo
    if zone is UTC:
        return value
    return value.replace(tzinfo=UTC) if zone is None else value.astimezone(UTC)


def text_of_time(value: datetime | None) -> str | None:
    """Return *value* in ISO format with the offset `+00:00`."""
    return None if value is None else utc(value).isoformat()


def parse_time(value: Any, path: str) -> datetime | None:
    """Return the UTC time that *value* says, in ISO format with an offset or `Z`.

    Raises:
        SnapshotFormatError: If it does not say one.
    """
    if value is None or isinstance(value, datetime):
        return None if value is None else utc(value)
    try:
        return utc(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        raise SnapshotFormatError(path, f"is not a time in ISO format: {_shown(value)}") from None


def text_of_id(value: object | None) -> str | None:
    """Return an id as text, None as None."""
    return None if value is None else str(value)


def parse_id(value: Any, path: str) -> UUID | None:
    """Return the UUID that *value* is or says.

    Raises:
        SnapshotFormatError: If it is not one.
    """
    if value is None or isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise SnapshotFormatError(path, f"is not a UUID: {_shown(value)}") from None


def frozen_dict(value: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Return a copy of *value* that cannot be changed at any depth; None is empty."""
    if not value:
        return _NO_ENTRIES
    if type(value) is ReadOnlyDict:
        return value
    return cast("dict[Any, Any]", read_only(dict(value), SNAPSHOT))


def frozen_list(value: Iterable[Any] | None) -> list[Any]:
    """Return a copy of *value* that cannot be changed at any depth; None is empty."""
    if not value:
        return _NO_ITEMS
    if type(value) is ReadOnlyList:
        return value
    return cast("list[Any]", read_only(list(value), SNAPSHOT))


def plain(value: Any) -> Any:
    """Return a copy of *value* in which every dictionary and list is a plain one."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def as_mapping(value: Any, path: str = "") -> Mapping[str, Any]:
    """Return *value*, or an empty mapping for None.

    Raises:
        SnapshotFormatError: If it is anything but a mapping.
    """
    if value is None:
        return _NO_ENTRIES
    if not isinstance(value, Mapping):
        raise SnapshotFormatError(path, f"is not a mapping but {type(value).__name__}")
    return value


def as_sequence(value: Any, path: str) -> list[Any] | tuple[Any, ...]:
    """Return *value*, or an empty sequence for None.

    Raises:
        SnapshotFormatError: If it is anything but a list or a tuple.
    """
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise SnapshotFormatError(path, f"is not a list but {type(value).__name__}")
    return value


def read_part(path: str, read: Callable[[Any], T], value: Any) -> T | None:
    """Return what *read* makes of the part at *path*; None of None.

    Raises:
        SnapshotFormatError: If *read* raises it; the fault's path then begins with *path*.
    """
    if value is None:
        return None
    try:
        return read(value)
    except SnapshotFormatError as fault:
        raise fault.under(path) from fault


def read_parts(path: str, read: Callable[[Any], T], values: Any) -> list[T]:
    """Return what *read* makes of each item of the list at *path*; nothing of None.

    Raises:
        SnapshotFormatError: If there is no list, or *read* raises it.
    """
    parts: list[T] = []
    for index, value in enumerate(as_sequence(values, path)):
        try:
            parts.append(read(value))
        except SnapshotFormatError as fault:
            raise fault.under(f"{path}[{index}]") from fault
    return parts


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
