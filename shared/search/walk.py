"""The search: which area codes are walked, in which order, until enough numbers are found."""

import asyncio
import math
from random import Random

from msgspec import Struct

from shared import store_keys
from shared.atomic.area_operations import search_area
from shared.phone_number import NumberType, e164, number_type_of
from shared.search.area_stock import AreaStock
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL, Window, all_numbers, draw_span, windows_of
from shared.stock_score import score
from shared.store import Store

_FIRST_GROUP = 4
_LARGEST_GROUP = 8
"""Area codes searched at once: first as many as fill most searches, later as many as are likely to be needed;
never so many that their scripts, up to a millisecond each, keep other callers waiting for long."""

_FEW_NUMBERS = 32
"""As many numbers the store is asked for by name (0.5 µs each): all that most patterns of 6 digits match."""

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

    The numbers are random among those that match, so that callers who ask the same at the same time are
    shown different ones; fewer than wanted means that there are no more.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    found: set[bytes] = set()
    sizes = await _candidates(stock, query)
    area_codes = list(sizes)
    begin, size = 0, _FIRST_GROUP
    while begin < len(area_codes) and len(found) < query.quantity:
        group = area_codes[begin : begin + size]
        await asyncio.gather(*(_search_area(store, area, sizes[area], query, found) for area in group))
        begin += size
        size = _next_group_size(begin, len(found), query.quantity)
    chosen = _random.sample(list(found), query.quantity) if len(found) > query.quantity else found
    return sorted(number.decode() for number in chosen)


async def _candidates(stock: AreaStock, query: Query) -> dict[str, int]:
    """Give area code → about how many it has: in random order, those with more sooner."""
    if query.area_code is not None:
        if not _has_type(query.area_code, query):
            return {}
        return {query.area_code: await stock.size_of(query.area_code)}
    sizes = {area: size for area, size in (await stock.read()).items() if _has_type(area, query)}
    # The smallest of exponential waiting times with rates w belongs to i with probability w_i / sum(w).
    order = sorted(sizes, key=lambda area: _random.expovariate(sizes[area]))
    return {area: sizes[area] for area in order}


def _has_type(area_code: str, query: Query) -> bool:
    return query.number_type is None or number_type_of(area_code) is query.number_type


def _next_group_size(searched: int, found: int, wanted: int) -> int:
    """Give how many area codes are likely to hold what is missing, after `searched` of them held `found`."""
    likely = searched * (wanted - found) / found if found else _LARGEST_GROUP
    return min(max(math.ceil(likely), 1), _LARGEST_GROUP)


async def _search_area(store: Store, area_code: str, size: int, query: Query, found: set[bytes]) -> None:
    """Add matching numbers of an area code with about `size` in stock to `found`, until it is enough."""
    windows = windows_of(area_code, query.pattern)
    if not windows:
        return
    if (numbers := all_numbers(windows, _FEW_NUMBERS)) is not None:
        found.update(await _in_stock(store, area_code, numbers))
        return
    found.update(await _glance(store, area_code, windows, size, query.quantity))
    await _walk(store, area_code, windows, query, found)


async def _in_stock(store: Store, area_code: str, numbers: list[int]) -> list[bytes]:
    """Give those of a few local numbers that are available."""
    members = [e164(area_code, number).encode() for number in numbers]
    scores = await store.execute("ZMSCORE", store_keys.available(area_code), *members)
    return [member for member, score in zip(members, scores, strict=True) if score is not None]


async def _glance(
    store: Store, area_code: str, windows: tuple[Window, ...], size: int, wanted: int
) -> list[bytes]:
    """Read once where enough matches are expected; nothing where none is.

    This fills most searches for the price of a plain read: 6 µs of the store's time where the script takes
    18 (1,000,000 numbers in the area code, 10 wanted, patterns of up to 4 digits).
    """
    spacing = (LOCAL_NUMBERS - LOWEST_LOCAL) / size if size else LOCAL_NUMBERS
    span = draw_span(windows, spacing, wanted, _random)
    if span is None:
        return []
    numbers: list[bytes] = await store.execute(
        "ZRANGE",
        store_keys.available(area_code),
        score(span.first, 0),
        f"({score(span.last + 1, 0)}",
        "BYSCORE",
        "LIMIT",
        span.skip,
        wanted,
    )
    return numbers


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
