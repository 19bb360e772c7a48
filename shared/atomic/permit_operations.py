"""Permits for requests: the typed wrapper of their script, its only caller."""

from collections.abc import Awaitable, Coroutine
from typing import Any, NamedTuple

from shared import store_keys
from shared.atomic.script import Script
from shared.store import Store

_TAKE_PERMIT = Script("take_permit")


class Permit(NamedTuple):
    """Whether a request may pass, and what is left after it; times are microseconds."""

    is_granted: bool
    left: int
    """Requests that may come at once."""
    whole_in: int
    """Until the burst is whole again."""
    next_in: int
    """Until the next request may come; 0 when one may now."""


def take_permit(
    store: Store, organization: str, name: str, worth: int, burst: int
) -> Coroutine[Any, Any, Permit]:
    """Send for a permit at once, ahead of whatever is sent to the store after it; await it for the reply.

    Of requests under `name` at most `burst` may come at once, and each is worth so many microseconds.
    """
    reply = _TAKE_PERMIT.begin(store, [store_keys.permits(organization, name)], worth, burst)
    return _permit(reply)


async def _permit(reply: Awaitable[list[int]]) -> Permit:
    is_granted, left, whole_in, next_in = await reply
    return Permit(bool(is_granted), left, whole_in, next_in)
