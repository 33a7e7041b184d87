"""JSON schemas at work: what is wrong with a value, and what of it nobody may see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ("REDACTED", "CompiledSchema", "SchemaFaultError", "copied", "scrub")

REDACTED: Final = "[redacted]"
"""Stands where a value is that its schema marks as a secret."""

_MAX_FAULTS: Final = 20
_MAX_TEXT: Final = 200
_BRANCHES: Final = ("allOf", "anyOf", "oneOf")
_SINGLE_BRANCHES: Final = ("if", "then", "else", "not")
_SHORTEST_SCRUBBED: Final = 4


class SchemaFaultError(ValueError):
    """A schema is none; the message says where and why."""


class CompiledSchema:
    """A schema, checked once, against which values are checked many times.

    Args:
        schema: A JSON schema; an empty one takes anything and hides nothing.

    Raises:
        SchemaFaultError: If it is none, or refers to something outside of itself, which nobody
            may fetch while a call waits.
    """

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema: dict[str, Any] = dict(schema or {})
        for reference in _references(self._schema):
            if self._referred(reference) is None:
                raise SchemaFaultError(f"{_short(repr(reference))} refers to nothing within it")
        self._validator: Any = _validator(self._schema) if self._schema else None
        # Where something is hidden, what the schema does not know is hidden, too: a model that
        # misspells the name of a secret must not publish it.
        self._hides = self._schema != {} and _marks_anything(self._schema)

    def faults(self, value: Any) -> list[str]:
        """Return what is wrong with *value*, each fault with its path and without secrets."""
        if self._validator is None:
            return []
        found: list[str] = []
        try:
            for error in self._validator.iter_errors(value):
                if len(found) == _MAX_FAULTS:
                    found.append("and more")
                    break
                found.append(f"{_short(error.json_path)}: {self._told(error)}")
        except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
            # A number that is too large, or a schema that refers to itself forever.
            found.append(f"$: it cannot be checked: {type(error).__name__}")
        return found

    def _told(self, error: Any) -> str:
        if self._hides and error.validator not in {"required", "dependentRequired"}:
            return f"it does not satisfy {error.validator!r}"
        return _short(error.message)

    def redact(self, value: Any) -> Any:
        """Return a copy of *value* in which secrets are replaced by `REDACTED`."""
        return self._redacted(value, [self._schema]) if self._hides else copied(value)

    def secrets(self, value: Any) -> frozenset[str]:
        """Return the texts of the secrets in *value*, for `scrub`."""
        if not self._hides:
            return frozenset()
        return frozenset(_hidden_texts(value, self.redact(value)))

    def restore(self, edited: Any, original: Any) -> Any:
        """Return *edited* with each `REDACTED` replaced by what is there in *original*.

        Somebody who edits arguments sees the secrets redacted, and leaves them so. One that was
        moved stays `REDACTED`: nobody knows which it is.
        """
        return _restored(edited, original, self.redact(original)) if self._hides else edited

    def _redacted(self, value: Any, schemas: list[Any]) -> Any:
        found = list(self._applying(schemas))
        if any(_is_marked(schema) for schema in found):
            return REDACTED
        if isinstance(value, Mapping):
            return {
                key: REDACTED if not (below := _members(found, key)) else self._redacted(v, below)
                for key, v in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return [
                REDACTED if not (below := _items(found, index)) else self._redacted(item, below)
                for index, item in enumerate(value)
            ]
        return value

    def _applying(self, schemas: list[Any]) -> Iterator[Mapping[str, Any]]:
        """Yield every schema that may have a say, through references and branches."""
        waiting, seen = list(schemas), set()
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, Mapping) or id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            references = (schema[key] for key in ("$ref", "$dynamicRef") if key in schema)
            waiting.extend(map(self._referred, references))
            for key in _BRANCHES:
                waiting.extend(schema.get(key) or ())
            waiting.extend(schema[key] for key in _SINGLE_BRANCHES if key in schema)
            waiting.extend((schema.get("dependentSchemas") or {}).values())

    def _referred(self, reference: Any) -> Any:
        """Return what a reference points to, or None if that is not within the schema."""
        if not isinstance(reference, str) or not (reference == "#" or reference[:2] == "#/"):
            return None
        found: Any = self._schema
        for part in reference.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping):
                found = found.get(key)
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
        return found


def scrub(text: str, secrets: frozenset[str]) -> str:
    """Return *text* with each of *secrets* replaced by `REDACTED`."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def _validator(schema: dict[str, Any]) -> Any:
    from jsonschema import SchemaError  # type: ignore[import-untyped]
    from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise SchemaFaultError(f"at {error.json_path} {_short(error.message)}") from error
    return kind(schema)


def _is_marked(schema: Mapping[str, Any]) -> bool:
    return (
        schema.get("writeOnly") is True
        or schema.get("x-secret") is True
        or schema.get("format") == "password"
    )


def _references(schema: Any) -> Iterator[Any]:
    if isinstance(schema, Mapping):
        for key, part in schema.items():
            if key in {"$ref", "$dynamicRef"} and isinstance(part, str):
                yield part
            elif key not in {"enum", "const", "default", "examples"}:
                yield from _references(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _references(part)


def _marks_anything(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return _is_marked(schema) or any(_marks_anything(part) for part in schema.values())
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return any(_marks_anything(part) for part in schema)
    return False


def _members(schemas: list[Mapping[str, Any]], key: Any) -> list[Any]:
    """Return the schemas of a member; none if nothing is known of it."""
    found: list[Any] = []
    for schema in schemas:
        named = (schema.get("properties") or {}).get(key)
        patterns = (schema.get("patternProperties") or {}).items()
        matching = [part for pattern, part in patterns if re.search(pattern, str(key))]
        if named is not None or matching:
            found += [part for part in (named, *matching) if part is not None]
        elif isinstance(schema.get("additionalProperties"), Mapping):
            found.append(schema["additionalProperties"])
    return found


def _items(schemas: list[Mapping[str, Any]], index: int) -> list[Any]:
    found: list[Any] = []
    for schema in schemas:
        first = schema.get("prefixItems") or ()
        items = schema.get("items")
        if index < len(first):
            found.append(first[index])
        elif items is not None:
            found.append(items)
        if "contains" in schema:
            found.append(schema["contains"])
    return found


def copied(value: Any) -> Any:
    """Return a copy of plain data that shares nothing with it; sequences become lists."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def _hidden_texts(value: Any, shown: Any) -> Iterator[str]:
    if shown == REDACTED:
        yield from _texts(value)
    elif isinstance(value, Mapping) and isinstance(shown, Mapping):
        for key, item in value.items():
            yield from _hidden_texts(item, shown[key])
    elif isinstance(shown, list):
        for item, seen in zip(value, shown, strict=True):
            yield from _hidden_texts(item, seen)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif value is not None and len(text := str(value)) >= _SHORTEST_SCRUBBED:
        yield text
        yield repr(text)[1:-1]  # as a KeyError shows it, say
        yield json.dumps(text)[1:-1]


def _restored(edited: Any, original: Any, shown: Any) -> Any:
    if edited == REDACTED and shown == REDACTED:
        return original
    if isinstance(edited, Mapping) and isinstance(shown, Mapping):
        return {
            key: _restored(item, original[key], shown[key]) if key in shown else item
            for key, item in edited.items()
        }
    if isinstance(edited, list) and isinstance(shown, list) and len(edited) == len(shown):
        return [_restored(*each) for each in zip(edited, original, shown, strict=True)]
    return edited


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
