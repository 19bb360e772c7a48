"""Bulk orders: so many numbers of the service's choice, `/v1/phone-numbers/bulk`."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta, Struct

from api.authentication import requires
from api.envelope import Success
from api.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RequestInProgress,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    documented,
    order_path,
)
from api.idempotency import answer_kept, keep, request_key
from api.number_resource import CampaignId, Label, Url, routing_of
from api.orders import numbers_got
from api.parameters import IdempotencyKey, ResourceId
from api.search import AreaCode, Pattern, WantedType
from api.services import services_of
from shared.api_keys import Scope
from shared.atomic.order_operations import OrderRef, keep_answer
from shared.ids import new_id
from shared.orders.bulk import BulkRequest, Waiting, place_bulk_order
from shared.orders.placing import Answer, Placed
from shared.orders.records import OrderStatus, Wish, read_order

BulkQuantity = Annotated[
    int,
    Meta(
        ge=1,
        le=1000,
        description="How many numbers, all or none.",
        examples=[100],
        extra={"must": "be an integer from 1 to 1000"},
    ),
]
Mode = Annotated[
    Literal["atomic"],
    Meta(
        description="All or nothing, also when it is left out; there is no other mode.",
        examples=["atomic"],
        extra={"must": "be atomic"},
    ),
]


class BulkOrderRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How many numbers are wanted, which, and how they are used."""

    quantity: BulkQuantity
    number_type: WantedType | None = None
    area_code: AreaCode | None = None
    pattern: Pattern | None = None
    inbound_url: Url | None = None
    status_url: Url | None = None
    label: Label | None = None
    campaign_id: CampaignId | None = None
    mode: Mode | None = None


class BulkOrder(Struct, frozen=True):
    """How far a bulk order has come."""

    order_id: Annotated[str | None, Meta(description="To be looked at again; null when there is no need.")]
    status: Annotated[
        Literal["pending", "complete", "partial", "failed", "cancelling", "cancelled"],
        Meta(description="`partial` is never used: an order is filled all at once."),
    ]
    quantity: int
    assigned_count: int
    pending_count: int
    failed_count: int
    assigned_numbers: Annotated[list[str], Meta(description="E.164.")]


@post(
    "/v1/phone-numbers/bulk",
    before_request=requires(Scope.NUMBERS_WRITE),
    status_code=200,
    operation_id="orderInBulk",
    summary="Order numbers in bulk",
    tags=["Orders"],
    responses={
        200: ResponseSpec(
            Success[BulkOrder],
            description="Filled at once; the order is in `Location`.",
            generate_examples=False,
        ),
        202: ResponseSpec(
            Success[BulkOrder],
            description="It waits for stock; look at it again where `Location` says.",
            generate_examples=False,
        ),
        **documented(
            InvalidInput,
            Unauthorized,
            Forbidden,
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
async def order_in_bulk(
    request: Request[Any, Any, Any],
    data: JSONBody[BulkOrderRequest],
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Order so many numbers of the service's choice, all or nothing.

    When there are not enough in stock the order waits, up to 24 hours, until a worker can fill it whole.
    """
    services = services_of(request)
    ref = OrderRef(request.auth.org_id, new_id())
    wish = Wish(data.quantity, data.number_type, data.area_code, data.pattern or "")
    routing = routing_of(data.inbound_url, data.status_url, data.label, data.campaign_id)
    asked = BulkRequest(wish, routing, request_key(request, idempotency_key, data), _renderer(request, wish))
    answer = await place_bulk_order(services.store, services.search, services.settings, ref, asked)
    if not isinstance(answer, Answer):
        # An earlier request with this key died before it could answer; the order has gone on without it.
        order = await read_order(services.store, answer.order)
        if order is None:
            raise Unavailable
        found = keep_bulk_order(request, order.ref, order.status, wish, numbers_got(order))
        kept = await keep_answer(services.store, order.ref, asked.request, found)
        return answer_kept(request, kept, is_repeated=kept != found)
    return answer_kept(request, answer.body, is_repeated=answer.is_repeated)


def _renderer(request: Request[Any, Any, Any], wish: Wish) -> Callable[[Placed | Waiting], bytes]:
    def render(outcome: Placed | Waiting) -> bytes:
        if isinstance(outcome, Waiting):
            return keep_bulk_order(request, outcome.order, OrderStatus.PENDING, wish, [])
        numbers = [resource.number for resource in outcome.resources]
        return keep_bulk_order(request, outcome.order, OrderStatus.COMPLETE, wish, numbers)

    return render


def keep_bulk_order(
    request: Request[Any, Any, Any], ref: OrderRef, status: OrderStatus, wish: Wish, numbers: list[str]
) -> bytes:
    """Encode the answer to a bulk order: 200 when it is filled, else 202 and where to look again."""
    if status is OrderStatus.COMPLETE:
        filled = bulk_order(ref.id, status, wish, numbers)
        body = msgspec.structs.replace(filled, order_id=None)
        return keep(request, 200, order_path(ref.id), Success(data=body))
    body = bulk_order(ref.id, status, wish, numbers)
    return keep(request, 202, f"/v1/phone-numbers/bulk/{ref.id}", Success(data=body))


def bulk_order(order_id: str, status: OrderStatus, wish: Wish, numbers: list[str]) -> BulkOrder:
    """Show a bulk order; its counts add up to its quantity."""
    is_pending = status is OrderStatus.PENDING
    got = wish.quantity if status is OrderStatus.COMPLETE else 0
    return BulkOrder(
        order_id=order_id,
        status=status.value,
        quantity=wish.quantity,
        assigned_count=got,
        pending_count=wish.quantity if is_pending else 0,
        failed_count=0 if is_pending else wish.quantity - got,
        assigned_numbers=numbers if got else [],
    )


@get(
    "/v1/phone-numbers/bulk/{id:str}",
    before_request=requires(Scope.NUMBERS_READ),
    operation_id="getBulkOrder",
    summary="Get a bulk order",
    tags=["Orders"],
    response_description="The bulk order.",
    responses=documented(Unauthorized, Forbidden, NotFound, ValidationFailed, InternalError, Unavailable),
)
async def get_bulk_order(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
) -> Success[BulkOrder]:
    """Look at a bulk order; `complete`, `failed` and `cancelled` are final."""
    order = await read_order(services_of(request).store, OrderRef(request.auth.org_id, id.lower()))
    if order is None or order.wish is None:
        raise NotFound
    return Success(data=bulk_order(order.ref.id, order.status, order.wish, numbers_got(order)))
