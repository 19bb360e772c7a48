"""How much each area code has in stock: where a search looks first, and how it looks."""

import asyncio
import time

from shared import store_keys
from shared.store import Store

_MAX_AGE_SECONDS = 1.0


async def count_available(store: Store) -> dict[str, int]:
    """Count the available numbers of every known area code, in the order of the codes."""
    area_codes = sorted(area.decode() for area in await store.execute("SMEMBERS", store_keys.AREAS))
    sizes = await store.execute_many([("ZCARD", store_keys.available(area)) for area in area_codes])
    return dict(zip(area_codes, sizes, strict=True))


class AreaStock:
    """How many numbers area codes have available, as of at most a second ago."""

    def __init__(self, store: Store) -> None:
        """Prepare; the first to ask has the store asked."""
        self._store = store
        self._sizes: dict[str, int] = {}
        self._read_at = -_MAX_AGE_SECONDS
        self._reading: asyncio.Task[None] | None = None
        self._single: dict[str, tuple[int, float]] = {}

    async def read(self) -> dict[str, int]:
        """Give area code → available numbers, without empty area codes; raises `StoreUnavailable`."""
        if time.monotonic() - self._read_at >= _MAX_AGE_SECONDS:
            # One question for all who wait for the answer, and it outlives the caller who asked first.
            self._reading = self._reading or asyncio.create_task(self._read_all())
            await asyncio.shield(self._reading)
        return self._sizes

    async def size_of(self, area_code: str) -> int:
        """Give the available numbers of one area code; raises `StoreUnavailable`."""
        size, asked_at = self._single.get(area_code, (0, -_MAX_AGE_SECONDS))
        if time.monotonic() - asked_at >= _MAX_AGE_SECONDS:
            asked_at = time.monotonic()
            size = await self._store.execute("ZCARD", store_keys.available(area_code))
            self._single[area_code] = (size, asked_at)
        return size

    async def _read_all(self) -> None:
        try:
            asked_at = time.monotonic()
            self._sizes = {area: size for area, size in (await count_available(self._store)).items() if size}
            self._read_at = asked_at
        finally:
            self._reading = None
