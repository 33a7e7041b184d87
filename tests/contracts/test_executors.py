"""Every executor of core keeps every clause of the contract."""

from __future__ import annotations

import pytest

from stageflow.builtin.executors import InlineExecutor, ThreadExecutor
from stageflow.builtin.process_executor import ProcessExecutor
from stageflow.contracts.executor import ExecutorCapabilities
from stageflow.testing import ExecutorConformance


class TestInlineExecutor(ExecutorConformance):
    @pytest.fixture
    async def executor(self):
        async with InlineExecutor() as executor:
            yield executor


class TestThreadExecutor(ExecutorConformance):
    capabilities = ExecutorCapabilities(timely=True)

    @pytest.fixture
    async def executor(self):
        async with ThreadExecutor() as executor:
            yield executor


@pytest.mark.slow
class TestProcessExecutor(ExecutorConformance):
    capabilities = ExecutorCapabilities(isolated=True, timely=True, kills=True)

    @pytest.fixture
    async def executor(self):
        async with ProcessExecutor(max_workers=2) as executor:
            yield executor
