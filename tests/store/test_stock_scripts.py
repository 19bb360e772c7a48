"""What feeds do to the stock and to each other, through the wrappers of the scripts."""

import struct
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

import pytest
import redis.asyncio

from shared import clock, store_keys
from shared.atomic.area_operations import hold
from shared.atomic.feed_operations import (
    MAX_NUMBERS_PER_CALL,
    FeedRun,
    Offerer,
    Overtaken,
    raise_fence,
    stock,
    withdraw,
)
from shared.number_events import PACKED_LOCALS
from shared.phone_number import e164
from shared.stock_score import MAX_CARRIER_ORDINAL, MMS, SMS, attributes, score
from shared.store import Store

AREA = "415"
NUMBER = 5_550_123

ACME, BETA, GAMMA = 1, 2, MAX_CARRIER_ORDINAL
RUN = FeedRun("acme", 5, "read", "a-sync")
ORDER = f",1,2,3,4,500,{MAX_CARRIER_ORDINAL},"
"""That in which they were registered."""


def packed(*locals_: int) -> bytes:
    return struct.pack(f"<{len(locals_)}I", *locals_)


class Shelf(NamedTuple):
    """All that the store holds of an area code: what is shown, and what waits behind it."""

    shown: dict[int, int]
    waiting: dict[int, list[int]]


async def read_shelf(store: Store) -> Shelf:
    shown = await store.execute("ZRANGE", store_keys.available(AREA), 0, -1, "WITHSCORES")
    also = await store.execute("HGETALL", store_keys.also_offered(AREA))
    found = {}
    for member, raw in zip(shown[::2], shown[1::2], strict=True):
        local, offer = divmod(int(raw), 2**16)
        assert member.decode() == e164(AREA, local)
        found[local] = offer
    waiting = {
        int(member[5:]): [int(offer) for offer in offers.split(b",")] for member, offers in also.items()
    }
    return Shelf(found, waiting)


async def offer(
    store: Store, carrier: int, *locals_: int, features: int = SMS, order: str = ORDER, run: FeedRun = RUN
) -> int:
    values = packed(*(features * 2**24 + local for local in locals_))
    return await stock(store, Offerer(run, carrier, order), AREA, values)


async def take_back(store: Store, carrier: int, *locals_: int, order: str = ORDER, run: FeedRun = RUN) -> int:
    return await withdraw(store, Offerer(run, carrier, order), AREA, packed(*locals_))


async def test_an_offered_number_is_available_with_the_carrier_and_the_features(store: Store) -> None:
    await offer(store, ACME, NUMBER, 2_000_000, 9_999_999, features=SMS | MMS)
    assert await store.execute("ZSCORE", store_keys.available(AREA), "+14155550123") == score(
        NUMBER, attributes(ACME, SMS | MMS)
    )
    assert set((await read_shelf(store)).shown) == {NUMBER, 2_000_000, 9_999_999}


async def test_a_withdrawn_number_is_gone_and_the_others_stay(store: Store) -> None:
    await offer(store, ACME, NUMBER, NUMBER + 1)
    await take_back(store, ACME, NUMBER)
    assert await read_shelf(store) == Shelf({NUMBER + 1: attributes(ACME, SMS)}, {})


async def test_features_are_updated_in_place(store: Store) -> None:
    await offer(store, ACME, NUMBER, features=SMS)
    await offer(store, ACME, NUMBER, features=MMS)
    assert await read_shelf(store) == Shelf({NUMBER: attributes(ACME, MMS)}, {})


@pytest.mark.parametrize("came", [(ACME, BETA), (BETA, ACME)])
@pytest.mark.parametrize(("order", "first", "second"), [(",1,2,", ACME, BETA), (",2,1,", BETA, ACME)])
async def test_the_offer_of_the_carrier_that_comes_first_in_the_order_counts_whoever_came_first(
    store: Store, came: tuple[int, int], order: str, first: int, second: int
) -> None:
    for carrier in came:
        await offer(store, carrier, NUMBER, features=carrier, order=order)
    assert await read_shelf(store) == Shelf(
        {NUMBER: attributes(first, first)}, {NUMBER: [attributes(second, second)]}
    )


async def test_a_call_puts_the_offers_of_its_numbers_in_the_order_of_now(store: Store) -> None:
    for carrier in (ACME, BETA, GAMMA):
        await offer(store, carrier, NUMBER)
    for carrier in (ACME, BETA, GAMMA):
        for first in (GAMMA, BETA, ACME):
            await offer(store, carrier, NUMBER, order=f",{first},{ACME},{BETA},{GAMMA},")
            shelf = await read_shelf(store)
            assert shelf.shown == {NUMBER: attributes(first, SMS)}
            assert shelf.waiting == {
                NUMBER: [attributes(other, SMS) for other in (ACME, BETA, GAMMA) if other != first]
            }


async def test_carriers_that_are_not_in_the_order_come_last_as_they_were_registered(store: Store) -> None:
    for carrier in (GAMMA, 3, BETA):
        await offer(store, carrier, NUMBER, order=f",{GAMMA},")
    for carrier, follower in ((GAMMA, BETA), (BETA, 3)):
        await take_back(store, carrier, NUMBER, order=f",{GAMMA},")
        assert (await read_shelf(store)).shown == {NUMBER: attributes(follower, SMS)}


async def test_an_ordinal_is_not_taken_for_another_that_it_is_a_part_of(store: Store) -> None:
    await offer(store, 23, NUMBER, order=",123,3,23,")
    await offer(store, 3, NUMBER, order=",123,3,23,")
    assert (await read_shelf(store)).shown == {NUMBER: attributes(3, SMS)}


async def test_one_call_brings_numbers_with_different_features(store: Store) -> None:
    values = packed(NUMBER, SMS * 2**24 + NUMBER + 1, MMS * 2**24 + NUMBER + 2, 3 * 2**24 + 9_999_999)
    await stock(store, Offerer(RUN, ACME, ORDER), AREA, values)
    assert (await read_shelf(store)).shown == {
        NUMBER: attributes(ACME, 0),
        NUMBER + 1: attributes(ACME, SMS),
        NUMBER + 2: attributes(ACME, MMS),
        9_999_999: attributes(ACME, SMS | MMS),
    }


async def test_the_waiting_carrier_takes_over_when_the_shown_one_withdraws(store: Store) -> None:
    await offer(store, ACME, NUMBER)
    await offer(store, BETA, NUMBER, features=MMS)
    await take_back(store, ACME, NUMBER)
    assert await read_shelf(store) == Shelf({NUMBER: attributes(BETA, MMS)}, {})


async def test_the_take_over_is_one_step_so_that_the_number_is_never_missing(
    store: Store, valkey: str
) -> None:
    await offer(store, ACME, NUMBER)
    await offer(store, BETA, NUMBER)
    async with redis.asyncio.Redis.from_url(valkey) as watcher, watcher.monitor() as monitor:
        await take_back(store, ACME, NUMBER)
        await store.execute("PING")
        written = []
        while (command := (await monitor.next_command())["command"]) != "PING":
            written.append(command.split()[0])
    assert written[0] == "EVALSHA"
    assert "ZADD" in written
    # Nothing removes it in between, and no second command comes from outside.
    assert "ZREM" not in written
    assert written.count("EVALSHA") + written.count("EVAL") <= 2


async def test_a_waiting_offer_that_is_withdrawn_leaves_the_shown_one(store: Store) -> None:
    await offer(store, ACME, NUMBER)
    await offer(store, BETA, NUMBER)
    await offer(store, GAMMA, NUMBER)
    await take_back(store, BETA, NUMBER)
    assert await read_shelf(store) == Shelf(
        {NUMBER: attributes(ACME, SMS)}, {NUMBER: [attributes(GAMMA, SMS)]}
    )


@pytest.mark.parametrize("order", [(ACME, BETA, GAMMA), (GAMMA, ACME, BETA), (BETA, GAMMA, ACME)])
async def test_a_number_is_gone_when_the_last_carrier_withdraws_it(
    store: Store, order: tuple[int, int, int]
) -> None:
    for carrier in (ACME, BETA, GAMMA):
        await offer(store, carrier, NUMBER)
    for carrier in order:
        assert NUMBER in (await read_shelf(store)).shown
        await take_back(store, carrier, NUMBER)
    assert await read_shelf(store) == Shelf({}, {})


async def test_a_waiting_carrier_updates_its_features_without_a_second_offer(store: Store) -> None:
    await offer(store, ACME, NUMBER)
    await offer(store, BETA, NUMBER, features=SMS)
    await offer(store, BETA, NUMBER, features=SMS | MMS)
    assert (await read_shelf(store)).waiting == {NUMBER: [attributes(BETA, SMS | MMS)]}


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_repeated_call_changes_nothing_more(store: Store, times: int) -> None:
    for _ in range(times):
        await offer(store, ACME, NUMBER, NUMBER + 1)
    for _ in range(times):
        await offer(store, BETA, NUMBER, NUMBER + 2)
    for _ in range(times):
        await take_back(store, ACME, NUMBER, NUMBER + 1)
    assert await read_shelf(store) == Shelf(
        {NUMBER: attributes(BETA, SMS), NUMBER + 2: attributes(BETA, SMS)}, {}
    )


async def test_withdrawing_what_was_never_offered_changes_nothing(store: Store) -> None:
    await offer(store, ACME, NUMBER)
    before = await read_shelf(store)
    await take_back(store, BETA, NUMBER, NUMBER + 1)
    await take_back(store, ACME, NUMBER + 1)
    assert await read_shelf(store) == before


async def test_a_call_moves_as_many_numbers_as_are_allowed(store: Store) -> None:
    many = range(NUMBER, NUMBER + MAX_NUMBERS_PER_CALL)
    await offer(store, ACME, *many)
    await offer(store, BETA, *many)
    shelf = await read_shelf(store)
    assert set(shelf.shown) == set(shelf.waiting) == set(many)
    await take_back(store, ACME, *many)
    await take_back(store, BETA, *many)
    assert await read_shelf(store) == Shelf({}, {})


class Model:
    """The same in plain Python: number → the offers of carriers, the one that counts first."""

    def __init__(self) -> None:
        self.offers: dict[int, dict[int, int]] = {}

    def stock(self, carrier: int, features: int, locals_: Iterable[int]) -> None:
        for local in locals_:
            offers = self.offers.get(local, {}) | {carrier: attributes(carrier, features)}
            self.offers[local] = dict(sorted(offers.items()))

    def withdraw(self, carrier: int, locals_: Iterable[int]) -> None:
        for local in locals_:
            offers = self.offers.get(local, {})
            offers.pop(carrier, None)
            if not offers:
                self.offers.pop(local, None)

    def shelf(self) -> Shelf:
        ordered = {local: list(offers.values()) for local, offers in self.offers.items()}
        return Shelf(
            {local: offers[0] for local, offers in ordered.items()},
            {local: offers[1:] for local, offers in ordered.items() if len(offers) > 1},
        )


@pytest.mark.parametrize("seed", range(12))
async def test_any_sequence_of_offers_and_withdrawals_ends_as_in_a_plain_model(
    store: Store, seed: int
) -> None:
    draw, model = Random(seed), Model()  # noqa: S311
    carriers = [1, 2, 3, 4, 500, MAX_CARRIER_ORDINAL][: draw.randrange(2, 7)]
    numbers = draw.sample(range(2_000_000, 10_000_000), 8)
    for _ in range(120):
        carrier = draw.choice(carriers)
        some = draw.sample(numbers, draw.randrange(1, 6))
        if draw.random() < 0.5:
            features = draw.choice([0, SMS, MMS, SMS | MMS])
            model.stock(carrier, features, some)
            await offer(store, carrier, *some, features=features)
        else:
            model.withdraw(carrier, some)
            await take_back(store, carrier, *some)
        assert await read_shelf(store) == model.shelf()
    for carrier in draw.sample(carriers, len(carriers)):
        await take_back(store, carrier, *numbers)
    assert await read_shelf(store) == Shelf({}, {})


@pytest.mark.parametrize("seed", range(4))
async def test_which_carriers_offer_a_number_does_not_depend_on_the_order_of_their_calls(
    store: Store, seed: int
) -> None:
    draw = Random(seed)  # noqa: S311
    calls = [(carrier, features) for carrier, features in ((ACME, SMS), (BETA, MMS), (3, 0), (4, SMS | MMS))]
    draw.shuffle(calls)
    for carrier, features in calls:
        await offer(store, carrier, NUMBER, features=features)
    await take_back(store, 3, NUMBER)
    shelf = await read_shelf(store)
    assert shelf == Shelf(
        {NUMBER: attributes(ACME, SMS)}, {NUMBER: [attributes(BETA, MMS), attributes(4, SMS | MMS)]}
    )


# What is told


async def take_entries(store: Store) -> list[dict[bytes, bytes]]:
    """Return the fields of the area code's events, oldest first, and remove them."""
    key = store_keys.events(AREA)
    entries = [fields for _, fields in await store.execute("XRANGE", key, "-", "+")]
    await store.execute("DEL", key)
    return entries


async def check_told(store: Store, *changes: tuple[str, str, int]) -> None:
    """Check that these changes were told, one entry a call, and forget them: from, to, how many."""
    entries = [
        {name.decode(): value.decode() for name, value in fields.items() if name != PACKED_LOCALS}
        for fields in await take_entries(store)
    ]
    now_ms = await clock.now_ms(store)
    assert all(now_ms - 60_000 < int(entry.pop("time")) <= now_ms for entry in entries)
    assert entries == [
        {"from": before, "to": after, "carrier": "acme", "count": str(count), "cause": "feed"}
        for before, after, count in changes
    ]


async def test_new_numbers_are_told_once_a_call_with_their_count(store: Store) -> None:
    await offer(store, ACME, NUMBER, NUMBER + 1, NUMBER + 2)
    await check_told(store, ("unknown", "available", 3))
    await offer(store, ACME, NUMBER, NUMBER + 3)
    await check_told(store, ("unknown", "available", 1))


async def test_numbers_that_are_gone_are_told_once_a_call_with_their_count(store: Store) -> None:
    await offer(store, ACME, NUMBER, NUMBER + 1, NUMBER + 2)
    await offer(store, BETA, NUMBER)
    await check_told(store, ("unknown", "available", 3))
    await take_back(store, ACME, NUMBER, NUMBER + 1, NUMBER + 2, NUMBER + 3)
    await check_told(store, ("available", "unknown", 2))
    await take_back(store, BETA, NUMBER)
    await check_told(store, ("available", "unknown", 1))


async def test_an_event_of_a_feed_names_the_numbers_for_readers_that_follow_the_stock(store: Store) -> None:
    async def named() -> list[list[int]]:
        return [
            [value & 0xFFFFFF for value in memoryview(entry[PACKED_LOCALS]).cast("I")]
            for entry in await take_entries(store)
        ]

    await offer(store, ACME, NUMBER, NUMBER + 1, features=SMS | MMS)
    assert await named() == [[NUMBER, NUMBER + 1]]
    await hold(store, AREA, "an-order", 1, "buyer", await clock.now_ms(store) + 60_000, [e164(AREA, NUMBER)])
    await take_entries(store)
    # The held number is not available, whoever offers it; the second already was.
    await offer(store, BETA, NUMBER, NUMBER + 1, NUMBER + 2)
    assert await named() == [[NUMBER + 1, NUMBER + 2]]
    await take_back(store, BETA, NUMBER, NUMBER + 1, NUMBER + 2)
    assert await named() == [[NUMBER + 2]]


async def test_what_changes_nobodys_choice_of_numbers_is_not_told(store: Store) -> None:
    await offer(store, ACME, NUMBER)
    await check_told(store, ("unknown", "available", 1))
    await offer(store, ACME, NUMBER)
    await offer(store, ACME, NUMBER, features=MMS)
    await offer(store, BETA, NUMBER)
    await take_back(store, ACME, NUMBER)
    await take_back(store, ACME, NUMBER, NUMBER + 1)
    await check_told(store)


async def test_an_overtaken_run_tells_nothing(store: Store) -> None:
    await offer(store, ACME, NUMBER)
    await raise_fence(store, RUN._replace(generation=100), ACME, AREA)
    await check_told(store, ("unknown", "available", 1))
    with pytest.raises(Overtaken):
        await offer(store, ACME, NUMBER + 1)
    with pytest.raises(Overtaken):
        await take_back(store, ACME, NUMBER)
    await check_told(store)


async def test_a_run_behind_a_raised_fence_writes_nothing_and_is_told(store: Store) -> None:
    old, new = RUN._replace(generation=7), RUN._replace(generation=8)
    await offer(store, ACME, NUMBER, run=old)
    await raise_fence(store, new, ACME, AREA)
    before = await read_shelf(store)
    with pytest.raises(Overtaken):
        await offer(store, ACME, NUMBER, NUMBER + 1, features=MMS, run=old)
    with pytest.raises(Overtaken):
        await take_back(store, ACME, NUMBER, run=old)
    with pytest.raises(Overtaken):
        await raise_fence(store, old, ACME, AREA)
    assert await read_shelf(store) == before
    await take_back(store, ACME, NUMBER, run=new)
    assert await read_shelf(store) == Shelf({}, {})


async def test_a_fence_compares_generations_as_numbers(store: Store) -> None:
    await raise_fence(store, RUN._replace(generation=9), ACME, AREA)
    await raise_fence(store, RUN._replace(generation=10), ACME, AREA)
    with pytest.raises(Overtaken):
        await offer(store, ACME, NUMBER, run=RUN._replace(generation=9))
    await offer(store, ACME, NUMBER, run=RUN._replace(generation=10))


async def test_a_fence_stands_for_one_carrier_in_one_area_code(store: Store) -> None:
    await raise_fence(store, RUN._replace(generation=100), ACME, AREA)
    await offer(store, BETA, NUMBER)
    await stock(store, Offerer(RUN, ACME, ORDER), "212", packed(NUMBER))
    with pytest.raises(Overtaken):
        await offer(store, ACME, NUMBER)
    assert await store.execute("ZCARD", store_keys.available("212")) == 1
