"""What the parts of `PostgresRunStore` share: the database, and how values lie in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from stageflow.codec import Codec, MalformedPayloadError
from stageflow.contracts.run_store import RunEvent, RunStatus, check_run_transition
from stageflow.contracts.storage import StorageClosedError, StorageCorruptError
from stageflow_io_postgres.database import Connection, Database

__all__ = ("EncodedEvent", "PostgresRuns", "as_text", "from_utf8", "utf8")

EncodedEvent = tuple[str, str, bytes]
_CHANNEL_BYTES: Final = 63


class PostgresRuns:
    """The store, open or not; each part adds the calls of one capability.

    Args:
        database: Where the runs are; whoever opened it closes it.
        codec: What metadata and events are encoded with; the default one unless given.
    """

    def __init__(self, database: Database, *, codec: Codec | None = None) -> None:
        self._db = database
        self._sql = database.queries("runs")
        self._codec = codec or Codec.default()
        self._is_closed = False
        channel = f"stageflow.runs.{database.schema}".encode()[:_CHANNEL_BYTES]
        self._channel = channel.decode("utf-8", "ignore")

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
        """Take no more calls; again is no error. The database stays open."""
        self._is_closed = True

    @property
    def _database(self) -> Database:
        if self._is_closed:
            raise StorageClosedError(self._db.label)
        return self._db

    def _encode(self, metadata: Mapping[str, Any]) -> tuple[list[str], list[bytes]]:
        encoded = {
            as_text(name): self._codec.encode(value, where=name) for name, value in metadata.items()
        }
        return list(encoded), list(encoded.values())

    def _encode_events(self, events: Iterable[RunEvent]) -> list[EncodedEvent]:
        encode = self._codec.encode
        return [
            (as_text(event.type), event.at.isoformat(), encode(event.data, where="data"))
            for event in events
        ]

    def _decode(self, value: bytes) -> Any:
        return self._codec.decode(value)

    @contextmanager
    def _sound(self, what: str) -> Iterator[None]:
        """Raise `StorageCorruptError` if what lies in the database is not what was written."""
        try:
            yield
        except (MalformedPayloadError, TypeError, ValueError) as error:
            told = str(getattr(error, "message", error)).rstrip(".")
            raise StorageCorruptError(
                f"{self._db.label} holds something of {what} that was never written: {told}.",
                storage=self._db.label,
                hint="Restore it from a back-up.",
            ) from error

    async def _set_status(
        self,
        connection: Connection,
        seq: int,
        change: tuple[UUID, str, RunStatus],
        *,
        error: str | None = None,
        duration_ms: float | None = None,
    ) -> None:
        """Make the *change*, of a run from one status to another.

        Raises:
            InvalidTransitionError: The run may not.
        """
        run_id, status, new = change
        with self._sound(f"run {run_id}"):
            current = RunStatus(status)
        check_run_transition(run_id, current, new)
        again = current.is_final and not new.is_final
        ends = new.is_final and not current.is_final
        arguments = (new.value, as_text(error), duration_ms, again, ends)
        await connection.execute(self._sql["set_status"], seq, *arguments)
        if new is not current:
            await connection.execute(self._sql["reschedule"], seq)

    async def _announce(self, connection: Connection, run_id: UUID) -> None:
        """Tell whoever listens, once the transaction is committed, to look at the run."""
        await connection.execute("select pg_notify($1, $2)", self._channel, str(run_id))


def as_text(text: Any) -> Any:
    """Return *text* as the server can keep it: half a surrogate pair and NUL become escapes."""
    if not isinstance(text, str):
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def utf8(text: str) -> bytes:
    """Return *text* so that it comes back as it was, whatever it holds."""
    return text.encode("utf-8", "surrogatepass")


def from_utf8(data: bytes) -> str:
    """Return the text of which `utf8` made *data*.

    Raises:
        ValueError: It is no such text.
    """
    return str(data, "utf-8", "surrogatepass")
