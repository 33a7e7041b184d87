"""What object storage may answer, in words that say what to do."""

from __future__ import annotations

from typing import ClassVar

from stageflow.contracts.io_manager import IOManagerError
from stageflow.contracts.storage import StorageError, StorageUnavailableError
from stageflow.errors import ConfigurationError

__all__ = (
    "AccessDeniedError",
    "BucketNotFoundError",
    "ClockSkewError",
    "ConditionFailedError",
    "ConditionalWritesError",
    "ConnectionSettingsError",
    "EventLoopError",
    "ObjectChangedError",
    "ObjectKeyError",
    "TableNotFoundError",
    "ThrottledError",
    "WrongRegionError",
)


class AccessDeniedError(StorageError):
    """The credentials are wrong, have expired, or do not allow it.

    Attributes:
        reason: The service's word for it, such as `SignatureDoesNotMatch`.
    """

    code = "SF560"

    def __init__(self, storage: str, reason: str) -> None:
        super().__init__(
            f"{storage} refuses access: {reason}.",
            storage=storage,
            hint="Look at the credentials that are used (settings, profile or environment), and at "
            "what they allow.",
        )
        self.reason = reason


class BucketNotFoundError(StorageError):
    """There is no such bucket."""

    code = "SF561"

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"There is no bucket at {storage}.",
            storage=storage,
            hint="Look at the url and the endpoint, or make the bucket; nobody makes it by itself.",
        )


class WrongRegionError(StorageError):
    """The bucket lies in another region than the one that was asked.

    Attributes:
        region: The region it lies in; empty if the service does not say.
    """

    code = "SF562"

    def __init__(self, storage: str, region: str = "") -> None:
        super().__init__(
            f"{storage} lies in {f'the region {region}' if region else 'another region'}.",
            storage=storage,
            hint=f'Set region = "{region}".' if region else "Set the region of the bucket.",
        )
        self.region = region


class ClockSkewError(StorageError):
    """The clock of this machine is too far from that of the service."""

    code = "SF563"

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"{storage} refuses a request because of its time.",
            storage=storage,
            hint="Set the clock of this machine right; 15 minutes are too much.",
        )


class ConditionFailedError(IOManagerError):
    """What is stored is not what a conditional write was made for; it has not happened.

    Attributes:
        asset_name: The asset.
    """

    code = "SF564"

    def __init__(self, asset_name: str, condition: str) -> None:
        super().__init__(
            f"Nothing was stored for asset {asset_name!r}: {condition}.",
            hint="Somebody else was faster; load what is there and decide anew.",
        )
        self.asset_name = asset_name


class ThrottledError(StorageUnavailableError):
    """The service asks for fewer requests, and went on to do so."""

    code = "SF565"
    retryable: ClassVar[bool] = True


class ObjectKeyError(IOManagerError):
    """The names of an asset and a partition make too long a key.

    Attributes:
        key: The key.
    """

    code = "SF566"

    def __init__(self, key: str, longest: int) -> None:
        super().__init__(
            f"The key {key[:80]}... has {len(key)} bytes, and {longest} are the most there can be.",
            hint="Give the asset a shorter name, the partition shorter values, or use a shorter "
            "prefix.",
        )
        self.key = key


class EventLoopError(ConfigurationError):
    """The driver works on asyncio alone, and another event loop runs.

    Attributes:
        driver: The driver.
    """

    code = "SF567"

    def __init__(self, driver: str) -> None:
        super().__init__(
            f"{driver} works on asyncio alone, and another event loop runs.",
            hint="Run it on asyncio: anyio.run(main), without backend=.",
        )
        self.driver = driver


class ConnectionSettingsError(ConfigurationError):
    """Settings do not tell how to reach a store, or tell so in two ways."""

    code = "SF568"


class ConditionalWritesError(IOManagerError):
    """A conditional write was asked for, and the store has none."""

    code = "SF569"

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"{storage} has no such conditional writes.",
            hint="Use a store that has them; see the capability conditional_writes.",
        )


class TableNotFoundError(StorageError):
    """There is no such table in DynamoDB."""

    code = "SF570"

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"There is no table at {storage}.",
            storage=storage,
            hint="Look at its name, the region and the endpoint.",
        )


class ObjectChangedError(StorageError):
    """An object was replaced while it was being read."""

    code = "SF571"
    retryable: ClassVar[bool] = True

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"{storage} was replaced while it was being read.", storage=storage, hint="Read again."
        )
