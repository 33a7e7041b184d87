"""`python -m stageflow` is the `stageflow` command."""

from __future__ import annotations

import sys

from stageflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
