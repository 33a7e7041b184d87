"""What the source of a stage says: which stages it reads, and how it can end."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import attrs

__all__ = ("Ending", "Reading", "read_source")

_READERS: Final = {"get_from", "require_from", "has_output", "get_output"}
_HARMLESS: Final = {"snapshot", "ports", "declared_deps", "stage_name", "strict"}
_NOT_DATA: Final = {"artifacts", "events", "metadata", "version"}
_PLAIN: Final = (
    ast.JoinedStr,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.Compare,
)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class Ending:
    """One way in which a stage can end.

    Attributes:
        kind: `skip` surely skips the conditional stages that depend on it; `stop` is a failure
            or a cancellation; `unknown` may be anything.
        has_route: Whether its data names branches.
        routes: The branches it names; None if only a run can tell.
        skips: Whether it may skip the conditional stages that depend on it.
    """

    kind: Literal["ok", "skip", "stop", "unknown"] = "ok"
    has_route: bool = False
    routes: frozenset[Any] | None = frozenset()
    skips: bool = False


@attrs.frozen
class Reading:
    """What the source of one stage says.

    Attributes:
        reads: The stages that it reads by literal names, each with the place of its first read.
        is_complete: Whether it reads no other stage in any way that a run could show.
        endings: Every way in which it can end; none if it always raises.
    """

    reads: dict[str, str]
    is_complete: bool
    endings: tuple[Ending, ...]


def read_source(runner: Any) -> Reading | None:
    """Return what the source of a stage's runner says; None if it cannot be had.

    Args:
        runner: A stage class, an object with `execute`, or a function of the context.
    """
    try:
        found = _functions_of(runner)
    except (OSError, TypeError, SyntaxError):
        return None
    return None if found is None else _Reader(*found).reading()


# --- finding the source ---------------------------------------------------------------------------


@attrs.frozen
class _Code:
    """One function: its tree, its file, and what to add to the tree's line numbers."""

    tree: _Function
    file: str
    offset: int
    is_method: bool

    def place(self, node: ast.AST) -> str:
        return f"{self.file}:{getattr(node, 'lineno', 1) + self.offset}"

    def parameters(self) -> list[str]:
        given = self.tree.args
        names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        is_bound = self.is_method and names[:1] in (["self"], ["cls"])
        return names[1:] if is_bound else names


def _functions_of(runner: Any) -> tuple[_Code, dict[str, _Code]] | None:
    """Return where the runner is entered, and the methods that can be called from there."""
    entry = "execute"
    if inspect.isclass(runner):
        cls = runner
    elif inspect.ismethod(runner):
        cls, entry = type(runner.__self__), runner.__func__.__name__
    elif inspect.isfunction(runner):
        function = inspect.unwrap(runner)
        if function.__name__ == "<lambda>":  # its line may hold several
            return None
        return _function_code(function), {}
    else:
        cls = type(runner)
        if not hasattr(runner, "execute"):
            entry = "__call__"
        if entry in getattr(runner, "__dict__", {}):  # not the method that the class shows
            return None
    methods: dict[str, _Code] = {}
    for base in cls.__mro__:
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)
            if name not in methods and inspect.isfunction(function):
                code = _method_code(inspect.unwrap(function))
                if code is not None:
                    methods[name] = code
                elif name == entry:
                    return None
    return (methods[entry], methods) if entry in methods else None


def _method_code(function: Callable[..., Any]) -> _Code | None:
    try:
        return _function_code(function, is_method=True)
    except (OSError, TypeError, SyntaxError):
        return None  # such as the methods that a decorator of the class has made


def _function_code(function: Callable[..., Any], *, is_method: bool = False) -> _Code:
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if not isinstance(tree, _Function):
        raise SyntaxError("no function begins there")  # noqa: TRY004 - as for what does not parse
    file = Path(inspect.getsourcefile(function) or "?")
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return _Code(tree, str(shown), first - 1, is_method)


# --- what it reads --------------------------------------------------------------------------------


class _Reader:
    """Follows the context through the methods of one runner."""

    def __init__(self, entry: _Code, methods: dict[str, _Code]) -> None:
        self._entry = entry
        self._methods = methods
        self._reads: dict[str, str] = {}
        self._is_complete = True

    def reading(self) -> Reading:
        called = self._called()
        contexts = {name for code in called for name in code.parameters()}
        for code in called:
            self._read(code, contexts)
        return Reading(self._reads, self._is_complete, tuple(_endings(self._entry.tree)))

    def _called(self) -> list[_Code]:
        """Return the function that is entered and the methods that it mentions, at any depth."""
        found = [self._entry]
        for code in found:
            for node in ast.walk(code.tree):
                match node:
                    case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                        method = self._methods.get(name)
                        if method is not None and method not in found:
                            found.append(method)
        return found

    def _read(self, code: _Code, contexts: set[str]) -> None:
        aliases = _aliases(code.tree, contexts)
        accounted: set[int] = set()
        for node in ast.walk(code.tree):
            match node:
                case ast.Call(func=ast.Attribute(value=source, attr=method)) if _is_inputs(
                    source, contexts, aliases
                ):
                    accounted.add(id(source))
                    self._note(code, node, method)
                case ast.Attribute(value=source, attr=name) if _is_inputs(
                    source, contexts, aliases
                ):
                    if name in _HARMLESS:
                        accounted.add(id(source))
                case ast.Assign(targets=[ast.Name(id=name)], value=source) if name in aliases:
                    accounted.add(id(source))
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self" | "cls"), attr=method)):
                    # A method is followed, so it may be given the context.
                    if method in self._methods:
                        accounted.update(id(each) for each in node.args)
                        accounted.update(id(each.value) for each in node.keywords)
        self._is_complete &= not _escapes(code.tree, contexts, aliases, accounted)

    def _note(self, code: _Code, call: ast.Call, method: str) -> None:
        if method not in _READERS:
            # `get` looks through all dependencies, and nobody knows about the others.
            self._is_complete = False
            return
        given = [each.value for each in call.keywords if each.arg == "stage"]
        match (call.args or given)[:1]:
            case [ast.Constant(value=str(name))]:
                self._reads.setdefault(name, code.place(call))
            case _:
                self._is_complete = False


def _is_inputs(node: ast.expr, contexts: set[str], aliases: set[str]) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr="inputs"):
            return name in contexts
        case ast.Name(id=name):
            return name in aliases
    return False


def _aliases(tree: _Function, contexts: set[str]) -> set[str]:
    """Return the names that stand for a context's inputs and for nothing else."""
    stored = [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return {
        node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and len(node.targets) == 1
        and _is_inputs(node.value, contexts, set())
        and stored.count(node.targets[0].id) == 1
    }


def _escapes(tree: _Function, contexts: set[str], aliases: set[str], accounted: set[int]) -> bool:
    """Say whether a context or its inputs are used in a way that cannot be followed."""
    attributes = {
        id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    for node in ast.walk(tree):
        if id(node) in accounted or not isinstance(node, (ast.Name, ast.Attribute)):
            continue
        if isinstance(node.ctx, ast.Load):
            if isinstance(node, ast.Name) and node.id in contexts and id(node) not in attributes:
                return True
            if _is_inputs(node, contexts, aliases):
                return True
    return False


# --- how it ends ----------------------------------------------------------------------------------


def _endings(tree: _Function) -> Iterator[Ending]:
    for node in _own_nodes(tree):
        if isinstance(node, ast.Return):
            yield from _ending(node.value, tree)
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            yield Ending("unknown", routes=None)
    if _falls_through(tree.body):
        yield Ending()


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (*_Function.__args__, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own_nodes(node)


def _falls_through(body: Sequence[ast.stmt]) -> bool:
    """Say whether the end of *body* may be reached; in doubt it may."""
    match body[-1]:
        case ast.Return() | ast.Raise():
            return False
        case ast.If(body=then, orelse=otherwise) if otherwise:
            return _falls_through(then) or _falls_through(otherwise)
        case ast.With(body=inner) | ast.AsyncWith(body=inner):
            # It may swallow what is raised inside, as `contextlib.suppress` does.
            return _falls_through(inner) or any(map(_raises, inner))
    return True


def _raises(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Raise) for node in (statement, *_own_nodes(statement)))


def _ending(value: ast.expr | None, tree: _Function) -> Iterator[Ending]:
    match value:
        case None | ast.Constant():
            yield Ending()
        case ast.IfExp(body=then, orelse=otherwise):
            yield from _ending(then, tree)
            yield from _ending(otherwise, tree)
        case ast.Dict():
            yield _ending_with(_pairs(value), tree)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="StageOutput"), attr="ok")):
            yield _ending_with(_ok_pairs(value), tree)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="StageOutput"), attr="skip")):
            yield Ending("skip", skips=True)
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="StageOutput"), attr="fail" | "cancel" | "retry")
        ):
            yield Ending("stop")
        case _ if isinstance(value, _PLAIN):
            yield Ending()
        case _:
            yield Ending("unknown", has_route=False, routes=None, skips=True)


_Pairs = list[tuple[str, ast.expr]] | None


def _pairs(tree: ast.Dict) -> _Pairs:
    pairs = []
    for key, value in zip(tree.keys, tree.values, strict=True):
        if not isinstance(key, ast.Constant):
            return None
        pairs.append((str(key.value), value))
    return pairs


def _ok_pairs(call: ast.Call) -> _Pairs:
    pairs: _Pairs = []
    data = [*call.args, *(each.value for each in call.keywords if each.arg == "data")]
    if data and not (isinstance(data[0], ast.Constant) and data[0].value is None):
        pairs = _pairs(data[0]) if isinstance(data[0], ast.Dict) else None
    if pairs is None or any(each.arg is None for each in call.keywords):
        return None
    named = [(each.arg or "", each.value) for each in call.keywords]
    return pairs + [pair for pair in named if pair[0] not in {*_NOT_DATA, "data"}]


def _ending_with(pairs: _Pairs, tree: _Function) -> Ending:
    if pairs is None:
        return Ending("unknown", routes=None, skips=True)
    data = dict(pairs)
    reason = data.get("skip_reason")
    skips = reason is not None
    if "route" not in data:
        surely = isinstance(reason, ast.Constant) and bool(reason.value)
        return Ending("skip" if surely else "ok", skips=skips)
    return Ending(has_route=True, routes=_routes(data["route"], tree), skips=skips)


def _routes(value: ast.expr, tree: _Function) -> frozenset[Any] | None:
    match value:
        case ast.Constant(value=None):
            return frozenset()
        case ast.Constant(value=key):
            return frozenset({key})
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            parts = [_routes(item, tree) for item in items]
        case ast.IfExp(body=then, orelse=otherwise):
            parts = [_routes(then, tree), _routes(otherwise, tree)]
        case ast.Name(id=name):
            parts = _assigned(name, tree)
        case _:
            return None
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if len(known) == len(parts) else None


def _assigned(name: str, tree: _Function) -> list[frozenset[Any] | None]:
    """Return what every assignment gives to a local name; something unknown, if in doubt."""
    values = [
        node.value
        for node in _own_nodes(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(each, ast.Name) and each.id == name for each in node.targets)
    ]
    stored = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)
    ]
    # Only texts are followed: a list may be changed between its making and its return.
    is_plain = all(isinstance(value, (ast.Constant, ast.IfExp)) for value in values)
    is_parameter = any(isinstance(node, ast.arg) and node.arg == name for node in ast.walk(tree))
    if not values or len(values) != len(stored) or is_parameter or not is_plain:
        return [None]
    return [_routes(value, tree) for value in values]
