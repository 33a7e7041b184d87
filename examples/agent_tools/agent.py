"""The loop of an agent: ask the model, carry out its calls, tell it the results, ask again."""

from __future__ import annotations

import json
from typing import Any

from stageflow import StageContext, StageKind, StageOutput
from stageflow.helpers.mocks import MockLLMProvider
from stageflow.tools import AdvancedToolExecutor, get_call_format

__all__ = ("AgentStage", "scripted_model")

OPENAI = get_call_format("openai")


class AgentStage:
    """Answers the run's input text with a model and tools.

    Args:
        model: Answers a conversation. Its answers are messages in OpenAI's shape, as JSON.
        executor: Carries out the calls.
        max_rounds: How often the model may call tools before it has to answer.
    """

    name = "agent"
    kind = StageKind.AGENT

    def __init__(
        self, model: MockLLMProvider, executor: AdvancedToolExecutor, max_rounds: int = 5
    ) -> None:
        self._model = model
        self._executor = executor
        self._max_rounds = max_rounds

    async def execute(self, ctx: StageContext) -> StageOutput:
        """Converse until the model answers without calling a tool."""
        question = ctx.snapshot.input_text or ""
        messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
        actions: list[dict[str, Any]] = []
        for round_number in range(self._max_rounds):
            response = await self._model.complete(question, messages)
            answer: dict[str, Any] = json.loads(response.content)
            messages.append({"role": "assistant", **answer})
            if not answer.get("tool_calls"):
                return StageOutput.ok(answer=answer["content"], messages=messages, actions=actions)
            results = await self._executor.execute_calls(
                answer["tool_calls"], ctx, key=f"{ctx.execution_key}/{round_number}"
            )
            told = [OPENAI.result(each.call_id, each.name, each.output) for each in results]
            messages += OPENAI.messages(told)
            actions += [each.to_dict() for each in results]
        return StageOutput.fail(f"No answer after {self._max_rounds} rounds of tools.")


def scripted_model() -> MockLLMProvider:
    """Return a model that looks an order up, pays too much back, and answers."""

    def calls(*wanted: tuple[str, str, dict[str, Any]]) -> str:
        listed = [
            {"id": key, "type": "function", "function": {"name": name, "arguments": json.dumps(a)}}
            for key, name, a in wanted
        ]
        return json.dumps({"content": None, "tool_calls": listed})

    refund = {"order": "A-17", "amount": 80, "card": "4000-1234"}
    return MockLLMProvider(
        responses=[
            calls(
                ("call_1", "find_order", {"order": "A-17"}),
                ("call_2", "find_order", {"order": 18}),
            ),
            calls(("call_3", "refund_order", refund)),
            json.dumps({"content": "We have paid back what we could."}),
        ]
    )
