"""What can go wrong, as classes, and the one place that turns it into an answer.

ApiError
├── InvalidInput            400
├── Unauthorized            401
├── Forbidden               403
├── NotFound                404
├── MethodNotAllowed        405
├── PayloadTooLarge         413
├── UnsupportedMediaType    415
├── ValidationFailed        422
├── InternalError           500
└── Unavailable             503
"""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET

from api.envelope import Failure, Problem
from api.request_id import request_id_of
from shared.store import StoreUnavailable

logger = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 1


class ApiError(Exception):
    """A failure that the contract knows: status, code and message stand on the class."""

    status: ClassVar[int]
    code: ClassVar[str]
    message: ClassVar[str]
    when: ClassVar[str]
    """For the OpenAPI document."""

    def __init__(
        self, details: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Keep what the answer says beyond the class: failing field → phrase, and headers."""
        super().__init__(self.message)
        self.details = dict(details or {})
        self.headers = dict(headers or {})


class InvalidInput(ApiError):
    """The body is nothing that could be looked into."""

    status, code, message = 400, "INVALID_INPUT", "invalid input"
    when = "The body is empty, not JSON, or not an object."


class Unauthorized(ApiError):
    """The caller is not known; why is not said."""

    status, code, message = 401, "UNAUTHORIZED", "authentication failed"
    when = "The key is missing, malformed, unknown, expired or revoked."

    def __init__(self) -> None:
        """Name the scheme that would have been right (RFC 9110, 11.6.1)."""
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ApiError):
    """The caller may not do this."""

    status, code, message = 403, "FORBIDDEN", "missing required scope"
    when = "The key lacks the scope."


class NotFound(ApiError):
    """There is no such thing, or it is somebody else's."""

    status, code, message = 404, "NOT_FOUND", "not found"
    when = "There is no such route or resource."


class MethodNotAllowed(ApiError):
    """The route has other methods."""

    status, code, message = 405, "METHOD_NOT_ALLOWED", "method not allowed"
    when = "The route has other methods; they are in `Allow`."


class PayloadTooLarge(ApiError):
    """The body is longer than any that is meant well."""

    status, code, message = 413, "PAYLOAD_TOO_LARGE", "payload too large"
    when = "The body is over 64 KiB."


class UnsupportedMediaType(ApiError):
    """The body says that it is something else than JSON."""

    status, code, message = 415, "UNSUPPORTED_MEDIA_TYPE", "unsupported media type"
    when = "The Content-Type is not JSON."


class ValidationFailed(ApiError):
    """JSON of the wrong shape or value."""

    status, code, message = 422, "VALIDATION_FAILED", "validation failed"
    when = "Fields of the wrong type or value, or unknown ones; every one is in `details`."


class InternalError(ApiError):
    """A bug."""

    status, code, message = 500, "INTERNAL_ERROR", "internal error"
    when = "Something is wrong with the service."


class Unavailable(ApiError):
    """The store is away."""

    status, code, message = 503, "UNAVAILABLE", "internal error"
    when = "The store is away or slow; `Retry-After` says when to try again."

    def __init__(self) -> None:
        """Say when to come back."""
        super().__init__(headers={"Retry-After": str(_RETRY_AFTER_SECONDS)})


_BY_STATUS: dict[int, type[ApiError]] = {
    error.status: error
    for error in (InvalidInput, NotFound, MethodNotAllowed, PayloadTooLarge, UnsupportedMediaType)
}


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Failure]:
    """Turn whatever was raised into an answer."""
    api_error = _api_error(error)
    request_id = request_id_of(request.scope)
    if isinstance(api_error, InternalError):
        logger.error("request %s: unhandled error", request_id, exc_info=error)
    elif isinstance(api_error, Unavailable):
        logger.warning("request %s: the store is unavailable: %s", request_id, error)
    problem = Problem(api_error.code, api_error.message, request_id, api_error.details or UNSET)
    return Response(
        Failure(error=problem),
        status_code=api_error.status,
        headers=api_error.headers,
        media_type="application/json",
    )


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreUnavailable):
        return Unavailable()
    if isinstance(error, HTTPException) and error.status_code in _BY_STATUS:
        allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return _BY_STATUS[error.status_code](headers=allow)
    return InternalError()


def documented(*errors: type[ApiError]) -> dict[int, ResponseSpec]:
    """Describe the errors that a route can answer with, for the OpenAPI document."""
    return {error.status: _response_spec(error) for error in errors}


def _response_spec(error: type[ApiError]) -> ResponseSpec:
    problem: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "request_id": "01KB1V5T7VJ0Q2M6C5B0N8W3ZK",
    }
    if error is ValidationFailed:
        problem["details"] = {
            "area_code": "must be 3 digits, the first 2-9",
            "quantity": "must be an integer of at least 1",
        }
    return ResponseSpec(
        Failure,
        description=error.when,
        generate_examples=False,
        examples=[Example(value={"success": False, "error": problem})],
    )
