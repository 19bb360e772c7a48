"""The whole search held against a plain substring filter over the stock."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from shared import store_keys
from shared.atomic.area_operations import search_area
from shared.phone_number import e164
from shared.search.area_stock import AreaStock
from shared.search.walk import Query, search
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL, windows_of
from shared.store import Store
from tests.store.searching import ALL_LOCALS, assert_answers, matching, script_calls
from tests.support import put_in_stock

WITHOUT_A_NINE = [local for local in range(2_000_000, 2_100_000) if "9" not in str(local)]
"""59,049 numbers."""
SPREAD = range(2_000_003, LOCAL_NUMBERS, 133)
"""60,150 numbers."""

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


async def walk_to_the_end(
    store: Store, area_code: str, pattern: str, wanted: int, draw: Random
) -> list[set[str]]:
    """Follow the cursor of `search_area` and give what each call found."""
    calls: list[set[str]] = []
    cursor = b""
    while cursor or not calls:
        cursor, numbers = await one_call(store, area_code, pattern, wanted, draw, cursor)
        calls.append(numbers)
        assert len(calls) < 1000
    return calls


async def one_call(
    store: Store, area_code: str, pattern: str, wanted: int, draw: Random, cursor: bytes
) -> tuple[bytes, set[str]]:
    glob = f"{pattern}*" if pattern.startswith("+") else f"*{pattern}*"
    randoms = (draw.randrange(10**12), draw.randrange(10**12))
    windows = windows_of(area_code, pattern)
    cursor, numbers = await search_area(store, area_code, windows, glob, wanted, randoms, cursor)
    return cursor, {number.decode() for number in numbers}


Run = Callable[[Callable[[Store], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def run(valkey: str) -> Iterator[Run]:
    """Give a function that runs a coroutine with an emptied store, for tests that cannot be coroutines."""
    loop = asyncio.new_event_loop()
    store = Store(valkey, timeout_seconds=5)

    def run(body: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        async def on_an_empty_store() -> None:
            await store.execute("FLUSHALL")
            await body(store)

        loop.run_until_complete(on_an_empty_store())

    yield run
    loop.run_until_complete(store.close())
    loop.close()


@given(
    kinds,
    st.sampled_from(["415", "800", "222", "999"]),
    seeds,
    st.lists(quantities, min_size=10, max_size=10),
)
@settings(max_examples=100, deadline=None)
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
@settings(max_examples=100, deadline=None)
def test_the_calls_of_a_walk_together_find_every_match_and_nothing_else(
    run: Run, kind: Kind, draw: Random, wanted: int
) -> None:
    locals_ = set(kind(draw))

    async def body(store: Store) -> None:
        await put_in_stock(store, "415", locals_)
        for pattern in patterns_for("415", locals_, draw):
            expected = matching("415", locals_, pattern)
            # Some twenty calls at least where a pattern matches much.
            calls = await walk_to_the_end(store, "415", pattern, max(wanted, len(expected) // 20), draw)
            assert set().union(*calls) == expected

    run(body)


@given(kinds, kinds, seeds, st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_a_number_available_throughout_a_walk_is_found_however_the_stock_changes(
    run: Run, kind: Kind, other_kind: Kind, draw: Random, wanted: int
) -> None:
    throughout = set(kind(draw))
    coming_and_going = sorted(set(other_kind(draw)) - throughout)

    async def change_stock(store: Store) -> None:
        some = draw.sample(coming_and_going, min(len(coming_and_going), draw.randrange(200)))
        if draw.random() < 0.5:
            await put_in_stock(store, "415", some)
        elif some:
            await store.execute("ZREM", store_keys.available("415"), *(e164("415", local) for local in some))

    async def body(store: Store) -> None:
        await put_in_stock(store, "415", throughout)
        for pattern in patterns_for("415", throughout | set(coming_and_going), draw):
            expected = matching("415", throughout, pattern)
            a_call = max(wanted, len(expected) // 20)
            cursor, found = await one_call(store, "415", pattern, a_call, draw, b"")
            while cursor:
                await change_stock(store)
                cursor, numbers = await one_call(store, "415", pattern, a_call, draw, cursor)
                found |= numbers
            assert expected <= found
            assert found <= matching("415", throughout | set(coming_and_going), pattern)

    run(body)


@pytest.mark.parametrize(
    ("locals_", "pattern", "least_calls"),
    [
        # Looks at every member, 4,000 a call.
        (WITHOUT_A_NINE, "9", 10),
        (WITHOUT_A_NINE, "99", 10),
        (WITHOUT_A_NINE, "200", 10),
        # Seeks through some 900 runs, 200 a call.
        (SPREAD, "9999", 4),
        (SPREAD, "0000", 4),
        (SPREAD, "75", 10),
    ],
)
async def test_a_walk_through_a_large_stock_takes_many_calls_and_misses_nothing(
    store: Store, locals_: Iterable[int], pattern: str, least_calls: int
) -> None:
    everything = {*locals_, 9_999_000}
    await put_in_stock(store, "415", everything)
    expected = matching("415", everything, pattern)
    assert expected
    before = await script_calls(store)
    found = await search(store, AreaStock(store), Query("415", None, pattern, len(expected) + 1))
    assert found == sorted(expected)
    assert await script_calls(store) - before >= least_calls


@pytest.mark.parametrize(
    ("locals_", "pattern"),
    [(WITHOUT_A_NINE, "9"), (WITHOUT_A_NINE, "99"), (SPREAD, "9999"), (SPREAD, "314")],
)
async def test_one_call_of_a_walk_is_short_however_large_the_stock(
    store: Store, locals_: Iterable[int], pattern: str
) -> None:
    await put_in_stock(store, "415", (local for local in locals_ if pattern not in str(local)))
    await store.execute("CONFIG", "RESETSTAT")
    calls = await walk_to_the_end(store, "415", pattern, 10, Random(1))  # noqa: S311
    assert calls == [set()] * len(calls)
    statistics = await store.execute("INFO", "commandstats")
    # 3,000 members in steps of 200, or 75 seeks, and a few more; far from the 60,000 that there are.
    assert statistics.get("cmdstat_zscan", {"calls": 0})["calls"] <= 16 * len(calls)
    assert statistics.get("cmdstat_zrangebyscore", {"calls": 0})["calls"] <= 78 * len(calls)
    assert len(calls) >= 4


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
