"""Write files wholly or not at all, and a report as JSON without holding all of it."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from document_audit.report import Report

__all__ = ("write_json", "write_whole")


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write *parts* to *path*, making its folder if need be.

    Whoever reads *path* sees the old content or the new one; if anything fails, the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(report: Report, path: Path) -> None:
    """Write *report* to *path*: one JSON object, with a line for each file."""
    write_whole(path, _json_parts(report))


def _json_parts(report: Report) -> Iterator[str]:
    head = json.dumps(report.to_dict(files=False), ensure_ascii=False, indent=2)
    yield head[: head.rindex("[]")] + "["  # the rows of files come last
    separator = "\n    "
    for row in report.file_dicts():
        yield separator + json.dumps(row, ensure_ascii=False)
        separator = ",\n    "
    yield "\n  ]\n}\n"
