"""Figures as people read them."""

from __future__ import annotations

__all__ = ("count_text", "share_text", "short_text", "size_text")


def count_text(number: int, one: str = "", many: str = "") -> str:
    """Return *number* with its thousands set apart, and the noun that it counts.

    Args:
        number: The figure.
        one: The noun for one; none if empty.
        many: The noun for several; *one* with an ``s`` if empty.
    """
    if not one:
        return f"{number:,}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short_text(number: int) -> str:
    """Return *number* in at most six characters."""
    if number < 1_000_000:
        return f"{number:,}" if number < 100_000 else f"{number / 1_000:.0f} k"
    size, unit = (number / 1e6, "M") if number < 999_500_000 else (number / 1e9, "G")
    return f"{size:.0f} {unit}" if size >= 99.95 else f"{size:.1f} {unit}"


def size_text(size: float) -> str:
    """Return *size* bytes in the unit that leaves few digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or (unit == "B" and size < 1_000):
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:,.1f} TB"


def share_text(part: float, whole: float) -> str:
    """Return *part* as a percentage of *whole*."""
    if not whole:
        return "0 %"
    share = 100 * part / whole
    return "< 1 %" if 0 < share < 1 else f"{share:.0f} %"
