"""Origin: how a run that was started from the command line finds its pipeline again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stageflow.cli.errors import CommandError
from stageflow.cli.inputs import GivenInputs
from stageflow.cli.making import build_target
from stageflow.cli.targets import Target, load_target
from stageflow.runtime import RunDocument

__all__ = ("origin_of", "pipeline_of")


def origin_of(target: Target, given: GivenInputs, *, max_concurrency: int | None) -> dict[str, Any]:
    """Return what `pipeline_of` needs to make the same pipeline again, as plain data."""
    return {
        "target": target.text,
        "inputs": dict(given.values),
        "texts": dict(given.texts),
        "max_concurrency": max_concurrency,
        "directory": str(Path.cwd()),
    }


async def pipeline_of(document: RunDocument, *, target: str | None = None) -> Any:
    """Return the built pipeline of a run; None if its record does not say which it is.

    Args:
        document: What the run was started with.
        target: Where its pipeline is now, if it was moved.

    Raises:
        CommandError: If there is no such target any more.
    """
    origin = document.origin
    known = isinstance(origin, Mapping) and "target" in origin
    if target is None and not known:
        return None
    facts = origin if known else {}
    directory = facts.get("directory")
    if target is None and directory is not None:
        # Its target and its inputs may name files as they were seen from there.
        with suppress(FileNotFoundError):
            os.chdir(directory)
    given = GivenInputs(facts.get("inputs", {}), facts.get("texts", {}))
    try:
        found = load_target(target or facts["target"])
    except CommandError as error:
        if target is None:
            moved = "If the pipeline was moved, say where it is now: --target TARGET."
            error.hint = f"{error.hint} {moved}".strip()
        raise
    return await build_target(found, given, max_concurrency=facts.get("max_concurrency"))
