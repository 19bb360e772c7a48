"""Requests that come again: what an Idempotency-Key stands for, and the first answer given once more."""

import hashlib
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from msgspec import Struct

from api.errors import ValidationFailed
from api.parameters import failing_parameters
from api.request_id import adopt_request_id, request_id_of
from shared.atomic.requests import RequestKey

_REPLAYED = {"Idempotency-Replayed": "true"}


class KeptAnswer(Struct, frozen=True, array_like=True):
    """An answer as it is kept for the Idempotency-Key."""

    status: int
    body: bytes
    location: str
    request_id: str
    """Of the first request: an error says it in its body."""


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
    return Response(
        answer.body,
        status_code=answer.status,
        media_type="application/json",
        headers={"Location": answer.location} | replayed(is_repeated=is_repeated),
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
