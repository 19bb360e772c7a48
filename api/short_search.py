"""The short way of a search: one function from the ASGI scope to the answer, ahead of the router.

The search is the service's most frequent request. The router, its guards and its responses cost three times
as much as the search itself. This way serves the ordinary request only: a known key with the scope, and a
valid JSON body that arrives at once. It hands every other request to the router before anything of it is
decided, so each rule for a refusal is in one place: the declared handler and its guards. The key check, the
decoder, the permit, the answer, errors, headers and the log line are the same functions.
"""

import asyncio
import time
from typing import Final

import msgspec
from litestar.types import HTTPScope, Receive, ReceiveMessage, Send

from api.authentication import SLOW_SECONDS, bearer_token
from api.disconnects import LONG_SECONDS, has_left
from api.error_answers import render_error
from api.json_body import BODY_SECONDS, MAX_BODY_BYTES
from api.key_cache import Caller
from api.rate_limit import Ticket
from api.request_id import new_request_id
from api.request_log import write_request_line
from api.response_headers import common_headers
from api.search import SEARCH_PATH, SearchRequest, query_of, render_answer
from api.services import Services
from shared.api_keys import ApiKey, Scope
from shared.rate_limits import Limited, limit_of
from shared.search.search import Query

_PATH: Final = SEARCH_PATH.encode()
_PLAIN_TYPES: Final = (None, b"application/json")
_CONTENT_TYPE: Final = (b"content-type", b"application/json")

_decode = msgspec.json.Decoder(SearchRequest).decode


class ShortSearch:
    """The short way of one process."""

    def __init__(self, services: Services) -> None:
        """Prepare."""
        self._services = services

    async def answer(self, scope: HTTPScope, receive: Receive, send: Send) -> Receive | None:
        """Answer a search; else return what the router is to receive its messages from."""
        began = time.perf_counter()
        secret, length = _plain_request(scope)
        caller = self._services.keys.known(secret) if secret else None
        if caller is None or Scope.NUMBERS_WRITE not in caller.key.scopes:
            return receive
        ticket = self._ticket_of(caller)
        if ticket is not None and ticket.is_refused:
            return receive
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await receive()
        except TimeoutError:
            return _time_out
        query = _query_in(message, length)
        # A key may end while a slow body arrives.
        if query is None or time.perf_counter() - began > SLOW_SECONDS:
            return _replaying(message, receive)
        self._services.key_uses.note(caller.key)
        await self._serve(query, caller.key, ticket, began, receive, send)
        return None

    def _ticket_of(self, caller: Caller) -> Ticket | None:
        services = self._services
        limit = limit_of(Limited.SEARCH, services.settings, caller.overrides)
        if limit is None:
            return None
        return Ticket(services.store, services.refusals, caller.key.org_id, Limited.SEARCH, limit)

    async def _serve(
        self, query: Query, key: ApiKey, ticket: Ticket | None, began: float, receive: Receive, send: Send
    ) -> None:
        request_id, status, is_client_gone = new_request_id(), None, False
        headers = [_CONTENT_TYPE]
        try:
            try:
                content = render_answer(await self._search(query, ticket))
                status = 200
            except Exception as error:
                status, headers, content = render_error(error, request_id)
            headers += [(b"content-length", b"%d" % len(content)), *common_headers(request_id, ticket)]
            if time.perf_counter() - began > LONG_SECONDS:
                is_client_gone = await has_left(receive)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content, "more_body": False})
        finally:
            seconds = time.perf_counter() - began
            write_request_line(
                request_id, "POST", SEARCH_PATH, status, seconds, key.org_id, key.id, is_client_gone
            )

    async def _search(self, query: Query, ticket: Ticket | None) -> list[bytes]:
        if ticket is None:
            return await self._services.search.find(query)
        # Not one after the other: it travels in the same batch, ahead of the search.
        ticket.ask()
        found = await self._services.search.find(query)
        await ticket.wait()
        return found


def _plain_request(scope: HTTPScope) -> tuple[str | None, int]:
    """Return the bearer token and the length of the body; no token if the router has to look at it."""
    headers = list(scope["headers"])
    fields = dict(headers)
    length = int(fields.get(b"content-length", 0))
    if (
        scope["method"] != "POST"
        or scope["raw_path"] != _PATH
        or scope["query_string"]
        # A header that is there twice.
        or len(fields) != len(headers)
        or b"transfer-encoding" in fields
        or b"content-encoding" in fields
        or fields.get(b"content-type") not in _PLAIN_TYPES
        or not 0 < length <= MAX_BODY_BYTES
    ):
        return None, length
    return bearer_token([fields.get(b"authorization", b"").decode("latin-1")]), length


def _query_in(message: ReceiveMessage, length: int) -> Query | None:
    """Return the criteria in a first message; None if it is not the whole body, or not a valid one."""
    if message["type"] != "http.request" or len(message["body"]) != length:
        return None
    try:
        return query_of(_decode(message["body"]))
    except (ValueError, RecursionError):
        return None


def _replaying(message: ReceiveMessage, receive: Receive) -> Receive:
    """Return a `receive` that gives this message first."""
    messages = [message]

    async def replay() -> ReceiveMessage:
        return messages.pop() if messages else await receive()

    return replay


async def _time_out() -> ReceiveMessage:
    """Raise the error that the router answers when a body does not arrive in time."""
    raise TimeoutError
