"""What orders do to the numbers of an area code, through the wrappers of the scripts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared import clock, store_keys
from shared.atomic.area_operations import (
    MAX_NUMBERS_PER_HOLD,
    Destination,
    Held,
    Late,
    NotHeld,
    NumberState,
    Unavailable,
    confirm,
    give_back,
    hold,
    restock,
    take_back,
)
from shared.stock_score import KEPT, MMS, SMS, attributes
from shared.store import Store
from tests.store.ordering import (
    AREA,
    LIVING_STATES,
    MINUTE_MS,
    NUMBER,
    OFFERED,
    ORDER,
    ORGANIZATION,
    OTHER_ORDER,
    QUARANTINE,
    RETURN,
    SECOND,
    THIRD,
    deadline,
    end_timer,
    events_of,
    everything,
    hold_for,
    no_events_yet,
    offer,
    place_of,
    put,
    state_of,
    timer_of,
)

BETA = attributes(2, SMS | MMS)


def record(state: str, *, having: int = OFFERED, attempt: int = 1) -> Unavailable:
    return Unavailable(NumberState(state), having, attempt, ORDER.id, ORGANIZATION)


async def check_event(store: Store, number: str, change: tuple[str, str, str]) -> None:
    """Check that one change has been told: from, to, cause."""
    [told] = await events_of(store)
    now_ms = await clock.now_ms(store)
    assert now_ms - MINUTE_MS < int(told.pop("time")) <= now_ms
    assert (told.pop("from"), told.pop("to"), told.pop("cause")) == change
    assert told == {"number": number, "order": ORDER.id, "organization": ORGANIZATION}


# Hold


async def hold_now(store: Store, *numbers: str, attempt: int = 1) -> Held | NotHeld | Late:
    return await hold(store, AREA, ORDER.id, attempt, ORGANIZATION, await deadline(store), numbers)


async def test_held_numbers_are_the_orders_until_the_deadline(store: Store) -> None:
    await offer(store, NUMBER)
    due_ms = await deadline(store)
    assert await hold(store, AREA, ORDER.id, 3, ORGANIZATION, due_ms, [NUMBER]) == Held([OFFERED])
    assert await place_of(store, NUMBER) == record("held", attempt=3)
    assert await timer_of(store, NUMBER) == due_ms
    await check_event(store, NUMBER, ("available", "held", "order"))


async def test_a_hold_gives_the_attributes_in_the_order_asked(store: Store) -> None:
    await offer(store, NUMBER)
    await offer(store, SECOND, having=BETA)
    await offer(store, THIRD, having=KEPT | MMS)
    assert await hold_now(store, THIRD, NUMBER, SECOND) == Held([KEPT | MMS, OFFERED, BETA])
    assert await place_of(store, THIRD) == record("held", having=KEPT | MMS)


async def test_others_stay_available(store: Store) -> None:
    await offer(store, NUMBER, SECOND)
    await hold_now(store, NUMBER)
    assert await place_of(store, SECOND) == OFFERED


@pytest.mark.parametrize("state", ["unknown", *NumberState])
async def test_one_number_that_is_not_available_keeps_all_from_being_held(store: Store, state: str) -> None:
    if state != "unknown":
        await put(store, SECOND, state, OTHER_ORDER)
    await offer(store, NUMBER, THIRD)
    before = await everything(store)
    assert await hold_now(store, NUMBER, SECOND, THIRD) == NotHeld([SECOND])
    assert await everything(store) == before


async def test_all_that_are_not_available_are_named_in_the_order_asked(store: Store) -> None:
    await offer(store, SECOND)
    assert await hold_now(store, THIRD, SECOND, NUMBER) == NotHeld([THIRD, NUMBER])


@pytest.mark.parametrize("state", ["assigned", "quarantined", "returned"])
async def test_what_an_order_had_it_cannot_hold_again(store: Store, state: str) -> None:
    await put(store, NUMBER, state)
    before = await everything(store)
    assert await hold_now(store, NUMBER, attempt=2) == NotHeld([NUMBER])
    assert await everything(store) == before


@pytest.mark.parametrize("over_ms", [0, 1, MINUTE_MS])
async def test_after_its_deadline_an_attempt_holds_nothing(store: Store, over_ms: int) -> None:
    await offer(store, NUMBER)
    before = await everything(store)
    late_ms = await clock.now_ms(store) - over_ms
    assert await hold(store, AREA, ORDER.id, 1, ORGANIZATION, late_ms, [NUMBER]) == Late()
    assert await everything(store) == before


async def test_a_repeated_hold_is_the_same_hold_and_is_told_once(store: Store) -> None:
    await offer(store, NUMBER)
    due_ms = await deadline(store)
    for _ in range(3):
        assert await hold(store, AREA, ORDER.id, 1, ORGANIZATION, due_ms, [NUMBER]) == Held([OFFERED])
        assert await place_of(store, NUMBER) == record("held")
        await check_event(store, NUMBER, ("available", "held", "order"))


async def test_a_later_attempt_takes_over_what_an_earlier_one_holds(store: Store) -> None:
    await offer(store, NUMBER, SECOND)
    await hold_now(store, NUMBER)
    await no_events_yet(store)
    due_ms = await deadline(store) + MINUTE_MS
    numbers = [NUMBER, SECOND]
    assert await hold(store, AREA, ORDER.id, 2, ORGANIZATION, due_ms, numbers) == Held([OFFERED, OFFERED])
    assert [await place_of(store, number) for number in numbers] == [record("held", attempt=2)] * 2
    assert [await timer_of(store, number) for number in numbers] == [due_ms] * 2
    # For the first nothing has changed but the attempt.
    await check_event(store, SECOND, ("available", "held", "order"))


async def test_an_earlier_attempt_holds_nothing_when_a_later_one_holds_something(store: Store) -> None:
    await offer(store, NUMBER, SECOND)
    await hold_for(store, ORDER, NUMBER, attempt=2)
    before = await everything(store)
    assert await hold_now(store, SECOND, NUMBER) == Late()
    assert await everything(store) == before


async def test_attempts_are_compared_as_numbers(store: Store) -> None:
    await offer(store, NUMBER)
    await hold_for(store, ORDER, NUMBER, attempt=9)
    assert await hold_now(store, NUMBER, attempt=10) == Held([OFFERED])
    assert await hold_now(store, NUMBER, attempt=9) == Late()


async def test_a_hold_that_has_run_out_is_still_the_orders_until_it_is_given_back(store: Store) -> None:
    await put(store, NUMBER, "held", OTHER_ORDER)
    await end_timer(store, NUMBER)
    assert await hold_now(store, NUMBER) == NotHeld([NUMBER])


async def test_as_many_numbers_are_held_at_once_as_are_allowed(store: Store) -> None:
    numbers = [f"+1415555{number:04}" for number in range(MAX_NUMBERS_PER_HOLD)]
    await offer(store, *numbers)
    assert await hold_now(store, *numbers) == Held([OFFERED] * MAX_NUMBERS_PER_HOLD)
    assert await store.execute("ZCARD", store_keys.available(AREA)) == 0
    assert await store.execute("ZCARD", store_keys.timers(AREA)) == MAX_NUMBERS_PER_HOLD


async def test_of_many_orders_for_one_number_one_gets_it(store: Store) -> None:
    await offer(store, NUMBER)
    due_ms = await deadline(store)
    results = await asyncio.gather(
        *(hold(store, AREA, f"order-{at}", 1, ORGANIZATION, due_ms, [NUMBER]) for at in range(40))
    )
    assert sum(isinstance(result, Held) for result in results) == 1


# Confirm


async def test_confirmed_numbers_are_assigned_for_good_and_ours_to_keep(store: Store) -> None:
    await put(store, NUMBER, "held")
    await no_events_yet(store)
    assert await confirm(store, AREA, ORDER.id, [NUMBER]) == 1
    assert await place_of(store, NUMBER) == record("assigned", having=OFFERED | KEPT)
    assert await timer_of(store, NUMBER) is None
    await check_event(store, NUMBER, ("held", "assigned", "order"))


async def test_a_hold_that_has_run_out_can_still_be_confirmed(store: Store) -> None:
    await put(store, NUMBER, "held")
    await end_timer(store, NUMBER)
    assert await confirm(store, AREA, ORDER.id, [NUMBER]) == 1
    assert await state_of(store, NUMBER) == "assigned"


# Give back


@pytest.mark.parametrize("having", [OFFERED, BETA, KEPT, KEPT | OFFERED, KEPT | MMS])
async def test_a_number_given_back_is_available_as_it_was(store: Store, having: int) -> None:
    await put(store, NUMBER, "held", having=having)
    await no_events_yet(store)
    assert await give_back(store, AREA, ORDER.id, 1, "refused", [NUMBER]) == 1
    assert await place_of(store, NUMBER) == having
    assert await timer_of(store, NUMBER) is None
    await check_event(store, NUMBER, ("held", "available", "refused"))


@pytest.mark.parametrize("features", [0, SMS, SMS | MMS])
async def test_a_number_that_nobody_offers_any_more_is_forgotten_when_it_is_given_back(
    store: Store, features: int
) -> None:
    await put(store, NUMBER, "held", having=features)
    await no_events_yet(store)
    assert await give_back(store, AREA, ORDER.id, 1, "expired", [NUMBER]) == 1
    assert await place_of(store, NUMBER) is None
    await check_event(store, NUMBER, ("held", "unknown", "expired"))


@pytest.mark.parametrize(
    ("held_by", "ended", "given"), [(1, 1, 1), (1, 2, 1), (9, 10, 1), (2, 1, 0), (10, 9, 0)]
)
async def test_holds_of_a_later_attempt_stay(store: Store, held_by: int, ended: int, given: int) -> None:
    await offer(store, NUMBER)
    await hold_for(store, ORDER, NUMBER, attempt=held_by)
    assert await give_back(store, AREA, ORDER.id, ended, "expired", [NUMBER]) == given
    assert await state_of(store, NUMBER) == ("available" if given else "held")


# Take back


@pytest.mark.parametrize("state", ["assigned", "held"])
async def test_a_released_number_is_in_quarantine_for_its_time(store: Store, state: str) -> None:
    await put(store, NUMBER, state)
    await no_events_yet(store)
    soonest_ms = await clock.now_ms(store) + MINUTE_MS
    assert await take_back(store, AREA, ORDER.id, QUARANTINE, [NUMBER]) == 1
    due_ms = await timer_of(store, NUMBER)
    assert due_ms is not None
    assert soonest_ms <= due_ms <= await clock.now_ms(store) + MINUTE_MS
    assert await place_of(store, NUMBER) == record("quarantined", having=OFFERED | KEPT)
    await check_event(store, NUMBER, (state, "quarantined", "release"))


@pytest.mark.parametrize("state", ["assigned", "held"])
@pytest.mark.parametrize("having", [OFFERED, SMS])
@pytest.mark.parametrize("target", ["quarantined", "available"])
async def test_without_a_quarantine_a_number_is_available_at_once_and_ours_to_keep(
    store: Store, state: str, having: int, target: str
) -> None:
    await put(store, NUMBER, state, having=having)
    await no_events_yet(store)
    assert await take_back(store, AREA, ORDER.id, Destination(target, 0, "cancel"), [NUMBER]) == 1
    assert await place_of(store, NUMBER) == having | KEPT
    assert await timer_of(store, NUMBER) is None
    await check_event(store, NUMBER, (state, "available", "cancel"))


@pytest.mark.parametrize("state", ["assigned", "held"])
async def test_a_returned_number_is_not_ours_to_keep_and_who_offers_it_stays_what_feeds_say(
    store: Store, state: str
) -> None:
    await put(store, NUMBER, state, having=BETA)
    await store.execute("HSET", store_keys.also_offered(AREA), NUMBER, attributes(3, SMS))
    await no_events_yet(store)
    soonest_ms = await clock.now_ms(store) + MINUTE_MS
    assert await take_back(store, AREA, ORDER.id, RETURN, [NUMBER]) == 1
    assert await place_of(store, NUMBER) == record("returned", having=BETA & ~KEPT)
    assert await store.execute("HLEN", store_keys.also_offered(AREA)) == 1
    assert await timer_of(store, NUMBER) is None
    due_ms = int(await store.execute("ZSCORE", store_keys.returned(AREA), NUMBER))
    assert soonest_ms <= due_ms <= await clock.now_ms(store) + MINUTE_MS
    await check_event(store, NUMBER, (state, "returned", "return_to_carrier"))


async def test_a_quarantine_may_last_for_years(store: Store) -> None:
    years_ms = 3_650 * 86_400_000
    await put(store, NUMBER, "assigned")
    await take_back(store, AREA, ORDER.id, Destination("quarantined", years_ms, "release"), [NUMBER])
    due_ms = await timer_of(store, NUMBER)
    assert due_ms is not None
    assert 0 <= await clock.now_ms(store) + years_ms - due_ms < MINUTE_MS


# Restock


@pytest.mark.parametrize("having", [OFFERED, SMS])
async def test_a_number_is_available_when_its_quarantine_is_over_whoever_offers_it(
    store: Store, having: int
) -> None:
    await put(store, NUMBER, "quarantined", having=having)
    await end_timer(store, NUMBER)
    await no_events_yet(store)
    assert await restock(store, AREA, [NUMBER]) == 1
    assert await place_of(store, NUMBER) == having | KEPT
    assert await timer_of(store, NUMBER) is None
    await check_event(store, NUMBER, ("quarantined", "available", "quarantine_over"))


async def test_no_number_leaves_its_quarantine_before_its_time(store: Store) -> None:
    await put(store, NUMBER, "quarantined")
    before = await everything(store)
    assert await restock(store, AREA, [NUMBER]) == 0
    assert await everything(store) == before


async def test_a_quarantine_ends_by_the_clock_of_the_store(store: Store) -> None:
    await put(store, NUMBER, "assigned")
    begun_ms = await clock.now_ms(store)
    await take_back(store, AREA, ORDER.id, Destination("quarantined", 100, "release"), [NUMBER])
    while await restock(store, AREA, [NUMBER]) == 0:
        assert await clock.now_ms(store) - begun_ms < MINUTE_MS
    assert await clock.now_ms(store) - begun_ms >= 100


async def test_a_quarantine_without_a_timer_is_not_over(store: Store) -> None:
    await put(store, NUMBER, "quarantined")
    await store.execute("DEL", store_keys.timers(AREA))
    assert await restock(store, AREA, [NUMBER]) == 0


# What holds for all of them

Operation = Callable[[Store, list[str]], Awaitable[int]]

OPERATIONS: dict[str, Operation] = {
    "confirm": lambda store, numbers: confirm(store, AREA, ORDER.id, numbers),
    "give_back": lambda store, numbers: give_back(store, AREA, ORDER.id, 99, "expired", numbers),
    "quarantine": lambda store, numbers: take_back(store, AREA, ORDER.id, QUARANTINE, numbers),
    "return": lambda store, numbers: take_back(store, AREA, ORDER.id, RETURN, numbers),
    "cancel": lambda store, numbers: take_back(
        store, AREA, ORDER.id, Destination("quarantined", 0, "cancel"), numbers
    ),
    "restock": lambda store, numbers: restock(store, AREA, numbers),
}
MOVED: dict[str, dict[str, str]] = {
    "confirm": {"held": "assigned"},
    "give_back": {"held": "available"},
    "quarantine": {"held": "quarantined", "assigned": "quarantined"},
    "return": {"held": "returned", "assigned": "returned"},
    "cancel": {"held": "available", "assigned": "available"},
    "restock": {"quarantined": "available"},
}
"""Operation → the states that it moves from, and to; none other, and nothing that is another order's."""

operations = pytest.mark.parametrize("name", OPERATIONS)


@operations
@pytest.mark.parametrize("state", ["unknown", *LIVING_STATES])
async def test_only_what_is_in_the_right_state_is_moved(store: Store, name: str, state: str) -> None:
    if state != "unknown":
        await put(store, NUMBER, state)
    if state in ("held", "quarantined"):
        await end_timer(store, NUMBER)
    before = await everything(store)
    to = MOVED[name].get(state)
    assert await OPERATIONS[name](store, [NUMBER]) == int(to is not None)
    assert await state_of(store, NUMBER) == (to or state)
    assert (await everything(store) == before) == (to is None)


@pytest.mark.parametrize("name", sorted({*OPERATIONS} - {"restock"}))
@pytest.mark.parametrize("state", LIVING_STATES)
async def test_what_is_another_orders_is_never_touched(store: Store, name: str, state: str) -> None:
    await put(store, NUMBER, state, OTHER_ORDER)
    before = await everything(store)
    assert await OPERATIONS[name](store, [NUMBER]) == 0
    assert await everything(store) == before


@operations
async def test_doing_it_again_does_no_harm(store: Store, name: str) -> None:
    for state in MOVED[name]:
        await store.execute("FLUSHALL")
        await put(store, NUMBER, state)
        if name == "restock":
            await end_timer(store, NUMBER)
        assert await OPERATIONS[name](store, [NUMBER]) == 1
        after = await everything(store)
        assert await OPERATIONS[name](store, [NUMBER]) == 0
        assert await everything(store) == after


@operations
async def test_the_others_of_a_call_are_moved_though_one_is_not_to_be(store: Store, name: str) -> None:
    state = next(iter(MOVED[name]))
    for number in (NUMBER, THIRD):
        await put(store, number, state)
        if name == "restock":
            await end_timer(store, number)
    await put(store, SECOND, "held", OTHER_ORDER)
    await no_events_yet(store)
    assert await OPERATIONS[name](store, [NUMBER, SECOND, "+14155550999", THIRD]) == 2
    states = [await state_of(store, number) for number in (NUMBER, SECOND, THIRD)]
    assert states == [MOVED[name][state], "held", MOVED[name][state]]
    told = await events_of(store)
    assert [event["number"] for event in told] == [NUMBER, THIRD]
    assert {(event["from"], event["to"]) for event in told} == {(state, MOVED[name][state])}


async def test_a_number_that_is_sold_again_is_out_of_reach_of_those_who_had_it(store: Store) -> None:
    await put(store, NUMBER, "assigned")
    await OPERATIONS["cancel"](store, [NUMBER])
    await put(store, NUMBER, "assigned", OTHER_ORDER)
    before = await everything(store)
    assert [await operation(store, [NUMBER]) for operation in OPERATIONS.values()] == [0] * len(OPERATIONS)
    assert await hold_now(store, NUMBER, attempt=2) == NotHeld([NUMBER])
    assert await everything(store) == before
