"""The search finds what a plain substring filter finds: with hints, without, with old and wrong ones."""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from shared import clock, store_keys
from shared.atomic.area_operations import Held, give_back, hold
from shared.atomic.feed_operations import FeedRun, Offerer, stock, withdraw
from shared.phone_number import e164
from shared.search.hint import Hint
from shared.search.search import Query, Search
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL
from shared.settings import Settings
from shared.stock_score import SMS, score
from shared.store import Store
from tests.store.conftest import Run
from tests.store.searching import ALL_LOCALS, assert_answers, calls, matching, texts
from tests.support import put_in_stock

WITHOUT_A_NINE = [local for local in range(2_000_000, 2_100_000) if "9" not in str(local)]
"""59,049 numbers."""
SPREAD = range(2_000_003, LOCAL_NUMBERS, 133)
"""60,150 numbers."""

OFFERER = Offerer(FeedRun("acme", 5, "read", "a-sync"), 1, ",1,")

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
    """Return patterns that match many, few and no numbers, with and without `+`."""
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


def packed(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


HINTS = Settings()
NO_HINTS = Settings(search_hint_megabytes=0)


@pytest.fixture(params=["text", "bitmap", "none"])
def search_settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings with which a hint is a text and a bitmap, a bitmap only, or missing."""
    if request.param == "bitmap":
        monkeypatch.setattr("shared.search.hint._TEXT_NUMBERS", 0)
    return NO_HINTS if request.param == "none" else HINTS


@given(
    kinds,
    st.sampled_from(["415", "800", "222", "999"]),
    seeds,
    st.lists(quantities, min_size=10, max_size=10),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_search_returns_what_a_plain_filter_would(
    run: Run,
    search_settings: Settings,
    kind: Kind,
    area_code: str,
    draw: Random,
    quantities: list[int],
) -> None:
    locals_ = set(kind(draw))

    async def body(store: Store) -> None:
        await put_in_stock(store, area_code, locals_)
        search = Search(store, search_settings)
        for pattern, quantity in zip(patterns_for(area_code, locals_, draw), quantities, strict=True):
            expected = matching(area_code, locals_, pattern)
            in_area = await search.find(Query(area_code, None, pattern, quantity))
            assert_answers(in_area, expected, quantity)
            anywhere = await search.find(Query(pattern=pattern, quantity=len(expected) + 1))
            assert texts(anywhere) == sorted(expected)

    run(body)


Change = Callable[[Store, Random, set[int]], Awaitable[None]]


async def feed_changes(store: Store, draw: Random, stock_: set[int]) -> None:
    """Offer and withdraw numbers as a carrier's feed does: events name them packed."""
    offered = {draw.choice(ALL_LOCALS) for _ in range(draw.randrange(100))} - stock_
    gone = set(draw.sample(sorted(stock_), min(len(stock_), draw.randrange(100))))
    if offered:
        await stock(store, OFFERER, "415", packed(*(SMS * 2**24 + local for local in offered)))
    if gone:
        await withdraw(store, OFFERER, "415", packed(*gone))
    stock_ |= offered
    stock_ -= gone


async def order_changes(store: Store, draw: Random, stock_: set[int]) -> None:
    """Hold numbers for orders, and release some of them: events name each number."""
    held = draw.sample(sorted(stock_), min(len(stock_), draw.randrange(30)))
    deadline_ms = await clock.now_ms(store) + 60_000
    for local in held:
        number = e164("415", local)
        assert isinstance(await hold(store, "415", number, 1, "buyer", deadline_ms, [number]), Held)
        if draw.random() < 0.5:
            await give_back(store, "415", number, 1, "refused", [number])
        else:
            stock_.discard(local)


async def other_changes(store: Store, draw: Random, stock_: set[int]) -> None:
    """Write to the stock without events, as no script does."""
    some = {draw.choice(ALL_LOCALS) for _ in range(draw.randrange(1, 30))} - stock_
    await put_in_stock(store, "415", some)
    stock_ |= some


@pytest.mark.parametrize("change", [feed_changes, order_changes, other_changes])
@given(kinds, seeds, st.lists(quantities, min_size=10, max_size=10))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_old_hint_neither_hides_a_match_nor_shows_a_number_that_is_gone(
    run: Run, search_settings: Settings, change: Change, kind: Kind, draw: Random, quantities: list[int]
) -> None:
    async def body(store: Store) -> None:
        locals_ = set(kind(draw))
        await put_in_stock(store, "415", locals_)
        search = Search(store, search_settings)
        for quantity in quantities:
            for pattern in draw.sample(patterns_for("415", locals_, draw), 2):
                expected = matching("415", locals_, pattern)
                in_area = await search.find(Query("415", None, pattern, quantity))
                assert_answers(in_area, expected, quantity)
            await change(store, draw, locals_)

    run(body)


@pytest.mark.parametrize("pattern", ["", "7", "55", "777", "5555", "77777", "234567", "2345678"])
async def test_a_hint_that_is_wrong_costs_time_and_no_match(store: Store, pattern: str) -> None:
    draw = Random(11)  # noqa: S311
    locals_ = set(draw.sample(ALL_LOCALS, 5000)) | {2_345_678, 5_555_123, 7_777_701}
    await put_in_stock(store, "415", locals_)
    expected = matching("415", locals_, pattern)
    for wrong in (set(draw.sample(ALL_LOCALS, 5000)), set(list(locals_)[::2]), set[int]()):
        search = Search(store, HINTS)
        hint = await search._hints.read("415")
        assert hint is not None
        wrong_hint = Hint("415", hint.version)
        if wrong:
            wrong_hint.extend([e164("415", local).encode() for local in sorted(wrong)])
        wrong_hint.synced_at = wrong_hint.used_at = wrong_hint.read_at = time.monotonic()
        search._hints._hints["415"] = wrong_hint
        for quantity in (1, 10, 100, len(expected) + 1):
            found = await search.find(Query("415", None, pattern, quantity))
            assert set(texts(found)) <= expected
            # A wrong hint with as many numbers as the stock cannot be told from a right one.
            if len(wrong) != len(locals_):
                assert len(found) == min(quantity, len(expected))


async def test_numbers_new_in_stock_are_found_at_once_where_the_others_are_too_few(store: Store) -> None:
    await put_in_stock(store, "415", range(5_550_000, 5_550_005))
    search, query = Search(store, HINTS), Query("415", None, "555", 10)
    assert len(await search.find(query)) == 5
    await stock(store, OFFERER, "415", packed(5_550_007))
    assert b"+14155550007" in await search.find(query)
    await withdraw(store, OFFERER, "415", packed(5_550_007))
    assert len(await search.find(query)) == 5
    await store.execute("SADD", store_keys.AREAS, "415")
    assert len(await search.find(Query(pattern="5550004"))) == 1


@pytest.mark.parametrize("area_code", ["415", None])
async def test_numbers_new_in_a_plentiful_stock_are_among_those_shown_a_moment_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, area_code: str | None
) -> None:
    await put_in_stock(store, "415", range(5_550_000, 5_550_050))
    search, query = Search(store, HINTS), Query(area_code, None, "555", 10)
    assert len(await search.find(query)) == 10
    await stock(store, OFFERER, "415", packed(*range(5_560_000, 5_560_050)))
    monkeypatch.setattr("shared.search.hints._DUE_SECONDS", 0.0)
    shown = {number for _ in range(50) for number in await search.find(Query(area_code, None, "55", 10))}
    assert any(number.startswith(b"+1415556") for number in shown)


async def test_a_large_stock_is_scanned_until_its_hint_is_read_in_the_background(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.search.hints._READ_AT_ONCE", 1000)
    locals_ = WITHOUT_A_NINE[:5000]
    await put_in_stock(store, "415", locals_)
    search = Search(store, HINTS)
    await store.execute("CONFIG", "RESETSTAT")
    assert_answers(await search.find(Query("415", None, "22", 100)), matching("415", locals_, "22"), 100)
    assert await calls(store, "zscan") >= 1
    await search.learn("415")
    await store.execute("CONFIG", "RESETSTAT")
    assert_answers(await search.find(Query("415", None, "22", 100)), matching("415", locals_, "22"), 100)
    assert await calls(store, "zscan") == 0


async def test_hints_stay_within_their_memory_and_searches_go_on_without(store: Store) -> None:
    draw = Random(12)  # noqa: S311
    stocks = {str(area): draw.sample(ALL_LOCALS, 6000) for area in range(201, 231)}
    for area_code, locals_ in stocks.items():
        await put_in_stock(store, area_code, locals_)
    search = Search(store, Settings(search_hint_megabytes=1))
    for area_code, locals_ in stocks.items():
        found = await search.find(Query(area_code, None, "77", 1000))
        assert_answers(found, matching(area_code, locals_, "77"), 1000)
    hints = search._hints._hints.values()
    assert 5 <= len(hints) < 30
    assert sum(hint.size_bytes for hint in hints) <= 2**20
    expected = set().union(*(matching(area, locals_, "23456") for area, locals_ in stocks.items()))
    assert texts(await search.find(Query(pattern="23456", quantity=1000))) == sorted(expected)


async def test_a_hint_that_no_search_has_used_is_dropped_and_read_again(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    search = Search(store, HINTS)
    assert len(await search.find(Query("415"))) == 1
    first = search._hints.ready("415")
    assert first is not None
    first.synced_at -= 601
    assert search._hints.ready("415") is None
    assert len(await search.find(Query("415"))) == 1
    assert search._hints.ready("415") not in (None, first)


async def test_members_that_are_no_numbers_keep_no_search_from_the_others(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    await store.execute("ZADD", store_keys.available("415"), score(5_550_124, 0), "broken")
    search = Search(store, HINTS)
    assert await search.find(Query("415", None, "555", 10)) == [b"+14155550123"]


async def test_a_search_whose_hint_is_being_read_by_another_that_goes_away_is_answered(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    search = Search(store, HINTS)
    first, second = (asyncio.create_task(search.find(Query("415"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [b"+14155550123"]
    assert first.cancelled()


@pytest.mark.parametrize("pattern", ["9", "99", "200", "9999", "0000", "75"])
@pytest.mark.parametrize("locals_", [WITHOUT_A_NINE, SPREAD], ids=["without a nine", "spread"])
async def test_a_scan_of_a_large_stock_takes_many_short_calls_and_misses_nothing(
    store: Store, locals_: Iterable[int], pattern: str
) -> None:
    everything = {*locals_, 9_999_000}
    await put_in_stock(store, "415", everything)
    expected = matching("415", everything, pattern)
    await store.execute("CONFIG", "RESETSTAT")
    found = await Search(store, NO_HINTS).find(Query("415", None, pattern, len(expected) + 1))
    assert texts(found) == sorted(expected)
    assert await calls(store, "zscan", "zmscore") >= 5
