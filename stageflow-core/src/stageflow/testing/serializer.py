"""The kit of the contract `serializer`: subclass it, give it one and values."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from stageflow.contracts.io_manager import UnknownOptionError
from stageflow.contracts.serializer import (
    MalformedDataError,
    Serializer,
    SerializerCapabilities,
    StreamingSerializer,
    UnserializableValueError,
)
from stageflow.testing.conformance import ConformanceKit, raising, same_value

__all__ = ("SerializerConformance",)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*")
_SUFFIX = re.compile(r"(\.[a-z0-9]+)+")


class _Unknown:
    """Of a type that no serialiser carries."""


class _Hostile:
    """Answers every question about itself with an exception."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"it does not want to be asked for {name}")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("it does not want to be compared")

    __hash__ = None  # type: ignore[assignment]


class _Pipe(io.RawIOBase):
    """A file that only takes what comes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])


class SerializerConformance(ConformanceKit):
    """Tests every clause of `Serializer` and of the capabilities that are declared.

    Attributes:
        values: Values that it carries, at least one.
        unserializable: Values that it does not.
        malformed: Bytes that it never wrote and must refuse; none if all bytes are some value.
    """

    contracts = (Serializer, StreamingSerializer)
    capabilities: ClassVar[SerializerCapabilities] = SerializerCapabilities()
    closable: ClassVar[bool] = False
    values: ClassVar[Sequence[Any]] = ()
    unserializable: ClassVar[Sequence[Any]] = (_Unknown(),)
    malformed: ClassVar[Sequence[bytes]] = ()

    @pytest.fixture
    def serializer(self) -> Any:
        """Give a serialiser; every author overrides this."""
        raise NotImplementedError("override the fixture `serializer`: return a Serializer")

    def same(self, left: Any, right: Any) -> bool:
        """Return whether two values are equal; override it where `==` does not say so."""
        return same_value(left, right)

    def change(self, value: Any) -> bool:
        """Change *value* in place and return True; or return False, if it cannot be changed."""
        if isinstance(value, dict):
            value["changed"] = True
        elif isinstance(value, list):
            value.append("changed")
        else:
            return False
        return True

    def test_it_has_the_shape_of_its_contract(self, serializer: Any) -> None:
        self.check_shape(serializer)

    def test_ser1_what_was_encoded_is_decoded(self, serializer: Any) -> None:
        assert self.values, "give the kit values that the serialiser carries"
        for value in self.values:
            data = serializer.encode(value)
            assert type(data) is bytes, f"{value!r} was encoded as {type(data).__name__}"
            found = serializer.decode(data)
            assert self.same(found, value), f"encoded {value!r}, decoded {found!r}"

    def test_ser2_what_it_cannot_carry_raises(self, serializer: Any) -> None:
        for value in self.unserializable:
            error = None
            with raising(UnserializableValueError, f"encoding {type(value).__qualname__}"):
                try:
                    serializer.encode(value)
                except UnserializableValueError as raised:
                    error = raised
                    raise
            assert error is not None
            assert type(value).__qualname__ in error.message, f"no type is named: {error}"
            assert error.hint, f"nothing is said about what to do: {error}"

    def test_ser3_other_bytes_raise(self, serializer: Any) -> None:
        for data in self.malformed:
            with raising(MalformedDataError, f"decoding {data!r}"):
                serializer.decode(data)
        for value in self.values:
            data = serializer.encode(value)
            for damaged in (b"", data[:-1], data[: len(data) // 2], b"\0" + data):
                try:
                    serializer.decode(damaged)
                except MalformedDataError:
                    continue
                except Exception as exc:
                    raise AssertionError(f"decoding {damaged[:80]!r} raised {exc!r}") from exc

    def test_ser4_accepts_answers_for_every_value(self, serializer: Any) -> None:
        for value in self.values:
            assert serializer.accepts(value) is True, f"{value!r} is not accepted"
        for value in (_Unknown(), _Hostile(), _Unknown, object(), iter(())):
            try:
                answer = serializer.accepts(value)
            except Exception as exc:
                raise AssertionError(f"accepts raised {exc!r}") from exc
            assert answer is False, f"{type(value).__name__} is accepted: {answer!r}"

    def test_ser5_its_facts_are_well_formed(self, serializer: Any) -> None:
        facts = (
            (_NAME, serializer.name),
            (_MEDIA_TYPE, serializer.media_type),
            (_SUFFIX, serializer.suffix),
        )
        for pattern, fact in facts:
            assert isinstance(fact, str), f"{fact!r} is no text"
            assert pattern.fullmatch(fact), f"{fact!r} does not look like {pattern.pattern}"

    def test_ser6_an_unknown_option_raises(self, serializer: Any) -> None:
        value = self.values[0]
        data = serializer.encode(value)
        calls: list[Callable[[], object]] = [
            lambda: serializer.encode(value, no_such_option=1),
            lambda: serializer.decode(data, no_such_option=1),
        ]
        if self.capabilities.streaming:
            calls += [
                lambda: serializer.write(value, io.BytesIO(), no_such_option=1),
                lambda: serializer.read(io.BytesIO(data), no_such_option=1),
            ]
        for call in calls:
            with raising(UnknownOptionError, "an option that nobody has"):
                call()

    def test_ser7_values_are_nobody_elses(self, serializer: Any) -> None:
        for value in self.values:
            data = serializer.encode(value)
            first = serializer.decode(data)
            assert self.same(first, value), f"encoding has made {value!r} of {first!r}"
            if self.change(first):
                again = serializer.decode(serializer.encode(value))
                assert self.same(again, value), f"it hands out what it keeps: {again!r}"
                found = serializer.decode(data)
                assert not self.same(found, first), f"two calls handed out one object: {found!r}"

    def test_ser8_several_threads_may_use_it(self, serializer: Any) -> None:
        def round_trip(value: Any) -> Any:
            return serializer.decode(serializer.encode(value))

        values = [value for value in self.values for _ in range(8)]
        with ThreadPoolExecutor(4) as threads:
            for value, found in zip(values, threads.map(round_trip, values), strict=True):
                assert self.same(found, value), f"at once with others {value!r} became {found!r}"

    def test_ser9_files_and_bytes_are_the_same(self, serializer: Any) -> None:
        self.needs("streaming")
        for value in self.values:
            pipe = _Pipe()
            serializer.write(value, pipe)
            written = b"".join(pipe.parts)
            for found in (
                serializer.decode(written),
                serializer.read(io.BytesIO(written)),
                serializer.read(io.BytesIO(serializer.encode(value))),
            ):
                assert self.same(found, value), f"wrote {value!r}, read {found!r}"
        for data in self.malformed:
            with raising(MalformedDataError, f"reading {data!r}"):
                serializer.read(io.BytesIO(data))
        for value in self.unserializable:
            with raising(UnserializableValueError, f"writing {type(value).__qualname__}"):
                serializer.write(value, _Pipe())

    def test_ser10_files_are_left_open(self, serializer: Any) -> None:
        self.needs("streaming")
        for value in self.values:
            file = io.BytesIO()
            file.write(b"before")
            serializer.write(value, file)
            assert not file.closed, "the file was closed after writing"
            whole = file.getvalue()
            assert whole[:6] == b"before", "what stood in the file is gone"
            source = io.BytesIO(whole[6:])
            source.read(3)
            found = serializer.read(source)
            assert not source.closed, "the file was closed after reading"
            source.close()
            assert self.same(found, value), f"wrote {value!r}, read {found!r}"

    def test_ser11_capabilities_are_declared_as_they_are(self, serializer: Any) -> None:
        declared = SerializerCapabilities.of(serializer)
        assert declared == self.capabilities, f"the serialiser declares {declared}"
