"""Codec: which types can be stored, how large and deep values may be, and the format itself.

A payload is JSON in UTF-8: `{"stageflow": 1, "plain": value}` if JSON knows everything in the
value, or `{"stageflow": 1, "tagged": value}` if some of it had to be tagged. Plain values, the
most common by far, are written and read by the standard library at its own speed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar, final, overload

import attrs

from stageflow.codec.errors import (
    CodecLimitError,
    MalformedPayloadError,
    UnencodableValueError,
    UnknownTagError,
    UnsupportedFormatError,
)
from stageflow.codec.faults import Faults
from stageflow.codec.rules import rule_for
from stageflow.codec.table import TypeTable
from stageflow.codec.walk import Reader, Writer, is_plain

__all__ = ("Codec", "codec_type", "set_default_codec")

T = TypeVar("T")

FORMAT_VERSION: Final = 1

_VERSION_KEY = "stageflow"
_PLAIN_KEY = "plain"
_TAGGED_KEY = "tagged"
_PREFIX = {
    key: f'{{"{_VERSION_KEY}":{FORMAT_VERSION},"{key}":' for key in (_PLAIN_KEY, _TAGGED_KEY)
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Circles are found before anything is encoded, so the encoder need not look for them again.
_JSON = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)
_FROM_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


@final
@attrs.frozen(kw_only=True, eq=False)
class Codec:
    """Turns values into bytes and back into values equal to them; runs and imports nothing stored.

    It knows what JSON knows, dates and times, UUID, Decimal, bytes, paths, tuples, sets,
    dictionaries with any keys, and the classes that were registered. Subclasses of `dict` and
    `list` are stored as plain ones. Equal values made in the same order give the same bytes.

    Attributes:
        max_bytes: The largest payload it writes or reads.
        max_depth: How deep a value may be nested.
    """

    max_bytes: int = attrs.field(default=32 * 2**20, validator=attrs.validators.gt(0))
    max_depth: int = attrs.field(default=128, validator=attrs.validators.gt(0))
    _types: TypeTable = attrs.field(factory=TypeTable, repr=False)

    @staticmethod
    def default() -> Codec:
        """Return the codec that is used where none was given; `set_default_codec` replaces it."""
        return _default

    def with_limits(self, *, max_bytes: int | None = None, max_depth: int | None = None) -> Codec:
        """Return a codec with other limits that knows the same classes, now and later."""
        return attrs.evolve(
            self, max_bytes=max_bytes or self.max_bytes, max_depth=max_depth or self.max_depth
        )

    def register(
        self,
        cls: type[T],
        *,
        name: str | None = None,
        encode: Callable[[T], Any] | None = None,
        decode: Callable[[Any], T] | None = None,
        replace: bool = False,
    ) -> type[T]:
        """Store instances of exactly *cls* from now on, and read them back as such.

        attrs classes, dataclasses, named tuples, enums and pydantic models need no functions:
        their fields are stored, and reading calls the class with them, so its validators run.
        Enum members are stored by name. Private attributes of a pydantic model are not stored.

        Args:
            cls: The class; subclasses of it are registered on their own.
            name: What it is called in stored data, the same for ever; the class's name if
                not given.
            encode: Gives a simpler value: anything else that the codec can store.
            decode: Gives the instance for that value.
            replace: Whether an earlier registration of the class or the name may go.

        Returns:
            The class, so that this can decorate it.

        Raises:
            CodecRegistrationError: If the name is taken, the class is registered already, or
                it needs functions.
        """
        tag = name or cls.__name__
        known = self._types.by_type.get(cls)
        if known is not None and known.tag == tag and encode is None and decode is None:
            return cls
        self._types.add(rule_for(cls, tag, encode, decode), replace=replace)
        return cls

    def encode(self, value: Any, *, where: str = "") -> bytes:
        """Return *value* as bytes that `decode` turns into an equal value.

        Args:
            value: What to store.
            where: What to call the value in errors, such as `data`.

        Raises:
            UnencodableValueError: If a part of it is of an unknown type; names every such part.
            CodecLimitError: If it is too large or nested too deeply, or contains itself.
        """
        try:
            payload = self._encode(value)
        except Faults as faults:
            raise self._encode_error(faults, where) from faults.first_cause
        except RecursionError:
            raise self._too_deep("The value is nested too deeply for the stack") from None
        if len(payload) > self.max_bytes:
            raise CodecLimitError(
                f"{where or 'The value'} takes {len(payload)} bytes; "
                f"at most {self.max_bytes} are allowed.",
                limit="max_bytes",
                allowed=self.max_bytes,
                path=where,
            )
        return payload

    def encode_each(self, values: Sequence[Any], *, where: str = "") -> list[bytes]:
        """Return what `encode` makes of each value; many small ones cost less together.

        Raises:
            CodecError: As `encode` does for the first of them that cannot be stored.
        """
        if len(values) > 1 and _writes_long_integers_as_others_read_them():
            try:
                # Asked of all at once, for each of them lies one level deeper so.
                if is_plain(
                    list(values), self._types.by_type, self.max_depth + 1, self.max_bytes // 2
                ):
                    payloads = [_payload(_PLAIN_KEY, value) for value in values]
                    if len(max(payloads, key=len)) <= self.max_bytes:
                        return payloads
            except (Faults, ValueError, RecursionError):
                pass  # Each by itself it may do, and otherwise is told which does not.
        return [self.encode(value, where=where) for value in values]

    def decode(self, data: bytes | str) -> Any:
        """Return the value that `encode` turned into *data*.

        Args:
            data: What `encode` returned; as text also.

        Raises:
            UnknownTagError: If it contains a type that is not registered; names all of them.
            UnsupportedFormatError: If a newer version of Stageflow wrote it.
            MalformedPayloadError: If it is damaged, or a registered type refuses its part.
            CodecLimitError: If it is larger or deeper than allowed.
        """
        if len(data) > self.max_bytes:
            raise CodecLimitError(
                f"The stored data has {len(data)} bytes; at most {self.max_bytes} are allowed.",
                limit="max_bytes",
                allowed=self.max_bytes,
            )
        try:
            key, content = _open_envelope(data)
            return content if key == _PLAIN_KEY else Reader(self._types.by_tag).read(content)
        except Faults as faults:
            raise self._decode_error(faults) from faults.first_cause
        except RecursionError:
            raise self._too_deep("The stored data is nested too deeply for the stack") from None

    def _encode(self, value: Any) -> bytes:
        rules, limits = self._types.by_type, (self.max_depth, self.max_bytes // 2)
        if _writes_long_integers_as_others_read_them():
            try:
                if is_plain(value, rules, *limits):
                    return _payload(_PLAIN_KEY, value)
                return _payload(_TAGGED_KEY, Writer(rules, *limits, thorough=False).write(value))
            except ValueError:
                pass  # Some number is infinite or too long, or some text is not Unicode.
        return _payload(_TAGGED_KEY, Writer(rules, *limits, thorough=True).write(value))

    def _encode_error(self, faults: Faults, where: str) -> Exception:
        for fault in faults.found:
            fault.segments.append(where)
        listed = faults.listed
        last = faults.found[-1]
        if last.kind in ("depth", "size"):
            limit = "max_depth" if last.kind == "depth" else "max_bytes"
            return CodecLimitError(
                f"{last.path or 'The value'} {last.problem}.",
                limit=limit,
                allowed=getattr(self, limit),
                path=last.path,
            )
        names = sorted({fault.name for fault in faults.found if fault.name})
        hint = "Mend the encode function that was registered, or the value."
        if last.kind == "cycle":
            hint = "Break the circle: store a name or an id of the part that comes again."
        elif names:
            calls = ", ".join(f"codec.register({name})" for name in names)
            hint = (
                f"Register it: {calls}, or decorate the class with @codec_type; "
                "or give a value of a type that is known."
            )
        return UnencodableValueError(listed, hint=hint)

    def _decode_error(self, faults: Faults) -> Exception:
        tag = next((fault.name for fault in faults.found if fault.name), None)
        if tag is not None:
            return UnknownTagError(tag, faults.listed, tuple(self._types.by_tag))
        return MalformedPayloadError(
            faults.listed,
            hint="If a class has changed since, register it with a decode= that reads older data.",
        )

    def _too_deep(self, message: str) -> CodecLimitError:
        return CodecLimitError(f"{message}.", limit="max_depth", allowed=self.max_depth)


def _writes_long_integers_as_others_read_them() -> bool:
    # Python refuses integers of too many digits, so that others can read what it wrote.
    return 0 < sys.get_int_max_str_digits() <= sys.int_info.default_max_str_digits


def _text_maker() -> Callable[[Any], str]:
    """Return what makes JSON of a value: the standard library's encoder, made ready once.

    Its own `encode` makes the part that is written in C anew for each value, which costs more
    than encoding a small one. Where there is none, as in other interpreters, it is used as it is.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _JSON.encode
    walk = make(
        None,
        _JSON.default,
        json.encoder.encode_basestring,
        None,
        _JSON.key_separator,
        _JSON.item_separator,
        _JSON.sort_keys,
        _JSON.skipkeys,
        _JSON.allow_nan,
    )
    return lambda value: "".join(walk(value, 0))


_text_of = _text_maker()


def _payload(key: str, content: Any) -> bytes:
    return f"{_PREFIX[key]}{_text_of(content)}}}".encode()


def _open_envelope(data: bytes | str) -> tuple[str, Any]:
    """Return which kind of content a payload has, and the content."""
    try:
        envelope = _FROM_JSON.decode(data if isinstance(data, str) else bytes(data).decode())
    except ValueError as error:
        raise _malformed("is not JSON that a codec wrote") from error
    if not isinstance(envelope, dict) or _VERSION_KEY not in envelope:
        raise _malformed("is not what a codec wrote")
    version = envelope[_VERSION_KEY]
    if version != FORMAT_VERSION:
        raise UnsupportedFormatError(version, FORMAT_VERSION)
    for key in (_PLAIN_KEY, _TAGGED_KEY):
        if key in envelope:
            return key, envelope[key]
    raise _malformed("has no content")


def _malformed(problem: str) -> MalformedPayloadError:
    return MalformedPayloadError((("", problem),))


_default = Codec()


def set_default_codec(codec: Codec) -> Codec:
    """Have *codec* used where none was given; return the one that was used before."""
    global _default
    previous, _default = _default, codec
    return previous


@overload
def codec_type(cls: type[T]) -> type[T]: ...


@overload
def codec_type(
    *,
    name: str | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Callable[[type[T]], type[T]]: ...


def codec_type(cls: Any = None, **options: Any) -> Any:
    """Decorate a class to have the default codec store it; takes the options of `Codec.register`.

    It stands above the decorator that makes the class an attrs class or a dataclass.

    Raises:
        CodecRegistrationError: As `Codec.register` does.
    """
    if cls is None:
        return lambda decorated: Codec.default().register(decorated, **options)
    return Codec.default().register(cls)
