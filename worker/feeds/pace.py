"""How fast a feed may go: as fast as the store can, unless somebody is served meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import ResponseError

from shared.store import API_CLIENT, Store

_LOOK_INTERVAL_SECONDS = 0.25
_BUSY_SECONDS = 1
"""An API process that has asked the store something within this time has somebody to serve."""
_CALLS_ALONE = 32
"""Calls that reach the store together when nobody else is there: a store that writes to the disk before it
answers takes 3 ms for that, and 0.2 ms for a call. A first load of 10,000,000 took 30 s with 8 at a time."""
_CALLS_BESIDE = 1
_REST = 4.0
"""Times as long as a call took nothing is sent after it, beside others."""


class Pace:
    """Says how many calls may reach the store together, and rests after them."""

    def __init__(self, store: Store) -> None:
        """Begin as if somebody was there."""
        self._store = store
        self._is_busy = True
        self._looked_at = 0.0

    async def calls(self) -> int:
        """Give how many calls to send together; raises `StoreUnavailable`."""
        now = time.monotonic()
        if now - self._looked_at > _LOOK_INTERVAL_SECONDS:
            self._looked_at = now
            self._is_busy = await self._is_somebody_served()
        return _CALLS_BESIDE if self._is_busy else _CALLS_ALONE

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Rest after what the body sends, if somebody else is there."""
        begun = time.monotonic()
        yield
        if self._is_busy:
            await asyncio.sleep(_REST * (time.monotonic() - begun))

    async def _is_somebody_served(self) -> bool:
        try:
            clients = await self._store.execute("CLIENT LIST")
        except ResponseError:
            # This user may not ask.
            return True
        return any(
            client["name"] == API_CLIENT and int(client["idle"]) <= _BUSY_SECONDS for client in clients
        )
