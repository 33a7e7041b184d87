"""What the driver raises becomes an error of the storage contract, by the server's code."""

from __future__ import annotations

import ssl

import asyncpg
import pytest

from stageflow.contracts.storage import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from stageflow_io_postgres.errors import (
    DatabaseAccessError,
    DatabaseRefusedError,
    OutcomeUnknownError,
    SchemaMissingError,
    translated,
    translation,
)

BY_CODE = {
    "08006": StorageUnavailableError,
    "57P01": StorageUnavailableError,
    "57P03": StorageUnavailableError,
    "25P03": StorageUnavailableError,
    "40001": StorageBusyError,
    "40P01": StorageBusyError,
    "53300": StorageBusyError,
    "55P03": StorageBusyError,
    "57014": StorageBusyError,
    "53100": StorageFullError,
    "25006": StorageReadOnlyError,
    "28P01": DatabaseAccessError,
    "28000": DatabaseAccessError,
    "3D000": DatabaseAccessError,
    "42501": DatabaseAccessError,
    "42P01": SchemaMissingError,
    "3F000": SchemaMissingError,
    "XX001": StorageCorruptError,
    "23505": DatabaseRefusedError,
    "42601": DatabaseRefusedError,
    "22021": DatabaseRefusedError,
}


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_the_servers_code_decides(code, kind):
    error = asyncpg.PostgresError.new({"C": code, "M": "what happened.\nand more", "S": "ERROR"})
    meant = translation(error, "PostgreSQL h/d")
    assert type(meant) is kind
    assert "PostgreSQL h/d" in meant.message
    assert "and more" not in meant.message
    assert ".." not in str(meant)
    assert meant.retryable is (kind in {StorageUnavailableError, StorageBusyError})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError("refused"), StorageUnavailableError),
        (ConnectionResetError(), StorageUnavailableError),
        (OSError("no route"), StorageUnavailableError),
        (asyncpg.InterfaceError("connection is closed"), StorageUnavailableError),
        (asyncpg.InterfaceError("the argument is wrong"), DatabaseRefusedError),
        (asyncpg.ConnectionDoesNotExistError("gone"), StorageUnavailableError),
        (TimeoutError(), StorageBusyError),
    ],
)
def test_what_the_driver_finds_itself_is_told_apart(error, kind):
    assert type(translation(error, "x")) is kind


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate"),
        ConnectionError('PostgreSQL server at "h:5432" rejected SSL upgrade'),
    ],
)
def test_what_fails_because_of_tls_says_what_sets_it(error):
    meant = translation(error, "x")
    assert type(meant) is StorageUnavailableError
    assert "`tls" in meant.hint


def test_what_is_none_of_the_drivers_stays_as_it_is():
    assert translation(KeyError("x"), "x") is None
    with pytest.raises(KeyError), translated("x"):
        raise KeyError


def test_the_cause_is_kept():
    with pytest.raises(StorageError) as caught, translated("x"):
        raise ConnectionRefusedError
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_what_may_have_happened_is_not_simply_made_again():
    assert not OutcomeUnknownError("x", storage="x").retryable
