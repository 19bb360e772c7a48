"""How much each area code has in stock: where a search looks first, and how it looks."""

import asyncio
import time
from random import Random
from typing import NamedTuple

from shared import store_keys
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL
from shared.stock_score import score
from shared.store import Store

_MAX_AGE_SECONDS = 1.0

_PROBES, _PROBE_NUMBERS = 16, 77_777
"""Samples that tell a clumped stock from one that is spread, each about 1 % of an area code: 16 ZCOUNT of
1-2 µs. No round number, for that would always cut as many blocks as the next sample."""
_random = Random()  # noqa: S311 - draws samples, keeps no secret


class AreaSize(NamedTuple):
    """How many numbers an area code has, and about how many of them lie together."""

    numbers: int
    clump: float
    """1 where the stock is spread at random, 1,000 in full thousands blocks."""


UNKNOWN_CLUMP = 1_000.0
"""The clump of an area code that was only counted: it may well lie in thousands blocks."""


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
        self._single: dict[str, tuple[AreaSize, float]] = {}

    async def read(self) -> dict[str, int]:
        """Give area code → available numbers, without empty area codes; raises `StoreUnavailable`."""
        if time.monotonic() - self._read_at >= _MAX_AGE_SECONDS:
            # One question for all who wait for the answer, and it outlives the caller who asked first.
            self._reading = self._reading or asyncio.create_task(self._read_all())
            await asyncio.shield(self._reading)
        return self._sizes

    async def size_of(self, area_code: str) -> AreaSize:
        """Measure the stock of one area code; raises `StoreUnavailable`."""
        size, asked_at = self._single.get(area_code, (AreaSize(0, 1), -_MAX_AGE_SECONDS))
        if time.monotonic() - asked_at >= _MAX_AGE_SECONDS:
            asked_at = time.monotonic()
            size = await self._measure(area_code)
            self._single[area_code] = (size, asked_at)
        return size

    async def _measure(self, area_code: str) -> AreaSize:
        key = store_keys.available(area_code)
        begins = [_random.randrange(LOWEST_LOCAL, LOCAL_NUMBERS - _PROBE_NUMBERS) for _ in range(_PROBES)]
        ranges = [(score(begin, 0), f"({score(begin + _PROBE_NUMBERS, 0)}") for begin in begins]
        size, *counts = await self._store.execute_many(
            [("ZCARD", key), *(("ZCOUNT", key, low, high) for low, high in ranges)]
        )
        expected = size * _PROBE_NUMBERS / (LOCAL_NUMBERS - LOWEST_LOCAL)
        # Numbers that come in clumps of c vary c times as much as single ones, whose variance is their mean.
        variance = sum((count - expected) ** 2 for count in counts) / _PROBES
        return AreaSize(size, max(variance / expected, 1.0) if size else 1.0)

    async def _read_all(self) -> None:
        try:
            asked_at = time.monotonic()
            self._sizes = {area: size for area, size in (await count_available(self._store)).items() if size}
            self._read_at = asked_at
        finally:
            self._reading = None
