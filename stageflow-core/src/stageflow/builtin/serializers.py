"""Core's serialisers: JSON for what the codec knows, text, and bytes as they are."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from stageflow.codec import Codec, CodecError, UnencodableValueError
from stageflow.contracts.io_manager import refuse_options
from stageflow.contracts.serializer import (
    MalformedDataError,
    SerializerCapabilities,
    UnserializableValueError,
)

__all__ = ("BytesSerializer", "JsonSerializer", "TextSerializer")

# Kinds that the codec always knows; instances of any other are tried.
_KNOWN: Final = (
    *(dict, list, tuple, set, frozenset, str, bytes, int, float, type(None)),
    *(date, time, timedelta, Decimal, PurePath, UUID),
)


class JsonSerializer:
    """JSON in UTF-8, with the types of all values, as the codec writes it.

    Args:
        codec: What values are encoded with; the default one unless given.
    """

    name: Final = "json"
    media_type: Final = "application/json"
    suffix: Final = ".json"
    capabilities: Final = SerializerCapabilities()

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._codec = codec

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""
        if type(value) in _KNOWN or isinstance(value, (dict, list)):
            return True
        try:
            self._used.encode(value)
        except UnencodableValueError as error:
            # Of a class that is known, with something in it that is not: encoding tells what.
            return bool(error.path)
        except CodecError:
            return True
        return True

    def encode(self, value: Any, /, **opts: Any) -> bytes:
        """See `Serializer.encode`."""
        refuse_options(self, opts)
        try:
            return self._used.encode(value)
        except CodecError as error:
            raise UnserializableValueError(
                type(value), error.message, serializer=self.name, hint=error.hint
            ) from error

    def decode(self, data: bytes, /, **opts: Any) -> Any:
        """See `Serializer.decode`."""
        refuse_options(self, opts)
        try:
            return self._used.decode(data)
        except CodecError as error:
            raise MalformedDataError(
                error.message.removesuffix("."), serializer=self.name, hint=error.hint
            ) from error

    @property
    def _used(self) -> Codec:
        return self._codec or Codec.default()


class TextSerializer:
    """A `str` as UTF-8, without anything around it."""

    name: Final = "text"
    media_type: Final = "text/plain"
    suffix: Final = ".txt"
    capabilities: Final = SerializerCapabilities()

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`; half a surrogate pair is no text."""
        if type(value) is not str:
            return False
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True

    def encode(self, value: Any, /, **opts: Any) -> bytes:
        """See `Serializer.encode`."""
        refuse_options(self, opts)
        if type(value) is not str:
            hint = "It carries str alone; choose the serialiser 'json', or none."
            raise UnserializableValueError(type(value), serializer=self.name, hint=hint)
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            reason = f"at {error.start} it holds half a surrogate pair."
            hint = "Choose the serialiser 'json', which keeps such text."
            raise UnserializableValueError(str, reason, serializer=self.name, hint=hint) from None

    def decode(self, data: bytes, /, **opts: Any) -> str:
        """See `Serializer.decode`."""
        refuse_options(self, opts)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise MalformedDataError(
                f"byte {error.start} is not UTF-8", serializer=self.name
            ) from None


class BytesSerializer:
    """`bytes` as they are."""

    name: Final = "bytes"
    media_type: Final = "application/octet-stream"
    suffix: Final = ".bin"
    capabilities: Final = SerializerCapabilities()

    def accepts(self, value: Any, /) -> bool:
        """See `Serializer.accepts`."""
        return type(value) is bytes

    def encode(self, value: Any, /, **opts: Any) -> bytes:
        """See `Serializer.encode`."""
        refuse_options(self, opts)
        if type(value) is not bytes:
            hint = "Give it bytes, such as `bytes(value)`, or choose no serialiser."
            raise UnserializableValueError(type(value), serializer=self.name, hint=hint)
        return value

    def decode(self, data: bytes, /, **opts: Any) -> bytes:
        """See `Serializer.decode`."""
        refuse_options(self, opts)
        return bytes(data)
