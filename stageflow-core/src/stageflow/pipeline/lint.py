"""Faults in the wiring of a pipeline that it can be built with, found without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stageflow.errors import ContractErrorInfo, did_you_mean
from stageflow.pipeline._source import Ending, Reading, read_source
from stageflow.pipeline.functions import FunctionStage
from stageflow.pipeline.nested import SubpipelineStage
from stageflow.stages import StageKind

if TYPE_CHECKING:
    from stageflow._engine.plan import Node, Plan
    from stageflow.pipeline.graph import UnifiedStageGraph

__all__ = ("is_hint", "lint")

_DOCS = "docs/how-to/find-wiring-faults.md"


def lint(graph: UnifiedStageGraph) -> tuple[ContractErrorInfo, ...]:
    """Return what is wrong with the wiring of *graph*, stage by stage, errors and hints.

    The stages' source is read, nothing of it is run. What it leaves open, such as a name that
    is made while the stage runs, is not held against it. Pipelines that are stages are looked
    into. The context of a finding holds its `pipeline`, its `stage` and its `severity`, which
    is `error` or `hint`.

    Args:
        graph: A built pipeline.
    """
    return tuple(_Lint(graph.plan).findings())


def is_hint(finding: ContractErrorInfo) -> bool:
    """Say whether a finding of `lint` only asks for a second look."""
    return finding.context.get("severity") == "hint"


class _Lint:
    """The rules, applied to one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._nodes: Mapping[str, Node] = {node.name: node for node in plan.nodes}
        known: dict[int, Reading | None] = {}
        self._readings: dict[str, Reading | None] = {}
        self._sharing: dict[int, list[Node]] = {}
        for node in plan.nodes:
            runner = _written(node.runner)
            if id(runner) not in known:
                known[id(runner)] = read_source(runner)
            self._readings[node.name] = known[id(runner)]
            self._sharing.setdefault(id(runner), []).append(node)
        self._skipped: set[str] = set()
        """Stages that no run chooses; what depends on them without a condition runs."""
        self._blocked: set[str] = set()
        """Stages behind one that always fails; nothing that depends on them runs."""

    def findings(self) -> Iterator[ContractErrorInfo]:
        rules = (self._undeclared, self._unused, self._no_condition, self._wrong_key)
        told: dict[str, list[ContractErrorInfo]] = {
            node.name: [finding for rule in rules for finding in rule(node)]
            for node in self._plan.nodes
        }
        for node in self._plan.nodes:
            told[node.name] += [*self._wrong_route(node), *self._nested(node)]
        for node in self._in_order():
            told[node.name] += self._unreachable(node)
        for each in told.values():
            yield from each

    # --- what is read ---

    def _undeclared(self, node: Node) -> Iterator[ContractErrorInfo]:
        reading = self._readings[node.name]
        for name, where in reading.reads.items() if reading else ():
            if name in node.dependencies:
                continue
            sharing = self._sharing[id(_written(node.runner))]
            # One runner of several stages may read in each what that one declares.
            severity = "hint" if any(name in each.dependencies for each in sharing) else "error"
            if name not in self._nodes:
                summary = f"Stage {node.name!r} reads {name!r}, which is no stage ({where})."
                hint = f"Correct the name. {did_you_mean(name, self._nodes)}"
            elif name == node.name:
                summary = f"Stage {node.name!r} reads its own output ({where})."
                hint = "Read a stage that it depends on, or keep the value in a variable."
            elif node.name in self._upstream(name):
                summary = f"Stage {node.name!r} reads {name!r}, which runs after it ({where})."
                hint = f"Move what reads it into a stage that depends on {name!r}."
            else:
                summary = f"Stage {node.name!r} reads {name!r} without depending on it ({where})."
                hint = f"Add {name!r} to its dependencies, or read a declared one."
            yield self._finding(
                "UNDECLARED", node, summary, hint, severity=severity, reads=name, where=where
            )

    def _unused(self, node: Node) -> Iterator[ContractErrorInfo]:
        reading = self._readings[node.name]
        # Conditions and parameters are read by the engine, and `after` is about order only.
        if reading is None or not reading.is_complete or not reading.reads or node.conditional:
            return
        if _written(node.runner) is not node.runner:
            return
        for name in node.dependencies:
            kind = self._nodes[name].kind
            if name not in reading.reads and kind not in (StageKind.GUARD, StageKind.ROUTE):
                yield self._finding(
                    "UNUSED",
                    node,
                    f"Stage {node.name!r} depends on {name!r} but never reads it.",
                    "Remove the dependency, unless it is there for the order.",
                    severity="hint",
                    dependency=name,
                )

    # --- what is conditional ---

    def _no_condition(self, node: Node) -> Iterator[ContractErrorInfo]:
        key = node.policy.branch_key
        if not node.conditional:
            if key is not None:
                yield self._finding(
                    "CONDITION",
                    node,
                    f"Stage {node.name!r} has the branch key {key!r} but is not conditional,"
                    " so it always runs.",
                    "Make it conditional=True, or remove the branch key.",
                )
        elif key is not None and not any(map(self._may_route, node.dependencies)):
            yield self._finding(
                "NO-ROUTER",
                node,
                f"Stage {node.name!r} is the branch {key!r}, but no stage that it depends on"
                " gives a `route`.",
                "Add its router to its dependencies, or have one of them give `route`.",
                branch_key=key,
            )
        elif not any(map(self._may_skip, node.dependencies)):
            yield self._finding(
                "CONDITION",
                node,
                f"Stage {node.name!r} is conditional, but nothing that it depends on can skip it,"
                " so it always runs.",
                "Make it depend on the stage that decides, or remove conditional=True.",
            )

    def _wrong_key(self, node: Node) -> Iterator[ContractErrorInfo]:
        if not node.conditional:
            return
        for router in node.dependencies:
            routes = self._routes(router)
            mine = node.policy.branch_key
            if mine is None and self._nodes[router].kind is StageKind.ROUTE:
                # Such a router names stages; what names none of its branches is its own affair.
                branches = {each.name for each in self._branches(router)}
                if routes and routes <= branches and self._always_routes(router):
                    mine = node.name
            if routes is None or mine is None or mine in routes:
                continue
            if self._always_routes(router):
                self._skipped.add(node.name)
            elif not routes:  # it may as well not route at all
                continue
            given = ", ".join(sorted(map(repr, routes))) or "none"
            yield self._finding(
                "BRANCH-KEY",
                node,
                f"Stage {node.name!r} is chosen by {mine!r}, which router {router!r} never gives"
                f" (it gives {given}).",
                f"Correct one of the two. {did_you_mean(str(mine), map(str, routes))}",
                branch_key=mine,
                router=router,
            )

    def _wrong_route(self, node: Node) -> Iterator[ContractErrorInfo]:
        keys = self._plan.branch_keys.get(self._plan.index[node.name])
        for route in sorted((self._routes(node.name) or frozenset()) - (keys or set()), key=str):
            if keys is not None:
                yield self._finding(
                    "ROUTE",
                    node,
                    f"Router {node.name!r} can choose {route!r}, which is no branch of it.",
                    f"Correct one of the two. {did_you_mean(str(route), keys)}",
                    route=route,
                )

    def _unreachable(self, node: Node) -> Iterator[ContractErrorInfo]:
        if node.name in self._skipped:  # told already
            return
        for name in node.dependencies:
            endings = self._endings(name)
            if all(each.kind == "stop" for each in endings):
                self._blocked.add(node.name)
                why = "never succeeds"
            elif node.conditional and all(each.kind in {"skip", "stop"} for each in endings):
                self._skipped.add(node.name)
                why = "always skips it"
            elif name in self._blocked:
                self._blocked.add(node.name)
                why = "never runs"
            elif name in self._skipped and node.conditional:
                self._skipped.add(node.name)
                why = "never runs"
            else:
                continue
            yield self._finding(
                "UNREACHABLE",
                node,
                f"Stage {node.name!r} can never run: it depends on {name!r}, which {why}.",
                f"Mend {name!r}, or do without {node.name!r}.",
                dependency=name,
            )
            return

    def _nested(self, node: Node) -> Iterator[ContractErrorInfo]:
        if isinstance(node.runner, SubpipelineStage):
            for finding in lint(node.runner.graph):
                yield finding.with_context(inside=[node.name, *finding.context.get("inside", ())])

    # --- facts ---

    def _endings(self, name: str) -> tuple[Ending, ...]:
        reading = self._readings[name]
        return reading.endings if reading else (Ending("unknown", routes=None, skips=True),)

    def _may_route(self, name: str) -> bool:
        return any(each.has_route or each.kind == "unknown" for each in self._endings(name))

    def _always_routes(self, name: str) -> bool:
        endings = [each for each in self._endings(name) if each.kind != "stop"]
        return bool(endings) and all(each.has_route for each in endings)

    def _may_skip(self, name: str) -> bool:
        return self._nodes[name].conditional or any(
            each.skips or each.has_route or each.kind == "unknown" for each in self._endings(name)
        )

    def _routes(self, name: str) -> frozenset[Any] | None:
        """Return every key that a stage can give as its `route`; None if only a run can tell."""
        found = [each.routes for each in self._endings(name)]
        known = [routes for routes in found if routes is not None]
        return frozenset[Any]().union(*known) if len(known) == len(found) else None

    def _branches(self, router: str) -> list[Node]:
        followers = self._plan.successors[self._plan.index[router]]
        return [node for node in map(self._plan.nodes.__getitem__, followers) if node.conditional]

    def _upstream(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            new = set(self._nodes[waiting.pop()].dependencies) - found
            found |= new
            waiting += new
        return found

    def _in_order(self) -> Iterator[Node]:
        waiting = list(map(len, self._plan.dependencies))
        ready = list(self._plan.roots)
        for index in ready:
            yield self._plan.nodes[index]
            for follower in self._plan.successors[index]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)

    def _finding(
        self,
        code: str,
        node: Node,
        summary: str,
        hint: str,
        *,
        severity: str = "error",
        **facts: Any,
    ) -> ContractErrorInfo:
        full = f"LINT-{code}"
        context = {"pipeline": self._plan.name, "stage": node.name, "severity": severity, **facts}
        return ContractErrorInfo(full, summary, hint, f"{_DOCS}#{full.lower()}", context)


def _written(runner: Any) -> Any:
    """Return what the user wrote: of a function that was bound to its stages, the function."""
    found = getattr(runner, "stage", None)
    return found.function if isinstance(found, FunctionStage) else runner
