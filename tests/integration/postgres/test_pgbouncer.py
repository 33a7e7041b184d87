"""Through PgBouncer in its transaction mode everything works but the news, which time replaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from uuid import uuid4

import anyio
import attrs
import pytest

from stageflow.testing.run_store import RunStoreConformance
from stageflow_io_postgres import Database
from stageflow_io_postgres.migrations import apply_migrations
from stageflow_io_postgres.run_store import PostgresRunStore
from support.postgres import free_port
from support.postgres_runs import move_back

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not installed"),
]
_PATIENCE = 30.0


@pytest.fixture(scope="module")
def bouncer(server, tmp_path_factory):
    """The port of a PgBouncer that keeps two connections for all clients of a database."""
    if not server.is_own:
        pytest.skip("it is set up for a server of our own")
    folder = tmp_path_factory.mktemp("pgbouncer")
    port = free_port()
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host=127.0.0.1 port={server.port}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = trust
        auth_file = {folder}/users
        pool_mode = transaction
        default_pool_size = 2
        max_client_conn = 200
        """
    )
    folder.chmod(0o755)
    user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
    command = ["pgbouncer", *user, str(folder / "pgbouncer.ini")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + _PATIENCE
    while "process up" not in (folder / "log").read_text():
        told = (folder / "log").read_text()
        assert process.poll() is None, told
        assert time.monotonic() < deadline, told
        time.sleep(0.01)  # its log is all that it tells
    yield port
    process.terminate()
    process.wait(_PATIENCE)


@pytest.fixture
def pooled(server, bouncer, name):
    return server.settings(name, host="127.0.0.1", port=bouncer, pooler="transaction")


@pytest.mark.slow
class TestThroughPgBouncer(RunStoreConformance):
    capabilities = attrs.evolve(PostgresRunStore.capabilities, news=False)  # a pooler passes none
    event_loops = ("asyncio",)

    @pytest.fixture
    async def store(self, pooled):
        async with Database(pooled) as self.database:
            yield PostgresRunStore(self.database)

    async def pass_time(self, seconds):
        await move_back(self.database, seconds)


async def test_migrating_takes_turns(server, bouncer, empty):
    settings = server.settings(empty, host="127.0.0.1", port=bouncer, pooler="transaction")
    took = []

    async def migrate():
        database = Database(settings)
        await database.connect()
        took.append(len(await apply_migrations(database)))
        await database.aclose()

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(migrate)
    assert min(took) == 0
    assert max(took) > 0


async def test_there_are_no_news_and_nobody_waits_for_them_longer_than_he_says(pooled):
    async with Database(pooled) as database:
        store = PostgresRunStore(database)
        run_id = uuid4()
        await store.create_run(run_id, service="test", status="running")
        lease = await store.acquire_lease(run_id, "me", ttl=60)
        await store.open_wait(lease, "w", stage="s", name="n")
        async with store.news(run_id) as news:
            await store.signal_run(run_id, "n", b"")
            assert not await news.wait(0.05)
        assert (await store.list_waits(run_id))[0].state == "answered"
