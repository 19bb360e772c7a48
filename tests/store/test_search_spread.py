"""Buyers who ask for the same at the same time and take the first number they see: how seldom they meet."""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from shared import store_keys
from shared.search.search import Query, Search
from shared.settings import Settings
from shared.store import Store
from tests.store.searching import ALL_LOCALS, in_blocks, matching, until_hinted
from tests.support import put_in_stock

BUYERS = 64
AT_MOST = 0.02
"""Of their orders may meet a number that is gone, when 10,000 numbers match or more."""
IN_BLOCKS = in_blocks(20_000, Random(3))  # noqa: S311


Kind = Callable[[int, Random], list[int]]


@pytest.fixture(autouse=True)
def seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat the same searches each time; what they find out is a matter of chance."""
    for place, module in enumerate(("hint", "joined_hints", "search", "stock_sizes")):
        monkeypatch.setattr(f"shared.search.{module}._random", Random(place))  # noqa: S311


def spread(count: int, draw: Random) -> list[int]:
    return draw.sample(ALL_LOCALS, count)


def half_blocks(count: int, draw: Random) -> list[int]:
    return in_blocks(count, draw, share=0.5)


def sold_from_their_heads(count: int, draw: Random) -> list[int]:
    return [local for local in in_blocks(2 * count, draw) if local % 1000 >= 500]


def half_spread(count: int, draw: Random) -> list[int]:
    return [*in_blocks(count // 2, draw), *spread(count // 2, draw)]


async def first_shown(store: Store, query: Query, searches: int = 2048) -> Counter[str]:
    """Count how often each number is the first that a search shows."""
    search = Search(store, Settings())
    if query.area_code is not None:
        await until_hinted(search, query.area_code)
    firsts = Counter[str]()
    for _ in range(searches // BUYERS):
        answers = await asyncio.gather(*(search.find(query) for _ in range(BUYERS)))
        assert {len(numbers) for numbers in answers} == {query.quantity}
        firsts.update(numbers[0].decode() for numbers in answers)
    return firsts


def share_of_meetings(firsts: Counter[str]) -> float:
    """Give the share of orders in which one of `BUYERS` meets another: their searches show the same first."""
    searches = firsts.total()
    alike = sum(count * (count - 1) for count in firsts.values()) / (searches * (searches - 1))
    return (BUYERS - 1) * alike


@pytest.mark.parametrize(
    ("kind", "count", "pattern"),
    [
        (spread, 12_000, ""),
        (in_blocks, 12_000, ""),
        (spread, 24_000, "7"),
        (in_blocks, 24_000, "7"),
        (half_blocks, 24_000, "7"),
        (sold_from_their_heads, 24_000, "7"),
        (half_spread, 30_000, "7"),
        (in_blocks, 12_000, "+1415"),
        (in_blocks, 120_000, "+14157"),
        # Begins within the area code, too.
        (in_blocks, 100_000, "57"),
        (spread, 200_000, "77"),
        (in_blocks, 240_000, "77"),
    ],
)
async def test_of_ten_thousand_numbers_and_more_any_can_be_the_first(
    store: Store, kind: Kind, count: int, pattern: str
) -> None:
    locals_ = kind(count, Random(5))  # noqa: S311
    assert len(matching("415", locals_, pattern)) >= 10_000
    await put_in_stock(store, "415", locals_)
    for quantity in (1, 10, 100):
        firsts = await first_shown(store, Query("415", None, pattern, quantity))
        assert share_of_meetings(firsts) <= AT_MOST, quantity


@pytest.mark.parametrize("kind", [spread, in_blocks])
@pytest.mark.parametrize("dominant", ["201", "989"])
async def test_a_search_of_all_area_codes_begins_in_each_by_its_stock(
    store: Store, kind: Kind, dominant: str
) -> None:
    draw = Random(6)  # noqa: S311
    stocks = {str(area_code): kind(1000, draw) for area_code in range(500, 510)}
    stocks[dominant] = kind(20_000, draw)
    for area_code, locals_ in stocks.items():
        await put_in_stock(store, area_code, locals_)
    for pattern, quantity in (("", 10), ("", 100), ("7", 10), ("7", 100)):
        assert sum(len(matching(area, locals_, pattern)) for area, locals_ in stocks.items()) >= 10_000
        firsts = await first_shown(store, Query(None, None, pattern, quantity))
        assert share_of_meetings(firsts) <= AT_MOST, (pattern, quantity)
        in_dominant = sum(count for number, count in firsts.items() if number[2:5] == dominant)
        assert 0.55 <= in_dominant / firsts.total() <= 0.78


@pytest.mark.parametrize("kind", [spread, in_blocks])
async def test_few_of_the_orders_of_many_buyers_at_once_meet_a_number_that_is_gone(
    store: Store, kind: Kind
) -> None:
    locals_ = kind(30_000, Random(7))  # noqa: S311
    await put_in_stock(store, "415", locals_)
    assert len(matching("415", locals_, "7")) - 1500 >= 10_000
    search, query = Search(store, Settings()), Query("415", None, "7", 10)
    await until_hinted(search, "415")
    taken: list[bool] = []

    async def buy() -> None:
        while len(taken) < 1500:
            numbers = await search.find(query)
            taken.append(bool(await store.execute("ZREM", store_keys.available("415"), numbers[0])))

    await asyncio.gather(*(buy() for _ in range(BUYERS)))
    await search.close()
    assert taken.count(False) / len(taken) <= AT_MOST


@pytest.mark.parametrize(("pattern", "least_blocks"), [("", 18), ("1", 18), ("7", 15), ("+1415", 18)])
async def test_searches_begin_all_over_a_stock_of_thousands_blocks(
    store: Store, pattern: str, least_blocks: int
) -> None:
    await put_in_stock(store, "415", IN_BLOCKS)
    firsts = await first_shown(store, Query("415", None, pattern, 10), searches=320)
    blocks = Counter(number[5:9] for number in firsts)
    assert len(blocks) >= least_blocks
    # 16 of 320 would be each block's share.
    assert max(blocks.values()) <= 80


@pytest.mark.parametrize("pattern", ["", "7", "55"])
async def test_a_stock_that_has_no_hint_yet_is_shown_from_random_numbers_on(
    store: Store, pattern: str
) -> None:
    await put_in_stock(store, "415", IN_BLOCKS)
    search = Search(store, Settings(search_hint_megabytes=0))
    answers = [await search.find(Query("415", None, pattern, 10)) for _ in range(200)]
    assert len({numbers[0] for numbers in answers}) >= 150


async def test_callers_who_ask_the_same_at_once_are_shown_different_numbers(store: Store) -> None:
    await put_in_stock(store, "415", IN_BLOCKS)
    for pattern, least in (("", 62), ("+1415", 62), ("7", 62), ("77", 50)):
        # For 77: some 1,000 numbers of the 20,000 have it.
        firsts = await first_shown(store, Query("415", None, pattern, 10), searches=BUYERS)
        assert len(firsts) >= least


async def test_two_searches_of_a_large_stock_differ_in_every_area_code(store: Store) -> None:
    area_codes = ("212", "415", "604", "800")
    for area_code in area_codes:
        await put_in_stock(store, area_code, range(5_550_000, 5_553_000))
    stock = Search(store, Settings())
    for query in (Query(), *(Query(area_code) for area_code in area_codes)):
        first, second = [await stock.find(query) for _ in range(2)]
        # Of 3,000 numbers and more in a row: not even one of ten alike.
        assert not set(first) & set(second)
