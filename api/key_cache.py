"""Key records in the process: most requests need not ask the store who is calling."""

import time
from typing import NamedTuple

from shared.api_keys import ApiKey, find_api_key
from shared.store import Store

_MAX_ENTRIES = 10_000
"""About 10 MB. Keys that are not known are remembered too, so that who insists costs the store little."""


class _Entry(NamedTuple):
    key: ApiKey | None
    read_at: float


class KeyCache:
    """Digest → record, believed for `max_age_seconds`: a revoked key lives no longer than that."""

    def __init__(self, store: Store, max_age_seconds: float) -> None:
        """Begin empty."""
        self._store = store
        self._max_age_seconds = max_age_seconds
        self._entries: dict[str, _Entry] = {}

    async def find(self, digest: str) -> ApiKey | None:
        """Give the record of the key with this digest, live or not; raises `StoreUnavailable`."""
        entry = self._entries.get(digest)
        if entry is None or time.monotonic() - entry.read_at >= self._max_age_seconds:
            # The age counts from before the question: a revocation while it is under way is not missed.
            asked_at = time.monotonic()
            entry = _Entry(await find_api_key(self._store, digest), asked_at)
            # The newest last, so that who is served goes on being remembered.
            self._entries.pop(digest, None)
            self._entries[digest] = entry
            if len(self._entries) > _MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
        return entry.key
