"""Numbers that several carriers offer: whose attributes count, and who takes over."""

import asyncio
from itertools import permutations
from random import Random

import pytest

from shared import clock, store_keys
from shared.feeds.profiles import Profile
from shared.feeds.syncs import SyncState
from shared.phone_number import PhoneNumber
from shared.stock_score import KEPT, MMS, SMS
from tests.store.feeding import (
    ANY_REMOVAL,
    FEATURES,
    NO_REMOVAL,
    NUMBERS,
    Feed,
    Feeding,
    counts_of,
    offers_in_area,
    profiles,
)

pytestmark = pytest.mark.usefixtures("small_calls")

CARRIERS = ("acme", "beta", "gamma")
ONE, TWO, THREE = NUMBERS[:3]


def preferring(*carriers: str) -> dict[str, Profile]:
    """Give profiles of carriers whose offers count in this order."""
    return {name: Profile(precedence=at, guards=ANY_REMOVAL) for at, name in enumerate(carriers)}


async def shown(feeding: Feeding) -> Feed:
    """Give the features of each number that is known, of the offer that counts."""
    offers: dict[PhoneNumber, list[int]] = {}
    for area_code in {number.area_code for number in NUMBERS}:
        offers |= await offers_in_area(feeding.store, area_code)
    return {number: attributes[0] & (SMS | MMS) for number, attributes in offers.items()}


@pytest.mark.parametrize("came", list(permutations(CARRIERS)))
async def test_the_carrier_of_the_lowest_precedence_counts_whoever_came_first(
    feeding: Feeding, came: tuple[str, ...]
) -> None:
    feeding.profiles = profiles(**preferring("beta", "gamma", "acme"))
    feeds = {"acme": {ONE: SMS}, "beta": {ONE: MMS}, "gamma": {ONE: 0}}
    for carrier in came:
        await feeding.ingest(carrier, feeds[carrier])
    assert await shown(feeding) == {ONE: MMS}
    await feeding.check_settled(feeds)


@pytest.mark.parametrize("came", list(permutations(CARRIERS)))
async def test_among_equals_the_one_that_was_registered_first_counts(
    feeding: Feeding, came: tuple[str, ...]
) -> None:
    for carrier, features in zip(came, (SMS, MMS, 0), strict=True):
        await feeding.ingest(carrier, {ONE: features})
    assert await shown(feeding) == {ONE: SMS}


@pytest.mark.parametrize("left", list(permutations(CARRIERS)))
async def test_the_loss_of_one_leaves_the_others_and_the_loss_of_all_leaves_none(
    feeding: Feeding, left: tuple[str, ...]
) -> None:
    feeding.profiles = profiles(**preferring("beta", "gamma", "acme"))
    feeds: dict[str, Feed] = {
        "acme": {ONE: SMS, TWO: 0},
        "beta": {ONE: MMS, TWO: 0},
        "gamma": {ONE: 0, TWO: 0},
    }
    for carrier, feed in feeds.items():
        await feeding.ingest(carrier, feed)
    for carrier in left:
        feeds[carrier] = {TWO: 0}
        await feeding.ingest(carrier, feeds[carrier])
        await feeding.check_settled(feeds)
    assert await shown(feeding) == {TWO: 0}


async def test_carriers_that_leave_at_once_leave_none(feeding: Feeding) -> None:
    for carrier in CARRIERS:
        await feeding.ingest(carrier, dict.fromkeys(NUMBERS, SMS))
    for carrier in CARRIERS:
        await feeding.bring(carrier, {ONE: SMS})
    await asyncio.gather(*(feeding.run(carrier) for carrier in CARRIERS))
    await feeding.check_settled({carrier: {ONE: SMS} for carrier in CARRIERS})


async def test_what_waits_of_one_carrier_still_counts(feeding: Feeding) -> None:
    first = Profile(precedence=1, guards=NO_REMOVAL)
    feeding.profiles = profiles(acme=first)
    await feeding.ingest("acme", {ONE: SMS, TWO: SMS})
    await feeding.ingest("beta", {ONE: MMS})
    sync = await feeding.ingest("acme", {TWO: SMS})
    assert sync.state is SyncState.WAITING
    assert await shown(feeding) == {ONE: SMS, TWO: SMS}
    await feeding.confirm(sync)
    assert await shown(feeding) == {ONE: MMS, TWO: SMS}


# Another precedence


@pytest.mark.parametrize("carrier", ["acme", "beta"])
async def test_another_precedence_takes_effect_at_the_next_run_of_either_carrier(
    feeding: Feeding, carrier: str
) -> None:
    feeds: dict[str, Feed] = {"acme": {ONE: SMS, TWO: SMS}, "beta": {ONE: MMS, THREE: MMS}}
    for first, second in (("acme", "beta"), ("beta", "acme"), ("acme", "beta")):
        feeding.profiles = profiles(**preferring(first, second))
        for name in (first, second):
            await feeding.ingest(name, feeds[name])
        feeding.profiles = profiles(**preferring(second, first))
        sync = await feeding.ingest(carrier, feeds[carrier])
        # The carrier offers what it did.
        assert counts_of(sync) == (0, 0, 2)
        await feeding.check_settled(feeds)
        assert (await shown(feeding))[ONE] == feeds[second][ONE]


async def test_another_precedence_takes_effect_where_the_feed_changes_too(feeding: Feeding) -> None:
    feeding.profiles = profiles(**preferring("acme", "beta"))
    await feeding.ingest("acme", {ONE: SMS, TWO: SMS})
    await feeding.ingest("beta", {ONE: MMS, TWO: MMS})
    feeding.profiles = profiles(**preferring("beta", "acme"))
    sync = await feeding.ingest("acme", {ONE: 0, THREE: 0})
    assert counts_of(sync) == (1, 1, 1)
    await feeding.check_settled({"acme": {ONE: 0, THREE: 0}, "beta": {ONE: MMS, TWO: MMS}})
    assert await shown(feeding) == {ONE: MMS, TWO: MMS, THREE: 0}


async def test_a_carrier_that_comes_to_stand_before_one_it_did_not_know_is_noticed_by_that_one(
    feeding: Feeding,
) -> None:
    """A run knows the carriers that were there when it began; another may bring its first feed meanwhile."""
    feeding.profiles = profiles(**preferring("beta", "acme"))
    await feeding.ingest("acme", {ONE: SMS})
    await feeding.ingest("beta", {ONE: MMS})
    # As a run of acme that began before beta was known would have left it.
    local = ONE.local * 65536
    await feeding.store.execute("ZADD", store_keys.available("415"), local + (1 << 6) + SMS, ONE.e164)
    await feeding.store.execute("HSET", store_keys.also_offered("415"), ONE.e164, (2 << 6) + MMS)
    await feeding.store.execute("HSET", store_keys.feed("acme"), "order", ",1,")
    await feeding.ingest("acme", {ONE: SMS})
    await feeding.check_settled({"acme": {ONE: SMS}, "beta": {ONE: MMS}})
    assert await shown(feeding) == {ONE: MMS}


async def test_a_run_after_which_nothing_has_changed_looks_at_no_other_carriers_offers(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    for carrier in CARRIERS:
        await feeding.ingest(carrier, {ONE: SMS})
    monkeypatch.delattr("worker.feeds.apply._offered_by_others")
    for carrier in CARRIERS:
        assert counts_of(await feeding.ingest(carrier, {ONE: SMS})) == (0, 0, 1)


# Whoever has a number


@pytest.mark.parametrize("state", ["held", "assigned", "quarantined", "returned", "kept"])
async def test_a_number_keeps_its_state_whoever_offers_it_and_it_is_known_who_does(
    feeding: Feeding, state: str
) -> None:
    feeding.profiles = profiles(**preferring("beta", "gamma", "acme"))
    await feeding.ingest("acme", {ONE: SMS})
    store, attributes = feeding.store, 1 << 6 | SMS
    if state == "kept":
        await store.execute(
            "ZADD", store_keys.available("415"), ONE.local * 65536 + attributes + KEPT, ONE.e164
        )
    else:
        await store.execute("ZREM", store_keys.available("415"), ONE.e164)
        record = f"{state} {attributes} 1 order buyer"
        await store.execute("HSET", store_keys.unavailable("415"), ONE.e164, record)
    if state == "returned":
        until = await clock.now_ms(store) + 60_000
        await store.execute("ZADD", store_keys.returned("415"), until, ONE.e164)

    async def state_now() -> str:
        found = await store.execute("HGET", store_keys.unavailable("415"), ONE.e164)
        if found is not None:
            return str(found.decode().split()[0])
        score = int(await store.execute("ZSCORE", store_keys.available("415"), ONE.e164))
        return "kept" if score & KEPT else "available"

    feeds: dict[str, Feed] = {"acme": {ONE: SMS}}
    for carrier, features in (("gamma", MMS), ("beta", 0), ("acme", None), ("beta", None), ("acme", MMS)):
        feeds[carrier] = {TWO: 0} if features is None else {ONE: features, TWO: 0}
        await feeding.ingest(carrier, feeds[carrier])
        assert await state_now() == state
        await feeding.check_settled(feeds)
    for carrier in ("gamma", "acme"):
        feeds[carrier] = {TWO: 0}
        await feeding.ingest(carrier, feeds[carrier])
    assert await state_now() == state
    await feeding.check_settled(feeds)


# Any sequence


@pytest.mark.parametrize("seed", range(5))
async def test_after_any_sequence_of_feeds_the_stock_is_what_each_carrier_said_last(
    feeding: Feeding, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 - no secret
    feeding.profiles = profiles(**preferring(*chance.sample(CARRIERS, 3)))
    feeds: dict[str, Feed] = {}
    for at in range(25):
        carrier = chance.choice(CARRIERS)
        feed = feeds.get(carrier, {})
        if chance.random() < 0.5:
            feed = {number: chance.choice(FEATURES) for number in chance.sample(NUMBERS, 9)}
            await feeding.ingest(carrier, feed)
        else:
            rows = [(number, chance.choice([None, *FEATURES])) for number in chance.sample(NUMBERS, 6)]
            # A row of its own makes each another delta.
            rows.append((NUMBERS[at], SMS))
            await feeding.delta(carrier, rows)
            named = dict(rows)
            feed = {number: features for number, features in feed.items() if number not in named}
            feed |= {number: features for number, features in named.items() if features is not None}
        feeds[carrier] = feed
        await feeding.check_settled(feeds)


@pytest.mark.parametrize("seed", range(5))
async def test_the_order_in_which_carriers_runs_are_done_makes_no_difference(
    feeding: Feeding, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 - no secret
    feeding.profiles = profiles(**preferring(*chance.sample(CARRIERS, 3)))
    feeds = {
        carrier: [
            {number: chance.choice(FEATURES) for number in chance.sample(NUMBERS, 12)} for _ in range(3)
        ]
        for carrier in CARRIERS
    }
    seen = []
    for _ in range(4):
        await feeding.store.execute("FLUSHALL")
        turns = [carrier for carrier in CARRIERS for _ in range(3)]
        chance.shuffle(turns)
        coming = {carrier: iter(found) for carrier, found in feeds.items()}
        for carrier in turns:
            await feeding.ingest(carrier, next(coming[carrier]))
        await feeding.check_settled({carrier: found[-1] for carrier, found in feeds.items()})
        seen.append(await shown(feeding))
    assert seen == [seen[0]] * len(seen)
