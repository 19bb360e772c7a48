"""Requests that come again: what an Idempotency-Key stands for, and the first answer given once more."""

import hashlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response
from msgspec import Struct

from api.errors import ApiError, RequestInProgress, ValidationFailed
from api.json_response import JsonResponse
from api.parameters import failing_parameters
from api.request_id import adopt_request_id, request_id_of
from api.services import services_of
from shared.atomic.key_operations import TakenOver
from shared.atomic.request_operations import Begun, Repeated, Running, begin_request, end_request
from shared.atomic.requests import RequestKey
from shared.orders.placing import hold_ms_of

_REPLAYED = {"Idempotency-Replayed": "true"}


class KeptAnswer(Struct, frozen=True, array_like=True):
    """An answer as it is kept for the Idempotency-Key."""

    status: int
    body: bytes
    location: str
    request_id: str
    """Of the first request: an error says it in its body."""


class ToldOnce(NamedTuple):
    """An answer that holds a secret, as it is told now, and as it is kept, which is without it."""

    now: bytes
    kept: bytes


def request_key(
    request: Request[Any, Any, Any], idempotency_key: str | None, body: Struct | None = None
) -> RequestKey | None:
    """Give what the key stands for: one request (method, path, query and decoded body) of this route.

    Raises:
        ValidationFailed: there are several keys.
    """
    if idempotency_key is None:
        return None
    if len(request.headers.getall("idempotency-key")) > 1:
        raise ValidationFailed(failing_parameters([{"key": "idempotency_key"}]))
    route = f"{request.method} {request.scope['path_template']}"
    asked = [request.method, request.url.path, request.url.query, body]
    return RequestKey(_sha256(f"{route} {idempotency_key}".encode()), _sha256(msgspec.json.encode(asked)))


def with_content(key: RequestKey | None, sha256: str) -> RequestKey | None:
    """Have a key stand for a request with this content, too long to be decoded and kept."""
    return key and key._replace(fingerprint=_sha256(f"{key.fingerprint} {sha256}".encode()))


def replayed(*, is_repeated: bool) -> dict[str, str]:
    """Give the header that tells an answer given again."""
    return _REPLAYED if is_repeated else {}


def keep(request: Request[Any, Any, Any], status: int, location: str, body: Struct) -> bytes:
    """Encode an answer so that it can be kept."""
    answer = KeptAnswer(status, msgspec.json.encode(body), location, request_id_of(request.scope))
    return msgspec.msgpack.encode(answer)


def answer_kept(request: Request[Any, Any, Any], kept: bytes, *, is_repeated: bool) -> Response[bytes]:
    """Answer what was kept, now or at an earlier request."""
    answer = msgspec.msgpack.decode(kept, type=KeptAnswer)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        adopt_request_id(request.scope, answer.request_id)
    location = {"Location": answer.location} if answer.location else {}
    return JsonResponse(answer.body, answer.status, location | replayed(is_repeated=is_repeated))


async def answer_once(
    request: Request[Any, Any, Any],
    key: RequestKey | None,
    new_id: str,
    act: Callable[[Begun], Awaitable[bytes | ToldOnce]],
) -> Response[bytes]:
    """Answer with what `act` gives, which is kept; or, when the request comes again, with what was kept.

    `act` gets the id of what it is to make: `new_id`, or the one of an attempt that died. A secret is told by
    the attempt that has the request in hand to its end: another would have made another one.

    Raises:
        RequestInProgress: the first request with this key still runs, or another has taken it over.
        RequestKeyReused: nothing was done.
        ApiError: what `act` raises; the key is free again.
        StoreUnavailable: the outcome is not known; the next request with this key takes it up.
    """
    if key is None:
        begun = Begun(new_id, b"", is_resumed=False)
        return answer_kept(request, _told(await act(begun)).now, is_repeated=False)
    services, organization = services_of(request), request.auth.org_id
    allowed_ms = hold_ms_of(services.settings)
    found = await begin_request(services.store, organization, key, new_id, allowed_ms)
    if isinstance(found, Repeated):
        return answer_kept(request, found.answer, is_repeated=True)
    if isinstance(found, Running):
        raise RequestInProgress(found.for_ms)
    try:
        answer = await act(found)
    except TakenOver as error:
        raise RequestInProgress(allowed_ms) from error
    except ApiError:
        await end_request(services.store, organization, key, found, b"")
        raise
    told = _told(answer)
    is_ours = await end_request(services.store, organization, key, found, told.kept)
    if not is_ours and isinstance(answer, ToldOnce):
        raise RequestInProgress(allowed_ms)
    return answer_kept(request, told.now, is_repeated=False)


def _told(answer: bytes | ToldOnce) -> ToldOnce:
    return answer if isinstance(answer, ToldOnce) else ToldOnce(answer, answer)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
