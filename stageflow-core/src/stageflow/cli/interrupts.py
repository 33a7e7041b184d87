"""Ctrl-C: the first asks the run to stop, clean-ups included; the second stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self, TextIO

import anyio.lowlevel

__all__ = ("Interrupts",)

_NAMES: Final = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
if hasattr(signal, "SIGHUP"):  # Windows has none
    _NAMES[signal.SIGHUP] = "SIGHUP"
_SHOW_CURSOR: Final = "\x1b[?25h"


class Interrupts:
    """Takes the process's signals while a run is made and goes on.

    Attributes:
        signal: What was received first; None if nothing was.

    Args:
        live_on: The stream of a live view, which hides the cursor meanwhile.
    """

    def __init__(self, *, live_on: TextIO | None = None) -> None:
        self.signal: int | None = None
        self._live_on = live_on
        self._cancel: Callable[[str], object] | None = None
        self._announce: Callable[[str], object] = _write
        self._soon: Callable[..., object] | None = None
        self._before: dict[int, Any] = {}

    @property
    def status(self) -> int:
        """Exit status of a process that the signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                # Who started us may have switched it off, as `nohup` and `&` do.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def cancel_by(
        self, cancel: Callable[[str], object], announce: Callable[[str], object] | None = None
    ) -> None:
        """From now on, cancel the run with *cancel*, in the event loop that calls this."""
        self._cancel = cancel
        self._announce = announce or _write
        # The command runs on asyncio; its loop may be woken from a signal handler.
        loop: Any = anyio.lowlevel.current_token().native_token
        self._soon = loop.call_soon_threadsafe

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if self._live_on is not None:
                os.write(self._live_on.fileno(), _SHOW_CURSOR.encode())
            _write("Stopped at once; clean-ups may not have run.")
            os._exit(128 + number)
        self.signal = number
        if self._cancel is None or self._soon is None:
            raise KeyboardInterrupt
        try:
            self._soon(self._cancel, f"interrupted by {_NAMES[signal.Signals(number)]}")
        except RuntimeError:  # the run is over, and its loop closed
            raise KeyboardInterrupt from None
        self._announce("Cancelling the run and cleaning up; Ctrl-C again stops at once.")


def _write(text: str) -> None:
    # Not through the stream: the signal may have come in the middle of a write to it.
    os.write(2, f"\n{text}\n".encode())
