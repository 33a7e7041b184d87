"""Failures, told so that a person can mend them: code, what, where, why, what to do."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from stageflow.cli.errors import CommandError, UnexpectedError
from stageflow.cli.text import Terminal, one_line, plural
from stageflow.errors import DOCS_ROOT, ContractErrorInfo, StageflowError

__all__ = ("Failure", "describe", "tell")

_MOST_FAULTS = 25
_MOST_LINES = 40


@attrs.frozen(kw_only=True)
class Failure:
    """One error, taken apart.

    Attributes:
        code: Its code.
        what: What happened.
        where: The place, if it is known.
        why: What caused it, the nearest cause first.
        faults: All that is wrong, if it is a list of faults.
        hint: What to do.
        more: Where the documentation explains it.
    """

    code: str
    what: str
    where: str = ""
    why: tuple[str, ...] = ()
    faults: tuple[ContractErrorInfo, ...] = ()
    hint: str = ""
    more: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as JSON-able data."""
        return {
            "code": self.code,
            "message": self.what,
            "where": self.where or None,
            "why": list(self.why),
            "hint": self.hint or None,
            "doc_url": self.more,
            "faults": [fault.to_dict() for fault in self.faults],
        }


def describe(error: BaseException) -> Failure:
    """Return what there is to tell about *error*; what nobody foresaw is a defect, and says so."""
    from stageflow.cli.places import place_of

    if not isinstance(error, StageflowError):
        unexpected = UnexpectedError(
            f"This should not have happened: {type(error).__name__}: {error}.",
            hint="--debug shows the traceback; please report it.",
            where=place_of(error),
        )
        return _taken_apart(unexpected, unexpected.where, _causes(error))
    original = getattr(error, "original", None)
    if isinstance(original, BaseException):
        return _of_a_stage(error, original, place_of(original))
    if isinstance(error, CommandError):
        # Its message tells of its cause already; what caused that is news.
        return _taken_apart(error, error.where, _causes(error.__cause__ or error))
    return _taken_apart(error, place_of(error), _causes(error))


def _of_a_stage(error: StageflowError, original: BaseException, where: str) -> Failure:
    """Tell of a stage that failed: what it raised is the news."""
    told = f"{type(original).__name__}: {original}".removesuffix(": ")
    hint = "Mend that line; --debug shows the whole traceback."
    if isinstance(original, StageflowError):
        told = original.message
        hint = original.hint or "The stage said so itself: look at what it returns, and when."
    return Failure(
        code=getattr(original, "code", "") if isinstance(original, StageflowError) else error.code,
        what=f"Stage {getattr(error, 'stage', '')!r} failed: {told}",
        where=where,
        why=(*_causes(original), *getattr(original, "__notes__", ())),
        hint=hint,
        more=original.doc_url if isinstance(original, StageflowError) else error.doc_url,
    )


def _taken_apart(error: StageflowError, where: str, why: tuple[str, ...]) -> Failure:
    faults: Sequence[ContractErrorInfo] = getattr(error, "faults", ())
    what, hint = error.message, error.hint
    if len(faults) == 1:
        what, hint = faults[0].summary, faults[0].fix_hint or hint
    elif faults:
        # The message lists them again, for those who see nothing else.
        what, hint = what.partition("\n")[0].rstrip(":") + ".", ""
    only = faults[0] if len(faults) == 1 else None
    return Failure(
        code=only.code if only else type(error).code,
        what=what,
        where=where,
        why=(*why, *getattr(error, "__notes__", ())),
        faults=tuple(faults) if len(faults) > 1 else (),
        hint=hint,
        more=(only.doc_url if only else None) or f"{DOCS_ROOT}#{type(error).code.lower()}",
    )


def _causes(error: BaseException) -> tuple[str, ...]:
    told = []
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        text = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        # A message mostly quotes its cause already.
        if str(cause) not in str(error):
            told.append(text)
        cause = cause.__cause__
    return tuple(told)


def tell(terminal: Terminal, errors: Sequence[BaseException], *, debug: bool = False) -> None:
    """Write *errors* for a person; with *debug*, their tracebacks before them."""
    for number, error in enumerate(errors):
        if number:
            terminal.line()
        if debug:
            terminal.lines("".join(traceback.format_exception(error)).rstrip().split("\n"))
            terminal.line()
        terminal.lines(_lines(terminal, describe(error)))


def _lines(terminal: Terminal, failure: Failure) -> list[str]:
    head = terminal.paint(f"error {failure.code}", "bold red")
    first, *rest = failure.what.split("\n")
    lines = [f"{head}  {one_line(first)}", *(f"  {one_line(line)}" for line in rest[:_MOST_LINES])]
    if len(rest) > _MOST_LINES:
        lines.append(f"  … and {plural(len(rest) - _MOST_LINES, 'more line')}")

    def labelled(label: str, text: str, style: str = "") -> None:
        if text:
            shown = terminal.paint(one_line(text), style)
            lines.append(f"  {terminal.paint(f'{label:<5}', 'dim')} {shown}")

    shown_faults = failure.faults[:_MOST_FAULTS]
    for number, fault in enumerate(shown_faults, 1):
        code = terminal.paint(fault.code, "red")
        lines.append(f"  {number:>2}. {code}  {one_line(fault.summary)}")
        if fault.fix_hint:
            lines.append(f"      {terminal.paint('do', 'dim')} {one_line(fault.fix_hint)}")
    if len(failure.faults) > len(shown_faults):
        rest_of_faults = plural(len(failure.faults) - len(shown_faults), "more fault")
        lines.append(f"      … and {rest_of_faults}")
    labelled("where", failure.where)
    for reason in failure.why:
        labelled("why", reason)
    labelled("do", failure.hint, "bold")
    # A path helps whoever has the file.
    if "://" in failure.more or Path(failure.more.partition("#")[0]).is_file():
        labelled("see", failure.more, "dim")
    return lines
