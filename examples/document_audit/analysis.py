"""Analyse one batch of files: five looks at each, with results small enough to be kept.

`analyse_batch` reads each file of a batch once and takes all five looks, holding one text
at a time. The five functions beside it take one look each, for a graph that runs the looks
side by side and pays for it by reading each file five times.

The result of a look is a table: a list for each column, with one entry for each file of the
batch, in the order of the batch. No text of a file is ever in a result.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import attrs

from document_audit.findings import to_findings
from document_audit.fingerprints import sketch, to_text
from document_audit.formats import DOCUMENT, SOURCE, Format, format_of
from document_audit.language import natural_language, prose_of
from document_audit.measures import Measures, measure, reading_ease
from document_audit.personal_scan import find_personal
from document_audit.reading import MAX_BYTES, Contents, read_contents
from document_audit.secret_scan import find_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from document_audit.findings import Hit
    from document_audit.listing import Batch

__all__ = (
    "LOOKS",
    "analyse_batch",
    "detect_batch",
    "find_personal_batch",
    "find_secrets_batch",
    "fingerprint_batch",
    "measure_batch",
)

_NO_MEASURES = Measures()


@attrs.define(slots=False)
class _File:
    """One file while it is looked at; what several looks need is found out once."""

    path: str
    contents: Contents

    @property
    def text(self) -> str:
        return self.contents.text or ""

    @cached_property
    def format(self) -> Format:
        return format_of(self.path, self.text)

    @cached_property
    def prose(self) -> str:
        return prose_of(self.text) if self.format.kind == DOCUMENT else ""

    @cached_property
    def language(self) -> str:
        return natural_language(self.prose) if self.prose else ""


def _detect(file: _File) -> dict[str, Any]:
    contents = file.contents
    row = {"encoding": contents.encoding, "language": "", "problem": contents.problem}
    if contents.text:
        kind = {"kind": file.format.kind, "format": file.format.name, "language": file.language}
    elif contents.text is not None:
        kind = {"kind": "empty", "format": "empty"}
    elif contents.binary_kind:
        kind = {"kind": "binary", "format": contents.binary_kind}
    else:
        kind = {"kind": "unreadable", "format": "unreadable"}
    return row | kind


def _measure(file: _File) -> dict[str, Any]:
    found = measure(file.text, file.format.comments) if file.text else _NO_MEASURES
    ease = reading_ease(file.prose) if file.language == "English" else None
    return {**attrs.asdict(found), "reading_ease": ease}


def _find_secrets(file: _File) -> dict[str, Any]:
    hits = find_secrets(file.text, is_code=file.format.kind == SOURCE) if file.text else ()
    return _found(file.text, hits)


def _find_personal(file: _File) -> dict[str, Any]:
    return _found(file.text, find_personal(file.text) if file.text else ())


def _found(text: str, hits: Iterable[Hit]) -> dict[str, Any]:
    findings, counts = to_findings(text, hits)
    # Most files hold nothing: None takes no room, an empty list does.
    return {
        "findings": [finding.to_dict() for finding in findings] or None,
        "counts": counts or None,
    }


def _fingerprint(file: _File) -> dict[str, Any]:
    sketched = to_text(sketch(file.text)) if file.text else ""
    return {"sha256": file.contents.sha256, "sketch": sketched}


_LOOKS: Final[Mapping[str, Callable[[_File], dict[str, Any]]]] = {
    "detect": _detect,
    "measure": _measure,
    "secrets": _find_secrets,
    "personal": _find_personal,
    "fingerprint": _fingerprint,
}
LOOKS: Final = tuple(_LOOKS)


def analyse_batch(
    batch: Batch, looks: Iterable[str] = LOOKS, *, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """Take *looks* at every file of *batch*, reading each file once.

    Nothing that is wrong with a file is raised: it stands in the column ``problem``.

    Args:
        batch: The files.
        looks: Which of `LOOKS` to take.
        max_bytes: How much of a file is looked at; its digest always covers all of it.

    Returns:
        A JSON-able dictionary: the batch's key under ``batch``, and under the name of each
        look its table.
    """
    wanted = {look: _LOOKS[look] for look in looks}
    tables: dict[str, dict[str, list[Any]]] = {look: {} for look in wanted}
    for record in batch.files:
        contents = read_contents(
            batch.root, record, limit=max_bytes, digest="fingerprint" in wanted
        )
        file = _File(record.path, contents)
        for look, take in wanted.items():
            table = tables[look]
            for column, value in take(file).items():
                table.setdefault(column, []).append(value)
    return {"batch": batch.key, **tables}


def detect_batch(batch: Batch) -> dict[str, Any]:
    """Tell kind, format, encoding and language of every file, and what is wrong with it."""
    return analyse_batch(batch, ("detect",))


def measure_batch(batch: Batch) -> dict[str, Any]:
    """Count lines, comments, words and characters, and how easily English prose reads."""
    return analyse_batch(batch, ("measure",))


def find_secrets_batch(batch: Batch) -> dict[str, Any]:
    """Find keys, tokens and passwords, redacted, and count them by rule."""
    return analyse_batch(batch, ("secrets",))


def find_personal_batch(batch: Batch) -> dict[str, Any]:
    """Find personal data, redacted, and count it by rule."""
    return analyse_batch(batch, ("personal",))


def fingerprint_batch(batch: Batch) -> dict[str, Any]:
    """Make the digest of every file and the sketch of every text."""
    return analyse_batch(batch, ("fingerprint",))
