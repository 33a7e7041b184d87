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
_GROUPED: Final = ("format", "language", "encoding")


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
    joined = _Joined()
    for batch, result in results:
        if result is not None and result["batch"] != batch.key:
            raise RunError(
                f"The result of batch {batch.index} belongs to files that have changed since.",
                hint="Start a new audit instead of resuming this one.",
            )
        joined.add(batch, result or {})
    return joined.report(listing, created_at)


@attrs.define
class _Tally:
    """Totals, and sums by format, language and encoding, over the rows so far."""

    counts: Counter[str] = attrs.field(factory=Counter)
    groups: dict[str, dict[str, list[int]]] = attrs.field(
        factory=lambda: {name: {} for name in _GROUPED}
    )
    kind_of: dict[str, str] = attrs.field(factory=dict)

    def add(self, row: FileRow) -> None:
        counts = self.counts
        counts[row.kind] += 1
        for name in ("lines", "comment", "blank", "words", "secrets", "personal"):
            counts[name] += getattr(row, name)
        counts["files_with_secrets"] += row.secrets > 0
        counts["files_with_personal"] += row.personal > 0
        counts["truncated"] += row.problem != "" and row.kind != "unreadable"
        if row.kind == "source":
            counts["code"] += row.lines - row.blank - row.comment
        if row.kind in ("unreadable", "empty"):
            return
        self.kind_of[row.format] = row.kind
        for name, sums in self.groups.items():
            if value := getattr(row, name):
                one = sums.setdefault(value, [0, 0, 0])
                one[0] += 1
                one[1] += row.size
                one[2] += row.lines

    def group(self, name: str) -> tuple[GroupTotal, ...]:
        """The sums by one column, those first that have most lines."""
        totals = [
            GroupTotal(
                name=value,
                kind=self.kind_of[value] if name == "format" else "",
                files=files,
                bytes=size,
                lines=lines,
            )
            for value, (files, size, lines) in self.groups[name].items()
        ]
        totals.sort(key=lambda total: (-total.lines, -total.files, total.name))
        return tuple(totals)


@attrs.define
class _Joined:
    """What is kept of the batches so far."""

    files: FileTable = attrs.field(factory=FileTable)
    tally: _Tally = attrs.field(factory=_Tally)
    problems: list[Problem] = attrs.field(factory=list)
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
            row = FileRow(**values)
            self.files.append(row)
            self.tally.add(row)
            if row.problem and len(self.problems) < MAX_PROBLEMS:
                self.problems.append(Problem(path=path, problem=row.problem))

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
        left_out = (Problem(path=one.path, problem=one.reason) for one in listing.skipped)
        findings = [found for severity in SEVERITIES for found in self.findings[severity]]
        return Report(
            root=printable(listing.root),
            created_at=created_at,
            totals=self._totals(listing, equal, near),
            formats=self.tally.group("format"),
            languages=self.tally.group("language"),
            encodings=self.tally.group("encoding"),
            rules=self._rule_totals(),
            findings=tuple(findings[:MAX_FINDINGS]),
            equal=tuple(map(self._equal_group, equal[:MAX_GROUPS])),
            near=tuple(map(self._near_group, near[:MAX_GROUPS])),
            problems=tuple([*self.problems, *left_out][:MAX_PROBLEMS]),
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

    def _totals(
        self, listing: Listing, equal: list[list[int]], near: list[list[tuple[int, float]]]
    ) -> Totals:
        sizes = self.files.column("size")
        return Totals(
            files=len(self.files),
            bytes=sum(sizes),
            skipped=listing.skipped_count,
            equal_groups=len(equal),
            equal_copies=sum(len(group) - 1 for group in equal),
            equal_bytes=sum(sizes[group[0]] * (len(group) - 1) for group in equal),
            near_groups=len(near),
            near_files=sum(map(len, near)),
            **self.tally.counts,
        )
