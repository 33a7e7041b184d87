"""Charts as inline SVG: they take their colours from the page, and their words are escaped."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ("bars", "columns", "ring")

_RADIUS: Final = 42.0
_AROUND: Final = 2 * math.pi * _RADIUS


def ring(slices: Sequence[tuple[str, float, str, str]], *, middle: str, below: str) -> str:
    """Return a ring chart with a legend.

    Args:
        slices: Name, amount, the amount in words, and the class that colours it.
        middle: What stands large in the middle.
        below: What stands small below it.
    """
    total = sum(amount for _, amount, _, _ in slices) or 1.0
    parts, turned = [], 0.0
    for name, amount, words, colour in slices:
        length = _AROUND * amount / total
        gap = 1.5 if length > 4 else 0.0
        parts.append(
            f'<circle class="{escape(colour)}" cx="60" cy="60" r="{_RADIUS}" fill="none" '
            f'stroke-width="15" stroke-dasharray="{max(length - gap, 0.5):.2f} {_AROUND:.2f}" '
            f'stroke-dashoffset="{-turned:.2f}"><title>{escape(name)}: {escape(words)}</title>'
            "</circle>"
        )
        turned += length
    legend = "".join(
        '<li><svg class="key" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect class="{escape(colour)}" width="10" height="10" rx="3"/></svg>'
        f"<span>{escape(name)}</span><b>{escape(words)}</b></li>"
        for name, _, words, colour in slices
    )
    return (
        '<div class="ring"><svg viewBox="0 0 120 120" role="img" aria-label="Ring chart">'
        f'<g transform="rotate(-90 60 60)">{"".join(parts)}</g>'
        f'<text x="60" y="61" class="middle">{escape(middle)}</text>'
        f'<text x="60" y="75" class="below">{escape(below)}</text></svg>'
        f'<ul class="legend">{legend}</ul></div>'
    )


def bars(rows: Iterable[tuple[str, float, str, str]]) -> str:
    """Return horizontal bars, one for each of *rows*: name, amount, its words, its class."""
    rows = list(rows)
    most = max((amount for _, amount, _, _ in rows), default=0) or 1
    drawn = "".join(
        f'<li><span class="name" title="{escape(name)}">{escape(name)}</span>'
        f'<svg width="100%" height="8" role="img" aria-label="{escape(words)}">'
        '<rect class="track" width="100%" height="8" rx="4"/>'
        f'<rect class="{escape(colour)}" width="{max(100 * amount / most, 0.6):.2f}%" height="8" '
        f'rx="4"/></svg><b>{escape(words)}</b></li>'
        for name, amount, words, colour in rows
    )
    return f'<ul class="bars">{drawn}</ul>'


def columns(rows: Sequence[tuple[str, int, str]]) -> str:
    """Return upright columns, one for each of *rows*: label, amount, its words."""
    width, height, base = 320, 132, 112
    step = width / max(len(rows), 1)
    most = max((amount for _, amount, _ in rows), default=0) or 1
    drawn = [f'<line class="axis" x1="0" x2="{width}" y1="{base}" y2="{base}"/>']
    for place, (label, amount, words) in enumerate(rows):
        tall = max(base * 0.84 * amount / most, 2.0) if amount else 0.0
        left, middle = place * step + step * 0.14, place * step + step / 2
        drawn.append(
            f"<g><title>{escape(label)}: {escape(words)}</title>"
            f'<rect class="accent" x="{left:.1f}" y="{base - tall:.1f}" width="{step * 0.72:.1f}" '
            f'height="{tall:.1f}" rx="3"/>'
            f'<text class="value" x="{middle:.1f}" y="{base - tall - 5:.1f}">{escape(words)}</text>'
            f'<text class="label" x="{middle:.1f}" y="{base + 15}">{escape(label)}</text></g>'
        )
    return (
        f'<svg class="columns" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Column chart">{"".join(drawn)}</svg>'
    )
