"""What cannot be stored or read is refused with its path and with what to do."""

from __future__ import annotations

import enum
import json
import sys
from copy import copy
from dataclasses import dataclass
from pickle import dumps, loads

import attrs
import pytest

from stageflow.codec import (
    Codec,
    CodecError,
    CodecLimitError,
    MalformedPayloadError,
    UnencodableValueError,
    UnknownTagError,
    UnsupportedFormatError,
)
from stageflow.errors import RunError
from support.values import Account, Node, Point, user_codec


class Owner:
    """A class that nobody registers."""


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    FAST = "fast"


def refused(value, codec=None, **options):
    with pytest.raises(UnencodableValueError) as caught:
        (codec or Codec()).encode(value, **options)
    return caught.value


def test_an_unknown_type_is_named_with_its_path_and_what_to_register():
    error = refused({"data": {"items": [1, 2, 3, {"owner": Owner()}]}})
    assert error.path == "data.items[3].owner"
    assert "data.items[3].owner" in str(error)
    assert f"{__name__}.Owner" in error.message
    assert "codec.register(Owner)" in error.hint
    assert isinstance(error, RunError)


def test_the_caller_says_what_the_value_is_called():
    assert refused([Owner()], where="data").path == "data[0]"
    assert refused({"items": [Owner()]}, where="data").path == "data.items[0]"
    assert "the value itself" in refused(Owner()).message


def test_all_unknown_types_are_named_at_once():
    error = refused({"a": Owner(), "b": [1, Level.LOW], "c": {Mode.FAST: 1}, "d": (Owner(),)})
    assert [path for path, _ in error.faults] == ["a", "b[1]", "c{key}", "d[0]"]
    for name in ("Owner", "Level", "Mode"):
        assert f"codec.register({name})" in error.hint


def test_a_thousand_faults_give_a_short_message():
    error = refused([Owner() for _ in range(1000)])
    assert len(error.faults) == 20
    assert len(str(error)) < 1500


def test_a_long_path_is_shortened_in_the_middle():
    value = Owner()
    for _ in range(60):
        value = {"a_rather_long_key": value}
    error = refused(value)
    assert len(error.path) < 250
    assert "..." in error.path


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a b": Owner()}, "['a b']"),
        ({1: [Owner()]}, "[1][0]"),
        ({(1, 2): Owner()}, "[tuple]"),
        ({Owner: 1}, "{key}"),
        ({frozenset({1}), (Owner,)}, "{item}[0]"),
        (Account(Node("x", [Owner()])), "owner.children[0]"),
        (Point(1, Owner()), "y"),
    ],
)
def test_paths_are_written_as_python_would(value, path):
    assert refused(value, user_codec()).path == path


@pytest.mark.parametrize("member", [Level.LOW, Mode.FAST])
def test_a_member_of_an_unregistered_enum_is_not_stored_as_its_number_or_text(member):
    assert refused({"m": member}).path == "m"
    assert refused({member: 1}).path == "{key}"


def test_a_subclass_of_a_registered_class_is_not_stored_as_its_base():
    @attrs.frozen
    class Special(Account):
        more: int = 1

    assert "Special" in refused([Special("x")], user_codec()).message


def test_messages_never_show_values():
    class Secret:
        def __repr__(self):
            return "hunter2"

    def leak(_):
        raise ValueError("hunter2")

    codec = Codec()
    codec.register(Owner, encode=leak, decode=leak)
    for value in ({"a": Secret()}, {"a": Owner()}, {Secret(): 1, "b": {Secret(): Secret()}}):
        assert "hunter2" not in str(refused(value, codec))
    codec.register(Owner, encode=lambda _: "hunter2", decode=leak, replace=True)
    with pytest.raises(MalformedPayloadError) as caught:
        codec.decode(codec.encode([Owner()]))
    assert "hunter2" not in str(caught.value)


def test_an_encode_function_that_raises_is_reported_with_path_and_cause():
    def broken(_):
        raise KeyError("boom")

    codec = Codec()
    codec.register(Owner, encode=broken, decode=broken)
    error = refused({"a": [Owner()]}, codec)
    assert error.path == "a[0]"
    assert "KeyError" in error.message
    assert isinstance(error.__cause__, KeyError)


def test_an_encode_function_that_gives_the_same_type_again_is_refused():
    codec = Codec()
    codec.register(Owner, encode=lambda value: value, decode=lambda value: value)
    assert "gives a Owner again" in refused([Owner()], codec).message


def test_a_circle_is_refused_with_its_path():
    value = {"items": [1]}
    value["items"].append({"back": value})
    error = refused(value)
    assert error.path == "items[1].back"
    assert "contains itself" in error.message
    assert "circle" in error.hint


def test_a_circle_with_many_branches_is_refused_before_it_fills_the_memory():
    value = []
    value.extend([value, value, value])
    with pytest.raises(CodecLimitError, match="contains itself"):
        Codec(max_bytes=10_000).encode(value)


def test_a_circle_of_objects_is_refused():
    node = Node("a")
    node.children.append(node)
    with pytest.raises(CodecError):
        user_codec().encode(node)
    node.label = node
    node.children = []
    with pytest.raises(CodecLimitError):
        user_codec().encode(node)


def test_an_unknown_tag_is_named_with_its_path_and_what_to_register():
    payload = user_codec().encode({"orders": [{"by": Account("x")}]})
    with pytest.raises(UnknownTagError) as caught:
        Codec().decode(payload)
    error = caught.value
    assert error.tag == "Account"
    assert error.path == "orders[0].by"
    assert "'Account'" in error.message
    assert "codec.register(TheClass, name='Account')" in error.hint


def test_all_unknown_tags_are_named_at_once():
    payload = user_codec().encode([Account(Point(1)), {"b": Node("x")}])
    with pytest.raises(UnknownTagError) as caught:
        Codec().decode(payload)
    assert {path: problem.split("'")[1] for path, problem in caught.value.faults} == {
        "[0]": "Account",
        "[0].owner": "Point",
        "[1].b": "Node",
    }


def test_a_misspelt_tag_gets_the_near_name():
    codec = user_codec()
    payload = codec.encode(Account("x")).replace(b'"Account"', b'"Acount"')
    with pytest.raises(UnknownTagError, match="Did you mean 'Account'"):
        codec.decode(payload)


def test_nothing_is_imported_and_nothing_run_because_of_stored_data(monkeypatch):
    class NoImports:
        def find_spec(self, name, path=None, target=None):
            raise AssertionError(f"imported {name}")

    for tag in ("os:system", "os.path.join", "builtins.eval", "antigravity", "__main__:Codec"):
        payload = json.dumps({"stageflow": 1, "tagged": {"$type": tag, "$value": "1"}})
        before = set(sys.modules)
        monkeypatch.setattr(sys, "meta_path", [NoImports(), *sys.meta_path])
        with pytest.raises(UnknownTagError):
            Codec().decode(payload)
        assert set(sys.modules) == before


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\x80\x04K\x01.",
        b'{"stageflow":1}',
        b'{"stageflow":1,"plain":NaN}',
        b'{"stageflow":1,"plain":1}trailing',
        b'{"stageflow":1,"plain":"cut',
        b'{"stageflow":1,"tagged":{"$type":"uuid"}}',
        b'{"stageflow":1,"tagged":{"$type":"uuid","$value":"x"}}',
        b'{"stageflow":1,"tagged":{"$type":["x"],"$value":"x"}}',
        b'{"stageflow":1,"tagged":{"$type":"uuid","$value":"x","more":1}}',
        b'{"stageflow":1,"tagged":{"$type":"dict","$value":[[1]]}}',
        b'{"stageflow":1,"tagged":{"$type":"dict","$value":7}}',
        b'{"stageflow":1,"tagged":{"$type":"dict","$value":[[[1],2]]}}',
        b'{"stageflow":1,"tagged":{"$type":"set","$value":[[1]]}}',
        b'{"stageflow":1,"tagged":{"$type":"bytes","$value":"not base64!"}}',
        b'{"stageflow":1,"tagged":{"$type":"int","$value":5}}',
        b'{"stageflow":1,"tagged":{"$type":"datetime","$value":["2024-01-01","No/Where",0]}}',
        b'{"stageflow":1,"plain":' + b"9" * 5001 + b"}",
    ],
)
def test_damaged_data_is_refused_with_a_clear_error(payload):
    with pytest.raises(MalformedPayloadError, match="stored data cannot be read"):
        Codec().decode(payload)


def test_a_refused_part_is_named_with_its_path():
    payload = b'{"stageflow":1,"tagged":{"a":[1,{"$type":"uuid","$value":"x"}]}}'
    with pytest.raises(MalformedPayloadError) as caught:
        Codec().decode(payload)
    assert caught.value.path == "a[1]"
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused(version):
    payload = json.dumps({"stageflow": version, "plain": 1})
    with pytest.raises(UnsupportedFormatError) as caught:
        Codec().decode(payload)
    assert caught.value.found == version
    assert caught.value.supported == 1


def test_fields_that_came_or_went_are_named():
    @dataclass
    class Node2:
        label: str
        weight: int

    codec = Codec()
    codec.register(Node2, name="Node")
    payload = user_codec().encode([Node("x")])
    with pytest.raises(MalformedPayloadError, match="no field children") as caught:
        codec.decode(payload)
    assert "decode=" in caught.value.hint
    with pytest.raises(MalformedPayloadError, match="weight was not stored"):
        codec.decode(payload.replace(b',"children":[]', b""))


def test_a_new_field_with_a_default_is_filled_in_when_older_data_is_read():
    @dataclass
    class Node2:
        label: str
        weight: int = 3

    codec = Codec()
    codec.register(Node2, name="Node")
    payload = user_codec().encode(Node("x")).replace(b',"children":[]', b"")
    assert codec.decode(payload) == Node2("x", 3)


def test_every_error_survives_copying_and_pickling():
    def raised(call, *args, **options):
        with pytest.raises(CodecError) as caught:
            call(*args, **options)
        return caught.value

    errors = [
        raised(Codec().encode, Owner),
        raised(Codec().decode, user_codec().encode(Point(1))),
        raised(Codec().decode, b""),
        raised(Codec().decode, b'{"stageflow":9}'),
        raised(Codec(max_bytes=10).encode, "a long text"),
    ]
    for error in errors:
        for twin in (copy(error), loads(dumps(error))):  # noqa: S301 - made above
            assert str(twin) == str(error)
            assert vars(twin) == vars(error)
    assert len({error.code for error in errors}) == len(errors)
