"""Extensions: typed parts of a snapshot that only the application knows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import attrs

from stageflow.context.values import SnapshotFormatError, frozen_dict, plain
from stageflow.errors import DefinitionError

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = (
    "ExtensionBundle",
    "ExtensionRegistrationError",
    "ExtensionRegistry",
    "ExtensionTypes",
    "UnknownExtension",
    "get_extension_registry",
    "read_extensions",
    "register_extension",
    "set_extension_registry",
    "write_extensions",
)


@runtime_checkable
class Extension(Protocol):
    """What an extension's type must offer; `ExtensionBundle` offers it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the extension as plain data."""
        ...

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the extension that `to_dict` wrote."""
        ...


ExtensionTypes = type[Extension]


@attrs.frozen
class ExtensionBundle:
    """Base of an application's own, typed part of a snapshot.

    Derive from it with `@attrs.frozen` or `@dataclass(frozen=True)` and declare fields; ids,
    times, enums, nested classes and collections of these are written and read back by their
    annotations.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return dict(_converter().unstructure(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the extension that `to_dict` wrote; fields it does not know are ignored.

        Raises:
            SnapshotFormatError: If a field is missing or cannot be read.
        """
        from cattrs import transform_error

        try:
            return _converter().structure(plain(dict(data)), cls)
        except Exception as fault:
            problems = "; ".join(transform_error(fault, path=""))
            raise SnapshotFormatError("", f"is no {cls.__name__}: {problems}") from fault


@attrs.frozen
class UnknownExtension(ExtensionBundle):
    """An extension whose type nobody registered, kept so that it is not lost.

    Attributes:
        name: The name its type was registered under where it was written.
        data: What it was written as; read-only.
    """

    name: str
    data: dict[str, Any] = attrs.field(factory=dict, converter=frozen_dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the data as it was read."""
        return dict(plain(self.data))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return an extension without a name that holds *data*."""
        return cls("", dict(data))


class ExtensionRegistrationError(DefinitionError):
    """A type was registered as an extension that cannot be one, or under a name that is taken.

    Attributes:
        name: The name it was to have.
    """

    code = "SF331"

    def __init__(self, message: str, *, name: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.name = name


class ExtensionRegistry:
    """The extension types of an application, by the names that snapshots write."""

    __slots__ = ("_types",)

    def __init__(self) -> None:
        self._types: dict[str, ExtensionTypes] = {}

    def register(self, name: str, type: ExtensionTypes, *, replace: bool = False) -> None:
        """Read extensions called *name* as *type* from now on.

        Args:
            name: What snapshots call it; never change it once snapshots are stored.
            type: A subclass of `ExtensionBundle`, or any class with its two methods.
            replace: Whether *type* may take a name that another type has.

        Raises:
            ExtensionRegistrationError: If the name is taken, or *type* lacks the two methods.
        """
        if not (callable(getattr(type, "to_dict", None)) and hasattr(type, "from_dict")):
            raise ExtensionRegistrationError(
                f"{type!r} cannot be the extension {name!r}: it lacks to_dict or from_dict.",
                name=name,
                hint="Derive it from ExtensionBundle.",
            )
        known = self._types.setdefault(name, type)
        if known is type:
            return
        if not replace:
            raise ExtensionRegistrationError(
                f"The extension {name!r} is {known.__qualname__} already, "
                f"so it cannot be {type.__qualname__}.",
                name=name,
                hint="Choose another name, or pass replace=True.",
            )
        self._types[name] = type

    def get(self, name: str) -> ExtensionTypes | None:
        """Return the type registered as *name*, or None."""
        return self._types.get(name)

    def name_of(self, type: type[Any]) -> str:
        """Return the name *type* is registered under; that of the class if it is not."""
        return next((n for n, known in self._types.items() if known is type), type.__name__)


_registry = ExtensionRegistry()


def get_extension_registry() -> ExtensionRegistry:
    """Return the registry that snapshots consult."""
    return _registry


def set_extension_registry(registry: ExtensionRegistry) -> ExtensionRegistry:
    """Have snapshots consult *registry*; return the one they consulted before."""
    global _registry
    previous, _registry = _registry, registry
    return previous


def register_extension(name: str, type: ExtensionTypes, *, replace: bool = False) -> None:
    """Read extensions called *name* as *type* wherever a snapshot is read.

    Raises:
        ExtensionRegistrationError: If the name is taken, or *type* cannot be an extension.
    """
    _registry.register(name, type, replace=replace)


def write_extensions(extensions: Any) -> dict[str, Any] | None:
    """Return the extensions of a snapshot as plain data, or None if there are none.

    An extension is written as its type's name and its data; a mapping as a mapping of these.
    """
    if extensions is None:
        return None
    if isinstance(extensions, Mapping):
        return {name: _written(value) for name, value in extensions.items()}
    return _tagged(extensions)


def read_extensions(data: Any, types: ExtensionTypes | Mapping[str, ExtensionTypes] | None) -> Any:
    """Return the extensions that `write_extensions` wrote.

    Args:
        data: What it wrote; or extensions by name, as bare data; or the bare data of one.
        types: The type of the one extension, or types by name; they go before registered ones.

    Raises:
        SnapshotFormatError: If an extension of a known type cannot be read.
    """
    if not isinstance(data, Mapping):
        raise SnapshotFormatError("", f"is not a mapping but {type(data).__name__}")
    if isinstance(types, type):
        return types.from_dict(data["data"] if _is_tagged(data) else data)
    known = types or {}
    if _is_tagged(data):
        return _read_tagged(data, known)
    found: dict[str, Any] = {}
    for name, value in data.items():
        try:
            found[name] = _read_named(name, value, known)
        except SnapshotFormatError as fault:
            raise fault.under(str(name)) from fault
    return found


def _written(value: Any) -> Any:
    return plain(value) if not isinstance(value, Extension) else _tagged(value)


def _tagged(extension: Extension) -> dict[str, Any]:
    if isinstance(extension, UnknownExtension):
        name = extension.name
    else:
        name = _registry.name_of(type(extension))
    return {"type": name, "data": extension.to_dict()}


def _is_tagged(data: Any) -> bool:
    return (
        isinstance(data, Mapping)
        and data.keys() == {"type", "data"}
        and isinstance(data["type"], str)
        and isinstance(data["data"], Mapping)
    )


def _read_tagged(data: Mapping[str, Any], types: Mapping[str, ExtensionTypes]) -> Extension:
    name = data["type"]
    found = types.get(name) or _registry.get(name)
    return UnknownExtension(name, data["data"]) if found is None else found.from_dict(data["data"])


def _read_named(name: str, value: Any, types: Mapping[str, ExtensionTypes]) -> Any:
    if _is_tagged(value):
        return _read_tagged(value, types)
    found = types.get(name) or _registry.get(name)
    return value if found is None or not isinstance(value, Mapping) else found.from_dict(value)


@cache
def _converter() -> Converter:
    """Return the one converter for extension data, made when the first is written or read."""
    from datetime import timedelta
    from decimal import Decimal
    from uuid import UUID

    from cattrs.preconf.json import make_converter

    converter = make_converter()
    for text_type in (UUID, Decimal):
        converter.register_unstructure_hook(text_type, str)
        converter.register_structure_hook(text_type, lambda value, kind: kind(value))
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    return converter
