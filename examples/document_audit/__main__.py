"""Show a report on the terminal: `python -m document_audit document-audit/report.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from document_audit.report import Report
from document_audit.terminal import render


def main(arguments: list[str]) -> int:
    """Print the report whose path is the only argument; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("Usage: python -m document_audit PATH/report.json\n")
        return 2
    path = Path(arguments[0])
    try:
        report = Report.from_dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"Cannot show {path}: {error}\n")
        return 2
    Console().print(render(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
