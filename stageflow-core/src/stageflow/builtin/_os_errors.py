"""What the operating system says of files, in the words of the storage errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stageflow.contracts.storage import (
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)

__all__ = ("translated_os_errors",)

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def translated_os_errors(place: object) -> Iterator[None]:
    """Raise as a `StorageError` what the block raises as an `OSError`.

    Args:
        place: What is being used, where the system does not say.
    """
    try:
        yield
    except OSError as error:
        raise _storage_error(error, str(error.filename or place)) from error


def _storage_error(error: OSError, path: str) -> StorageError:
    told = f"{path}: {error.strerror or error}."
    if error.errno in _FULL:
        return StorageFullError(told, storage=path, hint="Make room, or choose another place.")
    if error.errno in _READ_ONLY:
        hint = "Give the process the right to use it, or choose another place."
        return StorageReadOnlyError(told, storage=path, hint=hint)
    return StorageUnavailableError(told, storage=path, hint="Look at what is at that path.")
