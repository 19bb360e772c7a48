"""Numbers that leave an organization: released one by one, or with the order that is cancelled.

One script takes the resources from the organization and writes down where their numbers have to go; from
then on they are lost to it. Only what is written down is then moved, in its area code, by whoever comes
first: the request itself, the worker, or the sweep. Moving twice does no harm: a number moves only while it
is still this order's.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shared import store_keys
from shared.atomic.area_operations import Destination, NumberState, take_back
from shared.atomic.order_operations import OrderRef, end_cancel
from shared.atomic.requests import RequestKey
from shared.atomic.resource_operations import (
    Cancelled,
    Changed,
    NotCancellable,
    Released,
    cancel_order,
    end_departures,
    read_fields,
    release_numbers,
)
from shared.clock import ms_of
from shared.orders.holds import by_area
from shared.orders.records import find_owned, read_order
from shared.settings import Settings
from shared.store import Store

_MOST_LOOKS = 10
"""Times that a cancel looks again because the order changed under its eyes: orders change three times."""


class Departure(NamedTuple):
    """Where a number has to go that its organization had by an order and has lost."""

    order: str
    destination: Destination


class Claims(NamedTuple):
    """What an organization has by an order."""

    owned: set[str]
    departing: set[str]
    """Lost to it, and still to be moved by whoever moves departures."""


def parse_departure(text: str) -> Departure:
    """Read a value of `store_keys.departures`; raises `ValueError` when it is malformed."""
    order, target, quarantine_ms, cause = text.split(" ")
    if target not in (NumberState.QUARANTINED, NumberState.RETURNED):
        raise ValueError(f"no number can become {target!r:.40}")
    if not (quarantine_ms.isascii() and quarantine_ms.isdecimal()):
        raise ValueError(f"{quarantine_ms!r:.40} is no time")
    return Departure(order, Destination(target, int(quarantine_ms), cause))


async def cancel(
    store: Store, order: OrderRef, settings: Settings, request: RequestKey | None
) -> Cancelled | NotCancellable | None:
    """Take what an organization has by an order from it; None when it has no such order.

    The numbers are moved by `finish_cancel`.

    Raises:
        RequestKeyReused: the Idempotency-Key came with another request.
        StoreUnavailable: whether it is cancelled is not known.
    """
    for _ in range(_MOST_LOOKS):
        record = await read_order(store, order)
        if record is None:
            return None
        result = await cancel_order(
            store,
            order,
            record.status,
            request,
            ms_of(settings.cancel_window_seconds),
            ms_of(settings.cancel_quarantine_seconds),
            await find_owned(store, order.organization, record.numbers),
        )
        if not isinstance(result, Changed):
            return result
    raise AssertionError("an order changes no more than its states are many")


async def finish_cancel(store: Store, order: OrderRef) -> bool:
    """Move what is left of an order that is being cancelled, and tell whether it is cancelled now."""
    record = await read_order(store, order)
    if record is None or not record.numbers:
        return record is not None and await end_cancel(store, order)
    departures = await read_departures(store, order.organization, record.numbers)
    await move(
        store,
        order.organization,
        [departure for departure in departures if departure[1].startswith(order.id)],
    )
    return await end_cancel(store, order)


async def release(
    store: Store,
    organization: str,
    resource_ids: Sequence[str],
    settings: Settings,
    request: RequestKey | None,
    *,
    to_carrier: bool = False,
    keep_only_a_release: bool = False,
) -> Released:
    """Take numbers from an organization and into quarantine, or out of the inventory.

    Raises:
        RequestKeyReused: the Idempotency-Key came with another request.
        StoreUnavailable: whether they are released is not known, or not whether they are in quarantine yet.
    """
    released = await release_numbers(
        store,
        organization,
        resource_ids,
        Destination(
            NumberState.RETURNED if to_carrier else NumberState.QUARANTINED,
            ms_of(settings.quarantine_seconds),
            "return_to_carrier" if to_carrier else "release",
        ),
        ms_of(settings.hold_seconds),
        request,
        keep_only_a_release=keep_only_a_release,
    )
    # Of a repeated request too, for the first may have died between the two.
    await move(store, organization, released.departures)
    return released


async def read_departures(store: Store, organization: str, numbers: Sequence[str]) -> list[tuple[str, str]]:
    """Give which of the numbers have still to be moved, and where: (number, departure)."""
    found = await store.execute("HMGET", store_keys.departures(organization), *numbers)
    return [
        (number, departure.decode(errors="replace"))
        for number, departure in zip(numbers, found, strict=True)
        if departure
    ]


async def find_claims(store: Store, ref: OrderRef, numbers: Sequence[str]) -> Claims:
    """Tell which of the numbers an organization has by an order, or had; raises `StoreUnavailable`."""
    ids = await store.execute("HMGET", store_keys.owned(ref.organization), *numbers)
    keys = [store_keys.resource(ref.organization, (id_ or b"").decode()) for id_ in ids]
    resources = await read_fields(store, keys, "order_id")
    # After the resources: one that goes meanwhile leaves its departure in the same step.
    departures = await read_departures(store, ref.organization, numbers)
    return Claims(
        {number for number, [order] in zip(numbers, resources, strict=True) if order == ref.id.encode()},
        {number for number, departure in departures if departure.startswith(f"{ref.id} ")},
    )


async def move(store: Store, organization: str, departures: Iterable[tuple[str, str]]) -> None:
    """Move departed numbers in their area codes, and strike them out.

    Raises:
        ValueError: a departure cannot be read; nothing is struck out.
        StoreUnavailable: the store did not answer.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for number, departure in departures:
        groups[departure].append(number)
    await asyncio.gather(*(_move_alike(store, departure, numbers) for departure, numbers in groups.items()))
    moved = [(number, departure) for departure, numbers in groups.items() for number in numbers]
    if moved:
        await end_departures(store, organization, moved)


async def _move_alike(store: Store, departure: str, numbers: list[str]) -> None:
    order, destination = parse_departure(departure)
    await asyncio.gather(
        *(take_back(store, area_code, order, destination, group) for area_code, group in by_area(numbers))
    )
