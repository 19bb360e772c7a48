"""The one place that turns what was raised into an answer."""

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from api.envelope import Failure
from api.errors import (
    ApiError,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestInProgress,
    SpoolUnavailable,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    failure_of,
    order_path,
)
from api.parameters import failing_parameters
from api.request_id import request_id_of
from shared.atomic.requests import RequestKeyReused
from shared.orders.placing import InProgress, OutcomeUnknown
from shared.store import StoreUnavailable

logger = logging.getLogger(__name__)

_BY_STATUS: dict[int, type[ApiError]] = {
    error.status: error
    for error in (InvalidInput, NotFound, MethodNotAllowed, PayloadTooLarge, UnsupportedMediaType)
}


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Failure]:
    """Return the answer to an error that was raised behind the router."""
    request_id = request_id_of(request.scope)
    api_error = _logged_api_error(error, request_id)
    return Response(
        failure_of(api_error, request_id),
        status_code=api_error.status,
        headers=api_error.headers,
        media_type="application/json",
    )


def render_error(error: Exception, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the answer to an error that was raised ahead of the router: status, headers and body."""
    api_error = _logged_api_error(error, request_id)
    headers = [(name.lower().encode(), value.encode()) for name, value in api_error.headers.items()]
    body = msgspec.json.encode(failure_of(api_error, request_id))
    return api_error.status, [(b"content-type", b"application/json"), *headers], body


def _logged_api_error(error: Exception, request_id: str) -> ApiError:
    """Return the error of the contract for whatever was raised, and log what a person has to know of it."""
    api_error = _api_error(error)
    fields = {"request_id": request_id}
    if isinstance(api_error, InternalError):
        logger.error("unhandled error", exc_info=error, extra=fields)
    elif isinstance(api_error, SpoolUnavailable):
        logger.error("a feed cannot be spooled: %s", api_error.reason, extra=fields)
    elif isinstance(api_error, Unavailable):
        logger.warning("the store is unavailable, or the outcome not known: %s", error, extra=fields)
    return api_error


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
