"""An organization's orders: the typed wrappers of their scripts; each is its script's only caller."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from shared import store_keys
from shared.atomic.requests import RequestKey, RequestKeyReused, fingerprint_of, request_key
from shared.atomic.script import Script
from shared.store import Store

_OPEN_ORDER = Script("open_order")
_TAKE_ORDER = Script("take_order")
_PICK_NUMBERS = Script("pick_numbers")
_LET_WAIT = Script("let_wait")
_COMMIT_ORDER = Script("commit_order")
_FAIL_ORDER = Script("fail_order")
_END_CANCEL = Script("end_cancel")
_FORGET_ORDER = Script("forget_order")
_KEEP_ANSWER = Script("keep_answer")

ORDER_KEPT_MS = store_keys.ORDER_SECONDS * 1000


class OrderRef(NamedTuple):
    """Where an order is."""

    organization: str
    id: str

    @property
    def key(self) -> str:
        """Give the key of its record."""
        return store_keys.order(self.organization, self.id)


class Attempt(NamedTuple):
    """An attempt at an order, in the hand of whoever got it until its deadline."""

    order: OrderRef
    number: int
    at_ms: int
    """When it began."""
    deadline_ms: int


class Known(NamedTuple):
    """The request came before, and has this order."""

    order: OrderRef
    answer: bytes | None
    """None while the outcome is not known."""


class Busy(NamedTuple):
    """Somebody else works on the order."""

    for_ms: int


class Ended(NamedTuple):
    """The order is not pending any more."""

    order: OrderRef
    status: str


class Routing(Struct, frozen=True):
    """Where a number's messages go, and what its owner calls it; None is not set."""

    inbound_url: str | None = None
    status_url: str | None = None
    label: str | None = None
    campaign_id: str | None = None


class NewResource(NamedTuple):
    """A number that an organization gets."""

    number: str
    id: str
    features: int


async def open_order(
    store: Store,
    order: OrderRef,
    hold_ms: int,
    request: RequestKey | None,
    fields: Mapping[str, str | int],
    instead_of: OrderRef | None = None,
) -> Attempt | Known:
    """Write down a new order with its first attempt.

    It may take the place of one that the request's key stands for, `instead_of`, which failed without an
    answer.

    Raises:
        RequestKeyReused: nothing was written.
    """
    keys = [
        order.key,
        store_keys.orders(order.organization),
        store_keys.due(order.organization),
        store_keys.sequence(order.organization),
        request_key(order.organization, request),
    ]
    flat = [item for field in fields.items() for item in field]
    tag, *values = await _OPEN_ORDER.run(
        store,
        keys,
        order.id,
        hold_ms,
        fingerprint_of(request),
        store_keys.IDEMPOTENCY_SECONDS,
        instead_of.id if instead_of else "",
        *flat,
    )
    if tag == b"reused":
        raise RequestKeyReused
    if tag == b"known":
        return Known(order._replace(id=values[0].decode()), values[1])
    return Attempt(order, 1, int(values[0]), int(values[1]))


async def take_order(store: Store, order: OrderRef, hold_ms: int) -> Attempt | Busy | Ended:
    """Begin a new attempt at a pending order that nobody has in hand."""
    keys = [order.key, store_keys.due(order.organization)]
    tag, *values = await _TAKE_ORDER.run(store, keys, order.id, hold_ms)
    if tag == b"busy":
        return Busy(values[0])
    if tag == b"ended":
        return Ended(order, values[0].decode())
    return Attempt(order, *map(int, values))


async def pick_numbers(
    store: Store, attempt: Attempt, hold_ms: int, numbers: Iterable[str]
) -> Attempt | None:
    """Write down what a bulk order is going to hold; the attempt as it is then, None when overtaken."""
    order = attempt.order
    keys = [order.key, store_keys.due(order.organization)]
    deadline_ms = await _PICK_NUMBERS.run(store, keys, order.id, attempt.number, hold_ms, " ".join(numbers))
    return attempt._replace(deadline_ms=int(deadline_ms)) if deadline_ms else None


async def let_wait(store: Store, attempt: Attempt, request: RequestKey | None, answer: bytes) -> bool:
    """Leave a bulk order until there is stock; False when overtaken."""
    order = attempt.order
    keys = [
        order.key,
        store_keys.due(order.organization),
        store_keys.waiting(order.organization),
        request_key(order.organization, request),
    ]
    kept = answer if request else b""
    return bool(await _LET_WAIT.run(store, keys, order.id, attempt.number, kept))


async def commit_order(
    store: Store,
    attempt: Attempt,
    request: RequestKey | None,
    answer: bytes,
    routing: Routing,
    resources: Sequence[NewResource],
) -> str:
    """Complete an order all of whose holds have succeeded; give the status that it has then."""
    order = attempt.order
    keys = [
        order.key,
        store_keys.due(order.organization),
        store_keys.waiting(order.organization),
        store_keys.numbers(order.organization),
        store_keys.owned(order.organization),
        store_keys.sequence(order.organization),
        request_key(order.organization, request),
        *(store_keys.resource(order.organization, resource.id) for resource in resources),
    ]
    status = await _COMMIT_ORDER.run(
        store,
        keys,
        order.id,
        attempt.number,
        ORDER_KEPT_MS,
        answer if request else b"",
        attempt.at_ms,
        routing.inbound_url or "",
        routing.status_url or "",
        routing.label or "",
        routing.campaign_id or "",
        *(item for resource in resources for item in resource),
    )
    return str(status.decode())


async def fail_order(
    store: Store, attempt: Attempt, request: RequestKey | None, reason: str, answer: bytes
) -> str:
    """End an order that cannot be filled; give the status that it has then."""
    order = attempt.order
    keys = [
        order.key,
        store_keys.due(order.organization),
        store_keys.waiting(order.organization),
        request_key(order.organization, request),
    ]
    status = await _FAIL_ORDER.run(
        store, keys, order.id, attempt.number, ORDER_KEPT_MS, reason, answer if request else b""
    )
    return str(status.decode())


async def end_cancel(store: Store, order: OrderRef) -> bool:
    """Mark an order as cancelled once all its numbers have been moved."""
    keys = [order.key, store_keys.departures(order.organization), store_keys.due(order.organization)]
    return bool(await _END_CANCEL.run(store, keys, order.id, ORDER_KEPT_MS))


async def forget_order(store: Store, order: OrderRef) -> bool:
    """Forget an order that ended long ago."""
    keys = [order.key, store_keys.orders(order.organization), store_keys.due(order.organization)]
    return bool(await _FORGET_ORDER.run(store, keys, order.id, ORDER_KEPT_MS))


async def keep_answer(store: Store, order: OrderRef, request: RequestKey | None, answer: bytes) -> bytes:
    """Keep an answer that was found after the order had gone on without its request; give the one kept."""
    keys = [request_key(order.organization, request)]
    kept: bytes = await _KEEP_ANSWER.run(store, keys, order.id, answer)
    return kept
