"""Storage errors: what can go wrong with anything that keeps data, in one family for all contracts.

Stores, managers and sinks translate the errors of their drivers into these
(`raise … from`), so that callers need not know which backend they talk to.
"""

from __future__ import annotations

from typing import ClassVar

from stageflow.errors import RunError

__all__ = (
    "StorageBusyError",
    "StorageClosedError",
    "StorageCorruptError",
    "StorageError",
    "StorageFullError",
    "StorageReadOnlyError",
    "StorageUnavailableError",
    "StorageVersionError",
)


class StorageError(RunError):
    """Data could not be read or written, for no fault of the data.

    Attributes:
        storage: What was being used, such as a path or a server; never holds a secret.
        retryable: Whether the same call may succeed a little later.
    """

    code = "SF480"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, storage: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.storage = storage


class StorageClosedError(StorageError):
    """It was used after it had been closed."""

    code = "SF481"

    def __init__(self, storage: str) -> None:
        super().__init__(
            f"{storage} is closed.",
            storage=storage,
            hint="Use it within `async with`, or before `aclose()`; whoever opened it closes it.",
        )


class StorageBusyError(StorageError):
    """Somebody else held a lock on it for longer than one was willing to wait."""

    code = "SF482"
    retryable = True


class StorageReadOnlyError(StorageError):
    """It can be read but not written."""

    code = "SF483"


class StorageFullError(StorageError):
    """It has no room left."""

    code = "SF484"


class StorageCorruptError(StorageError):
    """What it holds is not what was written, or was never meant for it."""

    code = "SF485"


class StorageVersionError(StorageError):
    """It was written by a newer version than this one can read.

    Attributes:
        found: The version of the layout that was found.
        supported: The newest version that is understood here.
    """

    code = "SF486"

    def __init__(self, storage: str, *, component: str, found: int, supported: int) -> None:
        super().__init__(
            f"{storage} has version {found} of the layout of {component}; "
            f"this installation knows versions up to {supported}.",
            storage=storage,
            hint="Upgrade the distribution that opened it, or choose another place.",
        )
        self.component = component
        self.found = found
        self.supported = supported


class StorageUnavailableError(StorageError):
    """It could not be reached or opened."""

    code = "SF487"
    retryable = True
