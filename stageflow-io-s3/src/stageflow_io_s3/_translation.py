"""What drivers raise, in the words of the storage errors; no secret gets through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stageflow.contracts.storage import StorageError, StorageUnavailableError
from stageflow_io_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ClockSkewError,
    ThrottledError,
    WrongRegionError,
)

__all__ = ("answer_error", "code_in", "translated")

_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{0,300})</Message>")
_REGION: Final = re.compile(r"<Region>([a-z0-9-]+)</Region>|expecting '([a-z0-9-]+)'")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_RETRIED: Final = re.compile(r"after (\d+) retries")

_REGION_CODES: Final = {
    *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
    *("IncorrectEndpoint", "PermanentRedirect", "TemporaryRedirect"),
}
_SKEW_CODES: Final = {"RequestExpired", "RequestTimeTooSkewed"}
_THROTTLING: Final = {"RequestLimitExceeded", "SlowDown", "Throttling", "TooManyRequests"}


def code_in(text: str) -> str:
    """Return the code of the service's error that *text* holds; empty if it holds none."""
    found = _CODE.search(text)
    return found[1] if found else ""


def answer_error(storage: str, status: int, text: str) -> StorageError:
    """Return what a service's answer means.

    Args:
        storage: What was asked.
        status: The status of the answer.
        text: The body, or what a driver tells of it.
    """
    code = code_in(text)
    if code == "NoSuchBucket":
        return BucketNotFoundError(storage)
    if code in _REGION_CODES or status in {301, 307}:
        found = _REGION.search(text)
        return WrongRegionError(storage, (found[1] or found[2]) if found else "")
    if code in _SKEW_CODES:
        return ClockSkewError(storage)
    if status in {401, 403}:
        return AccessDeniedError(storage, code or f"status {status}")
    told = " ".join([code or f"status {status}", *_MESSAGE.findall(text)[:1]]).removesuffix(".")
    retried = _RETRIED.search(text)
    told += f", after {retried[1]} retries" if retried else ""
    if code in _THROTTLING or status == 429:
        hint = "Make fewer requests at the same time, or try again later."
        return ThrottledError(f"{storage} is busy: {told}.", storage=storage, hint=hint)
    if status >= 500:
        hint = "Try again later."
        return StorageUnavailableError(f"{storage} fails: {told}.", storage=storage, hint=hint)
    hint = "Look at what the service says."
    return StorageError(f"{storage} answers: {told}.", storage=storage, hint=hint)


@contextmanager
def translated(storage: str) -> Iterator[None]:
    """Raise as a `StorageError` what the block raises as an error of obstore.

    What says that an object is not there, or is not the expected one, goes on as it is.
    """
    from obstore import exceptions

    passed_on = (
        exceptions.NotFoundError,
        exceptions.AlreadyExistsError,
        exceptions.PreconditionError,
        exceptions.NotModifiedError,
        exceptions.NotSupportedError,
    )
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        text = str(error)
        if isinstance(error, passed_on) and code_in(text) != "NoSuchBucket":
            raise
        # A refusal quotes the request, which may hold a session token: so there is no cause.
        raise _driver_error(storage, text) from None


def _driver_error(storage: str, text: str) -> StorageError:
    status = _STATUS.search(text)
    if status or code_in(text):
        return answer_error(storage, int(status[1]) if status else 0, text)
    first = text.partition("\n")[0]
    if "redirect without LOCATION" in first:  # so S3 answers who asks in another region
        return WrongRegionError(storage)
    retried = _RETRIED.search(first)
    told = first.rpartition(" - ")[2].removesuffix(".")
    told += f", after {retried[1]} retries" if retried else ""
    return StorageUnavailableError(
        f"{storage} cannot be reached or answers wrongly: {told}.",
        storage=storage,
        hint="Look at the url, the endpoint and the network.",
    )
