"""Logs of approvals and of undo keep their contracts, wherever they keep what they are told."""

from __future__ import annotations

import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.builtin.sqlite_run_store import SqliteRunStore
from stageflow.testing.conformance import clauses_of
from stageflow.tools import (
    ApprovalLog,
    MemoryApprovalLog,
    MemoryUndoLog,
    SharedApprovalLog,
    SharedUndoLog,
    UndoLog,
)
from stageflow.tools.testing import ApprovalLogConformance, UndoLogConformance


@pytest.fixture
async def sqlite(tmp_path):
    async with SqliteRunStore(tmp_path / "runs.sqlite3", synchronous="normal") as store:
        yield store


class TestMemoryApprovalLog(ApprovalLogConformance):
    @pytest.fixture
    async def log(self):
        return MemoryApprovalLog()


class TestApprovalLogInMemoryRunStore(ApprovalLogConformance):
    @pytest.fixture
    async def log(self):
        return SharedApprovalLog(MemoryRunStore())


class TestApprovalLogInSqlite(ApprovalLogConformance):
    @pytest.fixture
    async def log(self, sqlite):
        return SharedApprovalLog(sqlite)


class TestMemoryUndoLog(UndoLogConformance):
    @pytest.fixture
    async def log(self):
        return MemoryUndoLog()


class TestUndoLogInMemoryRunStore(UndoLogConformance):
    @pytest.fixture
    async def log(self):
        return SharedUndoLog(MemoryRunStore())


class TestUndoLogInSqlite(UndoLogConformance):
    @pytest.fixture
    async def log(self, sqlite):
        return SharedUndoLog(sqlite)


@pytest.mark.parametrize(
    ("kit", "contract"), [(ApprovalLogConformance, ApprovalLog), (UndoLogConformance, UndoLog)]
)
def test_every_clause_has_a_test(kit, contract):
    assert set(kit.proofs()) == set(clauses_of(contract))
