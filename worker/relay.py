"""The relay: every event of every area code, into the one stream that other services read.

Each area code has a stream of its own, written by the scripts that change its numbers. Relaying is a step of
its own because no script can write to two slots of a cluster; it loses nothing and repeats nothing, for the
place that an area code's relay has come to is kept beside the target and moves in the script that writes
there. Any number of relays may run: one of them is faster, and the others find that out.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Awaitable, Mapping, Sequence
from random import Random
from typing import TypeVar

from redis.exceptions import ResponseError

from shared import clock, store_keys
from shared.atomic.event_operations import MAX_ENTRIES_PER_CALL, NotRelayable, relay_events
from shared.number_events import Entry, reading_after
from shared.settings import Settings
from shared.store import Store
from worker.trim import earlier, id_at, trim

logger = logging.getLogger(__name__)

_AREAS_AT_ONCE = 8
"""Area codes whose entries are read in one batch: reading more would keep the worker from other things."""

_AREAS_TRIMMED = 4
"""Area codes that are trimmed at a time: with all of them in use, each has its turn about once a minute."""

_random = Random()  # noqa: S311 - spreads the trimming over the area codes, keeps no secret

Positions = Mapping[bytes, bytes]
T = TypeVar("T")


class Relay:
    """One relay; `step` is to be called again and again."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Prepare."""
        self._store = store
        self._settings = settings
        self._refused: dict[str, str] = {}
        """Area code → why its events cannot be relayed, of those where that was so in the last round."""
        # Anywhere: workers that are started again and again would never come to the last ones.
        self._trimmed_last = f"{_random.randrange(1000):03}"

    async def step(self) -> int:
        """Relay the events that there are, drop some that are too old; give how many were relayed.

        Raises:
            StoreUnavailable: the store did not answer; the next call goes on.
        """
        relayed = 0
        while True:
            area_codes, positions = await self._read_positions()
            counts = await self._relay_round(area_codes, positions)
            # In each round: of a backlog nobody knows when it ends.
            await self._trim_next([area for area in area_codes if area not in self._refused], positions)
            relayed += sum(counts)
            # What has come since is the next step's: where events come steadily, no round finds nothing.
            if max(counts, default=0) < MAX_ENTRIES_PER_CALL:
                return relayed

    async def _read_positions(self) -> tuple[list[str], Positions]:
        areas, positions = await self._store.execute_many(
            [("SMEMBERS", store_keys.AREAS), ("HGETALL", store_keys.EVENTS_RELAYED)]
        )
        return [area.decode() for area in areas], positions

    async def _relay_round(self, area_codes: Sequence[str], positions: Positions) -> list[int]:
        """Relay the next entries of each area code, at most one call's: a long backlog lets the others pass.

        Gives how many they were, of each area code with news.
        """
        refused: dict[str, str] = {}

        async def unless_refused(area_code: str, work: Awaitable[T], otherwise: T) -> T:
            # One area code whose keys or events are broken keeps nobody else waiting.
            try:
                return await work
            except (ResponseError, NotRelayable) as error:
                refused[area_code] = str(error)
                return otherwise

        after = {area_code: positions.get(area_code.encode(), b"") for area_code in area_codes}
        news = await asyncio.gather(
            *(unless_refused(area, self._read(area, after[area], 1), []) for area in area_codes)
        )
        with_news = [area_code for area_code, entries in zip(area_codes, news, strict=True) if entries]
        counts: list[int] = []
        for begin in range(0, len(with_news), _AREAS_AT_ONCE):
            group = with_news[begin : begin + _AREAS_AT_ONCE]
            counts += await asyncio.gather(
                *(unless_refused(area, self._relay_next(area, after[area]), 0) for area in group)
            )
        self._tell_refused(refused)
        return counts

    async def _relay_next(self, area_code: str, after: bytes) -> int:
        entries = await self._read(area_code, after, MAX_ENTRIES_PER_CALL)
        return await relay_events(self._store, area_code, after, entries) if entries else 0

    async def _read(self, area_code: str, after: bytes, most: int) -> list[Entry]:
        """Give an area code's oldest entries that are not relayed yet."""
        entries: list[Entry] = await self._store.execute(*reading_after(area_code, after, most))
        return entries

    def _tell_refused(self, refused: dict[str, str]) -> None:
        """Log what has changed since the last round: the same trouble every second would hide all else."""
        for area_code, reason in refused.items():
            if self._refused.get(area_code) != reason:
                logger.error("events of area code %s are not relayed: %s", area_code, reason)
        for area_code in self._refused.keys() - refused.keys():
            logger.info("events of area code %s are relayed again", area_code)
        self._refused = refused

    async def _trim_next(self, area_codes: Sequence[str], positions: Positions) -> None:
        """Drop events that are too old from the common stream and, if they are relayed, from area codes'."""
        cutoff = id_at(await clock.now_ms(self._store) - clock.ms_of(self._settings.event_retention_seconds))
        oldest_kept = {
            store_keys.events(area_code): earlier(cutoff, positions[area_code.encode()])
            for area_code in self._next_turn(area_codes)
            if area_code.encode() in positions
        }
        await trim(self._store, {store_keys.NUMBER_EVENTS: cutoff, **oldest_kept})

    def _next_turn(self, area_codes: Sequence[str]) -> list[str]:
        """Give the area codes that come after those of the last turn; after the last come the first."""
        ordered = sorted(area_codes)
        begin = bisect_right(ordered, self._trimmed_last)
        chosen = (ordered[begin:] + ordered[:begin])[:_AREAS_TRIMMED]
        if chosen:
            self._trimmed_last = chosen[-1]
        return chosen
