"""How a database is reached: by an address or by parts, safely, with nothing secret shown."""

from __future__ import annotations

import ssl
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.plugins import Secret
from stageflow_io_postgres.errors import CertificateFileError
from stageflow_io_postgres.migrations import pending_steps
from stageflow_io_postgres.queries import load_queries, quoted
from stageflow_io_postgres.settings import PostgresSettings


def dsn(text):
    return PostgresSettings(dsn=Secret(text))


@given(st.text(min_size=3))
def test_no_text_of_a_password_is_ever_shown(password):
    settings = PostgresSettings(host="h", password=Secret(f"<{password}>"))
    assert f"<{password}>" not in f"{settings!r} {settings.label}"
    assert settings.connect_arguments()["password"] == f"<{password}>"


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_whatever_is_in_an_address_its_label_shows_no_password(password):
    try:
        written = quote(password, safe="")
    except UnicodeEncodeError:  # half a surrogate pair cannot be written in an address
        return
    settings = dsn(f"postgresql://me:{written}@db.example:5433/runs")
    assert settings.label == "PostgreSQL db.example:5433/runs, schema 'stageflow'"
    assert password in settings.secrets()


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({}, "default host:5432/default database"),
        ({"host": "h", "database": "d"}, "h:5432/d"),
        ({"dsn": Secret("postgres://a,b:1/x")}, "a,b:1/x"),
        ({"dsn": Secret("postgresql://u@h:1/x"), "port": 2}, "h:2/x"),
        ({"dsn": Secret("postgresql://u@[::1]:1/x"), "port": 2}, "[::1]:2/x"),
        ({"dsn": Secret("postgresql://u@h:1/x"), "host": "g", "database": "y"}, "g:5432/y"),
        ({"host": "/run/postgresql"}, "/run/postgresql:5432/default database"),
    ],
)
def test_messages_call_a_database_by_its_place(given, label):
    assert PostgresSettings(**given).label == f"PostgreSQL {label}, schema 'stageflow'"


@pytest.mark.parametrize(
    "text",
    [
        *("", "mysql://h/d", "h:5432", "postgresql://h:notaport/secret", "postgresql://h:70000/d"),
        *("postgresql://a:1,b:secret/d", "postgresql://u:p[secret,@h/d"),
        # As they stand, the address ends in the middle of the password.
        *("postgresql://u:12/secret@h/d", "postgresql://u:12?secret@h/d"),
        *("postgresql://u:12#secret@h/d", "postgresql://u:,12/secret@h/d"),
        *("postgresql://u:1@secret@h/d", "postgresql://u:1@secret/2@h/d"),
    ],
)
def test_what_is_no_address_is_refused_and_not_quoted(text):
    with pytest.raises(ValueError, match="postgresql://") as caught:
        dsn(text)
    assert "secret" not in str(caught.value)


@given(st.text("ab1@:/?#[],%&=", min_size=1))
def test_a_password_that_is_not_written_as_it_should_be_is_refused_or_kept_secret(password):
    try:
        told = dsn(f"postgresql://me:<{password}>@db.example:5433/runs").label
    except ValueError as error:
        told = str(error)
    assert not {"<", ">"} & {*told}


@pytest.mark.parametrize(
    "text",
    [
        *("postgresql://u@[::1]:5432,[::2]:5432/d", "postgresql://u:p@h1:1,h2/d"),
        *("postgres://", "postgresql:///d?host=/run/postgresql&user=me@example"),
        "postgresql://u@%2Frun%2Fpostgresql/d",
    ],
)
def test_an_address_may_name_several_hosts_a_socket_or_nothing(text):
    assert dsn(text).connect_arguments()["dsn"] == text


def test_a_password_among_the_parameters_of_an_address_is_a_secret_too():
    settings = dsn("postgresql://h/d?user=u&password=a%2Fword&sslpassword=other")
    assert {"a/word", "other"} <= settings.secrets()


@pytest.mark.parametrize("field", ["tls_ca", "tls_certificate"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path, field):
    for content in (None, "no certificate"):
        path = tmp_path / "there.pem"
        if content is not None:
            path.write_text(content)
        settings = PostgresSettings(**{field: path})
        with pytest.raises(CertificateFileError, match="SF387") as caught:
            settings.connect_arguments()
        assert (caught.value.field, caught.value.path) == (field, path)
        assert str(path) in caught.value.message


@pytest.mark.parametrize(
    "given",
    [
        {"schema": ""},
        {"schema": "x" * 64},
        {"schema": "pg_mine"},
        {"port": 0},
        {"min_connections": 5, "max_connections": 4},
        {"max_connections": 0},
        {"statement_timeout": 0},
        {"tls_key": "key.pem"},
    ],
)
def test_what_cannot_be_is_refused(given):
    with pytest.raises(ValueError, match=r"\w"):
        PostgresSettings(**given)


@pytest.mark.parametrize(
    ("mode", "checked", "named"),
    [
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_tls_is_as_safe_as_it_says(mode, checked, named):
    context = PostgresSettings(tls=mode).connect_arguments()["ssl"]
    assert (context.verify_mode, context.check_hostname) == (checked, named)


def test_without_tls_settings_the_address_decides():
    assert "ssl" not in PostgresSettings().connect_arguments()
    assert PostgresSettings(tls="disable").connect_arguments()["ssl"] is False
    assert PostgresSettings(tls="prefer").connect_arguments()["ssl"] == "prefer"


def test_the_server_is_told_every_limit():
    told = PostgresSettings(statement_timeout=1.5, lock_timeout=0.5).connect_arguments()
    assert told["server_settings"]["statement_timeout"] == "1500"
    assert told["server_settings"]["lock_timeout"] == "500"
    assert told["command_timeout"] > 1.5


def test_a_pooler_is_spared_what_it_cannot_pass_on():
    told = PostgresSettings(pooler="transaction").connect_arguments()
    assert told["server_settings"] == {"application_name": "stageflow"}
    assert told["statement_cache_size"] == 0


def test_queries_name_their_schema_whatever_it_is_called():
    for area in ("runs",):
        for name, query in load_queries(area, 'a"b').items():
            assert "{schema}" not in query, name
            assert "--" not in query, name
    assert quoted('a"b') == '"a""b"'
    assert '"a""b".runs' in load_queries("runs", 'a"b')["create_run"]


def test_after_all_steps_nothing_is_left_to_do():
    steps = pending_steps(())
    assert pending_steps((step.version, step.phase) for step in steps) == ()
    assert [step.phase for step in pending_steps((), until="pre")].count("post") == (
        [step.phase for step in steps].count("post") - 1
    )
