"""How a store is reached: one class of settings for everything that talks to one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from stageflow.plugins import Secret
from stageflow_io_s3.errors import ConnectionSettingsError

if TYPE_CHECKING:
    from botocore.credentials import Credentials

__all__ = ("AwsSettings", "S3LinesSettings", "S3ReaderSettings", "S3Settings")

_MIB: Final = 2**20
_MOST_LISTED: Final = 1_000
_AT_LEAST_ONE: Final = attrs.validators.ge(1)
_ABOVE_ZERO: Final = attrs.validators.gt(0.0)


@attrs.frozen(kw_only=True)
class AwsSettings:
    """Who asks, where, and how patiently.

    Credentials are those given here, else those of the profile, else what the environment has:
    variables, `~/.aws`, the container or the machine.

    Attributes:
        endpoint: Address of a service that is not Amazon's, such as `http://127.0.0.1:9000`.
        region: The region; that of the profile or the environment unless given.
        access_key_id: The name of a key; given together with `secret_access_key`.
        secret_access_key: The key.
        session_token: Goes with temporary keys.
        profile: A profile of `~/.aws`.
        timeout: Seconds that one request may take.
        connect_timeout: Seconds that a connection may take.
        retries: How often a request is made again after throttling, 5xx and lost connections, with
            growing pauses of random length.
        retry_timeout: Seconds after which a request is not made again.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    profile: str | None = None
    timeout: float = attrs.field(default=30.0, validator=_ABOVE_ZERO)
    connect_timeout: float = attrs.field(default=5.0, validator=_ABOVE_ZERO)
    retries: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    retry_timeout: float = attrs.field(default=60.0, validator=_ABOVE_ZERO)

    def check(self) -> None:
        """Return if the settings go together.

        Raises:
            ConnectionSettingsError: They do not.
        """
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConnectionSettingsError(
                "Of access_key_id and secret_access_key only one is set.",
                hint="Set both, or neither to use a profile or the environment.",
            )
        if self.access_key_id is not None and self.profile is not None:
            raise ConnectionSettingsError(
                "Both a key and a profile are set.", hint="Set access_key_id or profile, not both."
            )
        if self.endpoint is not None and urlsplit(self.endpoint).scheme not in {"http", "https"}:
            raise ConnectionSettingsError(
                f"The endpoint {self.endpoint!r} is no address.",
                hint='Write it with its scheme: "https://host:port".',
            )

    def address(self, service: str) -> str | None:
        """Return the endpoint that is set here or in the environment; None for Amazon's own."""
        if self.endpoint is not None:
            return self.endpoint.rstrip("/")
        variables = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
        found = next((os.environ[name] for name in variables if os.environ.get(name)), None)
        return found and found.rstrip("/")

    def identity(self) -> tuple[str, Callable[[], Credentials]]:
        """Return the region, and what gives valid credentials whenever it is called.

        Raises:
            ConnectionSettingsError: There are no credentials, or no such profile.
        """
        from botocore.credentials import Credentials
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        if self.access_key_id is not None and self.secret_access_key is not None:
            token = self.session_token and self.session_token.reveal()
            given = Credentials(self.access_key_id.reveal(), self.secret_access_key.reveal(), token)
            region = self.region or os.environ.get("AWS_REGION")
            return region or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1", lambda: given
        try:
            session = Session(profile=self.profile)
            region = self.region or os.environ.get("AWS_REGION")
            region = region or session.get_config_variable("region") or "us-east-1"
            found = session.get_credentials()
        except BotoCoreError as error:
            raise ConnectionSettingsError(
                f"No credentials can be had: {error}.", hint="Look at the profile and ~/.aws."
            ) from error
        if found is None:
            raise ConnectionSettingsError(
                "There are no credentials, neither in the settings nor in the environment.",
                hint="Set access_key_id and secret_access_key, or profile; or anonymous = true.",
            )
        return region, lambda: found


@attrs.frozen(kw_only=True)
class S3Settings(AwsSettings):
    """A place in a store, and how it is reached.

    Attributes:
        url: The bucket and the prefix below which everything lies: `s3://bucket/prefix`. Also what
            obstore knows besides: `gs://`, `az://`, `file:///`, `memory:///`.
        path_style: Whether the bucket stands in the path of an address and not in its host; so it
            is with an endpoint, unless said otherwise.
        anonymous: Whether to ask without credentials.
        encryption: How the server encrypts: with its own keys, or with those of the key service.
        kms_key_id: The key in the key service.
        checksum: A checksum that the server verifies and keeps, besides the one of its signature.
        part_size: From this many bytes on a value is sent in parts of that size.
        part_concurrency: How many parts are sent at the same time.
        concurrency: How many requests are made at the same time.
        options: Further options of obstore, for stores that are not S3.
    """

    url: str
    path_style: bool | None = None
    anonymous: bool = False
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: str | None = None
    checksum: Literal["SHA256"] | None = None
    part_size: int = attrs.field(default=8 * _MIB, validator=attrs.validators.ge(5 * _MIB))
    part_concurrency: int = attrs.field(default=12, validator=_AT_LEAST_ONE)
    concurrency: int = attrs.field(default=32, validator=_AT_LEAST_ONE)
    options: dict[str, Any] = attrs.Factory(dict)

    @property
    def is_s3(self) -> bool:
        """Whether the store is S3, or speaks like it."""
        return urlsplit(self.url).scheme in {"s3", "s3a"}

    @property
    def bucket(self) -> str:
        """The bucket."""
        return urlsplit(self.url).netloc

    @property
    def base(self) -> str:
        """What every key begins with: empty, or ending with a slash."""
        path = urlsplit(self.url).path.strip("/") if self.is_s3 else ""
        return f"{path}/" if path else ""

    def check(self) -> None:
        """See `AwsSettings.check`."""
        super().check()
        parts = urlsplit(self.url)
        if not parts.scheme or (self.is_s3 and not parts.netloc):
            raise ConnectionSettingsError(
                f"{self.url!r} names no bucket.", hint='Write it so: "s3://bucket/prefix".'
            )
        if parts.scheme == "file":
            raise ConnectionSettingsError(
                f"{self.url!r} is a folder, and files hold no names of serialisers.",
                hint="Use the IO manager `files`, which has the same layout.",
            )
        if any(part in {"", ".", ".."} for part in self.base.split("/")[:-1]):
            raise ConnectionSettingsError(
                f"{self.url!r} has a prefix that is no path.",
                hint="Leave out empty segments, `.` and `..`.",
            )
        if parts.query or parts.fragment or parts.username:
            raise ConnectionSettingsError(
                f"The url of the bucket {parts.hostname!r} has more than a bucket and a prefix.",
                hint="Keep keys and options in settings of their own.",
            )
        if self.anonymous and (self.access_key_id or self.profile):
            raise ConnectionSettingsError(
                "Credentials are set, and anonymous = true.", hint="Choose one of them."
            )
        if self.kms_key_id is not None and (self.encryption or "AES256") == "AES256":
            raise ConnectionSettingsError(
                "kms_key_id is set, and encryption does not use the key service.",
                hint='Set encryption = "aws:kms".',
            )


@attrs.frozen(kw_only=True)
class S3ReaderSettings(S3Settings):
    """Which objects are items.

    Attributes:
        prefix: What the keys begin with, after that of the url.
        suffix: What the keys end with.
        start_after: The key after which to begin.
        manifest: The key of the `manifest.json` of an inventory in CSV; its rows are read
            instead of a listing.
        page_size: How many keys are listed with one request.
        max_items: How many items are read; all unless given.
    """

    prefix: str = ""
    suffix: str = ""
    start_after: str = ""
    manifest: str | None = None
    page_size: int = attrs.field(
        default=_MOST_LISTED, validator=[attrs.validators.ge(1), attrs.validators.le(_MOST_LISTED)]
    )
    max_items: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )

    def matches(self, key: str) -> bool:
        """Return whether the object of that key is an item; marks of folders are none."""
        return (
            key.startswith(f"{self.base}{self.prefix}")
            and key.endswith(self.suffix)
            and key > self.start_after
            and not key.endswith("/")
        )


@attrs.frozen(kw_only=True)
class S3LinesSettings(S3Settings):
    """Which objects are read, and how their rows are written.

    Attributes:
        keys: The objects, in this order; those that `prefix` and `suffix` find unless given.
        prefix: What the keys begin with, after that of the url.
        suffix: What the keys end with.
        format: How rows are written; the key tells unless given, as in `.jsonl.gz` and `.csv`.
        columns: The names of the columns of CSV; those in the first row unless given.
        delimiter: What stands between two values of CSV.
        encoding: How the text of CSV is encoded.
        on_error: Whether a bad row ends the reading, or is passed over and counted.
        max_row_bytes: The longest row that is read.
        max_items: How many items are read; all unless given.
    """

    keys: tuple[str, ...] | None = None
    prefix: str = ""
    suffix: str = ""
    format: Literal["jsonl", "csv"] | None = None
    columns: tuple[str, ...] | None = None
    delimiter: str = attrs.field(
        default=",", validator=[attrs.validators.min_len(1), attrs.validators.max_len(1)]
    )
    encoding: str = attrs.field(default="utf-8")
    on_error: Literal["raise", "skip"] = "raise"
    max_row_bytes: int = attrs.field(default=16 * 2**20, validator=attrs.validators.ge(1))
    max_items: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )

    @encoding.validator
    def _check_encoding(self, _: object, name: str) -> None:
        try:
            is_fit = "\n".encode(name) == b"\n"
        except LookupError:
            is_fit = False
        if not is_fit:
            raise ValueError("use utf-8, latin-1 or another one that ASCII is a part of")
