"""The headers of every response."""

from litestar.types import HTTPResponseStartEvent, Scope

from api.authentication import ticket_of
from api.rate_limit import Ticket
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
    common = common_headers(request_id_of(scope), ticket_of(scope))
    headers += [header for header in common if header[0] not in said]
    if scope.get("method") == "OPTIONS" and b"allow" in said:
        # Of a path with several handlers Litestar itself names the methods of the first one only.
        routes = scope["litestar_app"].routes
        methods = {
            one for route in routes if route.path_format == scope["path_template"] for one in route.methods
        }
        headers = [header for header in headers if header[0].lower() != b"allow"]
        headers.append((b"allow", ", ".join(sorted(methods)).encode()))
    message["headers"] = headers


def common_headers(request_id: str, ticket: Ticket | None) -> list[tuple[bytes, bytes]]:
    """Return the headers that every response has, and those of the caller's rate limit."""
    headers = [*_UNLESS_SAID, (b"x-request-id", request_id.encode())]
    if ticket is not None:
        headers += ticket.headers()
    return headers
