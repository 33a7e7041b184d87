"""The kit of serialisers notices each broken clause, and blames no other."""

from __future__ import annotations

import json
import threading
from itertools import count

import pytest

from stageflow.contracts.io_manager import refuse_options
from stageflow.contracts.serializer import (
    MalformedDataError,
    Serializer,
    SerializerCapabilities,
    StreamingSerializer,
    UnserializableValueError,
)
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.serializer import SerializerConformance

pytestmark = pytest.mark.anyio


class Rows:
    """Carries a list of dictionaries, as lines of JSON."""

    name = "rows"
    media_type = "application/x-rows"
    suffix = ".rows"
    capabilities = SerializerCapabilities(streaming=True)

    def accepts(self, value, /):
        return type(value) is list and all(type(row) is dict for row in value)

    def encode(self, value, /, **opts):
        refuse_options(self, opts)
        if not self.accepts(value):
            raise UnserializableValueError(type(value), serializer=self.name)
        return b"".join(json.dumps(row).encode() + b"\n" for row in value)

    def decode(self, data, /, **opts):
        refuse_options(self, opts)
        if data and not data.endswith(b"\n"):
            raise MalformedDataError("its last line has no end", serializer=self.name)
        try:
            return [json.loads(line) for line in data.splitlines()]
        except ValueError as error:
            raise MalformedDataError(str(error), serializer=self.name) from error

    def write(self, value, file, /, **opts):
        file.write(Rows.encode(self, value, **opts))

    def read(self, file, /, **opts):
        file.seek(0)
        return Rows.decode(self, file.read(), **opts)


class Kit(SerializerConformance):
    capabilities = Rows.capabilities
    values = ([{"id": 1}, {"id": 2}], [{"name": "a"}])
    unserializable = (object(), [1], "text")
    malformed = (b"no end", b"no json\n")


class DecodesTwice(Rows):
    """SER-1"""

    def decode(self, data, /, **opts):
        return tuple(super().decode(data, **opts))


class RaisesWhatItLikes(Rows):
    """SER-2"""

    def encode(self, value, /, **opts):
        try:
            return super().encode(value, **opts)
        except UnserializableValueError:
            raise TypeError("no") from None


class SaysNothingOfTheType(Rows):
    """SER-2"""

    def encode(self, value, /, **opts):
        try:
            return super().encode(value, **opts)
        except UnserializableValueError as error:
            error.args = ("It cannot be done.",)
            raise


class LeaksItsParser(Rows):
    """SER-3"""

    def decode(self, data, /, **opts):
        try:
            return super().decode(data, **opts)
        except MalformedDataError as error:
            raise ValueError("no") from error


class AcceptsAll(Rows):
    """SER-4"""

    def accepts(self, value, /):
        return True

    def encode(self, value, /, **opts):
        if not Rows().accepts(value):
            raise UnserializableValueError(type(value), serializer=self.name)
        return super().encode(value, **opts)

    def write(self, value, file, /, **opts):
        file.write(self.encode(value, **opts))


class LooksTooClosely(Rows):
    """SER-4"""

    def accepts(self, value, /):
        return value == [] or super().accepts(value)


class HasAPathForAName(Rows):
    """SER-5"""

    name = "../rows"


class IgnoresOptions(Rows):
    """SER-6"""

    def read(self, file, /, **opts):
        return super().read(file)


class HandsOutItsOwn(Rows):
    """SER-7"""

    def __init__(self):
        self._kept = {}

    def decode(self, data, /, **opts):
        value = super().decode(data, **opts)
        return self._kept.setdefault(data, value)


class KeepsOneBuffer(Rows):
    """SER-8"""

    def __init__(self):
        self._owner = threading.get_ident()

    def encode(self, value, /, **opts):
        data = super().encode(value, **opts)
        return data if threading.get_ident() == self._owner else data.replace(b"1", b"2")


class StreamsAnotherFormat(Rows):
    """SER-9"""

    def write(self, value, file, /, **opts):
        file.write(Rows.encode(self, value, **opts).replace(b"\n", b"\n\n"))


class ClosesTheFile(Rows):
    """SER-10"""

    def read(self, file, /, **opts):
        value = super().read(file, **opts)
        file.close()
        return value


class ReadsFromWhereItStands(Rows):
    """SER-10"""

    def read(self, file, /, **opts):
        refuse_options(self, opts)
        return Rows.decode(self, file.read())


class PromisesTooMuch(Rows):
    """SER-11"""

    capabilities = SerializerCapabilities(streaming=True, options=frozenset({"speed"}))


BROKEN = [
    DecodesTwice,
    RaisesWhatItLikes,
    SaysNothingOfTheType,
    LeaksItsParser,
    AcceptsAll,
    LooksTooClosely,
    HasAPathForAName,
    IgnoresOptions,
    HandsOutItsOwn,
    KeepsOneBuffer,
    StreamsAnotherFormat,
    ClosesTheFile,
    ReadsFromWhereItStands,
    PromisesTooMuch,
]


def test_every_clause_has_a_test_and_a_broken_serializer():
    clauses = clauses_of(Serializer, StreamingSerializer)
    numbers = (f"SER-{number}" for number in count(1))
    assert sorted(clauses) == sorted(next(numbers) for _ in clauses)
    assert Kit.proofs().keys() == clauses.keys()
    assert {broken.__doc__ for broken in BROKEN} == clauses.keys()


async def test_a_good_serializer_fails_nothing():
    assert await failed_clauses(Kit, Rows) == {}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_serializer_fails_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert broken.__doc__ in failures, failures
    # What encodes or decodes wrongly does so under every clause that looks at values.
    assert set(failures) <= {broken.__doc__, "SER-7", "SER-8", "SER-9", "SER-10"}, failures
