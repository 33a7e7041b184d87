"""Inputs of a run, as they are written on a command line and in a JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from stageflow.cli.errors import InputError
from stageflow.errors import ContractErrorInfo

__all__ = ("GivenInputs", "fault", "read_inputs")

#: An `--input` is not written as `NAME=VALUE`.
NOT_AN_INPUT = "SF908"
#: An input is given more than once.
GIVEN_TWICE = "SF909"
#: A file of inputs cannot be read, or is not a JSON object.
UNUSABLE_FILE = "SF910"
#: An input that the target needs is not given.
MISSING_INPUT = "SF911"
#: An input is given that nothing takes.
UNKNOWN_INPUT = "SF912"

INPUT_TEXT = "input_text"


@attrs.frozen
class GivenInputs:
    """What a run is given.

    Attributes:
        values: The inputs by name: what was written as JSON if it is that, else as text.
        texts: How those on the command line were written.
    """

    values: Mapping[str, Any] = attrs.field(factory=dict)
    texts: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def input_text(self) -> str | None:
        """The text the run is about, if one was given."""
        if INPUT_TEXT not in self.values:
            return None
        value = self.values[INPUT_TEXT]
        return self.texts.get(INPUT_TEXT, value if isinstance(value, str) else json.dumps(value))

    def value(self, name: str, annotation: Any) -> Any:
        """Return one input; where a text is wanted, as it was written: `1.10` stays `1.10`."""
        if annotation in (str, "str", str | None, "str | None"):
            return self.texts.get(name, self.values[name])
        return self.values[name]


def read_inputs(pairs: Iterable[str] = (), file: Path | None = None) -> GivenInputs:
    """Return the inputs of `--input` and `--input-file`; the former win.

    Args:
        pairs: Each `NAME=VALUE`.
        file: Holds a JSON object; `-` is the standard input.

    Raises:
        InputError: If any of it is wrong; it lists every fault.
    """
    faults: list[ContractErrorInfo] = []
    values = {} if file is None else _from_file(file, faults)
    texts: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.strip():
            faults.append(
                fault(
                    NOT_AN_INPUT,
                    f"--input {pair!r} does not say which input gets which value.",
                    "Write it as NAME=VALUE, such as --input folder=docs.",
                )
            )
        elif name in texts:
            faults.append(
                fault(
                    GIVEN_TWICE,
                    f"--input {name} is given twice: {texts[name]!r} and {text!r}.",
                    f"Give it once; several values make a list: --input '{name}=[1, 2]'.",
                    input=name,
                )
            )
        else:
            texts[name] = text
    if faults:
        raise InputError(faults)
    return GivenInputs({**values, **{name: _parsed(text) for name, text in texts.items()}}, texts)


def fault(code: str, summary: str, hint: str, **context: Any) -> ContractErrorInfo:
    """Return one fault of the inputs."""
    return ContractErrorInfo(
        code, summary, hint, f"docs/reference/errors.md#{code.lower()}", context
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> Any:
    # JSON has no NaN and no Infinity, though Python's reader takes them.
    raise ValueError(constant)


def _from_file(path: Path, faults: list[ContractErrorInfo]) -> dict[str, Any]:
    twice: list[str] = []

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                twice.append(name)
            found[name] = value
        return found

    why = "it is not a JSON object"
    value: Any = None
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
        value = json.loads(text, object_pairs_hook=as_object, parse_constant=_refuse)
    except OSError as error:
        why = error.strerror or str(error)
    except json.JSONDecodeError as error:
        why = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except (ValueError, RecursionError) as error:
        why = str(error)
    if not isinstance(value, dict):
        hint = 'It must hold one JSON object: {"NAME": VALUE, …}.'
        faults.append(
            fault(
                UNUSABLE_FILE, f"--input-file {path} cannot be used: {why}.", hint, file=str(path)
            )
        )
        return {}
    faults += [
        fault(GIVEN_TWICE, f"{path} gives {name!r} twice.", "Remove one of the two.", input=name)
        for name in dict.fromkeys(twice)
    ]
    return value
