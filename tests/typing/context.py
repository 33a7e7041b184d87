"""How users' code sees what surrounds a run; only type checkers read this."""

from __future__ import annotations

from typing import Any, assert_type

import attrs

from stageflow.codec import Codec, codec_type
from stageflow.context import ContextSnapshot, ExtensionBundle, register_extension


@attrs.frozen
class Skills(ExtensionBundle):
    level: int = 1


@codec_type
@attrs.frozen
class Order:
    number: int


@codec_type(name="line")
@attrs.frozen
class Line:
    number: int


def a_snapshot_is_generic_over_its_extensions(codec: Codec) -> None:
    snapshot = ContextSnapshot(extensions=Skills())
    assert_type(snapshot, ContextSnapshot[Skills])
    assert_type(snapshot.extensions, Skills | None)
    assert_type(snapshot.with_run_id(snapshot.run_id), ContextSnapshot[Skills])
    assert_type(ContextSnapshot.from_dict({}, Skills), ContextSnapshot[Skills])
    assert_type(ContextSnapshot.from_dict({}, {"skills": Skills}), ContextSnapshot[Any])
    ContextSnapshot[Skills](extensions={"level": 1})  # type: ignore[arg-type]


def a_snapshot_without_extensions_needs_no_annotation() -> None:
    snapshot = ContextSnapshot(input_text="hello")
    assert_type(snapshot, ContextSnapshot)
    assert_type(snapshot.with_extensions(Skills()), ContextSnapshot[Skills])


def registered_classes_stay_what_they_are(codec: Codec) -> None:
    assert_type(Order(1), Order)
    assert_type(Line(1), Line)
    assert_type(codec.register(Order), type[Order])
    assert_type(codec.encode(Order(1)), bytes)
    register_extension("skills", Skills)
    register_extension("order", Order)  # type: ignore[arg-type]
