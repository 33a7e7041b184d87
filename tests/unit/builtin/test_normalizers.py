"""The normalizer of standard exceptions, by a table of cases."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import http.client
import json
import socket
import sqlite3
import ssl
import subprocess
import urllib.error
from contextlib import closing
from email.message import Message

import anyio
import pytest

from stageflow.builtin.normalizers import StandardErrorNormalizer
from stageflow.contracts.storage import StorageBusyError, StorageError
from stageflow.errors import ConfigurationError, RunError

normalize = StandardErrorNormalizer().normalize


def http_error(status):
    return urllib.error.HTTPError("http://x", status, "no", Message(), None)


def locked():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (x)")
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return error


class TransientLibraryError(Exception):
    retryable = True


class PermanentTimeoutError(TimeoutError):
    retryable = False


class OddError(Exception):
    retryable = "perhaps"


class UnknownError(Exception):
    pass


CASES = [
    # worth another attempt
    (TimeoutError("late"), "timeout", True),
    (TimeoutError(), "timeout", True),
    (subprocess.TimeoutExpired("ls", 3), "timeout", True),
    (ConnectionRefusedError(errno.ECONNREFUSED, "no"), "connection_error", True),
    (ConnectionResetError(errno.ECONNRESET, "no"), "connection_error", True),
    (ConnectionAbortedError(), "connection_error", True),
    (BrokenPipeError(errno.EPIPE, "no"), "connection_error", True),
    (http.client.RemoteDisconnected("gone"), "connection_error", True),
    (http.client.IncompleteRead(b""), "connection_error", True),
    (asyncio.IncompleteReadError(b"", 3), "connection_error", True),
    (anyio.BrokenResourceError(), "connection_error", True),
    (anyio.EndOfStream(), "connection_error", True),
    (InterruptedError(errno.EINTR, "no"), "interrupted", True),
    (BlockingIOError(errno.EAGAIN, "no"), "would_block", True),
    (OSError(errno.EHOSTUNREACH, "no route"), "os_error", True),
    (OSError(errno.ENETUNREACH, "no network"), "os_error", True),
    (OSError(errno.EMFILE, "too many files"), "os_error", True),
    (socket.gaierror(socket.EAI_AGAIN, "try again"), "name_lookup_error", True),
    (urllib.error.URLError(ConnectionRefusedError()), "connection_error", True),
    (http_error(408), "http_error", True),
    (http_error(429), "rate_limited", True),
    (http_error(500), "http_error", True),
    (http_error(502), "http_error", True),
    (http_error(503), "http_error", True),
    (http_error(504), "http_error", True),
    (locked(), "database_busy", True),
    (ssl.SSLEOFError(8, "gone"), "connection_error", True),
    (StorageBusyError("locked", storage="x"), "SF482", True),
    (TransientLibraryError(), "unknown_error", True),
    # not worth it
    (OSError(errno.ENOSPC, "disk full"), "os_error", False),
    (OSError(), "os_error", False),
    (FileNotFoundError(errno.ENOENT, "no"), "not_found", False),
    (FileExistsError(errno.EEXIST, "no"), "already_exists", False),
    (PermissionError(errno.EACCES, "no"), "permission_denied", False),
    (IsADirectoryError(errno.EISDIR, "no"), "invalid_value", False),
    (socket.gaierror(socket.EAI_NONAME, "no such name"), "name_lookup_error", False),
    (urllib.error.URLError("unknown url type"), "invalid_value", False),
    (http_error(400), "http_error", False),
    (http_error(401), "http_error", False),
    (http_error(403), "http_error", False),
    (http_error(404), "http_error", False),
    (http_error(409), "http_error", False),
    (http_error(422), "http_error", False),
    (http_error(501), "http_error", False),
    (ssl.SSLCertVerificationError(1, "expired"), "certificate_error", False),
    (ssl.SSLError(1, "wrong version"), "tls_error", False),
    (sqlite3.IntegrityError("unique"), "database_error", False),
    (sqlite3.OperationalError("no such table"), "database_error", False),
    (subprocess.CalledProcessError(2, "ls"), "process_error", False),
    (ValueError("no"), "invalid_value", False),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "invalid_value", False),
    (json.JSONDecodeError("no", "", 0), "invalid_value", False),
    (KeyError("k"), "not_found", False),
    (IndexError("i"), "not_found", False),
    (ZeroDivisionError(), "invalid_value", False),
    (OverflowError(), "invalid_value", False),
    (TypeError("no"), "programming_error", False),
    (AttributeError("no"), "programming_error", False),
    (NameError("no"), "programming_error", False),
    (AssertionError("no"), "programming_error", False),
    (ModuleNotFoundError("no"), "programming_error", False),
    (NotImplementedError(), "programming_error", False),
    (RecursionError(), "programming_error", False),
    (SyntaxError("no"), "programming_error", False),
    (MemoryError(), "out_of_memory", False),
    (EOFError(), "unexpected_end", False),
    (RuntimeError("no"), "unknown_error", False),
    (Exception("no"), "unknown_error", False),
    (UnknownError("timeout, try again"), "unknown_error", False),
    (OddError(), "unknown_error", False),
    (PermanentTimeoutError("late"), "timeout", False),
    (asyncio.CancelledError(), "cancelled", False),
    (concurrent.futures.CancelledError(), "cancelled", False),
    (KeyboardInterrupt(), "stopped", False),
    (SystemExit(1), "stopped", False),
    (GeneratorExit(), "stopped", False),
    (RunError("no", hint="look"), "SF300", False),
    (ConfigurationError("no"), "SF200", False),
    (StorageError("no", storage="x"), "SF480", False),
]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    CASES,
    ids=[f"{number}-{type(error).__name__}" for number, (error, _, _) in enumerate(CASES)],
)
def test_bug077_errors_are_told_apart(error, code, retryable):
    told = normalize(error)
    assert (told.code, told.retryable) == (code, retryable)
    assert told.message
    assert json.dumps(dict(told.details))


def test_the_facts_of_an_error_are_details():
    assert normalize(FileNotFoundError(errno.ENOENT, "no", "a.txt")).details == {
        "type": "builtins.FileNotFoundError",
        "errno": "ENOENT",
    }
    assert normalize(http_error(503)).details["code"] == 503
    assert normalize(subprocess.CalledProcessError(2, "ls")).details["returncode"] == 2


def test_the_time_to_wait_is_told():
    class RateLimitError(Exception):
        retryable = True
        retry_after = 1.5

    assert normalize(RateLimitError()).details["retry_after"] == 1.5


def test_a_group_is_retryable_if_all_in_it_are():
    late, wrong = TimeoutError("late"), ValueError("wrong")
    assert normalize(ExceptionGroup("x", [late, TimeoutError("too")])).retryable
    mixed = normalize(ExceptionGroup("x", [late, ExceptionGroup("y", [wrong])]))
    assert (mixed.retryable, mixed.code) == (False, "several_errors")
    assert mixed.message == "late; wrong"
    assert mixed.details["errors"] == ["timeout", "invalid_value"]


def test_one_may_teach_it_further_classes():
    class DriverError(Exception):
        pass

    class DeadlockError(DriverError):
        pass

    taught = StandardErrorNormalizer(
        {
            DriverError: ("driver_error", False),
            DeadlockError: ("deadlock", True),
            ValueError: ("v", True),
        }
    )
    assert taught.normalize(DeadlockError()).retryable
    assert taught.normalize(DriverError()).code == "driver_error"
    assert taught.normalize(ValueError()).retryable
    assert normalize(ValueError()).retryable is False


def test_a_long_message_is_cut():
    assert len(normalize(ValueError("x" * 10**6)).message) == 2_000


def test_an_error_without_words_is_told_by_its_class():
    assert normalize(ValueError()).message == "ValueError"


def test_our_own_errors_are_told_without_code_and_hint():
    assert normalize(RunError("it went wrong", hint="look")).message == "it went wrong"
