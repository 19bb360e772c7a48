"""Auditing and mending: the typed wrappers of their scripts; each is its script's only caller.

Whatever mends looks again whether there is still something to mend, so that a repair may run at any time and
twice.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shared import store_keys
from shared.atomic.order_operations import ORDER_KEPT_MS, OrderRef
from shared.atomic.script import Script
from shared.store import Store

_UNLIST = Script("unlist")
_MEND_TIMERS = Script("mend_timers")
_REASSIGN = Script("reassign")
_INDEX_RESOURCE = Script("index_resource")
_MEND_ORDER = Script("mend_order")
_MEND_DEPARTURES = Script("mend_departures")
_TRACE_NUMBERS = Script("trace_numbers")


class Span(NamedTuple):
    """How long a state lasts from now when nobody knows since when, and at most; ms."""

    lasts_ms: int
    at_most_ms: int


class Trace(NamedTuple):
    """What has become of the order by which an organization has a number."""

    status: str
    """`""` when the order is forgotten."""
    is_named: bool
    """The number is one of the order's."""


async def unlist(store: Store, area_code: str, numbers: Iterable[str]) -> int:
    """Take numbers from the available ones that somebody has, or nobody offers; give how many."""
    keys = [store_keys.available(area_code), store_keys.unavailable(area_code), store_keys.events(area_code)]
    taken: int = await _UNLIST.run(store, keys, *numbers)
    return taken


async def mend_timers(
    store: Store, area_code: str, hold: Span, quarantine: Span, numbers: Iterable[str]
) -> int:
    """Write the times that held, quarantined and returned numbers lack, strike out those of others.

    A time that is later than can be counts as none.
    """
    keys = [store_keys.unavailable(area_code), store_keys.timers(area_code), store_keys.returned(area_code)]
    changed: int = await _MEND_TIMERS.run(store, keys, *hold, *quarantine, *numbers)
    return changed


async def reassign(store: Store, area_code: str, number: str, order: OrderRef, features: int) -> bool:
    """Assign a number that nobody has to the organization that has it by this order; False when it cannot."""
    keys = [
        store_keys.available(area_code),
        store_keys.unavailable(area_code),
        store_keys.timers(area_code),
        store_keys.events(area_code),
    ]
    return bool(await _REASSIGN.run(store, keys, number, order.id, order.organization, features))


async def index_resource(store: Store, organization: str, number: str, resource_id: str) -> int:
    """List a number as its resource says, or not at all when there is none; give how many entries changed."""
    keys = [
        store_keys.numbers(organization),
        store_keys.owned(organization),
        store_keys.sequence(organization),
        store_keys.resource(organization, resource_id),
    ]
    changed: int = await _INDEX_RESOURCE.run(store, keys, number, resource_id)
    return changed


async def mend_order(store: Store, order: OrderRef) -> int:
    """List an order, and have it looked at, as its record says; give how many entries changed."""
    keys = [
        order.key,
        store_keys.orders(order.organization),
        store_keys.due(order.organization),
        store_keys.waiting(order.organization),
        store_keys.sequence(order.organization),
    ]
    changed: int = await _MEND_ORDER.run(store, keys, order.id, ORDER_KEPT_MS)
    return changed


async def mend_departures(store: Store, organization: str, numbers: Iterable[str]) -> int:
    """Have numbers looked at that have still to be moved, and no others; give how many entries changed."""
    keys = [store_keys.departures(organization), store_keys.due(organization)]
    changed: int = await _MEND_DEPARTURES.run(store, keys, *numbers)
    return changed


async def trace_numbers(store: Store, organization: str, claims: Sequence[tuple[str, str]]) -> list[Trace]:
    """Look up the orders of an organization's numbers: of each claim, (number, order)."""
    if not claims:
        return []
    keys = [OrderRef(organization, order).key for _, order in claims]
    flat = await _TRACE_NUMBERS.run(store, keys, *(number for number, _ in claims))
    return [
        Trace(status.decode(errors="replace"), bool(is_named))
        for status, is_named in zip(flat[::2], flat[1::2], strict=True)
    ]
