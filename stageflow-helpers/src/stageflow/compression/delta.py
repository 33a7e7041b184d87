"""Shallow dictionary deltas: what to set and what to remove."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from stageflow.compression._json import json_safe

__all__ = ("CompressionMetrics", "apply_delta", "compress", "compute_delta")


@attrs.frozen
class CompressionMetrics:
    """How large a value and its delta are as JSON.

    Attributes:
        original_bytes: Size of the whole value.
        delta_bytes: Size of the delta.
    """

    original_bytes: int
    delta_bytes: int

    @property
    def reduction_bytes(self) -> int:
        """Bytes that sending the delta saves; never negative."""
        return max(self.original_bytes - self.delta_bytes, 0)

    @property
    def ratio(self) -> float:
        """Size of the delta as a share of the whole; 1.0 if the whole has no size."""
        return self.delta_bytes / self.original_bytes if self.original_bytes else 1.0


def compute_delta(base: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return what turns *base* into *current*, in time linear in their keys.

    Args:
        base: What the receiver has.
        current: What the receiver shall have.

    Returns:
        A dictionary with `set` (new and changed keys with their values) and `remove` (keys that
        are gone, in the order of *base*), each left out when it is empty.
    """
    delta: dict[str, Any] = {}
    changed = {k: v for k, v in current.items() if k not in base or base[k] != v}
    gone = [k for k in base if k not in current]
    if changed:
        delta["set"] = changed
    if gone:
        delta["remove"] = gone
    return delta


def apply_delta(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new dictionary: *base* without the removed keys, with the set ones.

    Args:
        base: What the delta was computed from; not changed.
        delta: What `compute_delta` returned. Keys to remove that are not there are passed over.

    Returns:
        A dictionary equal to the `current` of `compute_delta`.
    """
    result = dict(base)
    for key in delta.get("remove", ()):
        result.pop(key, None)
    result.update(delta.get("set", {}))
    return result


def compress(
    base: Mapping[str, Any], current: Mapping[str, Any]
) -> tuple[dict[str, Any], CompressionMetrics]:
    """Return the delta from *base* to *current* and what it saves.

    Sizes are those of UTF-8 JSON; a value that JSON has no word for counts as its `str`.
    """
    delta = compute_delta(base, current)
    return delta, CompressionMetrics(_json_bytes(current), _json_bytes(delta))


def _json_bytes(value: Mapping[str, Any]) -> int:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = json.dumps(json_safe(value))
    return len(text.encode())
