"""Placing an order of named numbers: all of them or none, over any mix of area codes.

The steps, each one script and one round trip: *open* writes the order down; *hold* keeps its numbers from
others, in each area code; *commit* in the organization's slot is the point at which they are its own;
*confirm* turns the holds into assignments. When a number is not available, *fail* comes before anything is
given back: a failed order can never be committed, so whoever holds a number for it holds it for nothing.
Whoever works on an order has it in hand as an *attempt* until a deadline; after that the next attempt, of a
repeated request or of the sweep, decides, and the earlier one can neither hold, nor commit, nor fail, nor
give back what the later one holds.
"""

from collections.abc import Callable
from typing import NamedTuple

from shared.atomic.order_operations import (
    Attempt,
    Busy,
    Ended,
    Known,
    NewResource,
    OrderRef,
    Routing,
    commit_order,
    fail_order,
    open_order,
    take_order,
)
from shared.atomic.requests import RequestKey
from shared.clock import ms_of
from shared.ids import new_id
from shared.orders.holds import (
    Holding,
    confirm_all,
    give_back_all,
    give_back_for_certain,
    hold_all,
)
from shared.orders.records import OrderStatus, fields_of, read_order
from shared.orders.resources import Resource
from shared.settings import Settings
from shared.stock_score import MMS, SMS
from shared.store import Store, StoreUnavailable

_MOST_TRIES = 3
"""Times that a repeated request looks for its outcome, while others end orders under its eyes."""

_COMMITTED = (OrderStatus.COMPLETE, OrderStatus.CANCELLING, OrderStatus.CANCELLED)


class Placed(NamedTuple):
    """All numbers are the organization's."""

    order: OrderRef
    resources: list[Resource]


class Refused(NamedTuple):
    """Some number is not available; nothing was assigned."""

    order: OrderRef
    available_count: int
    unavailable: list[str]


class Answer(NamedTuple):
    """The answer to a request, as it was rendered when the outcome was written."""

    body: bytes
    order: OrderRef
    is_repeated: bool


class InProgress(Exception):
    """The first request with this Idempotency-Key still runs."""

    def __init__(self, for_ms: int) -> None:
        """Keep for how long at most."""
        super().__init__(for_ms)
        self.for_ms = for_ms


class AnotherDecides(Exception):
    """It took too long: a later attempt, or whoever ended the order, decides what becomes of it."""


class OutcomeUnknown(Exception):
    """The order was begun; what becomes of it is not known yet."""

    def __init__(self, order: OrderRef, reason: str) -> None:
        """Keep the order."""
        super().__init__(reason)
        self.order = order


async def place_order(
    store: Store,
    order: OrderRef,
    numbers: tuple[str, ...],
    routing: Routing,
    request: RequestKey | None,
    hold_ms: int,
    render: Callable[[Placed | Refused], bytes],
) -> Answer:
    """Order `numbers` (E.164, none twice) for an organization, under the id of `order`.

    `render` makes the answer, which is kept for the request's Idempotency-Key in the step that decides.

    Raises:
        InProgress: the same request is being answered.
        RequestKeyReused: its Idempotency-Key came with another one.
        OutcomeUnknown: the store did not answer, or somebody else decides; the same request with the same
            Idempotency-Key gives the outcome.
    """
    try:
        begun = await begin_order(store, order, hold_ms, request, fields_of(numbers, routing))
        if isinstance(begun, Answer):
            return begun
        if isinstance(begun, Ended):
            raise OutcomeUnknown(begun.order, f"it is {begun.status}, and its answer was not kept")
        order = begun.order
        holding = await hold_all(store, begun, numbers)
        if holding.is_late or holding.unavailable:
            return await _refuse(store, begun, request, numbers, holding, render)
        resources = new_resources(begun, routing, holding, numbers)
        answer = render(Placed(order, resources))
        await complete(store, begun, request, answer, routing, resources)
    except (StoreUnavailable, AnotherDecides) as error:
        raise OutcomeUnknown(order, str(error)) from error
    return Answer(answer, order, is_repeated=False)


async def complete(
    store: Store,
    attempt: Attempt,
    request: RequestKey | None,
    answer: bytes,
    routing: Routing,
    resources: list[Resource],
) -> None:
    """Commit an order that holds all its numbers, and confirm them.

    Raises:
        AnotherDecides: it was ended, or taken over, by somebody else.
        StoreUnavailable: whether it is complete is not known.
    """
    new = [NewResource(resource.number, resource.id, resource.features) for resource in resources]
    numbers = [resource.number for resource in resources]
    status = await commit_order(store, attempt, request, answer, routing, new)
    if status == OrderStatus.COMPLETE:
        await confirm_all(store, attempt.order, numbers)
        return
    if status in (OrderStatus.FAILED, OrderStatus.CANCELLED):
        await give_back_all(store, attempt, status, numbers)
    raise AnotherDecides(f"it took too long, and is {status}")


async def begin_order(
    store: Store, order: OrderRef, hold_ms: int, request: RequestKey | None, fields: dict[str, str | int]
) -> Attempt | Answer | Ended:
    """Open an order, or take the one in hand that the request's Idempotency-Key stands for.

    One that failed because a request died over it is no outcome: the new order takes its place, after what
    it held is given back for certain, so that nobody is refused because of holds of his own. `Ended` is an
    order that went on without its request and was committed.

    Raises:
        InProgress, RequestKeyReused, OutcomeUnknown: as `place_order`.
        StoreUnavailable: the order was perhaps not even opened.
    """
    failed: OrderRef | None = None
    committed: Ended | None = None
    for _ in range(_MOST_TRIES):
        opened = await open_order(store, order, hold_ms, request, fields, failed)
        if not isinstance(opened, Known):
            return opened
        if opened.answer is not None:
            return Answer(opened.answer, opened.order, is_repeated=True)
        try:
            taken = await take_order(store, opened.order, hold_ms)
            if isinstance(taken, Busy):
                raise InProgress(taken.for_ms)
            if isinstance(taken, Attempt):
                return taken
            if taken.status in _COMMITTED:
                # With an answer, unless the commit was another's than a request's: the next look tells.
                committed = taken
            else:
                failed = taken.order
                await _give_back_failed(store, failed)
        except StoreUnavailable as error:
            raise OutcomeUnknown(opened.order, str(error)) from error
    if committed is not None:
        return committed
    raise OutcomeUnknown(opened.order, "it changes faster than it can be read")


async def _give_back_failed(store: Store, ref: OrderRef) -> None:
    order = await read_order(store, ref)
    if order is not None:
        await give_back_for_certain(store, ref, order.attempt, "expired", order.numbers)


async def _refuse(
    store: Store,
    attempt: Attempt,
    request: RequestKey | None,
    numbers: tuple[str, ...],
    holding: Holding,
    render: Callable[[Placed | Refused], bytes],
) -> Answer:
    """Fail the order, and only then give back what it holds."""
    refused = Refused(attempt.order, len(numbers) - len(holding.unavailable), holding.unavailable)
    answer = b"" if holding.is_late else render(refused)
    reason = "late" if holding.is_late else "insufficient_inventory"
    status = await fail_order(store, attempt, request, reason, answer)
    if status == OrderStatus.FAILED:
        # All of them, for an attempt before this one may hold what this one could not.
        await give_back_all(store, attempt, "refused", numbers)
    if status != OrderStatus.FAILED or holding.is_late:
        raise AnotherDecides(f"it took too long, and is {status}")
    return Answer(answer, attempt.order, is_repeated=False)


def new_resources(
    attempt: Attempt, routing: Routing, holding: Holding, numbers: tuple[str, ...]
) -> list[Resource]:
    """Make the resources that the organization gets for held numbers."""
    return [
        Resource(
            id=new_id(),
            number=number,
            order_id=attempt.order.id,
            features=holding.features[number] & (SMS | MMS),
            routing=routing,
            created_ms=attempt.at_ms,
            updated_ms=attempt.at_ms,
        )
        for number in numbers
    ]


def hold_ms_of(settings: Settings) -> int:
    """Give how long an attempt may take, in ms."""
    return ms_of(settings.hold_seconds)
