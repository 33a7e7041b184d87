"""Shared: what those use who name nothing of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ("Shared",)

T = TypeVar("T")


class Shared(Generic[T]):
    """Holds one instance: made at the first use, and replaceable."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._lock = threading.Lock()
        self._make = make
        self._value: T | None = None

    def get(self) -> T:
        """Return what is shared."""
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value

    def set(self, value: T | None) -> None:
        """Share *value*; without one, make a new one at the next use."""
        with self._lock:
            self._value = value
