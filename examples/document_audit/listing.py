"""Find the files of a folder, in an order that does not change, and deal them into batches."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import attrs

from stageflow.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ("Batch", "FileRecord", "Listing", "Skipped", "list_files", "printable", "split_batches")

CHECKOUT = Path(__file__).resolve().parents[2]
MAX_SKIPPED = 1_000

# Version control keeps its own files here: never documents, even where git would list them.
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "CVS", "_darcs"})
_CACHES = frozenset({
    "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache",
    ".hypothesis", ".stageflow", ".stamps", ".cache", ".eggs", ".gradle", ".terraform", ".next",
    ".nuxt", ".idea", ".vs",
})  # fmt: skip
# Made by tools as a rule, though a folder of documents may have such a name: left out, and told.
_MADE = frozenset({
    "node_modules", "bower_components", ".venv", "venv", ".tox", ".nox", "build", "dist", "target",
})  # fmt: skip
# A file that git tracks is listed all the same.
_LEFT_OUT = _VERSION_CONTROL | _CACHES | _MADE
# An audited folder may be a stranger's: git must not run what its configuration names.
_GIT = ("git", "-c", "core.fsmonitor=false")
_GIT_TIMEOUT = 120.0


@attrs.frozen
class FileRecord:
    """One file: its path below the audited folder (with ``/``), its size and when it changed."""

    path: str
    size: int
    mtime_ns: int


@attrs.frozen
class Skipped:
    """One entry of the folder that is not audited, and why."""

    path: str
    reason: str


@attrs.frozen(kw_only=True)
class Listing:
    """The files of a folder, sorted by path.

    Attributes:
        root: The audited folder.
        files: One record per regular file.
        skipped: Entries that are not audited; at most `MAX_SKIPPED` of them.
        skipped_count: How many entries are not audited.
        source: ``"git"`` or ``"walk"``: who told the names.
    """

    root: str
    files: tuple[FileRecord, ...]
    skipped: tuple[Skipped, ...] = ()
    skipped_count: int = 0
    source: str = "walk"

    @property
    def total_bytes(self) -> int:
        """The sizes of all files, added up."""
        return sum(record.size for record in self.files)


@attrs.frozen(kw_only=True)
class Batch:
    """Some files of one folder that are analysed together.

    Attributes:
        index: The place of the batch among its siblings, from zero.
        root: The audited folder.
        files: Its files, in the order of the listing.
    """

    index: int
    root: str
    files: tuple[FileRecord, ...]

    @property
    def key(self) -> str:
        """A digest of names, sizes and times: another key means that a file has changed."""
        digest = blake2b(digest_size=8)
        for record in self.files:
            line = f"{record.size} {record.mtime_ns} ".encode()
            digest.update(line + os.fsencode(record.path) + b"\0")
        return digest.hexdigest()

    @property
    def total_bytes(self) -> int:
        """The sizes of its files, added up."""
        return sum(record.size for record in self.files)


def printable(path: str) -> str:
    """Return *path* as text that any encoding of Unicode can carry.

    A file name need not be valid UTF-8; the bytes that are not are shown escaped.
    """
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def list_files(root: str | Path = CHECKOUT, *, exclude: Iterable[str | Path] = ()) -> Listing:
    """List the regular files below *root*, sorted by path; links are never followed.

    In a git checkout the names come from git, so that ignored files are left out; elsewhere,
    or without git, the folder is walked, and what tools have made is left out by name.

    Args:
        root: The folder to list; this checkout if none is given.
        exclude: Files and folders to leave out, such as the audit's own reports.

    Raises:
        ConfigurationError: *root* is not a folder that can be read.
    """
    folder = Path(root).absolute()
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot audit {printable(str(root))}: {error.strerror or error}.",
            hint="Name a folder that exists and that you may read.",
        ) from error
    skipped = _SkippedEntries()
    known = _git_names(folder)
    names = _walk(folder, "", skipped) if known is None else known
    left_out = tuple(_below(folder, path) for path in exclude)
    records = [
        record
        for name in names
        if not any(name == out or name.startswith(f"{out}/") for out in left_out if out)
        for record in _records(folder, name, skipped)
    ]
    records.sort(key=lambda record: record.path)
    return Listing(
        root=str(folder),
        files=tuple(records),
        skipped=tuple(sorted(skipped.shown, key=lambda one: one.path)),
        skipped_count=skipped.count,
        source="walk" if known is None else "git",
    )


def split_batches(
    listing: Listing, *, max_files: int = 64, max_bytes: int = 4 * 1024 * 1024
) -> Iterator[Batch]:
    """Deal the files of *listing* into batches, in order and without gaps.

    Args:
        listing: What to deal.
        max_files: No batch has more files.
        max_bytes: No batch of more than one file has more bytes.

    Raises:
        ConfigurationError: A limit is below one.
    """
    if max_files < 1 or max_bytes < 1:
        raise ConfigurationError(
            f"A batch of {max_files} files and {max_bytes} bytes holds nothing.",
            hint="Give limits of one or more.",
        )
    index, start, size = 0, 0, 0
    files = listing.files
    for position, record in enumerate(files):
        full = position - start == max_files or size + record.size > max_bytes
        if full and position > start:
            yield Batch(index=index, root=listing.root, files=files[start:position])
            index, start, size = index + 1, position, 0
        size += record.size
    if start < len(files):
        yield Batch(index=index, root=listing.root, files=files[start:])


@attrs.define
class _SkippedEntries:
    count: int = 0
    shown: list[Skipped] = attrs.field(factory=list)

    def add(self, path: str, reason: str) -> None:
        self.count += 1
        if len(self.shown) < MAX_SKIPPED:
            self.shown.append(Skipped(printable(path), reason))


def _below(folder: Path, path: str | Path) -> str:
    """The place of *path* below *folder*, with slashes; empty if it lies elsewhere."""
    try:
        place = PurePosixPath(Path(path).absolute().relative_to(folder).as_posix())
    except ValueError:
        return ""
    return "" if place == PurePosixPath(".") else str(place)


def _git_names(folder: Path) -> Sequence[str] | None:
    """The names git knows or would add below *folder*; None if git cannot tell."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"
    command = (*_GIT, "ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard")
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, timeout=_GIT_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0 or not done.stdout:
        return None  # no checkout, or a folder that the checkout around it ignores as a whole
    names = set()
    for entry in done.stdout.split(b"\0"):
        if not entry:
            continue
        tag, name = entry[:1], os.fsdecode(entry[2:])
        folders = name.split("/")[:-1]
        unwanted = _LEFT_OUT if tag == b"?" else _VERSION_CONTROL
        if unwanted.isdisjoint(folders):
            names.add(name)
    return sorted(names)


def _walk(folder: Path, below: str, skipped: _SkippedEntries) -> Iterator[str]:
    """Yield the names below ``folder/below``, but for folders of what tools have made."""
    pending = [below]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(folder / place) as entries:
                found = list(entries)
        except OSError as error:
            skipped.add(place, f"folder cannot be read: {error.strerror or error}")
            continue
        for entry in found:
            name = f"{place}/{entry.name}" if place else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield name
            elif entry.name in _MADE or os.path.lexists(f"{entry.path}/pyvenv.cfg"):
                skipped.add(name, "folder of what tools have made")
            elif entry.name not in _LEFT_OUT:
                pending.append(name)


def _records(folder: Path, name: str, skipped: _SkippedEntries) -> Iterator[FileRecord]:
    path = folder / name
    try:
        info = path.lstat()
    except OSError as error:
        if error.errno != errno.ENOENT:  # git also names files that were deleted since
            skipped.add(name, f"cannot be looked at: {error.strerror or error}")
        return
    if stat.S_ISREG(info.st_mode):
        yield FileRecord(name, info.st_size, info.st_mtime_ns)
    elif stat.S_ISLNK(info.st_mode):
        skipped.add(name, f"symbolic link, {'not followed' if _leads_on(path) else 'broken'}")
    elif stat.S_ISDIR(info.st_mode):  # git names a checkout within the checkout as a folder
        for inner in _walk(folder, name.rstrip("/"), skipped):
            yield from _records(folder, inner, skipped)
    else:
        skipped.add(name, "neither file nor folder")


def _leads_on(link: Path) -> bool:
    try:
        link.stat()
    except OSError:
        return False
    return True
