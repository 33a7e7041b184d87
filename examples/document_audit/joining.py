"""Join what was found in the batches into one report, keeping little of each file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from document_audit.duplicates import equal_groups, near_groups
from document_audit.findings import SEVERITIES
from document_audit.fingerprints import from_text
from document_audit.listing import printable
from document_audit.report import (
    EqualGroup,
    FileRow,
    FileTable,
    GroupTotal,
    LocatedFinding,
    NearGroup,
    NearMember,
    Problem,
    Report,
    RuleTotal,
    Totals,
)
from stageflow.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from document_audit.listing import Batch, Listing

__all__ = ("join_batches",)

MAX_FINDINGS: Final = 2_000
MAX_GROUPS: Final = 200
MAX_MEMBERS: Final = 50
MAX_PROBLEMS: Final = 1_000
_CATEGORIES: Final = ("secrets", "personal")


def join_batches(
    listing: Listing,
    results: Iterable[tuple[Batch, Mapping[str, Any] | None]],
    *,
    created_at: str,
) -> Report:
    """Join the results of all batches into the report on the folder.

    Of each file some 500 bytes are kept. A batch may come without a result, or without that
    of some looks: its files are then in the report with what is known, and a problem.

    Args:
        listing: The files and what was skipped.
        results: Each batch with what `analysis.analyse_batch` gave for it, or the tables of
            several such calls with different looks in one dictionary.
        created_at: When the audit was made, as the report shall say it.

    Raises:
        RunError: A result belongs to other files than its batch.
    """
    joined = _Joined(root=listing.root)
    for batch, result in results:
        if result is not None and result["batch"] != batch.key:
            raise RunError(
                f"The result of batch {batch.index} belongs to files that have changed since.",
                hint="Start a new audit instead of resuming this one.",
            )
        joined.add(batch, result or {})
    return joined.report(listing, created_at)


@attrs.define
class _Joined:
    """What is kept of the batches so far."""

    root: str
    files: FileTable = attrs.field(factory=FileTable)
    numbers: list[int] = attrs.field(factory=list)
    sketches: list[bytes] = attrs.field(factory=list)
    rules: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    severity_of: dict[tuple[str, str], str] = attrs.field(factory=dict)
    findings: dict[str, list[LocatedFinding]] = attrs.field(
        factory=lambda: {severity: [] for severity in SEVERITIES}
    )

    def add(self, batch: Batch, result: Mapping[str, Any]) -> None:
        """Take in the tables of one batch."""
        fingerprints = result.get("fingerprint")
        for place, record in enumerate(batch.files):
            path = printable(record.path)
            values: dict[str, Any] = {"path": path, "size": record.size}
            for look in ("detect", "measure"):
                table = result.get(look, {})
                values.update((column, table[column][place]) for column in table)
            for category in _CATEGORIES:
                values[category] = self._take(category, path, result.get(category), place)
            if fingerprints is not None:
                values["sha256"] = fingerprints["sha256"][place]
                sketch = fingerprints["sketch"][place]
                if sketch:
                    self.numbers.append(len(self.files))
                    self.sketches.append(from_text(sketch))
            if "detect" not in result:
                values["problem"] = "was not analysed"
            self.files.append(FileRow(**values))

    def _take(self, category: str, path: str, table: Mapping[str, Any] | None, place: int) -> int:
        """Take in the findings of one category in one file; return how many there are."""
        if table is None or table["counts"][place] is None:
            return 0
        counts: Mapping[str, int] = table["counts"][place]
        for rule, count in counts.items():
            self.rules[category, rule] += count
        for found in table["findings"][place]:
            key, severity = (category, found["rule"]), found["severity"]
            worst = self.severity_of.setdefault(key, severity)
            if SEVERITIES.index(severity) < SEVERITIES.index(worst):
                self.severity_of[key] = severity
            kept = self.findings[severity]
            if len(kept) < MAX_FINDINGS:
                kept.append(LocatedFinding(path=path, category=category, **found))
        return sum(counts.values())

    def report(self, listing: Listing, created_at: str) -> Report:
        """Make the report of all that was taken in."""
        equal = self._equal()
        near = self._near(equal)
        findings = [found for severity in SEVERITIES for found in self.findings[severity]]
        return Report(
            root=printable(listing.root),
            created_at=created_at,
            totals=self._totals(listing, equal, near),
            formats=_by(self.files, "format"),
            languages=_by(self.files, "language"),
            encodings=_by(self.files, "encoding"),
            rules=self._rule_totals(),
            findings=tuple(findings[:MAX_FINDINGS]),
            equal=tuple(map(self._equal_group, equal[:MAX_GROUPS])),
            near=tuple(map(self._near_group, near[:MAX_GROUPS])),
            problems=tuple(self._problems(listing)[:MAX_PROBLEMS]),
            files=self.files,
        )

    def _equal(self) -> list[list[int]]:
        """The groups of equal files, those first that waste most."""
        sizes = self.files.column("size")
        digests = ((number, self.files.digest(number)) for number in range(len(self.files)))
        found = equal_groups((number, digest) for number, digest in digests if any(digest))
        found = [group for group in found if sizes[group[0]] > 0]
        found.sort(key=lambda group: (-sizes[group[0]] * (len(group) - 1), group[0]))
        return found

    def _near(self, equal: list[list[int]]) -> list[list[tuple[int, float]]]:
        """The groups of similar texts, the largest first; of equal files, one takes part."""
        copies = {number for group in equal for number in group[1:]}
        taking_part = [place for place, number in enumerate(self.numbers) if number not in copies]
        found = near_groups(
            [self.numbers[place] for place in taking_part],
            [self.sketches[place] for place in taking_part],
        )
        return sorted(found, key=lambda group: (-len(group), group[0][0]))

    def _rule_totals(self) -> tuple[RuleTotal, ...]:
        totals = [
            RuleTotal(
                rule=rule,
                category=category,
                severity=self.severity_of[category, rule],
                count=count,
            )
            for (category, rule), count in self.rules.items()
        ]
        totals.sort(key=lambda one: (SEVERITIES.index(one.severity), -one.count, one.rule))
        return tuple(totals)

    def _equal_group(self, group: list[int]) -> EqualGroup:
        first = self.files[group[0]]
        paths = tuple(self.files[number].path for number in group[:MAX_MEMBERS])
        return EqualGroup(sha256=first.sha256, size=first.size, count=len(group), paths=paths)

    def _near_group(self, group: list[tuple[int, float]]) -> NearGroup:
        members = tuple(
            NearMember(path=self.files[number].path, similarity=round(share, 3))
            for number, share in group[:MAX_MEMBERS]
        )
        return NearGroup(count=len(group), members=members)

    def _problems(self, listing: Listing) -> list[Problem]:
        of_files = [
            Problem(path=row.path, problem=row.problem) for row in self.files if row.problem
        ]
        return of_files + [Problem(path=one.path, problem=one.reason) for one in listing.skipped]

    def _totals(
        self, listing: Listing, equal: list[list[int]], near: list[list[tuple[int, float]]]
    ) -> Totals:
        column = {name: self.files.column(name) for name in ("size", "secrets", "personal")}
        counts: Counter[str] = Counter()
        for row in self.files:
            counts[row.kind] += 1
            counts["truncated"] += row.kind not in ("unreadable", "binary") and bool(row.problem)
            if row.kind == "source":
                counts["code"] += row.lines - row.blank - row.comment
            for name in ("lines", "comment", "blank", "words"):
                counts[name] += getattr(row, name)
        return Totals(
            files=len(self.files),
            bytes=sum(column["size"]),
            skipped=listing.skipped_count,
            secrets=sum(column["secrets"]),
            personal=sum(column["personal"]),
            files_with_secrets=sum(map(bool, column["secrets"])),
            files_with_personal=sum(map(bool, column["personal"])),
            equal_groups=len(equal),
            equal_copies=sum(len(group) - 1 for group in equal),
            equal_bytes=sum(column["size"][group[0]] * (len(group) - 1) for group in equal),
            near_groups=len(near),
            near_files=sum(map(len, near)),
            **counts,
        )


def _by(files: FileTable, name: str) -> tuple[GroupTotal, ...]:
    """Add up files, bytes and lines by the value that the rows have in the column *name*."""
    sums: dict[str, list[Any]] = {}
    for row in files:
        value = getattr(row, name)
        if value and row.kind not in ("unreadable", "empty"):
            kind = row.kind if name == "format" else ""
            one = sums.setdefault(value, [kind, 0, 0, 0])
            one[1] += 1
            one[2] += row.size
            one[3] += row.lines
    totals = [
        GroupTotal(name=value, kind=kind, files=count, bytes=size, lines=lines)
        for value, (kind, count, size, lines) in sums.items()
    ]
    totals.sort(key=lambda total: (-total.lines, -total.files, total.name))
    return tuple(totals)
