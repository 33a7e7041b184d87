"""Every serialiser of core keeps every clause of the contract."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from stageflow.builtin.serializers import BytesSerializer, JsonSerializer, TextSerializer
from stageflow.contracts.serializer import (
    MalformedDataError,
    SerializerCapabilities,
    UnserializableValueError,
)
from stageflow.testing import SerializerConformance


class TestJsonSerializer(SerializerConformance):
    values = (
        {"rows": [{"id": 1, "on": date(2025, 1, 31)}]},
        ["a", ("b", 2)],
        (1, 2),
        {1, 2},
        None,
        True,
        0.5,
        "naïve \ud800",
        b"\x00\xff",
        Decimal("1.10"),
        datetime(2025, 1, 31, tzinfo=UTC),
    )
    unserializable = (object(), float, 1j)
    malformed = (b"", b"{}", b"[1]", b'{"stageflow":99,"plain":1}', b"\xff")

    @pytest.fixture
    def serializer(self):
        return JsonSerializer()


class TestTextSerializer(SerializerConformance):
    values = ("", "plain", "naïve \U0001f600 \0\r\n")
    unserializable = (object(), b"bytes", 1, "half \ud800")
    malformed = (b"\xff", b"caf\xe9")

    @pytest.fixture
    def serializer(self):
        return TextSerializer()


class TestBytesSerializer(SerializerConformance):
    values = (b"", b"\x00\xff", bytes(range(256)))
    unserializable = (object(), "text", bytearray(b"changing"), memoryview(b"view"))

    @pytest.fixture
    def serializer(self):
        return BytesSerializer()


class LinesSerializer:
    """Carries a list of texts, a line at a time."""

    name = "lines"
    media_type = "text/x-lines"
    suffix = ".lines.txt"
    capabilities = SerializerCapabilities(streaming=True, options=frozenset({"end"}))

    def accepts(self, value: Any, /) -> bool:
        return type(value) is list and all(type(line) is str for line in value)

    def encode(self, value: Any, /, **opts: Any) -> bytes:
        return b"".join(self._lines(value, opts))

    def decode(self, data: bytes, /, **opts: Any) -> Any:
        self._check(opts)
        try:
            return [line.decode("utf-7") for line in self._split(data)]
        except UnicodeDecodeError as error:
            raise MalformedDataError(str(error), serializer=self.name) from error

    def write(self, value: Any, file: Any, /, **opts: Any) -> None:
        for line in self._lines(value, opts):
            file.write(line)

    def read(self, file: Any, /, **opts: Any) -> Any:
        file.seek(0)
        return self.decode(file.read(), **opts)

    def _split(self, data: bytes) -> list[bytes]:
        if data and not data.endswith(b"\n"):
            raise MalformedDataError("the last line has no end", serializer=self.name)
        return data.split(b"\n")[:-1]

    def _lines(self, value: Any, opts: Any) -> list[bytes]:
        self._check(opts)
        if not self.accepts(value):
            raise UnserializableValueError(type(value), serializer=self.name)
        return [line.encode("utf-7") + b"\n" for line in value]

    def _check(self, opts: Any) -> None:
        from stageflow.contracts.io_manager import refuse_options

        refuse_options(self, opts, ("end",))


class TestLinesSerializer(SerializerConformance):
    capabilities = SerializerCapabilities(streaming=True, options=frozenset({"end"}))
    values = ([], ["one"], ["", "naïve", "three"])
    unserializable = (object(), [1], "text")
    malformed = (b"no end", b"\xff\n")

    @pytest.fixture
    def serializer(self):
        return LinesSerializer()
