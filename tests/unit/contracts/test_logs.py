"""Stageflow's own log lines go to standard logging, whatever structlog is set to."""

from __future__ import annotations

import logging

import pytest
import structlog

from stageflow.contracts.logs import get_logger


def test_a_line_goes_to_the_standard_logger_of_that_name(caplog, capsys):
    caplog.set_level(logging.INFO, logger="stageflow.test")
    get_logger("stageflow.test").info("queue.full", size=3, name="q")
    [record] = caplog.records
    assert record.name == "stageflow.test"
    assert record.getMessage() == "queue.full size=3 name='q'"
    assert record.size == 3
    assert capsys.readouterr() == ("", "")


def test_debug_lines_are_silent_by_default(caplog, capsys):
    get_logger("stageflow.test").debug("queue.full")
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_a_percent_sign_is_no_format(caplog):
    get_logger("stageflow.test").warning("disk.full", used="100%s")
    assert caplog.records[0].getMessage() == "disk.full used='100%s'"


def test_exceptions_are_passed_on(caplog):
    try:
        int("no")
    except ValueError:
        get_logger("stageflow.test").exception("task.failed")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ValueError


@pytest.mark.parametrize("key", ["message", "asctime", "args", "levelname", "module"])
def test_keys_that_log_records_have_for_themselves_stay_theirs(caplog, key):
    get_logger("stageflow.test").warning("task.failed", **{key: "mine"})
    assert caplog.records[0].getMessage() == f"task.failed {key}='mine'"


def test_bound_facts_are_in_the_line(caplog):
    with structlog.contextvars.bound_contextvars(run_id="r1"):
        get_logger("stageflow.test").bind(step="a").warning("task.failed")
    [record] = caplog.records
    assert (record.run_id, record.step) == ("r1", "a")


def test_configuring_structlog_changes_nothing(caplog, capsys):
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        get_logger("stageflow.test").warning("queue.full")
    finally:
        structlog.reset_defaults()
    assert caplog.records[0].getMessage() == "queue.full"
    assert capsys.readouterr() == ("", "")
