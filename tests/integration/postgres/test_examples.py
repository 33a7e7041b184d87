"""The examples keep everything in PostgreSQL when a line of their settings says so."""

from __future__ import annotations

import shutil

import pytest

from document_audit.audit import pipeline
from places.places import places
from stageflow import Runtime
from stageflow.assets import AssetStore
from support.labelled_folder import make_folder
from support.workspace import ROOT

pytestmark = pytest.mark.anyio

SETTINGS = ROOT / "examples" / "places" / "stageflow.toml"
COORDINATORS = ("scatter_coordinator", "parallel_coordinator", "routing_coordinator")


DATABASE = """
[resources.postgres]
dsn = "env:STAGEFLOW_TEST_DATABASE"
"""


@pytest.fixture
def project(server, name, tmp_path, monkeypatch):
    """A folder of a project that has a database."""
    monkeypatch.setenv("STAGEFLOW_TEST_DATABASE", server.address(name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_with(project, **chosen):
    """Change one line of the settings of the places for each contract."""
    text = SETTINGS.read_text(encoding="utf-8")
    for contract, backend in chosen.items():
        lines = [line for line in text.splitlines() if line.startswith(f"{contract} = ")]
        if lines:
            text = text.replace(lines[0], f'{contract} = "{backend}"')
        else:
            text = f'{contract} = "{backend}"\n{text}'
    (project / "stageflow.toml").write_text(text + DATABASE, encoding="utf-8")


async def count(database, table):
    return await database.fetchval(f"select count(*) from stageflow.{table}")  # noqa: S608


async def make_a_page(project):
    async with (
        Runtime.from_settings(directory=project) as runtime,
        AssetStore(places, runtime) as store,
    ):
        made = await store.materialize("page", "Indian")
        return made.state, await store.get("page", "Indian")


@pytest.mark.parametrize(
    ("contract", "table"),
    [
        ("run_store", "runs"),
        ("io_manager", "asset_values"),
        ("event_sink", "events"),
        ("routing_coordinator", "routing_decisions"),
    ],
)
async def test_one_line_moves_what_it_chooses(project, database, contract, table):
    settings_with(project, **{contract: "postgres"})
    _, page = await make_a_page(project)
    assert page[0]["line"].startswith("north: Indian/")
    assert await count(database, table) > 0


@pytest.mark.parametrize(
    ("contract", "table"),
    [
        ("scatter_coordinator", "scatter_barriers"),
        ("parallel_coordinator", "parallel_executions"),
    ],
)
async def test_one_line_moves_what_is_tidied_up_at_the_end(project, database, contract, table):
    drawn = f"select coalesce(pg_sequence_last_value('stageflow.{table}_seq_seq'), 0)"
    before = await database.fetchval(drawn)
    settings_with(project, **{contract: "postgres"})
    await make_a_page(project)
    assert await database.fetchval(drawn) > before


async def test_the_places_are_kept_in_postgres_alone_and_are_fresh_there(project, database):
    chosen = ("run_store", "io_manager", "event_sink", *COORDINATORS)
    settings_with(project, **dict.fromkeys(chosen, "postgres"))
    first = await make_a_page(project)
    assert await make_a_page(project) == ("fresh", first[1])
    assert not (project / ".stageflow").exists()
    shutil.rmtree(project)  # nothing of it is needed


async def test_the_document_audit_is_recorded_in_postgres(project, database):
    settings = f'run_store = "postgres"\n{DATABASE}'
    (project / "stageflow.toml").write_text(settings, encoding="utf-8")
    folder = make_folder(project / "audited").root
    async with Runtime.from_settings(directory=project) as runtime:
        outcome = await runtime.run(
            pipeline(str(folder), str(project / "audit"), batch_files=10), durability="step"
        )
        assert outcome.status == "completed"
        record = await runtime.run_store.get_run(outcome.run_id)
    assert record.status == "completed"
    assert await count(database, "run_entries") >= 3
    assert (project / "audit" / "report.json").exists()
    if (locked := folder / "locked.txt").exists():
        locked.chmod(0o600)
