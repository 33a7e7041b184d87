"""The audit as a pipeline: list a folder, look at its files batch by batch, join, report.

    stageflow run examples/document_audit/audit.py:pipeline --input folder=/path/to/folder

The folder is listed before the plan is built, so that the plan has a stage per batch of files:
each is recorded, retried and resumed by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from document_audit.analysis import analyse_batch
from document_audit.joining import join_batches
from document_audit.listing import CHECKOUT, Batch, Listing, list_files, split_batches
from document_audit.page import write_page
from document_audit.writing import write_json
from stageflow import Pipeline, StageContext, StageKind, UnifiedStageGraph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("pipeline",)


def pipeline(
    folder: str = str(CHECKOUT),
    output: str = "document-audit",
    batch_files: int = 32,
) -> UnifiedStageGraph:
    """Return the pipeline that audits *folder*.

    Args:
        folder: The folder to audit; this checkout unless given.
        output: The folder for `report.json` and `report.html`; it is not audited itself.
        batch_files: How many files one stage looks at, at most.

    Raises:
        ConfigurationError: *folder* cannot be read, or a batch holds nothing.
    """
    listing = list_files(folder, exclude=(output,))
    batches = tuple(split_batches(listing, max_files=batch_files))
    names = [f"batch-{batch.index + 1:0{len(str(len(batches)))}}" for batch in batches]
    graph = Pipeline("document-audit").with_stage("list", _List(listing, len(batches)))
    for name, batch in zip(names, batches, strict=True):
        graph = graph.with_stage(name, _Analyse(batch), StageKind.TRANSFORM, ["list"])
    report = _Report(listing, batches, tuple(names), Path(output))
    graph = graph.with_stage("report", report, StageKind.WORK, ["list", *names])
    # Looking at text keeps a processor busy; more threads than those only wait for each other.
    return graph.build(max_concurrency=max(2, os.cpu_count() or 2))


@attrs.frozen
class _List:
    """Says what was listed."""

    listing: Listing
    batches: int

    async def execute(self, ctx: StageContext) -> dict[str, Any]:
        listing = self.listing
        return {
            "folder": os.fsencode(listing.root).decode("utf-8", "backslashreplace"),
            "files": len(listing.files),
            "bytes": listing.total_bytes,
            "skipped": listing.skipped_count,
            "batches": self.batches,
        }


@attrs.frozen
class _Analyse:
    """Looks at the files of one batch, in a thread."""

    batch: Batch

    def execute(self, ctx: StageContext) -> dict[str, Any]:
        return analyse_batch(self.batch)


@attrs.frozen
class _Report:
    """Joins what all batches gave, and writes the reports."""

    listing: Listing
    batches: tuple[Batch, ...]
    names: tuple[str, ...]
    output: Path

    def execute(self, ctx: StageContext) -> dict[str, Any]:
        created_at = ctx.now().isoformat(timespec="seconds")
        report = join_batches(self.listing, self._results(ctx), created_at=created_at)
        json_path, html_path = self.output / "report.json", self.output / "report.html"
        write_json(report, json_path)
        write_page(report, html_path)
        return {
            "report_json": str(json_path),
            "report_html": str(html_path),
            "files": report.totals.files,
            "secrets": report.totals.secrets,
            "personal_data": report.totals.personal,
            "equal_copies": report.totals.equal_copies,
            "near_duplicates": report.totals.near_files,
        }

    def _results(self, ctx: StageContext) -> Iterator[tuple[Batch, Mapping[str, Any]]]:
        for name, batch in zip(self.names, self.batches, strict=True):
            output = ctx.inputs.get_output(name)
            assert output is not None
            yield batch, output.data
