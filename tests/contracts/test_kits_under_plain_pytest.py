"""A kit works for an author who has pytest, anyio's plugin, and nothing else of ours."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from stageflow.testing import IOManagerConformance

pytest_plugins = ("pytester",)

AUTHORS_TESTS = """
import pytest
from stageflow.builtin.memory_io_manager import MemoryIOManager
from stageflow.contracts import IOManagerCapabilities
from stageflow.testing import IOManagerConformance


class TestMine(IOManagerConformance):
    capabilities = IOManagerCapabilities(list_partitions=True)

    @pytest.fixture
    async def io_manager(self):
        async with MemoryIOManager() as manager:
            yield manager


class TestOfOneLoop(IOManagerConformance):
    event_loops = ("asyncio",)
    closable = False
    capabilities = IOManagerCapabilities()

    @pytest.fixture
    async def io_manager(self):
        return Narrow()


class Narrow(MemoryIOManager):
    capabilities = IOManagerCapabilities()

    async def exists(self, asset_name, partition, **opts):
        return True
"""


@pytest.fixture
def plain(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(AUTHORS_TESTS)
    return lambda *chosen: pytester.runpytest_inprocess(
        "-p", "anyio", "-p", "no:cacheprovider", "-rfs", "-W", "error", *chosen
    )


def test_a_good_implementation_passes_on_both_event_loops(plain):
    result = plain("-v", "-k", "TestMine")
    tests = 1 + sum(map(len, IOManagerConformance.proofs().values()))  # one for its shape
    result.assert_outcomes(passed=2 * tests, deselected=tests)
    for event_loop in ("asyncio", "trio"):
        result.stdout.fnmatch_lines([f"*test_io1_what_was_stored_is_loaded?{event_loop}? PASSED*"])


def test_a_broken_one_fails_by_clause_and_what_does_not_apply_is_skipped(plain):
    result = plain("-k", "TestOfOneLoop")
    assert "[trio]" not in str(result.stdout)
    failed = re.findall(r"^FAILED .*::test_(io\d+)_.*\[asyncio\]", str(result.stdout), re.MULTILINE)
    assert set(failed) == {"io3", "io5", "io7", "io10", "io11", "io12", "io14"}
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED * TestOfOneLoop has nothing to close",
            "SKIPPED * TestOfOneLoop does not declare the capability list_partitions",
            "*AssertionError: exists answered *True, True, True*",
        ]
    )


def test_a_kit_without_its_fixture_says_what_to_override(pytester, plain):
    pytester.makepyfile(
        """
        from stageflow.testing import RunStoreConformance

        class TestMine(RunStoreConformance):
            pass
        """
    )
    result = plain("-k", "test_rs2_")
    result.stdout.fnmatch_lines_random(["*NotImplementedError: override the fixture `store`*"])


def test_stageflow_itself_does_not_need_pytest():
    program = (
        "import sys, stageflow, stageflow.testing, stageflow.contracts;"
        "assert 'pytest' not in sys.modules and 'trio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_one_that_could_not_be_loaded_fails_by_its_shape(pytester, plain):
    pytester.makepyfile(
        """
        import pytest
        from stageflow.testing import ResourceConformance

        class Renamed:
            def setup(self, config):
                return object()

            def teardown(self, client):
                return None

        class TestMine(ResourceConformance):
            @pytest.fixture
            def resource(self):
                return Renamed()
        """
    )
    result = plain("-k", "test_it_has")
    assert result.parseoutcomes()["failed"] == 2
    result.stdout.fnmatch_lines_random(["*AssertionError: *teardown*resource*"])
