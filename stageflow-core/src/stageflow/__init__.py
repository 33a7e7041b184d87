"""Stageflow runs graphs of stages: async, structured, observable, durable."""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# `stageflow.tools`, `stageflow.helpers` and `stageflow.compression` come in distributions of
# their own; this makes them found beside core, installed as wheels or editable.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from stageflow.context import *  # noqa: F403
