"""The sweep: finishing or undoing what somebody died over, and doing what has become due.

Two kinds of timers are walked: those of area codes (a hold or a quarantine that is over) and those of
organizations (an order in nobody's hand, a number that has still to be moved, an order to be forgotten).
Every step is a script that looks for itself whether it is still right, so any number of sweeps may run at a
time. A sweep does all that is due when it begins, in rounds: some of every area code and organization in
each, so that nobody's backlog keeps the others waiting for long.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from shared import clock, store_keys
from shared.atomic.area_operations import (
    NumberState,
    Unavailable,
    confirm,
    give_back,
    parse_record,
    restock,
)
from shared.atomic.order_operations import (
    Attempt,
    OrderRef,
    fail_order,
    forget_order,
    let_wait,
    take_order,
)
from shared.orders.departures import find_claims, finish_cancel, move, read_departures
from shared.orders.holds import give_back_all
from shared.orders.placing import hold_ms_of
from shared.orders.records import Order, OrderStatus, read_order
from shared.settings import Settings
from shared.store import Store, StoreUnavailable

logger = logging.getLogger(__name__)

_AT_ONCE = 1_000
"""Timers of one area code or organization in one round, the oldest first."""

_NUMBERS_PER_CALL = 100

_Due = dict[str, AsyncIterator[list[str]]]
"""Of each area code or organization what is due, some at a time; it goes when there is no more."""


async def sweep(store: Store, settings: Settings) -> int:
    """Do all that is due now, and give how many timers had run out.

    Raises:
        StoreUnavailable: the store did not answer; the next sweep goes on.
    """
    now_ms = await clock.now_ms(store)
    organizations = await _all_due(store, store_keys.ORGANIZATIONS, store_keys.due, now_ms)
    areas = await _all_due(store, store_keys.AREAS, store_keys.timers, now_ms)
    seen = 0
    while organizations or areas:
        # Organizations first: what they decide is what an expired hold has to wait for.
        seen += await _sweep_organizations(store, settings, organizations)
        seen += await _sweep_areas(store, areas)
    return seen


async def _sweep_organizations(store: Store, settings: Settings, organizations: _Due) -> int:
    lists = await _next_round(organizations)
    await _each(
        (f"due work of {organization}", _settle_organization(store, settings, organization, members))
        for organization, members in lists.items()
    )
    return sum(map(len, lists.values()))


async def _settle_organization(
    store: Store, settings: Settings, organization: str, members: list[str]
) -> None:
    numbers = [member for member in members if member.startswith("+")]
    groups: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, departure in await read_departures(store, organization, numbers) if numbers else ():
        groups[departure].append((number, departure))
    # By themselves, for one that cannot be read is not moved, and says so.
    await _each(
        (f"numbers of {organization} that depart as {departure!r:.200}", move(store, organization, group))
        for departure, group in groups.items()
    )
    refs = [OrderRef(organization, member) for member in members if not member.startswith("+")]
    await _each((f"order {ref.id} of {organization}", settle_order(store, ref, settings)) for ref in refs)


async def settle_order(store: Store, ref: OrderRef, settings: Settings) -> None:
    """Do what is due for an order; nothing when somebody has it in hand."""
    order = await read_order(store, ref)
    if order is not None and order.status is OrderStatus.PENDING:
        await _settle_pending(store, order, settings)
    elif order is not None and order.status is OrderStatus.CANCELLING:
        await finish_cancel(store, ref)
    else:
        await forget_order(store, ref)


async def _settle_pending(store: Store, order: Order, settings: Settings) -> None:
    attempt = await take_order(store, order.ref, hold_ms_of(settings))
    if not isinstance(attempt, Attempt):
        return
    if order.wish is not None and attempt.at_ms < order.wait_until_ms:
        is_given_up = await let_wait(store, attempt, None, b"")
    else:
        is_given_up = await fail_order(store, attempt, None, "expired", b"") == OrderStatus.FAILED
    if is_given_up:
        await give_back_all(store, attempt, "expired", order.numbers)


async def _sweep_areas(store: Store, areas: _Due) -> int:
    lists = await _next_round(areas)
    await _each(
        (
            f"timers of {area_code}",
            settle_numbers(store, area_code, numbers[begin : begin + _NUMBERS_PER_CALL]),
        )
        for area_code, numbers in lists.items()
        for begin in range(0, len(numbers), _NUMBERS_PER_CALL)
    )
    return sum(map(len, lists.values()))


async def settle_numbers(store: Store, area_code: str, numbers: list[str]) -> None:
    """Do what is due for numbers of an area code whose timers have run out."""
    texts = await store.execute("HMGET", store_keys.unavailable(area_code), *numbers)
    records = {
        number: record
        for number, text in zip(numbers, texts, strict=True)
        if (record := parse_record(text)) is not None
    }
    quarantined = [number for number, record in records.items() if record.state is NumberState.QUARANTINED]
    if quarantined:
        await restock(store, area_code, quarantined)
    held: defaultdict[OrderRef, dict[str, Unavailable]] = defaultdict(dict)
    for number, record in records.items():
        if record.state is NumberState.HELD:
            held[OrderRef(record.organization, record.order)][number] = record
    await _each(
        (
            f"numbers of {area_code} held by order {ref.id} of {ref.organization}",
            _settle_holds(store, area_code, ref, holds),
        )
        for ref, holds in held.items()
    )


async def _settle_holds(store: Store, area_code: str, ref: OrderRef, holds: dict[str, Unavailable]) -> None:
    """Ask the organization what has become of the order that holds numbers for too long."""
    order = await read_order(store, ref)
    if order is not None and order.status is OrderStatus.PENDING and order.deadline_ms:
        # Whoever has it in hand decides, or the sweep of its organization.
        return
    owned, departing = await find_claims(store, ref, list(holds))
    if owned:
        await confirm(store, area_code, ref.id, owned)
    for attempt in {record.attempt for record in holds.values()}:
        # What departs may have been moved already, and be held anew by now: it is not to be confirmed.
        others = [
            n for n, record in holds.items() if record.attempt == attempt and n not in owned | departing
        ]
        if others:
            await give_back(store, area_code, ref.id, attempt, "expired", others)


async def _all_due(store: Store, register: str, key_of: Callable[[str], str], now_ms: int) -> _Due:
    names = [name.decode() for name in await store.execute("SMEMBERS", register)]
    return {name: _walk_due(store, key_of(name), now_ms) for name in names}


async def _walk_due(store: Store, key: str, now_ms: int) -> AsyncIterator[list[str]]:
    """Give the members of a sorted set whose time has come, each once, some at a time, the oldest first.

    Who asks for the next ones has looked after these: those that are still due cannot be settled now, and are
    passed over, so that they keep no others waiting and nobody looks at them again and again.
    """
    passed_over = 0
    while True:
        members = await store.execute(
            "ZRANGE", key, "-inf", now_ms, "BYSCORE", "LIMIT", passed_over, _AT_ONCE
        )
        if members:
            yield [member.decode(errors="replace") for member in members]
        if len(members) < _AT_ONCE:
            return
        scores = await store.execute("ZMSCORE", key, *members)
        passed_over += sum(score is not None and score <= now_ms for score in scores)


async def _next_round(due: _Due) -> dict[str, list[str]]:
    """Give the next ones of each that has any; who has none is struck out."""
    lists = await asyncio.gather(*(anext(walk, None) for walk in due.values()))
    found = {name: members for name, members in zip(due, lists, strict=True) if members is not None}
    for name in due.keys() - found.keys():
        del due[name]
    return found


async def _each(steps: Iterable[tuple[str, Coroutine[Any, Any, None]]]) -> None:
    """Do all steps, each with what it is about; one that fails keeps none of the others from being done."""
    names, work = zip(*named, strict=True) if (named := list(steps)) else ((), ())
    away: StoreUnavailable | None = None
    for name, result in zip(names, await asyncio.gather(*work, return_exceptions=True), strict=True):
        if isinstance(result, StoreUnavailable):
            away = result
        elif isinstance(result, Exception):
            logger.error("the sweep could not look after %s", name, exc_info=result)
    if away is not None:
        raise away
