"""How long a search keeps the store busy, beside a plain read of as many numbers in the same run."""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from shared.search.area_stock import AreaStock
from shared.search.walk import Query, search

from shared import store_keys
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL
from shared.stock_score import SMS, attributes, score
from shared.store import Store

SLOW_MICROSECONDS = 2_000
_SPARSE_NUMBERS = 3_333
_BLOCK_NUMBERS = 1_000
_PATTERN_LENGTHS = range(1, 8)
_ROUNDS = 10
"""Reads and searches take turns, so that a machine that changes its speed changes both."""
_LOAD_CHUNK = 1_000
_COMMANDS = ("zrange", "zmscore", "evalsha", "eval")
"""Those that a search sends; its script uses none of them."""


class SearchFigures(Struct):
    """Store time of searches with random patterns of one length; microseconds in the mean."""

    stock: str
    numbers: int
    pattern_length: int
    quantity: int
    found: float
    """Numbers in an answer, in the mean."""
    search_us: float
    zrange_us: float
    """A plain ZRANGE of `quantity` numbers at a random rank."""
    ratio: float
    calls: float
    """Commands of a search, in the mean."""


class Measured(Struct):
    """All that was measured in one run."""

    searches: list[SearchFigures]
    commands: int
    slow_commands: int
    """Those over `SLOW_MICROSECONDS`."""


def spread(count: int, draw: random.Random) -> list[int]:
    """Give so many local numbers at random."""
    return draw.sample(range(LOWEST_LOCAL, LOCAL_NUMBERS), count)


def in_blocks(count: int, draw: random.Random) -> list[int]:
    """Give so many local numbers, in thousands, that fill random thousands blocks."""
    every_head = range(LOWEST_LOCAL, LOCAL_NUMBERS, _BLOCK_NUMBERS)
    heads = draw.sample(every_head, count // _BLOCK_NUMBERS)
    return [head + line for head in heads for line in range(_BLOCK_NUMBERS)]


def stocks(count: int, draw: random.Random) -> dict[str, tuple[str, list[int]]]:
    """Give name → (area code, local numbers) of the stocks that are measured."""
    return {
        "spread": ("415", spread(count, draw)),
        "thousands blocks": ("212", in_blocks(count, draw)),
        "sparse": ("907", spread(_SPARSE_NUMBERS, draw)),
    }


async def load(store: Store, area_code: str, numbers: list[int]) -> None:
    """Put local numbers of an area code into the store."""
    offered = attributes(1, SMS)
    await store.execute("SADD", store_keys.AREAS, area_code)
    for begin in range(0, len(numbers), _LOAD_CHUNK):
        chunk = numbers[begin : begin + _LOAD_CHUNK]
        members = [item for number in chunk for item in (score(number, offered), f"+1{area_code}{number}")]
        await store.execute("ZADD", store_keys.available(area_code), *members)


async def measure(
    store: Store, count: int, searches: int, quantity: int, seed: int, report: Callable[[str], None]
) -> Measured:
    """Measure on an empty store of our own; `report` is told what is being done."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, keeps no secret
    figures = []
    for name, (area_code, numbers) in stocks(count, draw).items():
        report(f"loading {len(numbers):,} numbers, {name}")
        await load(store, area_code, numbers)
        for length in _PATTERN_LENGTHS:
            report(f"{name}: patterns of {length}")
            patterns = ["".join(draw.choices("0123456789", k=length)) for _ in range(searches)]
            figures.append(
                await _measure_length(store, name, area_code, len(numbers), patterns, quantity, draw)
            )
        # Not DEL, which frees a million numbers in the background while the next searches are timed.
        await store.execute("FLUSHALL", "SYNC")
    # An entry is id, time, µs, command and its arguments, client.
    slow = [entry[3][0] for entry in await store.execute("SLOWLOG", "GET", -1)]
    return Measured(
        searches=figures,
        commands=sum(round(figure.calls * searches) for figure in figures),
        slow_commands=sum(name.decode().lower() in _COMMANDS for name in slow),
    )


async def _measure_length(
    store: Store,
    name: str,
    area_code: str,
    numbers: int,
    patterns: list[str],
    quantity: int,
    draw: random.Random,
) -> SearchFigures:
    stock = AreaStock(store)
    await stock.size_of(area_code)
    ranks = max(numbers - quantity, 1)
    key = store_keys.available(area_code)
    found = read_us = search_us = calls = 0
    size = max(len(patterns) // _ROUNDS, 1)
    for begin in range(0, len(patterns), size):
        some = patterns[begin : begin + size]
        starts = [draw.randrange(ranks) for _ in some]
        reads = [partial(store.execute, "ZRANGE", key, start, start + quantity - 1) for start in starts]
        us, _, _ = await _busy(store, reads)
        read_us += us
        searches = [
            partial(search, store, stock, Query(area_code, None, pattern, quantity)) for pattern in some
        ]
        us, count, answers = await _busy(store, searches)
        search_us, calls, found = search_us + us, calls + count, found + sum(map(len, answers))
    return SearchFigures(
        stock=name,
        numbers=numbers,
        pattern_length=len(patterns[0]),
        quantity=quantity,
        found=found / len(patterns),
        search_us=search_us / len(patterns),
        zrange_us=read_us / len(patterns),
        ratio=search_us / read_us,
        calls=calls / len(patterns),
    )


async def _busy(store: Store, actions: Sequence[Callable[[], Awaitable[Any]]]) -> tuple[int, int, list[Any]]:
    """Run actions one after the other; give the store's time (µs) and commands for them, and the results."""
    await store.execute("CONFIG", "RESETSTAT")
    results = [await action() for action in actions]
    used = [
        counts
        for command, counts in (await store.execute("INFO", "commandstats")).items()
        if command.removeprefix("cmdstat_") in _COMMANDS
    ]
    return sum(c["usec"] for c in used), sum(c["calls"] for c in used), results
