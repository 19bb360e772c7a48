"""The headers of every response."""

from litestar.types import HTTPResponseStartEvent, Scope

from api.authentication import ticket_of
from api.request_id import request_id_of

_UNLESS_SAID = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Answers hold what is an organization's own.
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def add_headers(message: HTTPResponseStartEvent, scope: Scope) -> None:
    """Put the request's id, what its limit is, and how browsers have to treat it into a response."""
    headers = list(message["headers"])
    said = {name.lower() for name, _ in headers}
    headers += [header for header in _UNLESS_SAID if header[0] not in said]
    headers.append((b"x-request-id", request_id_of(scope).encode()))
    if scope.get("method") == "OPTIONS" and b"allow" in said:
        # Of a path with several handlers Litestar itself names the methods of the first one only.
        routes = scope["litestar_app"].routes
        methods = {
            one for route in routes if route.path_format == scope["path_template"] for one in route.methods
        }
        headers = [header for header in headers if header[0].lower() != b"allow"]
        headers.append((b"allow", ", ".join(sorted(methods)).encode()))
    ticket = ticket_of(scope)
    for name, value in ticket.fields().items() if ticket else ():
        headers.append((name.lower().encode(), value.encode()))
    message["headers"] = headers
