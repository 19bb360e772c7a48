"""Permits for requests: the typed wrapper of their script, its only caller."""

from typing import NamedTuple

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


async def take_permit(store: Store, organization: str, name: str, worth: int, burst: int) -> Permit:
    """Let a request through, or say when to come again.

    Of requests under `name` at most `burst` may come at once, and each is worth so many microseconds.
    """
    keys = [store_keys.permits(organization, name)]
    is_granted, left, whole_in, next_in = await _TAKE_PERMIT.run(store, keys, worth, burst)
    return Permit(bool(is_granted), left, whole_in, next_in)
