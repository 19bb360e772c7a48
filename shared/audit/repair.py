"""Mending what an audit has found, as far as it is safe: no organization loses a number that it has."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from shared import store_keys
from shared.atomic.area_operations import Destination, NumberState, take_back
from shared.atomic.order_operations import OrderRef
from shared.atomic.repair_operations import (
    Span,
    index_resource,
    mend_departures,
    mend_order,
    mend_timers,
    reassign,
    unlist,
)
from shared.audit.look import HOLD_AT_MOST_MS, QUARANTINE_AT_MOST_MS
from shared.audit.run import look_again
from shared.audit.violations import Kind, Violation
from shared.clock import ms_of
from shared.orders.departures import move, read_departures
from shared.orders.sweep import settle_numbers, settle_order
from shared.settings import Settings
from shared.store import Store

_NO_RESOURCE = "none"
"""What is never the id of a resource."""


class Repair(Struct, frozen=True):
    """What was done about a violation."""

    violation: Violation
    done: str
    """For people."""


class _Where(NamedTuple):
    """What a repair works on."""

    store: Store
    settings: Settings
    violation: Violation

    @property
    def organization(self) -> str:
        return self.violation.organization or ""

    @property
    def number(self) -> str:
        return self.violation.number or ""

    @property
    def area_code(self) -> str:
        return self.violation.area_code or self.number[2:5]

    @property
    def order(self) -> OrderRef:
        return OrderRef(self.organization, self.violation.order or "")


async def repair(store: Store, settings: Settings, violations: Iterable[Violation]) -> list[Repair]:
    """Mend what can be mended and is still wrong; give what was done, in that order.

    Raises:
        StoreUnavailable: the store did not answer; what was mended stays mended.
    """
    wanted = [violation for violation in violations if violation.repairable]
    repairs: list[Repair] = []
    for kind, (action, done) in _ACTIONS.items():
        of_kind = [violation for violation in wanted if violation.kind is kind]
        # Again and here, for what was mended before this may have mended it, too.
        still_wrong = await look_again(store, settings, of_kind) if of_kind else set()
        repairs += [
            Repair(violation, done)
            for violation in of_kind
            if violation in still_wrong and await action(_Where(store, settings, violation))
        ]
    return repairs


async def _add_area_code(where: _Where) -> bool:
    return bool(await where.store.execute("SADD", store_keys.AREAS, where.area_code))


async def _add_organization(where: _Where) -> bool:
    return bool(await where.store.execute("SADD", store_keys.ORGANIZATIONS, where.organization))


async def _index(where: _Where) -> bool:
    resource_id = where.violation.resource or _NO_RESOURCE
    return bool(await index_resource(where.store, where.organization, where.number, resource_id))


async def _mend_order(where: _Where) -> bool:
    return bool(await mend_order(where.store, where.order))


async def _do_order(where: _Where) -> bool:
    look = [
        ("HGETALL", where.order.key),
        ("ZSCORE", store_keys.due(where.organization), where.order.id),
    ]
    before = await where.store.execute_many(look)
    await settle_order(where.store, where.order, where.settings)
    return before != await where.store.execute_many(look)


async def _mend_departure(where: _Where) -> bool:
    return bool(await mend_departures(where.store, where.organization, [where.number]))


async def _do_departure(where: _Where) -> bool:
    departures = await read_departures(where.store, where.organization, [where.number])
    await move(where.store, where.organization, departures)
    return True


async def _mend_timer(where: _Where) -> bool:
    hold = Span(ms_of(where.settings.hold_seconds), HOLD_AT_MOST_MS)
    quarantine = Span(ms_of(where.settings.quarantine_seconds), QUARANTINE_AT_MOST_MS)
    return bool(await mend_timers(where.store, where.area_code, hold, quarantine, [where.number]))


async def _do_number(where: _Where) -> bool:
    # What holds it is perhaps an order that has to be decided before.
    look = ("HGET", store_keys.unavailable(where.area_code), where.number)
    before = await where.store.execute(*look)
    await settle_numbers(where.store, where.area_code, [where.number])
    return bool(before != await where.store.execute(*look))


async def _unlist(where: _Where) -> bool:
    return bool(await unlist(where.store, where.area_code, [where.number]))


async def _assign(where: _Where) -> bool:
    owned = store_keys.owned(where.organization)
    resource_id = await where.store.execute("HGET", owned, where.number)
    if resource_id is None:
        return False
    resource = store_keys.resource(where.organization, resource_id.decode())
    features = await where.store.execute("HGET", resource, "features")
    if not await reassign(where.store, where.area_code, where.number, where.order, int(features or 0)):
        return False
    if await where.store.execute("HGET", owned, where.number) != resource_id:
        # It was released in this moment, and whoever moves it may have come before it was assigned.
        await _quarantine(where)
    return True


async def _quarantine(where: _Where) -> bool:
    # The area code cannot ask the organization, and need not: a resource is made once, by its order's commit,
    # and that is over for an assigned number and for a complete order.
    destination = Destination(NumberState.QUARANTINED, ms_of(where.settings.quarantine_seconds), "repair")
    return bool(await take_back(where.store, where.area_code, where.order.id, destination, [where.number]))


_SWEPT = "what was due was looked at, as the worker's sweep does"

_ACTIONS: dict[Kind, tuple[Callable[[_Where], Awaitable[bool]], str]] = {
    Kind.UNKNOWN_AREA_CODE: (_add_area_code, "added to the area codes"),
    Kind.UNKNOWN_ORGANIZATION: (_add_organization, "added to the organizations"),
    # What organizations have, before anything is taken from anybody.
    Kind.RESOURCE_NOT_INDEXED: (_index, "listed among the organization's numbers"),
    Kind.INDEX_WITHOUT_RESOURCE: (_index, "struck from the organization's numbers"),
    Kind.ORDER_WITHOUT_RECORD: (_mend_order, "struck from the organization's orders"),
    Kind.ORDER_NOT_LISTED: (_mend_order, "listed among the organization's orders"),
    Kind.ORDER_WITHOUT_DUE: (_mend_order, "will be looked at when it is due"),
    Kind.LATE_DUE: (_mend_order, "will be looked at when it is due"),
    Kind.MISSING_WAITING: (_mend_order, "listed among the orders that wait"),
    Kind.STRAY_WAITING: (_mend_order, "struck from the orders that wait"),
    Kind.OVERDUE_ORDER: (_do_order, _SWEPT),
    Kind.DEPARTURE_WITHOUT_DUE: (_mend_departure, "will be moved by the worker's next sweep"),
    Kind.STRAY_DUE: (_mend_departure, "struck from the organization's open work"),
    Kind.OVERDUE_DEPARTURE: (_do_departure, "moved"),
    Kind.MISSING_TIMER: (_mend_timer, "given a timer"),
    Kind.LATE_TIMER: (_mend_timer, "given another timer"),
    Kind.STRAY_TIMER: (_mend_timer, "its timer was struck out"),
    Kind.MISSING_RETURN: (_mend_timer, "given a time from which a feed may list it anew"),
    Kind.STRAY_RETURN: (_mend_timer, "the time was struck out"),
    Kind.OVERDUE_HOLD: (_do_number, _SWEPT),
    Kind.OVERDUE_QUARANTINE: (_do_number, _SWEPT),
    Kind.TWO_STATES: (_unlist, "is not available any more"),
    Kind.NOT_OFFERED: (_unlist, "is not available any more"),
    Kind.RESOURCE_WITHOUT_ASSIGNMENT: (_assign, "assigned to the organization"),
    Kind.ASSIGNED_WITHOUT_RESOURCE: (_quarantine, "in quarantine"),
    Kind.HALF_ORDER: (_quarantine, "in quarantine"),
}
"""What is done about which kind, in this order."""
