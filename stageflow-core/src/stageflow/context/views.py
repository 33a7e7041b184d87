"""Read-only views of what a stage gave, so that no reader changes what another reader sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn, Self, cast

from stageflow.errors import RunError

__all__ = ("SNAPSHOT", "OutputMutationError", "ReadOnlyDict", "ReadOnlyList", "read_only")

SNAPSHOT: Final = "context snapshot"
"""Stands for a stage where it is the snapshot of a run that nobody may change."""


class OutputMutationError(RunError, TypeError):
    """Somebody tried to change the output of a stage.

    Attributes:
        stage: The stage whose output it is; `SNAPSHOT` if it is the run's snapshot.
        operation: The method that was called.
    """

    code = "SF310"

    def __init__(self, stage: str, operation: str) -> None:
        super().__init__(
            f"{operation}() would change {_owned(stage)}, which {_sharers(stage)} shares.",
            hint="Work on a copy: copy.deepcopy(value) gives a plain one.",
        )
        self.stage = stage
        self.operation = operation


def _owned(stage: str) -> str:
    return f"the {SNAPSHOT}" if stage == SNAPSHOT else f"the output of stage {stage!r}"


def _sharers(stage: str) -> str:
    return "every stage" if stage == SNAPSHOT else "every dependant"


def _refuse(operation: str) -> Any:
    def method(self: ReadOnlyDict | ReadOnlyList, *_: Any, **__: Any) -> NoReturn:
        raise OutputMutationError(self._stage, operation)

    method.__name__ = operation
    method.__doc__ = "Always raise `OutputMutationError`."
    return method


class ReadOnlyDict(dict[Any, Any]):
    """A dictionary, equal to the one it was made from, that cannot be changed at any depth."""

    __slots__ = ("_stage",)
    _stage: str

    __setitem__ = _refuse("__setitem__")
    __delitem__ = _refuse("__delitem__")
    __ior__ = _refuse("__ior__")
    clear = _refuse("clear")
    pop = _refuse("pop")
    popitem = _refuse("popitem")
    setdefault = _refuse("setdefault")
    update = _refuse("update")
    # It gives a plain one: a view shows what somebody gave.
    fromkeys = staticmethod(dict.fromkeys)  # type: ignore[assignment]

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        return cast("dict[Any, Any]", _plain(self, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class ReadOnlyList(list[Any]):
    """A list, equal to the one it was made from, that cannot be changed at any depth."""

    __slots__ = ("_stage",)
    _stage: str

    __setitem__ = _refuse("__setitem__")
    __delitem__ = _refuse("__delitem__")
    __iadd__ = _refuse("__iadd__")
    __imul__ = _refuse("__imul__")
    append = _refuse("append")
    clear = _refuse("clear")
    extend = _refuse("extend")
    insert = _refuse("insert")
    pop = _refuse("pop")
    remove = _refuse("remove")
    reverse = _refuse("reverse")
    sort = _refuse("sort")

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return cast("list[Any]", _plain(self, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def copy(self) -> Self:
        """Return a plain list of the same items."""
        return cast("Self", list(self))


_SCALARS = frozenset({str, int, float, bool, bytes, type(None), ReadOnlyDict, ReadOnlyList})


def read_only(value: Any, stage: str) -> Any:
    """Return *value* as something equal whose dictionaries and lists no reader can change.

    Other mutable objects are handed on as they are: a stage that shares one shares it knowingly.

    Args:
        value: What a stage gave.
        stage: The stage, or `SNAPSHOT`, named when somebody tries to change the view.

    Raises:
        RunError: If *value* is nested too deeply to be walked, or contains itself.
    """
    try:
        return _view(value, stage)
    except RecursionError:
        what = _owned(stage)
        raise RunError(
            f"{what[0].upper()}{what[1:]} is nested too deeply to be shared, or contains itself.",
            hint="Give flatter data, or put the structure into an object of your own.",
        ) from None


def _view(value: Any, stage: str) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, Mapping) and isinstance(value, dict):
        view = ReadOnlyDict()
        fill = dict.__setitem__
        for key, item in value.items():
            fill(view, key, item if type(item) in _SCALARS else _view(item, stage))
        view._stage = stage
        return view
    if isinstance(value, list):
        listed = ReadOnlyList(
            [item if type(item) in _SCALARS else _view(item, stage) for item in value]
        )
        listed._stage = stage
        return listed
    if isinstance(value, tuple):
        items = [_view(item, stage) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        make = getattr(kind, "_make", None)
        return tuple(items) if make is None else make(items)
    if isinstance(value, set):
        return frozenset(value)
    return value


def _plain(value: Any, memo: dict[int, Any]) -> Any:
    from copy import deepcopy

    if isinstance(value, dict):
        return {key: deepcopy(item, memo) for key, item in value.items()}
    return [deepcopy(item, memo) for item in value]
