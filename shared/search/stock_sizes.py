"""How many available numbers each area code has: where a search over all area codes begins."""

import asyncio
import time
from itertools import accumulate
from random import Random

from shared import store_keys
from shared.phone_number import NumberType, number_type_of
from shared.search.windows import PREFIX_DIGITS
from shared.store import Store

_MAX_AGE_SECONDS = 1.0
_random = Random()  # noqa: S311 - spreads callers over the stock, keeps no secret


async def count_available(store: Store) -> dict[str, int]:
    """Count the available numbers of every known area code, in the order of the codes."""
    area_codes = sorted(area.decode() for area in await store.execute("SMEMBERS", store_keys.AREAS))
    sizes = await store.execute_many([("ZCARD", store_keys.available(area)) for area in area_codes])
    return dict(zip(area_codes, sizes, strict=True))


class AreaCodes:
    """The area codes with stock of one number type, or of any."""

    def __init__(self, sizes: dict[str, int]) -> None:
        """Take area code → available numbers, none of them 0."""
        self.sizes = sizes
        self._ordered = list(sizes)
        self._cumulative = list(accumulate(sizes.values()))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ordered)

    @property
    def total(self) -> int:
        """How many available numbers they have together."""
        return self._cumulative[-1] if self._cumulative else 0

    def have_prefix(self, pattern: str) -> bool:
        """Whether a pattern is `1NPA` of one of them: all its numbers match."""
        return len(pattern) == PREFIX_DIGITS and pattern.startswith("1") and pattern[1:] in self.sizes

    def draw_order(self) -> list[str]:
        """Return a random area code, by its stock, and then those that follow it, around the end."""
        if not self._ordered:
            return []
        [first] = _random.choices(range(len(self)), cum_weights=self._cumulative)
        return self._ordered[first:] + self._ordered[:first]


class StockSizes:
    """The area codes with stock, at most a second old."""

    def __init__(self, store: Store) -> None:
        """Prepare; the first caller reads them."""
        self._store = store
        self._by_type: dict[NumberType | None, AreaCodes] = {}
        self._read_at = -_MAX_AGE_SECONDS
        self._reading: asyncio.Task[None] | None = None

    async def read(self, number_type: NumberType | None = None) -> AreaCodes:
        """Return the area codes with stock of a type; raises `StoreUnavailable`."""
        if time.monotonic() - self._read_at >= _MAX_AGE_SECONDS:
            # One read for all callers that wait for it, and it outlives the caller that began it.
            self._reading = self._reading or asyncio.create_task(self._read_all())
            await asyncio.shield(self._reading)
        return self._by_type[number_type]

    async def _read_all(self) -> None:
        try:
            asked_at = time.monotonic()
            sizes = {area: size for area, size in (await count_available(self._store)).items() if size}
            self._by_type = {None: AreaCodes(sizes)} | {
                number_type: AreaCodes(
                    {area: size for area, size in sizes.items() if number_type_of(area) is number_type}
                )
                for number_type in NumberType
            }
            self._read_at = asked_at
        finally:
            self._reading = None
