"""Memory of conversations: what was said in a session, within limits, kept by a store."""

from __future__ import annotations

from stageflow.helpers.memory.contract import (
    MemoryConfig,
    MemoryEntry,
    MemoryStore,
    MemoryWindow,
    keep_newest,
)
from stageflow.helpers.memory.in_memory import InMemoryStore
from stageflow.helpers.memory.sqlite import SqliteMemoryStore
from stageflow.helpers.memory.stages import MemoryFetchStage, MemoryWriteStage

__all__ = (
    "InMemoryStore",
    "MemoryConfig",
    "MemoryEntry",
    "MemoryFetchStage",
    "MemoryStore",
    "MemoryWindow",
    "MemoryWriteStage",
    "SqliteMemoryStore",
    "keep_newest",
)
