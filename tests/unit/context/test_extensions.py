"""Extensions: typed parts of a snapshot that come back, and unknown ones that are not lost."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import attrs
import pytest

from stageflow.context import ContextSnapshot, ExtensionBundle, register_extension
from stageflow.context.extensions import (
    ExtensionRegistrationError,
    ExtensionRegistry,
    UnknownExtension,
    get_extension_registry,
    set_extension_registry,
)
from stageflow.context.values import SnapshotFormatError


class Level(enum.Enum):
    NEW = "new"
    EXPERT = "expert"


@attrs.frozen
class Skill:
    name: str
    level: Level = Level.NEW


@attrs.frozen
class Skills(ExtensionBundle):
    owner: UUID | None = None
    skills: tuple[Skill, ...] = ()
    since: datetime | None = None
    budget: Decimal = Decimal(0)
    pause: timedelta = timedelta()
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop(ExtensionBundle):
    name: str
    stock: dict[str, int]


SKILLS = Skills(
    UUID(int=7),
    (Skill("tea", Level.EXPERT),),
    datetime(2024, 1, 1, tzinfo=UTC),
    Decimal("1.50"),
    timedelta(seconds=1.5),
    frozenset({"a"}),
)
SHOP = Shop(name="corner", stock={"tea": 3})


@pytest.fixture(autouse=True)
def registry():
    fresh = ExtensionRegistry()
    previous = set_extension_registry(fresh)
    yield fresh
    assert set_extension_registry(previous) is fresh


def through_json(snapshot, extension_types=None):
    return ContextSnapshot.from_dict(json.loads(json.dumps(snapshot.to_dict())), extension_types)


@pytest.mark.parametrize("bundle", [SKILLS, SHOP], ids=["attrs", "dataclass"])
def test_a_bundle_comes_back_from_what_it_wrote(bundle):
    written = json.loads(json.dumps(bundle.to_dict()))
    assert type(bundle).from_dict(written) == bundle


@pytest.mark.parametrize("bundle", [SKILLS, SHOP], ids=["attrs", "dataclass"])
def test_a_registered_extension_comes_back_typed(bundle):
    register_extension("mine", type(bundle))
    snapshot = ContextSnapshot(extensions=bundle)
    assert snapshot.to_dict()["extensions"]["type"] == "mine"
    assert through_json(snapshot) == snapshot


def test_types_can_be_given_where_the_snapshot_is_read():
    snapshot = ContextSnapshot(extensions=SKILLS)
    assert snapshot.to_dict()["extensions"]["type"] == "Skills"
    assert through_json(snapshot, {"Skills": Skills}).extensions == SKILLS
    assert through_json(snapshot, Skills).extensions == SKILLS
    bare = {**snapshot.to_dict(), "extensions": SKILLS.to_dict()}
    assert ContextSnapshot.from_dict(bare, Skills).extensions == SKILLS


def test_types_that_are_given_go_before_registered_ones():
    register_extension("Skills", Shop)
    assert through_json(ContextSnapshot(extensions=SKILLS), {"Skills": Skills}).extensions == SKILLS


def test_several_extensions_by_name_come_back_typed():
    register_extension("skills", Skills)
    register_extension("shop", Shop)
    snapshot = ContextSnapshot(extensions={"skills": SKILLS, "other": SHOP, "plain": {"a": [1]}})
    assert through_json(snapshot) == snapshot


def test_an_older_writers_data_under_a_registered_name_is_read_as_that_type():
    register_extension("shop", Shop)
    data = {"extensions": {"shop": {"name": "x", "stock": {}}, "mystery": {"a": 1}}}
    extensions = ContextSnapshot.from_dict(data).extensions
    assert extensions["shop"] == Shop(name="x", stock={})
    assert extensions["mystery"] == {"a": 1}


@pytest.mark.parametrize(
    "extensions",
    [
        {"type": "mystery", "data": {"a": [1, {"b": None}]}},
        {"mystery": {"a": [1]}},
        {"mystery": {"type": "other", "data": {"a": 1}}},
        {"mystery": 7, "another": None, "third": [1]},
        {},
    ],
    ids=["one", "by name", "typed by name", "bare", "none"],
)
def test_unknown_extensions_do_not_crash_the_reader_and_survive(extensions):
    snapshot = ContextSnapshot.from_dict({"extensions": extensions})
    assert snapshot.to_dict()["extensions"] == extensions
    assert through_json(snapshot) == snapshot


def test_an_unknown_extension_can_be_read_once_its_type_is_known():
    snapshot = through_json(ContextSnapshot(extensions=SKILLS))
    assert isinstance(snapshot.extensions, UnknownExtension)
    assert snapshot.extensions.name == "Skills"
    assert through_json(snapshot, {"Skills": Skills}).extensions == SKILLS


def test_a_field_that_the_type_does_not_know_is_ignored():
    assert Shop.from_dict({"name": "x", "stock": {}, "newer": 1}) == Shop(name="x", stock={})


@pytest.mark.parametrize(
    ("data", "named"),
    [({"name": "x"}, "stock"), ({"name": "x", "stock": {"a": "b"}}, "stock"), ({}, "name")],
)
def test_a_known_extension_that_cannot_be_read_is_refused_by_path(data, named):
    register_extension("shop", Shop)
    with pytest.raises(SnapshotFormatError, match=named) as caught:
        ContextSnapshot.from_dict({"extensions": {"shop": data}})
    assert caught.value.path == "extensions.shop"
    with pytest.raises(SnapshotFormatError) as caught:
        ContextSnapshot.from_dict({"extensions": {"type": "shop", "data": data}})
    assert caught.value.path == "extensions"


def test_bundles_are_frozen():
    for bundle in (SKILLS, ExtensionBundle()):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            bundle.owner = None


def test_any_class_with_the_two_methods_can_be_an_extension():
    class Own:
        def __init__(self, text):
            self.text = text

        def to_dict(self):
            return {"text": self.text}

        @classmethod
        def from_dict(cls, data):
            return cls(data["text"])

    register_extension("own", Own)
    assert through_json(ContextSnapshot(extensions=Own("x"))).extensions.text == "x"


def test_a_class_without_the_two_methods_is_refused():
    with pytest.raises(ExtensionRegistrationError, match="lacks to_dict") as caught:
        register_extension("bad", Skill)
    assert caught.value.name == "bad"


def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(registry):
    register_extension("shop", Shop)
    register_extension("shop", Shop)
    with pytest.raises(ExtensionRegistrationError, match="is Shop already"):
        register_extension("shop", Skills)
    assert registry.get("shop") is Shop
    register_extension("shop", Skills, replace=True)
    assert get_extension_registry().get("shop") is Skills


def test_a_snapshot_can_be_subscripted_with_its_extensions_type():
    assert ContextSnapshot[Skills](extensions=SKILLS).extensions is SKILLS
