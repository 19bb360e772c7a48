"""What can go wrong, as classes, and how it is documented; `api/error_answers.py` answers with it.

ApiError
├── InvalidInput            400
│   └── FeedIncomplete      400
├── Unauthorized            401
├── Forbidden               403
├── NotFound                404
├── MethodNotAllowed        405
├── RequestTimeout          408
│   └── FeedTooSlow         408
├── InsufficientInventory   409
├── OrderNotCancellable     409
├── RequestInProgress       409
├── SyncIsNotWaiting        409
├── SyncIsNotApplied        409
├── TooManyApiKeys          409
├── ApiKeyNotLive           409
├── PayloadTooLarge         413
│   └── FeedOverLimit       413
├── UnsupportedMediaType    415
├── ValidationFailed        422
├── IdempotencyKeyReused    422
├── RateLimited             429
├── InternalError           500
└── Unavailable             503
    └── SpoolUnavailable    503
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET

from api.envelope import Conflict, Failure, Problem, Shortage
from shared.api_keys import MOST_KEYS

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
    when = (
        "The body is empty, not JSON, or not an object; or of a PATCH: a field cannot be changed; "
        "or of a new API key: scopes are unknown, none, or the same twice."
    )


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


class RequestTimeout(ApiError):
    """The body takes longer to come than any that is meant well."""

    status, code, message = 408, "REQUEST_TIMEOUT", "request timeout"
    when = "The body did not come within 10 seconds."

    def __init__(self) -> None:
        """End the connection as well: what is still to come on it would be the rest of the body."""
        super().__init__(headers={"Connection": "close"})


class FeedTooSlow(RequestTimeout):
    """The feed takes longer to come than any that is meant well."""

    when = "The feed comes too slowly: after a minute, fewer than 64 KiB a second."


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


class TooManyApiKeys(ApiError):
    """There is no room for another key."""

    status, code, message = 409, "API_KEY_LIMIT", "too many api keys"
    when = f"The organization has {MOST_KEYS} keys, none revoked or expired: revoke one first."


class ApiKeyNotLive(ApiError):
    """The key has ended for ever."""

    status, code, message = 409, "API_KEY_NOT_LIVE", "api key is not live"
    when = "The key is revoked or expired."


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


class RateLimited(ApiError):
    """Too many requests."""

    status, code, message = 429, "RATE_LIMITED", "rate limited"
    when = "The organization has made too many requests; `Retry-After` says when to come again."

    def __init__(self, seconds: int) -> None:
        """Say when to come again."""
        super().__init__(headers={"Retry-After": str(seconds)})


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


def failure_of(error: ApiError, request_id: str) -> Failure:
    """Give the body that says what went wrong."""
    problem = Problem(error.code, error.message, request_id, error.details or UNSET)
    if isinstance(error, InsufficientInventory):
        return Conflict(error=problem, data=error.shortage)
    return Failure(error=problem)


def order_path(order_id: str) -> str:
    """Give where an order can be looked at."""
    return f"/v1/phone-numbers/orders/{order_id}"


def documented(*errors: type[ApiError]) -> dict[int, ResponseSpec]:
    """Describe the errors that a route can answer with, for the OpenAPI document.

    Every route that needs a key has a limit, and every one that takes JSON a time for it to come.
    """
    by_status: defaultdict[int, list[type[ApiError]]] = defaultdict(list)
    implied: dict[type[ApiError], type[ApiError]] = {
        Unauthorized: RateLimited,
        UnsupportedMediaType: RequestTimeout,
    }
    for error in (*errors, *(implied[error] for error in errors if error in implied)):
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
