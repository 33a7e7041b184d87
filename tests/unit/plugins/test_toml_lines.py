"""Where keys are written, told from the text alone."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.plugins._toml_lines import key_lines


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1", ("a",), 1),
        ("# a = 0\n\na = 1", ("a",), 3),
        ("[t]\na = 1\n[u]\na = 2", ("u", "a"), 4),
        ("[t]\na = 1\n[u]\na = 2", ("u",), 3),
        ("\n[t.u]\na = 1", ("t",), 2),
        ("a.b.c = 1", ("a", "b", "c"), 1),
        ("a.b.c = 1", ("a", "b"), 1),
        ("[t . u]\n'a b'.\"c\\u0064\" = 1", ("t", "u", "a b", "cd"), 2),
        ('a = """\nb = 1\n"""\nb = 2', ("b",), 4),
        ('a = """x""""\nb = 2', ("b",), 2),
        ("a = '''\n[t]\n'''\nb = 2", ("b",), 4),
        ("a = '# no comment'\nb = 2", ("b",), 2),
        ('a = "\\""\nb = 2', ("b",), 2),
        ("a = [\n  1, # ]\n  { b = 3 },\n]\nc = 2", ("c",), 5),
        ("a = { b = 1, c = [1] }\nd = 1.5", ("d",), 2),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", ("a", "1", "b"), 4),
        ("[[a]]\n[a.c]\nb = 1\n[[a]]\n[a.c]\nb = 2", ("a", "1", "c", "b"), 6),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
    ],
)
def test_a_key_is_found_on_its_line(text, path, line):
    tomllib.loads(text)
    assert key_lines(text)[path] == line


def test_keys_of_inline_tables_and_of_strings_are_not_listed():
    lines = key_lines('a = { b = 1 }\nc = """\nd = 1\n"""')
    assert set(lines) == {("a",), ("c",)}


characters = st.characters(exclude_categories=["Cs"])
keys = st.text(characters, max_size=6)
scalars = st.one_of(st.integers(-9, 9), st.booleans(), st.text(characters, max_size=20))
documents = st.recursive(
    st.dictionaries(keys, scalars, max_size=4),
    lambda inner: st.dictionaries(keys, st.one_of(scalars, inner), max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(documents, st.randoms(use_true_random=False))
def test_every_key_of_any_document_is_found(document, random):
    text, expected = render(document, random)
    assert tomllib.loads(text) == document
    found = key_lines(text)
    assert {path: found.get(path) for path in expected} == expected


def render(document: dict[str, Any], random: Any) -> tuple[str, dict[tuple[str, ...], int]]:
    """Write a document as TOML, in one of many styles, and say where each key went."""
    lines: list[str] = []
    places: dict[tuple[str, ...], int] = {}

    def table(path: tuple[str, ...], values: dict[str, Any]) -> None:
        for key, value in values.items():
            if not isinstance(value, dict):
                lines.extend(["# key = 1"] * random.randint(0, 1))
                places[*path, key] = line_number() + 1
                lines.append(f"{quoted(key)} = {written(value)}  # [no.table]")
        for key, value in values.items():
            if isinstance(value, dict):
                lines.extend([""] * random.randint(0, 2))
                places[*path, key] = line_number() + 1
                lines.append(f"[{' . '.join(map(quoted, (*path, key)))}]")
                table((*path, key), value)

    def line_number() -> int:
        return "\n".join(lines).count("\n") + 1 if lines else 0

    def written(value: Any) -> str:
        if isinstance(value, str) and random.random() < 0.5:
            return f'"""\n{quoted(value)[1:-1]}"""'
        if isinstance(value, str):
            return quoted(value)
        return json.dumps(value)

    table((), document)
    return "\n".join(lines), places


def quoted(text: str) -> str:
    # DEL is the one character that JSON allows as it is and TOML does not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
