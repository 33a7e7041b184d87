"""Execution: steps as a plan of the engine, and what happens around each of them.

What surrounds a step: it is claimed, its inputs are loaded, its body is called, its data are
stored, and then its record is written. In that order a crash leaves at worst data without a
record, which count for nothing and are written again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import anyio
import attrs

from stageflow._engine.call import Invocation
from stageflow._engine.errors import describe
from stageflow._engine.plan import Node, Plan, StagePolicy, compile_plan
from stageflow._engine.run import Run, RunOptions, RunReport
from stageflow.assets.bodies import FUNCTION_BODY
from stageflow.assets.branches import Branches
from stageflow.assets.claims import Claims, OnRunning, Turn
from stageflow.assets.context import AssetCall, AssetContext
from stageflow.assets.declaration import AssetOutput
from stageflow.assets.errors import ClaimLostError
from stageflow.assets.fanout_errors import BranchTimeoutError, UpstreamFailedError
from stageflow.assets.inputs import Inputs
from stageflow.assets.places import Places
from stageflow.assets.records import AssetFailure, AssetRecord, AssetRecords
from stageflow.assets.services import AssetServices, Coordinators, done_after
from stageflow.assets.survey import Step, StepId, Survey
from stageflow.context import PipelineContext, StageContext
from stageflow.contracts.logs import get_logger
from stageflow.stages import StageKind, StageOutput, StageStatus

__all__ = ("AssetRun", "RunSettings", "facts_of")

_log = get_logger(__name__)


@attrs.frozen(kw_only=True)
class RunSettings:
    """How steps are run.

    Attributes:
        records: Where materializations are recorded.
        places: Where data lie.
        coordinators: Keep what scatters, branches and routers have come to.
        lease: For how many seconds after its last sign a run is taken for alive.
        poll: Seconds between looks at a partition that another run is at.
        on_running: What to do about such a partition.
        max_concurrency: How many steps may run at once.
    """

    records: AssetRecords
    places: Places
    coordinators: Coordinators
    lease: float = 60.0
    poll: float = 0.5
    on_running: OnRunning = "wait"
    max_concurrency: int | None = None


class AssetRun:
    """Steps that a runtime can run: one node of the engine's plan for each.

    Args:
        name: What the assets are called together.
        survey: How everything stands.
        steps: What to materialize, in order.
        forced: Which of these to make anew, whoever else has made them meanwhile.
        routers: The routers of each asset that is a branch, with the choices it stands for.
        settings: How.
    """

    def __init__(
        self,
        name: str,
        survey: Survey,
        steps: Iterable[Step],
        settings: RunSettings,
        *,
        forced: frozenset[StepId] = frozenset(),
        routers: Callable[[str], Mapping[str, tuple[str, ...]]] = lambda _: {},
    ) -> None:
        self._settings = settings
        self._forced = forced
        self._survey = survey
        listed = list(steps)
        labels = [step.label for step in listed]
        # Two keys may look alike in no sane definition; if they do, their keys tell them apart.
        if len(set(labels)) < len(labels):
            labels = [f"{step.asset.name}[{step.key}]" for step in listed]
        self.names = {step.id: label for step, label in zip(listed, labels, strict=True)}
        self._steps = {self.names[step.id]: step for step in listed}
        self._branches = Branches({step.id: step for step in listed})
        self._inputs = Inputs(survey, settings.places, self.names, self._branches, routers)
        self._plan = compile_plan(
            map(self._node, listed),
            name=name,
            layers=(_Materializing(self),),
            on_failure="continue",
            max_concurrency=settings.max_concurrency,
        )

    @property
    def name(self) -> str:
        """What the assets are called together."""
        return self._plan.name

    @property
    def plan(self) -> Plan:
        """What the engine runs."""
        return self._plan

    @property
    def options(self) -> RunOptions:
        """What every run is given."""
        return RunOptions()

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Nothing: steps take no inputs but each other."""
        return {}

    def step(self, id: StepId) -> Step:
        """Return a step of it."""
        return self._survey.steps[id]

    def check_inputs(self, given: Mapping[str, Any]) -> None:
        """Return: steps take no inputs."""

    async def execute(self, ctx: PipelineContext, options: RunOptions | None = None) -> RunReport:
        """Run every step and return how it went, whatever the outcome."""
        options = options or self.options
        settings = self._settings
        claims = Claims(
            settings.records,
            options.clock,
            str(ctx.pipeline_run_id),
            lease=settings.lease,
            poll=settings.poll,
            on_running=settings.on_running,
        )
        ctx.data[_CLAIMS] = claims
        run = Run(self._plan, ctx, options)
        report: RunReport | None = None
        raised: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claims.keep_alive)
            try:
                report = await run.execute()
            except Exception as error:  # noqa: BLE001 - the group would wrap it
                raised = error
            tasks.cancel_scope.cancel()
        if raised is not None:
            raise raised
        assert report is not None
        return report

    # --- nodes: here further kinds of assets become nodes of their own --------------------

    def _node(self, step: Step) -> Node:
        asset = step.asset
        policy = StagePolicy(
            timeout=asset.timeout,
            retry=asset.retry,
            on_failure="continue",
            branch_key=asset.branch_key,
            version=asset.version,
        )
        needed = [each for _, ids in step.upstream for each in ids if each in self.names]
        return Node(
            self.names[step.id],
            _StepRunner(self, step),
            asset.kind,
            tuple(self.names[each] for each in needed),
            asset.conditional,
            policy=policy,
        )

    # --- one step -----------------------------------------------------------------------------

    async def around(
        self, invocation: Invocation, proceed: Callable[[], Awaitable[StageOutput]]
    ) -> StageOutput:
        """Claim a step, have it done, and record how it went."""
        step = self._steps[invocation.stage_name]
        if step.id not in self._branches:
            return await self._around(step, invocation, proceed)
        run = invocation.run
        try:
            output: StageOutput = await self._branches.within_time(
                step.id, run, lambda: self._around(step, invocation, proceed)
            )
        except Exception as error:  # noqa: BLE001 - the parallel asset decides what it means
            why = describe(error)
            if isinstance(error, BranchTimeoutError):
                self._tell_failure(invocation, step, error)  # it was only cancelled as yet
        else:
            if output.status is not StageStatus.FAIL:
                return output
            why = output.error or "it failed"
        self._branches.failures[step.id] = why
        return StageOutput.skip(f"failed: {why}")

    async def _around(
        self,
        step: Step,
        invocation: Invocation,
        proceed: Callable[[], Awaitable[StageOutput]],
    ) -> StageOutput:
        try:
            skipped = self._inputs.skipped_need(step, invocation.context)
        except UpstreamFailedError as error:
            self._tell_failure(invocation, step, error)
            raise
        if skipped is not None:
            self._tell(invocation, "asset.skipped", step, reason="skipped")
            return StageOutput.skip(f"{skipped} was skipped")
        claims = _claims_of(invocation.context)
        taken = await self._take(claims, invocation, step)
        if isinstance(taken, AssetRecord):
            self._tell(invocation, "asset.skipped", step, reason="made_by_another_run")
            return StageOutput.ok(_outcome(taken, "made_by_another_run"))
        try:
            output = await self._inputs.passed_by(taken) or await proceed()
        except BaseException as error:
            await self._failed(claims, invocation, taken, error)
            raise
        if output.status is StageStatus.OK:
            return await self._completed(claims, invocation, taken)
        if output.status is StageStatus.FAIL:
            await self._failed(claims, invocation, taken, output.error or "it failed")
        else:
            await self._left(claims, taken, None)
            self._tell(invocation, "asset.skipped", step, reason="skipped")
        return output

    async def _take(self, claims: Claims, invocation: Invocation, step: Step) -> Turn | AssetRecord:
        def waits(run_id: str) -> None:
            self._tell(invocation, "asset.waiting", step, other_run_id=run_id)

        again = step.id in self._forced
        try:
            return await claims.take(step, again=again, on_wait=waits)
        except Exception as error:
            self._tell_failure(invocation, step, error)
            raise

    async def _completed(self, claims: Claims, invocation: Invocation, turn: Turn) -> StageOutput:
        step, output, clock = turn.step, turn.output, invocation.run.clock
        assert output is not None
        record = AssetRecord(
            run_id=str(invocation.context.pipeline_run_id),
            at=clock.now(),
            asset_version=step.asset.version,
            data_version=output.data_version or invocation.run.options.new_id().hex,
            upstream=turn.versions,
            io_manager=self._settings.places.of(step.asset).name,
            serializer=_text(step.asset.io_options.get("serializer")),
            duration_ms=(clock.monotonic() - turn.began) * 1000.0,
            metadata=dict(output.metadata),
        )
        try:
            # The data are there: to stop before the record is written would waste them.
            with anyio.CancelScope(shield=True):
                await claims.complete(turn, record)
        except Exception as error:
            # A record that cannot be encoded leaves the partition claimed, and nobody at it.
            await self._failed(claims, invocation, turn, error)
            raise
        self._tell(
            invocation,
            "asset.materialized",
            step,
            asset_version=record.asset_version,
            data_version=record.data_version,
            io_manager=record.io_manager,
            duration_ms=record.duration_ms,
            metadata=dict(record.metadata),
        )
        await done_after(turn.afterwards, step.label)
        return StageOutput.ok(_outcome(record, "materialized"))

    async def _failed(
        self, claims: Claims, invocation: Invocation, turn: Turn, error: BaseException | str
    ) -> None:
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            await self._left(claims, turn, None)  # it was cancelled
            return
        failure = AssetFailure(
            run_id=str(invocation.context.pipeline_run_id),
            at=invocation.run.clock.now(),
            error=error if isinstance(error, str) else describe(error),
            error_code=_text(getattr(error, "code", None)),
        )
        if not isinstance(error, ClaimLostError):
            await self._left(claims, turn, failure)
        self._tell_failure(invocation, turn.step, error)

    async def _left(self, claims: Claims, turn: Turn, failure: AssetFailure | None) -> None:
        """Leave a partition without a new record; what goes wrong with that hides no failure."""
        try:
            with anyio.CancelScope(shield=True):
                await claims.give_up(turn, failure)
        except Exception as error:  # noqa: BLE001 - the claim runs out by itself
            _log.warning("asset.claim_not_left", asset=turn.step.label, error=str(error))

    async def attempt(self, step: Step, ctx: StageContext) -> StageOutput:
        """Make the data of a step once, and store them."""
        claims = _claims_of(ctx)
        turn = claims.turn(step.id)
        asset = step.asset
        context = AssetContext(
            asset=asset,
            partition=step.partition,
            resources={name: ctx.resources[name] for name in asset.resources},
            previous=turn.entry.record,
            stage=ctx,
        )
        inputs = {
            need.parameter: await self._inputs.load(turn, ctx, need, ids)
            for need, ids in step.upstream
            if need.parameter is not None
        }
        executor = self._settings.places.executor_of(asset)
        services = self._services(turn, ctx)
        call = AssetCall(context=context, inputs=inputs, services=services, executor=executor)
        made = await (asset.body or FUNCTION_BODY).produce(call)
        if isinstance(made, StageOutput):
            if made.status is not StageStatus.OK:
                return made
            made = made.data
        output = made if isinstance(made, AssetOutput) else AssetOutput(made)
        await claims.confirm(turn)
        turn.is_storing = True
        try:
            await self._settings.places.of(asset).store(asset, output.value, step.partition)
        except Exception:
            turn.is_storing = False  # a store that refuses leaves what was there
            raise
        turn.is_storing = False
        metadata = {**context.metadata, **output.metadata}
        turn.output = AssetOutput(None, metadata=metadata, data_version=output.data_version)
        return StageOutput.ok()

    def _services(self, turn: Turn, ctx: StageContext) -> AssetServices:
        """Return what a body may use that does more than call the asset's function."""
        step = turn.step
        run: Any = ctx._run
        turn.afterwards.clear()  # what an earlier attempt wanted
        needs = dict(step.upstream)
        return AssetServices(
            run=run,
            coordinators=self._settings.coordinators,
            partition=step.partition,
            work_id=turn.entry.work or "",
            tell=lambda kind, **facts: run.tell(kind, {**facts_of(step), **facts}),
            when_recorded=turn.afterwards.append,
            load=lambda need: self._inputs.load(turn, ctx, need, needs[need]),
            endings=lambda: self._inputs.endings(turn, ctx),
        )

    # --- telling -----------------------------------------------------------------------------

    def _tell_failure(self, invocation: Invocation, step: Step, error: BaseException | str) -> None:
        told = error if isinstance(error, str) else describe(error)
        code = _text(getattr(error, "code", None))
        self._tell(invocation, "asset.failed", step, error=told, error_code=code)

    def _tell(self, invocation: Invocation, type: str, step: Step, **facts: Any) -> None:
        invocation.run.tell(type, {**facts_of(step), **facts})


def facts_of(step: Step) -> dict[str, Any]:
    """Return what every event of a step says."""
    partition = None if step.asset.partitions is None else step.asset.text(step.partition)
    return {"asset": step.asset.name, "partition": partition, "partition_key": step.key}


class _StepRunner:
    """One step, as the engine takes it."""

    def __init__(self, run: AssetRun, step: Step) -> None:
        self._run = run
        self._step = step

    async def execute(self, ctx: StageContext) -> StageOutput:
        """Make the step's data once, and store them."""
        return await self._run.attempt(self._step, ctx)


class _Materializing:
    """The layer around all attempts of a step: its claim before, its record after."""

    def __init__(self, run: AssetRun) -> None:
        self._run = run

    def applies_to(self, name: str, kind: StageKind) -> bool:
        """Say that every step is wrapped."""
        return True

    def configure(self, policy: StagePolicy) -> StagePolicy:
        """Return the policy as it is."""
        return policy

    async def around(
        self, invocation: Invocation, proceed: Callable[[], Awaitable[StageOutput]]
    ) -> StageOutput:
        """Return how the step went."""
        return await self._run.around(invocation, proceed)


_CLAIMS = "stageflow.assets.claims"


def _claims_of(ctx: StageContext) -> Claims:
    assert ctx._run is not None
    claims: Claims = ctx._run.context.data[_CLAIMS]
    return claims


def _outcome(record: AssetRecord, state: str) -> dict[str, Any]:
    return {"state": state, "data_version": record.data_version, "made_in": record.run_id}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
