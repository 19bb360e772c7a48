"""One line in the log for each request.

It has no value that may hold a caller's secret: the route's template instead of the path, nothing of the
query, headers and body, and the method only when it is one of HTTP's.
"""

import logging
from http import HTTPMethod
from typing import Any

from litestar.types import HTTPScope

from api.request_id import request_id_of
from shared.logs import log_fields

logger = logging.getLogger(__name__)

_METHODS = frozenset(str(method) for method in HTTPMethod)
_PROBES = frozenset({"/healthz", "/readyz"})
"""Routes that are polled every few seconds; their failures have log lines of their own."""


def log_request(scope: HTTPScope, status: int | None, seconds: float, *, is_client_gone: bool) -> None:
    """Log a finished request; `status` is None when no response was started."""
    key = scope.get("auth")
    write_request_line(
        request_id_of(scope),
        scope["method"],
        scope.get("path_template"),
        status,
        seconds,
        key.org_id if key else None,
        key.id if key else None,
        is_client_gone,
    )


def write_request_line(  # noqa: PLR0913, PLR0917 - the fields of the line; keywords would cost time
    request_id: str,
    method: str,
    route: str | None,
    status: int | None,
    seconds: float,
    organization: str | None,
    key_id: str | None,
    is_client_gone: bool,
) -> None:
    """Log a finished request by its fields; those that are None are left out."""
    level = logging.DEBUG if route in _PROBES else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "request_id": request_id,
        "method": method if method in _METHODS else "other",
    }
    if route is not None:
        fields["route"] = route
    if status is not None:
        fields["status"] = status
    fields["duration_ms"] = round(seconds * 1000, 3)
    if organization is not None:
        fields["organization"] = organization
    if key_id is not None:
        fields["key_id"] = key_id
    if is_client_gone:
        fields["client_gone"] = True
    log_fields(logger, level, "request", fields)
