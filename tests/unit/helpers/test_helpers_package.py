"""The package: one lazy name for everything public, cheap to import, each module usable alone."""

from __future__ import annotations

import ast
import copy
import pickle
import pkgutil
import subprocess
import sys
from importlib import import_module
from inspect import isclass
from pathlib import Path

import pytest

import stageflow.helpers
from stageflow.errors import StageflowError
from stageflow.helpers import errors

ROOT = Path(stageflow.helpers.__file__).parent
MODULES = sorted(info.name for info in pkgutil.iter_modules([str(ROOT)]) if info.name[0] != "_")


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_the_package_gives_every_public_name_of_its_modules():
    names = {
        name
        for module in MODULES
        if module != "testing"  # needs pytest, so it is asked for by itself
        for name in import_module(f"stageflow.helpers.{module}").__all__
    }
    assert set(stageflow.helpers.__all__) == names
    assert set(stageflow.helpers._MODULES) == names
    for name in names:
        assert getattr(stageflow.helpers, name) is not None
    assert names <= set(dir(stageflow.helpers))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="ChunkQeue"):
        _ = stageflow.helpers.ChunkQeue


def test_type_checkers_see_every_name_that_is_there():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == set(stageflow.helpers.__all__)


def test_importing_the_package_imports_none_of_its_modules():
    code = (
        "import sys, stageflow.helpers\n"
        "print(*(m for m in sys.modules if m.startswith('stageflow.helpers.')))\n"
        "print('anyio' in sys.modules)"
    )
    assert run(code).split() == ["False"]


@pytest.mark.slow
@pytest.mark.parametrize("module", [f"stageflow.helpers.{name}" for name in MODULES])
def test_each_module_can_be_imported_alone(module):
    run(f"import {module}")


def test_compression_needs_neither_the_helpers_nor_an_event_loop():
    code = (
        "import sys, stageflow.compression\n"
        "print(any(m.startswith(('stageflow.helpers', 'anyio')) for m in sys.modules))"
    )
    assert run(code).strip() == "False"


FACTS = {
    "HelperSettingError": lambda cls: cls("ChunkQueue", "max_size", 0, rule="at least 1"),
    "ExporterClosedError": lambda cls: cls("BufferedExporter"),
    "ExportError": lambda cls: cls("flush", [ValueError("x")]),
    "AudioFormatError": lambda cls: cls("The audio is odd.", hint="Even it out."),
    "StreamItemError": lambda cls: cls(),
    "TrackerInactiveError": lambda cls: cls("start"),
    "TimestampError": lambda cls: cls("yesterday", "no known form fits it"),
    "TimestampTypeError": lambda cls: cls(None),
    "MockFailureError": lambda cls: cls("overloaded"),
    "MockAuthError": lambda cls: cls("Token expired"),
    "MemoryStoreError": lambda cls: cls("The disk is full.", hint="Empty it."),
}


def test_every_error_is_looked_at_here_and_has_a_code_of_its_own():
    classes = [value for value in vars(errors).values() if isclass(value)]
    own = {cls.__name__: cls for cls in classes if cls.__module__ == errors.__name__}
    assert set(own) == set(FACTS) == set(errors.__all__)
    codes = [cls.code for cls in own.values()]
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("SF6") for code in codes)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_error_says_what_to_do_and_survives_copy_and_pickle(name):
    error = FACTS[name](getattr(errors, name))
    assert isinstance(error, StageflowError)
    assert error.message.endswith((".", "closed: ValueError: x", "x", "overloaded", "expired"))
    assert error.hint
    pickled = pickle.loads(pickle.dumps(error))  # noqa: S301 - made on the line itself
    for twin in (copy.copy(error), pickled):
        assert str(twin) == str(error)
        assert vars(twin).keys() == vars(error).keys()
