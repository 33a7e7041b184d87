"""Folders of assets and partitions: names of any length, and the files with values in them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from stageflow.contracts.hive import asset_folder, parse_partition_path, partition_path
from stageflow.contracts.partitions import Partition

__all__ = ("AssetFolders", "ValueFile")

# File systems take 255 bytes; some of them count in UTF-16, all of them after encryption.
_LONGEST: Final = 120
_HASHED: Final = "~~"
_KEY: Final = "_key"
_VALUE: Final = re.compile(r"part-(?P<turn>[0-9]+)-(?P<serializer>[a-z0-9-]+)(?:\..*)?")


@attrs.frozen(order=True)
class ValueFile:
    """A file with a value; of several beside each other, the greatest has the value.

    There are several for a moment, while a value is replaced by one of another serialiser.

    Attributes:
        turn: How often the serialiser has changed.
        serializer: The name of the one that reads it.
        path: The file.
    """

    turn: int
    serializer: str
    path: Path = attrs.field(order=False)


@attrs.frozen
class AssetFolders:
    """The folders below a root, one for each asset and partition.

    Attributes:
        root: The folder that all of them lie in.
    """

    root: Path

    def of(self, asset_name: str, partition: Partition) -> tuple[str, ...]:
        """Return the segments of the path that stand for a partition, as they would be in full."""
        return (
            asset_folder(asset_name, distinct_case=True),
            *partition_path(partition, distinct_case=True),
        )

    def path(self, segments: Sequence[str]) -> Path:
        """Return the folder for *segments*, which are shortened where they are too long."""
        return self.root.joinpath(*map(_shortened, segments))

    def make(self, segments: Sequence[str]) -> Path:
        """Make the folder for *segments*, and return it."""
        folder = self.path(segments)
        folder.mkdir(parents=True, exist_ok=True)
        self.keep_keys(segments)
        return folder

    def keep_keys(self, segments: Sequence[str]) -> None:
        """Write beside what has been shortened what it stands for."""
        folder = self.root
        for segment in segments:
            folder /= _shortened(segment)
            if folder.name != segment and not (key := folder / _KEY).exists():
                key.write_text(segment, encoding="ascii")

    def remove(self, segments: Sequence[str]) -> None:
        """Remove the folder and those above it as far as they are empty."""
        folder = self.path(segments)
        with suppress(OSError):  # it is not empty, or gone already
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    def value_files(self, segments: Sequence[str]) -> list[ValueFile]:
        """Return the files with values in the folder; the last one is in force."""
        try:
            with os.scandir(self.path(segments)) as entries:
                return sorted(filter(None, map(_value_file, entries)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def partitions(self, asset_name: str) -> Iterator[Partition]:
        """Give every partition of the asset that has a value, one folder at a time.

        Raises:
            PartitionKeyError: A folder with a value is none of ours.
        """
        root = self.path(self.of(asset_name, None))
        waiting: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
        while waiting:
            folder, segments = waiting.pop()
            has_value = False
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        # One that has been cut may have lost its `=`.
                        if ("=" in entry.name or _HASHED in entry.name) and entry.is_dir():
                            below = Path(entry.path)
                            waiting.append((below, (*segments, _full(below))))
                        elif not has_value and _value_file(entry):
                            has_value = True
            except (FileNotFoundError, NotADirectoryError):
                continue  # deleted meanwhile, or nothing was ever stored
            if has_value:
                yield parse_partition_path(segments)


def _value_file(entry: os.DirEntry[str]) -> ValueFile | None:
    match = _VALUE.fullmatch(entry.name)
    if match is None:
        return None
    return ValueFile(int(match["turn"]), match["serializer"], Path(entry.path))


def _shortened(segment: str) -> str:
    if len(segment) <= _LONGEST:
        return segment
    digest = hashlib.sha256(segment.encode()).hexdigest()[:40]
    return f"{segment[: _LONGEST - 42]}{_HASHED}{digest}"


def _full(folder: Path) -> str:
    if _HASHED not in folder.name:
        return folder.name
    try:
        return (folder / _KEY).read_text(encoding="ascii")
    except FileNotFoundError:
        return folder.name  # being made at this moment, or damaged: then it is no partition's
