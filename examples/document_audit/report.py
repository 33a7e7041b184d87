"""The report of an audit: totals, findings, duplicates, and a row for every file."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, overload

import attrs
import cattrs

from stageflow.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = (
    "SCHEMA",
    "EqualGroup",
    "FileRow",
    "FileTable",
    "GroupTotal",
    "LocatedFinding",
    "NearGroup",
    "NearMember",
    "Problem",
    "Report",
    "RuleTotal",
    "Totals",
)

SCHEMA: Final = 1


@attrs.frozen(kw_only=True)
class FileRow:
    """What is known of one file; figures are zero where there is no text."""

    path: str
    size: int = 0
    kind: str = "unreadable"
    format: str = ""
    encoding: str = ""
    language: str = ""
    lines: int = 0
    blank: int = 0
    comment: int = 0
    words: int = 0
    characters: int = 0
    longest: int = 0
    reading_ease: float | None = None
    secrets: int = 0
    personal: int = 0
    sha256: str = ""
    problem: str = ""


_NUMBERS: Final = (
    "size", "lines", "blank", "comment", "words", "characters", "longest", "secrets", "personal",
)  # fmt: skip
_NAMES: Final = ("kind", "format", "encoding", "language", "problem")


class FileTable(Sequence[FileRow]):
    """Rows of files that take some 150 bytes each; a row is made when it is asked for."""

    def __init__(self, rows: Iterable[FileRow] = ()) -> None:
        self._paths: list[str] = []
        self._numbers = {column: array("q") for column in _NUMBERS}
        self._codes = {column: array("I") for column in _NAMES}
        self._names: list[str] = []
        self._code_of: dict[str, int] = {}
        self._ease = array("f")
        self._digests = bytearray()
        for row in rows:
            self.append(row)

    def append(self, row: FileRow) -> None:
        """Add *row* at the end."""
        self._paths.append(row.path)
        for column, numbers in self._numbers.items():
            numbers.append(getattr(row, column))
        for column, codes in self._codes.items():
            codes.append(self._code(getattr(row, column)))
        self._ease.append(math.nan if row.reading_ease is None else row.reading_ease)
        self._digests += bytes.fromhex(row.sha256) or bytes(32)

    def _code(self, name: str) -> int:
        code = self._code_of.setdefault(name, len(self._names))
        if code == len(self._names):
            self._names.append(name)
        return code

    def column(self, name: str) -> array[int]:
        """Return all values of a column of figures: no row is made for them."""
        return self._numbers[name]

    def digest(self, number: int) -> bytes:
        """Return the SHA-256 of a file, all zero if it could not be read."""
        return bytes(self._digests[32 * number : 32 * number + 32])

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> FileRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[FileRow]: ...
    def __getitem__(self, index: int | slice) -> FileRow | list[FileRow]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        values: dict[str, Any] = {name: found[number] for name, found in self._numbers.items()}
        for name, codes in self._codes.items():
            values[name] = self._names[codes[number]]
        ease, digest = self._ease[number], self.digest(number)
        return FileRow(
            path=self._paths[number],
            reading_ease=None if math.isnan(ease) else round(ease, 1),
            sha256=digest.hex() if any(digest) else "",
            **values,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileTable):
            return NotImplemented
        return len(self) == len(other) and all(map(FileRow.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # it can grow


@attrs.frozen(kw_only=True)
class Totals:
    """The figures of the whole folder."""

    files: int = 0
    bytes: int = 0
    source: int = 0
    document: int = 0
    data: int = 0
    binary: int = 0
    empty: int = 0
    unreadable: int = 0
    truncated: int = 0
    skipped: int = 0
    lines: int = 0
    code: int = 0
    comment: int = 0
    blank: int = 0
    words: int = 0
    secrets: int = 0
    personal: int = 0
    files_with_secrets: int = 0
    files_with_personal: int = 0
    equal_groups: int = 0
    equal_copies: int = 0
    equal_bytes: int = 0
    near_groups: int = 0
    near_files: int = 0


@attrs.frozen(kw_only=True)
class GroupTotal:
    """How much of the folder is of one format, in one language or in one encoding."""

    name: str
    kind: str = ""
    files: int = 0
    bytes: int = 0
    lines: int = 0


@attrs.frozen(kw_only=True)
class RuleTotal:
    """How often one rule matched."""

    rule: str
    category: str
    severity: str
    count: int


@attrs.frozen(kw_only=True)
class LocatedFinding:
    """One finding and the file that it is in."""

    path: str
    line: int
    category: str
    rule: str
    severity: str
    excerpt: str


@attrs.frozen(kw_only=True)
class EqualGroup:
    """Files of the same content; `paths` may be cut short, `count` is not."""

    sha256: str
    size: int
    count: int
    paths: tuple[str, ...]


@attrs.frozen(kw_only=True)
class NearMember:
    """A text of a group, and how alike it is to the first of the group."""

    path: str
    similarity: float


@attrs.frozen(kw_only=True)
class NearGroup:
    """Texts of which each is nearly the same as another of the group.

    `members` may be cut short, `count` is not.
    """

    count: int
    members: tuple[NearMember, ...]


@attrs.frozen(kw_only=True)
class Problem:
    """A file or folder that was not, or not wholly, audited."""

    path: str
    problem: str


@attrs.frozen(kw_only=True)
class Report:
    """All that an audit has to tell.

    Lists are bounded, and the totals say how much there is; only `files` has a row for each.
    """

    root: str
    created_at: str
    totals: Totals
    formats: tuple[GroupTotal, ...] = ()
    languages: tuple[GroupTotal, ...] = ()
    encodings: tuple[GroupTotal, ...] = ()
    rules: tuple[RuleTotal, ...] = ()
    findings: tuple[LocatedFinding, ...] = ()
    equal: tuple[EqualGroup, ...] = ()
    near: tuple[NearGroup, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: FileTable = attrs.field(factory=FileTable)

    def to_dict(self, *, files: bool = True) -> dict[str, Any]:
        """Return the report as JSON-able values, with its version under ``schema``.

        Args:
            files: Whether the rows of all files are in it, which may be many.
        """
        made: dict[str, Any] = {"schema": SCHEMA}
        made.update(_CONVERTER.unstructure(attrs.evolve(self, files=FileTable())))
        made["files"] = list(self.file_dicts()) if files else []
        return made

    def file_dicts(self) -> Iterator[dict[str, Any]]:
        """Yield the row of each file as JSON-able values, one at a time."""
        return map(attrs.asdict, self.files)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """Return the report that `to_dict` made *data* of.

        Raises:
            ConfigurationError: *data* is of another version, or no report.
        """
        if data.get("schema") != SCHEMA:
            raise ConfigurationError(
                f"This is a report of schema {data.get('schema')!r}, not of {SCHEMA}.",
                hint="Run the audit again.",
            )
        rest = {key: value for key, value in data.items() if key != "schema"}
        try:
            return _CONVERTER.structure(rest, cls)
        except cattrs.BaseValidationError as error:
            faults = "; ".join(cattrs.transform_error(error)[:5])
            raise ConfigurationError(
                f"This is not the report of an audit: {faults}.", hint="Run the audit again."
            ) from error


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(
        FileTable, lambda rows, _: FileTable(converter.structure(row, FileRow) for row in rows)
    )
    converter.register_unstructure_hook(
        FileTable, lambda table: [converter.unstructure(row) for row in table]
    )
    return converter


_CONVERTER: Final = _make_converter()
