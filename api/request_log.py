"""One line in the log for each request.

It tells nothing that a caller could have put a secret into: the route's template instead of the path, none of
the query, the headers and the body, and a method only when it is one that HTTP knows.
"""

import logging
from http import HTTPMethod
from typing import Any

from litestar.types import HTTPScope

logger = logging.getLogger(__name__)

_METHODS = frozenset(HTTPMethod)
_PROBES = frozenset({"/healthz", "/readyz"})
"""Routes that are asked every few seconds; what is wrong is said by lines of its own."""


def log_request(scope: HTTPScope, status: int | None, seconds: float, *, is_client_gone: bool) -> None:
    """Tell of a request that is over; without `status` no answer was begun."""
    route = scope.get("path_template")
    level = logging.DEBUG if route in _PROBES else logging.INFO
    if not logger.isEnabledFor(level):
        return
    method = scope["method"]
    fields: dict[str, Any] = {"method": method if method in _METHODS else "other"}
    if route is not None:
        fields["route"] = route
    if status is not None:
        fields["status"] = status
    fields["duration_ms"] = round(seconds * 1000, 3)
    if key := scope.get("auth"):
        fields["organization"] = key.org_id
        fields["key_id"] = key.id
    if is_client_gone:
        fields["client_gone"] = True
    logger.log(level, "request", extra=fields)
