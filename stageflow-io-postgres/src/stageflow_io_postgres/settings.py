"""How to reach a PostgreSQL database, and how long to wait for it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from stageflow.plugins import Secret
from stageflow_io_postgres.errors import CertificateFileError

__all__ = ("PostgresSettings", "TlsMode")

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_SCHEMES: Final = ("postgresql", "postgres")
_HOST: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_LAST_PORT: Final = 65535
_LONGEST_NAME: Final = 63
_positive: Final[Any] = attrs.validators.gt(0)


def _is_dsn(_: object, __: attrs.Attribute[Secret | None], dsn: Secret | None) -> None:
    # The message does not quote the DSN: a password may stand in it.
    if dsn is not None and not _is_address(dsn.reveal()):
        raise ValueError(
            "expected postgresql://user:password@host:port/database, with special characters"
            " in it written as %40 and the like; `password` takes them as they are"
        )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    user, _, hosts = parts.netloc.rpartition("@")
    # A password with one of @/?# as it is ends too early: the rest of it would be taken for the
    # place, which messages tell.
    behind = parts.path + parts.query if parts.netloc else ""
    if parts.scheme not in _SCHEMES or parts.fragment or "@" in user + behind:
        return False
    matches = [_HOST.fullmatch(host) for host in hosts.split(",")]
    return all(match and int(match["port"] or 0) <= _LAST_PORT for match in matches)


def _is_identifier(_: object, field: attrs.Attribute[str], name: str) -> None:
    if not name or len(name.encode()) > _LONGEST_NAME or "\0" in name:
        raise ValueError(f"expected a name of 1 to {_LONGEST_NAME} bytes for {field.name}")
    if name.startswith("pg_"):
        raise ValueError("names that start with pg_ belong to the server")


@attrs.frozen(kw_only=True)
class PostgresSettings:
    """What can be set for `resources.postgres`.

    What is not given is taken as `libpq` takes it: from the variables `PGHOST`, `PGUSER`,
    `PGPASSWORD` and so on, and from the password file.

    Attributes:
        dsn: Address with all in it, such as `postgresql://user@host:5432/database`.
        host: The server's name or address, or the folder of its socket.
        port: Its port.
        user: The role.
        password: Of the role, with whatever characters it has.
        database: The database.
        schema: The schema that all tables are in.
        application_name: How connections call themselves, in `pg_stat_activity`.
        tls: How safe the connection has to be, as `sslmode` of libpq.
        tls_ca: Certificates that the server's is checked with; those of the system unless given.
        tls_certificate: The client's certificate.
        tls_key: The key of it.
        min_connections: How many connections are kept open.
        max_connections: How many there are at most.
        connect_timeout: For how many seconds a new connection is waited for.
        acquire_timeout: For how many seconds a call waits for a free connection.
        statement_timeout: After how many seconds a statement is given up.
        lock_timeout: For how many seconds a statement waits for a lock that another one has.
        idle_transaction_timeout: After how many idle seconds the server ends a transaction, so
            that a process that stands still does not block the others.
        reconnect_timeout: For how many seconds calls that may be repeated try to reach the
            server again after it was lost.
        pooler: `transaction` if a pooler such as PgBouncer in its transaction mode is between.
        migrate_on_open: Whether tables that are missing or old are brought up to date when the
            database is opened.
    """

    dsn: Secret | None = attrs.field(default=None, validator=_is_dsn)
    host: str | None = None
    port: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.in_(range(1, _LAST_PORT + 1))),
    )
    user: str | None = None
    password: Secret | None = None
    database: str | None = None
    schema: str = attrs.field(default="stageflow", validator=_is_identifier)
    application_name: str = "stageflow"
    tls: TlsMode | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    min_connections: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    max_connections: int = attrs.field(default=10, validator=_positive)
    connect_timeout: float = attrs.field(default=10.0, validator=_positive)
    acquire_timeout: float = attrs.field(default=10.0, validator=_positive)
    statement_timeout: float = attrs.field(default=30.0, validator=_positive)
    lock_timeout: float = attrs.field(default=10.0, validator=_positive)
    idle_transaction_timeout: float = attrs.field(default=60.0, validator=_positive)
    reconnect_timeout: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    pooler: Literal["none", "transaction"] = "none"
    migrate_on_open: bool = False

    def __attrs_post_init__(self) -> None:
        """Check what no attribute shows alone."""
        if self.min_connections > self.max_connections:
            raise ValueError("min_connections is above max_connections")
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("tls_key needs tls_certificate beside it")

    @property
    def label(self) -> str:
        """What the database is called in messages; holds neither user nor password."""
        return f"PostgreSQL {self._place}, schema {self.schema!r}"

    @property
    def _place(self) -> str:
        parts = SplitResult("", "", "", "", "")
        if self.dsn is not None:
            parts = urlsplit(self.dsn.reveal())
        host = parts.netloc.rpartition("@")[2]
        if self.host is not None or self.port is not None or not host:
            named = self.host or re.sub(":[0-9]*$", "", host) or "default host"
            host = f"{named}:{self.port or 5432}"
        return f"{host}/{self.database or unquote(parts.path.lstrip('/')) or 'default database'}"

    def secrets(self) -> frozenset[str]:
        """Return the texts that no message may show."""
        texts = {each.reveal() for each in (self.dsn, self.password) if each is not None}
        if self.dsn is not None:
            parts = urlsplit(self.dsn.reveal())
            written = parts.netloc.rpartition("@")[0].partition(":")[2]
            texts |= {written, unquote(written)}
            texts |= {value for name, value in parse_qsl(parts.query) if "password" in name}
        return frozenset(texts - {""})

    def connect_arguments(self) -> dict[str, Any]:
        """Return what `asyncpg.connect` takes; do not show it, since the password is in it."""
        through_pooler = self.pooler == "transaction"
        given: dict[str, Any] = {
            "dsn": self.dsn and self.dsn.reveal(),
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password and self.password.reveal(),
            "database": self.database,
            "ssl": self._tls(),
            "timeout": self.connect_timeout,
            # The server gives up first and says why; this is for a server that says nothing.
            "command_timeout": self.statement_timeout + 5.0,
            "statement_cache_size": 0 if through_pooler else 256,
            "server_settings": self._server_settings(),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _server_settings(self) -> dict[str, str]:
        named = {"application_name": self.application_name}
        if self.pooler == "transaction":
            return named  # a pooler refuses settings that it does not know
        limits = {
            "statement_timeout": self.statement_timeout,
            "lock_timeout": self.lock_timeout,
            "idle_in_transaction_session_timeout": self.idle_transaction_timeout,
        }
        in_ms = {name: str(max(1, round(seconds * 1000))) for name, seconds in limits.items()}
        # Compiling a plan takes longer than any statement of ours runs.
        fixed = {"jit": "off", "TimeZone": "UTC", "tcp_keepalives_idle": "60"}
        return {**named, **in_ms, **fixed}

    def _tls(self) -> ssl.SSLContext | str | bool | None:
        if self.tls is None and self.tls_ca is None and self.tls_certificate is None:
            return None
        mode = self.tls or ("verify-full" if self.tls_ca else "require")
        if mode == "disable":
            return False
        if mode == "prefer":
            return "prefer"
        with _names_file("tls_ca", self.tls_ca):
            context = ssl.create_default_context(cafile=self.tls_ca and str(self.tls_ca))
        context.check_hostname = mode == "verify-full"
        context.verify_mode = ssl.CERT_NONE if mode == "require" else ssl.CERT_REQUIRED
        if self.tls_certificate is not None:
            with _names_file("tls_certificate", self.tls_certificate):
                context.load_cert_chain(self.tls_certificate, self.tls_key)
        return context


@contextmanager
def _names_file(field: str, path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # which errors of TLS are, too; none of them names the file
        if path is None:
            raise
        raise CertificateFileError(field, path, error.strerror or str(error)) from error
