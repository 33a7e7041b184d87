"""How the documentation is built; `make docs` does it, and any warning fails."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from docutils.nodes import TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

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
autodoc_default_options = {"show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# A name of ours that leads nowhere is a mistake. Other projects' names cannot be looked up
# without their inventories, and those are on the network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!stageflow\.).*"),
    ("py:.*", r".*\._\w+(\..*)?"),
    ("py:class", r"stageflow\.context\.extensions\.Extension"),  # an alias, only for checkers
]
# Two doors have classes of one name; which is meant shows in the signature's own room.
suppress_warnings = ["ref.python"]

CLAUSE = re.compile(r"^([A-Z]{2,3}-\d+)  ", re.MULTILINE)
CODE = re.compile(r"^(?!\w+:$)(\S.*)\n\n(?=    \S)", re.MULTILINE)


def as_restructured_text(*event: Any) -> None:
    """Turn what our docstrings have in common with Markdown into what the builder reads.

    A contract's clauses become a list, and an indented block after a line of prose becomes code.
    """
    lines: list[str] = event[-1]
    text = CLAUSE.sub(r"- **\1** ", "\n".join(lines))
    lines[:] = CODE.sub(r"\1\n\n.. code-block:: python\n\n", text).splitlines()


def leave_type_variables(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, shown: TextElement
) -> TextElement | None:
    """Show a type variable as it is; it stands in signatures and is documented nowhere."""
    module, _, name = node["reftarget"].rpartition(".")
    value = getattr(sys.modules.get(module), name, None)
    return shown if isinstance(value, (TypeVar, ParamSpec)) else None


def setup(app: Sphinx) -> None:
    """Have docstrings prepared before any other extension sees them."""
    app.connect("autodoc-process-docstring", as_restructured_text, priority=100)
    app.connect("missing-reference", leave_type_variables)
