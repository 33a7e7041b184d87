"""The `stageflow` command. It is a program, not an interface: import nothing from here."""

from __future__ import annotations

__all__ = ()
