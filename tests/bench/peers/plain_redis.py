"""The search as an idiomatic Litestar handler on plain redis-py calls: three round trips for most requests.

The key is looked up (its digest, then its record), then the numbers are read: for patterns of up to 4 digits
from a random one of the ranges in which the pattern stands early in the local number, for longer patterns by
the names of all numbers that match. It is a fair day's work, not a complete search: it finds fewer numbers
than there are where the stock is sparse.
"""

import hashlib
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from litestar import Litestar, Request, post
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.params import JSONBody
from redis.asyncio import Redis

from tests.bench.peers.schema import AvailableNumber, SearchRequest, SearchResponse

_SCOPE = "numbers:write"
_LOCAL_DIGITS = 7
_SCORE_UNIT = 65_536
"""A score is the local number times this, plus attributes."""
_LONGEST_IN_RANGES = 4
_TRIES = 2


class _KeyRecord(msgspec.Struct):
    digest: str
    scopes: list[str]
    expires_ms: str | None = None
    revoked_ms: int | None = None


_decode_record = msgspec.json.Decoder(_KeyRecord).decode


@post("/v1/phone-numbers/search", status_code=200)
async def search_numbers(
    request: Request[None, None, State], data: JSONBody[SearchRequest], state: State
) -> SearchResponse:
    """Return available numbers that match."""
    redis: Redis = state.redis
    await _authorize(redis, request.headers.get("authorization", ""))
    area_code, pattern, quantity = data.area_code or "415", data.pattern or "", data.quantity or 10
    if len(pattern) > _LONGEST_IN_RANGES:
        found = await _by_name(redis, area_code, pattern, quantity)
    else:
        found = await _in_ranges(redis, area_code, pattern, quantity)
    return SearchResponse([AvailableNumber(number, "local") for number in sorted(found)])


async def _authorize(redis: Redis, header: str) -> None:
    digest = "sha256-" + hashlib.sha256(header.removeprefix("Bearer ").encode()).hexdigest()
    name = await redis.get(f"key:{digest}")
    if name is None:
        raise NotAuthorizedException
    organization, _, key_id = name.decode().partition(" ")
    text = await redis.hget(f"{{org:{organization}}}:keys", key_id)  # type: ignore[misc]  # redis-py's types
    record = _decode_record(text or b"{}")
    has_expired = record.expires_ms is not None and int(record.expires_ms) <= 1000 * time.time()
    if record.digest != digest or record.revoked_ms is not None or has_expired:
        raise NotAuthorizedException
    if _SCOPE not in record.scopes:
        raise PermissionDeniedException


async def _in_ranges(redis: Redis, area_code: str, pattern: str, quantity: int) -> list[str]:
    """Return numbers of a random range in which `pattern` stands at the first or second local digit."""
    key, found = f"{{{area_code}}}:available", []
    for _ in range(_TRIES):
        # A local number begins with 2-9.
        head = "" if pattern[:1] > "1" else random.choice("23456789")  # noqa: S311 - no secret
        unit = 10 ** (_LOCAL_DIGITS - len(head + pattern))
        first = int(head + pattern) * unit
        low, high = first * _SCORE_UNIT, f"({(first + unit) * _SCORE_UNIT}"
        found += await redis.zrange(key, low, high, byscore=True, offset=0, num=quantity)  # type: ignore[arg-type]
        if len(found) >= quantity:
            break
    return list({number.decode() for number in found})[:quantity]


async def _by_name(redis: Redis, area_code: str, pattern: str, quantity: int) -> list[str]:
    """Return those of all numbers with `pattern` in the local number that are available."""
    free = _LOCAL_DIGITS - len(pattern)
    names = [
        f"+1{area_code}{filler[:position]}{pattern}{filler[position:]}"
        for position in range(free + 1)
        for filler in (f"{value:0{free}}" if free else "" for value in range(10**free))
    ]
    scores = await redis.zmscore(f"{{{area_code}}}:available", names)
    found = [name for name, score in zip(names, scores, strict=True) if score is not None]
    return list(dict.fromkeys(found))[:quantity]


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    async with Redis.from_url(os.environ["NUMBERS_REDIS_URL"]) as redis:
        app.state.redis = redis
        yield


def create_app() -> Litestar:
    """Return the app."""
    return Litestar([search_numbers], lifespan=[_lifespan], logging_config=None)
