"""Permits for requests, against a leaky bucket that counts in whole microseconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import Struct

from shared import store_keys
from shared.atomic.permit_operations import Permit, take_permit
from shared.rate_limits import Limit
from shared.settings import LOWEST_RATE
from shared.store import Store

ORGANIZATION = "acme"
KEY = store_keys.permits(ORGANIZATION, "search")
SECOND = 1_000_000
HOUR = 3_600 * SECOND
"""Longer than any test."""
Run = Callable[[Callable[[Store], Awaitable[None]]], None]


class Bucket(Struct):
    """What is let in leaks away by one a microsecond."""

    level: int = 0
    at: int = 0

    def take(self, worth: int, burst: int, now: int) -> Permit:
        capacity = worth * burst
        self.level = min(max(self.level - (now - self.at), 0), capacity)
        self.at = now
        fits = self.level + worth <= capacity
        self.level += worth if fits else 0
        wait = max(self.level + worth - capacity, 0)
        return Permit(fits, (capacity - self.level) // worth, self.level, wait)


class Taken(NamedTuple):
    permit: Permit
    now: int
    """By the store's clock when it was taken, microseconds."""


async def take(store: Store, worth: int, burst: int, organization: str = ORGANIZATION) -> Permit:
    return await take_permit(store, organization, "search", worth, burst).wait()


async def take_at(store: Store, worth: int, burst: int) -> Taken:
    permit = await take(store, worth, burst)
    # What is kept is when the burst will be whole again; the reply says how far off that is.
    return Taken(permit, int(await store.execute("GET", KEY)) - permit.whole_in)


async def time_of_store(store: Store) -> int:
    seconds, microseconds = await store.execute("TIME")
    return int(seconds) * SECOND + int(microseconds)


async def let_pass(store: Store, microseconds: int) -> None:
    """Have it be so much later: only how far off the kept time is counts."""
    kept = await store.execute("GET", KEY)
    if kept is not None:
        await store.execute("SET", KEY, int(kept) - microseconds, "KEEPTTL")


@pytest.fixture(scope="module")
def run(valkey: str) -> Run:
    """Run a body with a store of its own: an example of a property has its own event loop."""

    def run(body: Callable[[Store], Awaitable[None]]) -> None:
        async def with_store() -> None:
            store = Store(valkey, timeout_seconds=5)
            try:
                await store.execute("FLUSHALL")
                await body(store)
            finally:
                await store.execute("FLUSHALL")
                await store.close()

        asyncio.run(with_store())

    return run


@given(
    st.lists(
        st.tuples(
            st.sampled_from([HOUR, HOUR // 7, 3 * HOUR + 1, 999_999_999]),
            st.integers(1, 5),
            st.one_of(st.just(0), st.integers(0, 2 * HOUR), st.integers(0, 20 * HOUR)),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_comes_when_and_however_limits_change_the_answers_are_the_buckets(
    run: Run, steps: list[tuple[int, int, int]]
) -> None:
    async def body(store: Store) -> None:
        bucket, shift = Bucket(), 0
        for worth, burst, pause in steps:
            await let_pass(store, pause)
            shift += pause
            permit, now = await take_at(store, worth, burst)
            assert permit == bucket.take(worth, burst, now + shift)

    run(body)


@given(st.integers(1, 3_000), st.integers(1, 20), st.integers(1, 80))
@settings(max_examples=50, deadline=None)
def test_in_any_time_no_more_pass_than_the_burst_and_what_the_time_is_worth(
    run: Run, worth: int, burst: int, count: int
) -> None:
    # So little worth that it comes back while the requests come.
    async def body(store: Store) -> None:
        passed = []
        for _ in range(count):
            before = await time_of_store(store)
            permit = await take(store, worth, burst)
            if permit.is_granted:
                passed.append((before, await time_of_store(store)))

        assert len(passed) >= min(burst, count)
        for first, (begun, _) in enumerate(passed):
            for last, (_, ended) in enumerate(passed[first:], first):
                assert last - first + 1 <= burst + (ended - begun) / worth

    run(body)


@pytest.mark.parametrize("burst", [1, 2, 10])
async def test_the_burst_passes_at_once_and_then_nothing_until_the_next_is_worth_its_time(
    store: Store, burst: int
) -> None:
    permits = [await take(store, HOUR, burst) for _ in range(burst + 3)]

    assert [permit.is_granted for permit in permits] == [True] * burst + [False] * 3
    assert [permit.left for permit in permits] == [*range(burst - 1, -1, -1), 0, 0, 0]
    assert [permit.next_in == 0 for permit in permits] == [True] * (burst - 1) + [False] * 4
    for permit in permits[burst - 1 :]:
        assert HOUR - 10 * SECOND < permit.next_in <= HOUR
        assert burst * HOUR - 10 * SECOND < permit.whole_in <= burst * HOUR


async def test_who_comes_when_he_is_told_passes_and_a_moment_earlier_he_does_not(store: Store) -> None:
    for _ in range(2):
        permit = await take(store, HOUR, 2)
    assert permit.next_in > 0

    # What goes by between the commands is not known beforehand: a second is more.
    await let_pass(store, permit.next_in - SECOND)
    early = await take(store, HOUR, 2)
    assert not early.is_granted
    await let_pass(store, early.next_in)

    assert (await take(store, HOUR, 2)).is_granted
    assert not (await take(store, HOUR, 2)).is_granted


async def test_when_the_burst_is_whole_again_it_passes_at_once_again(store: Store) -> None:
    for _ in range(5):
        permit = await take(store, HOUR, 5)
    await let_pass(store, permit.whole_in)

    assert [(await take(store, HOUR, 5)).is_granted for _ in range(6)] == [True] * 5 + [False]


async def test_refusals_cost_nothing(store: Store) -> None:
    first, *_, last = [await take_at(store, HOUR, 1) for _ in range(50)]

    assert last.permit.next_in == first.permit.next_in - (last.now - first.now)


async def test_organizations_and_kinds_have_limits_of_their_own(store: Store) -> None:
    assert (await take(store, HOUR, 1)).is_granted
    assert not (await take(store, HOUR, 1)).is_granted

    assert (await take(store, HOUR, 1, "another")).is_granted
    assert (await take_permit(store, ORGANIZATION, "write", HOUR, 1).wait()).is_granted


async def test_a_limit_that_is_raised_counts_at_once(store: Store) -> None:
    for _ in range(3):
        await take(store, HOUR, 2)

    # Two hours are taken; with a minute each a burst of 200 has room for 80 more.
    permit = await take(store, HOUR // 60, 200)

    assert permit.is_granted
    assert permit.left == 79


async def test_a_limit_that_was_lower_is_held_against_nobody_for_longer_than_the_new_one_allows(
    store: Store,
) -> None:
    for _ in range(100):
        await take(store, HOUR, 100)

    at_once = await take(store, 60 * SECOND, 2)
    assert not at_once.is_granted
    assert 60 * SECOND - 10 * SECOND < at_once.next_in <= 60 * SECOND
    assert at_once.whole_in <= 120 * SECOND

    await let_pass(store, at_once.next_in)
    assert (await take(store, 60 * SECOND, 2)).is_granted


async def test_a_clock_that_was_set_back_refuses_for_no_longer_than_a_burst_is_worth(store: Store) -> None:
    await take(store, SECOND, 3)
    await let_pass(store, -1000 * HOUR)

    permit = await take(store, SECOND, 3)

    assert not permit.is_granted
    assert permit.next_in <= SECOND
    await let_pass(store, permit.next_in)
    assert (await take(store, SECOND, 3)).is_granted


@pytest.mark.parametrize(("worth", "burst"), [(1, 1), (999, 1), (10_000, 200), (HOUR, 3)])
async def test_what_is_kept_is_forgotten_when_the_burst_is_whole_again(
    store: Store, worth: int, burst: int
) -> None:
    for _ in range(burst):
        permit = await take(store, worth, burst)

    lifetime_ms = await store.execute("PTTL", KEY)

    # -2: it has gone already.
    assert lifetime_ms == -2 or 0 <= lifetime_ms <= permit.whole_in / 1000 + 2
    if worth == HOUR:
        assert lifetime_ms > permit.whole_in / 1000 - 10_000


async def test_what_was_kept_for_a_lower_limit_is_forgotten_with_the_new_one(store: Store) -> None:
    await take(store, HOUR, 3)
    await take(store, SECOND, 2)

    assert 0 < await store.execute("PTTL", KEY) <= 2_002


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(LOWEST_RATE, 1), (LOWEST_RATE, 10**6), (1 / 3, 1), (1 / 3, 999_999), (10**6, 10**6)],
)
async def test_the_extremes_that_can_be_set_are_computed_to_the_microsecond(
    store: Store, rate: float, burst: int
) -> None:
    worth = Limit(rate, burst).worth
    # As after all of the burst but one.
    bucket = Bucket(worth * (burst - 1), await time_of_store(store))
    await store.execute("SET", KEY, bucket.at + bucket.level, "PX", 10**6)

    permit, now = await take_at(store, worth, burst)

    assert permit == bucket.take(worth, burst, now)
    assert permit.is_granted


async def test_a_permit_is_taken_ahead_of_what_is_sent_after_it(store: Store) -> None:
    await take(store, HOUR, 2)

    asked = take_permit(store, ORGANIZATION, "search", HOUR, 2)
    kept = store.execute("GET", KEY)
    permit = await asked.wait()

    # Two hours are taken, not one.
    assert int(await kept) - await time_of_store(store) > 2 * HOUR - 10 * SECOND
    assert permit.left == 0


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("rate", "burst"), [(1_000.0, 20), (50.0, 5)])
async def test_however_many_ask_over_several_connections_no_more_than_the_limit_pass(
    valkey: str, rate: float, burst: int
) -> None:
    limit = Limit(rate, burst)
    # A store of its own for each: a batch of one is not a batch of all.
    async with AsyncExitStack() as stack:
        stores = [Store(valkey, timeout_seconds=5) for _ in range(4)]
        for one in stores:
            stack.push_async_callback(one.close)
        await asyncio.gather(*[one.execute("PING") for one in stores])

        begun = time.monotonic()
        permits = await asyncio.gather(
            *[take(stores[place % len(stores)], limit.worth, burst) for place in range(2_000)]
        )
        seconds = time.monotonic() - begun

    passed = sum(permit.is_granted for permit in permits)
    assert burst <= passed <= burst + rate * seconds + 1
    assert min(permit.left for permit in permits if permit.is_granted) == 0
