"""The audit: what it counts, what it names and what it does not, and what a repair mends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import pytest

from shared import clock, store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.atomic.area_operations import NumberState, Unavailable, hold
from shared.atomic.order_operations import Attempt, OrderRef, Routing, open_order, pick_numbers
from shared.atomic.repair_operations import Span, index_resource, mend_timers, reassign
from shared.audit.repair import repair
from shared.audit.run import Report, audit
from shared.audit.violations import Kind
from shared.ids import new_id
from shared.key_secrets import new_secret
from shared.number_states import StateCounts
from shared.orders.bulk import BulkRequest, place_bulk_order
from shared.orders.departures import cancel, finish_cancel, release
from shared.orders.placing import place_order
from shared.orders.records import Wish, fields_of, find_owned
from shared.orders.sweep import sweep
from shared.search.search import Search
from shared.settings import Settings
from shared.stock_score import KEPT, SMS, attributes, score
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future
from tests.store.ordering import events_of, offer, place_of, state_of
from tests.support import put_in_stock
from worker.order_events import OrderEvents

AREA = "415"
MINE, ALSO_MINE, FREE, HELD = "+14155550100", "+14155550101", "+14155550102", "+14155550103"
RELEASED, RETURNED, CANCELLED = "+14155550104", "+14155550105", "+14155550106"
UNKNOWN, FOREIGN = "+14155550107", "+12125550100"
ACME, OTHER = "acme", "other"
DAY_MS = 86_400_000
LONG = Settings(hold_seconds=60, sweep_seconds=60)
SHORT = Settings(hold_seconds=0.05, sweep_seconds=0.05)
"""What the audits of these tests wait for; nothing in the store runs out in that time."""
FAR = 2**45
"""Long after the end of all that can be set, Unix ms."""


@dataclass
class World:
    """A store in which something of everything is as it should be."""

    store: Store
    order: str
    """By it ACME has MINE and ALSO_MINE."""
    resource: str
    """MINE's."""
    pending: str
    """ACME's order that holds HELD."""
    waiting: str
    """ACME's bulk order that waits."""

    async def do(self, *command: str | int) -> object:
        return await self.store.execute(*command)

    async def audit(self, settings: Settings = SHORT) -> Report:
        return await audit(self.store, settings)


async def buy(store: Store, organization: str, *numbers: str) -> OrderRef:
    order = OrderRef(organization, new_id())
    await place_order(store, order, numbers, Routing(label="mine"), None, 60_000, lambda _: b"")
    return order


async def resource_of(store: Store, organization: str, number: str) -> str:
    [resource] = await find_owned(store, organization, (number,))
    return resource


@pytest.fixture
async def world(store: Store) -> World:
    for organization in (ACME, OTHER):
        await create_api_key(store, organization, Wanted((Scope.NUMBERS_READ,)), new_secret())
    await offer(store, MINE, ALSO_MINE, FREE, HELD, RELEASED, RETURNED, CANCELLED)
    order = await buy(store, ACME, MINE, ALSO_MINE)
    await buy(store, ACME, RELEASED, RETURNED)
    for number, to_carrier in ((RELEASED, False), (RETURNED, True)):
        ids = [await resource_of(store, ACME, number)]
        await release(store, ACME, ids, LONG, None, to_carrier=to_carrier)
    cancelled = await buy(store, ACME, CANCELLED)
    await cancel(store, cancelled, LONG, None)
    assert await finish_cancel(store, cancelled)
    attempt = await open_order(store, OrderRef(ACME, new_id()), 60_000, None, {"numbers": HELD})
    assert isinstance(attempt, Attempt)
    await hold(store, AREA, attempt.order.id, 1, ACME, attempt.deadline_ms, [HELD])
    wish = BulkRequest(Wish(900, area_code=AREA), Routing(), None, lambda _: b"")
    waiting = OrderRef(ACME, new_id())
    await place_bulk_order(store, Search(store, Settings()), LONG, waiting, wish)
    resource = await resource_of(store, ACME, MINE)
    return World(store, order.id, resource, attempt.order.id, waiting.id)


Break = Callable[[World], Awaitable[object]]


def record(state: str, organization: str = ACME, order: str = "an-order") -> str:
    return f"{state} {attributes(1, SMS | KEPT)} 1 {order} {organization}"


async def break_unknown_area_code(world: World) -> None:
    await world.do("SREM", store_keys.AREAS, AREA)


async def break_unknown_organization(world: World) -> None:
    await world.do("SREM", store_keys.ORGANIZATIONS, ACME)


async def break_unknown_organization_that_has_but_a_key(world: World) -> None:
    await world.do("SREM", store_keys.ORGANIZATIONS, OTHER)


async def break_foreign_number(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), FOREIGN, record("assigned"))


async def break_malformed_record(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, "assigned to nobody")


async def break_two_states(world: World) -> None:
    await world.do("ZADD", store_keys.available(AREA), score(5_550_100, attributes(1, SMS)), MINE)


async def break_overdue_hold(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, record("held"))
    await world.do("ZADD", store_keys.timers(AREA), 1, UNKNOWN)


async def break_overdue_quarantine(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), 1, RELEASED)


async def break_missing_timer_of_a_hold(world: World) -> None:
    await world.do("ZREM", store_keys.timers(AREA), HELD)


async def break_missing_timer_of_a_quarantine(world: World) -> None:
    await world.do("ZREM", store_keys.timers(AREA), RELEASED)


async def break_stray_timer(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), 1, MINE)


async def break_stray_timer_of_an_unknown_number(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), 1, UNKNOWN)


async def break_missing_return(world: World) -> None:
    await world.do("ZREM", store_keys.returned(AREA), RETURNED)


async def break_stray_return(world: World) -> None:
    await world.do("ZADD", store_keys.returned(AREA), 1, FREE)


async def break_stray_offer(world: World) -> None:
    await world.do("HSET", store_keys.also_offered(AREA), UNKNOWN, attributes(2, SMS))


async def break_assigned_without_resource(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, record("assigned", OTHER))


async def lose_resource(world: World) -> None:
    """Take ALSO_MINE from its organization, which leaves no trace."""
    resource = await resource_of(world.store, ACME, ALSO_MINE)
    await world.do("DEL", store_keys.resource(ACME, resource))
    await world.do("HDEL", store_keys.owned(ACME), ALSO_MINE)
    await world.do("ZREM", store_keys.numbers(ACME), ALSO_MINE)


async def in_an_hour(world: World) -> int:
    return await clock.now_ms(world.store) + 3_600_000


async def break_half_order(world: World) -> None:
    await lose_resource(world)
    await world.do("HSET", store_keys.unavailable(AREA), ALSO_MINE, record("held", order=world.order))
    await world.do("ZADD", store_keys.timers(AREA), await in_an_hour(world), ALSO_MINE)


async def break_late_timer_of_a_hold(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), await clock.now_ms(world.store) + 2 * DAY_MS, HELD)


async def break_late_timer_of_a_quarantine(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), FAR, RELEASED)


async def break_late_timer_beyond_all_calendars(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), 2**60, RELEASED)


async def break_unearned_resource_by_an_order_that_failed(world: World) -> None:
    await end_alone(world, "failed")


async def break_unearned_resource_by_an_order_that_is_cancelled(world: World) -> None:
    await end_alone(world, "cancelled")


async def break_unearned_resource_by_an_order_that_is_being_cancelled(world: World) -> None:
    await end_alone(world, "cancelling")
    await world.do("ZADD", store_keys.due(ACME), await clock.now_ms(world.store) - 10, world.order)


async def end_alone(world: World, status: str) -> None:
    """Give an order an end that its organization's number knows nothing of."""
    ids = [await resource_of(world.store, ACME, ALSO_MINE)]
    await release(world.store, ACME, ids, LONG, None)
    await world.do("HSET", OrderRef(ACME, world.order).key, "status", status)


async def break_order_lacks_number(world: World) -> None:
    await world.do("HSET", OrderRef(ACME, world.order).key, "numbers", f"{ALSO_MINE} {MINE}0")


async def break_late_due_of_a_pending_order(world: World) -> None:
    await world.do("ZADD", store_keys.due(ACME), FAR, world.pending)


async def break_late_due_of_an_order_that_waits(world: World) -> None:
    await world.do("ZADD", store_keys.due(ACME), FAR, world.waiting)


async def break_late_due_of_an_order_that_is_being_cancelled(world: World) -> None:
    order = await begin_cancel(world)
    await world.do("ZADD", store_keys.due(ACME), FAR, order.id)


async def begin_cancel(world: World) -> OrderRef:
    """Begin to cancel an order whose one number was released before."""
    await offer(world.store, UNKNOWN)
    order = await buy(world.store, ACME, UNKNOWN)
    await release(world.store, ACME, [await resource_of(world.store, ACME, UNKNOWN)], LONG, None)
    await cancel(world.store, order, LONG, None)
    return order


async def break_unread_order_event(world: World) -> None:
    await world.do("XADD", store_keys.ORDER_EVENTS, "1-0", "type", "order.cancelled")


async def break_unread_order_event_that_another_service_has_read(world: World) -> None:
    await break_unread_order_event(world)
    await world.do("XGROUP", "CREATE", store_keys.ORDER_EVENTS, "another-service", "$")


async def break_index_without_resource_of_a_number_in_quarantine(world: World) -> None:
    await world.do("HSET", store_keys.owned(ACME), RELEASED, "a-resource")


async def break_resource_without_assignment_as_the_number_is_available(world: World) -> None:
    await world.do("HDEL", store_keys.unavailable(AREA), MINE)
    await offer(world.store, MINE)


async def break_resource_without_assignment_as_the_number_is_unknown(world: World) -> None:
    await world.do("HDEL", store_keys.unavailable(AREA), MINE)


async def break_resource_without_assignment_as_the_number_is_quarantined(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), MINE, record("quarantined"))
    await world.do("ZADD", store_keys.timers(AREA), await in_an_hour(world), MINE)


async def break_resource_without_assignment_as_its_carrier_has_it(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), MINE, record("returned"))
    await world.do("ZADD", store_keys.returned(AREA), 2**42, MINE)


async def break_owned_twice(world: World) -> None:
    await world.do("HSET", store_keys.owned(OTHER), MINE, "a-resource")
    await world.do("ZADD", store_keys.numbers(OTHER), 1, MINE)
    key = store_keys.resource(OTHER, "a-resource")
    await world.do("HSET", key, "number", MINE, "order_id", "its-order", "features", SMS)


async def break_index_without_resource(world: World) -> None:
    await world.do("ZADD", store_keys.numbers(ACME), 99, UNKNOWN)


async def break_index_without_resource_of_a_number_in_use(world: World) -> None:
    await world.do("DEL", store_keys.resource(ACME, world.resource))


async def break_resource_not_indexed_at_all(world: World) -> None:
    await world.do("HDEL", store_keys.owned(ACME), MINE)
    await world.do("ZREM", store_keys.numbers(ACME), MINE)


async def break_resource_not_indexed_by_number(world: World) -> None:
    await world.do("HDEL", store_keys.owned(ACME), MINE)


async def break_resource_not_indexed_in_the_list(world: World) -> None:
    await world.do("ZREM", store_keys.numbers(ACME), MINE)


async def break_resource_not_indexed_beside_another_one(world: World) -> None:
    key = store_keys.resource(ACME, "a-resource")
    await world.do("HSET", key, "number", MINE, "order_id", world.order, "features", SMS)


async def break_order_without_record(world: World) -> None:
    await world.do("ZADD", store_keys.orders(ACME), 99, "an-order")


async def break_order_without_record_that_is_due(world: World) -> None:
    await world.do("ZADD", store_keys.due(ACME), 2**42, "an-order")


async def break_malformed_order(world: World) -> None:
    await world.do("HSET", OrderRef(ACME, world.order).key, "status", "shipped")


async def break_malformed_order_without_a_time(world: World) -> None:
    await world.do("HDEL", OrderRef(ACME, world.order).key, "created_ms")


async def break_order_not_listed(world: World) -> None:
    await world.do("ZREM", store_keys.orders(ACME), world.order)


async def break_order_without_due_that_is_pending(world: World) -> None:
    await world.do("ZREM", store_keys.due(ACME), world.pending)


async def break_order_without_due_that_waits(world: World) -> None:
    await world.do("ZREM", store_keys.due(ACME), world.waiting)


async def break_order_without_due_that_is_complete(world: World) -> None:
    await world.do("ZREM", store_keys.due(ACME), world.order)


async def break_order_without_due_that_is_being_cancelled(world: World) -> None:
    order = await begin_cancel(world)
    await world.do("ZREM", store_keys.due(ACME), order.id)


async def break_overdue_order(world: World) -> None:
    await open_order(world.store, OrderRef(OTHER, "an-order"), 1, None, {"numbers": ""})
    await world.do("ZADD", store_keys.due(OTHER), 1, "an-order")
    await world.do("HSET", OrderRef(OTHER, "an-order").key, "deadline_ms", 1)


async def break_missing_waiting(world: World) -> None:
    await world.do("ZREM", store_keys.waiting(ACME), world.waiting)


async def break_stray_waiting(world: World) -> None:
    await world.do("ZADD", store_keys.waiting(ACME), 1, world.order)


async def break_malformed_departure(world: World) -> None:
    await world.do("HSET", store_keys.departures(ACME), UNKNOWN, "somewhere")
    await world.do("ZADD", store_keys.due(ACME), 2**42, UNKNOWN)


async def break_malformed_departure_to_nowhere(world: World) -> None:
    await world.do("HSET", store_keys.departures(ACME), UNKNOWN, "an-order somewhere 0 release")
    await world.do("ZADD", store_keys.due(ACME), 2**42, UNKNOWN)


async def break_departure_without_due(world: World) -> None:
    await world.do("HSET", store_keys.departures(ACME), UNKNOWN, "an-order quarantined 0 release")


async def break_stray_due(world: World) -> None:
    await world.do("ZADD", store_keys.due(ACME), 2**42, UNKNOWN)


async def break_overdue_departure(world: World) -> None:
    await break_departure_without_due(world)
    await world.do("ZADD", store_keys.due(ACME), 1, UNKNOWN)


BREAKS: dict[str, Break] = {
    name.removeprefix("break_"): function for name, function in globals().items() if name.startswith("break_")
}
FOR_A_PERSON = {
    "foreign_number",
    "malformed_record",
    "stray_offer",
    "resource_without_assignment_as_its_carrier_has_it",
    "owned_twice",
    "index_without_resource_of_a_number_in_use",
    "resource_not_indexed_beside_another_one",
    "malformed_order",
    "malformed_order_without_a_time",
    "malformed_departure",
    "malformed_departure_to_nowhere",
    "unearned_resource_by_an_order_that_failed",
    "unearned_resource_by_an_order_that_is_cancelled",
    "unearned_resource_by_an_order_that_is_being_cancelled",
    "order_lacks_number",
    "unread_order_event",
    "unread_order_event_that_another_service_has_read",
}


def kind_of(name: str) -> Kind:
    """Give the kind that a case is about: the longest whose name it begins with."""
    return max((kind for kind in Kind if name.startswith(kind)), key=len)


async def everything_in(store: Store) -> dict[bytes, object]:
    readers = {b"hash": "HGETALL", b"string": "GET", b"set": "SMEMBERS"}
    kept: dict[bytes, object] = {}
    for key in await store.execute("KEYS", "*"):
        kind = await store.execute("TYPE", key)
        if kind in readers:
            kept[key] = await store.execute(readers[kind], key)
        elif kind == b"zset":
            kept[key] = await store.execute("ZRANGE", key, 0, -1, "WITHSCORES")
        else:
            kept[key] = await store.execute("XRANGE", key, "-", "+")
    return kept


async def test_a_store_in_which_everything_is_as_it_should_be_is_clean_at_once(world: World) -> None:
    before = await everything_in(world.store)
    report = await audit(world.store, LONG, thorough=True)
    assert (report.violations, report.suspects, report.clean) == ([], 0, True)
    counts = StateCounts(available=2, held=1, assigned=2, quarantined=1, returned=1)
    assert report.area_codes == {AREA: counts}
    total = report.counts
    assert (total.available, total.held, total.assigned) == (2, 1, 2)
    assert (total.quarantined, total.returned, total.resources) == (1, 1, 2)
    assert total.orders == {"pending": 2, "complete": 2, "failed": 0, "cancelling": 0, "cancelled": 1}
    assert await everything_in(world.store) == before


def test_every_kind_is_tried() -> None:
    only_thorough = {Kind.WRONG_SCORE, Kind.NOT_OFFERED}
    assert {kind_of(name) for name in BREAKS} | only_thorough == set(Kind)


@pytest.mark.parametrize("name", BREAKS)
async def test_what_is_wrong_is_named_and_nothing_else(world: World, name: str) -> None:
    await BREAKS[name](world)
    report = await world.audit()
    [violation] = report.violations
    assert violation.kind is kind_of(name)
    assert violation.repairable is (name not in FOR_A_PERSON)
    assert violation.detail
    assert not report.clean
    assert report.suspects == 1


@pytest.mark.parametrize("name", sorted(BREAKS.keys() - FOR_A_PERSON))
async def test_a_repair_mends_it_and_what_was_right_stays(world: World, name: str) -> None:
    await BREAKS[name](world)
    report = await world.audit()
    [done] = await repair(world.store, SHORT, report.violations)
    assert done.violation == report.violations[0]
    assert (await world.audit()).clean
    # It says what it did once: a second one has nothing to do.
    assert await repair(world.store, SHORT, report.violations) == []
    place = await place_of(world.store, MINE)
    assert isinstance(place, Unavailable)
    assert (place.state, place.organization, place.order) == (NumberState.ASSIGNED, ACME, world.order)
    assert await find_owned(world.store, ACME, (MINE,)) == [world.resource]
    assert await state_of(world.store, FREE) == "available"


@pytest.mark.parametrize("name", sorted(FOR_A_PERSON))
async def test_a_repair_leaves_to_a_person_what_it_cannot_judge(world: World, name: str) -> None:
    await BREAKS[name](world)
    before = await everything_in(world.store)
    report = await world.audit()
    assert await repair(world.store, SHORT, report.violations) == []
    assert await everything_in(world.store) == before


@pytest.mark.parametrize(
    ("name", "number", "states"),
    [
        ("two_states", MINE, ("available", "assigned")),
        ("assigned_without_resource", UNKNOWN, ("assigned", "quarantined")),
        ("half_order", ALSO_MINE, ("held", "quarantined")),
        ("resource_without_assignment_as_the_number_is_available", MINE, ("available", "assigned")),
        ("resource_without_assignment_as_the_number_is_unknown", MINE, ("unknown", "assigned")),
        ("resource_without_assignment_as_the_number_is_quarantined", MINE, ("quarantined", "assigned")),
    ],
)
async def test_a_repair_that_changes_a_numbers_life_writes_its_event(
    world: World, name: str, number: str, states: tuple[str, str]
) -> None:
    await BREAKS[name](world)
    told = len(await events_of(world.store, AREA))
    await repair(world.store, SHORT, (await world.audit()).violations)
    [event] = (await events_of(world.store, AREA))[told:]
    assert (event["number"], event["from"], event["to"]) == (number, *states)
    assert event["cause"] == "repair"
    assert await state_of(world.store, number) == states[1]


async def test_several_things_are_named_at_once_and_mended_together(world: World) -> None:
    names = ["stray_timer", "order_without_due_that_waits", "assigned_without_resource", "stray_due"]
    for name in names:
        await BREAKS[name](world)
    report = await world.audit()
    assert {violation.kind for violation in report.violations} == {kind_of(name) for name in names}
    assert len(await repair(world.store, SHORT, report.violations)) == len(names)
    assert (await world.audit()).clean


async def test_two_owners_of_a_number_that_nobody_is_assigned_are_both_named(world: World) -> None:
    await break_owned_twice(world)
    await world.do("HDEL", store_keys.unavailable(AREA), MINE)
    report = await world.audit()
    assert [(one.kind, one.organization) for one in report.violations] == [
        (Kind.OWNED_TWICE, ACME),
        (Kind.OWNED_TWICE, OTHER),
    ]
    assert await repair(world.store, SHORT, report.violations) == []


async def test_a_number_whose_resource_is_on_its_way_out_is_no_violation(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, record("assigned", order="an-order"))
    departure = "an-order quarantined 60000 release"
    await world.do("HSET", store_keys.departures(ACME), UNKNOWN, departure)
    await world.do("ZADD", store_keys.due(ACME), 2**42, UNKNOWN)
    assert (await world.audit()).clean


async def test_a_departure_of_another_order_explains_nothing(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, record("assigned", order="an-order"))
    departure = "an-order-before quarantined 60000 release"
    await world.do("HSET", store_keys.departures(ACME), UNKNOWN, departure)
    await world.do("ZADD", store_keys.due(ACME), 2**42, UNKNOWN)
    [violation] = (await world.audit()).violations
    assert violation.kind is Kind.ASSIGNED_WITHOUT_RESOURCE


async def test_a_hold_that_is_over_is_none_while_a_later_attempt_has_its_order_in_hand(world: World) -> None:
    await world.do("ZADD", store_keys.timers(AREA), 1, HELD)
    assert (await world.audit()).clean


async def test_what_a_cancelled_bulk_order_has_picked_is_given_back_and_not_kept_from_others(
    store: Store,
) -> None:
    await create_api_key(store, ACME, Wanted((Scope.NUMBERS_READ,)), new_secret())
    await offer(store, FREE)
    order = OrderRef(ACME, new_id())
    fields = fields_of((), Routing(), Wish(1, area_code=AREA), 60_000)
    opened = await open_order(store, order, 60_000, None, fields)
    assert isinstance(opened, Attempt)
    attempt = await pick_numbers(store, opened, 60_000, [FREE])
    assert attempt is not None
    # The process dies here, and the customer cancels.
    await hold(store, AREA, order.id, 1, ACME, attempt.deadline_ms, [FREE])
    await cancel(store, order, LONG, None)
    assert (await audit(store, SHORT)).clean
    await store.execute("ZADD", store_keys.timers(AREA), 1, FREE)
    [violation] = (report := await audit(store, SHORT)).violations
    assert violation.kind is Kind.OVERDUE_HOLD
    assert len(await repair(store, SHORT, report.violations)) == 1
    assert await place_of(store, FREE) == attributes(1, SMS)


async def test_a_hold_of_a_complete_order_that_never_wanted_the_number_is_given_back(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, record("held", order=world.order))
    await world.do("ZADD", store_keys.timers(AREA), await in_an_hour(world), UNKNOWN)
    assert (await world.audit()).clean
    await world.do("ZADD", store_keys.timers(AREA), 1, UNKNOWN)
    report = await world.audit()
    assert [violation.kind for violation in report.violations] == [Kind.OVERDUE_HOLD]
    assert len(await repair(world.store, SHORT, report.violations)) == 1
    assert await state_of(world.store, UNKNOWN) == "available"


async def test_an_order_that_was_forgotten_says_nothing_against_what_it_brought(world: World) -> None:
    await world.do("DEL", OrderRef(ACME, world.order).key)
    await world.do("ZREM", store_keys.orders(ACME), world.order)
    await world.do("ZREM", store_keys.due(ACME), world.order)
    assert (await world.audit()).clean


async def test_an_entry_of_order_events_is_no_violation_once_a_worker_has_read_it(world: World) -> None:
    await break_unread_order_event(world)
    await OrderEvents(world.store, SHORT).step()
    assert (await audit(world.store, LONG)).suspects == 0
    await world.do("XADD", store_keys.ORDER_EVENTS, "*", "type", "order.cancelled")
    # It has come this moment.
    assert (await audit(world.store, LONG)).suspects == 0


async def test_a_repair_says_nothing_of_a_hold_that_it_could_not_settle(world: World) -> None:
    order = OrderRef(ACME, world.pending)
    await world.do("HSET", order.key, "deadline_ms", 1)
    await world.do("ZADD", store_keys.due(ACME), FAR, order.id)
    await world.do("ZADD", store_keys.timers(AREA), 1, HELD)
    report = await world.audit()
    assert [violation.kind for violation in report.violations] == [Kind.OVERDUE_HOLD, Kind.LATE_DUE]
    repairs = await repair(world.store, SHORT, report.violations)
    # Its order has to be decided first, and that it is now due is what the repair has done.
    assert [done.violation.kind for done in repairs] == [Kind.LATE_DUE]
    await sweep(world.store, SHORT)
    assert (await world.audit()).clean
    assert await state_of(world.store, HELD) == "available"


async def test_a_repair_says_nothing_of_an_order_that_it_could_not_settle(world: World) -> None:
    await world.do("ZADD", store_keys.due(ACME), 1, world.pending)
    report = await world.audit()
    assert [violation.kind for violation in report.violations] == [Kind.OVERDUE_ORDER]
    # Somebody has it in hand.
    assert await repair(world.store, SHORT, report.violations) == []


@pytest.mark.parametrize("state", ["held", "assigned", "returned"])
async def test_a_repair_assigns_nothing_that_somebody_has_or_that_went_back_to_its_carrier(
    world: World, state: str
) -> None:
    number = {"held": HELD, "assigned": MINE, "returned": RETURNED}[state]
    before = await everything_in(world.store)
    assert not await reassign(world.store, AREA, number, OrderRef(OTHER, "an-order"), SMS)
    assert await everything_in(world.store) == before


async def test_a_repair_leaves_a_number_that_has_another_resource_by_now_listed_as_that_ones(
    world: World,
) -> None:
    before = await everything_in(world.store)
    await world.do("HSET", store_keys.resource(ACME, "a-resource"), "number", MINE)
    for resource in ("a-resource", "gone"):
        assert await index_resource(world.store, ACME, MINE, resource) == 0
    await world.do("DEL", store_keys.resource(ACME, "a-resource"))
    assert await everything_in(world.store) == before


async def test_a_repair_leaves_the_times_of_a_number_whose_record_cannot_be_read(world: World) -> None:
    await world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, "assigned to nobody")
    await world.do("ZADD", store_keys.timers(AREA), 1, UNKNOWN)
    await world.do("ZADD", store_keys.returned(AREA), 1, UNKNOWN)
    before = await everything_in(world.store)
    span = Span(60_000, 60_000)
    assert await mend_timers(world.store, AREA, span, span, [UNKNOWN]) == 0
    assert await everything_in(world.store) == before


class Meddling(Store):
    """A store in which something happens just before a number is assigned."""

    def __init__(self, url: str, meddle: Callable[[], Awaitable[object]]) -> None:
        super().__init__(url, timeout_seconds=5)
        self._meddle = meddle

    @returns_future
    async def execute(self, *command: Argument) -> object:
        if command[0] == "EVALSHA" and command[3:5] == (
            store_keys.available(AREA),
            store_keys.unavailable(AREA),
        ):
            await self._meddle()
        return await super().execute(*command)


async def test_a_number_that_is_released_while_a_repair_assigns_it_is_assigned_to_nobody(
    world: World, valkey: str
) -> None:
    await break_resource_without_assignment_as_the_number_is_available(world)
    report = await world.audit()
    released: list[object] = []

    async def release_it() -> None:
        if not released:
            released.append(await release(world.store, ACME, [world.resource], LONG, None))

    meddling = Meddling(valkey, release_it)
    await repair(meddling, SHORT, report.violations)
    await meddling.close()
    assert released
    assert await state_of(world.store, MINE) == "quarantined"
    assert (await world.audit()).clean


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (score(5_550_103, attributes(1, SMS)), Kind.WRONG_SCORE),
        (score(5_550_102, SMS), Kind.NOT_OFFERED),
    ],
)
async def test_what_is_wrong_with_available_numbers_is_named_when_it_is_looked_for(
    world: World, value: int, kind: Kind
) -> None:
    await world.do("ZADD", store_keys.available(AREA), value, FREE)
    assert (await world.audit()).clean
    [violation] = (await audit(world.store, SHORT, thorough=True)).violations
    assert (violation.kind, violation.number) == (kind, FREE)


async def test_a_number_that_nobody_offers_and_that_is_ours_to_keep_is_rightly_available(
    world: World,
) -> None:
    await world.do("ZADD", store_keys.available(AREA), score(5_550_102, SMS | KEPT), FREE)
    assert (await audit(world.store, SHORT, thorough=True)).clean


async def test_a_repair_takes_a_number_from_stock_that_nobody_may_offer(world: World) -> None:
    await world.do("ZADD", store_keys.available(AREA), score(5_550_102, SMS), FREE)
    report = await audit(world.store, SHORT, thorough=True)
    assert len(await repair(world.store, SHORT, report.violations)) == 1
    assert await state_of(world.store, FREE) == "unknown"


async def test_a_suspect_that_is_gone_within_the_time_of_an_order_does_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_stray_timer(world)
    await break_stray_due(world)
    waits: list[tuple[int, float]] = []

    def announce(suspects: int, seconds: float) -> None:
        waits.append((suspects, seconds))

    async def wait(seconds: float) -> None:
        waits.append((0, seconds))
        await world.do("ZREM", store_keys.timers(AREA), MINE)

    monkeypatch.setattr("shared.audit.run.asyncio.sleep", wait)
    report = await audit(world.store, SHORT, announce=announce)
    seconds = SHORT.hold_seconds + SHORT.sweep_seconds
    assert waits == [(2, seconds), (0, seconds)]
    assert [violation.kind for violation in report.violations] == [Kind.STRAY_DUE]
    assert report.suspects == 2


async def test_a_suspect_that_is_wrong_in_another_way_later_does_not_count(world: World) -> None:
    await break_assigned_without_resource(world)
    changing: list[asyncio.Task[object]] = []

    def announce(_: int, __: float) -> None:
        other = record("assigned", OTHER, "a-later-order")
        step = world.do("HSET", store_keys.unavailable(AREA), UNKNOWN, other)
        changing.append(asyncio.create_task(step))

    assert (await audit(world.store, SHORT, announce=announce)).clean


async def test_a_repair_does_nothing_about_what_has_changed_since_the_audit(world: World) -> None:
    await break_assigned_without_resource(world)
    report = await world.audit()
    await world.do("HSET", store_keys.owned(OTHER), UNKNOWN, "a-resource")
    assert await repair(world.store, SHORT, report.violations) == []
    assert await state_of(world.store, UNKNOWN) == "assigned"


async def test_work_that_is_due_is_nobodys_fault_until_two_sweeps_have_passed(world: World) -> None:
    await break_overdue_quarantine(world)
    now_ms = int((await world.store.execute("TIME"))[0]) * 1000
    await world.do("ZADD", store_keys.timers(AREA), now_ms - 60_000, RELEASED)
    # 60 s for an order and two sweeps of 60 s each.
    assert (await audit(world.store, LONG)).suspects == 0
    assert len((await world.audit()).violations) == 1


async def commands_of_an_audit(store: Store) -> int:
    await store.execute("CONFIG", "RESETSTAT")
    assert (await audit(store, SHORT)).clean
    statistics = await store.execute("INFO", "commandstats")
    return sum(entry["calls"] for name, entry in statistics.items() if name != "cmdstat_config|resetstat")


async def test_available_numbers_are_counted_and_not_read(store: Store) -> None:
    await put_in_stock(store, AREA, range(2_000_000, 2_000_010))
    few = await commands_of_an_audit(store)
    await put_in_stock(store, AREA, range(2_000_000, 2_030_000))
    assert await commands_of_an_audit(store) == few


async def test_more_numbers_than_one_command_reads_are_counted_and_judged_one_by_one(store: Store) -> None:
    await store.execute("SADD", store_keys.AREAS, AREA)
    items = [
        item for local in range(2_000_000, 2_001_700) for item in (f"+1{AREA}{local}", record("assigned"))
    ]
    await store.execute("HSET", store_keys.unavailable(AREA), *items)
    report = await audit(store, SHORT)
    assert report.counts.assigned == 1_700
    assert len({violation.number for violation in report.violations}) == len(report.violations) == 1_700
    assert {violation.kind for violation in report.violations} == {Kind.ASSIGNED_WITHOUT_RESOURCE}
    assert len(await repair(store, SHORT, report.violations)) == 1_700
    assert (await audit(store, SHORT)).area_codes == {AREA: StateCounts(quarantined=1_700)}


async def test_a_busy_store_is_clean(world: World) -> None:
    store, quick = world.store, Settings(hold_seconds=1, sweep_seconds=0.1, quarantine_seconds=0.2)
    stock = [f"+1{area}555{line:04}" for area in (AREA, "212") for line in range(200, 240)]
    await offer(store, *stock)

    async def trade(seed: int) -> None:
        draw = Random(seed)  # noqa: S311
        while True:
            organization = draw.choice([ACME, OTHER])
            numbers = draw.sample(stock, draw.randrange(1, 6))
            with suppress(StoreUnavailable):
                order = await buy(store, organization, *numbers)
                ids = await find_owned(store, organization, tuple(numbers))
                if draw.random() < 0.5:
                    await cancel(store, order, quick, None)
                elif ids:
                    await release(store, organization, ids, quick, None, to_carrier=False)

    async def tidy() -> None:
        while True:
            await sweep(store, quick)
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(trade(seed)) for seed in range(6)] + [asyncio.create_task(tidy())]
    try:
        reports = [await audit(store, quick, thorough=True) for _ in range(3)]
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in done)
    assert [report.violations for report in reports] == [[], [], []]
    assert sum(report.counts.orders["cancelled"] + report.counts.quarantined for report in reports) > 0
