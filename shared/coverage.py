"""Coverage: what there is in each area code, and when each carrier last said what it offers there."""

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from shared import store_keys
from shared.clock import time_of
from shared.number_states import StateCounts, count_states
from shared.store import Store


class Confirmation(NamedTuple):
    """When a carrier last said what it offers somewhere."""

    carrier: str
    at: datetime


class AreaCoverage(Struct, frozen=True):
    """What there is in one area code."""

    area_code: str
    counts: StateCounts
    confirmations: list[Confirmation]
    """In the order of the carriers' names."""


async def read_coverage(store: Store) -> list[AreaCoverage]:
    """Give the coverage of every known area code, in the order of the codes; raises `StoreUnavailable`."""
    confirmations = await _confirmations(store)
    counts = await count_states(store)
    return [AreaCoverage(area, counted, confirmations[area]) for area, counted in counts.items()]


async def _confirmations(store: Store) -> defaultdict[str, list[Confirmation]]:
    by_area: defaultdict[str, list[Confirmation]] = defaultdict(list)
    carriers = [carrier.decode() for carrier in await store.execute("HKEYS", store_keys.FEEDS)]
    for carrier in sorted(carriers):
        confirmed = await store.execute("HGETALL", store_keys.feed_confirmed(carrier))
        for area_code, at_ms in confirmed.items():
            by_area[area_code.decode()].append(Confirmation(carrier, time_of(int(at_ms))))
    return by_area
