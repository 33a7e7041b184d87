"""What can go wrong between a value and its bytes.

No message shows a value, since values may be secret or large: types and paths do.
"""

from __future__ import annotations

from stageflow.errors import DefinitionError, RunError, did_you_mean

__all__ = (
    "CodecError",
    "CodecLimitError",
    "CodecRegistrationError",
    "MalformedPayloadError",
    "UnencodableValueError",
    "UnknownTagError",
    "UnsupportedFormatError",
)

_SHOWN = 5


class CodecError(RunError):
    """A value cannot be turned into bytes, or bytes cannot be turned into a value.

    Attributes:
        path: Where in the value the (first) fault is, such as `items[3].owner`.
    """

    code = "SF410"

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class UnencodableValueError(CodecError, TypeError):
    """A value, or a part of it, is of a type that nobody registered, or refuses to be encoded.

    Attributes:
        faults: Each faulty path with what is wrong there, at most 20.
    """

    code = "SF411"

    def __init__(self, faults: tuple[tuple[str, str], ...], *, hint: str) -> None:
        super().__init__(
            f"The value cannot be stored: {_listed(faults)}.", path=faults[0][0], hint=hint
        )
        self.faults = faults


class UnknownTagError(CodecError, LookupError):
    """Stored data contains values of a type that nobody registered here.

    Attributes:
        tag: The name under which the (first) type was stored.
        faults: Each path with what is wrong there, at most 20.
    """

    code = "SF412"

    def __init__(
        self, tag: str, faults: tuple[tuple[str, str], ...], known: tuple[str, ...]
    ) -> None:
        super().__init__(
            f"The stored data cannot be read: {_listed(faults)}.",
            path=faults[0][0],
            hint=f"Register the class that was stored as {tag!r} before reading: "
            f"codec.register(TheClass, name={tag!r}). {did_you_mean(tag, known)}",
        )
        self.tag = tag
        self.faults = faults


class CodecLimitError(CodecError, ValueError):
    """A value or its bytes are larger or deeper than the codec allows.

    Attributes:
        limit: The limit that was exceeded: `max_bytes` or `max_depth`.
        allowed: Its value.
    """

    code = "SF413"

    def __init__(self, message: str, *, limit: str, allowed: int, path: str = "") -> None:
        super().__init__(
            message,
            path=path,
            hint=f"Keep large data in an IO manager and store a reference to it, or use a codec "
            f"with a higher {limit}.",
        )
        self.limit = limit
        self.allowed = allowed


class MalformedPayloadError(CodecError, ValueError):
    """Bytes are not what a codec wrote, or a type refuses what was stored of it.

    Attributes:
        faults: Each path with what is wrong there, at most 20.
    """

    code = "SF414"

    def __init__(self, faults: tuple[tuple[str, str], ...], *, hint: str = "") -> None:
        super().__init__(
            f"The stored data cannot be read: {_listed(faults)}.",
            path=faults[0][0],
            hint=hint or "It was damaged, or written by something else than a codec.",
        )
        self.faults = faults


class UnsupportedFormatError(CodecError):
    """Bytes were written in a version of the format that this codec does not know.

    Attributes:
        found: The version they say.
        supported: The newest version known here.
    """

    code = "SF415"

    def __init__(self, found: object, supported: int) -> None:
        super().__init__(
            f"The stored data has format version {str(found)[:20]}; "
            f"this Stageflow reads up to {supported}.",
            hint="Read it with the version of Stageflow that wrote it, or a newer one.",
        )
        self.found = found
        self.supported = supported


class CodecRegistrationError(DefinitionError):
    """A class cannot be registered as it is, or its name is taken.

    Attributes:
        cls: The qualified name of the class.
        name: The name it was to be stored under.
    """

    code = "SF416"

    def __init__(self, message: str, *, cls: type, name: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.cls = f"{cls.__module__}.{cls.__qualname__}"
        self.name = name


def _listed(faults: tuple[tuple[str, str], ...]) -> str:
    shown = "; ".join(
        f"{path or 'the value itself'} {problem}" for path, problem in faults[:_SHOWN]
    )
    more = len(faults) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown
