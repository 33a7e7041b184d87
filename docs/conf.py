"""How the documentation is built; `make docs` does it, and any warning fails."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Stageflow"
author = "the Stageflow maintainers"
project_copyright = author
version = release = WORKSPACE["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"Stageflow {version}"
html_show_sphinx = False

# Anchors as a reader of the bare Markdown files gets them, so that one link serves both.
myst_heading_anchors = 3

# Docstrings write code in single backticks.
default_role = "code"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# A name of ours that leads nowhere is a mistake. Other projects' names cannot be looked up
# without their inventories, and those are on the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!stageflow\.).*")]
