"""The search over several area codes, what it costs the store, and its harmlessness."""

import asyncio
import hashlib
from collections.abc import Iterable
from random import Random

import pytest

from shared import store_keys
from shared.phone_number import NumberType
from shared.search import stock_sizes
from shared.search.search import Query, Search
from shared.search.stock_sizes import StockSizes, count_available
from shared.settings import Settings
from shared.store import Store
from tests.store.searching import ALL_LOCALS, assert_answers, calls, in_blocks, matching, texts, until_hinted
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
    stocks, stock = await stock_several_areas(store), Search(store, Settings())
    expected = matching_in(stocks, AREAS, pattern)
    for quantity in (1, 7, 100, 5000):
        assert_answers(await stock.find(Query(pattern=pattern, quantity=quantity)), expected, quantity)


@pytest.mark.parametrize("pattern", ["", "5", "2345"])
async def test_a_number_type_narrows_a_search_to_its_area_codes(store: Store, pattern: str) -> None:
    stocks, stock = await stock_several_areas(store), Search(store, Settings())
    for number_type, area_codes in (
        (NumberType.LOCAL, set(AREAS) - TOLL_FREE),
        (NumberType.TOLL_FREE, TOLL_FREE),
        (NumberType.SHORT_CODE, set[str]()),
    ):
        expected = matching_in(stocks, area_codes, pattern)
        for quantity in (10, 5000):
            found = await stock.find(Query(None, number_type, pattern, quantity))
            assert_answers(found, expected, quantity)
        for area_code in AREAS:
            expected = matching(area_code, stocks[area_code], pattern) if area_code in area_codes else set()
            found = await stock.find(Query(area_code, number_type, pattern, 5000))
            assert texts(found) == sorted(expected)


async def test_rare_numbers_are_found_among_hundreds_of_area_codes(store: Store) -> None:
    for area_code in range(200, 400):
        await put_in_stock(store, str(area_code), [5_550_123])
    for wanted in ("209", "321"):
        await put_in_stock(store, wanted, [7_777_777])
    stock = Search(store, Settings())
    assert await stock.find(Query(pattern="777777")) == [b"+12097777777", b"+13217777777"]
    assert len(await stock.find(Query(pattern="5550123", quantity=500))) == 200


@pytest.mark.parametrize(
    "pattern", ["1321", "13217", "13217777777", "132177777777", "+1321", "+132", "21777", "9" * 12]
)
async def test_a_pattern_may_begin_in_the_prefix_of_one_of_many_area_codes(
    store: Store, pattern: str
) -> None:
    stocks = {str(area_code): [7_777_777, 2_177_713, 2_132_177] for area_code in (*range(301, 320), 321)}
    for area_code, locals_ in stocks.items():
        await put_in_stock(store, area_code, locals_)
    expected = matching_in(stocks, stocks, pattern)
    search = Search(store, Settings())
    for quantity in (1, 10, 100):
        assert_answers(await search.find(Query(pattern=pattern, quantity=quantity)), expected, quantity)


async def test_rare_numbers_are_found_where_no_area_code_has_some_last_digit(store: Store) -> None:
    area_codes = [str(area_code) for area_code in range(210, 320, 10)]
    for area_code in area_codes:
        await put_in_stock(store, area_code, [5_550_123])
    search = Search(store, Settings())
    assert texts(await search.find(Query(pattern="50123", quantity=100))) == [
        f"+1{area_code}5550123" for area_code in area_codes
    ]
    assert await Search(store, Settings()).find(Query(pattern="77777")) == []


async def test_area_codes_with_more_stock_are_shown_more_often(store: Store) -> None:
    await put_in_stock(store, "212", range(5_000_000, 5_000_900))
    for area_code in range(300, 340):
        await put_in_stock(store, str(area_code), range(5_000_000, 5_000_010))
    stock = Search(store, Settings())
    # 212 holds 900 of the 1,300 numbers, and no other area code as many as are wanted.
    shown = 0
    for _ in range(100):
        shown += any(number.startswith(b"+1212") for number in await stock.find(Query(quantity=40)))
    assert shown >= 55


async def test_a_search_looks_in_no_more_area_codes_than_fill_it(store: Store) -> None:
    for area_code in range(300, 340):
        await put_in_stock(store, str(area_code), range(5_550_000, 5_550_100))
    search = Search(store, Settings())
    await search.find(Query(quantity=5000))
    for quantity, area_codes in ((10, 1), (50, 1), (120, 2), (300, 3)):
        await store.execute("CONFIG", "RESETSTAT")
        assert len(await search.find(Query(quantity=quantity))) == quantity
        assert await calls(store, "zmscore") == area_codes


IN_BLOCKS = in_blocks(20_000, Random(3))  # noqa: S311
SPREAD = Random(4).sample(ALL_LOCALS, 60_000)  # noqa: S311
SPARSE = Random(9).sample(ALL_LOCALS, 3333)  # noqa: S311


@pytest.mark.parametrize("locals_", [IN_BLOCKS, SPREAD, SPARSE], ids=["blocks", "spread", "sparse"])
@pytest.mark.parametrize("is_text", [True, False])
async def test_a_search_that_is_filled_asks_the_store_only_for_as_many_numbers_as_are_wanted(
    store: Store, monkeypatch: pytest.MonkeyPatch, locals_: list[int], is_text: bool
) -> None:
    if not is_text:
        monkeypatch.setattr("shared.search.hint._TEXT_NUMBERS", 0)
    await put_in_stock(store, "415", locals_)
    search = Search(store, Settings())
    await until_hinted(search, "415")
    monkeypatch.setattr("shared.search.hints._DUE_SECONDS", 60.0)
    await store.execute("CONFIG", "RESETSTAT")
    for pattern in ("", "+1415", "7", "77", "777"):
        assert len(await search.find(Query("415", None, pattern, 10))) == 10
    statistics = await store.execute("INFO", "commandstats")
    assert {name: counts["calls"] for name, counts in statistics.items() if "config" not in name} == {
        "cmdstat_zmscore": 5
    }


async def test_a_search_with_fewer_matches_than_wanted_takes_one_round_trip_while_the_stock_is_as_it_was(
    store: Store,
) -> None:
    await put_in_stock(store, "415", SPARSE)
    search = Search(store, Settings())
    await search.find(Query("415"))
    for pattern in ("7777", "23456", "234567", "2345678"):
        await store.execute("CONFIG", "RESETSTAT")
        found = await search.find(Query("415", None, pattern, 100))
        assert_answers(found, matching("415", SPARSE, pattern), 100)
        assert await calls(store, "zcard", "xrange", "zmscore") == (4 if found else 3)
        assert await calls(store, "zscan", "zrange") == 0


async def test_a_rare_number_of_all_area_codes_takes_one_read_of_their_events_and_its_own_lookup(
    store: Store,
) -> None:
    for area_code in range(200, 300):
        await put_in_stock(store, str(area_code), Random(area_code).sample(ALL_LOCALS, 100))  # noqa: S311
    await put_in_stock(store, "321", [7_777_777])
    search = Search(store, Settings())
    assert len(await search.find(Query(pattern="77777777"))) == 0
    await store.execute("CONFIG", "RESETSTAT")
    assert await search.find(Query(pattern="7777777")) == [b"+13217777777"]
    assert await search.find(Query(pattern="3217777777")) == [b"+13217777777"]
    assert await calls(store, "xread") == 2
    assert await calls(store, "zmscore") == 2
    assert await calls(store, "zscan", "zrange", "xrange") == 0


async def test_a_search_writes_nothing_at_all(store: Store) -> None:
    await put_in_stock(store, "415", IN_BLOCKS)
    await put_in_stock(store, "800", [5_550_123])

    async def fingerprint() -> tuple[int, int, str]:
        keys = sorted(await store.execute("KEYS", "*"))
        dumps = await store.execute_many([("DUMP", key) for key in keys])
        changes = (await store.execute("INFO", "persistence"))["rdb_changes_since_last_save"]
        return await store.execute("DBSIZE"), changes, hashlib.sha256(b"".join([*keys, *dumps])).hexdigest()

    before = await fingerprint()
    stock = Search(store, Settings())
    for pattern in ("", "+1", "5", "9999", "5550123", "+1604", "123456789012"):
        for area_code in (None, "415", "212"):
            await stock.find(Query(area_code, None, pattern, 100))
    await count_available(store)
    assert await fingerprint() == before


@pytest.mark.parametrize(
    "query", [Query(), Query("415"), Query("415", None, "5", 100), Query(pattern="9999999")]
)
async def test_a_search_of_an_empty_store_finds_nothing(store: Store, query: Query) -> None:
    assert await Search(store, Settings()).find(query) == []


async def test_the_count_of_the_stock_leaves_out_area_codes_that_have_run_dry(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123, 5_550_124])
    await put_in_stock(store, "212", [5_550_123])
    await store.execute("DEL", store_keys.available("212"))
    assert await count_available(store) == {"212": 0, "415": 2}
    assert (await StockSizes(store).read()).sizes == {"415": 2}


class Clock:
    """The clock that the sizes' age is counted by, in place of the `time` module."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stock_sizes, "time", clock)
    return clock


async def test_the_sizes_are_never_older_than_a_second(store: Store, clock: Clock) -> None:
    await put_in_stock(store, "415", [5_550_123])
    sizes = StockSizes(store)
    assert (await sizes.read()).sizes == {"415": 1}
    await put_in_stock(store, "415", [5_550_124])
    await put_in_stock(store, "800", [5_550_123])
    clock.seconds += 0.99
    assert (await sizes.read()).sizes == {"415": 1}
    clock.seconds += 0.01
    assert (await sizes.read()).sizes == {"415": 2, "800": 1}
    assert (await sizes.read(NumberType.TOLL_FREE)).sizes == {"800": 1}
    assert (await sizes.read(NumberType.SHORT_CODE)).sizes == {}


async def test_all_callers_at_once_share_one_read_of_the_sizes(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    await store.execute("CONFIG", "RESETSTAT")
    sizes = StockSizes(store)
    read = await asyncio.gather(*(sizes.read() for _ in range(50)))
    assert [areas.sizes for areas in read] == [{"415": 1}] * 50
    assert await calls(store, "smembers") == 1


async def test_the_caller_that_began_a_read_of_the_sizes_may_go_away(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    sizes = StockSizes(store)
    first, second = asyncio.create_task(sizes.read()), asyncio.create_task(sizes.read())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).sizes == {"415": 1}
    assert first.cancelled()


async def test_a_number_that_is_new_is_found_under_its_area_code_before_the_sizes_are_read_again(
    store: Store, clock: Clock
) -> None:
    search = Search(store, Settings())
    assert await search.find(Query()) == []
    assert await search.find(Query("415")) == []
    await put_in_stock(store, "415", range(5_550_000, 5_550_300))
    assert clock.monotonic() == 1000.0
    assert len(await search.find(Query("415", None, "555", 400))) == 300
    assert len(await search.find(Query("415", None, "", 10))) == 10
