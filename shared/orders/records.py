"""The record of an order."""

from enum import StrEnum

from msgspec import Struct

from shared import store_keys
from shared.atomic.order_operations import OrderRef, Routing
from shared.phone_number import NumberType
from shared.store import Store, with_scores


class OrderStatus(StrEnum):
    """How far an order has come."""

    PENDING = "pending"
    """Somebody works on it, or a bulk order waits for stock."""
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLING = "cancelling"
    """Its numbers are lost to the organization, and on their way back."""
    CANCELLED = "cancelled"


class Wish(Struct, frozen=True):
    """What a bulk order wants: so many numbers of its own choice."""

    quantity: int
    number_type: NumberType | None = None
    area_code: str | None = None
    pattern: str = ""


class Order(Struct, frozen=True):
    """The record of an order; times are Unix ms."""

    ref: OrderRef
    status: OrderStatus
    attempt: int
    """The latest one."""
    created_ms: int
    updated_ms: int
    deadline_ms: int
    """Until then somebody has it in hand, while it is pending; 0 when it waits."""
    numbers: tuple[str, ...]
    """E.164, in the order asked; of a pending bulk order those that an attempt may hold."""
    routing: Routing
    wish: Wish | None
    """None for an order of named numbers."""
    wait_until_ms: int


def fields_of(
    numbers: tuple[str, ...], routing: Routing, wish: Wish | None = None, wait_ms: int = 0
) -> dict[str, str | int]:
    """Give the fields with which an order begins."""
    fields: dict[str, str | int | None] = {
        "numbers": " ".join(numbers),
        "inbound_url": routing.inbound_url,
        "status_url": routing.status_url,
        "label": routing.label,
        "campaign_id": routing.campaign_id,
    }
    if wish is not None:
        fields |= {
            "quantity": wish.quantity,
            "number_type": wish.number_type,
            "area_code": wish.area_code,
            "pattern": wish.pattern,
            "wait_ms": wait_ms,
        }
    return {name: value for name, value in fields.items() if value is not None}


async def read_order(store: Store, ref: OrderRef) -> Order | None:
    """Give an order of an organization, None when it has none of this id; raises `StoreUnavailable`."""
    return order_of(ref, await store.execute("HGETALL", ref.key))


async def read_orders(store: Store, refs: list[OrderRef]) -> list[Order | None]:
    """Give several orders at once; raises `StoreUnavailable`."""
    records = await store.execute_many([("HGETALL", ref.key) for ref in refs])
    return [order_of(ref, record) for ref, record in zip(refs, records, strict=True)]


class OrderPage(Struct, frozen=True):
    """A part of the list of an organization's orders, newest first."""

    orders: list[Order]
    total: int
    next_cursor: int | None
    """Where the next page begins; None after the last."""


async def list_orders(store: Store, organization: str, cursor: int | None, limit: int) -> OrderPage:
    """Give up to `limit` orders that came before the place `cursor` in the organization's sequence.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    key = store_keys.orders(organization)
    last = "+inf" if cursor is None else f"({cursor}"
    total, flat = await store.execute_many(
        [
            ("ZCARD", key),
            ("ZRANGE", key, last, "-inf", "BYSCORE", "REV", "LIMIT", 0, limit + 1, "WITHSCORES"),
        ]
    )
    places = with_scores(flat)
    chosen = places[:limit]
    orders = await read_orders(store, [OrderRef(organization, order_id.decode()) for order_id, _ in chosen])
    next_cursor = chosen[-1][1] if len(places) > limit else None
    return OrderPage([order for order in orders if order is not None], total, next_cursor)


async def find_owned(store: Store, organization: str, numbers: tuple[str, ...]) -> list[str]:
    """Give the ids of the resources that the organization has of these numbers; raises `StoreUnavailable`."""
    if not numbers:
        return []
    ids = await store.execute("HMGET", store_keys.owned(organization), *numbers)
    return [resource_id.decode() for resource_id in ids if resource_id]


def order_of(ref: OrderRef, record: dict[bytes, bytes]) -> Order | None:
    """Read the record of an order; None when it is empty."""
    if not record:
        return None
    fields = {name.decode(): value.decode() for name, value in record.items()}
    return Order(
        ref=ref,
        status=OrderStatus(fields["status"]),
        attempt=int(fields["attempt"]),
        created_ms=int(fields["created_ms"]),
        updated_ms=int(fields["updated_ms"]),
        deadline_ms=int(fields["deadline_ms"]),
        numbers=tuple(fields["numbers"].split()),
        routing=Routing(
            *(fields.get(name) for name in ("inbound_url", "status_url", "label", "campaign_id"))
        ),
        wish=_wish_of(fields),
        wait_until_ms=int(fields["created_ms"]) + int(fields.get("wait_ms", 0)),
    )


def _wish_of(fields: dict[str, str]) -> Wish | None:
    if "quantity" not in fields:
        return None
    number_type = fields.get("number_type")
    return Wish(
        quantity=int(fields["quantity"]),
        number_type=NumberType(number_type) if number_type else None,
        area_code=fields.get("area_code"),
        pattern=fields["pattern"],
    )
