"""What feeds may do to numbers that orders have, and orders to what feeds say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import Struct

from shared import store_keys
from shared.atomic.area_operations import (
    Destination,
    Held,
    Unavailable,
    confirm,
    give_back,
    hold,
    restock,
    take_back,
)
from shared.atomic.feed_operations import claim_feed, leave_feed, register_carrier
from shared.orders.sweep import sweep
from shared.phone_number import parse_number
from shared.settings import Settings
from shared.stock_score import KEPT, MMS, SMS, attributes
from shared.store import Store
from tests.store.conftest import Run
from tests.store.feeding import offers_of as snapshot_of, profiles
from tests.store.ordering import (
    AREA,
    MINUTE_MS,
    NUMBER,
    ORDER,
    ORGANIZATION,
    OTHER_ORDER,
    QUARANTINE,
    RETURN,
    SECOND,
    THIRD,
    deadline,
    end_return,
    end_timer,
    events_of,
    everything,
    no_events_yet,
    place_of,
    put,
    state_of,
)
from tests.store.test_stock_scripts import offer, take_back as take_offer_back
from worker.feeds.apply import apply_offers, look_at_stock
from worker.feeds.difference import Difference

ACME, BETA = 1, 2
BY_ACME, BY_BETA = attributes(ACME, SMS), attributes(BETA, MMS)
TAKEN = ["held", "assigned", "quarantined"]
"""The states in which a number is an organization's, or has just been."""


def local(number: str) -> int:
    return int(number[5:])


async def offers(store: Store, carrier: int, *numbers: str, features: int = SMS) -> int:
    """Have a carrier offer numbers, and give how many no feed can make available."""
    return await offer(store, carrier, *map(local, numbers), features=features)


async def withdraws(store: Store, carrier: int, *numbers: str) -> int:
    """Have a carrier withdraw numbers, and give how many stay all the same."""
    return await take_offer_back(store, carrier, *map(local, numbers))


async def also_offered(store: Store) -> dict[str, list[int]]:
    also = await store.execute("HGETALL", store_keys.also_offered(AREA))
    return {number.decode(): list(map(int, text.split(b","))) for number, text in also.items()}


async def fail(store: Store, *numbers: str) -> None:
    """Give back what the order holds."""
    assert await give_back(store, AREA, ORDER.id, 1, "refused", numbers) == len(numbers)


async def cancel(store: Store, *numbers: str) -> None:
    """Take back what the order gave, for anybody else to have at once."""
    destination = Destination("quarantined", 0, "cancel")
    assert await take_back(store, AREA, ORDER.id, destination, numbers) == len(numbers)


# No feed changes who has a number


@pytest.mark.parametrize("state", [*TAKEN, "returned"])
@pytest.mark.parametrize("carrier", [ACME, BETA])
async def test_a_feed_changes_nothing_about_who_has_a_number(store: Store, state: str, carrier: int) -> None:
    await put(store, NUMBER, state)
    before, record = await everything(store), await place_of(store, NUMBER)
    assert isinstance(record, Unavailable)
    for _ in range(2):
        await offers(store, carrier, NUMBER, features=MMS)
        found = await place_of(store, NUMBER)
        assert isinstance(found, Unavailable)
        assert found._replace(attributes=0) == record._replace(attributes=0)
        await withdraws(store, ACME, NUMBER)
        await withdraws(store, BETA, NUMBER)
        found = await place_of(store, NUMBER)
        assert isinstance(found, Unavailable)
        assert found._replace(attributes=0) == record._replace(attributes=0)
    after = await everything(store)
    # Neither its timers nor anything that is told.
    for key in (store_keys.timers(AREA), store_keys.returned(AREA), store_keys.events(AREA)):
        assert after.get(key) == before.get(key)


async def test_a_feed_call_moves_the_numbers_that_it_may_beside_those_that_it_may_not(store: Store) -> None:
    await put(store, SECOND, "assigned")
    await no_events_yet(store)
    assert await offers(store, ACME, NUMBER, SECOND, THIRD) == 1
    assert [await state_of(store, number) for number in (NUMBER, SECOND, THIRD)] == [
        "available",
        "assigned",
        "available",
    ]
    assert await withdraws(store, ACME, NUMBER, SECOND, THIRD) == 1
    assert [await state_of(store, number) for number in (NUMBER, SECOND, THIRD)] == [
        "unknown",
        "assigned",
        "unknown",
    ]
    assert [(told["from"], told["to"], told["count"]) for told in await events_of(store)] == [
        ("unknown", "available", "2"),
        ("available", "unknown", "2"),
    ]


# While a number is held


async def test_a_number_withdrawn_while_it_was_held_does_not_come_back(store: Store) -> None:
    await put(store, NUMBER, "held")
    await withdraws(store, ACME, NUMBER)
    await fail(store, NUMBER)
    assert await place_of(store, NUMBER) is None
    assert await also_offered(store) == {}


async def test_a_number_withdrawn_by_all_while_it_was_held_does_not_come_back(store: Store) -> None:
    await put(store, NUMBER, "held")
    await offers(store, BETA, NUMBER)
    await withdraws(store, ACME, NUMBER)
    await withdraws(store, BETA, NUMBER)
    await fail(store, NUMBER)
    assert await place_of(store, NUMBER) is None
    assert await also_offered(store) == {}


@pytest.mark.parametrize("is_offered_before", [True, False])
async def test_a_number_withdrawn_while_it_was_held_comes_back_by_another_carriers_offer(
    store: Store, is_offered_before: bool
) -> None:
    await offers(store, ACME, NUMBER)
    if is_offered_before:
        await offers(store, BETA, NUMBER, features=MMS)
    await put_on_hold(store, NUMBER)
    if not is_offered_before:
        await offers(store, BETA, NUMBER, features=MMS)
    await withdraws(store, ACME, NUMBER)
    await fail(store, NUMBER)
    assert await place_of(store, NUMBER) == BY_BETA
    assert await also_offered(store) == {}


async def put_on_hold(store: Store, *numbers: str) -> None:
    held = await hold(store, AREA, ORDER.id, 1, ORGANIZATION, await deadline(store), numbers)
    assert isinstance(held, Held)


@pytest.mark.parametrize("carrier", [ACME, BETA])
async def test_a_number_offered_anew_while_it_was_held_comes_back(store: Store, carrier: int) -> None:
    await put(store, NUMBER, "held")
    await withdraws(store, ACME, NUMBER)
    await offers(store, carrier, NUMBER, features=MMS)
    await fail(store, NUMBER)
    assert await place_of(store, NUMBER) == attributes(carrier, MMS)


async def test_an_order_that_is_filled_has_what_the_carrier_withdrew_meanwhile(store: Store) -> None:
    await put(store, NUMBER, "held")
    await withdraws(store, ACME, NUMBER)
    assert await confirm(store, AREA, ORDER.id, [NUMBER]) == 1
    found = await place_of(store, NUMBER)
    assert isinstance(found, Unavailable)
    # Nobody offers it; what it was good for is known all the same.
    assert (found.state, found.attributes) == ("assigned", KEPT | SMS)


async def test_a_second_carriers_offer_waits_while_the_number_is_held(store: Store) -> None:
    await put(store, NUMBER, "held")
    await offers(store, BETA, NUMBER, features=MMS)
    await fail(store, NUMBER)
    assert await place_of(store, NUMBER) == BY_ACME
    assert await also_offered(store) == {NUMBER: [BY_BETA]}


# Ours to keep


@pytest.mark.parametrize("when", ["assigned", "quarantined", "available"])
async def test_a_number_that_was_ever_assigned_is_available_again_though_no_carrier_offers_it(
    store: Store, when: str
) -> None:
    await put(store, NUMBER, "assigned")
    if when == "assigned":
        await withdraws(store, ACME, NUMBER)
    await take_back(store, AREA, ORDER.id, QUARANTINE, [NUMBER])
    if when == "quarantined":
        await withdraws(store, ACME, NUMBER)
    await end_timer(store, NUMBER)
    assert await restock(store, AREA, [NUMBER]) == 1
    if when == "available":
        await withdraws(store, ACME, NUMBER)
    assert await place_of(store, NUMBER) == KEPT | SMS


async def test_a_cancelled_number_is_available_though_no_carrier_offers_it(store: Store) -> None:
    await put(store, NUMBER, "assigned")
    await withdraws(store, ACME, NUMBER)
    await cancel(store, NUMBER)
    assert await place_of(store, NUMBER) == KEPT | SMS


async def test_our_number_stays_available_when_its_carrier_withdraws_it_and_nothing_is_told(
    store: Store,
) -> None:
    await put(store, NUMBER, "assigned")
    await cancel(store, NUMBER)
    assert await place_of(store, NUMBER) == BY_ACME | KEPT
    await no_events_yet(store)
    for _ in range(2):
        assert await withdraws(store, ACME, NUMBER) == 1
        assert await place_of(store, NUMBER) == KEPT | SMS
    assert await events_of(store) == []


async def test_our_number_takes_the_features_of_the_carrier_that_offers_it_again(store: Store) -> None:
    await put(store, NUMBER, "assigned")
    await withdraws(store, ACME, NUMBER)
    await cancel(store, NUMBER)
    await offers(store, BETA, NUMBER, features=MMS)
    assert await place_of(store, NUMBER) == BY_BETA | KEPT
    await offers(store, ACME, NUMBER)
    assert await place_of(store, NUMBER) == BY_ACME | KEPT
    assert await also_offered(store) == {NUMBER: [BY_BETA]}
    await withdraws(store, ACME, NUMBER)
    assert await place_of(store, NUMBER) == BY_BETA | KEPT


async def test_our_number_stays_ours_when_the_next_order_for_it_fails(store: Store) -> None:
    await put(store, NUMBER, "assigned", OTHER_ORDER)
    await take_back(store, AREA, OTHER_ORDER.id, Destination("quarantined", 0, "cancel"), [NUMBER])
    await put_on_hold(store, NUMBER)
    await withdraws(store, ACME, NUMBER)
    await fail(store, NUMBER)
    assert await place_of(store, NUMBER) == KEPT | SMS


# Through the worker's own functions

Feed = Mapping[str, int]
"""Number → features."""


async def apply(store: Store, carrier: str, feed: Feed) -> Difference:
    """Have the worker apply a carrier's whole feed."""
    await store.execute("RPUSH", store_keys.feed_queue(carrier), "read:a-sync")
    run = await claim_feed(store, carrier, MINUTE_MS)
    assert run is not None
    before = await look_at_stock(store, run, profiles(), {AREA})
    snapshot = snapshot_of({parse_number(number): features for number, features in feed.items()})
    change, _ = await apply_offers(store, before, snapshot, lambda *_: None)
    await leave_feed(store, run)
    return change


FEED = {NUMBER: SMS, SECOND: SMS}


async def with_an_applied_feed(store: Store) -> None:
    await apply(store, "acme", FEED)
    assert await register_carrier(store, "acme") == ACME


async def give_to_the_carrier(store: Store, number: str = NUMBER) -> None:
    await put_on_hold(store, number)
    assert await confirm(store, AREA, ORDER.id, [number]) == 1
    assert await take_back(store, AREA, ORDER.id, RETURN, [number]) == 1


async def test_an_unchanged_feed_brings_nothing_back_that_was_ordered(store: Store) -> None:
    await with_an_applied_feed(store)
    await put_on_hold(store, NUMBER)
    assert (await apply(store, "acme", FEED)).size == 0
    assert await confirm(store, AREA, ORDER.id, [NUMBER]) == 1
    assert (await apply(store, "acme", FEED)).size == 0
    assert await state_of(store, NUMBER) == "assigned"


async def test_a_returned_number_is_not_available_before_its_time_though_the_feed_lists_it(
    store: Store,
) -> None:
    await with_an_applied_feed(store)
    await give_to_the_carrier(store)
    for feed in (FEED, {SECOND: SMS}, FEED, {**FEED, NUMBER: MMS}):
        await apply(store, "acme", feed)
        assert await state_of(store, NUMBER) == "returned"
        assert await state_of(store, SECOND) == "available"
    await apply(store, "beta", FEED)
    assert await state_of(store, NUMBER) == "returned"


async def test_a_returned_number_is_not_available_after_its_time_without_a_feed(store: Store) -> None:
    await with_an_applied_feed(store)
    await give_to_the_carrier(store)
    await end_return(store, NUMBER)
    await sweep(store, Settings())
    assert await restock(store, AREA, [NUMBER]) == 0
    assert await state_of(store, NUMBER) == "returned"


async def test_a_returned_number_is_not_available_after_its_time_by_a_feed_that_does_not_list_it(
    store: Store,
) -> None:
    await with_an_applied_feed(store)
    await give_to_the_carrier(store)
    await end_return(store, NUMBER)
    await apply(store, "acme", {SECOND: SMS, THIRD: SMS})
    assert await state_of(store, NUMBER) == "returned"


async def test_after_its_time_the_next_run_of_the_same_feed_makes_a_returned_number_available(
    store: Store,
) -> None:
    await with_an_applied_feed(store)
    await give_to_the_carrier(store)
    assert (await apply(store, "acme", FEED)).size == 0
    await end_return(store, NUMBER)
    await no_events_yet(store)
    assert (await apply(store, "acme", FEED)).size == 1
    # Like any number that a carrier brings: nothing of its past is left.
    assert await place_of(store, NUMBER) == BY_ACME
    assert await store.execute("EXISTS", store_keys.returned(AREA)) == 0
    [told] = await events_of(store)
    assert (told["number"], told["from"], told["to"], told["cause"]) == (
        NUMBER,
        "returned",
        "available",
        "feed",
    )
    assert (told["order"], told["organization"]) == (ORDER.id, ORGANIZATION)
    assert (await apply(store, "acme", FEED)).size == 0
    await apply(store, "acme", {SECOND: SMS})
    assert await place_of(store, NUMBER) is None


async def test_a_returned_number_comes_back_with_the_carrier_that_still_lists_it(store: Store) -> None:
    await with_an_applied_feed(store)
    await give_to_the_carrier(store)
    await end_return(store, NUMBER)
    await apply(store, "acme", {SECOND: SMS})
    assert (await place_of(store, NUMBER)) != BY_ACME
    await apply(store, "beta", {NUMBER: MMS})
    assert await place_of(store, NUMBER) == attributes(await register_carrier(store, "beta"), MMS)


async def test_a_returned_number_that_is_back_can_be_ordered_and_returned_again(store: Store) -> None:
    await with_an_applied_feed(store)
    for _ in range(3):
        await give_to_the_carrier(store)
        assert (await apply(store, "acme", FEED)).size == 0
        await end_return(store, NUMBER)
        await apply(store, "acme", FEED)
        assert await place_of(store, NUMBER) == BY_ACME


async def test_both_carriers_that_list_a_returned_number_offer_it_when_it_is_back(store: Store) -> None:
    await with_an_applied_feed(store)
    await apply(store, "beta", {NUMBER: MMS})
    await give_to_the_carrier(store)
    await end_return(store, NUMBER)
    await apply(store, "acme", FEED)
    await apply(store, "beta", {NUMBER: MMS})
    assert await place_of(store, NUMBER) == BY_ACME
    assert await also_offered(store) == {NUMBER: [BY_BETA]}
    await apply(store, "acme", {SECOND: SMS})
    assert await place_of(store, NUMBER) == BY_BETA


async def test_a_carrier_that_listed_a_returned_number_again_after_a_pause_offers_it(store: Store) -> None:
    await with_an_applied_feed(store)
    await give_to_the_carrier(store)
    await end_return(store, NUMBER)
    await apply(store, "acme", {SECOND: SMS})
    await apply(store, "beta", {NUMBER: MMS})
    await apply(store, "acme", FEED)
    await apply(store, "beta", {THIRD: MMS})
    assert await place_of(store, NUMBER) == BY_ACME


# Any sequence of both, against a plain model

NUMBERS = (NUMBER, SECOND, THIRD)
CARRIERS = (ACME, BETA)
ORDERS = (ORDER, OTHER_ORDER)


class Known(Struct):
    """What the model knows of a number."""

    state: str = "unknown"
    order: str = ""
    attempt: int = 0
    shown: int = 0
    """The carrier whose offer counts; 0 when there is none."""
    features: int = 0
    is_kept: bool = False
    also: dict[int, int] = {}
    """Carrier → features of offers that wait."""
    is_due: bool = False
    """The time of a quarantined or returned number is over."""

    @property
    def attributes(self) -> int:
        return attributes(self.shown, self.features) | (KEPT if self.is_kept else 0)

    @property
    def is_ours(self) -> bool:
        return self.state not in ("unknown", "available")

    def stocked(self, carrier: int, features: int) -> "Known":
        if self.state == "unknown":
            return Known("available", shown=carrier, features=features)
        if self.state == "returned" and self.is_due:
            return changed(self, state="available", order="", attempt=0).stocked(carrier, features)
        offers = {**self.also, carrier: features}
        if self.shown not in (0, carrier):
            offers[self.shown] = self.features
        first = min(offers)
        return changed(self, shown=first, features=offers.pop(first), also=offers)

    def withdrawn(self, carrier: int) -> "Known":
        also = {other: features for other, features in self.also.items() if other != carrier}
        if self.shown != carrier:
            return changed(self, also=also)
        if also:
            follower = min(also)
            features = also.pop(follower)
            return changed(self, shown=follower, features=features, also=also)
        return changed(self, shown=0).or_forgotten()

    def or_forgotten(self) -> "Known":
        return Known() if self.state == "available" and not self.shown and not self.is_kept else self

    def held(self, order: str, attempt: int) -> "Known | None":
        """Give None when the order cannot have it."""
        if self.state == "available" or (self.has(order, "held") and self.attempt <= attempt):
            return changed(self, state="held", order=order, attempt=attempt)
        return None

    def has(self, order: str, *states: str) -> bool:
        return self.order == order and self.state in states

    def confirmed(self, order: str) -> "Known":
        return changed(self, state="assigned", is_kept=True) if self.has(order, "held") else self

    def given_back(self, order: str, attempt: int) -> "Known":
        if not self.has(order, "held") or self.attempt > attempt:
            return self
        return changed(self, state="available", order="").or_forgotten()

    def taken_back(self, order: str, target: str) -> "Known":
        if not self.has(order, "held", "assigned"):
            return self
        if target == "returned":
            return changed(self, state=target, is_kept=False, is_due=False)
        return changed(self, state=target, is_kept=True, is_due=False)

    def restocked(self) -> "Known":
        return (
            changed(self, state="available", order="")
            if self.state == "quarantined" and self.is_due
            else self
        )


def changed(known: Known, **fields: Any) -> Known:
    return Known(**{name: getattr(known, name) for name in Known.__struct_fields__} | fields)


Model = dict[str, Known]
Step = tuple[Any, ...]


def after_step(model: Model, step: Step, numbers: list[str]) -> Model:
    """Give what the model says becomes of numbers."""
    name, *details = step
    before = {number: model[number] for number in numbers}
    if name == "hold":
        held = {number: known.held(*details) for number, known in before.items()}
        got = {number: known for number, known in held.items() if known}
        return {**model, **got} if len(got) == len(held) else model
    return {**model, **{number: CHANGES[name](known, *details) for number, known in before.items()}}


CHANGES: dict[str, Callable[..., Known]] = {
    "stock": Known.stocked,
    "withdraw": Known.withdrawn,
    "confirm": Known.confirmed,
    "give back": Known.given_back,
    "take back": Known.taken_back,
    "restock": Known.restocked,
    "time": lambda known: changed(known, is_due=True),
}


async def take_step(store: Store, step: Step, numbers: list[str]) -> None:
    """Do to the store what the model is told."""
    match step:
        case ("stock", carrier, features):
            await offers(store, carrier, *numbers, features=features)
        case ("withdraw", carrier):
            await withdraws(store, carrier, *numbers)
        case ("hold", order, attempt):
            await hold(store, AREA, order, attempt, ORGANIZATION, await deadline(store), numbers)
        case ("confirm", order):
            await confirm(store, AREA, order, numbers)
        case ("give back", order, attempt):
            await give_back(store, AREA, order, attempt, "expired", numbers)
        case ("take back", order, target):
            await take_back(store, AREA, order, DESTINATIONS[target], numbers)
        case ("restock",):
            await restock(store, AREA, numbers)
        case ("time",):
            over = [item for number in numbers for item in (1, number)]
            for key in (store_keys.timers(AREA), store_keys.returned(AREA)):
                await store.execute("ZADD", key, "XX", *over)
        case _:
            raise AssertionError(step)


DESTINATIONS = {
    "available": Destination("quarantined", 0, "cancel"),
    "quarantined": QUARANTINE,
    "returned": RETURN,
}


async def check(store: Store, model: Model) -> None:
    """Check that the store holds what the model says, and nothing else of these numbers."""
    timed = []
    for number, known in model.items():
        found = await place_of(store, number)
        if not known.is_ours:
            assert found == (known.attributes if known.state == "available" else None)
            continue
        assert isinstance(found, Unavailable)
        assert (found.state, found.attributes) == (known.state, known.attributes)
        assert (found.order, found.attempt) == (known.order, known.attempt)
        timed += [number] if known.state in ("held", "quarantined") else []
    assert await also_offered(store) == {
        number: sorted(attributes(*offer) for offer in known.also.items())
        for number, known in model.items()
        if known.also
    }
    returned = [number for number, known in model.items() if known.state == "returned"]
    for key, expected in ((store_keys.timers(AREA), timed), (store_keys.returned(AREA), returned)):
        assert {number.decode() for number in await store.execute("ZRANGE", key, 0, -1)} == {*expected}


def check_promises(step: Step, before: Model, after: Model) -> None:
    """Check what must hold whatever the model says: in it a mistake could be made twice."""
    is_feed = step[0] in ("stock", "withdraw")
    for number, was in before.items():
        now = after[number]
        if is_feed and was.is_ours and not (was.state == "returned" and was.is_due):
            assert now.state == was.state
        if was.is_kept and was.state != "returned":
            assert now.state != "unknown"
        if was.state == "assigned" and now.state != "assigned":
            assert step[0] == "take back"
            assert step[1] == was.order


order_ids = st.sampled_from([order.id for order in ORDERS])
attempts = st.integers(1, 3)
carriers = st.sampled_from(CARRIERS)
targets = st.sampled_from([*DESTINATIONS])
some_numbers = st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3, unique=True)
feed_steps = st.one_of(
    st.tuples(st.just("stock"), carriers, st.sampled_from([0, SMS, MMS, SMS | MMS])),
    st.tuples(st.just("withdraw"), carriers),
)
order_steps = st.one_of(
    st.tuples(st.just("hold"), order_ids, attempts),
    st.tuples(st.just("confirm"), order_ids),
    st.tuples(st.just("give back"), order_ids, attempts),
    st.tuples(st.just("take back"), order_ids, targets),
    st.just(("restock",)),
    st.just(("time",)),
)


def life(order: str, target: str) -> list[Step]:
    """Give the whole way of numbers that are ordered and come back: rare among random steps."""
    return [("hold", order, 3), ("confirm", order), ("take back", order, target), ("time",)]


Move = tuple[list[Step], list[str]]

order_moves = st.tuples(
    st.one_of(st.builds(life, order_ids, targets), order_steps.map(lambda step: [step])), some_numbers
)
feed_moves = st.tuples(feed_steps.map(lambda step: [step]), some_numbers)


@given(st.lists(st.one_of(order_moves, feed_moves), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_sequence_of_feeds_and_orders_ends_as_in_a_plain_model(run: Run, sequence: list[Move]) -> None:
    async def body(store: Store) -> None:
        model = {number: Known() for number in NUMBERS}
        for step, numbers in ((step, numbers) for steps, numbers in sequence for step in steps):
            await take_step(store, step, numbers)
            after = after_step(model, step, numbers)
            check_promises(step, model, after)
            await check(store, after)
            model = after

    run(body)


async def offers_of(store: Store, carrier: str) -> dict[str, int]:
    """Give what the store knows a carrier to offer: number → features."""
    ordinal = await register_carrier(store, carrier)
    waiting = await also_offered(store)
    found = {}
    for number in NUMBERS:
        place = await place_of(store, number)
        shown = place.attributes if isinstance(place, Unavailable) else place or 0
        for having in (shown, *waiting.get(number, [])):
            if having >> 6 == ordinal:
                found[number] = having & (SMS | MMS)
    return found


whole_feeds = st.tuples(
    st.sampled_from(["acme", "beta"]), st.dictionaries(st.sampled_from(NUMBERS), st.sampled_from([SMS, MMS]))
)


@given(st.lists(st.tuples(whole_feeds, st.lists(order_moves, max_size=3)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_after_its_run_a_carriers_offers_are_what_its_feed_says_whatever_was_ordered(
    run: Run, sequence: list[tuple[tuple[str, dict[str, int]], list[Move]]]
) -> None:
    async def body(store: Store) -> None:
        for (carrier, feed), moves in sequence:
            await apply(store, carrier, feed)
            away = {number for number in NUMBERS if await state_of(store, number) == "returned"}
            expected = {number: features for number, features in feed.items() if number not in away}
            assert {
                number: features
                for number, features in (await offers_of(store, carrier)).items()
                if number not in away
            } == expected
            for steps, numbers in moves:
                for step in steps:
                    await take_step(store, step, numbers)

    run(body)
