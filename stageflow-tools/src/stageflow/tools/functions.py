"""Functions and classes declared as tools by a decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import Any, Protocol, TypeVar, cast, overload

import attrs

from stageflow.tools._signatures import Signature, UnknownAnnotationError, docstring_parts
from stageflow.tools.base import BaseTool
from stageflow.tools.base import ToolInput as ClassToolInput
from stageflow.tools.base import ToolOutput as ClassToolOutput
from stageflow.tools.definitions import (
    ToolAction,
    ToolDefinition,
    ToolHandler,
    ToolInput,
    ToolOutput,
)
from stageflow.tools.errors import ToolDefinitionError
from stageflow.tools.registry import ToolRegistry, get_tool_registry

__all__ = ("FunctionTool", "definition_of", "tool")

T = TypeVar("T")
_VALUE = "result"


class FunctionTool:
    """A function that is a tool; calling it calls the function, as a test does.

    Attributes:
        function: What was decorated.
        definition: What an executor knows about it.
    """

    def __init__(self, function: Callable[..., Any], definition: ToolDefinition) -> None:
        update_wrapper(self, function)
        self.function = function
        self.definition = definition

    @property
    def name(self) -> str:
        """What models and people call it."""
        return self.definition.name

    @property
    def description(self) -> str:
        """What it does."""
        return self.definition.description

    @property
    def action_type(self) -> str:
        """What actions call it."""
        return self.definition.action_type

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    async def execute(self, input: ClassToolInput, ctx: Any = None) -> ClassToolOutput:
        """Carry out an action without an executor, as a tool class does; nothing is checked."""
        from stageflow.context import adapt_context
        from stageflow.tools._handlers import call_handler

        context = adapt_context(ctx)
        given = ToolInput.from_action(input.action, self.name, context)
        output = await call_handler(self.definition.handler, given, context)
        return ClassToolOutput(output.success, output.data, output.error, output.artifacts)

    def __repr__(self) -> str:
        return f"<FunctionTool {self.name!r} of {self.function.__qualname__}>"


class _Decorator(Protocol):
    """What `tool` gives when it is called with arguments."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a class is callable, and comes first
        self, target: type[T], /
    ) -> type[T]: ...
    @overload
    def __call__(self, target: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(  # type: ignore[overload-overlap]  # a class is callable, and comes first
    target: type[T], /
) -> type[T]: ...
@overload
def tool(target: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    action_type: str | None = None,
    name: str | None = None,
    description: str | None = None,
    *,
    registry: ToolRegistry | None = None,
    **definition: Any,
) -> _Decorator: ...
def tool(
    action_type: Any = None,
    name: str | None = None,
    description: str | None = None,
    *,
    registry: ToolRegistry | None = None,
    **definition: Any,
) -> Any:
    """Declare a class or a function as a tool, and register it.

    A class is given back as it was, with `_tool_action_type`, `_tool_name` and
    `_tool_description`; its factory is registered. A function becomes a `FunctionTool`: what is
    not given is taken from its name, its docstring and its annotations.

    Args:
        action_type: What actions call it; the name unless given.
        name: What models call it; the name of the function or class unless given.
        description: What it does; what the docstring says before its sections unless given.
        registry: Where it is registered; the registry of those who name none unless given.
        **definition: Further attributes of a function's `ToolDefinition`.

    Raises:
        DuplicateToolError: Another tool has the action type.
        ToolDefinitionError: It is nothing that a model could call.
    """
    if callable(action_type):
        return _declared(action_type, None, None, None, registry, {})
    return partial(
        _declared,
        action_type=action_type,
        name=name,
        description=description,
        registry=registry,
        options=definition,
    )


def _declared(
    target: Any,
    action_type: str | None,
    name: str | None,
    description: str | None,
    registry: ToolRegistry | None,
    options: Mapping[str, Any],
) -> Any:
    into = get_tool_registry() if registry is None else registry
    origin = f"{target.__module__}.{target.__qualname__}"
    if not inspect.isclass(target):
        made = FunctionTool(target, _definition(target, action_type, name, description, options))
        into.register_factory(made.action_type, lambda: made, origin=origin)
        return made
    if options:
        raise ToolDefinitionError(
            target.__qualname__, [f"a class takes no {', '.join(sorted(options))}"]
        )
    named = name or _own_text(target, "name") or target.__name__
    kind: Any = target
    kind._tool_action_type = action_type or _own_text(target, "action_type") or named
    kind._tool_name = named
    kind._tool_description = (
        description or _own_text(target, "description") or docstring_parts(target)[0]
    )
    into.register_factory(kind._tool_action_type, target, origin=origin)
    return target


def _own_text(kind: type, name: str) -> str | None:
    value = getattr(kind, name, None)
    return value if isinstance(value, str) and value else None


def _definition(
    function: Callable[..., Any],
    action_type: str | None,
    name: str | None,
    description: str | None,
    options: Mapping[str, Any],
) -> ToolDefinition:
    called = name or getattr(function, "__name__", None) or action_type or ""
    try:
        signature = Signature.of(function, ToolInput)
    except (UnknownAnnotationError, ValueError) as error:
        raise ToolDefinitionError(called, [str(error)]) from error
    known = {field.name for field in attrs.fields(ToolDefinition)} - {"name", "handler"}
    if unknown := sorted(set(options) - known):
        raise ToolDefinitionError(called, [f"a tool has no {', '.join(unknown)}"])
    derived = {
        "action_type": action_type or called,
        "description": description or docstring_parts(function)[0],
        "input_schema": signature.schema,
        "check": signature.faults,
    }
    handler: ToolHandler = partial(_call, function, signature)
    if inspect.iscoroutinefunction(function):
        handler = partial(_await_call, function, signature)
    return ToolDefinition(called, handler=handler, **{**derived, **options})


def _call(
    function: Callable[..., Any], signature: Signature, given: ToolInput, ctx: Any
) -> ToolOutput | Any:
    result = function(**_arguments(signature, given, ctx))
    return _finish(result) if inspect.isawaitable(result) else _as_output(result)


async def _await_call(
    function: Callable[..., Any], signature: Signature, given: ToolInput, ctx: Any
) -> ToolOutput:
    return _as_output(await function(**_arguments(signature, given, ctx)))


async def _finish(awaitable: Any) -> ToolOutput:
    return _as_output(await awaitable)


def _arguments(signature: Signature, given: ToolInput, ctx: Any) -> dict[str, Any]:
    arguments = signature.structure(given.payload)
    if signature.context is not None:
        arguments[signature.context] = ctx
    if signature.whole is not None:
        arguments[signature.whole] = given
    return arguments


def _as_output(value: Any) -> ToolOutput:
    """Return what a function gave as an output: a mapping or an object is its data."""
    if isinstance(value, ToolOutput):
        return value
    if value is None:
        return ToolOutput.ok({})
    plain = _plain(value)
    return ToolOutput.ok(plain if isinstance(plain, dict) else {_VALUE: plain})


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    from cattrs.preconf.json import make_converter

    return make_converter().unstructure(value)


# --- definitions of whatever is a tool -------------------------------------------------------


def definition_of(tool: Any) -> ToolDefinition:
    """Return the definition of a tool: its own, or one that runs an instance of a tool class.

    Args:
        tool: A `ToolDefinition`, a `FunctionTool`, or an instance of a tool class. An instance
            may have further attributes of a definition, such as `input_schema`.

    Raises:
        ToolDefinitionError: If it is none of these.
    """
    if isinstance(tool, ToolDefinition):
        return tool
    own = getattr(tool, "definition", None)
    if isinstance(own, ToolDefinition):
        return own
    kind = type(tool)
    action_type = getattr(tool, "action_type", None) or getattr(kind, "_tool_action_type", None)
    if inspect.isclass(tool) or action_type is None or not hasattr(tool, "execute"):
        raise ToolDefinitionError(
            getattr(tool, "__qualname__", kind.__qualname__),
            ["it must be a ToolDefinition, a function made a tool, or an instance of a tool class"],
        )
    given = {
        field.name: getattr(tool, field.name)
        for field in attrs.fields(ToolDefinition)
        if field.name not in {"name", "action_type", "handler", "description"}
        and hasattr(tool, field.name)
    }
    return ToolDefinition(
        getattr(tool, "name", None) or getattr(kind, "_tool_name", action_type),
        action_type,
        partial(_run_class, tool, action_type),
        getattr(tool, "description", "") or getattr(kind, "_tool_description", ""),
        **given,
    )


async def _run_class(
    instance: BaseTool, action_type: str, given: ToolInput, ctx: Any
) -> ToolOutput:
    action = ToolAction(given.action_id, action_type, given.payload)
    output: Any = await instance.execute(ClassToolInput(action), ctx.to_dict())
    if not isinstance(output, ClassToolOutput):
        return cast("ToolOutput", output)  # the executor says what is wrong with it
    return ToolOutput(output.success, output.data, output.error, output.artifacts)
