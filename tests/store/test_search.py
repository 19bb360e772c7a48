"""The search over several area codes, what it costs the store, and its harmlessness."""

import asyncio
import hashlib
from collections.abc import Iterable
from importlib.resources import files
from random import Random

import msgspec
import pytest

from shared import atomic, store_keys
from shared.phone_number import NumberType
from shared.search import area_stock
from shared.search.area_stock import AreaStock, count_available
from shared.search.walk import Query, search
from shared.store import Store
from tests.store.searching import ALL_LOCALS, assert_answers, calls, in_blocks, matching, script_calls
from tests.support import put_in_stock

AREAS = ("212", "415", "604", "800", "888", "989")
TOLL_FREE = {"800", "888"}


async def stock_several_areas(store: Store) -> dict[str, list[int]]:
    draw = Random(7)  # noqa: S311
    stocks = {
        area_code: draw.sample(ALL_LOCALS, size)
        for area_code, size in zip(AREAS, (3000, 40, 1, 800, 5, 300), strict=True)
    }
    for area_code, locals_ in stocks.items():
        await put_in_stock(store, area_code, locals_)
    return stocks


def matching_in(stocks: dict[str, list[int]], area_codes: Iterable[str], pattern: str) -> set[str]:
    return set().union(*(matching(area_code, stocks[area_code], pattern) for area_code in area_codes))


@pytest.mark.parametrize("pattern", ["", "+", "+1", "5", "88", "415", "1415", "+1604", "2345", "80012"])
async def test_a_search_without_an_area_code_looks_in_all_of_them(store: Store, pattern: str) -> None:
    stocks, stock = await stock_several_areas(store), AreaStock(store)
    expected = matching_in(stocks, AREAS, pattern)
    for quantity in (1, 7, 100, 5000):
        assert_answers(
            await search(store, stock, Query(pattern=pattern, quantity=quantity)), expected, quantity
        )


@pytest.mark.parametrize("pattern", ["", "5", "2345"])
async def test_a_number_type_narrows_a_search_to_its_area_codes(store: Store, pattern: str) -> None:
    stocks, stock = await stock_several_areas(store), AreaStock(store)
    for number_type, area_codes in (
        (NumberType.LOCAL, set(AREAS) - TOLL_FREE),
        (NumberType.TOLL_FREE, TOLL_FREE),
        (NumberType.SHORT_CODE, set[str]()),
    ):
        expected = matching_in(stocks, area_codes, pattern)
        for quantity in (10, 5000):
            found = await search(store, stock, Query(None, number_type, pattern, quantity))
            assert_answers(found, expected, quantity)
        for area_code in AREAS:
            expected = matching(area_code, stocks[area_code], pattern) if area_code in area_codes else set()
            found = await search(store, stock, Query(area_code, number_type, pattern, 5000))
            assert found == sorted(expected)


async def test_rare_numbers_are_found_among_hundreds_of_area_codes(store: Store) -> None:
    for area_code in range(200, 400):
        await put_in_stock(store, str(area_code), [5_550_123])
    for wanted in ("209", "321"):
        await put_in_stock(store, wanted, [7_777_777])
    stock = AreaStock(store)
    assert await search(store, stock, Query(pattern="777777")) == ["+12097777777", "+13217777777"]
    assert len(await search(store, stock, Query(pattern="5550123", quantity=500))) == 200


async def test_area_codes_with_more_stock_are_shown_more_often(store: Store) -> None:
    await put_in_stock(store, "212", range(5_000_000, 5_000_900))
    for area_code in range(300, 340):
        await put_in_stock(store, str(area_code), range(5_000_000, 5_000_010))
    stock = AreaStock(store)
    # 212 holds 900 of the 1,300 numbers, and no other area code as many as are wanted.
    shown = 0
    for _ in range(100):
        shown += any(number.startswith("+1212") for number in await search(store, stock, Query(quantity=40)))
    assert shown >= 55


async def test_a_search_looks_in_no_more_area_codes_than_are_likely_to_fill_it(store: Store) -> None:
    for area_code in range(300, 340):
        await put_in_stock(store, str(area_code), range(5_000_000, 5_000_100))
    stock = AreaStock(store)
    await stock.read()
    for quantity, area_codes in ((10, 1), (50, 1), (60, 2), (300, 6)):
        await store.execute("CONFIG", "RESETSTAT")
        assert len(await search(store, stock, Query(quantity=quantity))) == quantity
        assert await calls(store, "zrange") == area_codes


IN_BLOCKS = in_blocks(20_000, Random(3))  # noqa: S311
SPREAD = Random(4).sample(ALL_LOCALS, 60_000)  # noqa: S311


@pytest.mark.parametrize(
    ("locals_", "pattern", "most_reads"),
    [(IN_BLOCKS, "", 1), (IN_BLOCKS, "+1415", 1), (SPREAD, "", 1), (SPREAD, "7", 2), (SPREAD, "77", 2)],
)
async def test_most_searches_are_filled_by_one_plain_read_or_two_at_once(
    store: Store, locals_: list[int], pattern: str, most_reads: int
) -> None:
    await put_in_stock(store, "415", locals_)
    stock = AreaStock(store)
    await stock.size_of("415")
    searches, by_script = 200, 0
    for _ in range(searches):
        await store.execute("CONFIG", "RESETSTAT")
        assert len(await search(store, stock, Query("415", None, pattern, 10))) == 10
        assert 1 <= await calls(store, "zrange") <= most_reads
        by_script += await script_calls(store)
    assert by_script <= 0.1 * searches
    if most_reads == 1:
        assert by_script == 0


@pytest.mark.parametrize("pattern", ["7", "77"])
async def test_a_pattern_in_a_stock_of_thousands_blocks_takes_hardly_more_than_one_call_of_the_script(
    store: Store, pattern: str
) -> None:
    await put_in_stock(store, "415", IN_BLOCKS)
    stock = AreaStock(store)
    await stock.size_of("415")
    await search(store, stock, Query("415", None, pattern, 1))
    await store.execute("CONFIG", "RESETSTAT")
    for _ in range(50):
        assert len(await search(store, stock, Query("415", None, pattern, 10))) == 10
    assert 50 <= await script_calls(store) <= 55
    assert await calls(store, "zrange") == 0
    # In the mean a sixth of the seeks that a call may spend.
    assert await calls(store, "zrangebyscore") <= 50 * 13


async def test_five_digits_are_asked_for_by_name(store: Store) -> None:
    await put_in_stock(store, "415", SPREAD)
    stock = AreaStock(store)
    for pattern in ("23456", "77777", "00000"):
        expected = matching("415", SPREAD, pattern)
        for quantity in (1, 300):
            await store.execute("CONFIG", "RESETSTAT")
            found = await search(store, stock, Query("415", None, pattern, quantity))
            assert_answers(found, expected, quantity)
            assert await script_calls(store) == 0
            assert 1 <= await calls(store, "zmscore") <= 2


async def test_a_pattern_in_a_sparse_stock_is_not_sought_run_by_run(store: Store) -> None:
    await put_in_stock(store, "415", Random(9).sample(ALL_LOCALS, 3333))  # noqa: S311
    for pattern in ("777", "7777"):
        await store.execute("CONFIG", "RESETSTAT")
        await search(store, AreaStock(store), Query("415", None, pattern, 100))
        # Of a thousand runs and more: looking at all 3,333 members is cheaper than 170 seeks.
        assert await calls(store, "zrangebyscore") <= 170
        assert 1 <= await calls(store, "zscan") <= 30


async def test_a_search_writes_nothing_at_all(store: Store) -> None:
    await put_in_stock(store, "415", IN_BLOCKS)
    await put_in_stock(store, "800", [5_550_123])

    async def fingerprint() -> tuple[int, int, str]:
        keys = sorted(await store.execute("KEYS", "*"))
        dumps = await store.execute_many([("DUMP", key) for key in keys])
        changes = (await store.execute("INFO", "persistence"))["rdb_changes_since_last_save"]
        return await store.execute("DBSIZE"), changes, hashlib.sha256(b"".join([*keys, *dumps])).hexdigest()

    before = await fingerprint()
    stock = AreaStock(store)
    for pattern in ("", "+1", "5", "9999", "5550123", "+1604", "123456789012"):
        for area_code in (None, "415", "212"):
            await search(store, stock, Query(area_code, None, pattern, 100))
    await count_available(store)
    assert await fingerprint() == before


async def test_the_script_of_the_search_is_declared_to_write_nothing_and_held_to_it(store: Store) -> None:
    source = files(atomic).joinpath("search_area.lua").read_text(encoding="ascii")
    assert source.splitlines()[0] == "#!lua flags=no-writes"
    # The store itself refuses a script that may write here.
    await put_in_stock(store, "415", [5_550_123])
    windows = msgspec.msgpack.encode([2_000_000, 10**7, 8 * 10**6])
    reply = await store.execute("EVAL_RO", source, 1, store_keys.available("415"), 1, 0, 0, "", "*", windows)
    assert reply[1:] == [b"+14155550123"]


@pytest.mark.parametrize(
    "query", [Query(), Query("415"), Query("415", None, "5", 100), Query(pattern="9999999")]
)
async def test_a_search_of_an_empty_store_finds_nothing(store: Store, query: Query) -> None:
    assert await search(store, AreaStock(store), query) == []


async def test_the_count_of_the_stock_leaves_out_area_codes_that_have_run_dry(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123, 5_550_124])
    await put_in_stock(store, "212", [5_550_123])
    await store.execute("DEL", store_keys.available("212"))
    assert await count_available(store) == {"212": 0, "415": 2}
    assert await AreaStock(store).read() == {"415": 2}


class Clock:
    """The clock that the stock's counts go by, in place of the `time` module."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(area_stock, "time", clock)
    return clock


async def test_the_count_of_the_stock_is_never_older_than_a_second(store: Store, clock: Clock) -> None:
    await put_in_stock(store, "415", [5_550_123])
    stock = AreaStock(store)
    assert await stock.read() == {"415": 1}
    assert (await stock.size_of("415")).numbers == 1
    await put_in_stock(store, "415", [5_550_124])
    await put_in_stock(store, "212", [5_550_123])
    clock.seconds += 0.99
    assert await stock.read() == {"415": 1}
    assert (await stock.size_of("415")).numbers == 1
    clock.seconds += 0.01
    assert await stock.read() == {"212": 1, "415": 2}
    assert (await stock.size_of("415")).numbers == 2
    assert (await stock.size_of("604")).numbers == 0


async def test_all_who_ask_at_once_for_the_stock_put_one_question_to_the_store(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    await store.execute("CONFIG", "RESETSTAT")
    stock = AreaStock(store)
    assert await asyncio.gather(*(stock.read() for _ in range(50))) == [{"415": 1}] * 50
    assert await stock.read() == {"415": 1}
    statistics = await store.execute("INFO", "commandstats")
    assert statistics["cmdstat_smembers"]["calls"] == 1


async def test_who_asked_first_for_the_stock_may_go_away(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    stock = AreaStock(store)
    first, second = asyncio.create_task(stock.read()), asyncio.create_task(stock.read())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {"415": 1}
    assert first.cancelled()


async def test_a_number_that_has_just_come_is_found_under_its_area_code_before_the_count_knows(
    store: Store, clock: Clock
) -> None:
    stock = AreaStock(store)
    assert await stock.read() == {}
    assert await search(store, stock, Query("415")) == []
    await put_in_stock(store, "415", range(5_550_000, 5_550_300))
    assert clock.monotonic() == 1000.0
    assert len(await search(store, stock, Query("415", None, "555", 400))) == 300
    assert len(await search(store, stock, Query("415", None, "", 10))) == 10
