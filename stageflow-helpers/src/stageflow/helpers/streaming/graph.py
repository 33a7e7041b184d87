"""StreamingGraph: a pipeline in which stages hand chunks to each other while they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from stageflow.context import PipelineContext, StageContext
from stageflow.context.cancellation import CancellationToken
from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.helpers.errors import HelperSettingError
from stageflow.helpers.streaming.live import LiveStreams
from stageflow.helpers.streaming.stream import RESOURCE, StreamLink
from stageflow.pipeline import PipelineValidationError, UnifiedStageGraph, UnifiedStageSpec
from stageflow.pipeline.declaration import Declaration, as_node
from stageflow.pipeline.graph import raise_for_report
from stageflow.stages import StageKind, StageOutput

__all__ = ("StreamWiringError", "StreamingGraph")


class StreamWiringError(PipelineValidationError):
    """Streams connect stages in a way that cannot work; every fault of the pipeline is in here."""

    code = "SF660"

    @classmethod
    def of(cls, pipeline: str, faults: Sequence[ContractErrorInfo]) -> StreamWiringError:
        """Return the error for all *faults* of one pipeline."""
        if len(faults) == 1:
            message = faults[0].summary
        else:
            lines = [f"  {number}. {fault}" for number, fault in enumerate(faults, 1)]
            message = f"Pipeline {pipeline!r} has {len(faults)} faults:\n" + "\n".join(lines)
        stage = faults[0].context.get("stage")
        error = cls(message, [stage] if stage else [], faults[0], faults=faults)
        error.code = cls.code
        return error


class StreamingGraph(UnifiedStageGraph):
    """A built pipeline whose streams lead from stage to stage; it runs as any other graph does.

    Stages that streams connect start together, as soon as what any of them waits for is done, and
    run side by side. So each of them may read whatever one of them depends on, and if one is
    conditional, all are. Between them there is no other dependency.

    Whatever becomes of a stage, those that it is connected with do not wait for it: when a
    producer ends without finishing its stream, for whatever reason, its readers get what was sent
    and then a `StreamBrokenError`; when a reader ends, `send` answers False.

    Args:
        pipeline: The stages.
        links: Which streams connect them.
        max_concurrency: How many stages may run at once; None for no limit.
        **options: What else `pipeline.build` takes.

    Raises:
        StreamWiringError: A link or what it connects is wrong; it lists every fault, those of
            the pipeline included.
        PipelineValidationError: Only the pipeline is wrong.
    """

    def __init__(
        self,
        pipeline: Declaration[Any],
        links: Iterable[StreamLink],
        *,
        max_concurrency: int | None = None,
        **options: Any,
    ) -> None:
        given: Any = links
        if not isinstance(given, Iterable) and not isinstance(given, StreamLink):
            raise HelperSettingError("StreamingGraph", "links", given, rule="a list of links")
        self._links = (given,) if isinstance(given, StreamLink) else tuple(given)
        for link in self._links:
            if not isinstance(link, StreamLink):
                raise HelperSettingError(
                    "StreamingGraph", "links", link, rule="links: stream.link(producer, to=reader)"
                )
        if not isinstance(pipeline, Declaration):
            raise HelperSettingError(
                "StreamingGraph", "pipeline", pipeline, rule="a pipeline that is not built yet"
            )
        faults = _link_faults(self._links, pipeline.stages)
        try:
            plain = pipeline.build(max_concurrency=max_concurrency, **options)
        except PipelineValidationError as error:
            if not faults:
                raise
            raise StreamWiringError.of(pipeline.name, [*error.faults, *faults]) from None
        specs = {spec.name: spec for spec in plain.stage_specs}
        dependencies = {name: tuple(spec.dependencies) for name, spec in specs.items()}
        if not faults:
            self._groups = _connected(self._links)
            faults = _order_faults(self._groups, dependencies)
            faults += _branch_faults(self._groups, specs)
            faults += self._room_faults(max_concurrency)
        if faults:
            raise StreamWiringError.of(pipeline.name, faults)
        nodes = {name: as_node(stage) for name, stage in pipeline.stages.items()}
        for group in self._groups:
            _start_together([name for name in nodes if name in group], nodes, dependencies)
        super().__init__(
            nodes.values(), name=pipeline.name, max_concurrency=max_concurrency, **options
        )
        self._refuse_guard_retries()
        index = self._plan.index
        # Chunks are not kept: who is interrupted on either side of a stream begins anew on both.
        together = tuple(frozenset(index[name] for name in group) for group in self._groups)
        self._plan = attrs.evolve(self._plan, together=together)

    @property
    def links(self) -> tuple[StreamLink, ...]:
        """Which streams connect the stages."""
        return self._links

    async def run(
        self,
        ctx: PipelineContext | StageContext,
        *,
        interrupt: CancellationToken | None = None,
    ) -> dict[str, StageOutput]:
        """Run every stage and return their outputs by name.

        Args:
            ctx: Who the run is for, and what it knows.
            interrupt: Cancelling it, from whatever thread, cuts all streams short: what waits in
                them is dropped, and the blocks of their writers and readers end. The stages go on
                behind their blocks, and so does the run; to end the run, cancel that.

        Raises:
            UnifiedStageExecutionError: If a stage failed; it carries every output.
            UnifiedPipelineCancelled: If the run was cancelled; it carries every output.
            RunInputError: If an input that a function stage takes is missing or unknown.
        """
        report = await self.execute(ctx, interrupt=interrupt)
        raise_for_report(report)
        outputs: dict[str, StageOutput] = report.outputs
        return outputs

    async def execute(
        self,
        ctx: PipelineContext | StageContext,
        options: Any = None,
        *,
        interrupt: CancellationToken | None = None,
    ) -> Any:
        """Run every stage and return how it went, whatever the outcome.

        Args:
            ctx: Who the run is for, and what it knows.
            options: What this run is given; the graph's unless given.
            interrupt: Cancelling it cuts all streams short.

        Raises:
            RunInputError: If an input that a function stage takes is missing or unknown.
        """
        context = ctx if isinstance(ctx, PipelineContext) else ctx.as_pipeline_context()
        options = options or self.options
        wiring = [
            (
                link.stream.name,
                link.producer,
                link.consumers,
                attrs.asdict(link.stream, filter=lambda field, _: field.name != "name"),
            )
            for link in self._links
        ]
        live = LiveStreams(wiring, self._groups, context, options.clock)
        options = attrs.evolve(
            options,
            listeners=(live.listen, *options.listeners),
            resources={**(options.resources or {}), RESOURCE: live},
        )
        with live.interrupted_by(interrupt):
            return await super().execute(context, options)

    def with_max_concurrency(self, limit: int | None) -> StreamingGraph:
        """Return a graph that runs at most *limit* stages at once, and is the same otherwise.

        Raises:
            StreamWiringError: If the connected stages could then not run side by side.
            PipelineValidationError: If *limit* is below 1.
        """
        faults = self._room_faults(limit)
        if faults and limit is not None and limit >= 1:
            raise StreamWiringError.of(self.name, faults)
        limited = super().with_max_concurrency(limit)
        assert isinstance(limited, StreamingGraph)
        return limited

    def _room_faults(self, limit: int | None) -> list[ContractErrorInfo]:
        together = sum(map(len, self._groups))
        if limit is None or limit >= together:
            return []
        return [
            _fault(
                f"max_concurrency={limit} is less than the {together} stages that streams connect;"
                " they would wait for one another without end.",
                f"Allow at least {together}, or None for no limit.",
                max_concurrency=limit,
            )
        ]

    def _refuse_guard_retries(self) -> None:
        regions = self.plan.guard_regions
        again = [] if regions is None else [self.plan.names[index] for index in regions.groups]
        faults = [
            _fault(
                f"A guard may have stage {name!r} run again, but what it handed on or read through"
                " a stream cannot be taken back.",
                "Let the guard send the run back to a stage behind the streams.",
                stage=name,
            )
            for name in again
            if any(name in group for group in self._groups)
        ]
        if faults:
            raise StreamWiringError.of(self.name, faults)


def _fault(summary: str, hint: str, **context: Any) -> ContractErrorInfo:
    code = StreamWiringError.code
    return ContractErrorInfo(
        code, summary, hint, f"docs/reference/errors.md#{code.lower()}", context
    )


def _link_faults(links: Sequence[StreamLink], stages: Collection[str]) -> list[ContractErrorInfo]:
    """Return what is wrong with the links by themselves."""
    faults = []
    if not links:
        faults.append(
            _fault("No stream is linked.", "Give links, or build the pipeline without streams.")
        )
    writers = Counter(link.stream.name for link in links)
    for name, count in writers.items():
        if count > 1:
            who = ", ".join(repr(link.producer) for link in links if link.stream.name == name)
            faults.append(
                _fault(
                    f"Stream {name!r} is linked {count} times, with the producers {who}.",
                    "Link a stream once, with all its readers; use a stream for each producer.",
                    stream=name,
                )
            )
    for link in links:
        name = link.stream.name
        if not link.consumers:
            faults.append(
                _fault(
                    f"Stream {name!r} of stage {link.producer!r} has no reader.",
                    "Name the stages that read it: stream.link(producer, to=[...]).",
                    stream=name,
                )
            )
        if link.producer in link.consumers:
            faults.append(
                _fault(
                    f"Stage {link.producer!r} writes stream {name!r} and reads it, too.",
                    "Let another stage read it.",
                    stage=link.producer,
                    stream=name,
                )
            )
        for stage in dict.fromkeys((link.producer, *link.consumers)):
            if stage not in stages:
                does = "written" if stage == link.producer else "read"
                faults.append(
                    _fault(
                        f"Stream {name!r} is {does} by {stage!r}, which is not a stage.",
                        f"Add that stage or correct the name. {did_you_mean(stage, stages)}",
                        stage=stage,
                        stream=name,
                    )
                )
    return faults


def _connected(links: Iterable[StreamLink]) -> tuple[frozenset[str], ...]:
    """Return the stages that streams connect, group by group."""
    groups: list[frozenset[str]] = []
    for link in links:
        merged = frozenset((link.producer, *link.consumers))
        apart = []
        for group in groups:
            if group & merged:
                merged |= group
            else:
                apart.append(group)
        groups = [*apart, merged]
    return tuple(groups)


def _order_faults(
    groups: Iterable[frozenset[str]], dependencies: Mapping[str, tuple[str, ...]]
) -> list[ContractErrorInfo]:
    """Return a fault for each stage that waits for one beside which it must run."""
    faults = []
    for group in groups:
        for name in sorted(group):
            waits = _awaited(name, dependencies)
            faults += [
                _fault(
                    f"Stage {name!r} waits for the end of {other!r}, but streams connect the two,"
                    " so they must run side by side.",
                    f"Remove the dependency of {name!r} on {other!r}, or what leads to it.",
                    stage=name,
                    dependency=other,
                )
                for other in sorted(group & waits)
            ]
    return faults


def _branch_faults(
    groups: Iterable[frozenset[str]], specs: Mapping[str, UnifiedStageSpec]
) -> list[ContractErrorInfo]:
    """Return a fault for each stage that a router picks by name, and those beside it not."""
    faults = []
    for group in groups:
        members = [spec for name, spec in specs.items() if name in group]
        leader = next((spec for spec in members if spec.conditional), None)
        if leader is None or leader.policy.branch_key is not None:
            continue
        routers = [d for d in leader.dependencies if specs[d].kind is StageKind.ROUTE]
        followers = [spec.name for spec in members if not spec.conditional]
        if routers and followers:
            faults.append(
                _fault(
                    f"Router {routers[0]!r} picks stage {leader.name!r} by its name, so it cannot"
                    f" pick {', '.join(map(repr, followers))}, connected with it by streams.",
                    f"Give {leader.name!r} a branch_key, as well as the router's other branches.",
                    stage=leader.name,
                )
            )
    return faults


def _awaited(name: str, dependencies: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return every stage that *name* waits for, directly or not."""
    found: set[str] = set()
    open_ends = list(dependencies[name])
    while open_ends:
        other = open_ends.pop()
        if other not in found:
            found.add(other)
            open_ends += dependencies[other]
    return found


def _start_together(
    group: Sequence[str], nodes: dict[str, Any], dependencies: Mapping[str, tuple[str, ...]]
) -> None:
    """Have the stages of *group* wait for the same, and be skipped by the same."""
    shared = tuple(dict.fromkeys(other for name in group for other in dependencies[name]))
    leader = next((nodes[name] for name in group if nodes[name].conditional), None)
    for name in group:
        node = nodes[name]
        changes: dict[str, Any] = {"dependencies": (*node.dependencies, *shared)}
        if leader is not None and not node.conditional:
            key = leader.policy.branch_key
            changes["conditional"] = True
            changes["policy"] = attrs.evolve(node.policy, branch_key=key)
        nodes[name] = attrs.evolve(node, **changes)
