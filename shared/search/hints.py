"""The hints of a process: read at the first search, kept current by events, dropped when unused.

Reading is done in steps of bounded cost. A small stock is read at once, before its first search is
answered. A large one is read in the background; until then searches scan it.

Every script that changes the stock writes an event of the area code, so the events after a hint's
version are what has changed. The number of members is compared as well: changes made by other means
are noticed, and the hint is read again.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeVar

from shared import store_keys
from shared.futures import mark_retrieved
from shared.number_events import Entry
from shared.phone_number import NumberType
from shared.search.hint import Candidates, Hint, Version, parse_version, size_bytes
from shared.search.joined_hints import JoinedHints
from shared.search.stock_sizes import AreaCodes
from shared.settings import Settings
from shared.stock_score import score
from shared.store import Argument, Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

_STEP_NUMBERS: Final = 2_500
"""Numbers of one read: 0.3 ms of the store's time, 0.8 ms of the process's."""
_READ_AT_ONCE: Final = 20_000
"""Size of a stock up to which a search waits for its hint: 10 ms. It takes as long as scanning it."""
_STEP_PAUSE_SECONDS: Final = 0.002
"""Between two reads in the background: they take 8 % of the store's time and 25 % of the process's; 1,000,000
numbers take 1.5 s."""

_READ_AGAIN_SECONDS: Final = 30.0
"""Between two reads of a large stock that changes by other means than the scripts."""

_DUE_SECONDS: Final = 0.5
"""Age from which a search brings the hint up to date on the way, in its own round trip."""
_STEP_EVENTS: Final = 100
"""Events read at once: each names up to 100 numbers."""
_UNUSED_SECONDS: Final = 600.0
"""A hint that no search has used for so long is dropped."""
_IN_USE_SECONDS: Final = 10.0
"""A hint that was used so recently is not dropped for another: it would be read again at once."""

_READ_TOGETHER: Final = 8
"""Hints read in one round trip."""


_COVERED: Final = len(NumberType) + 1
"""Sets of area codes that are remembered to have hints: one for each number type."""


class State(Enum):
    """How a hint stands to the store after events were read."""

    UNCHANGED = "unchanged"
    """There were none."""
    CHANGED = "changed"
    """It has all events there were."""
    BEHIND = "behind"
    """There are more events."""
    WRONG = "wrong"
    """It has all events, but not as many numbers as the store."""


class Hints:
    """Area code → hint."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Begin with none; together they take at most `search_hint_megabytes`, 0 for no hints at all."""
        self._store = store
        self._budget_bytes = settings.search_hint_megabytes * 2**20
        # Later the events after its version may have been trimmed.
        self._kept_seconds = min(_UNUSED_SECONDS, settings.event_retention_seconds / 2)
        self._hints: dict[str, Hint] = {}
        self._reading: dict[str, asyncio.Task[Hint | None]] = {}
        self._filling: dict[str, asyncio.Task[Hint | None]] = {}
        self._reserved_bytes: dict[str, int] = {}
        self._refused_until: dict[str, float] = {}
        """Area codes for which there was no room, or whose members are no numbers; monotonic seconds."""
        self._joined: JoinedHints | None = None
        """Of all hints; None until it is needed."""
        self._covered: dict[AreaCodes, list[str]] = {}
        """Area codes whose hints were read → those that have none."""
        self._covering: asyncio.Task[None] | None = None
        self._sync: asyncio.Task[None] | None = None
        self._next_sync: asyncio.Task[None] | None = None
        self._all_synced_at = 0.0

    def ready(self, area_code: str) -> Hint | None:
        """Return the hint if there is one that can be brought up to date."""
        hint = self._hints.get(area_code)
        if hint is None:
            return None
        now = time.monotonic()
        if now - hint.synced_at > self._kept_seconds:
            self.drop(area_code)
            return None
        hint.used_at = now
        return hint

    async def read(self, area_code: str) -> Hint | None:
        """Read the hint of an area code that has none; None if that takes long, or there is no room for it.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        is_refused = time.monotonic() < self._refused_until.get(area_code, 0.0)
        if is_refused or area_code in self._filling or not self._budget_bytes:
            return None
        # One read for all searches that wait for it, and it outlives the caller that began it.
        return await asyncio.shield(self._reading.get(area_code) or self._begin_reading(area_code))

    def drop(self, area_code: str) -> None:
        """Forget a hint."""
        self._hints.pop(area_code, None)
        self._joined = None
        self._covered.clear()

    async def filled(self, area_code: str) -> None:
        """Wait until a hint that is read in the background has been."""
        if (filling := self._filling.get(area_code)) is not None:
            await asyncio.shield(filling)

    async def close(self) -> None:
        """Stop reading."""
        shared = (self._covering, self._sync, self._next_sync)
        tasks = [*self._reading.values(), *self._filling.values(), *(task for task in shared if task)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def is_due(self, hint: Hint) -> bool:
        """Whether a search should bring the hint up to date on its way."""
        return time.monotonic() - hint.synced_at > _DUE_SECONDS

    def are_due(self) -> bool:
        """Whether a search over all area codes should bring all hints up to date first."""
        return time.monotonic() - self._all_synced_at > _DUE_SECONDS

    def sync_commands(self, hint: Hint) -> list[tuple[Argument, ...]]:
        """Return the commands whose replies `apply` takes."""
        # Counted twice, for the stock may change between two commands.
        count = ("ZCARD", hint.key)
        return [count, _reading_events(hint), count]

    def apply(self, hint: Hint, replies: Sequence[Any]) -> State:
        """Bring a hint up to date."""
        before, entries, after = replies
        self._apply_entries(hint, entries)
        if len(entries) == _STEP_EVENTS:
            return State.BEHIND
        hint.synced_at = time.monotonic()
        if before == after != len(hint.numbers):
            self._replace(hint)
            return State.WRONG
        return State.CHANGED if entries else State.UNCHANGED

    async def cover(self, areas: AreaCodes) -> list[str]:
        """Read the hints of all area codes; return those that have none.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        while areas not in self._covered:
            self._covering = self._covering or _started(self._cover(areas))
            await asyncio.shield(self._covering)
        return self._covered[areas]

    async def sync_all(self) -> None:
        """Bring all hints up to date, by events that are read after this call.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        # One read for all callers since the last one began.
        if self._next_sync is None:
            self._next_sync = _started(self._sync_after(self._sync))
        await asyncio.shield(self._next_sync)

    def find_rare(self, areas: AreaCodes, pattern: str, wanted: int) -> Candidates:
        """Return numbers of many area codes, as `JoinedHints.find`."""
        if self._joined is None:
            self._joined = JoinedHints(self._hints.values())
        return self._joined.find(areas, pattern, wanted)

    def _apply_entries(self, hint: Hint, entries: Sequence[Entry]) -> None:
        added = hint.apply(entries) if entries else []
        if added and self._joined is not None:
            self._joined.add(hint, added)

    async def _cover(self, areas: AreaCodes) -> None:
        try:
            missing = [area_code for area_code in areas.sizes if self.ready(area_code) is None]
            for first in range(0, len(missing), _READ_TOGETHER):
                await asyncio.gather(*map(self.read, missing[first : first + _READ_TOGETHER]))
            await self._check_sizes(areas.sizes)
            if len(self._covered) >= _COVERED:
                self._covered.clear()
            self._covered[areas] = [area_code for area_code in areas.sizes if area_code not in self._hints]
        finally:
            self._covering = None

    async def _check_sizes(self, sizes: Mapping[str, int]) -> None:
        """Drop and read again the hints that have all events but another size than the store."""
        await self.sync_all()
        suspects = [hint for hint in self._hints.values() if len(hint.numbers) != sizes.get(hint.area_code)]
        for hint in suspects:
            if self.apply(hint, await self._store.execute_many(self.sync_commands(hint))) is State.WRONG:
                await self.read(hint.area_code)

    async def _sync_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._sync, self._next_sync = asyncio.current_task(), None
        began = self._all_synced_at = time.monotonic()
        hints = list(self._hints.values())
        behind = {hint.events_key: hint for hint in hints}
        while behind:
            versions = map(_event_id, behind.values())
            streams = await self._store.execute("XREAD", "COUNT", _STEP_EVENTS, "STREAMS", *behind, *versions)
            for key, entries in streams or ():
                self._apply_entries(behind[key], entries)
            behind = {key: behind[key] for key, entries in streams or () if len(entries) == _STEP_EVENTS}
        for hint in hints:
            hint.synced_at = began

    def _begin_reading(self, area_code: str) -> asyncio.Task[Hint | None]:
        reading = self._reading[area_code] = _started(self._read(area_code))
        reading.add_done_callback(lambda _: self._reading.pop(area_code, None))
        return reading

    async def _read(self, area_code: str) -> Hint | None:
        """Read a small stock; begin to read a large one."""
        newest, size = await self._store.execute_many(
            [
                # First: what changes while the numbers are read is then among the events after it.
                ("XREVRANGE", store_keys.events(area_code), "+", "-", "COUNT", 1),
                ("ZCARD", store_keys.available(area_code)),
            ]
        )
        if not self._make_room(area_code, size_bytes(size)):
            self._refused_until[area_code] = time.monotonic() + _IN_USE_SECONDS
            return None
        hint = Hint(area_code, _version_of(newest))
        if size <= _READ_AT_ONCE:
            return await self._fill(hint, 0.0)
        filling = self._filling[area_code] = _started(self._fill(hint, _STEP_PAUSE_SECONDS))
        filling.add_done_callback(lambda _: self._filling.pop(area_code, None))
        return None

    async def _fill(self, hint: Hint, pause_seconds: float) -> Hint | None:
        """Read the numbers, and keep the hint; None if they are no numbers."""
        last: int | None = -1
        try:
            while last is not None:
                # By score: ranks move while the stock changes.
                members = await self._store.execute(*_reading_numbers(hint.area_code, last))
                hint.extend(members)
                last = int(members[-1][5:]) if len(members) == _STEP_NUMBERS else None
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)
        except ValueError as error:
            self._refused_until[hint.area_code] = time.monotonic() + _READ_AGAIN_SECONDS
            logger.warning("searches go without a hint: %s", error)
            return None
        finally:
            self._reserved_bytes.pop(hint.area_code, None)
        hint.read_at = hint.used_at = time.monotonic()
        # Not yet brought up to date.
        hint.synced_at = hint.read_at - _DUE_SECONDS
        self.drop(hint.area_code)
        self._hints[hint.area_code] = hint
        return hint

    def _replace(self, hint: Hint) -> None:
        """Read a wrong hint again: a small one before the next search, a large one in the background."""
        if len(hint.numbers) <= _READ_AT_ONCE:
            self.drop(hint.area_code)
            return
        hint.is_wrong = True
        now = time.monotonic()
        if now - hint.read_at > _READ_AGAIN_SECONDS:
            hint.read_at = now
            self._begin_reading(hint.area_code)

    def _make_room(self, area_code: str, needed_bytes: int) -> bool:
        """Reserve memory for a hint; drop those that no search uses, the longest unused first."""
        now = time.monotonic()
        used_bytes = sum(hint.size_bytes for hint in self._hints.values()) + sum(
            self._reserved_bytes.values()
        )
        free_bytes = self._budget_bytes - used_bytes
        for hint in sorted(self._hints.values(), key=lambda hint: hint.used_at):
            unused_seconds = now - hint.used_at
            is_needed = free_bytes < needed_bytes and unused_seconds > _IN_USE_SECONDS
            if is_needed or unused_seconds > self._kept_seconds:
                free_bytes += hint.size_bytes
                self.drop(hint.area_code)
        if free_bytes < needed_bytes:
            return False
        self._reserved_bytes[area_code] = needed_bytes
        return True


def _started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that outlives the caller, whose errors are for those that wait for it."""
    task = asyncio.create_task(work)
    task.add_done_callback(mark_retrieved)
    return task


def _reading_numbers(area_code: str, after: int) -> tuple[Argument, ...]:
    """Return the command that reads the lowest numbers above a local number."""
    key = store_keys.available(area_code)
    return "ZRANGE", key, score(after + 1, 0), "+inf", "BYSCORE", "LIMIT", 0, _STEP_NUMBERS


def _reading_events(hint: Hint) -> tuple[Argument, ...]:
    return "XRANGE", hint.events_key, f"({_event_id(hint)}", "+", "COUNT", _STEP_EVENTS


def _event_id(hint: Hint) -> str:
    ms, sequence = hint.version
    return f"{ms}-{sequence}"


def _version_of(newest: Sequence[Entry]) -> Version:
    return parse_version(newest[0][0]) if newest else (0, 0)
