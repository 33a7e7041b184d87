"""A keeper of values chooses a serialiser by type or by name, and imports no more than it must."""

from __future__ import annotations

import io

import attrs
import pytest

from stageflow.builtin.serializers import BytesSerializer, JsonSerializer, TextSerializer
from stageflow.codec import Codec
from stageflow.contracts.io_manager import UnknownOptionError
from stageflow.contracts.serializer import (
    SerializerCapabilities,
    Serializers,
    UnknownSerializerError,
    UnserializableValueError,
    read_value,
    write_value,
)
from stageflow.errors import ConfigurationError
from stageflow.plugins import installed_serializers


class Table:
    """What a library of tables would have."""


class TableSerializer:
    name = "table"
    media_type = "application/x-table"
    suffix = ".table"
    capabilities = SerializerCapabilities(streaming=True, options=frozenset({"columns"}))

    def accepts(self, value, /):
        return isinstance(value, Table)

    def encode(self, value, /, **opts):
        return b"table"

    def decode(self, data, /, **opts):
        return Table()

    def write(self, value, file, /, **opts):
        file.write(b"stream")

    def read(self, file, /, **opts):
        return file.read() == b"stream"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"", "bytes"),
        ("", "text"),
        ("half \ud800", "json"),
        (bytearray(b"x"), None),
        ({}, "json"),
        ([Table()], "json"),
        (None, "json"),
        (True, "json"),
        (1, "json"),
        (Table, None),
        (iter(()), None),
    ],
)
def test_the_type_of_a_value_chooses(value: object, name: str | None):
    installed = installed_serializers()
    if name is None:
        with pytest.raises(UnserializableValueError, match="install a distribution"):
            installed.choose(value)
    else:
        assert installed.choose(value).name == name


def test_a_name_chooses_before_the_type():
    installed = installed_serializers()
    assert installed.choose("text", "json").name == "json"
    with pytest.raises(UnserializableValueError, match=r"builtins\.str"):
        installed.choose("text", "bytes").encode("text")


def test_a_name_that_is_not_there_tells_what_is():
    with pytest.raises(UnknownSerializerError, match="Did you mean 'json'"):
        installed_serializers().choose({}, "jsn")
    told = Serializers({}, install=lambda name: f"acme-{name}")
    with pytest.raises(UnknownSerializerError, match="Install acme-table"):
        told.named("table")


def test_only_a_value_that_core_does_not_know_makes_a_plugin_load():
    made = []

    def make() -> TableSerializer:
        made.append("table")
        return TableSerializer()

    choice = Serializers({"json": JsonSerializer, "table": make})
    assert choice.names == ("json", "table")
    assert choice.choose({"a": 1}).name == "json"
    assert made == []
    assert choice.choose(Table()).name == "table"
    assert choice.named("table") is choice.choose(Table())
    assert made == ["table"]


def test_a_broken_plugin_stops_nobody_who_does_not_need_it():
    def broken() -> JsonSerializer:
        raise ConfigurationError("It has no settings.")

    choice = Serializers({"bytes": BytesSerializer, "broken": broken, "table": TableSerializer})
    assert choice.choose(Table()).name == "table"
    with pytest.raises(UnserializableValueError, match="'broken' cannot be used: It has no"):
        choice.choose(1)
    with pytest.raises(ConfigurationError, match="no settings"):
        choice.named("broken")


def test_a_registered_class_is_for_json_and_a_fault_inside_it_is_told():
    @attrs.frozen
    class Place:
        name: str
        inner: object = None

    codec = Codec()
    choice = Serializers.of(JsonSerializer(codec=codec))
    with pytest.raises(UnserializableValueError, match="Place"):
        choice.choose(Place("a"))
    codec.register(Place)
    assert choice.choose(Place("a")).name == "json"
    with pytest.raises(UnserializableValueError, match=r"inner.*Register it") as caught:
        choice.choose(Place("a", Table())).encode(Place("a", Table()))
    assert caught.value.value_type.endswith("Place")


def test_options_are_the_managers_or_some_serialisers():
    choice = Serializers.of(TextSerializer(), TableSerializer())
    opts = {"serializer": "table", "columns": ["a"]}
    assert choice.split(self, opts, ("serializer",)) == (
        {"serializer": "table"},
        {"columns": ["a"]},
    )
    with pytest.raises(UnknownOptionError, match="Did you mean 'columns'"):
        choice.split(self, {"colums": []}, ("serializer",))


self = object()


def test_a_serialiser_streams_if_it_can():
    file = io.BytesIO()
    write_value(TableSerializer(), Table(), file)
    assert file.getvalue() == b"stream"
    file.seek(0)
    assert read_value(TableSerializer(), file) is True
    file = io.BytesIO()
    write_value(TextSerializer(), "text", file)
    file.seek(0)
    assert read_value(TextSerializer(), file) == "text"
