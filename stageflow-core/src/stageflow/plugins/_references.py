"""References and plain values: what one written value stands for, or why it does not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from stageflow.plugins.secret import Secret
from stageflow.plugins.sources import WrittenText

__all__ = ("WRONG_VALUE", "RefusedValue", "Resolver", "resolved_secrets")

#: A setting whose value has the wrong type, or is none of those that it may have.
WRONG_VALUE: Final = "SF203"
#: A setting that refers to a variable that is not set, or to a file that cannot be read.
UNRESOLVED_REFERENCE: Final = "SF205"
#: A secret that stands in the settings file itself, and not as `env:NAME` or `file:PATH`.
PLAIN_SECRET: Final = "SF206"  # noqa: S105 - the code of a fault

N = TypeVar("N", int, float)

_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_TRUTH |= {"false": False, "no": False, "off": False, "0": False}

resolved_secrets: Final[ContextVar[list[str] | None]] = ContextVar(
    "stageflow_resolved_secrets", default=None
)
"""What has been resolved for secrets while settings are structured, for messages to leave out."""


class RefusedValue(ValueError):
    """A value that does not do, with the code of the fault and words that do not quote it."""

    def __init__(self, code: str, told: str, hint: str = "") -> None:
        super().__init__(told)
        self.code = code
        self.hint = hint


class Resolver:
    """Takes single values as written; each method returns one kind of value or refuses.

    `env:NAME` stands for a variable, `file:PATH` for the text of a file without its last line
    break, and `literal:TEXT` for a text that would be taken for a reference. A `file://` URL is
    a text like any other.

    Args:
        environ: The variables that references name.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, value: Any) -> str:
        """Return a text, resolved if it is a reference."""
        if not isinstance(value, str):
            raise RefusedValue(WRONG_VALUE, "expected a text")
        name, colon, rest = value.partition(":")
        if colon and name == "env":
            return self._variable(rest)
        if colon and name == "file" and not rest.startswith("//"):
            return self._file(rest, value)
        return rest if colon and name == "literal" else str.__str__(value)

    def secret(self, value: Any) -> Secret:
        """Return a secret; one written out in a settings file is refused."""
        if isinstance(value, Secret):
            secret = value
        elif not isinstance(value, str):
            raise RefusedValue(WRONG_VALUE, "expected a reference to a secret, as a text")
        else:
            text = self.text(value)
            if isinstance(value, WrittenText) and value.folder and text == value:
                raise RefusedValue(
                    PLAIN_SECRET,
                    "a secret must not be written out in this file",
                    "Write env:NAME or file:PATH; literal:TEXT if it protects nothing.",
                )
            secret = Secret(text)
        collected = resolved_secrets.get()
        if collected is not None:
            collected.append(secret.reveal())
        return secret

    def path(self, value: Any) -> Path:
        """Return a path; one from a settings file is relative to the folder of that file."""
        if isinstance(value, Path):
            return value
        if not isinstance(value, str):
            raise RefusedValue(WRONG_VALUE, "expected a path, as a text")
        text = self._variable(value[4:]) if value.startswith("env:") else str.__str__(value)
        path = Path(text).expanduser()
        folder = value.folder if isinstance(value, WrittenText) else None
        return path if folder is None else folder / path

    def truth(self, value: Any) -> bool:
        """Return a truth value."""
        if isinstance(value, bool):
            return value
        text = self._loose(value)
        if text is None or text.strip().lower() not in _TRUTH:
            raise RefusedValue(WRONG_VALUE, "expected true or false")
        return _TRUTH[text.strip().lower()]

    def whole_number(self, value: Any) -> int:
        """Return a whole number."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return self._parsed(value, int, "a whole number")

    def number(self, value: Any) -> float:
        """Return a number."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        return self._parsed(value, float, "a number")

    def duration(self, value: Any) -> timedelta:
        """Return a duration, written as a number of seconds."""
        return value if isinstance(value, timedelta) else timedelta(seconds=self.number(value))

    def deep(self, value: Any) -> Any:
        """Return any value, with the references in it resolved however deep they are."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.deep(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.deep(part) for part in value]
        return value

    def _parsed(self, value: Any, parse: Callable[[str], N], words: str) -> N:
        text = self._loose(value)
        try:
            if text is not None:
                return parse(text)
        except ValueError:
            pass
        raise RefusedValue(WRONG_VALUE, f"expected {words}")

    def _loose(self, value: Any) -> str | None:
        """Return the text that stands for something else than a text; None if there is none."""
        if not isinstance(value, str):
            return None
        text = self.text(value)
        is_loose = isinstance(value, WrittenText) and value.is_loose
        return text if is_loose or text != value else None

    def _variable(self, name: str) -> str:
        try:
            return self._environ[name]
        except KeyError:
            pass
        raise RefusedValue(
            UNRESOLVED_REFERENCE,
            f"refers to env:{name}, which is not set",
            f"Set the variable {name}.",
        )

    def _file(self, name: str, value: str) -> str:
        folder = value.folder if isinstance(value, WrittenText) else None
        path = (folder or Path()) / Path(name).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RefusedValue(
                UNRESOLVED_REFERENCE,
                f"refers to file:{name}, which cannot be read: {reason}",
                f"Make {path} a file that this process may read.",
            ) from None
        return text.removesuffix("\n").removesuffix("\r")
