"""ToolRegistry: tools by action type, and the calls of language models resolved to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Literal

import attrs

from stageflow.errors import did_you_mean
from stageflow.tools._shared import Shared
from stageflow.tools.errors import DuplicateToolError, ToolDefinitionError
from stageflow.tools.formats import ToolCallFormat, get_call_format

__all__ = (
    "ResolvedToolCall",
    "ToolRegistry",
    "UnresolvedToolCall",
    "clear_tool_registry",
    "get_tool_registry",
    "register_tool",
    "set_tool_registry",
)


@attrs.frozen
class ResolvedToolCall:
    """A call of a model that a tool can carry out.

    Attributes:
        tool: The tool.
        call_id: The provider's id of the call.
        name: What the model called.
        arguments: The arguments it gave.
        raw: The call as it came.
    """

    tool: Any
    call_id: str
    name: str
    arguments: dict[str, Any]
    raw: Any = None


@attrs.frozen
class UnresolvedToolCall:
    """A call of a model that nobody can carry out.

    Attributes:
        call_id: The provider's id of the call, if there is one.
        name: What the model called, if that can be read.
        arguments: The arguments, as far as they can be read.
        error: Why it cannot be carried out.
        raw: The call as it came.
    """

    call_id: str
    name: str
    arguments: dict[str, Any]
    error: str
    raw: Any = None


@attrs.define
class _Entry:
    origin: str | None
    tool: Any = None
    factory: Callable[[], Any] | None = None

    def describe(self) -> str:
        if self.tool is None:
            return f"a factory, {_named(self.factory)},"
        return f"a tool, {type(self.tool).__qualname__},"


class ToolRegistry:
    """Tools by action type; safe to use from several threads.

    A tool is registered as an instance, or as a factory that makes it when it is first wanted.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}

    def register(self, tool: Any, *, replace: bool = False) -> None:
        """Keep a tool under its `action_type`.

        Raises:
            DuplicateToolError: If there is a tool or a factory already and *replace* is false.
            ToolDefinitionError: If it has no action type.
        """
        action_type = getattr(tool, "action_type", None)
        if not action_type:
            action_type = getattr(type(tool), "_tool_action_type", None)
        self._keep(action_type, _Entry(None, tool=tool), replace=replace)

    def register_factory(
        self,
        action_type: str,
        factory: Callable[[], Any],
        *,
        replace: bool = False,
        origin: str | None = None,
    ) -> None:
        """Keep what makes a tool, which is then made when it is first wanted.

        Args:
            action_type: What actions call the tool.
            factory: Makes it.
            replace: Whether it takes the place of what is there.
            origin: Where the tool is defined. A definition that is run again, such as a cell of a
                notebook or a module that is loaded anew, replaces itself.

        Raises:
            DuplicateToolError: If there is a tool or a factory of another origin already and
                *replace* is false.
            ToolDefinitionError: If the action type is no text, or the factory not callable.
        """
        if not callable(factory):
            raise ToolDefinitionError(str(action_type), ["its factory must be callable"])
        self._keep(action_type, _Entry(origin, factory=factory), replace=replace)

    def _keep(self, action_type: Any, entry: _Entry, *, replace: bool) -> None:
        if not isinstance(action_type, str) or not action_type:
            name = _named(entry.factory) if entry.tool is None else type(entry.tool).__qualname__
            raise ToolDefinitionError(name, ["action_type must be a text that is not empty"])
        with self._lock:
            known = self._entries.get(action_type)
            again = known is not None and known.origin is not None and known.origin == entry.origin
            if known is not None and not again and not replace:
                raise DuplicateToolError(action_type, known.describe(), entry.describe())
            self._entries[action_type] = entry

    def get_tool(self, action_type: str) -> Any:
        """Return the tool of an action type, made now if need be; None if there is none."""
        with self._lock:
            entry = self._entries.get(action_type)
            if entry is None:
                return None
            if entry.tool is None and entry.factory is not None:
                entry.tool = entry.factory()
            return entry.tool

    def can_execute(self, action_type: object) -> bool:
        """Say whether there is a tool, or a factory for one."""
        return action_type in self._entries

    def list_tools(self) -> list[Any]:
        """Return the tools that were registered or have been made, in the order of registration."""
        with self._lock:
            return [entry.tool for entry in self._entries.values() if entry.tool is not None]

    def __contains__(self, action_type: object) -> bool:
        return self.can_execute(action_type)

    def parse_and_resolve(
        self,
        calls: Iterable[Any],
        *,
        id_field: str = "id",
        name_field: str = "name",
        arguments_field: str = "arguments",
        function_wrapper: str | None = "function",
        provider: Literal["openai", "openai-responses", "anthropic", "gemini", "direct"]
        | ToolCallFormat
        | None = None,
    ) -> tuple[list[ResolvedToolCall], list[UnresolvedToolCall]]:
        """Read the calls of a model and find the tool of each; never raises for a call.

        Args:
            calls: The calls, in the provider's shape.
            id_field: The key of a call's id.
            name_field: The key of the tool's action type.
            arguments_field: The key of the arguments: a dictionary, or JSON text.
            function_wrapper: The key under which name and arguments are; None if they are not
                wrapped.
            provider: The name of a shape, which then stands instead of all keys.

        Returns:
            The calls that can be carried out and those that cannot, each in their order.
        """
        shape = (
            ToolCallFormat(
                "custom",
                id_field=id_field,
                name_field=name_field,
                arguments_field=arguments_field,
                wrappers=() if function_wrapper is None else (function_wrapper,),
            )
            if provider is None
            else get_call_format(provider)
        )
        resolved: list[ResolvedToolCall] = []
        unresolved: list[UnresolvedToolCall] = []
        for call in shape.parse(calls):
            tool, error = None, call.error
            if error is None:
                tool, error = self._resolve(call.name)
            if error is None:
                resolved.append(
                    ResolvedToolCall(tool, call.call_id, call.name, call.arguments, call.raw)
                )
            else:
                unresolved.append(
                    UnresolvedToolCall(call.call_id, call.name, call.arguments, error, call.raw)
                )
        return resolved, unresolved

    def _resolve(self, name: str) -> tuple[Any, str | None]:
        try:
            tool = self.get_tool(name)
        except Exception as error:  # noqa: BLE001 - a factory that fails loses one call, not all
            return None, f"The tool {name!r} cannot be made: {type(error).__name__}: {error}"
        if tool is None:
            hint = did_you_mean(name, self._entries)
            return None, f"No tool registered for {name[:80]!r}. {hint}"
        return tool, None


def _named(factory: object) -> str:
    return str(getattr(factory, "__qualname__", type(factory).__qualname__))


# --- the registry of those who name none ----------------------------------------------------

_current = Shared(ToolRegistry)


def get_tool_registry() -> ToolRegistry:
    """Return the registry of those who name none."""
    return _current.get()


def set_tool_registry(registry: ToolRegistry) -> None:
    """Have *registry* used by those who name none; for tests, above all."""
    _current.set(registry)


def clear_tool_registry() -> None:
    """Have a new, empty registry used by those who name none, from the next use on."""
    _current.set(None)


def register_tool(tool: Any, *, replace: bool = False) -> None:
    """Keep a tool in the registry of those who name none.

    Raises:
        DuplicateToolError: If its action type is taken and *replace* is false.
    """
    get_tool_registry().register(tool, replace=replace)
