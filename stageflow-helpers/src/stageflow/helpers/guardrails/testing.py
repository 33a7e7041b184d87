"""The conformance kit of guardrail detectors; needs pytest.

An author writes

    class TestMyDetector(GuardrailDetectorConformance):
        offending = ("something that it must find",)
        harmless = ("something that must pass",)

        @pytest.fixture
        def detector(self):
            return MyDetector()

and has each clause of `GuardrailDetector` tested on each event loop.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import anyio.to_thread
import pytest

from stageflow.helpers.guardrails.contract import GuardrailDetector, GuardrailResult
from stageflow.testing.conformance import ConformanceKit, all_at_once

__all__ = ("GuardrailDetectorConformance",)

_ODD = (
    "",
    "\x00",
    "\ud800 alone",
    "\u0130\u00df\ufb01 \u202e\U000e0041 👩‍👩‍👧 e\u0301\u0301\u0301",
    "a" * 20_000 + "!",
    "1 " * 5_000,
    "a@" * 5_000,
    "ignore " * 2_000,
    "((((" * 2_000,
)
_ABOUT: Mapping[str, Any] = {"user_id": "00000000-0000-4000-8000-000000000001", "session_id": None}


class GuardrailDetectorConformance(ConformanceKit):
    """One test or more per clause of `GuardrailDetector`; override the fixture `detector`.

    Attributes:
        offending: Texts in which something must be found.
        harmless: Texts that must pass.
    """

    contracts = (GuardrailDetector,)
    offending: ClassVar[tuple[str, ...]] = ()
    harmless: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def detector(self) -> GuardrailDetector:
        """Give a detector."""
        raise NotImplementedError("override `detector`: return a GuardrailDetector")

    async def test_gd1_passed_is_to_have_no_violations(self, detector: GuardrailDetector) -> None:
        """Say the same twice: in `passed` and in `violations`."""
        for content in (*self.offending, *self.harmless, *_ODD):
            result = await _check(detector, content)
            assert result.passed is not bool(result.violations), content[:80]

    async def test_gd2_what_it_is_for_is_found(self, detector: GuardrailDetector) -> None:
        """Find what is offending, and let be what is harmless."""
        assert self.offending, "name texts in `offending`"
        assert self.harmless, "name texts in `harmless`"
        for content in self.offending:
            assert (await _check(detector, content)).violations, content[:80]
        for content in self.harmless:
            assert not (await _check(detector, content)).violations, content[:80]

    async def test_gd3_a_location_is_in_the_content(self, detector: GuardrailDetector) -> None:
        """Tell places of the text that was given, whatever was made of it on the way."""
        for content in self.offending:
            for disguised in (content, "\u200b\ufb01" * 9 + content, content + "\u200b" * 9):
                result = await _check(detector, disguised)
                for start, end in (v.location for v in result.violations if v.location):
                    assert 0 <= start < end <= len(disguised), disguised[:80]

    async def test_gd4_a_severity_is_a_share(self, detector: GuardrailDetector) -> None:
        """Rate from 0 to 1."""
        for content in self.offending:
            for violation in (await _check(detector, content)).violations:
                assert 0 <= violation.severity <= 1

    async def test_gd5_a_result_can_be_written(self, detector: GuardrailDetector) -> None:
        """Hold nothing that JSON cannot hold."""
        for content in (*self.offending, *self.harmless):
            written = json.dumps((await _check(detector, content)).to_dict(), allow_nan=False)
            assert json.loads(written)["passed"] is (content in self.harmless)

    async def test_gd6_every_text_is_judged(self, detector: GuardrailDetector) -> None:
        """Raise for none of these texts; hostile ones must not take for ever either."""
        for content in _ODD:
            assert isinstance(await _check(detector, content), GuardrailResult)

    async def test_gd7_same_content_same_result(self, detector: GuardrailDetector) -> None:
        """Say the same again, after other contents, and when many ask at once."""
        contents = (*self.offending, *self.harmless)
        expected = [await _check(detector, content) for content in contents]
        assert [await _check(detector, content) for content in contents] == expected
        ask = partial(_check, detector, threaded=True)
        found = await all_at_once([partial(ask, content) for content in contents * 4])
        assert found == expected * 4

    async def test_gd8_the_check_context_is_optional(self, detector: GuardrailDetector) -> None:
        """Do without it, and leave it as it was."""
        for content in (*self.offending, *self.harmless):
            given = dict(_ABOUT)
            with_context = await _check(detector, content, given)
            assert given == _ABOUT
            assert with_context.passed is (await _check(detector, content)).passed


async def _check(
    detector: GuardrailDetector, content: str, *context: Mapping[str, Any], threaded: bool = False
) -> GuardrailResult:
    if threaded and not inspect.iscoroutinefunction(detector.check):
        answer = await anyio.to_thread.run_sync(partial(detector.check, content, *context))
    else:
        answer = detector.check(content, *context)
    return await answer if inspect.isawaitable(answer) else answer
