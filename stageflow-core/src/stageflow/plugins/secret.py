"""Secret: a text that is passed on and never shown."""

from __future__ import annotations

import hmac
from typing import Any, Final, NoReturn, final

import attrs

from stageflow.plugins.errors import SecretExposureError

__all__ = ("Secret", "redact", "secrets_in")

_MASK: Final = "***"


@final
class Secret:
    """A text that only `reveal` gives away.

    Its repr, its text in any format, and whatever is made of them (logs, events, error
    messages, tracebacks with local variables) read `***`. It compares equal to a Secret of the
    same text, can be copied, and refuses to be pickled.

    Args:
        value: The text to keep.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", str(value))

    def reveal(self) -> str:
        """Return the text itself; keep what you get out of messages."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret('{_MASK}')"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise attrs.exceptions.FrozenInstanceError

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SecretExposureError


def secrets_in(value: Any) -> frozenset[str]:
    """Return the texts of all secrets in a settings object, however deep they are."""
    if isinstance(value, Secret):
        return frozenset({value.reveal()} - {""})
    if attrs.has(type(value)):
        parts = [getattr(value, field.name) for field in attrs.fields(type(value))]
    elif isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = list(value)
    else:
        return frozenset()
    return frozenset().union(*(secrets_in(part) for part in parts))


def redact(text: str, secrets: frozenset[str]) -> str:
    """Return *text* with every one of *secrets* masked, also as its repr shows it."""
    spellings = {spelling for secret in secrets for spelling in (secret, repr(secret)[1:-1])}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, _MASK)
    return text
