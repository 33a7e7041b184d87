"""Exporters: to a file, to the console, and to several others at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TextIO, runtime_checkable

import anyio
import anyio.to_thread

from stageflow.compression._json import dump_json
from stageflow.helpers.analytics.event import AnalyticsEvent
from stageflow.helpers.errors import ExportError

__all__ = ("AnalyticsExporter", "CompositeExporter", "ConsoleExporter", "JSONFileExporter")


@runtime_checkable
class AnalyticsExporter(Protocol):
    """Takes analytics events and brings them somewhere. A plain class with these methods is one."""

    async def export(self, event: AnalyticsEvent) -> None:
        """Take one event."""
        ...

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Take several events, in order."""
        ...

    async def flush(self) -> None:
        """Return when what was taken has been brought where it belongs."""
        ...

    async def close(self) -> None:
        """Flush, and release what is held. Closing again does nothing."""
        ...


class JSONFileExporter:
    """Writes one JSON object per line to a file.

    The file and its folders are made with the first event. It is written in a worker thread, so a
    slow disk does not hold up the event loop; a cancelled call has written its events or none.

    Args:
        path: The file.
        append: Keep what is there already; otherwise the first event empties the file.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = True) -> None:
        self.path = Path(path)
        self._append = append
        self._event_count = 0
        self._file: TextIO | None = None
        self._lock = anyio.Lock()

    @property
    def event_count(self) -> int:
        """The number of events written so far."""
        return self._event_count

    async def export(self, event: AnalyticsEvent) -> None:
        """Write one event."""
        await self.export_batch([event])

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Write several events at once; values that JSON has no word for are written as text."""
        if not events:
            return
        lines = "".join(f"{dump_json(event.to_dict())}\n" for event in events)
        async with self._lock:
            await anyio.to_thread.run_sync(self._write, lines)
            self._event_count += len(events)

    async def flush(self) -> None:
        """Hand to the operating system what was written."""
        async with self._lock:
            if self._file is not None:
                await anyio.to_thread.run_sync(self._file.flush)

    async def close(self) -> None:
        """Close the file; another event would open it again, and append."""
        async with self._lock:
            file, self._file = self._file, None
            if file is not None:
                await anyio.to_thread.run_sync(file.close)

    def _write(self, lines: str) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a" if self._append else "w", encoding="utf-8")
            self._append = True
        self._file.write(lines)


_RESET: Final = "\x1b[0m"
# The first word that occurs in the type decides.
_COLORS: Final = (
    (("error", "fail", "exception"), "\x1b[31m"),
    (("warn", "drop", "overflow", "timeout", "cancel", "skip", "retry", "throttle"), "\x1b[33m"),
    (("complete", "success", "ended", "recovered"), "\x1b[32m"),
    (("start", "created", "spawn"), "\x1b[36m"),
)
_OTHER_COLOR: Final = "\x1b[34m"


class ConsoleExporter:
    """Prints one line per event, for people.

    Args:
        colorize: Colour the type by what it speaks of.
        verbose: Also print the event's data.
        file: Where to print; standard output, as it is at the time, unless given.
    """

    def __init__(
        self, *, colorize: bool = True, verbose: bool = False, file: TextIO | None = None
    ) -> None:
        self._colorize = colorize
        self._verbose = verbose
        self._file = file
        self._event_count = 0

    @property
    def event_count(self) -> int:
        """The number of events printed so far."""
        return self._event_count

    async def export(self, event: AnalyticsEvent) -> None:
        """Print one event."""
        self.show(event)

    def show(self, event: AnalyticsEvent) -> None:
        """Print one event, for callers that cannot await."""
        print(self._format_event(event), file=self._file or sys.stdout)
        self._event_count += 1

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Print several events."""
        for event in events:
            await self.export(event)

    async def flush(self) -> None:
        """Do nothing: a line is out once it is printed."""

    async def close(self) -> None:
        """Do nothing: the console is not ours to close."""

    def _format_event(self, event: AnalyticsEvent) -> str:
        at = event.timestamp
        parts = [f"[{at:%H:%M:%S}.{at.microsecond // 1000:03d}]", self._paint(event.event_type)]
        if event.stage_name is not None:
            parts.append(f"stage={event.stage_name}")
        if event.duration_ms is not None:
            parts.append(f"({event.duration_ms:.1f}ms)")
        if self._verbose:
            parts.append(dump_json(event.data))
        return " ".join(parts)

    def _paint(self, event_type: str) -> str:
        if not self._colorize:
            return event_type
        lowered = event_type.lower()
        color = next(
            (color for words, color in _COLORS if any(word in lowered for word in words)),
            _OTHER_COLOR,
        )
        return f"{color}{event_type}{_RESET}"


class CompositeExporter:
    """Gives everything to several exporters, side by side.

    Each is served whether or not the others fail; if some fail, an `ExportError` says which
    errors there were.
    """

    def __init__(self, exporters: Iterable[AnalyticsExporter]) -> None:
        self.exporters = tuple(exporters)

    async def export(self, event: AnalyticsEvent) -> None:
        """Give one event to all."""
        await self._to_all("export", event)

    async def export_batch(self, events: Sequence[AnalyticsEvent]) -> None:
        """Give several events to all."""
        await self._to_all("export_batch", events)

    async def flush(self) -> None:
        """Flush all."""
        await self._to_all("flush")

    async def close(self) -> None:
        """Close all."""
        await self._to_all("close")

    async def _to_all(self, operation: str, *args: Any) -> None:
        errors: dict[int, Exception] = {}

        async def call(position: int, method: Callable[..., Awaitable[None]]) -> None:
            try:
                await method(*args)
            except Exception as error:  # noqa: BLE001 - it is raised with the others, below
                errors[position] = error

        async with anyio.create_task_group() as group:
            for position, exporter in enumerate(self.exporters):
                group.start_soon(call, position, getattr(exporter, operation))
        if errors:
            raise ExportError(operation, [errors[position] for position in sorted(errors)])
