"""S3ErrorNormalizer: what the exceptions of obstore, botocore and this distribution mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stageflow.contracts.error_normalizer import NormalizedError
from stageflow.contracts.storage import StorageError
from stageflow.errors import StageflowError
from stageflow_io_s3._translation import code_in

__all__ = ("S3ErrorNormalizer",)

_LONGEST: Final = 500

# Codes of the services, and whether the same request may succeed a little later.
_SERVICE: Final[Mapping[str, tuple[str, bool]]] = {
    "AccessDenied": ("access_denied", False),
    "AccessDeniedException": ("access_denied", False),
    "AuthorizationHeaderMalformed": ("wrong_region", False),
    "ConditionalCheckFailedException": ("conflict", False),
    "ExpiredToken": ("access_denied", False),
    "ExpiredTokenException": ("access_denied", False),
    "InternalError": ("unavailable", True),
    "InternalServerError": ("unavailable", True),
    "InvalidAccessKeyId": ("access_denied", False),
    "NoSuchBucket": ("not_found", False),
    "NoSuchKey": ("not_found", False),
    "PermanentRedirect": ("wrong_region", False),
    "PreconditionFailed": ("conflict", False),
    "ProvisionedThroughputExceededException": ("throttled", True),
    "RequestLimitExceeded": ("throttled", True),
    "RequestTimeTooSkewed": ("clock_skew", False),
    "RequestTimeout": ("timeout", True),
    "ResourceNotFoundException": ("not_found", False),
    "ServiceUnavailable": ("unavailable", True),
    "SignatureDoesNotMatch": ("access_denied", False),
    "SlowDown": ("throttled", True),
    "ThrottlingException": ("throttled", True),
    "TransactionInProgressException": ("conflict", True),
    "UnrecognizedClientException": ("access_denied", False),
    "ValidationException": ("invalid", False),
}
# Classes, by module and name: nothing is imported to know them.
_CLASSES: Final[Mapping[str, tuple[str, bool]]] = {
    "botocore.exceptions.ConnectTimeoutError": ("timeout", True),
    "botocore.exceptions.ConnectionClosedError": ("unavailable", True),
    "botocore.exceptions.EndpointConnectionError": ("unavailable", True),
    "botocore.exceptions.HTTPClientError": ("unavailable", True),
    "botocore.exceptions.NoCredentialsError": ("access_denied", False),
    "botocore.exceptions.ReadTimeoutError": ("timeout", True),
    "botocore.exceptions.BotoCoreError": ("aws_error", False),
    "obstore.exceptions.AlreadyExistsError": ("conflict", False),
    "obstore.exceptions.NotSupportedError": ("not_supported", False),
    "obstore.exceptions.PermissionDeniedError": ("access_denied", False),
    "obstore.exceptions.PreconditionError": ("conflict", False),
    "obstore.exceptions.UnauthenticatedError": ("access_denied", False),
    "obstore.exceptions.GenericError": ("unavailable", False),
    "obstore.exceptions.BaseError": ("store_error", False),
}


class S3ErrorNormalizer:
    """Knows throttling, 5xx and time-outs, which are worth another attempt, and what is not."""

    def normalize(self, exc: BaseException, /) -> NormalizedError:
        """See `ErrorNormalizer.normalize`."""
        if isinstance(exc, StageflowError):
            is_retryable = isinstance(exc, StorageError) and exc.retryable
            return NormalizedError(exc.code, exc.message, is_retryable, _type(exc))
        service = _service_code(exc)
        if service:
            code, is_retryable = _SERVICE.get(service, ("aws_error", False))
            return NormalizedError(
                code, f"The service answers {service}.", is_retryable, {"service_code": service}
            )
        for kind in type(exc).__mro__:
            if (known := _CLASSES.get(f"{kind.__module__}.{kind.__qualname__}")) is not None:
                # Only the first line: what follows may quote a request with its token.
                return NormalizedError(known[0], _first_line(exc), known[1], _type(exc))
        return NormalizedError("unknown", _first_line(exc), False, _type(exc))


def _service_code(exc: BaseException) -> str:
    """Return the code that the service gave; empty if the exception is none of a service's."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(exc).__mro__}
    if "botocore.exceptions.ClientError" in names:
        response = getattr(exc, "response", None)
        error = response.get("Error") if isinstance(response, Mapping) else None
        code: Any = error.get("Code") if isinstance(error, Mapping) else ""
        return code if isinstance(code, str) else ""
    return code_in(str(exc)) if "obstore.exceptions.BaseError" in names else ""


def _first_line(exc: BaseException) -> str:
    try:
        text = str(exc).partition("\n")[0]
    except Exception:  # noqa: BLE001 - a stranger's exception may fail to tell what it is
        text = ""
    return text[:_LONGEST] or type(exc).__name__


def _type(exc: BaseException) -> dict[str, Any]:
    return {"type": f"{type(exc).__module__}.{type(exc).__qualname__}"}
