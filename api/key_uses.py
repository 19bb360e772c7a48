"""When keys were last used: noted in the process, and told to the store every now and then."""

import asyncio
import logging
import time
from collections import defaultdict
from typing import NamedTuple

from redis.exceptions import RedisError

from shared import clock
from shared.api_keys import ApiKey
from shared.atomic.key_operations import note_key_uses
from shared.store import Store, StoreUnavailable

logger = logging.getLogger(__name__)

_TELL_SECONDS = 10.0


class _Use(NamedTuple):
    organization: str
    at: float
    """Of the monotonic clock."""


class KeyUses:
    """The keys that were used since the store was told: one write for many requests.

    There is at most one for each live key, however long the store is away.
    """

    def __init__(self, store: Store) -> None:
        """Begin with none."""
        self._store = store
        self._used: dict[str, _Use] = {}

    def note(self, key: ApiKey) -> None:
        """Note that a key is used now."""
        self._used[key.id] = _Use(key.org_id, time.monotonic())

    async def tell(self) -> None:
        """Tell the store; what it does not hear now it is told again."""
        used = dict(self._used)
        if not used:
            return
        try:
            await self._write(used)
        # A refusal is no reason to end: requests are served without it.
        except (StoreUnavailable, RedisError) as error:
            logger.warning("the store was not told of the use of %s keys: %s", len(used), error)
            return
        self._used = {key_id: use for key_id, use in self._used.items() if used.get(key_id) != use}

    async def _write(self, used: dict[str, _Use]) -> None:
        # The times of use, not of telling: no key shall seem to be used after it was revoked.
        began_ms = await clock.now_ms(self._store) - time.monotonic() * 1000
        by_organization: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for key_id, use in used.items():
            by_organization[use.organization].append((key_id, int(began_ms + use.at * 1000)))
        for organization, uses in by_organization.items():
            await note_key_uses(self._store, organization, uses)

    async def go_on_telling(self) -> None:
        """Tell the store again and again; runs until it is cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(_TELL_SECONDS)
                await self.tell()
        finally:
            await self.tell()
