"""Graphs drawn with lanes: what is read off the drawing is the graph again."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.cli.lanes import LaneNode, LaneRow, draw_lanes, grouped

BEGINS = set("╭╮┬")
JOINS = set("├┤┼")
ENDS = set("╰╯┴")


def nodes(*stages: tuple[str, str]) -> list[LaneNode]:
    names = [name for name, _ in stages]
    return [
        LaneNode((name,), "work", conditional=False, dependencies=tuple(map(names.index, needs)))
        for name, needs in stages
    ]


def drawn(*stages: tuple[str, str]) -> str:
    rows = draw_lanes(nodes(*stages))
    widest = max(len(row.lanes) for row in rows)
    return "\n".join(
        f"{row.lanes:<{widest}} {row.node.names[0] if row.node else ''}".rstrip() for row in rows
    )


def read(rows: list[LaneRow]) -> set[tuple[str, str]]:
    """Return the edges that a drawing shows, by following its lanes as a reader's eye does."""
    lanes: dict[int, set[str]] = {}
    edges: set[tuple[str, str]] = set()
    current, place = "", 0
    for row in rows:
        signs = dict(enumerate(row.lanes[::2]))
        if row.node is not None:
            place = next(column for column, sign in signs.items() if sign in "●○")
            current = row.node.names[0]
            edges |= {(source, current) for source in lanes.get(place, ())}
            lanes[place] = {current}
        elif "─" in row.lanes:
            left = row.lanes.index("─") // 2
            right = (row.lanes.rindex("─") + 1) // 2
            for column in range(left, right + 1):
                sign = signs.get(column, " ")
                if column == place:
                    if sign in ENDS:
                        del lanes[column]
                elif sign in BEGINS:
                    lanes[column] = {current}
                elif sign in JOINS:
                    lanes[column].add(current)
        for column in [column for column in lanes if signs.get(column, " ") == " "]:
            del lanes[column]
    return edges


def test_a_chain_is_a_column():
    assert drawn(("a", ""), ("b", "a"), ("c", "b")) == "● a\n● b\n● c"


def test_a_diamond():
    assert drawn(("a", ""), ("b", "a"), ("c", "a"), ("d", "bc")) == dedent("""\
        ●   a
        ├─╮
        ● │ b
        │ ● c
        ├─╯
        ●   d""")


def test_an_edge_that_skips_a_stage_has_a_lane_of_its_own():
    assert drawn(("a", ""), ("b", "a"), ("c", "ab")) == dedent("""\
        ●   a
        ├─╮
        ● │ b
        ╰─┤
          ● c""")


def test_a_lane_that_is_only_crossed_is_not_joined():
    assert drawn(("a", ""), ("b", "a"), ("c", "b"), ("d", "ac"), ("e", "abcd")) == dedent("""\
        ●     a
        ├─┬─╮
        ● │ │ b
        ├─│─┤
        ● │ │ c
        ╰─┼─┤
          ● │ d
          ╰─┤
            ● e""")


def test_stages_that_have_nothing_to_do_with_each_other_do_not_touch():
    assert drawn(("a", ""), ("b", ""), ("c", "b")) == "● a\n\n● b\n● c"


def test_conditional_stages_are_open():
    row = draw_lanes([LaneNode(("a",), "work", conditional=True, dependencies=())])[0]
    assert row.lanes == "○"


@st.composite
def graphs(draw: st.DrawFn) -> list[LaneNode]:
    size = draw(st.integers(1, 14))
    found = []
    for number in range(size):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        found.append(LaneNode((f"s{number}",), "work", draw(st.booleans()), tuple(sorted(needs))))
    return found


@given(graphs())
def test_the_drawing_shows_each_edge_and_no_other(graph: list[LaneNode]):
    rows = draw_lanes(graph)
    expected = {
        (graph[needed].names[0], node.names[0]) for node in graph for needed in node.dependencies
    }
    assert read(rows) == expected
    shown = [row.node for row in rows if row.node is not None]
    assert sorted(node.names for node in shown) == sorted(node.names for node in graph)


@given(graphs())
def test_a_stage_stands_below_what_it_needs(graph: list[LaneNode]):
    order = {row.node.names[0]: line for line, row in enumerate(draw_lanes(graph)) if row.node}
    for node in graph:
        assert all(order[graph[each].names[0]] < order[node.names[0]] for each in node.dependencies)


@pytest.mark.parametrize(("size", "expected"), [(5, 7), (6, 3)])
def test_stages_that_stand_alike_are_drawn_as_one(size: int, expected: int):
    names = ["list", *(f"audit-{number}" for number in range(size)), "join"]
    needs = [(), *[(0,)] * size, tuple(range(1, size + 1))]
    found = grouped(names, ["work"] * len(names), [False] * len(names), needs)
    assert len(found) == expected
    assert [name for node in found for name in node.names] == names
    assert found[-1].dependencies == tuple(range(1, expected - 1))


def test_kind_and_condition_tell_stages_apart():
    names = [f"s{number}" for number in range(4)]
    found = grouped(
        names, ["work", "work", "guard", "work"], [False, False, False, True], [()] * 4, smallest=2
    )
    assert [node.names for node in found] == [("s0", "s1"), ("s2",), ("s3",)]
