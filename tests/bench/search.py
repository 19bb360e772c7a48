"""How long a search keeps the store busy, and a plain read of as many numbers in the same run."""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from shared import store_keys
from shared.store import Store
from tests.bench.stocks import SPARSE_NUMBERS, in_blocks, put_in_stock, spread
from tests.bench.store_connection import StoreConnection
from tests.bench.store_search import StoreSearch

SLOW_MICROSECONDS = 2_000
_PATTERN_LENGTHS = range(1, 8)
_ROUNDS = 10
"""Reads and searches take turns, so that a machine that changes its speed changes both."""
_COMMANDS = ("zrange", "zmscore", "zcard", "xrange", "zscan", "zrandmember", "xrevrange")
"""The commands that a search sends."""
_STORE_TIMEOUT_SECONDS = 60.0


class SearchFigures(Struct):
    """Store time of searches with random patterns of one length; mean microseconds."""

    stock: str
    numbers: int
    pattern_length: int
    quantity: int
    found: float
    """Mean numbers in an answer."""
    search_us: float
    zrange_us: float
    """A plain ZRANGE of `quantity` numbers at a random rank."""
    ratio: float
    calls: float
    """Mean commands of a search."""


class Measured(Struct):
    """All that was measured in one run."""

    searches: list[SearchFigures]
    commands: int
    slow_commands: int
    """Those over `SLOW_MICROSECONDS`."""


def _stocks(count: int, draw: random.Random) -> dict[str, tuple[str, list[int]]]:
    """Return name → (area code, local numbers) of the measured stocks."""
    return {
        "spread": ("415", spread(count, draw)),
        "thousands blocks": ("212", in_blocks(count, draw)),
        "sparse": ("907", spread(SPARSE_NUMBERS, draw)),
    }


async def measure(
    url: str, count: int, searches: int, quantity: int, seed: int, report: Callable[[str], None]
) -> Measured:
    """Measure on an empty store; `report` shows the progress."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, keeps no secret
    store = Store(url, _STORE_TIMEOUT_SECONDS)
    figures = []
    try:
        for name, (area_code, numbers) in _stocks(count, draw).items():
            report(f"loading {len(numbers):,} numbers, {name}")
            with StoreConnection(url) as client:
                put_in_stock(client, area_code, numbers)
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
    finally:
        await store.close()
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
    searcher = StoreSearch(store)
    await searcher.learn(area_code)
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
        us, count, answers = await _busy(
            store, [partial(searcher.search, area_code, pattern, quantity) for pattern in some]
        )
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
    """Run actions in turn; return the store's time (µs) and commands for them, and the results."""
    await store.execute("CONFIG", "RESETSTAT")
    results = [await action() for action in actions]
    used = [
        counts
        for command, counts in (await store.execute("INFO", "commandstats")).items()
        if command.removeprefix("cmdstat_") in _COMMANDS
    ]
    return sum(c["usec"] for c in used), sum(c["calls"] for c in used), results
