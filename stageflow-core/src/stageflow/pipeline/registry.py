"""PipelineRegistry: pipelines by name, for those who start them by name."""

from __future__ import annotations

import threading
from typing import Any

from stageflow.errors import DefinitionError, RunError, did_you_mean

__all__ = ("DuplicatePipelineError", "PipelineRegistry", "UnknownPipelineError")


class UnknownPipelineError(RunError, KeyError):
    """No pipeline was registered under a name.

    Attributes:
        name: The name.
    """

    code = "SF344"

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"There is no pipeline {name!r} in the registry.", hint=hint)
        self.name = name


class DuplicatePipelineError(DefinitionError, ValueError):
    """Two pipelines were registered under one name.

    Attributes:
        name: The name.
    """

    code = "SF103"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is another pipeline {name!r} in the registry.",
            hint="Choose another name, or say replace=True.",
        )
        self.name = name


class PipelineRegistry:
    """Pipelines by name, for those who start them by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipelines: dict[str, Any] = {}

    def register(self, name: str, pipeline: Any, *, replace: bool = False) -> None:
        """Keep *pipeline* under *name*.

        Raises:
            DuplicatePipelineError: If another one has the name and *replace* is false.
        """
        with self._lock:
            if not replace and self._pipelines.get(name, pipeline) is not pipeline:
                raise DuplicatePipelineError(name)
            self._pipelines[name] = pipeline

    def get(self, name: str) -> Any:
        """Return the pipeline of that name.

        Raises:
            UnknownPipelineError: If there is none.
        """
        found = self._pipelines.get(name)
        if found is None:
            raise UnknownPipelineError(name, did_you_mean(name, self._pipelines))
        return found

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._pipelines)

    def __contains__(self, name: object) -> bool:
        return name in self._pipelines
