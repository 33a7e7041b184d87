"""The kit of the contract `error_normalizer`: subclass it, give a normalizer and examples."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest

from stageflow.contracts.error_normalizer import ErrorNormalizer, NormalizedError
from stageflow.testing.conformance import ConformanceKit

__all__ = ("ErrorNormalizerConformance",)

_SECRET = "canary-2f9c"  # noqa: S105 - it is there to be looked for


class _Unknown(Exception):
    """Of a class that nobody knows."""


class _Hostile(Exception):
    """Answers every question about itself with an exception."""

    def __str__(self) -> str:
        raise RuntimeError("it does not want to be shown")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"it does not want to be asked for {name}")


class ErrorNormalizerConformance(ConformanceKit):
    """Tests every clause of `ErrorNormalizer`.

    Attributes:
        examples: Exceptions that the normalizer knows, by a name for the test's report, and
            whether each is worth another attempt.
    """

    contracts = (ErrorNormalizer,)
    closable: ClassVar[bool] = False
    examples: ClassVar[Mapping[str, tuple[BaseException, bool]]] = {}

    @pytest.fixture
    def normalizer(self) -> Any:
        """Give a normalizer; every author overrides this."""
        raise NotImplementedError("override the fixture `normalizer`: return an ErrorNormalizer")

    def test_it_has_the_shape_of_its_contract(self, normalizer: Any) -> None:
        self.check_shape(normalizer)

    def test_en1_every_exception_is_answered(self, normalizer: Any) -> None:
        strange = {
            "unknown": _Unknown("no"),
            "empty": _Unknown(),
            "hostile": _Hostile("no"),
            "exit": SystemExit(3),
            "group": ExceptionGroup("several", [ValueError("a"), ExceptionGroup("b", [OSError()])]),
            **{name: error for name, (error, _) in self.examples.items()},
        }
        for name, error in strange.items():
            try:
                answer = normalizer.normalize(error)
            except Exception as raised:
                raise AssertionError(f"{name}: normalize raised {raised!r}") from raised
            assert isinstance(answer, NormalizedError), f"{name}: answered {answer!r}"
            assert answer.code, f"{name}: it has no code"
            assert isinstance(answer.message, str), f"{name}: the message is {answer.message!r}"
            assert isinstance(answer.retryable, bool), f"{name}: {answer.retryable!r}"

    def test_en1_the_examples_are_known(self, normalizer: Any) -> None:
        for name, (error, retryable) in self.examples.items():
            answer = normalizer.normalize(error)
            assert answer.retryable is retryable, f"{name}: answered {answer}"

    def test_en2_the_unknown_is_not_retryable(self, normalizer: Any) -> None:
        for error in (_Unknown("no"), _Unknown(), _Unknown("timeout: try again")):
            answer = normalizer.normalize(error)
            assert answer.retryable is False, f"an unknown exception was answered with {answer}"

    def test_en3_the_answer_stays_the_same(self, normalizer: Any) -> None:
        errors = [_Unknown("no"), *(error for error, _ in self.examples.values())]
        first = [normalizer.normalize(error) for error in errors]
        again = [normalizer.normalize(error) for error in reversed(errors)][::-1]
        assert first == again, "asked again, it answers otherwise"

    def test_en4_a_subclass_means_what_its_class_means(self, normalizer: Any) -> None:
        for name, (error, _) in self.examples.items():
            below = _of_subclass(error)
            answers = [normalizer.normalize(each) for each in (error, below)]
            codes = [(answer.code, answer.retryable) for answer in answers]
            assert codes[0] == codes[1], f"{name} means {codes[0]}, a subclass of it {codes[1]}"

    def test_en5_the_details_are_json_able(self, normalizer: Any) -> None:
        for error in (_Unknown(object()), *(error for error, _ in self.examples.values())):
            details = normalizer.normalize(error).details
            try:
                json.dumps(dict(details), allow_nan=False)
            except (TypeError, ValueError) as raised:
                raise AssertionError(f"{error!r}: {details} is not JSON: {raised}") from raised

    def test_en5_what_an_exception_hides_stays_hidden(self, normalizer: Any) -> None:
        for error in (_Unknown("no"), *(error for error, _ in self.examples.values())):
            holder = _of_subclass(error)
            holder.__dict__.update(password=_SECRET, dsn=f"scheme://me:{_SECRET}@host")
            told = repr(normalizer.normalize(holder))
            assert _SECRET not in told, f"an attribute of {error!r} is told: {told}"

    async def test_en6_cancellation_is_not_retryable(self, normalizer: Any) -> None:
        answer: NormalizedError | None = None
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.lowlevel.checkpoint()
            except anyio.get_cancelled_exc_class() as cancelled:
                answer = normalizer.normalize(cancelled)
                raise
        assert answer is not None
        assert answer.retryable is False, f"a cancellation was answered with {answer}"


def _of_subclass(error: BaseException) -> BaseException:
    """Return an exception of a new subclass that is like *error* in all else."""
    name = f"{type(error).__name__}Below"
    try:
        below: BaseException = type(name, (type(error),), {})(*error.args)
    except TypeError:  # its parameters are not its `args`
        cls = type(name, (type(error),), {"__init__": lambda *_: None})
        below = cls.__new__(cls, *error.args)
        below.args = error.args
    below.__dict__.update(error.__dict__)
    return below
