"""What to do about each kind of fault in a definition, looked up by the fault's code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import attrs

__all__ = (
    "ContractSuggestion",
    "SuggestionRegistry",
    "get_contract_suggestion",
    "get_suggestion_registry",
    "register_suggestion",
    "set_suggestion_registry",
)

_DOCS = "docs/reference/errors.md"


def _as_steps(steps: Iterable[str]) -> tuple[str, ...]:
    return tuple(steps)


@attrs.frozen
class ContractSuggestion:
    """How to mend one kind of fault.

    Attributes:
        code: The code of the fault, such as `CONTRACT-004-CYCLE`.
        title: The fault in a few words.
        summary: What it means.
        fix_steps: What to do, step by step.
        doc_url: Where the documentation explains the code.
    """

    code: str
    title: str
    summary: str
    fix_steps: tuple[str, ...] = attrs.field(converter=_as_steps)
    doc_url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion as a plain dictionary with one key per attribute."""
        return {**attrs.asdict(self), "fix_steps": list(self.fix_steps)}


class SuggestionRegistry:
    """Suggestions by code.

    Args:
        suggestions: Those to begin with.
    """

    __slots__ = ("_suggestions",)

    def __init__(self, suggestions: Iterable[ContractSuggestion] = ()) -> None:
        self._suggestions = {suggestion.code: suggestion for suggestion in suggestions}

    def register(self, suggestion: ContractSuggestion) -> None:
        """Give *suggestion* for its code from now on, instead of any that was given before."""
        self._suggestions[suggestion.code] = suggestion

    def get(self, code: str) -> ContractSuggestion | None:
        """Return the suggestion for *code*, or None."""
        return self._suggestions.get(code)

    def __iter__(self) -> Iterator[ContractSuggestion]:
        return iter(tuple(self._suggestions.values()))

    def __len__(self) -> int:
        return len(self._suggestions)


def _default(code: str, title: str, summary: str, *fix_steps: str) -> ContractSuggestion:
    full = f"CONTRACT-004-{code}"
    return ContractSuggestion(full, title, summary, fix_steps, f"{_DOCS}#{full.lower()}")


def default_suggestions() -> tuple[ContractSuggestion, ...]:
    """Return a suggestion for every fault that the builders of pipelines find."""
    return (
        _default(
            "EMPTY",
            "No stages",
            "A pipeline without stages has nothing to run.",
            "Add at least one stage before you build it.",
            "If stages are added under a condition, build only if there are any.",
        ),
        _default(
            "MISSING_DEP",
            "Unknown dependency",
            "A stage waits for one that is not in the pipeline, so it could never start.",
            "Look for a misspelt name; the message lists the nearest ones.",
            "Add the stage that is missing, or compose the pipeline that has it.",
            "Remove the dependency if the stage does not need it any more.",
        ),
        _default(
            "CYCLE",
            "Stages in a circle",
            "Each of these stages waits for the next, so none could ever start.",
            "Follow `cycle_path` and find the dependency that should not be there.",
            "If two stages need each other, split one into what comes before and what after.",
            "To repeat work until it is good enough, use a retry or a guard-retry policy.",
        ),
        _default(
            "SELF_DEP",
            "A stage that waits for itself",
            "A stage is among its own dependencies, so it could never start.",
            "Remove it from its own dependencies.",
            "To run it again until it succeeds, give it a retry policy.",
        ),
        _default(
            "CONFLICT",
            "One name, two stages",
            "Two pipelines that are composed declare a stage of the same name differently.",
            "Rename one of the two stages.",
            "If both are meant to be the same, declare them alike, or take it from one side only.",
        ),
        _default(
            "DUPLICATE",
            "One name, several stages",
            "Outputs are read by the stage's name, so a name must belong to one stage.",
            "Rename all but one of these stages.",
            "In a loop, put the index into the name.",
        ),
        _default(
            "NAME",
            "Unusable name",
            "A stage's name is no text, is blank, or is not the one it is given under.",
            "Give the stage a name that says what it does.",
        ),
        _default(
            "KIND",
            "Unknown kind",
            "A stage is of a kind that does not exist.",
            "Use a member of StageKind, or its lower-case name.",
        ),
        _default(
            "RUNNER",
            "Nothing to run",
            "A stage's runner is neither a stage class, nor an object with `execute`, nor a"
            " function.",
            "Give `execute(self, ctx)` to the class, or pass a function of the context.",
            "Pass the function itself, not what it returns when it is called.",
        ),
        _default(
            "CONFIG",
            "Wrong keywords for a runner",
            "A runner class cannot be made with the keywords it is given, or is no class.",
            "Compare the keywords with the parameters of the class.",
            "Give an object that is made already no keywords at all.",
        ),
        _default(
            "PARAMETER",
            "Value out of range",
            "A setting of a stage or a pipeline has a value that it cannot have.",
            "Choose one of the values that the message names.",
        ),
        _default(
            "TYPE",
            "Types that do not fit",
            "A function stage wants the result of another as a type that it does not have.",
            "Correct the annotation of the parameter or of the result.",
            "Annotate the parameter as StageOutput to be given the whole output.",
        ),
        _default(
            "INPUT",
            "Wrong run inputs",
            "Function stages take inputs that were not given, or were given some nobody takes.",
            "Give each input by name when the run is started.",
            "Give the parameter a default if the input may be left out.",
        ),
        _default(
            "OUTPUT",
            "Output of a stage that is not there",
            "A pipeline that is used as a stage is to give the output of a stage it does not have.",
            "Name a stage of the inner pipeline; the message lists the nearest ones.",
        ),
        _default(
            "GUARD_RETRY",
            "Guard-retry that cannot work",
            "A guard-retry policy names a stage that is not there or not upstream of the guard,"
            " or has a limit out of range.",
            "Name a guard of this pipeline, and a stage that it depends on, directly or not.",
            "Choose limits that allow at least one attempt.",
        ),
        _default(
            "SCHEMA",
            "Unusable output schema",
            "A stage's output schema is neither a valid JSON schema, nor a class with fields, nor"
            " a function.",
            "Correct the schema at the path that the message names.",
            "For JSON schemas, install the distribution `jsonschema`.",
        ),
    )


_registry: SuggestionRegistry | None = None


def get_suggestion_registry() -> SuggestionRegistry:
    """Return the registry that is consulted; it begins with a suggestion for every fault."""
    return _defaults() if _registry is None else _registry


def set_suggestion_registry(registry: SuggestionRegistry | None) -> SuggestionRegistry:
    """Have *registry* consulted, or the default one for None; return the one before."""
    global _registry
    previous, _registry = get_suggestion_registry(), registry
    return previous


def register_suggestion(suggestion: ContractSuggestion) -> None:
    """Give *suggestion* for its code from now on, instead of any that was given before."""
    get_suggestion_registry().register(suggestion)


def get_contract_suggestion(code: str) -> ContractSuggestion | None:
    """Return how to mend the faults with this code, or None if nobody has said."""
    return get_suggestion_registry().get(code)


@cache
def _defaults() -> SuggestionRegistry:
    return SuggestionRegistry(default_suggestions())
