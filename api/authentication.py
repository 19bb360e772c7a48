"""Who is calling, and whether they may: guards, for what they raise passes through the error handlers."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.errors import Forbidden, Unauthorized
from api.services import services_of
from shared.api_keys import ApiKey, Scope, digest_of, is_well_formed

Connection = ASGIConnection[Any, Any, Any, Any]


def requires(scope: Scope) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """Make the guard of a route that needs `scope`; the caller's key is then in `connection.auth`."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        key = await _authenticate(connection)
        if scope not in key.scopes:
            raise Forbidden
        connection.scope["auth"] = key

    return guard


async def _authenticate(connection: Connection) -> ApiKey:
    """Give the live key that a request carries; raises `Unauthorized`, alike for all that can be wrong."""
    secret = _bearer(connection.headers.getall("authorization", []))
    # The checksum is looked at first: a mistyped or invented key costs the store nothing.
    if secret is None or not is_well_formed(secret):
        raise Unauthorized
    key = await services_of(connection).keys.find(digest_of(secret))
    if key is None or not key.is_live(datetime.now(UTC)):
        raise Unauthorized
    return key


def _bearer(headers: list[str]) -> str | None:
    """Give the token of the one `Authorization: Bearer` header, or None."""
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
