"""The shapes in which providers write calls of tools, their results and what tools there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from stageflow.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from stageflow.tools.definitions import ToolDefinition, ToolOutput

__all__ = (
    "CALL_FORMATS",
    "ParsedToolCall",
    "ToolCallFormat",
    "UnknownCallFormatError",
    "get_call_format",
)

_MALFORMED: Final = "Malformed tool call"
_GEMINI_PARTS: Final = frozenset(
    {
        "codeExecutionResult",
        "code_execution_result",
        "executableCode",
        "executable_code",
        "fileData",
        "file_data",
        "functionResponse",
        "function_response",
        "inlineData",
        "inline_data",
        "text",
        "thought",
    }
)
"""Keys of the parts of an answer that are no calls."""
_INVALID: Final = "Invalid JSON arguments"


class UnknownCallFormatError(ConfigurationError, ValueError):
    """A shape of tool calls was asked for by a name that none has.

    Attributes:
        name: The name.
    """

    code = "SF512"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no shape of tool calls named {name!r}.",
            hint=did_you_mean(str(name), CALL_FORMATS),
        )
        self.name = name


@attrs.frozen
class ParsedToolCall:
    """A call as it was read, whether or not there is such a tool.

    Attributes:
        call_id: The provider's id; empty if it gives none.
        name: What the model called; empty if that cannot be read.
        arguments: The arguments; empty if they cannot be read.
        error: What is wrong with the call itself, or None.
        raw: The call as it came.
    """

    call_id: str
    name: str
    arguments: dict[str, Any]
    error: str | None
    raw: Any


@attrs.frozen
class ToolCallFormat:
    """How a provider writes calls, and how it wants results and declarations written.

    Attributes:
        name: The name of the shape.
        id_field: The key of a call's id.
        name_field: The key of the tool's name.
        arguments_field: The key of the arguments.
        wrappers: Keys, one of which holds the name and the arguments; none if they lie open.
        call_type: Only items with this `type` are calls; the others are something else.
        result_style: How results and declarations are written.
    """

    name: str
    id_field: str = "id"
    name_field: str = "name"
    arguments_field: str = "arguments"
    wrappers: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    call_type: str | None = attrs.field(default=None, kw_only=True)
    result_style: Literal["openai", "openai-responses", "anthropic", "gemini", "direct"] = (
        attrs.field(default="openai", kw_only=True)
    )

    # --- reading ---

    def parse(
        self, calls: Iterable[Any] | None, *, max_bytes: int | None = None
    ) -> list[ParsedToolCall]:
        """Return every call in *calls*, in order; one that cannot be read says why.

        Args:
            calls: What a model answered: its calls, or the parts or blocks among which they are.
            max_bytes: Arguments written in more bytes than these are not read at all.
        """
        if isinstance(calls, Mapping):
            calls = [calls]
        elif calls is None or isinstance(calls, str | bytes) or not isinstance(calls, Iterable):
            calls = [] if calls is None else [calls]
        return [self._read(call, max_bytes) for call in calls if self._is_call(call)]

    def _is_call(self, item: Any) -> bool:
        if not isinstance(item, Mapping):
            return True  # whatever it is, it is not lost
        if self.call_type is not None:
            return bool(item.get("type", self.call_type) == self.call_type)
        # Parts of an answer that are none: they have no key of a call.
        other = self.result_style == "gemini" and not _GEMINI_PARTS.isdisjoint(item)
        return not other or any(wrapper in item for wrapper in self.wrappers)

    def _read(self, call: Any, max_bytes: int | None) -> ParsedToolCall:
        if not isinstance(call, Mapping):
            why = f"{_MALFORMED}: an object is needed, not {type(call).__name__}"
            return ParsedToolCall("", "", {}, why, call)
        wrapper = next((key for key in self.wrappers if key in call), None)
        inner: Any = call if wrapper is None else call[wrapper]
        call_id = self._call_id(call, inner)
        if self.wrappers and wrapper is None:
            why = f"{_MALFORMED}: it has no {self.wrappers[0]!r}"
            return ParsedToolCall(call_id, "", {}, why, call)
        if not isinstance(inner, Mapping):
            why = f"{_MALFORMED}: {wrapper!r} must be an object, not {type(inner).__name__}"
            return ParsedToolCall(call_id, "", {}, why, call)
        name = inner.get(self.name_field)
        if not isinstance(name, str) or not name:
            why = f"{_MALFORMED}: {self.name_field!r} must be the name of a tool"
            return ParsedToolCall(call_id, "", {}, why, call)
        arguments, error = read_arguments(inner.get(self.arguments_field), max_bytes)
        return ParsedToolCall(call_id, name, arguments, error, call)

    def _call_id(self, call: Mapping[str, Any], inner: Any) -> str:
        found = call.get(self.id_field)
        if found is None and isinstance(inner, Mapping):
            found = inner.get(self.id_field)
        return "" if found is None else str(found)

    # --- writing ---

    def result(self, call_id: str, name: str, output: ToolOutput) -> dict[str, Any]:
        """Return what a call came to, as the provider wants it told."""
        told = _told(output)
        text = _as_json(told)
        if self.result_style == "openai":
            return {"role": "tool", "tool_call_id": call_id, "content": text}
        if self.result_style == "openai-responses":
            return {"type": "function_call_output", "call_id": call_id, "output": text}
        if self.result_style == "anthropic":
            return {
                "type": "tool_result",
                "tool_use_id": call_id,
                "content": text,
                "is_error": not output.success,
            }
        if self.result_style == "gemini":
            answer = {"output": told} if output.success else told
            identity = {"id": call_id} if call_id else {}
            return {
                "functionResponse": {"name": name, "response": json.loads(_as_json(answer))}
                | identity
            }
        return {"id": call_id, "name": name, "success": output.success, "result": told}

    def messages(self, results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return results as the messages that follow the model's in a conversation."""
        items = [dict(result) for result in results]
        if not items:
            return []
        if self.result_style == "anthropic":
            return [{"role": "user", "content": items}]
        if self.result_style == "gemini":
            return [{"role": "user", "parts": items}]
        return items

    def declare(self, tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
        """Return what tools there are, as a provider wants to be told before a model can call."""
        facts = [(tool.name, tool.description, _schema(tool.input_schema)) for tool in tools]
        if self.result_style == "anthropic":
            return [{"name": n, "description": d, "input_schema": s} for n, d, s in facts]
        if self.result_style == "openai":
            return [
                {"type": "function", "function": {"name": n, "description": d, "parameters": s}}
                for n, d, s in facts
            ]
        plain = [{"name": n, "description": d, "parameters": s} for n, d, s in facts]
        if self.result_style == "openai-responses":
            return [{"type": "function", **tool} for tool in plain]
        if self.result_style == "gemini":
            return [{"functionDeclarations": plain}] if plain else []
        return plain


CALL_FORMATS: Final[Mapping[str, ToolCallFormat]] = {
    shape.name: shape
    for shape in (
        ToolCallFormat("openai", wrappers=("function",)),
        ToolCallFormat(
            "openai-responses",
            id_field="call_id",
            call_type="function_call",
            result_style="openai-responses",
        ),
        ToolCallFormat(
            "anthropic",
            arguments_field="input",
            call_type="tool_use",
            result_style="anthropic",
        ),
        ToolCallFormat(
            "gemini",
            arguments_field="args",
            wrappers=("functionCall", "function_call"),
            result_style="gemini",
        ),
        ToolCallFormat("direct", result_style="direct"),
    )
}
"""The shapes that have names; a provider that is not here gets a `ToolCallFormat` of its own."""


def get_call_format(provider: str | ToolCallFormat) -> ToolCallFormat:
    """Return the shape of that name, or the shape itself if one is given.

    Raises:
        UnknownCallFormatError: If no shape has the name.
    """
    if isinstance(provider, ToolCallFormat):
        return provider
    found = CALL_FORMATS.get(provider)
    if found is None:
        raise UnknownCallFormatError(provider)
    return found


def read_arguments(given: Any, max_bytes: int | None = None) -> tuple[dict[str, Any], str | None]:
    """Return arguments as a dictionary, and what is wrong with them, or None."""
    if isinstance(given, Mapping):
        return dict(given), None
    if not isinstance(given, str) or not given.strip():
        return {}, None
    if max_bytes is not None and len(given) > max_bytes:
        return {}, f"Arguments too large: {len(given)} characters, where {max_bytes} are allowed"
    try:
        read = json.loads(given, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return {}, f"{_INVALID}: {str(error)[:200] or type(error).__name__}"
    if read is None:
        return {}, None
    if not isinstance(read, dict):
        return {}, f"{_INVALID}: an object is needed, not {type(read).__name__}"
    return read, None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _told(output: ToolOutput) -> Any:
    if output.success:
        return {} if output.data is None else output.data
    error = {"error": output.error or "The tool failed."}
    return error if not output.data else {**error, "data": output.data}


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return json.dumps({"error": f"The result cannot be written as JSON: {error}"[:300]})


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return dict(schema) or {"type": "object", "properties": {}}
