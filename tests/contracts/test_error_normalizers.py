"""The kit of error normalizers: core's passes, and a broken one fails its clause alone."""

from __future__ import annotations

import subprocess
import urllib.error
from typing import ClassVar

import pytest

from stageflow.builtin.normalizers import StandardErrorNormalizer
from stageflow.contracts.error_normalizer import ErrorNormalizer, NormalizedError
from stageflow.errors import RunError
from stageflow.testing.conformance import clauses_of, failed_clauses
from stageflow.testing.error_normalizer import ErrorNormalizerConformance


class TestStandardErrorNormalizer(ErrorNormalizerConformance):
    examples: ClassVar = {
        "time-out": (TimeoutError("late"), True),
        "connection": (ConnectionResetError(104, "reset"), True),
        "missing file": (FileNotFoundError(2, "no such file", "a.txt"), False),
        "busy": (OSError(16, "busy"), True),
        "unreachable": (urllib.error.URLError(TimeoutError("late")), True),
        "late process": (subprocess.TimeoutExpired(["ls"], 3), True),
        "wrong value": (ValueError("no"), False),
        "ours": (RunError("it went wrong", hint="look"), False),
        "group": (ExceptionGroup("two", [TimeoutError("a"), TimeoutError("b")]), True),
    }

    @pytest.fixture
    def normalizer(self):
        return StandardErrorNormalizer()


class Good:
    """Knows one class."""

    def normalize(self, error):
        known = isinstance(error, TimeoutError)
        try:
            message = str(error)
        except Exception:  # noqa: BLE001 - a stranger's exception
            message = ""
        return NormalizedError(
            "timeout" if known else "unknown", message, known, self.details(error)
        )

    def details(self, error):
        return {"type": "builtins.TimeoutError" if isinstance(error, TimeoutError) else "?"}


class Kit(ErrorNormalizerConformance):
    examples: ClassVar = {"time-out": (TimeoutError("late"), True)}


class ShowsEverything(Good):
    """EN-1"""

    def normalize(self, error):
        return NormalizedError("unknown", str(error), isinstance(error, TimeoutError))


class RetriesTheUnknown(Good):
    """EN-2"""

    def normalize(self, error):
        told = super().normalize(error)
        return NormalizedError(told.code, told.message, isinstance(error, Exception), told.details)


class CountsItsAnswers(Good):
    """EN-3"""

    asked = 0

    def details(self, error):
        self.asked += 1
        return {**super().details(error), "number": self.asked}


class WantsTheVeryClass(Good):
    """EN-4"""

    def normalize(self, error):
        told = super().normalize(error)
        known = type(error) is TimeoutError
        return NormalizedError("timeout" if known else "unknown", told.message, known, told.details)


class GivesTheException(Good):
    """EN-5"""

    def details(self, error):
        return {**super().details(error), "args": error.args}


class TellsEveryAttribute(Good):
    """EN-5"""

    def details(self, error):
        return {key: str(value) for key, value in vars(error).items()}


class RetriesCancellation(Good):
    """EN-6"""

    def normalize(self, error):
        told = super().normalize(error)
        stopped = not isinstance(error, Exception | SystemExit)
        return NormalizedError(told.code, told.message, told.retryable or stopped, told.details)


BROKEN = [cls for cls in Good.__subclasses__() if cls.__doc__]


def test_there_is_a_broken_normalizer_for_every_clause():
    told = {cls.__doc__ for cls in BROKEN}
    assert told == set(clauses_of(ErrorNormalizer)) == set(Kit.proofs())


@pytest.mark.anyio
async def test_a_good_normalizer_fails_nothing():
    assert await failed_clauses(Kit, Good) == {}


@pytest.mark.anyio
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_normalizer_fails_exactly_its_clause(broken):
    failures = await failed_clauses(Kit, broken)
    assert list(failures) == [broken.__doc__], failures
