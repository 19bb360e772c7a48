"""The id of a request: a fresh ULID, in the header of every response, in errors and in the log."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope
from ulid import ULID

_STATE_KEY = "request_id"


def request_id_of(scope: Scope) -> str:
    """Give the id of the request that `scope` belongs to; made when first asked for."""
    state = scope["state"]
    if _STATE_KEY not in state:
        state[_STATE_KEY] = str(ULID())
    request_id: str = state[_STATE_KEY]
    return request_id


def adopt_request_id(scope: Scope, request_id: str) -> None:
    """Answer under the id of an earlier request, whose error is repeated word for word."""
    scope["state"][_STATE_KEY] = request_id


async def send_request_id(message: Message, scope: Scope) -> None:
    """Put the id into a response; a `before_send` hook, for only those see every response."""
    if message["type"] == "http.response.start":
        MutableScopeHeaders.from_message(message)["X-Request-Id"] = request_id_of(scope)
