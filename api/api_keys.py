"""Keys of the API: `/v1/api-keys`."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from api.api_key_resource import KeyRequest, KeyView, expiry_of, key_view, scopes_of
from api.authentication import requires
from api.envelope import Page, Success
from api.errors import (
    ApiKeyNotLive,
    Forbidden,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RequestInProgress,
    TooManyApiKeys,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    documented,
)
from api.idempotency import ToldOnce, answer_once, keep, request_key
from api.paging import check_limit, page_meta
from api.parameters import IdempotencyKey, IncludeRevoked, KeyCursor, Limit, ResourceId
from api.request_id import request_id_of
from api.services import services_of
from shared.api_keys import (
    ApiKey,
    Scope,
    Wanted,
    create_api_key,
    list_api_keys,
    read_api_key,
    revoke_api_key,
    rotate_api_key,
)
from shared.atomic.key_operations import Actor, Attempt, KeyIsDead, KeysAreFull
from shared.atomic.request_operations import Begun
from shared.atomic.requests import RequestKey
from shared.ids import new_id
from shared.key_secrets import new_secret
from shared.rate_limits import Limited

_PATH: Final = "/v1/api-keys"
_READING = (Unauthorized, Forbidden, ValidationFailed, InternalError, Unavailable)
_WRITING = (*_READING, RequestInProgress, IdempotencyKeyReused)


@post(
    _PATH,
    before_request=requires(Scope.APIKEYS_WRITE, Limited.KEYS),
    status_code=201,
    operation_id="createApiKey",
    summary="Create an API key",
    tags=["API keys"],
    responses={
        201: ResponseSpec(
            Success[KeyView],
            description="The key; `plaintext` is its secret, which is not shown again.",
            generate_examples=False,
        ),
        **documented(
            *_WRITING,
            InvalidInput,
            PayloadTooLarge,
            UnsupportedMediaType,
            TooManyApiKeys,
        ),
    },
)
async def create_key(
    request: Request[Any, Any, Any], data: JSONBody[KeyRequest], idempotency_key: IdempotencyKey = None
) -> Response[bytes]:
    """Make a key of your organization that may do no more than yours.

    When the request comes again with its `Idempotency-Key` the answer comes without the secret; after 503
    send it again, and a key that was made meanwhile gets another secret, which is shown.
    """
    services = services_of(request)
    scopes = scopes_of(data.scopes)
    _check_rights(request, scopes)
    repeatable = request_key(request, idempotency_key, data)

    async def create(begun: Begun) -> ToldOnce:
        wanted = Wanted(scopes, data.label, await expiry_of(services.store, data.expires_at))
        secret, actor = new_secret(), _actor(request, repeatable, begun)
        try:
            key = await create_api_key(
                services.store,
                request.auth.org_id,
                wanted,
                secret,
                services.settings.key_pepper,
                begun.id,
                actor,
            )
        except KeysAreFull as error:
            raise TooManyApiKeys from error
        return _told_once(request, HTTPStatus.CREATED, key, secret)

    return await answer_once(request, repeatable, new_id(), create)


@get(
    _PATH,
    before_request=requires(Scope.APIKEYS_READ),
    operation_id="listApiKeys",
    summary="List your API keys",
    tags=["API keys"],
    response_description="The newest first.",
    responses=documented(*_READING),
)
async def list_keys(
    request: Request[Any, Any, Any],
    cursor: KeyCursor = None,
    limit: Limit = 50,
    include_revoked: IncludeRevoked = True,
) -> Page[KeyView]:
    """List the keys of your organization; pages neither skip nor repeat one while others come and go."""
    check_limit(request)
    keys = await list_api_keys(services_of(request).store, request.auth.org_id)
    listed = [key for key in keys if include_revoked or key.revoked_ms is None]
    before = _place_of(cursor) if cursor else None
    # One more than is shown tells whether there is a next page.
    rest = [key for key in listed if before is None or _place(key) < before][: limit + 1]
    shown = rest[:limit]
    return Page(
        data=[key_view(key) for key in shown],
        meta=page_meta(len(listed), limit, _cursor(shown[-1]) if len(rest) > limit else None),
    )


@get(
    f"{_PATH}/{{id:str}}",
    before_request=requires(Scope.APIKEYS_READ),
    operation_id="getApiKey",
    summary="Get an API key",
    tags=["API keys"],
    response_description="The key.",
    responses=documented(*_READING, NotFound),
)
async def get_key(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
) -> Success[KeyView]:
    """Look at a key of your organization."""
    return Success(data=key_view(await _read(request, id)))


@post(
    f"{_PATH}/{{id:str}}/rotate",
    before_request=requires(Scope.APIKEYS_WRITE, Limited.KEYS),
    status_code=200,
    operation_id="rotateApiKey",
    summary="Give an API key a new secret",
    tags=["API keys"],
    responses={
        200: ResponseSpec(
            Success[KeyView],
            description="The key; `plaintext` is its new secret, which is not shown again.",
            generate_examples=False,
        ),
        **documented(*_WRITING, NotFound, ApiKeyNotLive),
    },
)
async def rotate_key(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Give a key a new secret; the one before is dead at once. The key may have no right that yours lacks."""
    services = services_of(request)
    repeatable = request_key(request, idempotency_key)

    async def rotate(begun: Begun) -> ToldOnce:
        # Who gets its secret has its rights.
        _check_rights(request, (await _read(request, begun.id)).scopes)
        secret, actor = new_secret(), _actor(request, repeatable, begun)
        try:
            key = await rotate_api_key(
                services.store,
                request.auth.org_id,
                begun.id,
                secret,
                services.settings.key_pepper,
                actor,
            )
        except KeyIsDead as error:
            raise ApiKeyNotLive from error
        if key is None:
            raise NotFound
        return _told_once(request, HTTPStatus.OK, key, secret)

    return await answer_once(request, repeatable, id.lower(), rotate)


@delete(
    f"{_PATH}/{{id:str}}",
    before_request=requires(Scope.APIKEYS_WRITE),
    status_code=200,
    operation_id="revokeApiKey",
    summary="Revoke an API key",
    tags=["API keys"],
    responses={
        200: ResponseSpec(Success[KeyView], description="The key, which is dead.", generate_examples=False),
        **documented(*_WRITING, NotFound),
    },
)
async def revoke_key(
    request: Request[Any, Any, Any],
    id: ResourceId,  # noqa: A002 - the parameter's name in the document
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """End a key for ever, within a second everywhere; it may be your own. One that was revoked stays so."""
    services = services_of(request)

    async def revoke(begun: Begun) -> bytes:
        actor = _actor(request, None, begun)
        key = await revoke_api_key(services.store, request.auth.org_id, begun.id, actor)
        if key is None:
            raise NotFound
        return _kept(request, HTTPStatus.OK, key)

    return await answer_once(request, request_key(request, idempotency_key), id.lower(), revoke)


def _check_rights(request: Request[Any, Any, Any], scopes: Sequence[Scope]) -> None:
    """Refuse to hand out rights that the caller does not have."""
    if not set(scopes) <= set(request.auth.scopes):
        raise Forbidden


def _actor(request: Request[Any, Any, Any], repeatable: RequestKey | None, begun: Begun) -> Actor:
    attempt = None if repeatable is None else Attempt(repeatable, begun.deadline)
    return Actor(request.auth.id, request_id_of(request.scope), attempt)


async def _read(request: Request[Any, Any, Any], key_id: str) -> ApiKey:
    key = await read_api_key(services_of(request).store, request.auth.org_id, key_id.lower())
    if key is None:
        raise NotFound
    return key


def _told_once(request: Request[Any, Any, Any], status: HTTPStatus, key: ApiKey, secret: str) -> ToldOnce:
    return ToldOnce(_kept(request, status, key, secret), _kept(request, status, key))


def _kept(
    request: Request[Any, Any, Any], status: HTTPStatus, key: ApiKey, secret: str | None = None
) -> bytes:
    location = f"{_PATH}/{key.id}" if status == HTTPStatus.CREATED else ""
    return keep(request, status, location, Success(data=key_view(key, secret)))


def _place(key: ApiKey) -> tuple[int, str]:
    return key.created_ms, key.id


def _cursor(key: ApiKey) -> str:
    return f"{key.created_ms}.{key.id}"


def _place_of(cursor: str) -> tuple[int, str]:
    created_ms, _, key_id = cursor.partition(".")
    return int(created_ms), key_id
