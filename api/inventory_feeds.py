"""Bringing carriers' feeds: `/v1/inventory/feeds`."""

from contextlib import suppress
from typing import Annotated, Any, Final

from litestar import Request, Response, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta, Struct

from api.authentication import requires
from api.envelope import Success
from api.errors import (
    FeedIncomplete,
    FeedOverLimit,
    FeedTooSlow,
    Forbidden,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RequestInProgress,
    SpoolUnavailable,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    documented,
)
from api.idempotency import answer_once, request_key, with_content
from api.inventory_resource import SyncView, keep_sync
from api.inventory_upload import open_spool, receive, spool_errors, wanted_digest
from api.parameters import Carrier, Confirm, ContentDigest, DryRun, IdempotencyKey, ModeOption
from api.services import Services, services_of
from shared.api_keys import Scope
from shared.atomic.feed_operations import TooManyCarriers
from shared.atomic.request_operations import Begun
from shared.feeds.profiles import Mode
from shared.feeds.syncs import Sync, SyncOptions, SyncState, new_sync_id, queue_feed, read_sync
from shared.store import StoreUnavailable

_QUEUED = ResponseSpec(
    Success[SyncView],
    description="It is queued behind the carrier's other syncs; look at it where `Location` says.",
    generate_examples=False,
)
_WRITING = (
    Unauthorized,
    Forbidden,
    RequestInProgress,
    ValidationFailed,
    IdempotencyKeyReused,
    InternalError,
    Unavailable,
)


class SyncRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How a feed is taken; nothing in it is needed."""

    mode: (
        Annotated[
            Mode,
            Meta(
                description="What the feed says; without it what the carrier's profile has.",
                examples=[Mode.SNAPSHOT],
                extra={"must": "be snapshot or delta"},
            ),
        ]
        | None
    ) = None
    dry_run: (
        Annotated[
            bool,
            Meta(
                description="Show what would change, and change nothing.",
                examples=[False],
                extra={"must": "be true or false"},
            ),
        ]
        | None
    ) = None
    confirm: (
        Annotated[
            bool,
            Meta(
                description="You have looked at the feed: what it removes passes the guards.",
                examples=[False],
                extra={"must": "be true or false"},
            ),
        ]
        | None
    ) = None


_AS_CONFIGURED: Final = SyncRequest()


@post(
    "/v1/inventory/feeds/{carrier:str}/syncs",
    before_request=requires(Scope.PLATFORM_INVENTORY_WRITE),
    status_code=202,
    operation_id="startSync",
    summary="Fetch a carrier's feed",
    tags=["Inventory"],
    responses={
        202: _QUEUED,
        **documented(*_WRITING, InvalidInput, NotFound, PayloadTooLarge, UnsupportedMediaType),
    },
)
async def start_sync(
    request: Request[Any, Any, Any],
    carrier: Carrier,
    data: JSONBody[SyncRequest] = _AS_CONFIGURED,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Fetch the feed from the source in the carrier's profile, and bring the inventory in step with it.

    404 for a carrier without a profile, or with one that names no source. When there are as many carriers as
    the service has room for, a new one is 422.
    """
    services = services_of(request)
    options = SyncOptions(data.mode, bool(data.dry_run), bool(data.confirm))

    async def start(begun: Begun) -> bytes:
        profile = services.profiles.by_name.get(carrier)
        if profile is None or profile.source is None:
            raise NotFound
        sync = await _known(services, begun) or await _queue(services, begun, carrier, options, None)
        return keep_sync(request, sync)

    return await answer_once(request, request_key(request, idempotency_key, data), new_sync_id(), start)


@put(
    "/v1/inventory/feeds/{carrier:str}",
    before_request=requires(Scope.PLATFORM_INVENTORY_WRITE),
    status_code=202,
    # The carrier's profile has the limit; nothing of the body is kept in memory.
    request_max_body_size=None,
    operation_id="uploadFeed",
    summary="Upload a carrier's feed",
    tags=["Inventory"],
    responses={
        202: _QUEUED,
        **documented(*_WRITING, FeedIncomplete, FeedTooSlow, FeedOverLimit, SpoolUnavailable),
    },
)
async def upload_feed(
    request: Request[Any, Any, Any],
    carrier: Carrier,
    mode: ModeOption = None,
    dry_run: DryRun = False,
    confirm: Confirm = False,
    content_digest: ContentDigest = None,  # noqa: ARG001 - for the document; all such headers count
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Bring the inventory in step with the body: the feed as the carrier wrote it, of any Content-Type.

    The carrier's profile says how it is read; one without a profile uses the plain format. A body that does
    not agree with its `Content-Digest` is refused, and so is one that does not come whole. With an
    `Idempotency-Key` the content is a part of the request. When there are as many carriers as the service has
    room for, a new one is 422.
    """
    services = services_of(request)
    key, wanted = request_key(request, idempotency_key), wanted_digest(request)
    spool = await open_spool(services)
    # Named for itself until it is known which sync it belongs to.
    upload_id = new_sync_id()
    try:
        limit = services.profiles.of(carrier).limits.bytes
        sha256 = await receive(request, spool, upload_id, limit, wanted)

        async def start(begun: Begun) -> bytes:
            sync = await _known(services, begun)
            if sync is None:
                with spool_errors():
                    spool.path_of(upload_id).replace(spool.path_of(begun.id))
                options = SyncOptions(mode, dry_run, confirm)
                try:
                    sync = await _queue(services, begun, carrier, options, sha256)
                except ValidationFailed:
                    spool.remove(begun.id)
                    raise
            return keep_sync(request, sync)

        return await answer_once(request, with_content(key, sha256), new_sync_id(), start)
    finally:
        spool.remove(upload_id)


async def _known(services: Services, begun: Begun) -> Sync | None:
    """Give the sync that an attempt before has brought on its way.

    One that is still to begin may never have come into the carrier's queue: to queue it again does no harm.
    """
    sync = await read_sync(services.store, begun.id) if begun.is_resumed else None
    return None if sync is None or sync.state is SyncState.QUEUED else sync


async def _queue(
    services: Services, begun: Begun, carrier: str, options: SyncOptions, sha256: str | None
) -> Sync:
    try:
        sync = await queue_feed(services.store, begun.id, carrier, options, sha256=sha256)
    except TooManyCarriers as error:
        raise ValidationFailed({"carrier": "is new, and there is no room for another"}) from error
    # The sync is in the queue: a wake-up that is lost is made up for by the worker's sweep.
    with suppress(StoreUnavailable):
        await services.queue.wake_feed(carrier)
    return sync
