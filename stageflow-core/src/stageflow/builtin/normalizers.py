"""StandardErrorNormalizer: what the exceptions of Python and its library mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from stageflow._engine.retrying import STANDARD_RULES, Meaning, meaning_of, name_of
from stageflow.contracts.error_normalizer import NormalizedError
from stageflow.errors import StageflowError

__all__ = ("StandardErrorNormalizer",)

_MAX_MESSAGE: Final = 2_000


class StandardErrorNormalizer:
    """Knows the exceptions of Python, its library and Stageflow; any other is not retryable.

    The nearest known class of an exception decides. An exception with a truth value in its
    attribute `retryable` decides that for itself. A group is retryable if all in it are.

    Args:
        rules: Further classes: code and whether they are worth another attempt. They win over
            the standard ones.
    """

    def __init__(self, rules: Mapping[type[BaseException], tuple[str, bool]] | None = None) -> None:
        self._rules = {**STANDARD_RULES}
        for cls, (code, retryable) in (rules or {}).items():
            self._rules[name_of(cls)] = Meaning(code, retryable)

    def normalize(self, error: BaseException) -> NormalizedError:
        """Return what *error* means; never raises."""
        if isinstance(error, BaseExceptionGroup):
            return self._of_group(error)
        meaning = meaning_of(error, self._rules)
        if isinstance(error, StageflowError):
            meaning = attrs.evolve(meaning, code=error.code)
        try:
            details = dict(_details(error))
        except Exception:  # noqa: BLE001 - the attributes of a stranger's exception may raise
            details = {}
        return NormalizedError(meaning.code, _message(error), meaning.retryable, details)

    def _of_group(self, group: BaseExceptionGroup[BaseException]) -> NormalizedError:
        parts = [self.normalize(error) for error in group.exceptions]
        codes = {part.code for part in parts}
        return NormalizedError(
            codes.pop() if len(codes) == 1 else "several_errors",
            "; ".join(part.message for part in parts)[:_MAX_MESSAGE],
            all(part.retryable for part in parts),
            {**dict(_details(group)), "errors": [part.code for part in parts]},
        )

    def __repr__(self) -> str:
        return "StandardErrorNormalizer()"


def _details(error: BaseException) -> Iterator[tuple[str, Any]]:
    yield "type", name_of(type(error))
    if isinstance(error, OSError) and error.errno is not None:
        yield "errno", errno.errorcode.get(error.errno, error.errno)
    for name in ("code", "status_code", "returncode", "retry_after"):
        value = getattr(error, name, None)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            yield name, value


def _message(error: BaseException) -> str:
    try:
        text = error.message if isinstance(error, StageflowError) else str(error)
    except Exception:  # noqa: BLE001 - a stranger's exception may fail to tell what it is
        text = ""
    return text[:_MAX_MESSAGE] or type(error).__name__
