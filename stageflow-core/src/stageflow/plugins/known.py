"""Which distribution has what: the list behind the hint "install ..."."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ("known_distribution",)


def known_distribution(plural: str, name: str) -> str | None:
    """Return the distribution of the workspace that has an implementation, if one has."""
    found = _known().get(plural, {}).get(name)
    return found if isinstance(found, str) else None


@cache
def _known() -> dict[str, dict[str, Any]]:
    import tomllib
    from importlib.resources import files

    text = files("stageflow.plugins").joinpath("known.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
