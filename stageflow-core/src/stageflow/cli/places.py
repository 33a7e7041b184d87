"""Places: which line of the user's code an error comes from."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from stageflow.cli.text import one_line

__all__ = ("place_of", "told")


def place_of(error: BaseException) -> str:
    """Return where in the user's code *error* comes from, as `file:line in function: code`."""
    if isinstance(error, SyntaxError) and error.filename:
        line = (error.text or "").strip()
        return f"{_shown_path(error.filename)}:{error.lineno}: {one_line(line)}"
    frames = traceback.extract_tb(error.__traceback__)
    candidates = [frame for frame in frames if not _is_machinery(frame.filename)]
    own = [frame for frame in candidates if not _is_installed(frame.filename)]
    for frame in reversed(own or candidates):
        inside = "" if frame.name == "<module>" else f" in {frame.name}"
        return f"{_shown_path(frame.filename)}:{frame.lineno}{inside}: {one_line(frame.line)}"
    return ""


def told(error: BaseException) -> str:
    """Return an error as `Type: message`, on one line and without a full stop."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__).rstrip(".")


def _shown_path(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _is_installed(path: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts)


def _is_machinery(path: str) -> bool:
    """Whether a file's lines only call the user's: Python's, the event loop's and our own."""
    import anyio

    import stageflow

    place = Path(path)
    ours = [*map(Path, stageflow.__path__), Path(anyio.__file__).parent]
    if path.startswith("<") or any(place.is_relative_to(folder) for folder in ours):
        return True
    return place.is_relative_to(Path(os.__file__).parent) and not _is_installed(path)
