"""Sources: settings as they were written, from file, environment and arguments, with their origins.

Later sources win: the file, then `STAGEFLOW_...` variables, then arguments. Nothing is checked
or resolved here; a value that nobody uses can be wrong without doing harm.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import attrs

from stageflow.plugins.errors import AmbiguousSettingsError, SettingsFileError

__all__ = ("Origin", "SettingsTree", "WrittenText", "read_settings")

PREFIX = "STAGEFLOW_"
# Test suites keep the addresses of their servers there; they are no settings.
FOREIGN_PREFIXES = ("STAGEFLOW_TEST_",)

SettingsPath = tuple[str, ...]


@attrs.frozen
class Origin:
    """Where a setting was written.

    Attributes:
        kind: Which source.
        where: Path of the file, name of the variable, or dotted path of the argument.
        line: Line in the file.
    """

    kind: Literal["file", "environment", "argument"]
    where: str
    line: int | None = None

    def __str__(self) -> str:
        if self.kind == "argument":
            return f"argument {self.where}"
        return self.where if self.line is None else f"{self.where}:{self.line}"


class WrittenText(str):
    """A text that remembers what kind of source it was written in, and is not shown by its repr.

    It may be a secret: that is known only when its setting's type is.

    Attributes:
        folder: The folder of the settings file, if it comes from one.
        is_loose: Whether it may stand for a number, a truth value or JSON, as in an
            environment variable, where there is nothing but text.
    """

    __slots__ = ("folder", "is_loose")

    folder: Path | None
    is_loose: bool

    def __new__(cls, text: str, *, folder: Path | None = None, is_loose: bool = False) -> Self:
        """Return *text* with what is known of its source."""
        self = super().__new__(cls, text)
        self.folder = folder
        self.is_loose = is_loose
        return self

    def __repr__(self) -> str:
        return "'***'"


@attrs.frozen(kw_only=True)
class SettingsTree:
    """All settings as they were written, merged.

    Attributes:
        values: Nested tables.
        root: Folder of the project: of the settings file, else of the nearest
            `pyproject.toml`, else the folder where the search began.
        source: The settings file, if there is one.
        environ: Variables that references are resolved against.
    """

    values: Mapping[str, Any] = attrs.field(repr=False)
    root: Path
    source: Path | None = None
    environ: Mapping[str, str] = attrs.field(repr=False)
    _origins: Mapping[SettingsPath, Origin] = attrs.field(repr=False)

    def origin(self, path: Iterable[str]) -> Origin | None:
        """Return where the setting at *path*, or the table around it, was written."""
        place = tuple(path)
        while place and place not in self._origins:
            place = place[:-1]
        return self._origins.get(place)

    def table(self, *path: str) -> Mapping[str, Any]:
        """Return the table at *path*; an empty one if there is none, or something else."""
        value: Any = self.values
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}


def read_settings(
    *,
    directory: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    known: Mapping[str, Iterable[str]] | None = None,
) -> SettingsTree:
    """Return the settings of a project, merged from all sources.

    Args:
        directory: Where the search for the settings file begins, upwards; the current folder
            unless given.
        environ: Variables to read; the process's own unless given.
        arguments: Settings given in code, as nested mappings; keys may be dotted paths.
        assignments: Settings given as text, each `dotted.path=value`.
        known: Names of implementations by table, so that `POSTGRES_QUEUE` in a variable can
            mean `postgres-queue`.

    Raises:
        AmbiguousSettingsError: If `pyproject.toml` and `stageflow.toml` of one folder both
            hold settings.
        SettingsFileError: If a file cannot be read or is not TOML.
    """
    start = Path(directory or Path.cwd()).absolute()
    environ = os.environ if environ is None else environ
    merged = _Merge()
    source, root = _find(start, merged)
    _add_variables(merged, environ, known or {})
    for path, value in (arguments or {}).items():
        merged.put(tuple(path.split(".")), _mark(value), Origin("argument", path))
    for assignment in assignments:
        path, _, text = assignment.partition("=")
        place = tuple(path.strip().split("."))
        merged.put(place, WrittenText(text, is_loose=True), Origin("argument", path.strip()))
    return SettingsTree(
        values=merged.values, root=root, source=source, environ=environ, origins=merged.origins
    )


class _Merge:
    """Tables under construction, and where each part of them was written last."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[SettingsPath, Origin] = {}

    def put(self, path: SettingsPath, value: Any, origin: Origin) -> None:
        """Set one value, or merge one table, over what is there."""
        if isinstance(value, Mapping):
            if not isinstance(self.at(path), dict):
                self._set(path, {}, origin)
            for key, part in value.items():
                self.put((*path, str(key)), part, origin)
        else:
            self._set(path, value, origin)

    def at(self, path: SettingsPath) -> Any:
        """Return what is at a path; None if nothing is."""
        place: Any = self.values
        for key in path:
            place = place.get(key) if isinstance(place, dict) else None
        return place

    def _set(self, path: SettingsPath, value: Any, origin: Origin) -> None:
        table = self.values
        for depth, key in enumerate(path[:-1], start=1):
            inner = table.get(key)
            if not isinstance(inner, dict):
                inner = table[key] = {}
                self.origins[path[:depth]] = origin
            table = inner
        table[path[-1]] = value
        self.origins[path] = origin


def _find(start: Path, merged: _Merge) -> tuple[Path | None, Path]:
    """Add the nearest settings file upwards; return it and the project's folder."""
    nearest_project: Path | None = None
    for folder in (start, *start.parents):
        project, own = folder / "pyproject.toml", folder / "stageflow.toml"
        in_project = None
        if project.is_file():
            nearest_project = nearest_project or folder
            document, text = _parse(project)
            tool = document.get("tool", {})
            in_project = tool.get("stageflow") if isinstance(tool, dict) else None
            if in_project is not None:
                if own.is_file():
                    raise AmbiguousSettingsError(_shown(project, start), _shown(own, start))
                _add_file(merged, in_project, text, project, _shown(project, start))
                return project, folder
        if own.is_file():
            document, text = _parse(own)
            _add_file(merged, document, text, own, _shown(own, start))
            return own, folder
    return None, nearest_project or start


def _parse(path: Path) -> tuple[dict[str, Any], str]:
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsFileError(str(path), str(error)) from error
    except tomllib.TOMLDecodeError as error:
        # The parser's message quotes no values, only characters and the place.
        raise SettingsFileError(str(path), str(error)) from None


def _add_file(merged: _Merge, values: Any, text: str, path: Path, shown: str) -> None:
    if not isinstance(values, dict):
        raise SettingsFileError(shown, "tool.stageflow is not a table")
    from stageflow.plugins._toml_lines import key_lines

    lines = key_lines(text)
    prefix = ("tool", "stageflow") if path.name == "pyproject.toml" else ()

    def add(place: SettingsPath, value: Any, line: int | None) -> None:
        line = lines.get((*prefix, *place), line)
        if isinstance(value, dict):
            if place:
                merged.put(place, {}, Origin("file", shown, line))
            for key, part in value.items():
                add((*place, key), part, line)
        else:
            merged.put(place, _mark(value, path.parent), Origin("file", shown, line))

    add((), values, None)


def _mark(value: Any, folder: Path | None = None) -> Any:
    if type(value) is str:
        return WrittenText(value, folder=folder)
    if isinstance(value, (list, tuple)):
        return [_mark(part, folder) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _mark(part, folder) for key, part in value.items()}
    return value


def _shown(path: Path, start: Path) -> str:
    return os.path.relpath(path, start)


def _add_variables(
    merged: _Merge, environ: Mapping[str, str], known: Mapping[str, Iterable[str]]
) -> None:
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable.startswith(FOREIGN_PREFIXES):
            continue
        path: SettingsPath = ()
        for part in variable.removeprefix(PREFIX).lower().split("__"):
            there = merged.at(path)
            names = [*(there if isinstance(there, dict) else ()), *known.get(".".join(path), ())]
            path = (*path, next((name for name in names if _folded(name) == part), part))
        text = WrittenText(environ[variable], is_loose=True)
        merged.put(path, text, Origin("environment", variable))


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
