"""The search for available numbers.

1. A *hint*, in the process, proposes numbers that match (`hint.py`).
2. The store returns which of them are available now (`ZMSCORE`), in one round trip. If these are as many
   as wanted, the search ends here.
3. If the hint has fewer, it is brought up to date in the same round trip, by the events since its version
   (`hints.py`). If there were none, no other number matches. If there were some, the search begins again.

An area code without a hint is scanned: patterns that match few numbers are looked up by name, others are
found by `ZSCAN … MATCH`. So a hint that is missing, old or wrong costs time, never a match.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from msgspec import Struct

from shared import store_keys
from shared.phone_number import NumberType, number_type_of
from shared.search.hint import Hint
from shared.search.hints import Hints, State
from shared.search.stock_sizes import AreaCodes, StockSizes
from shared.search.windows import (
    PREFIX_DIGITS,
    count_numbers,
    numbers_in,
    windows_of,
)
from shared.settings import Settings
from shared.store import Argument, Store

_FEW_AREAS: Final = 8
"""Area codes that are searched one after the other, whatever the pattern."""
_PLENTY: Final = 2
"""Expected matches of the first area code, in wanted ones, from which it is searched alone."""
_ROUNDS: Final = 5
"""Times that candidates are drawn for one search before the area code is scanned."""

_LOOKED_UP_LOCALS: Final = 5_000
"""Size of windows up to which, without a hint, all numbers are looked up by name (0.25 µs each)."""
_LOOKED_UP_AT_ONCE: Final = 500
_SCANNED_AT_ONCE: Final = 1_000
"""Members of one call: at most 0.2 ms of the store's time."""

_SAMPLE_NUMBERS: Final = 500
"""Random numbers of a stock without a hint that are looked at first: 0.2 ms of the store's time."""

_RARE_DIGITS: Final = 4
"""Length of patterns from which a search over all area codes asks first which of them have a match at all."""

_ZMSCORE: Final = b"ZMSCORE"
"""As bytes, so that the store's client leaves the scores as they are: only whether there is one counts."""

_random = Random()  # noqa: S311 - spreads callers over the stock, keeps no secret


class Query(Struct, frozen=True):
    """Criteria of a search; the empty pattern matches every number."""

    area_code: str | None = None
    number_type: NumberType | None = None
    pattern: str = ""
    quantity: int = 10


class Search:
    """The search of one process."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Begin without hints."""
        self._store = store
        self._hints = Hints(store, settings)
        self._sizes = StockSizes(store)

    async def find(self, query: Query) -> list[bytes]:
        """Return up to `query.quantity` available numbers that match, as E.164 texts in ascending order.

        They are neighbours that follow a random match: callers that search at the same time and take the
        first number each get another. Fewer than wanted means that there are no more.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        if query.area_code is None:
            found = await self._find_anywhere(query)
        elif query.number_type in (None, number_type_of(query.area_code)):
            found = await self._find_in_area(query.area_code, query.pattern, query.quantity)
        else:
            found = []
        found.sort()
        return found

    async def learn(self, area_code: str) -> None:
        """Read the hint of an area code to its end; raises `StoreUnavailable`."""
        await self._hints.read(area_code)
        await self._hints.filled(area_code)

    async def close(self) -> None:
        """Stop reading hints."""
        await self._hints.close()

    async def _find_in_area(self, area_code: str, pattern: str, wanted: int) -> list[bytes]:
        is_current = must_sync = False
        for _ in range(_ROUNDS):
            hint = self._hints.ready(area_code) or await self._hints.read(area_code)
            if hint is None:
                break
            drawn = hint.find(pattern, wanted)
            is_syncing = not is_current and (must_sync or drawn.are_all or self._hints.is_due(hint))
            found, state = await self._verify(hint, drawn.members, is_syncing=is_syncing)
            # A hint that has all events there were after this search began has all matches.
            if len(found) == wanted or (drawn.are_all and (is_current or state is State.UNCHANGED)):
                return found
            if hint.is_wrong:
                if drawn.are_all:
                    break
                hint.discard(set(drawn.members).difference(found))
            is_current = is_current or state is State.CHANGED
            must_sync = True
        return await self._scan(area_code, pattern, wanted)

    async def _verify(
        self, hint: Hint, members: list[bytes], *, is_syncing: bool
    ) -> tuple[list[bytes], State | None]:
        """Return those of the numbers that are available now; sync the hint in the same round trip."""
        if not is_syncing:
            scores = await self._store.execute(_ZMSCORE, hint.key, *members) if members else []
            return _available(members, scores), None
        lookup: list[tuple[Argument, ...]] = [(_ZMSCORE, hint.key, *members)] if members else []
        commands = self._hints.sync_commands(hint)
        replies = await self._store.execute_many([*commands, *lookup])
        state = self._hints.apply(hint, replies[: len(commands)])
        return (_available(members, replies[-1]) if members else []), state

    async def _scan(self, area_code: str, pattern: str, wanted: int) -> list[bytes]:
        """Find numbers without a hint."""
        windows = windows_of(area_code, pattern)
        key = store_keys.available(area_code)
        found: dict[bytes, None] = {}
        if count_numbers(windows) <= _LOOKED_UP_LOCALS:
            members = [b"+1%s%d" % (area_code.encode(), local) for local in numbers_in(windows)]
            first = _random.randrange(len(members)) if members else 0
            members = members[first:] + members[:first]
            while members and len(found) < wanted:
                some, members = members[:_LOOKED_UP_AT_ONCE], members[_LOOKED_UP_AT_ONCE:]
                found |= dict.fromkeys(_available(some, await self._store.execute(_ZMSCORE, key, *some)))
            return list(found)[:wanted]
        # Searches of the same moment would all begin with the first number that a scan shows.
        sample = await self._store.execute("ZRANDMEMBER", key, _SAMPLE_NUMBERS)
        sampled = sorted(member for member in sample if pattern.encode() in member)
        if len(sampled) >= wanted:
            first = _random.randrange(len(sampled) - wanted + 1)
            return sampled[first : first + wanted]
        glob = f"{pattern}*" if pattern.startswith("+") else f"*{pattern}*"
        cursor: int | None = None
        while cursor != 0 and len(found) < wanted:
            cursor, scored = await self._store.execute(
                "ZSCAN", key, cursor or 0, "MATCH", glob, "COUNT", _SCANNED_AT_ONCE
            )
            found |= dict.fromkeys(member for member, _ in scored)
        return list(found)[:wanted]

    async def _find_anywhere(self, query: Query) -> list[bytes]:
        pattern, wanted = query.pattern, query.quantity
        areas = await self._sizes.read(query.number_type)
        if self._hints.are_due():
            await self._hints.sync_all()
        order = areas.draw_order()
        if pattern.startswith("+"):
            order = [area for area in order if _may_begin(f"+1{area}", pattern)]
        elif len(pattern) >= _RARE_DIGITS and len(areas) > _FEW_AREAS and not areas.have_prefix(pattern):
            return await self._find_rare(areas, pattern, wanted)
        if not order:
            return []
        found: list[bytes] = []
        if areas.sizes[order[0]] >= _PLENTY * wanted * 10 ** len(pattern):
            found = await self._find_in_area(order[0], pattern, wanted)
            order = order[1:]
        if order and len(found) < wanted:
            found += await self._find_along(order, pattern, wanted - len(found))
        return found

    async def _find_along(self, order: Sequence[str], pattern: str, wanted: int) -> list[bytes]:
        """Find numbers in the first area codes that have enough together."""
        found: list[bytes] = []
        for attempt in range(_ROUNDS):
            if attempt:
                await self._hints.sync_all()
            found, drawn, missing = [], [], wanted
            for area_code in order:
                hint = self._hints.ready(area_code) or await self._hints.read(area_code)
                if hint is None:
                    members = await self._scan(area_code, pattern, missing)
                    found += members
                else:
                    members = hint.find(pattern, missing).members
                    drawn += members
                missing -= len(members)
                if missing <= 0:
                    break
            found += await self._available_of(drawn)
            # Hints that have all events there were after this search began have all matches.
            if len(found) == wanted or (attempt and missing > 0):
                break
        return found

    async def _find_rare(self, areas: AreaCodes, pattern: str, wanted: int) -> list[bytes]:
        """Find numbers that few area codes have, or none."""
        scanned: list[bytes] = []
        for area_code in await self._hints.cover(areas):
            if len(scanned) < wanted:
                scanned += await self._scan(area_code, pattern, wanted - len(scanned))
        found: list[bytes] = []
        # Where all matches are hardly enough, the hints have to be up to date at once.
        are_few = areas.total * PREFIX_DIGITS < wanted * 10 ** len(pattern)
        for attempt in range(are_few, _ROUNDS):
            if attempt:
                await self._hints.sync_all()
            members, are_all = self._hints.find_rare(areas, pattern, wanted)
            if attempt or not are_all:
                first = _random.randrange(max(len(members) - wanted, 0) + 1)
                found = await self._available_of(members[first : first + wanted])
            if len(found) == wanted or (attempt and are_all):
                break
        return (found + scanned)[:wanted]

    async def _available_of(self, members: Sequence[bytes]) -> list[bytes]:
        """Return those of the numbers, of any area codes, that are available now."""
        by_area: dict[bytes, list[bytes]] = {}
        for member in members:
            by_area.setdefault(member[2:5], []).append(member)
        replies = await self._store.execute_many(
            [(_ZMSCORE, store_keys.available(area.decode()), *some) for area, some in by_area.items()]
        )
        return [
            member
            for some, scores in zip(by_area.values(), replies, strict=True)
            for member in _available(some, scores)
        ]


def _available(members: Sequence[bytes], scores: Sequence[object]) -> list[bytes]:
    return [member for member, score in zip(members, scores, strict=True) if score is not None]


def _may_begin(prefix: str, pattern: str) -> bool:
    """Whether a number with this prefix may begin with the pattern."""
    return prefix.startswith(pattern) or pattern.startswith(prefix)
