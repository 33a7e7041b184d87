"""Settings make each backend as they say, on the database that they name; no server is needed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stageflow.plugins import Plugins, SettingsError
from stageflow_io_postgres import Database, PostgresSettings

CONTRACTS = (
    *("event_sink", "io_manager", "item_reader"),
    *("scatter_coordinator", "parallel_coordinator", "routing_coordinator"),
)


@pytest.fixture(scope="module")
def plugins():
    return Plugins.load()


@pytest.fixture
def there():
    """A database that was never opened."""
    return Database(PostgresSettings(host="there.example"))


def made(plugins, contract, database, **settings):
    implementation = plugins.registry(contract).resolve("postgres")
    name = settings.get("resource", "postgres")
    assert implementation.requires(implementation.settings(settings)) == (name,)
    return implementation.build(settings, resources={name: database})


@pytest.mark.parametrize("contract", CONTRACTS)
def test_each_is_made_on_the_database_that_it_names(plugins, there, contract):
    assert there.label in repr(made(plugins, contract, there, resource="other"))


def test_options_arrive(plugins, there):
    sink = made(plugins, "event_sink", there, max_buffer=7, batch_size=9, strict=True)
    assert (sink._max_buffer, sink._batch_size, sink._strict) == (7, 7, True)
    manager = made(plugins, "io_manager", there, max_bytes=9, chunk_bytes=5, jsonb=False)
    assert (manager._max_bytes, manager._chunk_bytes, manager._jsonb) == (9, 5, False)
    coordinator = made(plugins, "routing_coordinator", there, keep_days=1.5)
    assert coordinator._keep_for == timedelta(days=1.5)
    assert made(plugins, "routing_coordinator", there)._keep_for is None
    reader = made(plugins, "item_reader", there, query="select 1 as n", key=["n"])
    assert reader._settings.key == ("n",)


@pytest.mark.parametrize(
    ("contract", "settings"),
    [
        ("event_sink", {"max_buffer": 0}),
        ("event_sink", {"flush_intervall": 1}),
        ("io_manager", {"chunk_bytes": 2**30}),
        ("io_manager", {"max_bytes": 0}),
        ("routing_coordinator", {"keep_days": 0}),
        ("item_reader", {"parameters": 1}),
    ],
)
def test_settings_that_mean_nothing_are_refused(plugins, there, contract, settings):
    with pytest.raises(SettingsError):
        made(plugins, contract, there, **settings)


def test_the_normalizer_takes_no_settings(plugins):
    assert plugins.registry("error_normalizer").resolve("postgres").build() is not None
