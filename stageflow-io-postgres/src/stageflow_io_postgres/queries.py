"""Named queries: SQL lies in `.sql` files, where tools for SQL see it, and is read once.

A query begins with a line `-- name: …`; comments below it say what it is for. `{schema}` stands
for the name of the schema, so that no query depends on a search path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

__all__ = ("load_queries", "quoted", "read_sql")

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def quoted(identifier: str) -> str:
    """Return *identifier* as SQL takes it, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def read_sql(folder: str, name: str) -> str:
    """Return the text of a file of this distribution."""
    return files("stageflow_io_postgres").joinpath(folder, name).read_text(encoding="utf-8")


@cache
def load_queries(area: str, schema: str) -> Mapping[str, str]:
    """Return the queries of the file `sql/<area>.sql` by name, for the schema of that name."""
    _, *parts = _NAME.split(read_sql("sql", f"{area}.sql"))
    queries = zip(parts[::2], parts[1::2], strict=True)
    return MappingProxyType({name: _made(text, schema) for name, text in queries})


def _made(text: str, schema: str) -> str:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().rstrip(";").replace("{schema}", quoted(schema))
