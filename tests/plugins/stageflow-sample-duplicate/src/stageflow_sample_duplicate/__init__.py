"""A plugin that claims names of another one."""

from __future__ import annotations


class OtherFolderIOManager:
    """Never comes into use as long as the other one is installed, too."""


def transcript() -> None:
    """Say nothing."""
