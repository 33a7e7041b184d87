"""PipelineSpec: one stage as a `PipelineBuilder` declares it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from stageflow._engine.plan import DEFAULT_POLICY, Node, StagePolicy, ordered_names
from stageflow._engine.validation import fault, raise_faults
from stageflow.pipeline.graph import make_node
from stageflow.stages import StageKind

__all__ = ("PipelineSpec",)


def _unchangeable(args: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return MappingProxyType(dict(args or {}))


@attrs.frozen
class PipelineSpec:
    """One stage of a `PipelineBuilder`; immutable, and hashable whatever its runner is.

    Attributes:
        name: Unique in its pipeline.
        runner: A stage class, an object with `execute`, or a function of the context.
        dependencies: The stages it waits for and may read.
        inputs: The keys it reads, for readers of the pipeline.
        outputs: The keys it gives, for readers of the pipeline.
        conditional: Whether it is skipped when a dependency was skipped or routes past it.
        args: Keywords for a runner class.
        kind: What kind of work it does; the runner's own kind unless given.
        policy: What the engine does around its body.

    Raises:
        PipelineValidationError: If the name is blank or the stage depends on itself; it is a
            `ValueError`, too, and lists both faults.
    """

    name: str
    runner: Any = attrs.field(hash=False)
    dependencies: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)
    inputs: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)
    outputs: tuple[str, ...] = attrs.field(default=(), converter=ordered_names)
    conditional: bool = False
    args: Mapping[str, Any] = attrs.field(factory=dict, converter=_unchangeable, hash=False)
    kind: StageKind | str | None = attrs.field(default=None, kw_only=True)
    policy: StagePolicy = attrs.field(default=DEFAULT_POLICY, kw_only=True, hash=False)

    def __attrs_post_init__(self) -> None:
        faults = []
        name: Any = self.name
        if not isinstance(name, str) or not name.strip():
            faults.append(
                fault(
                    "NAME",
                    f"A stage is called {self.name!r}.",
                    "A name is a text that is not blank.",
                    stage=str(self.name),
                )
            )
        if self.name in self.dependencies:
            faults.append(
                fault(
                    "SELF_DEP",
                    f"Stage {self.name!r} depends on itself.",
                    "Remove it from its own dependencies.",
                    stage=self.name,
                )
            )
        raise_faults(faults, pipeline=str(self.name))

    @classmethod
    def of_node(cls, node: Node) -> PipelineSpec:
        """Return the declaration of a stage that the engine could take as it is."""
        return cls(
            node.name,
            node.runner,
            node.dependencies,
            conditional=node.conditional,
            args=node.config or {},
            kind=node.kind,
            policy=node.policy,
        )

    def to_node(self) -> Node:
        """Return the stage as the engine takes it."""
        return make_node(
            self.name,
            self.runner,
            self.kind if self.kind is not None else getattr(self.runner, "kind", None),
            self.dependencies,
            conditional=self.conditional,
            config=self.args or None,
            policy=self.policy,
        )
