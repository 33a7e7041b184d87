"""Structure: settings as they were written become frozen attrs classes, or a list of faults.

cattrs does the work. What is special here: numbers and truth values are taken as they are,
except from sources that have nothing but text; `env:NAME` and `file:PATH` are resolved wherever
a text or a `Secret` is expected; and no fault ever shows the value of a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.plugins._conversion import in_words, make_converter
from stageflow.plugins._references import WRONG_VALUE, RefusedValue, Resolver, resolved_secrets
from stageflow.plugins.errors import SettingsError
from stageflow.plugins.secret import redact
from stageflow.plugins.sources import Origin, SettingsTree

__all__ = ("UNKNOWN_KEY", "Structurer", "fault")

T = TypeVar("T")

#: A key of the settings that nobody knows.
UNKNOWN_KEY: Final = "SF202"
#: A setting that has no default and is not there.
MISSING_VALUE: Final = "SF204"


def fault(
    code: str, path: tuple[str, ...], told: str, hint: str = "", *, origin: Origin | None = None
) -> ContractErrorInfo:
    """Return a fault of the setting at *path*."""
    dotted = ".".join(path)
    place = f"{origin}: " if origin else ""
    context = {"path": dotted, "origin": str(origin) if origin else None}
    return ContractErrorInfo(code, f"{place}{dotted}: {told}.", hint or None, context=context)


class Structurer:
    """Makes settings objects of written settings.

    Args:
        tree: All settings as written; resolves references and tells origins.
    """

    def __init__(self, tree: SettingsTree) -> None:
        self._tree = tree
        self._converter: Any = None  # made when it is needed, since importing cattrs costs

    def structure(self, values: Mapping[str, Any], into: type[T], path: tuple[str, ...]) -> T:
        """Return *values* as an object of the attrs class *into*.

        Args:
            values: One table, as written.
            into: The class; each of its attributes is a key of the table.
            path: Where the table stands, for the faults.

        Raises:
            SettingsError: With every fault of the table.
        """
        made, faults = self.attempt(values, into, path)
        if faults:
            raise SettingsError(faults)
        return cast("T", made)

    def attempt(
        self,
        values: Mapping[str, Any],
        into: type[T],
        path: tuple[str, ...],
        *,
        given: Container[str] = (),
    ) -> tuple[T | None, tuple[ContractErrorInfo, ...]]:
        """Return the object, or None and the faults that prevent it.

        Args:
            values: One table, as written.
            into: What to make of it.
            path: Where the table stands, for the faults.
            given: Keys of the table that were given in code, whatever the sources say.
        """

        def locate(place: tuple[str, ...]) -> Origin | None:
            if place[len(path) : len(path) + 1] and place[len(path)] in given:
                return Origin("argument", ".".join(place))
            return self._tree.origin(place)

        if self._converter is None:
            self._converter = make_converter(Resolver(self._tree.environ))
        token = resolved_secrets.set([])
        try:
            return self._converter.structure(values, into), ()
        except Exception as error:  # noqa: BLE001 - everything it may be is told as faults
            secrets = frozenset(filter(None, resolved_secrets.get() or ()))
            faults = tuple(_faults(error, into, path, secrets, locate))
        finally:
            resolved_secrets.reset(token)
        # Outside the handler: the errors of cattrs refer to the values, so none is chained.
        return None, faults


Locate = Callable[[tuple[str, ...]], Origin | None]


def _faults(
    error: Exception, wanted: Any, path: tuple[str, ...], secrets: frozenset[str], locate: Locate
) -> Iterator[ContractErrorInfo]:
    """Give the faults that an error of cattrs stands for, each at its path."""
    from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

    if isinstance(error, BaseValidationError):
        for part in error.exceptions:
            key, kind = _note_of(part) or (None, error.cl)
            place = path if key is None else (*path, key)
            yield from _faults(part, kind, place, secrets, locate)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.alias for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            place = (*path, key)
            hint = did_you_mean(key, known)
            yield fault(UNKNOWN_KEY, place, "unknown key", hint, origin=locate(place))
    elif isinstance(error, RefusedValue):
        told = redact(str(error), secrets)
        yield fault(error.code, path, told, error.hint, origin=locate(path))
    elif isinstance(error, KeyError) and path and error.args == (path[-1],):
        told = f"missing; expected {in_words(wanted)}"
        yield fault(MISSING_VALUE, path, told, origin=locate(path))
    elif attrs.has(wanted):
        # Raised by the class itself: one of its validators refuses a value.
        told = redact(str(error), secrets) or type(error).__name__
        yield fault(WRONG_VALUE, path, told, origin=locate(path))
    else:
        yield fault(WRONG_VALUE, path, f"expected {in_words(wanted)}", origin=locate(path))


def _note_of(error: Exception) -> tuple[str, Any] | None:
    """Return the key or index at which cattrs says that the error arose, and the type there."""
    from cattrs.errors import AttributeValidationNote, IterableValidationNote

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return note.name, note.type
        if isinstance(note, IterableValidationNote):
            return str(note.index), note.type
    return None
