"""Core's IO managers as they are configured: settings, and who makes a manager of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from stageflow.builtin._configured import configured_by

if TYPE_CHECKING:
    from stageflow.builtin.files_io_manager import FilesIOManager

__all__ = ("FilesSettings", "make_files_io_manager")


@attrs.frozen(kw_only=True)
class FilesSettings:
    """Where files go, and how surely.

    Attributes:
        root: The folder that all assets lie in.
        fsync: Whether `store` returns only when the value would survive a power cut.
        stale_after: Age in seconds from which a half-written file is taken for one that its
            writer has left behind.
    """

    root: Path = Path(".stageflow/assets")
    fsync: bool = True
    stale_after: float = attrs.field(default=86_400.0, validator=attrs.validators.gt(0))


@configured_by(FilesSettings)
def make_files_io_manager(settings: FilesSettings) -> FilesIOManager:
    """Return a manager that keeps data in files."""
    from stageflow.builtin.files_io_manager import FilesIOManager

    return FilesIOManager(settings.root, fsync=settings.fsync, stale_after=settings.stale_after)
