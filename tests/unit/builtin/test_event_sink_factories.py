"""Core's sinks and emitters as settings make them."""

from __future__ import annotations

import logging

import attrs
import pytest

from stageflow.builtin import event_sinks, telemetry
from stageflow.builtin.event_sinks import (
    JsonlSettings,
    LoggingSettings,
    SqliteSettings,
    make_jsonl_sink,
    make_logging_sink,
    make_sqlite_sink,
)
from stageflow.builtin.jsonl_event_sink import JsonlEventSink
from stageflow.builtin.sqlite_event_sink import SqliteEventSink
from stageflow.builtin.telemetry import LoggingTelemetrySettings, make_logging_emitter


@pytest.mark.parametrize(
    "factory",
    [make_logging_sink, make_jsonl_sink, make_sqlite_sink, make_logging_emitter],
    ids=lambda factory: factory.__name__,
)
def test_a_factory_names_its_settings(factory):
    assert attrs.has(factory.Settings)
    assert attrs.fields(factory.Settings)


def test_levels_are_those_of_logging(caplog):
    caplog.set_level(logging.DEBUG)
    make_logging_sink(LoggingSettings(level="debug")).try_emit(type="a", data=None)
    make_logging_emitter(LoggingTelemetrySettings(level="error")).execute(("a",), {}, {})
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.ERROR]


@pytest.mark.parametrize(
    ("settings", "make", "cls"),
    [
        (JsonlSettings, make_jsonl_sink, JsonlEventSink),
        (SqliteSettings, make_sqlite_sink, SqliteEventSink),
    ],
)
def test_files_are_as_configured(tmp_path, settings, make, cls):
    made = make(settings(path=tmp_path / "f", max_buffer=1, flush_interval=600, strict=True))
    assert isinstance(made, cls)
    assert made.path == tmp_path / "f"
    assert made._strict
    assert [made.try_emit(type=name, data=None) for name in "ab"] == [True, False]


@pytest.mark.parametrize("settings", [JsonlSettings, SqliteSettings])
@pytest.mark.parametrize("wrong", [{"max_buffer": 0}, {"flush_interval": -1}], ids=str)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(path=tmp_path, **wrong)


def test_a_place_must_be_named():
    with pytest.raises(TypeError, match="path"):
        JsonlSettings()


def test_importing_the_factories_imports_no_database():
    assert not hasattr(event_sinks, "sqlite3")
    assert not hasattr(telemetry, "sqlite3")
