"""What has become of carriers' feeds: `/v1/inventory/syncs`."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec

from api.authentication import requires
from api.envelope import Page, Success
from api.errors import (
    ApiError,
    Forbidden,
    IdempotencyKeyReused,
    InternalError,
    NotFound,
    RequestInProgress,
    SyncIsNotApplied,
    SyncIsNotWaiting,
    Unauthorized,
    Unavailable,
    ValidationFailed,
    documented,
)
from api.idempotency import answer_once, request_key
from api.inventory_resource import SyncView, keep_sync, sync_view
from api.paging import check_limit, page_meta
from api.parameters import MUST, IdempotencyKey, Limit, ResourceId, SyncCursor
from api.services import Services, services_of
from shared.api_keys import Scope
from shared.atomic.request_operations import Begun
from shared.feeds.rejects_csv import rejects_csv
from shared.feeds.syncs import (
    MAX_KEPT_REJECTS,
    Sync,
    SyncNotApplied,
    SyncNotWaiting,
    confirm_sync,
    list_syncs,
    read_rejects,
    read_sync,
    roll_back_sync,
)
from shared.store import Store, StoreUnavailable

CSV = "text/csv"

_READING = (Unauthorized, Forbidden, ValidationFailed, InternalError, Unavailable)
_WRITING = (*_READING, NotFound, RequestInProgress, IdempotencyKeyReused)


@get(
    "/v1/inventory/syncs",
    before_request=requires(Scope.PLATFORM_INVENTORY_READ),
    operation_id="listSyncs",
    summary="List syncs",
    tags=["Inventory"],
    response_description="The newest first.",
    responses=documented(*_READING),
)
async def list_all_syncs(
    request: Request[Any, Any, Any], cursor: SyncCursor = None, limit: Limit = 20
) -> Page[SyncView]:
    """List the syncs of all carriers; they are kept for 30 days."""
    check_limit(request)
    services = services_of(request)
    before = cursor and cursor.lower()
    if before is not None and await read_sync(services.store, before) is None:
        raise ValidationFailed({"cursor": MUST["cursor"]})
    # One more than is shown tells whether there is a next page.
    syncs, total = await list_syncs(services.store, limit + 1, before)
    shown = syncs[:limit]
    return Page(
        data=[sync_view(sync, services.profiles) for sync in shown],
        meta=page_meta(total, limit, shown[-1].id if len(syncs) > limit else None),
    )


@get(
    "/v1/inventory/syncs/{id:str}",
    before_request=requires(Scope.PLATFORM_INVENTORY_READ),
    operation_id="getSync",
    summary="Get a sync",
    tags=["Inventory"],
    response_description="The sync.",
    responses=documented(*_READING, NotFound),
)
async def get_sync(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
) -> Success[SyncView]:
    """Look at a sync: while it runs `progress` and `read` grow."""
    services = services_of(request)
    return Success(data=sync_view(await _read(services.store, id), services.profiles))


@get(
    "/v1/inventory/syncs/{id:str}/rejects",
    before_request=requires(Scope.PLATFORM_INVENTORY_READ),
    media_type=CSV,
    operation_id="getRejects",
    summary="Get a sync's rejected rows",
    tags=["Inventory"],
    responses={
        200: ResponseSpec(
            str,
            description=f"`line`, `reason` and `start` of the first {MAX_KEPT_REJECTS:,} rejected rows.",
            generate_examples=False,
            media_type=CSV,
        ),
        **documented(*_READING, NotFound),
    },
)
async def get_rejects(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
) -> Response[str]:
    """Get the rows of a feed that could not be read, as CSV that is safe to open in a spreadsheet."""
    store = services_of(request).store
    sync = await _read(store, id)
    disposition = f'attachment; filename="rejects-{sync.id}.csv"'
    return Response(
        rejects_csv(await read_rejects(store, sync.id)),
        media_type=CSV,
        headers={"Content-Disposition": disposition},
    )


@post(
    "/v1/inventory/syncs/{id:str}/confirm",
    before_request=requires(Scope.PLATFORM_INVENTORY_WRITE),
    status_code=202,
    operation_id="confirmSync",
    summary="Confirm a sync's removals",
    tags=["Inventory"],
    responses={
        202: ResponseSpec(
            Success[SyncView], description="Its removals are queued to be done.", generate_examples=False
        ),
        **documented(*_WRITING, SyncIsNotWaiting),
    },
)
async def confirm_a_sync(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Have the removals done that wait for somebody who looks at them; they are computed anew."""

    async def confirm(store: Store, sync: Sync) -> Sync:
        try:
            return await confirm_sync(store, sync)
        except SyncNotWaiting as error:
            raise SyncIsNotWaiting from error

    return await _requeue(request, id.lower(), idempotency_key, confirm)


@post(
    "/v1/inventory/syncs/{id:str}/rollback",
    before_request=requires(Scope.PLATFORM_INVENTORY_WRITE),
    status_code=202,
    operation_id="rollBackSync",
    summary="Roll a sync back",
    tags=["Inventory"],
    responses={
        202: ResponseSpec(Success[SyncView], description="It is queued to be done.", generate_examples=False),
        **documented(*_WRITING, SyncIsNotApplied),
    },
)
async def roll_back_a_sync(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Bring back what the carrier offered before its last sync; what was sold meanwhile stays sold."""

    async def roll_back(store: Store, sync: Sync) -> Sync:
        try:
            return await roll_back_sync(store, sync)
        except SyncNotApplied as error:
            raise SyncIsNotApplied from error

    return await _requeue(request, id.lower(), idempotency_key, roll_back)


async def _requeue(
    request: Request[Any, Any, Any],
    sync_id: str,
    idempotency_key: str | None,
    ask: Callable[[Store, Sync], Awaitable[Sync]],
) -> Response[bytes]:
    services = services_of(request)

    async def act(begun: Begun) -> bytes:
        sync = await _ask(services, begun, ask)
        with suppress(StoreUnavailable):
            await services.queue.wake_feed(sync.carrier)
        return keep_sync(request, sync)

    return await answer_once(request, request_key(request, idempotency_key), sync_id, act)


async def _ask(services: Services, begun: Begun, ask: Callable[[Store, Sync], Awaitable[Sync]]) -> Sync:
    sync = await _read(services.store, begun.id)
    try:
        return await ask(services.store, sync)
    except ApiError:
        # An attempt that died may have asked already, and the sync be on its way.
        if begun.is_resumed:
            return sync
        raise


async def _read(store: Store, sync_id: str) -> Sync:
    sync = await read_sync(store, sync_id.lower())
    if sync is None:
        raise NotFound
    return sync
