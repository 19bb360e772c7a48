"""The relay: every event of every area code, into the one stream that other services read.

Each area code has a stream of its own, written by the scripts that change its numbers. Relaying is a step of
its own because no script can write to two slots of a cluster; it loses nothing and repeats nothing, for the
place that an area code's relay has come to is kept beside the target and moves in the script that writes
there. Any number of relays may run: one of them is faster, and the others find that out.
"""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random

from shared import clock, store_keys
from shared.atomic.event_operations import MAX_ENTRIES_PER_CALL, relay_events
from shared.number_events import Entry, reading_after
from shared.settings import Settings
from shared.store import Store
from worker.trim import earlier, id_at, trim

_AREAS_AT_ONCE = 8
"""Area codes whose entries are read in one batch: reading more would keep the worker from other things."""

_AREAS_TRIMMED = 4
"""Area codes that are trimmed in one step: with all of them in use, each has its turn about once a minute."""

_random = Random()  # noqa: S311 - spreads the trimming over time, keeps no secret

Positions = Mapping[bytes, bytes]


async def relay_once(store: Store, settings: Settings) -> int:
    """Relay all events that are not relayed yet, drop a few that are too old; give how many were relayed.

    Raises:
        StoreUnavailable: the store did not answer; the next call goes on.
    """
    relayed = 0
    while True:
        area_codes, positions = await _read_positions(store)
        count = await _relay_round(store, area_codes, positions)
        if count == 0:
            break
        relayed += count
    chosen = _random.sample(area_codes, min(_AREAS_TRIMMED, len(area_codes)))
    await trim_events(store, settings, chosen, positions)
    return relayed


async def trim_events(
    store: Store, settings: Settings, area_codes: Sequence[str], positions: Positions
) -> None:
    """Drop events older than is kept from the common stream and, if they are relayed, from area codes'."""
    cutoff = id_at(await clock.now_ms(store) - clock.ms_of(settings.event_retention_seconds))
    oldest_kept = {
        store_keys.events(area_code): earlier(cutoff, positions[area_code.encode()])
        for area_code in area_codes
        if area_code.encode() in positions
    }
    await trim(store, {store_keys.NUMBER_EVENTS: cutoff, **oldest_kept})


async def _read_positions(store: Store) -> tuple[list[str], Positions]:
    areas, positions = await store.execute_many(
        [("SMEMBERS", store_keys.AREAS), ("HGETALL", store_keys.EVENTS_RELAYED)]
    )
    return [area.decode() for area in areas], positions


async def _relay_round(store: Store, area_codes: Sequence[str], positions: Positions) -> int:
    """Relay the next entries of each area code, at most one call's: a long backlog lets the others pass."""
    news = await _read(store, area_codes, positions, 1)
    with_news = [area_code for area_code, entries in zip(area_codes, news, strict=True) if entries]
    count = 0
    for begin in range(0, len(with_news), _AREAS_AT_ONCE):
        group = with_news[begin : begin + _AREAS_AT_ONCE]
        lists = await _read(store, group, positions, MAX_ENTRIES_PER_CALL)
        done = await asyncio.gather(
            *(
                relay_events(store, area_code, positions.get(area_code.encode(), b""), entries)
                for area_code, entries in zip(group, lists, strict=True)
                if entries
            )
        )
        count += sum(done)
    return count


async def _read(
    store: Store, area_codes: Sequence[str], positions: Positions, most: int
) -> list[list[Entry]]:
    """Give each area code's oldest entries that are not relayed yet."""
    return await store.execute_many(
        [reading_after(area_code, positions.get(area_code.encode(), b""), most) for area_code in area_codes]
    )
