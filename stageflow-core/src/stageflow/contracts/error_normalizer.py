"""ErrorNormalizer: what an exception from anywhere means, in four facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from stageflow.contracts.contract import Contract

__all__ = ("CONTRACT", "ErrorNormalizer", "NormalizedError")

CONTRACT: Final = Contract("error_normalizer", "1.0")


@attrs.frozen
class NormalizedError:
    """What an exception means, whatever library it came from.

    Attributes:
        code: A stable word for the kind of error, such as `timeout`.
        message: What happened, for people.
        retryable: Whether the same call may well succeed if it is made again.
        details: Further facts, as JSON-able data.
    """

    code: str
    message: str
    retryable: bool
    details: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@runtime_checkable
class ErrorNormalizer(Protocol):
    """Tells what exceptions mean, and which of them are worth another attempt.

    EN-1  `normalize` answers every exception with a `NormalizedError` and never raises.
    EN-2  An exception that the normalizer does not know is not retryable.
    EN-3  The answer depends on the exception alone: asked again, it is the same.
    EN-4  An exception of a subclass means what its nearest known class means.
    EN-5  `details` is JSON-able, and nothing is told that the exception does not tell itself.
    EN-6  Cancellation is never retryable.
    """

    def normalize(self, exc: BaseException, /) -> NormalizedError:
        """Return what *exc* means.

        Not a checkpoint. Idempotent. Never raises.

        Args:
            exc: Any exception.
        """
        ...
