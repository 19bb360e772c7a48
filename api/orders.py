"""Orders of named numbers, and all orders: `/v1/phone-numbers/orders`."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import JSONBody
from msgspec import Meta, Struct

from api.authentication import requires
from api.envelope import Page, Shortage, Success
from api.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InsufficientInventory,
    InternalError,
    InvalidInput,
    NotFound,
    OrderNotCancellable,
    PayloadTooLarge,
    RequestInProgress,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    documented,
    failure_of,
    order_path,
)
from api.idempotency import answer_kept, keep, replayed, request_key
from api.number_resource import CampaignId, Label, NumberResource, Url, number_resource, routing_of
from api.paging import check_limit, page_meta
from api.parameters import Cursor, IdempotencyKey, Limit, ResourceId
from api.request_id import request_id_of
from api.services import services_of
from shared.api_keys import Scope
from shared.atomic.order_operations import OrderRef
from shared.atomic.resource_operations import NotCancellable
from shared.clock import time_of
from shared.ids import new_id
from shared.orders.departures import cancel
from shared.orders.placing import Placed, Refused, hold_ms_of, place_order
from shared.orders.records import Order, OrderStatus, list_orders, order_of, read_order
from shared.store import StoreUnavailable

_E164_PATTERN = r"^\+[1-9][0-9]{6,14}$(?!\n)"
_E164_SCHEMA = Schema(type=OpenAPIType.STRING, pattern=_E164_PATTERN, description="E.164.")

E164 = Annotated[
    str,
    Meta(
        pattern=_E164_PATTERN,
        examples=["+14155550123"],
        extra={"must": "be a number in E.164, such as +14155550123"},
    ),
]


class OrderRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which numbers are wanted, and how they are used."""

    numbers: Annotated[
        list[E164],
        Meta(
            min_length=1,
            max_length=100,
            description="1-100, none twice; of any area codes.",
            examples=[["+14155550123", "+12125550142"]],
            # Litestar takes what a list's items have to be from here only.
            extra_json_schema={"extra": {"items": _E164_SCHEMA, "unique_items": True}},
            extra={"must": "be a list of 1-100 numbers", "unique": True},
        ),
    ]
    inbound_url: Url | None = None
    status_url: Url | None = None
    label: Label | None = None
    campaign_id: CampaignId | None = None


class OrderView(Struct, frozen=True):
    """An order."""

    order_id: str
    status: Annotated[
        OrderStatus,
        Meta(description="`pending` while it is worked on or, a bulk order, waits for stock."),
    ]
    numbers: Annotated[list[str], Meta(description="E.164; of a bulk order those that it got.")]
    created_at: datetime
    updated_at: datetime


def order_view(order: Order) -> OrderView:
    """Show an order."""
    return OrderView(
        order.ref.id,
        order.status,
        list(order.numbers) if order.wish is None else numbers_got(order),
        time_of(order.created_ms),
        time_of(order.updated_ms),
    )


def numbers_got(order: Order) -> list[str]:
    """Give what an order got: nothing while it is pending, for its picks are not yet its own."""
    is_open = order.status in (OrderStatus.PENDING, OrderStatus.FAILED)
    return [] if is_open else list(order.numbers)


@post(
    "/v1/phone-numbers/orders",
    before_request=requires(Scope.NUMBERS_WRITE),
    status_code=200,
    operation_id="orderPhoneNumbers",
    summary="Order numbers",
    tags=["Orders"],
    responses={
        200: ResponseSpec(
            Success[list[NumberResource]],
            description="All are yours, in the order asked; the order is in `Location`.",
            generate_examples=False,
        ),
        **documented(
            InvalidInput,
            Unauthorized,
            Forbidden,
            InsufficientInventory,
            RequestInProgress,
            PayloadTooLarge,
            UnsupportedMediaType,
            ValidationFailed,
            IdempotencyKeyReused,
            InternalError,
            Unavailable,
        ),
    },
)
async def order_numbers(
    request: Request[Any, Any, Any], data: JSONBody[OrderRequest], idempotency_key: IdempotencyKey = None
) -> Response[bytes]:
    """Order numbers, all or nothing, over any mix of area codes.

    When one of them is not available, whoever has it, none is assigned. After 503 the outcome is not known
    yet: send the same request with the same `Idempotency-Key` again. Without a key, look at the order in
    `Location`: 404 says that nothing was ordered. With one, an earlier request may stand for another order.
    """
    services = services_of(request)
    order = OrderRef(request.auth.org_id, new_id())
    answer = await place_order(
        services.store,
        order,
        tuple(data.numbers),
        routing_of(data.inbound_url, data.status_url, data.label, data.campaign_id),
        request_key(request, idempotency_key, data),
        hold_ms_of(services.settings),
        _renderer(request),
    )
    return answer_kept(request, answer.body, is_repeated=answer.is_repeated)


def _renderer(request: Request[Any, Any, Any]) -> Callable[[Placed | Refused], bytes]:
    def render(outcome: Placed | Refused) -> bytes:
        location = order_path(outcome.order.id)
        if isinstance(outcome, Placed):
            numbers = [number_resource(resource) for resource in outcome.resources]
            return keep(request, 200, location, Success(data=numbers))
        error = InsufficientInventory(Shortage(outcome.available_count, outcome.unavailable))
        return keep(request, error.status, location, failure_of(error, request_id_of(request.scope)))

    return render


@get(
    "/v1/phone-numbers/orders",
    before_request=requires(Scope.NUMBERS_READ),
    operation_id="listOrders",
    summary="List orders",
    tags=["Orders"],
    response_description="The newest first.",
    responses=documented(Unauthorized, Forbidden, ValidationFailed, InternalError, Unavailable),
)
async def list_all_orders(
    request: Request[Any, Any, Any], cursor: Cursor = None, limit: Limit = 20
) -> Page[OrderView]:
    """List the organization's orders, bulk orders among them; they are kept for 90 days after their end."""
    check_limit(request)
    page = await list_orders(
        services_of(request).store, request.auth.org_id, int(cursor) if cursor else None, limit
    )
    return Page(
        data=[order_view(order) for order in page.orders],
        meta=page_meta(page.total, limit, page.next_cursor),
    )


@get(
    "/v1/phone-numbers/orders/{id:str}",
    before_request=requires(Scope.NUMBERS_READ),
    operation_id="getOrder",
    summary="Get an order",
    tags=["Orders"],
    response_description="The order.",
    responses=documented(Unauthorized, Forbidden, NotFound, ValidationFailed, InternalError, Unavailable),
)
async def get_order(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
) -> Success[OrderView]:
    """Look at an order of the organization."""
    order = await read_order(services_of(request).store, OrderRef(request.auth.org_id, id.lower()))
    if order is None:
        raise NotFound
    return Success(data=order_view(order))


@post(
    "/v1/phone-numbers/orders/{id:str}/cancel",
    before_request=requires(Scope.NUMBERS_WRITE),
    status_code=202,
    operation_id="cancelOrder",
    summary="Cancel an order",
    tags=["Orders"],
    responses={
        200: ResponseSpec(Success[OrderView], description="It is cancelled.", generate_examples=False),
        202: ResponseSpec(
            Success[OrderView],
            description="The numbers are not yours any more, and are on their way back.",
            generate_examples=False,
        ),
        **documented(
            Unauthorized,
            Forbidden,
            NotFound,
            OrderNotCancellable,
            ValidationFailed,
            IdempotencyKeyReused,
            InternalError,
            Unavailable,
        ),
    },
)
async def cancel_an_order(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    idempotency_key: IdempotencyKey = None,
) -> Response[Success[OrderView]]:
    """Give back what an order brought, within 24 hours; or end a bulk order that waits.

    The organization loses the numbers before the answer; a worker makes them available again. A number of the
    order that was released before stays where it is.
    """
    services = services_of(request)
    ref = OrderRef(request.auth.org_id, id.lower())
    cancelled = await cancel(services.store, ref, services.settings, request_key(request, idempotency_key))
    if cancelled is None:
        raise NotFound
    if isinstance(cancelled, NotCancellable):
        raise OrderNotCancellable
    if cancelled.status == OrderStatus.CANCELLING:
        # What is to be done is written down: without the wake-up the sweep does it.
        with suppress(StoreUnavailable):
            await services.queue.wake_cancel(ref)
    order = order_of(ref, cancelled.record)
    if order is None:
        raise NotFound
    return Response(
        Success(data=order_view(order)),
        status_code=200 if cancelled.status == OrderStatus.CANCELLED else 202,
        headers={"Location": order_path(ref.id)} | replayed(is_repeated=cancelled.is_repeated),
    )
