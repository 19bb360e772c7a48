"""Requests that are no orders: the typed wrappers of their scripts; each is its script's only caller."""

from typing import NamedTuple

from shared import store_keys
from shared.atomic.requests import RequestKey, RequestKeyReused, request_key
from shared.atomic.script import Script
from shared.store import Store

_BEGIN_REQUEST = Script("begin_request")
_END_REQUEST = Script("end_request")


class Begun(NamedTuple):
    """An attempt at a request, in the hand of whoever got it until its deadline."""

    id: str
    """Of what the request makes; the same in each attempt."""
    deadline: bytes
    is_resumed: bool
    """An attempt before died over it, and may have made it."""


class Running(NamedTuple):
    """Somebody else has the request in hand."""

    for_ms: int


class Repeated(NamedTuple):
    """The request was answered before."""

    answer: bytes


async def begin_request(
    store: Store, organization: str, request: RequestKey, new_id: str, allowed_ms: int
) -> Begun | Running | Repeated:
    """Take a request in hand for so long; what it makes gets `new_id`, unless it has one already.

    Raises:
        RequestKeyReused: nothing was changed.
    """
    keys = [request_key(organization, request)]
    tag, *values = await _BEGIN_REQUEST.run(
        store, keys, request.fingerprint, store_keys.IDEMPOTENCY_SECONDS, new_id, allowed_ms
    )
    if tag == b"reused":
        raise RequestKeyReused
    if tag == b"again":
        return Repeated(values[0])
    if tag == b"running":
        return Running(values[0])
    made, deadline, is_resumed = values
    return Begun(made.decode(), deadline, bool(is_resumed))


async def end_request(
    store: Store, organization: str, request: RequestKey, begun: Begun, answer: bytes
) -> bool:
    """Keep the answer to a request, an empty one leaves its key free; False when another has it in hand."""
    keys = [request_key(organization, request)]
    ended: int = await _END_REQUEST.run(store, keys, begun.deadline, answer)
    return bool(ended)
