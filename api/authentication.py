"""Who is calling, whether they may, and how often.

Each route checks it in its `before_request`: what that raises passes the error handlers. Litestar's `guards`
are called at the same time, but with a copy of the handler's 66 attributes, which costs 15 µs.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.types import Scope as AsgiScope

from api.errors import Forbidden, RateLimited, Unauthorized
from api.key_cache import Caller, TooManyStrangers
from api.rate_limit import Ticket
from api.services import Services, services_of
from shared.api_keys import Scope
from shared.key_secrets import is_well_formed
from shared.rate_limits import Limited, limit_of

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection], Awaitable[None]]
Check = Callable[[Connection], None]

_TICKET = "ticket"
_ADMITTED_AT = "admitted_at"
SLOW_SECONDS = 0.1
"""A body that takes longer may outlive its key. With the time for which a record is believed, it is 0.6 s."""
_STRANGER_RETRY_SECONDS = 1


def requires(scope: Scope, limited: Limited | None = None, check: Check | None = None) -> Guard:
    """Make the guard of a route that needs `scope`; the caller's key is then in `connection.auth`.

    A request needs a permit for its kind: reading or writing, as the scope has it, unless told otherwise.
    Before it takes one, `check` may raise `Forbidden`.
    """
    kind = limited or (Limited.READ if scope.endswith(":read") else Limited.WRITE)

    async def guard(connection: Connection) -> None:
        await _admit(connection, scope, kind, check)
        await wait_for_permit(connection)

    return guard


def requires_search(scope: Scope) -> Guard:
    """Make the guard of the search, which waits for its permit itself: they share a round trip."""

    async def guard(connection: Connection) -> None:
        await _admit(connection, scope, Limited.SEARCH)

    return guard


def ticket_of(scope: AsgiScope) -> Ticket | None:
    """Give a request's ticket; None when it has no limit, or was not let in."""
    ticket: Ticket | None = scope["state"].get(_TICKET)
    return ticket


async def wait_for_permit(connection: Connection) -> None:
    """Wait for a request's permit.

    Raises:
        RateLimited: the organization has made too many requests.
        StoreUnavailable: the store did not answer.
    """
    ticket = ticket_of(connection.scope)
    if ticket is not None:
        await ticket.wait()


async def check_still_known(connection: Connection) -> None:
    """Refuse a caller whose key has ended while the body came, which may take its sender as long as he likes.

    Raises:
        Unauthorized: the key is revoked, rotated or expired.
        RateLimited: too many unknown keys have come to look for this one.
        StoreUnavailable: the store did not answer.
    """
    state = connection.scope["state"]
    if time.monotonic() - state[_ADMITTED_AT] > SLOW_SECONDS:
        await _authenticate(connection, services_of(connection))
        state[_ADMITTED_AT] = time.monotonic()


async def _admit(connection: Connection, scope: Scope, kind: Limited, check: Check | None = None) -> None:
    services = services_of(connection)
    caller = await _authenticate(connection, services)
    # First, for the log: who is known is told of, also when he may not do this.
    connection.scope["auth"] = caller.key
    if scope not in caller.key.scopes:
        raise Forbidden
    if check is not None:
        check(connection)
    connection.scope["state"][_ADMITTED_AT] = time.monotonic()
    services.key_uses.note(caller.key)
    limit = limit_of(kind, services.settings, caller.overrides)
    if limit is not None:
        ticket = Ticket(services.store, services.refusals, caller.key.org_id, kind, limit)
        connection.scope["state"][_TICKET] = ticket
        if ticket.is_refused:
            raise ticket.refusal()


async def _authenticate(connection: Connection, services: Services) -> Caller:
    """Give who has the live key that a request carries.

    Raises:
        Unauthorized: alike for all that can be wrong with it.
        RateLimited: the key is not known, and too many of those have come.
    """
    secret = bearer_token(header_values(connection.scope, b"authorization"))
    if secret is None:
        raise Unauthorized
    known = services.keys.known(secret)
    if known is not None:
        return known
    # The checksum is checked before the store is asked: a mistyped or invented key costs it nothing.
    if not is_well_formed(secret):
        raise Unauthorized
    try:
        caller = await services.keys.find(secret)
    except TooManyStrangers as error:
        raise RateLimited(_STRANGER_RETRY_SECONDS) from error
    if caller is None:
        raise Unauthorized
    return caller


def header_values(scope: AsgiScope, *names: bytes) -> list[str]:
    """Return the values of headers; `connection.headers` decodes and copies all of them: 10 µs."""
    return [value.decode("latin-1") for name, value in scope["headers"] if name in names]


def bearer_token(headers: list[str]) -> str | None:
    """Return the token of the one `Authorization: Bearer` header, or None."""
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip(" \t") if scheme.lower() == "bearer" else None
