"""What everything that works on a shared database has in common."""

from __future__ import annotations

from hashlib import blake2b
from types import TracebackType
from typing import Any, Self

import anyio.lowlevel

from stageflow.contracts.storage import StorageClosedError
from stageflow_io_postgres.database import Database

__all__ = ("Component", "digest", "plain_text")


class Component:
    """Works on a database that others use, too: closing it leaves the database open.

    Args:
        database: Must be open for as long as this is used.
    """

    def __init__(self, database: Database) -> None:
        self._shared = database
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse further calls; again is no error."""
        self._is_closed = True
        await anyio.lowlevel.checkpoint()

    @property
    def _database(self) -> Database:
        if self._is_closed:
            raise StorageClosedError(repr(self))
        return self._shared

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shared.label!r})"


def digest(*texts: str) -> bytes:
    """Return sixteen bytes that no other texts have: what an index holds of any of them."""
    made = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        made.update(len(encoded).to_bytes(8, "big") + encoded)
    return made.digest()


def plain_text(value: Any) -> str:
    """Return *value* as a text that the server takes: what it refuses becomes an escape."""
    text = str(value).replace("\0", "\\x00")
    return text.encode("utf-8", "backslashreplace").decode()
