"""The sweep: all that is due is done, whatever else is due, and holds become what their orders became."""

import logging

import pytest

from shared import store_keys
from shared.atomic.area_operations import hold
from shared.atomic.order_operations import OrderRef
from shared.atomic.resource_operations import cancel_order, release_numbers
from shared.orders.records import OrderStatus, read_order
from shared.orders.sweep import settle_numbers, sweep
from shared.settings import Settings
from shared.store import Argument, Store
from tests.futures import returns_future
from tests.store.ordering import (
    AREA,
    MINUTE_MS,
    NUMBER,
    ORDER,
    ORGANIZATION,
    QUARANTINE,
    SECOND,
    THIRD,
    commit,
    complete,
    deadline,
    end_attempt,
    end_timer,
    hold_for,
    offer,
    open_,
    place_of,
    put,
    resource_id,
    state_of,
)

SETTINGS = Settings()
MANY = [f"+1{AREA}555{line}" for line in range(1000, 1010)]
ELSEWHERE = "+12125550123"


@pytest.fixture
async def buyer(store: Store) -> Store:
    """Give a store that knows the buyer."""
    await store.execute("SADD", store_keys.ORGANIZATIONS, ORGANIZATION)
    return store


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a few timers take several rounds."""
    monkeypatch.setattr("shared.orders.sweep._AT_ONCE", 2)


async def end_quarantine(store: Store, *numbers: str) -> None:
    """Have numbers in a quarantine that is over."""
    for number in numbers:
        area_code = number[2:5]
        await offer(store, number)
        await store.execute("ZREM", store_keys.available(area_code), number)
        record = f"quarantined 1 1 {ORDER.id} {ORGANIZATION}"
        await store.execute("HSET", store_keys.unavailable(area_code), number, record)
        await store.execute("ZADD", store_keys.timers(area_code), 1, number)


async def end_long_ago(store: Store, count: int) -> None:
    """Have orders that ended so long ago that they are to be forgotten."""
    for number in range(count):
        ref = OrderRef(ORGANIZATION, f"an-old-order-{number}")
        await open_(store, ref)
        await store.execute("HSET", ref.key, "status", "failed", "ended_ms", 1)
        await store.execute("ZADD", store_keys.due(ORGANIZATION), 1, ref.id)


# What is due.


@pytest.mark.usefixtures("small_rounds")
async def test_one_sweep_does_all_that_is_due_however_much_it_is(store: Store) -> None:
    await end_quarantine(store, *MANY)
    assert await sweep(store, SETTINGS) == len(MANY)
    assert [await state_of(store, number) for number in MANY] == ["available"] * len(MANY)
    assert await sweep(store, SETTINGS) == 0


@pytest.mark.usefixtures("small_rounds")
async def test_open_work_does_not_wait_for_orders_that_are_to_be_forgotten(buyer: Store) -> None:
    await end_long_ago(buyer, 7)
    await put(buyer, NUMBER, "available")
    await complete(buyer, ORDER, NUMBER)
    ids = [resource_id(ORDER, NUMBER)]
    await cancel_order(buyer, ORDER, "complete", None, MINUTE_MS, 0, ids)
    await sweep(buyer, SETTINGS)
    order = await read_order(buyer, ORDER)
    assert order is not None
    assert order.status is OrderStatus.CANCELLED
    assert await state_of(buyer, NUMBER) == "available"
    assert await buyer.execute("ZCARD", store_keys.orders(ORGANIZATION)) == 1


@pytest.mark.usefixtures("small_rounds")
async def test_what_cannot_be_settled_is_passed_over_and_looked_at_once_a_sweep(store: Store) -> None:
    strays = [f"+1{AREA}444{line}" for line in range(1000, 1005)]
    for number in strays:
        await store.execute("ZADD", store_keys.timers(AREA), 0, number)
    # Not a text at all.
    await store.execute("ZADD", store_keys.timers(AREA), 0, b"\xff")
    await end_quarantine(store, *MANY)
    assert await sweep(store, SETTINGS) == len(strays) + 1 + len(MANY)
    assert [await state_of(store, number) for number in MANY] == ["available"] * len(MANY)
    assert await sweep(store, SETTINGS) == len(strays) + 1


class Recording(Store):
    """A store that remembers whom scripts were run for."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5)
        self.first_keys: list[Argument] = []

    @returns_future
    async def execute(self, *command: Argument) -> object:
        if command[0] == "EVALSHA":
            self.first_keys.append(command[3])
        return await super().execute(*command)


@pytest.mark.usefixtures("small_rounds")
async def test_nobodys_backlog_keeps_the_others_waiting(buyer: Store, valkey: str) -> None:
    await end_quarantine(buyer, *MANY, ELSEWHERE)
    await end_long_ago(buyer, 7)
    recording = Recording(valkey)
    await sweep(recording, SETTINGS)
    await recording.close()
    # A round of the organization's orders, one of each area code's numbers, and only then more of the first.
    places = [str(key).split(":")[0] if "{org:" not in str(key) else "org" for key in recording.first_keys]
    assert places[:2] == ["org", "org"]
    assert sorted(places[2:4]) == ["{212}", "{415}"]
    assert places.count("org") == 7


# One thing that cannot be read.


@pytest.mark.parametrize(
    "departure",
    [
        b"garbage",
        b"an-order quarantined soon release",
        b"an-order assigned 0 release",
        b"an-order quarantined -1 release",
        b"\xff quarantined",
    ],
)
async def test_a_departure_that_cannot_be_read_keeps_nothing_else_of_its_organization_from_the_sweep(
    buyer: Store, caplog: pytest.LogCaptureFixture, departure: bytes
) -> None:
    await offer(buyer, NUMBER, SECOND)
    await complete(buyer, ORDER, NUMBER)
    await release_numbers(
        buyer, ORGANIZATION, [resource_id(ORDER, NUMBER)], QUARANTINE, 0, None, keep_only_a_release=False
    )
    dead = OrderRef(ORGANIZATION, "a-dead-order")
    await open_(buyer, dead, numbers=[SECOND])
    await hold_for(buyer, dead, SECOND)
    await end_attempt(buyer, dead)
    await put(buyer, THIRD, "assigned")
    await buyer.execute("HSET", store_keys.departures(ORGANIZATION), THIRD, departure)
    await buyer.execute("ZADD", store_keys.due(ORGANIZATION), 1, dead.id, 1, THIRD)
    with caplog.at_level(logging.ERROR):
        await sweep(buyer, SETTINGS)
    order = await read_order(buyer, dead)
    assert order is not None
    assert order.status is OrderStatus.FAILED
    assert [await state_of(buyer, number) for number in (NUMBER, SECOND)] == ["quarantined", "available"]
    assert await state_of(buyer, THIRD) == "assigned"
    assert await buyer.execute("HGETALL", store_keys.departures(ORGANIZATION)) == {THIRD.encode(): departure}
    assert "the sweep could not look after numbers of buyer" in caplog.text


# What becomes of a hold.


async def test_a_hold_is_confirmed_while_the_organization_has_the_number_by_its_order(buyer: Store) -> None:
    await offer(buyer, NUMBER)
    attempt = await open_(buyer)
    await hold_for(buyer, ORDER, NUMBER)
    await commit(buyer, attempt)
    await end_timer(buyer, NUMBER)
    await sweep(buyer, SETTINGS)
    assert await state_of(buyer, NUMBER) == "assigned"


@pytest.mark.parametrize("what", ["cancelled", "released"])
async def test_a_hold_whose_number_is_on_its_way_out_is_left_to_whoever_moves_it(
    buyer: Store, what: str
) -> None:
    await offer(buyer, NUMBER)
    attempt = await open_(buyer)
    await hold_for(buyer, ORDER, NUMBER)
    await commit(buyer, attempt)
    ids = [resource_id(ORDER, NUMBER)]
    if what == "cancelled":
        await cancel_order(buyer, ORDER, "complete", None, MINUTE_MS, MINUTE_MS, ids)
    else:
        await release_numbers(buyer, ORGANIZATION, ids, QUARANTINE, 0, None, keep_only_a_release=False)
    await end_timer(buyer, NUMBER)
    # The area code's timers alone, before anybody has moved the number.
    await settle_numbers(buyer, AREA, [NUMBER])
    assert await state_of(buyer, NUMBER) == "held"
    await sweep(buyer, SETTINGS)
    assert await state_of(buyer, NUMBER) == "quarantined"


@pytest.mark.parametrize("status", ["complete", "cancelled"])
async def test_a_number_that_is_held_again_after_its_organization_lost_it_is_given_back(
    buyer: Store, status: str
) -> None:
    await offer(buyer, NUMBER)
    await complete(buyer, ORDER, NUMBER)
    ids = [resource_id(ORDER, NUMBER)]
    at_once = QUARANTINE._replace(quarantine_ms=0)
    if status == "cancelled":
        await cancel_order(buyer, ORDER, "complete", None, MINUTE_MS, 0, ids)
    else:
        await release_numbers(buyer, ORGANIZATION, ids, at_once, 0, None, keep_only_a_release=False)
    await sweep(buyer, SETTINGS)
    before = await place_of(buyer, NUMBER)
    assert await state_of(buyer, NUMBER) == "available"
    # The order's own command, which the store got twice.
    await hold(buyer, AREA, ORDER.id, 1, ORGANIZATION, await deadline(buyer), [NUMBER])
    await end_timer(buyer, NUMBER)
    await sweep(buyer, SETTINGS)
    assert await place_of(buyer, NUMBER) == before


async def test_a_hold_is_not_confirmed_for_a_number_that_its_organization_has_by_another_order(
    buyer: Store,
) -> None:
    other = OrderRef(ORGANIZATION, "another-order")
    await offer(buyer, NUMBER, SECOND)
    await complete(buyer, ORDER, NUMBER)
    attempt = await open_(buyer, other, numbers=[SECOND])
    await hold_for(buyer, other, SECOND)
    await commit(buyer, attempt, SECOND)
    held = (await buyer.execute("HGET", store_keys.unavailable(AREA), SECOND)).decode()
    await buyer.execute("HSET", store_keys.unavailable(AREA), SECOND, held.replace(other.id, ORDER.id))
    await end_timer(buyer, SECOND)
    await sweep(buyer, SETTINGS)
    assert await state_of(buyer, SECOND) == "available"
