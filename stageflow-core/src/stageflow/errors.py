"""The errors Stageflow raises on purpose, each with a stable code and a hint.

Three branches tell where to look: a `DefinitionError` is a mistake in a graph, a
`ConfigurationError` one in settings or plugins, a `RunError` something that went
wrong while a run was under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = (
    "ConfigurationError",
    "ContractErrorInfo",
    "DefinitionError",
    "RunError",
    "StageflowError",
    "did_you_mean",
)

DOCS_ROOT = "docs/reference/errors.md"


@attrs.frozen
class ContractErrorInfo:
    """One fault of a definition or a configuration: what, why, how to mend it, where to read on.

    Attributes:
        code: The stable code of this kind of fault.
        summary: What is wrong and where, in one sentence.
        fix_hint: What to do about it.
        doc_url: Where the documentation explains the code.
        context: The facts of this occurrence, by name.
    """

    code: str
    summary: str
    fix_hint: str | None = None
    doc_url: str | None = None
    context: dict[str, Any] = attrs.field(factory=dict, hash=False)

    def with_context(self, **facts: Any) -> ContractErrorInfo:
        """Return a copy whose context also holds *facts*; later facts win."""
        return attrs.evolve(self, context={**self.context, **facts})

    def to_dict(self) -> dict[str, Any]:
        """Return the fault as a plain dictionary with one key per attribute."""
        return {
            "code": self.code,
            "summary": self.summary,
            "fix_hint": self.fix_hint,
            "doc_url": self.doc_url,
            "context": dict(self.context),
        }

    def __str__(self) -> str:
        hint = f" Hint: {self.fix_hint}" if self.fix_hint else ""
        return f"[{self.code}] {self.summary}{hint}"


class StageflowError(Exception):
    """Base of every error that Stageflow raises on purpose.

    Subclasses set `code` once and keep the facts of the error as attributes.

    Attributes:
        code: Stable identifier of the kind of error; never reused for another kind.
        hint: What the reader can do about it; may be empty.
    """

    code: str = "SF000"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """What happened, without code and hint."""
        return str(self.args[0]) if self.args else ""

    @property
    def doc_url(self) -> str:
        """Where the documentation explains this error."""
        return f"{DOCS_ROOT}#{self.code.lower()}"

    def __str__(self) -> str:
        hint = f" Hint: {self.hint}" if self.hint else ""
        return f"[{self.code}] {self.message}{hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls cls(*args), which keyword-only parameters refuse.
        return _restore, (type(self), self.args, self.__dict__)


class DefinitionError(StageflowError):
    """A graph, stage or asset was declared wrongly; raised before anything runs."""

    code = "SF100"


class ConfigurationError(StageflowError):
    """Settings or plugins are wrong; raised before anything runs."""

    code = "SF200"


class RunError(StageflowError):
    """Something went wrong while a run was under way."""

    code = "SF300"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the known names nearest to *name*, or all if they are few."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(n) for n in near)}?"
    if not names:
        return "There is none to choose from."
    shown = ", ".join(names[:10])
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"Known: {shown}{more}."


def _restore(
    cls: type[StageflowError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> StageflowError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
