"""How many numbers there are in each state."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from shared import store_keys
from shared.chunks import walk_hash
from shared.store import Store


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
    sizes = await store.execute_many(
        [
            command
            for area in area_codes
            for command in (("ZCARD", store_keys.available(area)), ("HLEN", store_keys.unavailable(area)))
        ]
    )
    counts = await asyncio.gather(
        *(
            _count(store, area, available, unavailable)
            for area, available, unavailable in zip(area_codes, sizes[::2], sizes[1::2], strict=True)
        )
    )
    return dict(zip(area_codes, counts, strict=True))


def total_of(counts: Iterable[StateCounts]) -> StateCounts:
    """Add up the counts of area codes."""
    parts = list(counts)
    names = StateCounts.__struct_fields__
    return StateCounts(**{name: sum(getattr(part, name) for part in parts) for name in names})


async def _count(store: Store, area_code: str, available: int, unavailable: int) -> StateCounts:
    counter = StateCounter(available)
    if unavailable:
        async for records in walk_hash(store, store_keys.unavailable(area_code)):
            counter.add(records.values())
    return counter.counts()
