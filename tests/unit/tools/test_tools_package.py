"""The package: one lazy name for everything public, cheap to import, errors that tell."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import pkgutil
import subprocess
import sys
from importlib import import_module
from inspect import isclass
from pathlib import Path
from uuid import UUID

import pytest

import stageflow.tools
from stageflow.errors import StageflowError
from stageflow.tools import ApprovalRequest, errors
from stageflow.tools.errors import ToolError

ROOT = Path(stageflow.tools.__file__).parent
# The kits need pytest, so they are asked for by themselves.
MODULES = sorted(
    info.name
    for info in pkgutil.iter_modules([str(ROOT)])
    if info.name[0] != "_" and not info.name.endswith("testing")
)
# Older values of the same names, for tools that are classes; and what each contract has.
OWN = {
    "base": {"ToolInput", "ToolOutput"},
    "approval_log": {"CONTRACT"},
    "undo_log": {"CONTRACT"},
}


def test_the_package_gives_every_public_name_of_its_modules():
    names = {
        name
        for module in MODULES
        for name in import_module(f"stageflow.tools.{module}").__all__
        if name not in OWN.get(module, ())
    }
    assert set(stageflow.tools.__all__) == names
    assert set(stageflow.tools._MODULES) == names
    for name in names:
        assert getattr(stageflow.tools, name) is not None
    assert names <= set(dir(stageflow.tools))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="TolRegistry"):
        _ = stageflow.tools.TolRegistry


def test_type_checkers_see_every_name_that_is_there():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == set(stageflow.tools.__all__)


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("stageflow.tools", ("stageflow.tools.", "anyio", "attrs", "jsonschema")),
        ("stageflow.tools.definitions", ("jsonschema", "cattrs", "stageflow.pipeline")),
        ("stageflow.tools.advanced", ("jsonschema", "cattrs", "pydantic", "stageflow.pipeline")),
    ],
)
def test_imports_are_cheap(imported, absent):
    code = f"import sys, {imported}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert [name for name in found.stdout.split() if name.startswith(absent)] == []


ACTION = UUID(int=1)
REQUEST = ApprovalRequest(UUID(int=2), ACTION, "edit")
FACTS = {
    "ApprovalDecisionError": lambda cls: cls(REQUEST.id, "no"),
    "ApprovalMismatchError": lambda cls: cls("edit", REQUEST.id, ACTION),
    "ApprovalNotFoundError": lambda cls: cls(ACTION),
    "ApprovalSettledError": lambda cls: cls(REQUEST),
    "DuplicateToolError": lambda cls: cls("EDIT", "a tool, Edit,", "a factory, make,"),
    "ToolApprovalDeniedError": lambda cls: cls("edit", ACTION, "no"),
    "ToolApprovalTimeoutError": lambda cls: cls("edit", ACTION, 60),
    "ToolArgumentsError": lambda cls: cls("edit", ["$.a: 1 is no text"]),
    "ToolDefinitionError": lambda cls: cls("edit", ["name must be a text"]),
    "ToolDeniedError": lambda cls: cls("edit", "chat", ("doc",)),
    "ToolError": lambda cls: cls("It broke.", "edit", hint="Mend it."),
    "ToolExecutionError": lambda cls: cls("edit", ACTION, ValueError("no")),
    "ToolNotFoundError": lambda cls: cls("EDIT", ["EDTI"]),
    "ToolOutcomeUnknownError": lambda cls: cls("edit", ACTION, ACTION, "2025", finished=False),
    "ToolOutputError": lambda cls: cls("edit", ACTION, ["$.a: 1 is no text"]),
    "ToolRateLimitError": lambda cls: cls("edit", 1.5),
    "ToolTimeoutError": lambda cls: cls("edit", ACTION, 60),
    "ToolUndoError": lambda cls: cls("edit", ACTION, "no"),
    "UndoUnderWayError": lambda cls: cls("edit", ACTION, "2025"),
}


def test_every_error_is_looked_at_here_and_has_a_code_of_its_own():
    own = {
        cls.__name__: cls
        for cls in vars(errors).values()
        if isclass(cls) and cls.__module__ == errors.__name__
    }
    assert set(FACTS) == set(own) == set(errors.__all__)
    codes = [cls.code for cls in own.values()]
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("SF5") for code in codes)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_error_says_what_to_do_and_survives_copy_and_pickle(name):
    error = FACTS[name](getattr(errors, name))
    assert isinstance(error, StageflowError)
    assert error.hint
    pickled = pickle.loads(pickle.dumps(error))  # noqa: S301 - made on the line itself
    for twin in (copy.copy(error), pickled):
        assert str(twin) == str(error)
        assert vars(twin).keys() == vars(error).keys()


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_tool_error_is_written_with_stable_keys(name):
    error = FACTS[name](getattr(errors, name))
    if not isinstance(error, ToolError):
        return
    written = error.to_dict()
    assert json.loads(json.dumps(written)) == written
    assert written["error_type"] == name
    assert written["message"] == error.message
    assert written["tool"] == error.tool
    assert written["code"] == error.code
    public = {fact for fact in vars(error) if not fact.startswith("_")}
    assert public - {"hint"} <= set(written)


def test_errors_are_made_as_the_framework_makes_them():
    cls = errors
    assert cls.ToolNotFoundError("EDIT").action_type == "EDIT"
    assert cls.ToolDeniedError("edit", "chat", ["doc"]).allowed_behaviors == ("doc",)
    denied = cls.ToolApprovalDeniedError("edit")
    assert (denied.request_id, denied.reason) == (None, "user_denied")
    late = cls.ToolApprovalTimeoutError("edit")
    assert (late.request_id, late.timeout_seconds) == (None, 0)
    assert cls.ToolExecutionError("edit").cause is None
    undo = cls.ToolUndoError("edit", ACTION, "no")
    assert (undo.action_id, undo.reason) == (ACTION, "no")
