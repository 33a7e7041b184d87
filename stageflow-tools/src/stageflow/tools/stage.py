"""ToolStage: carries out the tool calls that a stage before it has got from a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stageflow.stages import StageArtifact, StageKind, StageOutput
from stageflow.tools.advanced import AdvancedToolExecutor
from stageflow.tools.formats import ToolCallFormat, get_call_format

if TYPE_CHECKING:
    from stageflow.context import StageContext

__all__ = ("ToolStage",)

_ARTIFACT: Final = "tool_artifact"


class ToolStage:
    """Carries out the calls in an output of a stage it depends on, each to a result.

    The stage never fails because of a call. Its output has `tool_results` in the provider's
    shape, `messages` that continue the conversation with them, `results` with what each call came
    to, whatever the provider, and the counts `call_count` and `failure_count`. What the tools
    asked to keep become artifacts of the stage. Without calls all of these are empty.

    In a durable run with approvals from `open_approvals`, no call runs before all are decided on,
    and the run may leave memory meanwhile; elsewhere, each runs when it is decided on itself.

    Args:
        executor: Carries the calls out.
        calls_key: The key of the calls in an output of a dependency.
        stage: The dependency; any of them unless given.
        provider: The shape of the calls and of the results.
        name: The name the stage goes by where it is used alone.
        kind: What kind of work it does: `AGENT` or `WORK`.
    """

    def __init__(
        self,
        executor: AdvancedToolExecutor,
        *,
        calls_key: str = "tool_calls",
        stage: str | None = None,
        provider: str | ToolCallFormat = "openai",
        name: str = "tools",
        kind: StageKind = StageKind.AGENT,
    ) -> None:
        self._executor = executor
        self._calls_key = calls_key
        self._stage = stage
        self._shape = get_call_format(provider)
        self.name = name
        self.kind = kind

    async def execute(self, ctx: StageContext) -> StageOutput:
        """Carry out the calls.

        Raises:
            MissingInputError: No dependency has the key.
        """
        calls = self._calls(ctx)
        # A decision on the same call of another attempt is found; one of another run never is.
        key = None if ctx.pipeline_run_id is None else ctx.execution_key
        results = await self._executor.execute_calls(
            calls, ctx, provider=self._shape, key=key, decisions_first=True
        )
        shaped = [self._shape.result(each.call_id, each.name, each.output) for each in results]
        artifacts: list[StageArtifact] = []
        for each in results:
            definition = self._executor.get_definition(each.name)
            kind = (definition and definition.artifact_type) or _ARTIFACT
            artifacts += [StageArtifact(kind, item) for item in each.output.artifacts or ()]
        return StageOutput.ok(
            tool_results=shaped,
            messages=self._shape.messages(shaped),
            results=[each.to_dict() for each in results],
            call_count=len(results),
            failure_count=sum(not each.success for each in results),
            artifacts=artifacts,
        )

    def _calls(self, ctx: StageContext) -> Any:
        if self._stage is not None:
            return ctx.inputs.get_from(self._stage, self._calls_key)
        return ctx.inputs.get(self._calls_key)
