"""Public is what `__all__` lists in a module without an underscore on its path.

The reference is made from the same lists (dev/reference.py); ruff keeps them sorted.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from dev.reference import is_public, modules

PUBLIC = [module for module in modules() if is_public(module.__name__)]
LISTED = [module for module in PUBLIC if hasattr(module, "__all__")]


def name(module: ModuleType) -> str:
    return module.__name__


@pytest.mark.parametrize("module", PUBLIC, ids=name)
def test_a_public_module_lists_its_names(module: ModuleType):
    assert isinstance(getattr(module, "__all__", None), tuple), "give it a tuple `__all__`"


@pytest.mark.parametrize("module", LISTED, ids=name)
def test_no_name_is_listed_twice(module: ModuleType):
    assert len(module.__all__) == len(set(module.__all__))


@pytest.mark.parametrize("module", LISTED, ids=name)
def test_every_listed_name_exists(module: ModuleType):
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("module", LISTED, ids=name)
def test_no_listed_name_is_private(module: ModuleType):
    private = [name for name in module.__all__ if name.startswith("_")]
    assert set(private) <= {"__version__"}


@pytest.mark.parametrize("module", LISTED, ids=name)
def test_what_is_public_is_documented(module: ModuleType):
    undocumented = [
        name
        for name in module.__all__
        if (inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value))
        and not inspect.getdoc(value)
    ]
    assert undocumented == []
