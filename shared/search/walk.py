"""The search: which area codes are walked, in which order, until enough numbers are found."""

import asyncio
from collections.abc import Sequence
from random import Random

from msgspec import Struct

from shared import store_keys
from shared.atomic.area_operations import search_area
from shared.phone_number import NumberType, e164, number_type_of
from shared.search.area_stock import UNKNOWN_CLUMP, AreaSize, AreaStock
from shared.search.windows import (
    LOCAL_NUMBERS,
    LOWEST_LOCAL,
    WHOLE_AREA,
    Window,
    all_numbers,
    count_numbers,
    draw_spans,
    windows_of,
)
from shared.stock_score import score
from shared.store import Argument, Store

_LARGEST_GROUP = 8
"""Area codes searched at once: as many as are likely to hold what is missing, but never so many that their
scripts, up to a millisecond each, keep other callers waiting for long."""

_FEW_NUMBERS = 300
"""As many numbers the store is asked for by name (0.25 µs each): all that patterns of 5 digits match. To walk
for them takes 50 µs in a spread stock of 1,000,000, but 190 where it is sparse or lies in blocks."""

_IN_AREA = LOCAL_NUMBERS - LOWEST_LOCAL
_RANDOM_RANGE = 10**12
_random = Random()  # noqa: S311 - spreads callers over the stock, keeps no secret


class Query(Struct, frozen=True):
    """What is looked for; the empty pattern matches every number."""

    area_code: str | None = None
    number_type: NumberType | None = None
    pattern: str = ""
    quantity: int = 10


async def search(store: Store, stock: AreaStock, query: Query) -> list[str]:
    """Give up to `query.quantity` available numbers that match, as E.164 texts in ascending order.

    They follow a random one of those that match, for callers who ask the same at the same time all take the
    first: each is shown another. Fewer than wanted means that there are no more.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    found: set[bytes] = set()
    candidates = await _candidates(stock, query)
    begin = 0
    while begin < len(candidates) and len(found) < query.quantity:
        group = _next_group(candidates[begin : begin + _LARGEST_GROUP], query, len(found))
        await asyncio.gather(*(_search_area(store, area, size, query, found) for area, size in group))
        begin += len(group)
    numbers = sorted(number.decode() for number in found)
    # Neighbours, not a sample of all: the lowest of a sample would mostly be one of the lowest.
    start = _random.randrange(max(len(numbers) - query.quantity, 0) + 1)
    return numbers[start : start + query.quantity]


async def _candidates(stock: AreaStock, query: Query) -> list[tuple[str, AreaSize]]:
    """Give the area codes to search, in this order: a random one, by its stock, then those that follow it."""
    if query.area_code is not None:
        if not _has_type(query.area_code, query):
            return []
        return [(query.area_code, await stock.size_of(query.area_code))]
    sizes = {area: size for area, size in (await stock.read()).items() if _has_type(area, query)}
    if not sizes:
        return []
    area_codes = list(sizes)
    [first] = _random.choices(range(len(area_codes)), list(sizes.values()))
    order = area_codes[first:] + area_codes[:first]
    return [(area, AreaSize(sizes[area], UNKNOWN_CLUMP)) for area in order]


def _has_type(area_code: str, query: Query) -> bool:
    return query.number_type is None or number_type_of(area_code) is query.number_type


def _next_group(
    candidates: Sequence[tuple[str, AreaSize]], query: Query, found: int
) -> Sequence[tuple[str, AreaSize]]:
    """Give the first candidates, as many as are likely to hold twice what is missing."""
    missing = 2.0 * (query.quantity - found)
    for count, (area, size) in enumerate(candidates, 1):
        share = count_numbers(windows_of(area, query.pattern)) / _IN_AREA
        missing -= min(share, 1) * size.numbers
        if missing <= 0:
            return candidates[:count]
    return candidates


async def _search_area(store: Store, area_code: str, size: AreaSize, query: Query, found: set[bytes]) -> None:
    """Add matching numbers of an area code to `found`, until it is enough."""
    windows = windows_of(area_code, query.pattern)
    if not windows:
        return
    if (numbers := all_numbers(windows, _FEW_NUMBERS)) is not None:
        await _ask_by_name(store, area_code, numbers, size, query, found)
        return
    glanced = await _glance(store, area_code, windows, size, query.quantity)
    if len(glanced) == query.quantity:
        found.update(glanced)
    else:
        await _walk(store, area_code, windows, query, found)


async def _ask_by_name(
    store: Store, area_code: str, numbers: list[int], size: AreaSize, query: Query, found: set[bytes]
) -> None:
    """Add those of a few local numbers that are available: a part that is likely to be enough, or all."""
    likely = 1.5 * query.quantity * _IN_AREA / max(size.numbers, 1)
    parts = max(int(len(numbers) / likely), 1)
    part = _random.randrange(parts)
    for asked in (numbers[part::parts], [number for i, number in enumerate(numbers) if i % parts != part]):
        if asked and len(found) < query.quantity:
            members = [e164(area_code, number).encode() for number in asked]
            scores = await store.execute("ZMSCORE", store_keys.available(area_code), *members)
            found.update(member for member, score in zip(members, scores, strict=True) if score is not None)


async def _glance(
    store: Store, area_code: str, windows: tuple[Window, ...], size: AreaSize, wanted: int
) -> list[bytes]:
    """Read once where what is wanted is expected, when that can be in enough places; else nothing.

    This fills most searches for the price of a plain read: 6 µs of the store's time where the script takes
    20 or more (1,000,000 numbers in the area code, 10 wanted, patterns of up to 4 digits).
    """
    key = store_keys.available(area_code)
    if windows == (WHOLE_AREA,):
        start = _random.randrange(max(size.numbers - wanted, 0) + 1)
        reads: list[tuple[Argument, ...]] = [("ZRANGE", key, start, start + wanted - 1)]
    elif size.numbers:
        spans = draw_spans(windows, _IN_AREA / size.numbers, size.clump, wanted, _random)
        ranges = [(score(span.first, 0), f"({score(span.last + 1, 0)}", span.skip) for span in spans]
        reads = [("ZRANGE", key, low, high, "BYSCORE", "LIMIT", skip, wanted) for low, high, skip in ranges]
    else:
        reads = []
    numbers = [number for some in await store.execute_many(reads) for number in some]
    return numbers[:wanted]


async def _walk(
    store: Store, area_code: str, windows: tuple[Window, ...], query: Query, found: set[bytes]
) -> None:
    glob = f"{query.pattern}*" if query.pattern.startswith("+") else f"*{query.pattern}*"
    cursor = b""
    while len(found) < query.quantity:
        randoms = (_random.randrange(_RANDOM_RANGE), _random.randrange(_RANDOM_RANGE))
        cursor, numbers = await search_area(
            # As many as are wanted in all, for they may be those that were found already.
            store,
            area_code,
            windows,
            glob,
            query.quantity,
            randoms,
            cursor,
        )
        found.update(numbers)
        if not cursor:
            return
