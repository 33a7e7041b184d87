"""TypeTable: the classes a codec knows, each under one name."""

from __future__ import annotations

from stageflow.codec.errors import CodecRegistrationError
from stageflow.codec.rules import BUILT_IN, Rule
from stageflow.codec.walk import DICT_TAG

__all__ = ("TypeTable",)

_FIXED_TYPES = frozenset({rule.cls for rule in BUILT_IN} | {dict, list, bool, type(None)})
_FIXED_TAGS = frozenset({rule.tag for rule in BUILT_IN} | {DICT_TAG})


class TypeTable:
    """The rules of a codec, by type for writing and by tag for reading.

    Attributes:
        by_type: The rule for instances of exactly this type.
        by_tag: The rule for what is stored under this name.
    """

    __slots__ = ("by_tag", "by_type")

    def __init__(self) -> None:
        self.by_type: dict[type, Rule] = {rule.cls: rule for rule in BUILT_IN}
        self.by_tag = {rule.tag: rule for rule in BUILT_IN}

    def add(self, rule: Rule, *, replace: bool) -> None:
        """Know *rule* from now on; with *replace*, in place of those of its class and its tag.

        Raises:
            CodecRegistrationError: If class or tag is built in, or taken and not to be replaced.
        """
        self._check(rule, replace=replace)
        replaced = self.by_type.get(rule.cls)
        if replaced is not None and self.by_tag.get(replaced.tag) is replaced:
            del self.by_tag[replaced.tag]
        displaced = self.by_tag.get(rule.tag)
        if displaced is not None:
            self.by_type.pop(displaced.cls, None)
        self.by_tag[rule.tag] = rule
        self.by_type[rule.cls] = rule

    def _check(self, rule: Rule, *, replace: bool) -> None:
        cls, tag = rule.cls, rule.tag
        if cls in _FIXED_TYPES or tag in _FIXED_TAGS:
            raise CodecRegistrationError(
                f"{cls.__qualname__} cannot be registered as {tag!r}, which is built in.",
                cls=cls,
                name=tag,
                hint="Choose another name; types that are built in need no registration.",
            )
        if replace:
            return
        known = self.by_type.get(cls)
        if known is not None:
            raise CodecRegistrationError(
                f"{cls.__qualname__} is registered already, as {known.tag!r}.",
                cls=cls,
                name=tag,
                hint="Register each class once, or pass replace=True.",
            )
        known = self.by_tag.get(tag)
        if known is not None:
            raise CodecRegistrationError(
                f"{cls.__module__}.{cls.__qualname__} cannot be registered as {tag!r}: that is "
                f"{known.cls.__module__}.{known.cls.__qualname__} already.",
                cls=cls,
                name=tag,
                hint="Pass a name= that no other class has, or replace=True.",
            )
