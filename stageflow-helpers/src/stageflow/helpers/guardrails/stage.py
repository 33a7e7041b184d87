"""GuardrailStage: lets content pass, or not, after looking at it from several sides at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import attrs

from stageflow.contracts.logs import get_logger
from stageflow.helpers.errors import HelperSettingError, check_whole_number
from stageflow.helpers.guardrails.contract import (
    GuardrailDetector,
    GuardrailResult,
    PolicyViolation,
    ViolationType,
)
from stageflow.helpers.guardrails.errors import GuardrailContentError
from stageflow.helpers.guardrails.normal_form import Content
from stageflow.stages import StageKind, StageOutput

if TYPE_CHECKING:
    from stageflow.context import StageContext

__all__ = ("GuardrailConfig", "GuardrailStage")

_log = get_logger(__name__)
_UNKNOWN = frozenset({ViolationType.CHECK_FAILED, ViolationType.CHECK_TIMED_OUT})


@attrs.frozen
class GuardrailConfig:
    """How a `GuardrailStage` decides, and how much it does at once.

    Attributes:
        fail_on_violation: Whether a violation fails the stage. False lets the content pass, and
            the event `guardrail.fail_open` says so each time.
        transform_content: Whether what the checks transformed takes the content's place.
        log_violations: Whether `guardrail.violations_detected` is emitted.
        violation_threshold: Violations that are less severe are left out; those that say that a
            check did not come to an end never are.
        max_chars: How much of the content is checked. More of it is a violation by itself, since
            nobody knows what the rest says.
        max_violations: How many violations of one check are listed; all are counted.
        inline_chars: How long content may be for light checks to run in the event loop.
    """

    fail_on_violation: bool = True
    transform_content: bool = True
    log_violations: bool = True
    violation_threshold: float = 0.0
    max_chars: int = attrs.field(default=1_000_000, kw_only=True)
    max_violations: int = attrs.field(default=100, kw_only=True)
    inline_chars: int = attrs.field(default=2_000, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("max_chars", "max_violations"):
            check_whole_number("GuardrailConfig", name, getattr(self, name), 1)


class GuardrailStage:
    """Runs checks on a content, side by side, and fails if one of them finds something.

    Every check sees the content as it came, so locations are places in it; transformations are
    made in the order of the checks, each on what the one before has made.

    It fails closed: a check that raises, that returns something else than a result or whose time
    is over counts as a violation, and so does content that is too long to be checked whole.

    Its output has `guardrail_passed`, `violations` (dictionaries), `checks_run`,
    `violation_count`, `violations_truncated` and `content_truncated`, and `transformed_content` if
    it differs. Without content it is skipped.

    Args:
        checks: Detectors; see `GuardrailDetector`.
        config: How to decide.
        content_key: The input that holds the content; the snapshot's input text unless given.
    """

    name = "guardrail"
    kind = StageKind.GUARD

    def __init__(
        self,
        checks: Iterable[GuardrailDetector],
        config: GuardrailConfig | None = None,
        *,
        content_key: str | None = None,
    ) -> None:
        if isinstance(checks, type) or not isinstance(checks, Iterable):
            raise HelperSettingError("GuardrailStage", "checks", checks, rule="a list of detectors")
        self._checks = tuple(checks)
        if not self._checks or any(
            isinstance(check, type) or not callable(getattr(check, "check", None))
            for check in self._checks
        ):
            # Without this, a guard that checks nothing would let everything pass.
            raise HelperSettingError(
                "GuardrailStage", "checks", self._checks, rule="one detector or more, with `check`"
            )
        if config is not None and not isinstance(config, GuardrailConfig):
            raise HelperSettingError("GuardrailStage", "config", config, rule="a GuardrailConfig")
        key: object = content_key
        if key is not None and (not isinstance(key, str) or not key):
            raise HelperSettingError(
                "GuardrailStage", "content_key", key, rule="a text that is not empty"
            )
        self._config = config or GuardrailConfig()
        self._content_key = content_key

    async def execute(self, ctx: StageContext) -> StageOutput:
        """Check the content.

        Raises:
            GuardrailContentError: What should be checked is no text.
            MissingInputError: No dependency has the `content_key`.
        """
        given = self._content(ctx)
        if not given:
            return StageOutput.skip(reason="No content to check")
        content = Content(given[: self._config.max_chars])
        about = {
            "user_id": _text(ctx.snapshot.user_id),
            "session_id": _text(ctx.snapshot.session_id),
        }
        results = await self._look(content, about)
        kept = [self._kept(result) for result in results]
        for check, violations in zip(self._checks, kept, strict=True):
            self._tell(ctx, type(check).__name__, violations)
        if unchecked := len(given) - len(content):
            violations = [_not_checked(unchecked, len(given))]
            kept.append(violations)
            self._tell(ctx, type(self).__name__, violations)
        output = self._report(kept, truncated=unchecked > 0)
        if self._config.transform_content:
            transformed = await self._transformed(content, results, about)
            if transformed != content:
                output["transformed_content"] = transformed
        return self._decided(ctx, output)

    def _content(self, ctx: StageContext) -> str | None:
        if self._content_key and ctx.inputs is not None:
            content = ctx.inputs.get(self._content_key)
        else:
            content = ctx.snapshot.input_text
        if content is not None and not isinstance(content, str):
            raise GuardrailContentError(ctx.stage_name, self._content_key, type(content).__name__)
        return content

    # --- looking ---

    async def _look(self, content: Content, about: Mapping[str, Any]) -> list[GuardrailResult]:
        """Return the result of each check, whatever becomes of it."""
        short = len(content) <= self._config.inline_chars
        results: dict[int, GuardrailResult] = {}

        async def look(number: int, *, inline: bool) -> None:
            results[number] = await _checked(self._checks[number], content, about, inline=inline)

        waiting: list[int] = []
        for number, check in enumerate(self._checks):
            if short and getattr(check, "light", False) is True:
                await look(number, inline=True)
            else:
                waiting.append(number)
        if waiting:
            async with anyio.create_task_group() as group:
                for number in waiting:
                    group.start_soon(partial(look, number, inline=False))
        return [results[number] for number in range(len(self._checks))]

    async def _transformed(
        self, content: str, results: list[GuardrailResult], about: Mapping[str, Any]
    ) -> str:
        """Return what the checks make of the content, one after the other."""
        current = content
        for check, result in zip(self._checks, results, strict=True):
            if result.transformed_content is None:
                continue
            if current is content:
                current = result.transformed_content
            else:
                again = await _checked(check, Content(current), about)
                if again.transformed_content is not None:
                    current = again.transformed_content
        return current

    # --- telling ---

    def _kept(self, result: GuardrailResult) -> list[PolicyViolation]:
        least = self._config.violation_threshold
        return [v for v in result.violations if v.severity >= least or v.type in _UNKNOWN]

    def _tell(self, ctx: StageContext, check: str, violations: list[PolicyViolation]) -> None:
        if not violations or not self._config.log_violations or ctx.event_sink is None:
            return
        listed = violations[: self._config.max_violations]
        facts = {
            "violations": [violation.to_dict() for violation in listed],
            "check": check,
            "violation_count": len(violations),
            "violations_truncated": len(listed) < len(violations),
        }
        ctx.try_emit_event("guardrail.violations_detected", facts)

    def _report(self, kept: list[list[PolicyViolation]], *, truncated: bool) -> dict[str, Any]:
        most = self._config.max_violations
        listed = [violation.to_dict() for found in kept for violation in found[:most]]
        count = sum(map(len, kept))
        return {
            "guardrail_passed": count == 0,
            "violations": listed,
            "checks_run": len(self._checks),
            "violation_count": count,
            "violations_truncated": len(listed) < count,
            "content_truncated": truncated,
        }

    def _decided(self, ctx: StageContext, output: dict[str, Any]) -> StageOutput:
        if output["guardrail_passed"]:
            return StageOutput.ok(**output)
        count = output["violation_count"]
        if self._config.fail_on_violation:
            return StageOutput.fail(error=f"Guardrail violations: {count} found", data=output)
        facts = {
            "stage": ctx.stage_name,
            "violation_count": count,
            "fail_on_violation": False,
            "violations": output["violations"],
            "violations_truncated": output["violations_truncated"],
            "content_truncated": output["content_truncated"],
        }
        ctx.try_emit_event("guardrail.fail_open", facts)
        return StageOutput.ok(**output)


async def _checked(
    check: GuardrailDetector, content: Content, about: Mapping[str, Any], *, inline: bool = False
) -> GuardrailResult:
    """Return what *check* says; a violation if it does not come to a result."""
    try:
        if inline or inspect.iscoroutinefunction(check.check):
            answer = check.check(content, dict(about))
        else:
            answer = await anyio.to_thread.run_sync(
                check.check, content, dict(about), abandon_on_cancel=True
            )
        result: object = await answer if inspect.isawaitable(answer) else answer
    except Exception as error:  # noqa: BLE001 - whatever a detector raises, nothing passes unseen
        _log.exception("guardrail.check_failed", check=type(check).__name__)
        return _no_result(check, f"raised {type(error).__name__}")
    if not isinstance(result, GuardrailResult):
        return _no_result(check, f"returned {type(result).__name__}, not a GuardrailResult")
    if not result.passed and not result.violations:
        found = PolicyViolation(ViolationType.CUSTOM, f"{type(check).__name__} did not pass.")
        return attrs.evolve(result, violations=(found,))
    return result


def _no_result(check: GuardrailDetector, why: str) -> GuardrailResult:
    name = type(check).__name__
    message = f"{name} {why}, so the content is not checked."
    return GuardrailResult.of(
        [PolicyViolation(ViolationType.CHECK_FAILED, message, 1.0, {"check": name})]
    )


def _not_checked(unchecked: int, length: int) -> PolicyViolation:
    return PolicyViolation(
        ViolationType.CONTENT_TOO_LONG,
        f"The last {unchecked} of {length} characters are not checked.",
        1.0,
        {"char_count": length, "limit": length - unchecked},
        (length - unchecked, length),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
