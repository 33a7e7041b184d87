"""What the server refuses for good is told from what may succeed in a moment."""

from __future__ import annotations

from types import MappingProxyType

import asyncpg
import pytest
from asyncpg.exceptions import ClientConfigurationError, InternalClientError, PostgresError

from stageflow.testing import ErrorNormalizerConformance
from stageflow_io_postgres.error_normalizer import PostgresErrorNormalizer

pytestmark = pytest.mark.anyio


def said(code):
    return PostgresError.new({"C": code, "M": f"said {code}"})


RETRYABLE = {
    "08006", "08001", "40001", "40P01", "53300", "53200", "55P03", "57014", "57P01", "57P03",
    "25P03", "58030",
}  # fmt: skip
PERMANENT = {
    "23505", "23503", "22012", "22P02", "42601", "42501", "42P01", "28P01", "3D000", "25006",
    "53100", "54000", "XX000", "XX001", "40002", "0A000", "P0001",
}  # fmt: skip

EXAMPLES = {
    **{code: (said(code), True) for code in RETRYABLE},
    **{code: (said(code), False) for code in PERMANENT},
    "lost": (asyncpg.InterfaceError("connection is closed"), True),
    "misused": (asyncpg.InterfaceError("another operation is in progress"), False),
    "configured": (ClientConfigurationError("no host"), False),
    "ended": (InternalClientError("cannot switch to state 12"), True),
}


class TestPostgresErrorNormalizer(ErrorNormalizerConformance):
    examples = MappingProxyType(EXAMPLES)

    @pytest.fixture
    def normalizer(self):
        return PostgresErrorNormalizer()


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("select 1 / 0", "invalid_value"),
        ("select from nowhere", "not_found"),
        ("selekt", "programming_error"),
        ("set statement_timeout = 1; select pg_sleep(5)", "timeout"),
        ("do $$ begin raise exception sqlstate '40001'; end $$", "transaction_collision"),
    ],
)
async def test_what_the_server_says_is_known(database, statement, code):
    async with database.connection() as connection:
        with pytest.raises(PostgresError) as raised:
            await connection.execute(statement)
    answer = PostgresErrorNormalizer().normalize(raised.value)
    assert answer.code == code
    assert answer.retryable is (code in {"timeout", "transaction_collision"})
    assert answer.details["sqlstate"] == raised.value.sqlstate


async def test_a_broken_constraint_is_named_and_permanent(database):
    insert = "insert into stageflow.routing_decisions select '', '', '', '', '', '', ''"
    async with database.connection() as connection:
        await connection.execute(insert)
        with pytest.raises(PostgresError) as raised:
            await connection.execute(insert)
    answer = PostgresErrorNormalizer().normalize(raised.value)
    assert (answer.code, answer.retryable) == ("constraint_violation", False)
    assert answer.details["table_name"] == "routing_decisions"
    assert "Key" not in answer.message
