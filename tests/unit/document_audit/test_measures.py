"""Measures: lines, comments, words, and how easily a text reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from document_audit.formats import format_of
from document_audit.measures import Measures, measure, reading_ease


def test_the_figures_of_a_text():
    assert measure("one two\n\n   \nlonger line\n", None) == Measures(
        lines=4, blank=2, comment=0, words=4, characters=25, longest=11
    )


@pytest.mark.parametrize(
    ("text", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2), ("a\r\nb\rc\n", 3)]
)
def test_a_last_line_counts_with_or_without_its_end(text, lines):
    assert measure(text, None).lines == lines


def test_a_form_feed_ends_no_line():
    assert measure("a\x0cb\u2028c\n", None).lines == 1


@given(
    st.text(st.sampled_from("ab #\n\r\t\"'/*-"), max_size=80), st.sampled_from(["py", "c", "lua"])
)
def test_no_line_counts_twice(text, ending):
    found = measure(text, format_of(f"x.{ending}", "").comments)
    assert 0 <= found.blank + found.comment <= found.lines
    assert found.longest <= found.characters == len(text)
    assert found.words == len(text.split())


@pytest.mark.parametrize(
    ("path", "text", "comments"),
    [
        ("a.py", '"""Doc."""\n# note\nx = 1  # not this line\n', 2),
        ("a.py", '"""Doc\n\nmore.\n"""\nx = 1\n', 3),
        ("a.py", 'x = """text\n# no comment\n"""\n# one\n', 1),
        ("a.py", "'''a''' + '''b'''\nx = 1\n", 1),
        ("a.c", "/* one\n * two\n */\nint x; /* with code */\n// three\n", 4),
        ("a.c", "/* one */\nint x;\n", 1),
        ("a.c", "/*/\nint x;\n*/\nint y;\n", 3),
        ("a.lua", "--[[ one\ntwo ]]\n-- three\nx = 1\n", 3),
        ("a.html", "<!-- one\ntwo -->\n<p>text</p>\n", 2),
        ("a.sql", "-- one\nselect 1\n", 1),
        ("a.json", '{"//": 1}\n', 0),
        ("a.md", "# a heading\n", 0),
    ],
)
def test_comments_are_counted_as_each_language_writes_them(path, text, comments):
    assert measure(text, format_of(path, text).comments).comment == comments


EASY = "The cat sat on the mat. It saw a dog. The dog ran to the cat. They sat in the sun. " * 5
HARD = (
    "Institutional considerations regarding administrative responsibilities necessitate "
    "comprehensive organisational documentation, notwithstanding intermediate difficulties. "
) * 12


def test_short_words_and_sentences_read_more_easily():
    easy, hard = reading_ease(EASY), reading_ease(HARD)
    assert easy is not None
    assert hard is not None
    assert easy > 90
    assert hard < 10


def test_too_little_prose_has_no_reading_ease():
    assert reading_ease("The cat sat on the mat. " * 5) is None
    assert reading_ease("word " * 500) is None
