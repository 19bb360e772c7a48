"""How often buyers who search at the same time order the same number."""

import asyncio
import random
from collections.abc import Callable, Iterator

from msgspec import Struct

from shared import store_keys
from shared.phone_number import e164
from shared.store import Store
from tests.bench.stocks import in_blocks, put_in_stock, spread
from tests.bench.store_connection import StoreConnection
from tests.bench.store_search import StoreSearch

_CONNECTIONS = 4
"""API workers: each knows the stock by itself, and shares a connection among its buyers."""
_LOOKS_SECONDS = 0.005
"""The longest time between a buyer's search and order."""
_CASES = (("", 12_000), ("7", 24_000), ("77", 240_000))
"""Patterns, and numbers in stock of which 10,000 and more match."""
_AREA_CODES = ("201", "303", "415", "512", "604", "989")


class BuyersFigures(Struct):
    """The outcome of orders for the first number of each answer."""

    stock: str
    area_codes: int
    pattern: str
    numbers: int
    matching: int
    """Before the first order."""
    quantity: int
    """Numbers in an answer."""
    orders: int
    conflicts: int
    """Orders for a number that another buyer had taken since the search."""
    conflict_share: float


async def measure(
    url: str, buyers: int, orders: int, quantity: int, seed: int, report: Callable[[str], None]
) -> list[BuyersFigures]:
    """Measure on an empty store; `report` shows the progress."""
    stores = [Store(url, 60.0) for _ in range(_CONNECTIONS)]
    try:
        figures = []
        for name, pattern, stock in _stocks(random.Random(seed)):  # noqa: S311 - repeatable, keeps no secret
            report(f"{name}: pattern {pattern or 'none'}, {len(stock)} area codes")
            await stores[0].execute("FLUSHALL")
            with StoreConnection(url) as client:
                for area_code, numbers in stock.items():
                    put_in_stock(client, area_code, numbers)
            named = next(iter(stock)) if len(stock) == 1 else None
            taken = await _buy(stores, (named, pattern, quantity), buyers, orders)
            figures.append(
                BuyersFigures(
                    stock=name,
                    area_codes=len(stock),
                    pattern=pattern,
                    numbers=sum(map(len, stock.values())),
                    matching=sum(pattern in e164(area, number) for area in stock for number in stock[area]),
                    quantity=quantity,
                    orders=len(taken),
                    conflicts=taken.count(False),
                    conflict_share=taken.count(False) / max(len(taken), 1),
                )
            )
        return figures
    finally:
        for store in stores:
            await store.close()


def _stocks(draw: random.Random) -> Iterator[tuple[str, str, dict[str, list[int]]]]:
    """Yield name, pattern, and area code → local numbers."""
    for name, numbers in (("spread", spread), ("thousands blocks", in_blocks)):
        for pattern, count in _CASES:
            yield name, pattern, {"415": numbers(count, draw)}
        for pattern, count in _CASES[:2]:
            each = count // len(_AREA_CODES)
            # The first has as much as all the others.
            sizes = {area: each * (len(_AREA_CODES) if area == _AREA_CODES[0] else 1) for area in _AREA_CODES}
            yield name, pattern, {area: numbers(size, draw) for area, size in sizes.items()}


async def _buy(
    stores: list[Store], criteria: tuple[str | None, str, int], buyers: int, orders: int
) -> list[bool]:
    """Search and order until there are enough orders; return for each whether it got its number."""
    taken: list[bool] = []
    searchers = [StoreSearch(store) for store in stores]

    async def buy(index: int) -> None:
        store, searcher = stores[index % len(stores)], searchers[index % len(stores)]
        while len(taken) < orders and (numbers := await searcher.search(*criteria)):
            await asyncio.sleep(random.uniform(0, _LOOKS_SECONDS))  # noqa: S311 - no secret
            key = store_keys.available(numbers[0][2:5])
            taken.append(bool(await store.execute("ZREM", key, numbers[0])))

    if criteria[0] is not None:
        await asyncio.gather(*(searcher.learn(criteria[0]) for searcher in searchers))
    await asyncio.gather(*(buy(index) for index in range(buyers)))
    await asyncio.gather(*(searcher.close() for searcher in searchers))
    return taken
