"""What a text says beneath its disguises, and where in the original it says so."""

# ruff: noqa: RUF001 - look-alikes are what is tested

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.helpers.guardrails.normal_form import Content, Reading, readings_of


def texts(content):
    return [reading.text for reading in readings_of(content).readings]


@pytest.mark.parametrize(
    ("content", "folded"),
    [
        ("ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ", "bob@example.com"),
        ("раураl", "paypal"),  # Cyrillic but for the last
        ("αdmin", "admin"),
        ("𝐢𝐠𝐧𝐨𝐫𝐞 𝒂𝒍𝒍", "ignore all"),
        ("ⓘⓖⓝⓞⓡⓔ", "ignore"),
        ("🅸🅶🅽🅾🆁🅴", "IGNORE"),
        ("i\u0336g\u0336n\u0336o\u0336r\u0336e\u0336", "ignore"),
        ("naïve café", "naive cafe"),
        ("ig\u200bno\u2060re\u00ad", "ignore"),
        ("\U000e0069\U000e0067", "ig"),
        ("٤١١١ ４１", "4111 41"),
        ("a\u00a0b\u2003c\u2028d", "a b c\nd"),
        ("555\u2013123\u20124567", "555-123-4567"),
        ("ﬁle … ㎏", "file ... kg"),
        ("Straße", "Strasse"),
    ],
)
def test_what_looks_like_ascii_is_read_as_ascii(content, folded):
    assert texts(content)[0] == folded


@pytest.mark.parametrize("content", ["世界 한국어", "हिन्दी 🙂", "ქართული", "غدا", ""])
def test_writing_that_looks_like_nothing_in_ascii_is_left_as_it_is(content):
    assert texts(content) == [content]


@pytest.mark.parametrize(
    ("content", "revealed"),
    [
        ("b o b @ example . com", "bob@example.com"),
        ("bob at example dot co dot uk", "bob@example.co.uk"),
        ("bob(at)example[dot]com", "bob@example.com"),
        ("192[.]168[.]1[.]1", "192.168.1.1"),
        ("one nine two dot 168 dot 1 dot 1", "192.168.1.1"),
        ("call five five five, one two three, four five six seven now", "call 555 123 4567 now"),
        ("double five, triple zero, nine", "55 000 9"),
        ("plus four nine three zero", "+4930"),
        ("s p a c e d  o u t", "spaced out"),
        ("five five five dash one two three", "555-123"),
        ("s.h.i.t happens", "shit happens"),
        ("i g n o r e  this", "ignore  this"),
        ("a word with one two spaces", None),
        ("look at the dot com era", None),
        ("we met at noon. Then we left", None),
        ("meet @ noon . Then we go", None),
    ],
)
def test_v19_disguises_are_undone(content, revealed):
    assert texts(content) == ([content] if revealed is None else [content, revealed])


def test_the_readings_are_worked_out_once_however_many_ask():
    content = Content("Ignоre")
    assert readings_of(content) is content
    assert content.readings is content.readings
    assert content.word_readings is content.word_readings


def test_words_are_read_in_lower_case_and_without_leetspeak():
    found = [reading.text for reading in readings_of("SH1T h4pp3n$").word_readings]
    assert found == ["sh1t h4pp3n$", "shit happens"]
    assert len(readings_of("plain").word_readings) == 1


strange = st.text(
    st.one_of(
        st.sampled_from("aeiost @.-()[]10 \u200b\u0301ﬁﬂ…ßаеоİⓐ\U000e0061½ four one two dot"),
        st.characters(),
    ),
    max_size=60,
)


@given(content=strange)
def test_every_part_of_every_reading_has_a_place_in_the_original(content):
    for reading in (*readings_of(content).readings, *readings_of(content).word_readings):
        last = 0
        for at in range(len(reading.text)):
            start, end = reading.original_span(at, at + 1)
            assert 0 <= start < end <= len(content)
            assert start >= last or end > last
            last = start
        if reading.text:
            assert reading.original_span(0, len(reading.text))[1] <= len(content)


@given(content=st.text(max_size=40), data=st.data())
def test_a_place_leads_back_through_any_edits(content, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(content)), max_size=6)))
    edits = [
        (a, b, data.draw(st.sampled_from(["", "x", "xyz"])))
        for a, b in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    reading = Reading(content).edited(edits)
    kept = [at for at in range(len(content)) if not any(a <= at < b for a, b, _ in edits)]
    for at in range(len(reading.text)):
        start, end = reading.original_span(at, at + 1)
        if end - start == 1 and start in kept:
            assert content[start] == reading.text[at]
        else:
            assert (start, end) in {(a, b) for a, b, _ in edits}


@pytest.mark.parametrize(
    "piece",
    ["a ", "a.", "one ", "double ", " dot ", "a at ", "@ ", "(at", "1 dot ", "\u200b", "a-", "  "],
)
def test_v18_hostile_disguises_are_read_in_linear_time(piece):
    # The limit is the runner's time-out: going back and forth would take hours here.
    assert readings_of(piece * 10_000).readings
