"""Conformity: whether an implementation has the methods of its contract, callable as it says.

The check looks at signatures and calls nothing. What a method does is the business of the
contract's conformance kit.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from inspect import Parameter, Signature
from types import FunctionType
from typing import Any

from stageflow.errors import ContractErrorInfo
from stageflow.plugins.errors import MissingMethodError, SignatureError

__all__ = ("shape_faults",)

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_ABSENT = object()


def shape_faults(protocol: type, candidate: Any) -> tuple[ContractErrorInfo, ...]:
    """Return every way in which *candidate* falls short of *protocol*; nothing if it fits.

    Args:
        protocol: The class of the contract. Each of its public methods and attributes is
            required; what an implementation may leave out is a capability with a protocol of
            its own. A method that is inherited from it is there if its body does something.
        candidate: An implementing class, or an object. Attributes are looked for on objects
            only, since a class may set them when it is built.
    """
    faults: list[ContractErrorInfo] = []
    for name, member in _members(protocol):
        actual = inspect.getattr_static(candidate, name, _ABSENT)
        if actual is _ABSENT or (actual is member and _is_bare(member)):
            if not _may_come_later(candidate, member):
                faults.append(_missing(name, member))
        elif isinstance(member, FunctionType):
            faults += _method_faults(name, member, candidate, actual)
    return tuple(faults)


def _members(protocol: type) -> Iterator[tuple[str, Any]]:
    """Give the public members that the protocol and its bases declare, each once."""
    seen: set[str] = set()
    for base in protocol.__mro__:
        if base.__module__ in {"abc", "builtins", "typing"}:
            continue
        for name, member in {**inspect.get_annotations(base), **vars(base)}.items():
            if not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, member


def _is_bare(member: Any) -> bool:
    """Whether the body of a method says nothing, so that inheriting it implements nothing."""
    function = member.fget if isinstance(member, property) else member
    if not isinstance(function, FunctionType):
        return False
    code = function.__code__
    if code.co_names == ("NotImplementedError",):
        return True
    return not code.co_names and set(code.co_consts) <= {function.__doc__, None, Ellipsis}


def _may_come_later(candidate: Any, member: Any) -> bool:
    """Whether what is not there now can be there when it is used."""
    cls = candidate if inspect.isclass(candidate) else type(candidate)
    if hasattr(cls, "__getattr__"):
        return True
    return inspect.isclass(candidate) and not isinstance(member, FunctionType)


def _missing(name: str, member: Any) -> ContractErrorInfo:
    if isinstance(member, FunctionType):
        word = "async def" if inspect.iscoroutinefunction(member) else "def"
        told = f"{word} {name}{_plain(inspect.signature(member))}"
    else:
        told = name
    return ContractErrorInfo(
        MissingMethodError.code, f"{name} is missing", f"Add {told}.", context={"member": name}
    )


def _plain(signature: Signature) -> Signature:
    parameters = [p.replace(annotation=Parameter.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=Signature.empty)


def _method_faults(
    name: str, wanted: FunctionType, candidate: Any, actual: Any
) -> Iterator[ContractErrorInfo]:
    method, skip = _callable_of(name, candidate, actual)
    if not callable(method):
        yield _fault(name, f"is {type(actual).__name__}, not a method")
        return
    problem = _async_problem(wanted, method)
    if problem:
        yield _fault(name, problem)
    try:
        parameters = list(inspect.signature(method).parameters.values())[skip:]
    except (TypeError, ValueError):
        return  # a method written in C may have no signature to look at
    required = list(inspect.signature(wanted).parameters.values())[1:]
    for problem in _parameter_problems(required, parameters):
        yield _fault(name, problem)


def _callable_of(name: str, candidate: Any, actual: Any) -> tuple[Any, int]:
    """Return what will be called, and how many of its first parameters are bound by then."""
    if not inspect.isclass(candidate):
        return getattr(candidate, name, actual), 0
    if isinstance(actual, staticmethod):
        return actual.__func__, 0
    if isinstance(actual, classmethod):
        return actual.__func__, 1
    return actual, 1 if isinstance(actual, FunctionType) else 0


def _async_problem(wanted: FunctionType, method: Any) -> str | None:
    returns = str(wanted.__annotations__.get("return", ""))
    if "Awaitable" in returns:
        return None  # the contract takes both
    actual = inspect.unwrap(method)
    is_async = inspect.iscoroutinefunction(actual)
    if inspect.iscoroutinefunction(wanted):
        promised = str(getattr(actual, "__annotations__", {}).get("return", ""))
        gives_awaitable = any(word in promised for word in ("Awaitable", "Coroutine", "Future"))
        if not is_async and not gives_awaitable and inspect.isroutine(actual):
            return "must be async"
    elif is_async:
        return "must not be async"
    return None


def _parameter_problems(wanted: list[Parameter], actual: list[Parameter]) -> Iterator[str]:
    met: set[str] = set()
    for position, want in enumerate(wanted):
        found, problem = _match(want, position, actual)
        if problem:
            yield problem
        if found is not None:
            met.add(found.name)
            if want.default is not Parameter.empty and found.default is Parameter.empty:
                yield f"must give {want.name!r} a default"
    for parameter in actual:
        is_needed = parameter.kind not in _VARIADIC and parameter.default is Parameter.empty
        if is_needed and parameter.name not in met:
            yield f"requires {parameter.name!r}, which the contract does not pass"


def _match(
    want: Parameter, position: int, actual: list[Parameter]
) -> tuple[Parameter | None, str | None]:
    """Return the parameter that takes what is passed for *want*, and what is wrong with it."""
    kinds = {parameter.kind for parameter in actual}
    if want.kind in _VARIADIC:
        return None, None if want.kind in kinds else f"must take {str(want).partition(':')[0]}"
    if want.kind is Parameter.KEYWORD_ONLY:
        named = [p for p in actual if p.name == want.name and p.kind in _NAMED]
        if not named and Parameter.VAR_KEYWORD not in kinds:
            return None, f"must take the keyword {want.name!r}"
        return (named[0] if named else None), None
    in_order = [p for p in actual if p.kind in _POSITIONAL]
    if position >= len(in_order):
        taken = Parameter.VAR_POSITIONAL in kinds
        return None, None if taken else f"must take {want.name!r} as parameter {position + 1}"
    found = in_order[position]
    if want.kind is Parameter.POSITIONAL_OR_KEYWORD and found.name != want.name:
        return found, f"calls parameter {position + 1} {found.name!r} instead of {want.name!r}"
    return found, None


def _fault(name: str, problem: str) -> ContractErrorInfo:
    return ContractErrorInfo(
        SignatureError.code, f"{name}() {problem}", context={"member": name, "problem": problem}
    )
