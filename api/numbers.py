"""The numbers that an organization has: `/v1/phone-numbers`."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from api.authentication import Connection, requires
from api.envelope import Page, Success
from api.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    documented,
)
from api.idempotency import replayed, request_key
from api.json_body import PatchBody
from api.json_response import JsonResponse
from api.number_resource import CampaignId, Label, NumberResource, UrlOrNothing, number_resource
from api.paging import check_limit, page_meta
from api.parameters import (
    UUID_PATTERN,
    CampaignFilter,
    Cursor,
    IdempotencyKey,
    Limit,
    ResourceId,
    SearchFilter,
    TypeFilter,
)
from api.services import services_of
from shared.api_keys import Scope
from shared.atomic.resource_operations import patch_number
from shared.orders.departures import release
from shared.orders.resources import Filter, list_resources, read_resource, resource_of

ToCarrier = Annotated[
    bool,
    QueryParameter(
        description="Back to its carrier: it leaves the inventory. Needs `platform:inventory:write` too."
    ),
]
_UUID_SCHEMA = Schema(type=OpenAPIType.STRING, pattern=UUID_PATTERN, description="A UUID.")
_READING = (Unauthorized, Forbidden, ValidationFailed, InternalError, Unavailable)
_WRITING_A_BODY = (InvalidInput, PayloadTooLarge, UnsupportedMediaType, IdempotencyKeyReused)


class NumberChanges(PatchBody, frozen=True, forbid_unknown_fields=True):
    """New routing; what is absent or null stays, an empty text clears."""

    inbound_url: UrlOrNothing | None = None
    status_url: UrlOrNothing | None = None
    label: Label | None = None
    campaign_id: CampaignId | None = None


class ReleasedNumber(Struct, frozen=True):
    """The number is not yours any more."""

    status: Literal["released"] = "released"


class ReleaseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which numbers are released."""

    ids: Annotated[
        list[Annotated[str, Meta(pattern=UUID_PATTERN, extra={"must": "be a UUID"})]],
        Meta(
            min_length=1,
            max_length=100,
            description="Ids of number resources, 1-100; one that comes again counts once.",
            examples=[["01932c07-2c4f-7000-8000-000000000001"]],
            # Litestar takes what a list's items have to be from here only.
            extra_json_schema={"extra": {"items": _UUID_SCHEMA}},
            extra={"must": "be a list of 1-100 UUIDs"},
        ),
    ]


class ReleaseReport(Struct, frozen=True):
    """What has become of each id; together they are all that were sent."""

    released: list[str]
    unknown: Annotated[list[str], Meta(description="None of yours.")]
    already_released: Annotated[list[str], Meta(description="Yours within the last 30 days.")]


@get(
    "/v1/phone-numbers",
    before_request=requires(Scope.NUMBERS_READ),
    operation_id="listPhoneNumbers",
    summary="List your numbers",
    tags=["Phone numbers"],
    response_description="The newest first.",
    responses=documented(*_READING),
)
async def list_numbers(
    request: Request[Any, Any, Any],
    cursor: Cursor = None,
    limit: Limit = 20,
    number_type: TypeFilter = None,
    campaign_id: CampaignFilter = None,
    search: SearchFilter = None,
) -> Response[Page[NumberResource]]:
    """List what the organization has, the newest first.

    Pages neither skip nor repeat a number while others come and go: follow `meta.next_cursor`.
    """
    check_limit(request)
    # An unescaped + arrives as a space, and no number has one.
    wanted = Filter(number_type, campaign_id and campaign_id.lower(), (search or "").replace(" ", "+"))
    page = await list_resources(
        services_of(request).store, request.auth.org_id, wanted, int(cursor) if cursor else None, limit
    )
    shown = Page(
        data=[number_resource(resource) for resource in page.resources],
        meta=page_meta(page.total, limit, page.next_cursor),
    )
    return JsonResponse(msgspec.json.encode(shown))


@get(
    "/v1/phone-numbers/{id:str}",
    before_request=requires(Scope.NUMBERS_READ),
    operation_id="getPhoneNumber",
    summary="Get one of your numbers",
    tags=["Phone numbers"],
    response_description="The number.",
    responses=documented(*_READING, NotFound),
)
async def get_number(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
) -> Success[NumberResource]:
    """Look at a number of the organization; 404 once it is released."""
    resource = await read_resource(services_of(request).store, request.auth.org_id, id.lower())
    if resource is None:
        raise NotFound
    return Success(data=number_resource(resource))


@patch(
    "/v1/phone-numbers/{id:str}",
    before_request=requires(Scope.NUMBERS_WRITE),
    operation_id="changePhoneNumber",
    summary="Change a number's routing",
    tags=["Phone numbers"],
    responses={
        200: ResponseSpec(
            Success[NumberResource], description="The number as it is now.", generate_examples=False
        ),
        **documented(*_READING, NotFound, *_WRITING_A_BODY),
    },
)
async def change_number(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    data: JSONBody[NumberChanges],
    idempotency_key: IdempotencyKey = None,
) -> Response[Success[NumberResource]]:
    """Change where a number's messages go and what it is called."""
    asked = {
        "inbound_url": data.inbound_url,
        "status_url": data.status_url,
        "label": data.label,
        "campaign_id": data.campaign_id and data.campaign_id.lower(),
    }
    patched = await patch_number(
        services_of(request).store,
        request.auth.org_id,
        id.lower(),
        {field: value for field, value in asked.items() if value is not None},
        request_key(request, idempotency_key, data),
    )
    resource = patched and resource_of(id.lower(), patched.record)
    if patched is None or resource is None:
        raise NotFound
    return Response(
        Success(data=number_resource(resource)), headers=replayed(is_repeated=patched.is_repeated)
    )


def _asks_to_return(connection: Connection) -> bool:
    # However often it is given: what a guard lets pass the handler must not take for true.
    values = connection.query_params.getall("return_to_carrier", [])
    return any(value.lower() not in ("false", "0") for value in values)


def _may_return(connection: Connection) -> None:
    """Refuse `return_to_carrier` to who may not manage the inventory."""
    if _asks_to_return(connection) and Scope.PLATFORM_INVENTORY_WRITE not in connection.auth.scopes:
        raise Forbidden


@delete(
    "/v1/phone-numbers/{id:str}",
    before_request=requires(Scope.NUMBERS_WRITE, check=_may_return),
    status_code=200,
    operation_id="releasePhoneNumber",
    summary="Release a number",
    tags=["Phone numbers"],
    responses={
        200: ResponseSpec(
            Success[ReleasedNumber], description="It is not yours any more.", generate_examples=False
        ),
        **documented(*_READING, NotFound, IdempotencyKeyReused),
    },
)
async def release_number(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    return_to_carrier: ToCarrier = False,
    idempotency_key: IdempotencyKey = None,
) -> Response[Success[ReleasedNumber]]:
    """Give a number up: it is in quarantine at once, and available to others after 45 days."""
    services = services_of(request)
    report = await release(
        services.store,
        request.auth.org_id,
        [id.lower()],
        services.settings,
        request_key(request, idempotency_key),
        to_carrier=return_to_carrier,
        keep_only_a_release=True,
    )
    if not report.released:
        raise NotFound
    return Response(Success(data=ReleasedNumber()), headers=replayed(is_repeated=report.is_repeated))


def _returns_nothing(connection: Connection) -> None:
    """Refuse `return_to_carrier` in bulk, to everybody."""
    if _asks_to_return(connection):
        raise Forbidden


@post(
    "/v1/phone-numbers/bulk/release",
    before_request=requires(Scope.NUMBERS_WRITE, check=_returns_nothing),
    status_code=200,
    operation_id="releasePhoneNumbers",
    summary="Release numbers",
    tags=["Phone numbers"],
    responses={
        200: ResponseSpec(
            Success[ReleaseReport], description="What has become of each id.", generate_examples=False
        ),
        **documented(*_READING, *_WRITING_A_BODY),
    },
)
async def release_in_bulk(
    request: Request[Any, Any, Any],
    data: JSONBody[ReleaseRequest],
    idempotency_key: IdempotencyKey = None,
) -> Response[Success[ReleaseReport]]:
    """Give numbers up, as `DELETE` does one; `return_to_carrier=true` is refused here."""
    services = services_of(request)
    report = await release(
        services.store,
        request.auth.org_id,
        list(dict.fromkeys(one.lower() for one in data.ids)),
        services.settings,
        request_key(request, idempotency_key, data),
    )
    answer = ReleaseReport(report.released, report.unknown, report.already_released)
    return Response(Success(data=answer), headers=replayed(is_repeated=report.is_repeated))
