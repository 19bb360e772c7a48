"""Permits for requests: the typed wrapper of their script, its only caller."""

from typing import NamedTuple

from shared import store_keys
from shared.atomic.script import Run, Script
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


class PendingPermit(NamedTuple):
    """A permit that was asked for; others may be asked for, and commands given, before it arrives."""

    run: Run

    async def wait(self) -> Permit:
        """Return it; raises `StoreUnavailable`."""
        is_granted, left, whole_in, next_in = await self.run.reply()
        return Permit(bool(is_granted), left, whole_in, next_in)


def take_permit(store: Store, organization: str, name: str, worth: int, burst: int) -> PendingPermit:
    """Ask for a permit for one request.

    Of requests under `name` at most `burst` pass at once, and each is worth so many microseconds.
    """
    keys = [store_keys.permits(organization, name)]
    return PendingPermit(_TAKE_PERMIT.start(store, keys, worth, burst))
