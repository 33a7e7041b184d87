"""Serializer: one kind of value as bytes, for whoever keeps values; and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Final, Protocol, Self, final, runtime_checkable

import attrs

from stageflow.contracts.contract import Contract
from stageflow.contracts.io_manager import UnknownOptionError
from stageflow.errors import ConfigurationError, RunError, StageflowError, did_you_mean

__all__ = (
    "CONTRACT",
    "MalformedDataError",
    "Serializer",
    "SerializerCapabilities",
    "SerializerError",
    "Serializers",
    "StreamingSerializer",
    "UnknownSerializerError",
    "UnserializableValueError",
    "read_value",
    "write_value",
)

CONTRACT: Final = Contract("serializer", "1.0")


@attrs.frozen(kw_only=True)
class SerializerCapabilities:
    """What a serialiser can do beyond the contract's three methods.

    Attributes:
        streaming: It is a `StreamingSerializer`.
        options: The names of the options that it takes; each is an option of every call, and
            one that means nothing to a call is passed over by it.
    """

    streaming: bool = False
    options: frozenset[str] = frozenset()

    @classmethod
    def of(cls, serializer: object) -> SerializerCapabilities:
        """Return what *serializer* declares as `capabilities`; nothing if it declares none."""
        declared = getattr(serializer, "capabilities", None)
        return declared if isinstance(declared, SerializerCapabilities) else cls()


class SerializerError(RunError):
    """A value cannot be turned into bytes, or bytes cannot be turned into a value.

    Attributes:
        serializer: The name of the serialiser; empty if none could be chosen.
    """

    code = "SF433"

    def __init__(self, message: str, *, serializer: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.serializer = serializer


class UnserializableValueError(SerializerError, TypeError):
    """A value is of a kind that the serialiser, or every one there is, cannot carry.

    Attributes:
        value_type: The qualified name of the value's class.
    """

    code = "SF434"

    def __init__(
        self, value_type: type, reason: str = "", *, serializer: str = "", hint: str = ""
    ) -> None:
        self.value_type = f"{value_type.__module__}.{value_type.__qualname__}"
        who = f"The serialiser {serializer!r} cannot" if serializer else "No serialiser here can"
        told = f"{who} carry a value of {self.value_type}"
        super().__init__(
            f"{told}: {reason}" if reason else f"{told}.",
            serializer=serializer,
            hint=hint
            or f"Register the class with the codec, codec.register({value_type.__name__}), choose "
            "another serialiser, or install a distribution that has one for it.",
        )


class MalformedDataError(SerializerError, ValueError):
    """Bytes are not what the serialiser wrote."""

    code = "SF435"

    def __init__(self, reason: str, *, serializer: str, hint: str = "") -> None:
        super().__init__(
            f"The stored data is not what the serialiser {serializer!r} wrote: {reason}.",
            serializer=serializer,
            hint=hint or "It was damaged, or written by something else.",
        )


class UnknownSerializerError(ConfigurationError):
    """There is no serialiser of that name.

    Attributes:
        name: The name.
    """

    code = "SF436"

    def __init__(self, name: str, known: Iterable[str] = (), *, install: str | None = None) -> None:
        hint = f"Install {install}." if install else did_you_mean(name, known)
        super().__init__(f"There is no serialiser {name!r}.", hint=hint)
        self.name = name


@runtime_checkable
class Serializer(Protocol):
    """Turns values of some kinds into bytes, and back into values equal to them.

    Its name is kept beside each stored value, so that the same one reads it again. No method
    suspends; whoever calls one for a large value does so in a worker thread.

    SER-1  What was encoded is decoded: equal, and of the same types throughout.
    SER-2  A value that it cannot carry raises `UnserializableValueError`, which names the
      value's type and has a hint what to do.
    SER-3  Bytes that it did not write raise `MalformedDataError`, or are some value.
    SER-4  `accepts` answers for every value, never raises and changes nothing; what it
      accepts is of a kind that it carries.
    SER-5  `name` is kebab-case, `media_type` is a type and a subtype, and `suffix` a dot and
      lower-case letters, digits or further dots.
    SER-6  An option that it does not have raises `UnknownOptionError`.
    SER-7  Encoding does not change the value, and what is decoded is nobody else's.
    SER-8  It may be used from several threads at once.
    SER-11  What it declares as `capabilities` is what it can do beyond this.
    """

    @property
    def name(self) -> str:
        """What it is called, and kept as beside each value; the same for ever."""
        ...

    @property
    def media_type(self) -> str:
        """The media type of what it writes, such as `application/json`."""
        ...

    @property
    def suffix(self) -> str:
        """What the names of files that it writes end with, such as `.json`."""
        ...

    def accepts(self, value: Any, /) -> bool:
        """Return whether the value is of a kind that it carries, looking at it briefly.

        Imports nothing for it: a value can only be there if its library is.
        """
        ...

    def encode(self, value: Any, /, **opts: Any) -> bytes:
        """Return *value* as bytes.

        Raises:
            UnserializableValueError: It, or a part of it, cannot be carried.
            UnknownOptionError: The serialiser does not have such an option.
        """
        ...

    def decode(self, data: bytes, /, **opts: Any) -> Any:
        """Return the value whose bytes are *data*.

        Raises:
            MalformedDataError: It did not write them.
            UnknownOptionError: The serialiser does not have such an option.
        """
        ...


class StreamingSerializer(Protocol):
    """The capability `streaming`: writes to a file and reads from one, piece by piece.

    A file is a binary file object. To be written it has `write` alone, and need not tell
    where it is or go back; to be read it has `read`, `seek` and `tell`.

    SER-9  [streaming] What was written to a file is what `encode` makes: either is read by
      `read` and by `decode`.
    SER-10  [streaming] A file is written from where it stands, read from its beginning, and
      left open; a value once read needs it no more.
    """

    def write(self, value: Any, file: BinaryIO, /, **opts: Any) -> None:
        """Write *value* to *file*, holding no more of it in memory than a part at a time.

        What is in the file after an error is nothing to be read.

        Raises:
            UnserializableValueError: It, or a part of it, cannot be carried.
            UnknownOptionError: The serialiser does not have such an option.
        """
        ...

    def read(self, file: BinaryIO, /, **opts: Any) -> Any:
        """Return the value that *file* holds.

        Raises:
            MalformedDataError: It did not write that.
            UnknownOptionError: The serialiser does not have such an option.
        """
        ...


def write_value(serializer: Serializer, value: Any, file: BinaryIO, /, **opts: Any) -> None:
    """Write *value* to *file*: in parts if the serialiser can, else in one.

    Raises:
        SerializerError: As `Serializer.encode` does.
    """
    if SerializerCapabilities.of(serializer).streaming:
        writer: Any = serializer
        writer.write(value, file, **opts)
    else:
        file.write(serializer.encode(value, **opts))


def read_value(serializer: Serializer, file: BinaryIO, /, **opts: Any) -> Any:
    """Return the value that *file* holds, read in parts if the serialiser can.

    Raises:
        SerializerError: As `Serializer.decode` does.
    """
    if SerializerCapabilities.of(serializer).streaming:
        reader: Any = serializer
        return reader.read(file, **opts)
    return serializer.decode(file.read(), **opts)


@final
class Serializers:
    """The serialisers that a keeper of values chooses from: by the value's type, or by name.

    Args:
        offers: By name, each a function that makes one when it is needed. For a value that
            comes without a name they are asked in this order, and the first that accepts it
            is taken.
        install: Tells what to install for a name that is not there.
    """

    def __init__(
        self,
        offers: Mapping[str, Callable[[], Serializer]],
        *,
        install: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._offers = dict(offers)
        self._install = install
        self._made: dict[str, Serializer] = {}

    @classmethod
    def of(cls, *serializers: Serializer) -> Self:
        """Return a choice among *serializers*, to be asked in this order."""
        made = cls({})
        made._offers = {each.name: lambda each=each: each for each in serializers}  # type: ignore[misc]
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order in which they are asked."""
        return tuple(self._offers)

    def named(self, name: str) -> Serializer:
        """Return the serialiser of that name.

        Raises:
            UnknownSerializerError: There is none.
            StageflowError: It cannot be made.
        """
        made = self._made.get(name)
        if made is None:
            if name not in self._offers:
                raise UnknownSerializerError(name, self._offers, install=self._install(name))
            made = self._made.setdefault(name, self._offers[name]())
        return made

    def choose(self, value: Any, name: str | None = None) -> Serializer:
        """Return the serialiser for *value*: the one of that name, else the first that accepts it.

        One that cannot be made is passed over, and told of if no other accepts the value.

        Raises:
            UnserializableValueError: None accepts it.
            UnknownSerializerError: There is none of that name.
        """
        if name is not None:
            return self.named(name)
        broken = []
        for each in self._offers:
            try:
                serializer = self.named(each)
            except StageflowError as error:
                broken.append(f"{each!r} cannot be used: {error.message}")
                continue
            if serializer.accepts(value):
                return serializer
        raise UnserializableValueError(type(value), " ".join(broken))

    def split(
        self, manager: object, opts: Mapping[str, Any], known: Iterable[str] = ()
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the options of a manager, and those of its serialisers.

        Args:
            manager: Who was given the options; for the error.
            opts: The options.
            known: The names that the manager has itself.

        Raises:
            UnknownOptionError: Neither the manager nor any serialiser has such an option.
        """
        own = {name: opts[name] for name in opts if name in known}
        rest = {name: value for name, value in opts.items() if name not in own}
        if rest:
            theirs = self._options()
            if unknown := [name for name in rest if name not in theirs]:
                raise UnknownOptionError(type(manager).__name__, unknown, [*known, *theirs])
        return own, rest

    def _options(self) -> frozenset[str]:
        found: set[str] = set()
        for each in self._offers:
            try:
                found |= SerializerCapabilities.of(self.named(each)).options
            except StageflowError:
                continue  # what it would take cannot be known; using it says why
        return frozenset(found)
