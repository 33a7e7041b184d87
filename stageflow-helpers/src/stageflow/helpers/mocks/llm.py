"""MockLLMProvider: a language model that answers as it was told to."""

from __future__ import annotations

import random as random_module
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import attrs

from stageflow.contracts.clock import Clock
from stageflow.helpers.errors import HelperSettingError, MockFailureError, check_whole_number
from stageflow.helpers.mocks._simulation import Simulation, several
from stageflow.helpers.providers import LLMResponse
from stageflow.helpers.tokens import TokenCounter, approximate_tokens

__all__ = ("MockLLMProvider", "MockLLMResponse")

_DEFAULT_RESPONSES: Final = ("This is a mock response.",)
_SECONDS_BETWEEN_CHUNKS: Final = 0.01


@attrs.frozen
class MockLLMResponse(LLMResponse):
    """The answer of the mock: an `LLMResponse` that also has `usage`."""

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of prompt and answer, by the names that chat APIs use."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }


class MockLLMProvider:
    """A language model for tests.

    It answers with the response of the first pattern that occurs in the prompt, or else, if told
    to echo, with the prompt, or else with the next of its responses, over and over.

    Args:
        responses: What to answer, in turn.
        patterns: Responses by regular expression; upper and lower case are the same.
        echo: Answer with the prompt.
        latency_ms: How long a call takes.
        latency_jitter_ms: How far it may be from that, in either direction.
        fail_rate: Share of the calls that fail.
        fail_error: What the failure says.
        token_counter: Counts tokens; a quarter of the characters unless given.
        model: Name of the model in responses.
        random: Source of jitter and failures; of a fixed seed unless given.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        responses: Sequence[str] | None = None,
        patterns: Mapping[str, str] | None = None,
        echo: bool = False,
        latency_ms: float = 0,
        latency_jitter_ms: float = 0,
        fail_rate: float = 0.0,
        fail_error: str = "Mock LLM error",
        token_counter: TokenCounter | None = None,
        model: str = "mock-llm",
        random: random_module.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._responses = several("MockLLMProvider", "responses", responses) or _DEFAULT_RESPONSES
        self._patterns = _compiled(patterns or {})
        self._echo = echo
        self._fail_error = fail_error
        self._count_tokens = token_counter or approximate_tokens
        self._model = model
        self._simulation = Simulation(
            "MockLLMProvider",
            latency_ms=latency_ms,
            latency_jitter_ms=latency_jitter_ms,
            fail_rate=fail_rate,
            random=random,
            clock=clock,
        )
        self.reset()

    def reset(self) -> None:
        """Forget all calls and begin with the first response again."""
        self.call_count = 0
        self.call_history: list[dict[str, Any]] = []
        self._next_response = 0

    async def complete(
        self, prompt: str, messages: Sequence[Mapping[str, Any]] | None = None
    ) -> MockLLMResponse:
        """Answer *prompt*.

        Args:
            prompt: What is asked.
            messages: What was said before; only remembered.

        Raises:
            MockFailureError: The call was drawn to fail.
        """
        self.call_count += 1
        self.call_history.append(
            {
                "prompt": prompt,
                "messages": None if messages is None else [dict(m) for m in messages],
                "timestamp": self._simulation.timestamp(),
            }
        )
        latency_ms = await self._simulation.pass_time()
        if self._simulation.fails():
            raise MockFailureError(self._fail_error)
        content = self._select(prompt)
        return MockLLMResponse(
            content=content,
            model=self._model,
            provider="mock",
            input_tokens=self._count_tokens(prompt),
            output_tokens=self._count_tokens(content),
            latency_ms=latency_ms,
            finish_reason="stop",
        )

    async def stream(
        self,
        prompt: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        *,
        chunk_size: int = 5,
    ) -> AsyncGenerator[str, None]:
        """Answer *prompt* piece by piece, with 10 ms between the pieces.

        Args:
            prompt: What is asked.
            messages: What was said before; only remembered.
            chunk_size: Characters of a piece.

        Raises:
            MockFailureError: The call was drawn to fail.
            HelperSettingError: *chunk_size* is below 1.
        """
        check_whole_number("MockLLMProvider", "chunk_size", chunk_size, 1)
        content = (await self.complete(prompt, messages)).content
        for start in range(0, len(content), chunk_size):
            if start:
                await self._simulation.clock.sleep(_SECONDS_BETWEEN_CHUNKS)
            yield content[start : start + chunk_size]

    def _select(self, prompt: str) -> str:
        for pattern, response in self._patterns:
            if pattern.search(prompt):
                return response
        if self._echo:
            return f"Echo: {prompt}"
        response = self._responses[self._next_response % len(self._responses)]
        self._next_response += 1
        return response


def _compiled(patterns: Mapping[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    try:
        return tuple(
            (re.compile(pattern, re.IGNORECASE), text) for pattern, text in patterns.items()
        )
    except re.error as error:
        raise HelperSettingError(
            "MockLLMProvider", "patterns", error.pattern, rule=f"regular expressions ({error})"
        ) from error
