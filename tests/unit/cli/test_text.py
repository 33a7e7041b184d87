"""Text for people."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.cli.text import Terminal, ago, columns, cut, one_line, padded, plural, span, width


class Stream(io.TextIOWrapper):
    """A stream of any encoding that may look like a terminal."""

    def __init__(self, encoding: str = "utf-8", *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def written(self) -> bytes:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


@given(st.text())
def test_one_line_moves_no_cursor(text: str):
    assert one_line(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\udc80", "\\udc80"),
        ("Grüße", "Grüße"),
        (3, "3"),
    ],
)
def test_one_line_makes_control_characters_visible(text: object, shown: str):
    assert one_line(text) == shown


def test_one_line_is_bounded():
    shown = one_line("x" * 1_000_000)
    assert len(shown) < 4100
    assert shown.endswith("… (996,000 characters more)")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"])), st.integers(1, 30))
def test_cut_and_padded_keep_to_columns(text: str, size: int):
    shortened = cut(text, size)
    assert width(shortened) <= size
    assert width(padded(shortened, size)) == size


def test_wide_characters_take_two_columns():
    assert width("日本") == 4
    assert cut("日本語", 5) == "日本…"
    assert padded("日", 4, right=True) == "  日"


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (None, ""),
        (0.04, "0.0 ms"),
        (9.96, "10.0 ms"),
        (12.3, "12 ms"),
        (999.0, "999 ms"),
        (1000, "1.00 s"),
        (12_340, "12.3 s"),
        (59_960, "1 min 00 s"),
        (3_599_000, "59 min 59 s"),
        (3_660_000, "1 h 01 min"),
    ],
)
def test_durations_as_people_say_them(milliseconds: float | None, said: str):
    assert span(milliseconds) == said


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=400), "400 days ago"),
        (timedelta(seconds=-9), "just now"),
    ],
)
def test_how_long_ago(passed: timedelta, said: str):
    now = datetime(2025, 1, 1, tzinfo=UTC)
    assert ago(now - passed, now) == said


def test_plurals():
    assert [plural(1, "stage"), plural(1200, "stage"), plural(2, "retry")] == [
        "1 stage",
        "1,200 stages",
        "2 retries",
    ]


def test_a_pipe_gets_no_colours():
    terminal = Terminal(Stream(), {})
    assert terminal.paint("x", "bold red") == "x"
    assert not terminal.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "environ", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_who_decides_about_colours(is_terminal: bool, environ: dict[str, str], coloured: bool):
    terminal = Terminal(Stream(is_terminal=is_terminal), environ)
    assert (terminal.paint("x", "bold red") == "\x1b[1;31mx\x1b[0m") is coloured


def test_ascii_takes_the_place_of_what_a_stream_cannot_show():
    stream = Stream("ascii")
    Terminal(stream, {}).line("├─╮ ● ✓ Ä")
    assert stream.written == b"+-+ * + \\xc4\n"


def test_half_a_surrogate_pair_is_written_as_an_escape():
    stream = Stream()
    Terminal(stream, {}).line("a\udc80")
    assert stream.written == b"a\\udc80\n"


def test_a_reader_that_went_away_stops_nobody():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        terminal = Terminal(stream, {})
        terminal.line("one")
        terminal.line("two")


def test_tables_are_aligned_and_end_with_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal(Stream(is_terminal=True), {"NO_COLOR": "1"})
    rows = [("a", "1", "x" * 40), ("long", "200", ("short", "red"))]
    assert columns(terminal, ("name", "n", "why"), rows, right=(1,)) == [
        "name    n  why",
        "a       1  xxxxxxxx…",
        "long  200  short",
    ]
