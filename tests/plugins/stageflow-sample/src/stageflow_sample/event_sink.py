"""TranscriptEventSink: one line of text for each event."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TextIO

import attrs

from stageflow.contracts.event_sink import EventSinkError

__all__ = ("TranscriptEventSink", "TranscriptSettings", "read_transcript")


@attrs.frozen(kw_only=True)
class TranscriptSettings:
    """Where the transcript goes.

    Attributes:
        path: The file; lines are added to its end.
    """

    path: Path


class TranscriptEventSink:
    """Writes the type of each event and, after a tab, its data as JSON.

    Args:
        settings: Where to write.
    """

    Settings = TranscriptSettings

    def __init__(self, settings: TranscriptSettings) -> None:
        self._path = settings.path
        self._file: TextIO | None = None
        self._lock = Lock()

    async def __aenter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise EventSinkError(
                f"{self._path} cannot be written: {error.strerror}.",
                sink="transcript",
                hint="Set event_sinks.transcript.path to a file that can.",
            ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the file; again is no error."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    async def emit(self, *, type: str, data: dict[str, Any] | None) -> None:
        """Write the event."""
        if not self.try_emit(type=type, data=data):
            raise EventSinkError(
                f"The event {type} cannot be written to {self._path}.",
                sink="transcript",
                hint="Its data must be JSON-able, and the sink open.",
            )

    def try_emit(self, *, type: str, data: dict[str, Any] | None) -> bool:
        """Write the event; False if that cannot be done."""
        try:
            line = f"{type}\t{json.dumps(data)}\n"
            with self._lock:
                if self._file is None:
                    return False
                # Into a buffer of the process: nothing waits for the disk here.
                self._file.write(line)
        except Exception:  # noqa: BLE001 - whatever the data does, a run goes on
            return False
        return True


def read_transcript(path: Path) -> list[tuple[str, dict[str, Any] | None]]:
    """Return the type and the data of each event in a transcript."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(name, json.loads(data)) for name, _, data in (line.partition("\t") for line in lines)]
