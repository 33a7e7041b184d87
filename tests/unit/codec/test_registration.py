"""Registration: who can be stored, under which name, and where the default codec is."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from dataclasses import InitVar, dataclass

import attrs
import pydantic
import pytest

from stageflow.codec import (
    Codec,
    CodecRegistrationError,
    MalformedPayloadError,
    UnencodableValueError,
    codec_type,
    set_default_codec,
)
from stageflow.errors import DefinitionError
from support.values import Account, Colour, Node


@pytest.fixture
def default_codec():
    codec = Codec()
    previous = set_default_codec(codec)
    yield codec
    assert set_default_codec(previous) is codec


def come_back(codec, value):
    return codec.decode(codec.encode(value))


class Plain:
    def __init__(self, text):
        self.text = text


def test_any_class_can_be_registered_with_two_functions():
    codec = Codec()
    codec.register(Plain, encode=lambda v: (v.text, 1), decode=lambda pair: Plain(pair[0]))
    assert come_back(codec, [Plain("x")])[0].text == "x"


def test_a_class_that_cannot_be_taken_apart_needs_functions():
    with pytest.raises(CodecRegistrationError, match="no attrs class") as caught:
        Codec().register(Plain)
    assert "encode= and decode=" in caught.value.hint
    assert caught.value.cls == f"{__name__}.Plain"
    assert isinstance(caught.value, DefinitionError)
    with pytest.raises(CodecRegistrationError):
        Codec().register(Plain, encode=vars)


def test_one_function_may_be_given_where_the_other_is_known():
    codec = Codec()
    codec.register(Account, encode=lambda v: {"owner": v.owner, "_secret": None})
    assert come_back(codec, Account("x", "secret")) == Account("x", None)


def test_a_class_whose_constructor_needs_more_than_its_fields_is_refused():
    @dataclass
    class Scaled:
        size: int
        factor: InitVar[int]

    with pytest.raises(CodecRegistrationError, match="also needs factor"):
        Codec().register(Scaled)


def test_the_stored_name_can_be_chosen_so_that_the_class_may_be_renamed():
    codec, later = Codec(), Codec()
    codec.register(Node, name="tree.node")
    assert json.loads(codec.encode(Node("x")))["tagged"]["$type"] == "tree.node"

    @dataclass
    class Twig:
        label: str
        children: list

    later.register(Twig, name="tree.node")
    assert later.decode(codec.encode(Node("x"))) == Twig("x", [])


def test_a_name_that_another_class_has_is_refused_with_both_classes():
    codec = Codec()
    codec.register(Account)
    other = attrs.make_class("Account", ["x"])
    with pytest.raises(CodecRegistrationError) as caught:
        codec.register(other)
    assert "support.values.Account" in caught.value.message
    assert other.__module__ in caught.value.message
    codec.register(other, replace=True)
    assert come_back(codec, other(1)) == other(1)
    with pytest.raises(UnencodableValueError):
        codec.encode(Account("x"))


def test_registering_a_class_twice_is_refused_unless_it_changes_nothing():
    codec = Codec()
    assert codec.register(Node) is Node
    assert codec.register(Node) is Node
    with pytest.raises(CodecRegistrationError, match="already, as 'Node'"):
        codec.register(Node, name="Other")
    codec.register(Node, name="Other", replace=True)
    assert b'"Other"' in codec.encode(Node("x"))
    codec.register(Colour, name="Node")
    assert come_back(codec, [Node("x"), Colour.RED]) == [Node("x"), Colour.RED]


@pytest.mark.parametrize("cls", [dict, list, str, int, bool, type(None), tuple, bytes])
def test_types_that_are_built_in_cannot_be_registered(cls):
    with pytest.raises(CodecRegistrationError, match="built in"):
        Codec().register(cls, encode=str, decode=str)


@pytest.mark.parametrize("name", ["dict", "uuid", "tuple", "path"])
def test_names_that_are_built_in_cannot_be_taken(name):
    with pytest.raises(CodecRegistrationError, match="built in"):
        Codec().register(Account, name=name)


def test_a_codec_is_frozen_but_for_its_classes():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Codec().max_bytes = 1


def test_codecs_know_nothing_of_each_other():
    one, other = Codec(), Codec()
    one.register(Account)
    with pytest.raises(UnencodableValueError):
        other.encode(Account("x"))


def test_enum_members_are_stored_by_name():
    class Size(enum.Enum):
        S = object()
        M = 1.5

    codec = Codec()
    codec.register(Size)
    assert come_back(codec, [Size.S, Size.M]) == [Size.S, Size.M]
    with pytest.raises(MalformedPayloadError, match="Size"):
        codec.decode(codec.encode(Size.S).replace(b'"S"', b'"XL"'))


def test_the_decorator_registers_with_the_default_codec(default_codec):
    @codec_type
    @attrs.frozen
    class Order:
        number: int

    @codec_type(name="line", encode=lambda v: v.text, decode=Plain)
    class Line(Plain):
        pass

    assert come_back(Codec.default(), Order(1)) == Order(1)
    assert b'"line"' in default_codec.encode(Line("x"))


def test_the_decorator_says_where_it_belongs(default_codec):
    with pytest.raises(CodecRegistrationError, match="above"):

        @attrs.frozen
        @codec_type
        class Order:
            number: int


def test_the_default_codec_can_be_replaced_and_put_back(default_codec):
    assert Codec.default() is default_codec
    other = Codec()
    assert set_default_codec(other) is default_codec
    assert Codec.default() is other
    set_default_codec(default_codec)


class Address(pydantic.BaseModel):
    city: str
    tags: set[str] = set()


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str = pydantic.Field(alias="fullName")
    home: Address | None = None
    pair: tuple[int, ...] = ()


class Names(pydantic.RootModel[list[str]]):
    pass


def test_pydantic_models_come_back_with_aliases_extras_and_nested_models():
    codec = Codec()
    for cls in (Address, Person, Names):
        codec.register(cls)
    person = Person(fullName="x", home=Address(city="y", tags={"a"}), pair=(1, 2), nick=(3,))
    assert come_back(codec, person) == person
    assert come_back(codec, [Names(["a"])]) == [Names(["a"])]


def test_pydantic_models_are_validated_when_they_are_read():
    codec = Codec()
    codec.register(Address)
    payload = codec.encode(Address(city="y"))
    with pytest.raises(MalformedPayloadError, match="ValidationError"):
        codec.decode(payload.replace(b'"y"', b"7"))
    with pytest.raises(MalformedPayloadError, match="no field town"):
        codec.decode(payload.replace(b'"city"', b'"town"'))


def test_pydantic_is_never_imported_by_the_codec():
    script = """
import sys, attrs
from stageflow.codec import Codec, CodecRegistrationError
codec = Codec()
codec.register(attrs.make_class("Order", ["number"]))
try:
    codec.register(type("Plain", (), {}))
except CodecRegistrationError:
    pass
assert "pydantic" not in sys.modules and "cattrs" not in sys.modules
assert "pickle" not in sys.modules and "zoneinfo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
