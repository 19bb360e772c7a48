"""Bulk orders: so many numbers of the service's choice, filled all at once, now or when there is stock."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from shared import store_keys
from shared.atomic.order_operations import (
    Attempt,
    Ended,
    OrderRef,
    Routing,
    let_wait,
    pick_numbers,
    take_order,
)
from shared.atomic.requests import RequestKey
from shared.clock import ms_of
from shared.orders.holds import give_back_all, hold_all
from shared.orders.placing import (
    AnotherDecides,
    Answer,
    OutcomeUnknown,
    Placed,
    begin_order,
    complete,
    hold_ms_of,
    new_resources,
)
from shared.orders.records import Order, OrderStatus, Wish, fields_of, read_order
from shared.search.search import Query, Search
from shared.settings import Settings
from shared.store import Store, StoreUnavailable, with_scores

logger = logging.getLogger(__name__)

_MOST_PICKS = 4
"""Times that numbers which others took meanwhile are replaced, before the order waits for a quieter hour."""


class Waiting(NamedTuple):
    """There is not enough in stock."""

    order: OrderRef


class BulkRequest(NamedTuple):
    """What is asked for, and how it is answered."""

    wish: Wish
    routing: Routing
    request: RequestKey | None
    render: Callable[[Placed | Waiting], bytes]
    """Makes the answer, which is kept for the Idempotency-Key in the step that decides."""


async def place_bulk_order(
    store: Store, search: Search, settings: Settings, order: OrderRef, asked: BulkRequest
) -> Answer | Ended:
    """Fill a bulk order now, or leave it to wait; `Ended` when it went on without an earlier request.

    Raises:
        InProgress, RequestKeyReused, OutcomeUnknown: as `place_order`.
    """
    wait_ms = ms_of(settings.bulk_wait_seconds)
    fields = fields_of((), asked.routing, asked.wish, wait_ms)
    try:
        begun = await begin_order(store, order, hold_ms_of(settings), asked.request, fields)
        if not isinstance(begun, Attempt):
            return begun
        order = begun.order
        _, answer = await fill(store, search, settings, begun, asked)
    except (StoreUnavailable, AnotherDecides) as error:
        raise OutcomeUnknown(order, str(error)) from error
    return Answer(answer, order, is_repeated=False)


async def fill(
    store: Store, search: Search, settings: Settings, attempt: Attempt, asked: BulkRequest
) -> tuple[Placed | Waiting, bytes]:
    """Hold as many numbers as are wished for and commit them, or let the order wait; and the answer to it.

    Raises:
        AnotherDecides: it was ended, or taken over, by somebody else.
        StoreUnavailable: the store did not answer.
    """
    wish, routing, request, render = asked
    query = Query(wish.area_code, wish.number_type, wish.pattern, wish.quantity)
    # What an earlier attempt picked this order may hold already, and no search finds that.
    picks = await _picked_before(store, attempt)
    taken_by_others: set[str] = set()
    for _ in range(_MOST_PICKS):
        found = [number.decode() for number in await search.find(query)]
        picks += [number for number in found if number not in picks and number not in taken_by_others]
        picks = picks[: wish.quantity]
        if len(picks) < wish.quantity:
            break
        renewed = await pick_numbers(store, attempt, hold_ms_of(settings), picks)
        if renewed is None:
            raise AnotherDecides("somebody else has taken it over")
        attempt = renewed
        holding = await hold_all(store, attempt, picks)
        if holding.is_late:
            raise AnotherDecides("it took too long")
        if not holding.unavailable:
            placed = Placed(attempt.order, new_resources(attempt, routing, holding, tuple(picks)))
            answer = render(placed)
            await complete(store, attempt, request, answer, routing, placed.resources)
            return placed, answer
        taken_by_others.update(holding.unavailable)
        picks = [number for number in picks if number not in taken_by_others]
    waiting = Waiting(attempt.order)
    answer = render(waiting)
    if not await let_wait(store, attempt, request, answer):
        raise AnotherDecides("somebody else has taken it over")
    await give_back_all(store, attempt, "refused", picks)
    return waiting, answer


async def _picked_before(store: Store, attempt: Attempt) -> list[str]:
    order = await read_order(store, attempt.order) if attempt.number > 1 else None
    return list(order.numbers) if order is not None else []


async def fill_waiting(store: Store, search: Search, settings: Settings) -> int:
    """Try the bulk orders that wait, of all organizations, oldest first; give how many were filled.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    filled = 0
    found: dict[Wish, int] = {}
    for ref in await _waiting(store):
        try:
            filled += await _fill_one(store, search, settings, ref, found)
        except StoreUnavailable:
            raise
        except AnotherDecides as error:
            logger.info("bulk order %s of %s: %s", ref.id, ref.organization, error)
        except Exception:
            # One order that cannot be read keeps none of the others waiting.
            logger.exception("bulk order %s of %s cannot be filled", ref.id, ref.organization)
    return filled


async def _fill_one(
    store: Store, search: Search, settings: Settings, ref: OrderRef, found: dict[Wish, int]
) -> bool:
    """Fill a waiting order if there is enough; `found` remembers how many match a wish."""
    order = await read_order(store, ref)
    if order is None or order.wish is None or order.status is not OrderStatus.PENDING:
        return False
    wish = order.wish
    # Nothing is written for an order that cannot be filled, and one search serves all that ask alike.
    alike = msgspec.structs.replace(wish, quantity=0)
    if found.get(alike, wish.quantity) < wish.quantity:
        return False
    query = Query(wish.area_code, wish.number_type, wish.pattern, wish.quantity)
    found[alike] = len(await search.find(query))
    if found[alike] < wish.quantity:
        return False
    del found[alike]
    return await _try_waiting(store, search, settings, order, wish)


async def _try_waiting(store: Store, search: Search, settings: Settings, order: Order, wish: Wish) -> bool:
    attempt = await take_order(store, order.ref, hold_ms_of(settings))
    if not isinstance(attempt, Attempt):
        return False
    # Nobody waits for this answer: the request got its own when the order began to wait.
    asked = BulkRequest(wish, order.routing, None, lambda _: b"")
    outcome, _ = await fill(store, search, settings, attempt, asked)
    return isinstance(outcome, Placed)


async def _waiting(store: Store) -> list[OrderRef]:
    organizations = [name.decode() for name in await store.execute("SMEMBERS", store_keys.ORGANIZATIONS)]
    lists = await store.execute_many(
        [("ZRANGE", store_keys.waiting(name), 0, -1, "WITHSCORES") for name in organizations]
    )
    waiting = [
        (since, OrderRef(name, order_id.decode()))
        for name, orders in zip(organizations, lists, strict=True)
        for order_id, since in with_scores(orders)
    ]
    return [ref for _, ref in sorted(waiting)]
