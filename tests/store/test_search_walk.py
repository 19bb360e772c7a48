"""The whole search held against a plain substring filter over the stock."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import store_keys
from shared.atomic.operations import search_area
from shared.phone_number import NumberType, e164
from shared.search import walk
from shared.search.walk import AreaStock, Query, search
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL, windows_of
from shared.store import Store
from tests.support import put_in_stock

ALL_LOCALS = range(LOWEST_LOCAL, LOCAL_NUMBERS)
WITHOUT_A_NINE = [local for local in range(2_000_000, 2_100_000) if "9" not in str(local)]
"""59,049 numbers."""

digits = st.sampled_from("0123456789")
seeds = st.integers(0, 2**32).map(Random)
quantities = st.one_of(st.integers(1, 100), st.sampled_from([1, 10, 100]))


def tiny(draw: Random) -> list[int]:
    return [draw.choice(ALL_LOCALS) for _ in range(draw.randrange(1, 20))]


def sparse(draw: Random) -> list[int]:
    return draw.sample(ALL_LOCALS, draw.randrange(500, 4000))


def thousands_blocks(draw: Random) -> list[int]:
    firsts = [1000 * draw.randrange(2000, 10_000) for _ in range(draw.randrange(1, 6))]
    share = draw.choice([1.0, 0.5, 0.05])
    return [first + line for first in firsts for line in range(1000) if draw.random() < share]


def contiguous(draw: Random) -> list[int]:
    first = draw.choice([LOWEST_LOCAL, LOCAL_NUMBERS - 3000, draw.randrange(LOWEST_LOCAL, LOCAL_NUMBERS)])
    return list(ALL_LOCALS[first - LOWEST_LOCAL :][: draw.randrange(1, 3000)])


def of_few_digits(draw: Random) -> list[int]:
    few = draw.sample("23456789", 2) + draw.sample("01", draw.randrange(2))
    numbers = (draw.choice(few[:2]) + "".join(draw.choices(few, k=6)) for _ in range(2000))
    return [int(number) for number in numbers]


def empty(_: Random) -> list[int]:
    return []


Kind = Callable[[Random], list[int]]
kinds = st.sampled_from([tiny, sparse, thousands_blocks, contiguous, of_few_digits, empty])


def patterns_for(area_code: str, locals_: Iterable[int], draw: Random) -> list[str]:
    """Give patterns of which some match much, some little and some nothing, with and without `+`."""
    number = e164(area_code, draw.choice(list(locals_) or ALL_LOCALS))
    begin = draw.randrange(12)
    return [
        "",
        str(draw.randrange(10)),
        number[begin : begin + draw.randrange(1, 13)],
        number[begin : begin + draw.randrange(1, 4)],
        number[-draw.randrange(1, 8) :],
        number[: draw.randrange(1, 13)],
        "".join(draw.choices("0123456789", k=draw.randrange(1, 13))),
        "".join(draw.choices("0123456789", k=draw.randrange(2, 6))),
        "+" + "".join(draw.choices("0123456789", k=draw.randrange(4))),
        f"1{area_code}"[draw.randrange(5) :] + str(draw.randrange(200)),
    ]


def matching(area_code: str, locals_: Iterable[int], pattern: str) -> set[str]:
    return {number for local in locals_ if pattern in (number := e164(area_code, local))}


def assert_answers(found: list[str], expected: set[str], quantity: int) -> None:
    """Fail unless `found` is what a search for `quantity` of the expected numbers has to give."""
    assert found == sorted(set(found))
    assert set(found) <= expected
    assert len(found) == min(quantity, len(expected))


async def walk_to_the_end(
    store: Store, area_code: str, pattern: str, wanted: int, draw: Random
) -> list[set[str]]:
    """Follow the cursor of `search_area` and give what each call found."""
    calls: list[set[str]] = []
    cursor = b""
    while cursor or not calls:
        cursor, numbers = await one_call(store, area_code, pattern, wanted, draw, cursor)
        calls.append(numbers)
    return calls


async def one_call(
    store: Store, area_code: str, pattern: str, wanted: int, draw: Random, cursor: bytes
) -> tuple[bytes, set[str]]:
    glob = f"{pattern}*" if pattern.startswith("+") else f"*{pattern}*"
    randoms = (draw.randrange(10**12), draw.randrange(10**12))
    windows = windows_of(area_code, pattern)
    cursor, numbers = await search_area(store, area_code, windows, glob, wanted, randoms, cursor)
    assert cursor or numbers or cursor == b""
    return cursor, {number.decode() for number in numbers}


async def script_calls(store: Store) -> int:
    statistics = await store.execute("INFO", "commandstats")
    return sum(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


Run = Callable[[Callable[[Store], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def run(valkey: str) -> Iterator[Run]:
    """Give a function that runs a coroutine with an emptied store, for tests that cannot be coroutines."""
    loop = asyncio.new_event_loop()
    store = Store(valkey, timeout_seconds=5)

    def run(body: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        loop.run_until_complete(store.execute("FLUSHALL"))
        loop.run_until_complete(body(store))

    yield run
    loop.run_until_complete(store.close())
    loop.close()


@given(
    kinds,
    st.sampled_from(["415", "800", "222", "999"]),
    seeds,
    st.lists(quantities, min_size=10, max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_a_search_gives_what_a_plain_filter_would(
    run: Run, kind: Kind, area_code: str, draw: Random, quantities: list[int]
) -> None:
    locals_ = set(kind(draw))

    async def body(store: Store) -> None:
        await put_in_stock(store, area_code, locals_)
        stock = AreaStock(store)
        for pattern, quantity in zip(patterns_for(area_code, locals_, draw), quantities, strict=True):
            expected = matching(area_code, locals_, pattern)
            in_area = await search(store, stock, Query(area_code, None, pattern, quantity))
            assert_answers(in_area, expected, quantity)
            anywhere = await search(store, stock, Query(pattern=pattern, quantity=len(expected) + 1))
            assert anywhere == sorted(expected)

    run(body)


@given(kinds, seeds, st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_calls_of_a_walk_together_find_every_match_and_nothing_else(
    run: Run, kind: Kind, draw: Random, wanted: int
) -> None:
    locals_ = set(kind(draw))

    async def body(store: Store) -> None:
        await put_in_stock(store, "415", locals_)
        for pattern in patterns_for("415", locals_, draw):
            calls = await walk_to_the_end(store, "415", pattern, wanted, draw)
            assert set().union(*calls) == matching("415", locals_, pattern)

    run(body)


@given(kinds, kinds, seeds, st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_a_number_available_throughout_a_walk_is_found_however_the_stock_changes(
    run: Run, kind: Kind, other_kind: Kind, draw: Random, wanted: int
) -> None:
    throughout = set(kind(draw))
    coming_and_going = sorted(set(other_kind(draw)) - throughout)

    async def change_stock(store: Store) -> None:
        some = draw.sample(coming_and_going, draw.randrange(len(coming_and_going) + 1))
        if draw.random() < 0.5:
            await put_in_stock(store, "415", some)
        elif some:
            await store.execute("ZREM", store_keys.available("415"), *(e164("415", local) for local in some))

    async def body(store: Store) -> None:
        await put_in_stock(store, "415", throughout)
        for pattern in patterns_for("415", throughout | set(coming_and_going), draw):
            cursor, found = await one_call(store, "415", pattern, wanted, draw, b"")
            while cursor:
                await change_stock(store)
                cursor, numbers = await one_call(store, "415", pattern, wanted, draw, cursor)
                found |= numbers
            assert matching("415", throughout, pattern) <= found
            assert found <= matching("415", throughout | set(coming_and_going), pattern)

    run(body)


@pytest.mark.parametrize(
    ("pattern", "least_calls"),
    [
        ("9", 10),  # Looks at every member: 59,049 of them, 4,000 a call.
        ("99", 10),
        ("9999", 3),  # Seeks through 1,111 runs, 200 a call.
        ("200", 10),
        ("0000", 3),
    ],
)
async def test_a_walk_through_a_large_stock_takes_many_small_calls_and_misses_nothing(
    store: Store, pattern: str, least_calls: int
) -> None:
    await put_in_stock(store, "415", WITHOUT_A_NINE)
    await put_in_stock(store, "415", [9_999_000])
    everything = [*WITHOUT_A_NINE, 9_999_000]
    expected = matching("415", everything, pattern)
    assert expected
    before = await script_calls(store)
    found = await search(store, AreaStock(store), Query("415", None, pattern, len(expected) + 1))
    assert found == sorted(expected)
    assert await script_calls(store) - before >= least_calls


async def test_one_call_of_a_walk_is_short_however_large_the_stock(store: Store) -> None:
    await put_in_stock(store, "415", WITHOUT_A_NINE)
    for pattern in ("9", "99", "999", "9999"):
        await store.execute("CONFIG", "RESETSTAT")
        calls = await walk_to_the_end(store, "415", pattern, 10, Random(1))  # noqa: S311
        assert calls == [set()] * len(calls)
        statistics = await store.execute("INFO", "commandstats")
        # 4,000 members and a step, or 200 seeks and one, a call; far from the 59,049 members there are.
        scans = statistics.get("cmdstat_zscan", {"calls": 0})["calls"]
        seeks = statistics.get("cmdstat_zrangebyscore", {"calls": 0})["calls"]
        assert scans <= 8 * len(calls)
        assert seeks <= 201 * len(calls)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shrinks", [True, False])
async def test_a_walk_survives_a_stock_that_collapses_or_explodes_between_its_calls(
    store: Store, seed: int, shrinks: bool
) -> None:
    draw = Random(seed)  # noqa: S311
    throughout = set(draw.sample(ALL_LOCALS, 1500))
    passing = sorted(set(WITHOUT_A_NINE) - throughout)
    members = [e164("415", local) for local in passing]
    for pattern in ("5", "55", "777", "9999", "+14152"):
        await put_in_stock(store, "415", throughout)
        if shrinks:
            await put_in_stock(store, "415", passing)
        cursor, found = await one_call(store, "415", pattern, 5, draw, b"")
        for _ in range(3):
            if cursor:
                cursor, numbers = await one_call(store, "415", pattern, 5, draw, cursor)
                found |= numbers
        if shrinks:
            for begin in range(0, len(members), 5000):
                await store.execute("ZREM", store_keys.available("415"), *members[begin : begin + 5000])
        else:
            await put_in_stock(store, "415", passing)
        while cursor:
            cursor, numbers = await one_call(store, "415", pattern, 100, draw, cursor)
            found |= numbers
        assert found >= matching("415", throughout, pattern)
        await store.execute("DEL", store_keys.available("415"))


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
    # The first four of 41 area codes are looked in: 212 holds 900 of the 1,300 numbers.
    shown = 0
    for _ in range(100):
        shown += any(number.startswith("+1212") for number in await search(store, stock, Query(quantity=40)))
    assert shown >= 75
