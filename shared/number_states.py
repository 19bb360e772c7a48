"""How many numbers there are in each state."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from shared import store_keys
from shared.chunks import walk_hash
from shared.store import Store

_AREAS_AT_ONCE = 4
"""Area codes that are counted together: their commands share a round trip of about a millisecond, and a
search waits no longer than that."""


class StateCounts(Struct, frozen=True):
    """Numbers of an area code, or of all, by state."""

    available: int = 0
    held: int = 0
    assigned: int = 0
    quarantined: int = 0
    returned: int = 0


class StateCounter:
    """Counts the numbers of one area code as they come by."""

    def __init__(self, available: int) -> None:
        """Begin with the available ones, which the store counts."""
        self._available = available
        self._others: Counter[str] = Counter()

    def add(self, records: Iterable[bytes]) -> None:
        """Count values of `store_keys.unavailable`; what is no record counts nowhere."""
        self._others.update(record.split(b" ", 1)[0].decode(errors="replace") for record in records)

    def counts(self) -> StateCounts:
        """Give what was counted."""
        known = {name: self._others[name] for name in StateCounts.__struct_fields__ if name != "available"}
        return StateCounts(available=self._available, **known)


async def count_states(store: Store) -> dict[str, StateCounts]:
    """Count the numbers of every known area code, in the order of the codes; raises `StoreUnavailable`."""
    area_codes = sorted(area.decode() for area in await store.execute("SMEMBERS", store_keys.AREAS))
    counts: dict[str, StateCounts] = {}
    for begin in range(0, len(area_codes), _AREAS_AT_ONCE):
        some = area_codes[begin : begin + _AREAS_AT_ONCE]
        counted = await asyncio.gather(*(_count(store, area) for area in some))
        counts |= zip(some, counted, strict=True)
    return counts


def total_of(counts: Iterable[StateCounts]) -> StateCounts:
    """Add up the counts of area codes."""
    parts = list(counts)
    names = StateCounts.__struct_fields__
    return StateCounts(**{name: sum(getattr(part, name) for part in parts) for name in names})


async def _count(store: Store, area_code: str) -> StateCounts:
    counter = StateCounter(await store.execute("ZCARD", store_keys.available(area_code)))
    async for records in walk_hash(store, store_keys.unavailable(area_code)):
        counter.add(records.values())
    return counter.counts()
