"""What can go wrong, as classes, and the one place that turns it into an answer.

ApiError
├── InvalidInput            400
│   └── FeedIncomplete      400
├── Unauthorized            401
├── Forbidden               403
├── NotFound                404
├── MethodNotAllowed        405
├── FeedTooSlow             408
├── InsufficientInventory   409
├── OrderNotCancellable     409
├── RequestInProgress       409
├── SyncIsNotWaiting        409
├── SyncIsNotApplied        409
├── PayloadTooLarge         413
│   └── FeedOverLimit       413
├── UnsupportedMediaType    415
├── ValidationFailed        422
├── IdempotencyKeyReused    422
├── InternalError           500
└── Unavailable             503
    └── SpoolUnavailable    503
"""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET

from api.envelope import Conflict, Failure, Problem, Shortage
from api.parameters import failing_parameters
from api.request_id import request_id_of
from shared.atomic.requests import RequestKeyReused
from shared.orders.placing import InProgress, OutcomeUnknown
from shared.store import StoreUnavailable

logger = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 1
_SPOOL_RETRY_AFTER_SECONDS = 60


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
    when = "The body is empty, not JSON, or not an object; or of a PATCH: a field cannot be changed."


class FeedIncomplete(InvalidInput):
    """There is no feed, or only a part of it."""

    when = "The body is empty, or did not come whole."


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


class FeedTooSlow(ApiError):
    """The body takes longer to come than any that is meant well."""

    status, code, message = 408, "REQUEST_TIMEOUT", "request timeout"
    when = "The feed comes too slowly: after a minute, fewer than 64 KiB a second."

    def __init__(self) -> None:
        """End the connection as well: what is still to come on it would be the rest of the body."""
        super().__init__(headers={"Connection": "close"})


class InsufficientInventory(ApiError):
    """An order cannot be filled."""

    status, code, message = 409, "INSUFFICIENT_INVENTORY", "insufficient inventory"
    when = "Some of the numbers are not available, whoever has them; nothing was assigned."

    def __init__(self, shortage: Shortage) -> None:
        """Keep what is missing."""
        super().__init__()
        self.shortage = shortage


class OrderNotCancellable(ApiError):
    """It is too early, or too late, to cancel."""

    status, code, message = 409, "ORDER_NOT_CANCELLABLE", "order cannot be cancelled"
    when = "The order is pending or has failed, or its time to be cancelled is over."


class RequestInProgress(ApiError):
    """The first request with this Idempotency-Key still runs."""

    status, code, message = 409, "IDEMPOTENCY_IN_PROGRESS", "request in progress"
    when = "The first request with this Idempotency-Key still runs; `Retry-After` says how long at most."

    def __init__(self, for_ms: int) -> None:
        """Say when to come back."""
        super().__init__(headers={"Retry-After": str(math.ceil(for_ms / 1000))})


class SyncIsNotWaiting(ApiError):
    """There is nothing to confirm."""

    status, code, message = 409, "SYNC_NOT_WAITING", "sync is not waiting"
    when = "Nothing of the sync waits for a confirmation."


class SyncIsNotApplied(ApiError):
    """There is nothing to roll back."""

    status, code, message = 409, "SYNC_NOT_APPLIED", "sync cannot be rolled back"
    when = "The sync has changed nothing, or a later one of its carrier has changed the stock."


class PayloadTooLarge(ApiError):
    """The body is longer than any that is meant well."""

    status, code, message = 413, "PAYLOAD_TOO_LARGE", "payload too large"
    when = "The body is over 64 KiB."


class FeedOverLimit(PayloadTooLarge):
    """The feed is longer than its carrier's may be."""

    when = "The feed has more bytes than the carrier's profile allows."


class UnsupportedMediaType(ApiError):
    """The body says that it is something else than JSON."""

    status, code, message = 415, "UNSUPPORTED_MEDIA_TYPE", "unsupported media type"
    when = "The Content-Type is not JSON."


class ValidationFailed(ApiError):
    """JSON of the wrong shape or value."""

    status, code, message = 422, "VALIDATION_FAILED", "validation failed"
    when = "Fields or parameters of the wrong type or value, or unknown fields; all are in `details`."


class IdempotencyKeyReused(ApiError):
    """An Idempotency-Key stands for one request."""

    status, code, message = 422, "IDEMPOTENCY_KEY_REUSED", "idempotency key reused"
    when = "The Idempotency-Key came before, with another request."


class InternalError(ApiError):
    """A bug."""

    status, code, message = 500, "INTERNAL_ERROR", "internal error"
    when = "Something is wrong with the service."


class Unavailable(ApiError):
    """The store is away."""

    status, code, message = 503, "UNAVAILABLE", "internal error"
    when = "The store is away or slow; `Retry-After` says when to try again."

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        """Say when to come back."""
        super().__init__(headers={"Retry-After": str(_RETRY_AFTER_SECONDS), **(headers or {})})


class SpoolUnavailable(Unavailable):
    """A feed cannot be put where the worker finds it."""

    when = "There is no room for the feed, or no place where the worker would find it."

    def __init__(self, reason: str) -> None:
        """Keep the reason, for the log only: it takes a person, so there is no hurry to try again."""
        super().__init__({"Retry-After": str(_SPOOL_RETRY_AFTER_SECONDS)})
        self.reason = reason


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
    elif isinstance(api_error, SpoolUnavailable):
        logger.error("request %s: a feed cannot be spooled: %s", request_id, api_error.reason)
    elif isinstance(api_error, Unavailable):
        logger.warning(
            "request %s: the store is unavailable, or the outcome not known: %s", request_id, error
        )
    return Response(
        failure_of(api_error, request_id),
        status_code=api_error.status,
        headers=api_error.headers,
        media_type="application/json",
    )


def failure_of(error: ApiError, request_id: str) -> Failure:
    """Give the body that says what went wrong."""
    problem = Problem(error.code, error.message, request_id, error.details or UNSET)
    if isinstance(error, InsufficientInventory):
        return Conflict(error=problem, data=error.shortage)
    return Failure(error=problem)


def order_path(order_id: str) -> str:
    """Give where an order can be looked at."""
    return f"/v1/phone-numbers/orders/{order_id}"


def _api_error(error: Exception) -> ApiError:
    found: ApiError = InternalError()
    match error:
        case ApiError():
            found = error
        case OutcomeUnknown():
            found = Unavailable({"Location": order_path(error.order.id)})
        case StoreUnavailable():
            found = Unavailable()
        case InProgress():
            found = RequestInProgress(error.for_ms)
        case RequestKeyReused():
            found = IdempotencyKeyReused()
        case ValidationException() if error.extra:
            found = ValidationFailed(failing_parameters(error.extra))
        case HTTPException() if error.status_code in _BY_STATUS:
            headers = error.headers or {}
            allow = {name: value for name, value in headers.items() if name.lower() == "allow"}
            found = _BY_STATUS[error.status_code](headers=allow)
    return found


def documented(*errors: type[ApiError]) -> dict[int, ResponseSpec]:
    """Describe the errors that a route can answer with, for the OpenAPI document."""
    by_status: defaultdict[int, list[type[ApiError]]] = defaultdict(list)
    for error in errors:
        by_status[error.status].append(error)
    return {status: _response_spec(alike) for status, alike in by_status.items()}


def _response_spec(errors: list[type[ApiError]]) -> ResponseSpec:
    return ResponseSpec(
        Conflict if InsufficientInventory in errors else Failure,
        description=" ".join(error.when for error in errors),
        generate_examples=False,
        examples=[Example(summary=error.code, value=_example(error)) for error in errors],
    )


def _example(error: type[ApiError]) -> dict[str, Any]:
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
    example: dict[str, Any] = {"success": False, "error": problem}
    if error is InsufficientInventory:
        example["data"] = {"available_count": 1, "unavailable": ["+14155550123"]}
    return example
