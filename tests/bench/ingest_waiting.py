"""Latency of searches over HTTP at a steady pace: without a feed and while one is loaded."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

from deploy.cli.api_server import api_command
from deploy.cli.ports import LOOPBACK, free_port
from deploy.sample_feed.generate import AREA_CODES
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.store import Store
from tests.bench.ingest_service import IngestService

_SEARCHES_PER_SECOND = 100
_QUIET_SECONDS = 10.0
_WARM_UP_SECONDS = 2.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_ORGANIZATION = "bench"


async def search_latency(
    service: IngestService, store: Store, load: Callable[[], Awaitable[object]]
) -> tuple[float, float]:
    """Return the 99th percentile of the latency of searches, ms: without a load, and while `load` runs.

    Each is timed from the moment at which it was due, so that one that delays others counts as often.
    """
    secret = new_secret()
    await create_api_key(store, _ORGANIZATION, Wanted((Scope.NUMBERS_WRITE,), "bench"), secret)
    port = free_port()
    headers = {"Authorization": f"Bearer {secret}"}
    with service.process("api", *api_command(port)):
        async with aiohttp.ClientSession(f"http://{LOOPBACK}:{port}", headers=headers) as client:
            await _until_ready(client)
            await _search_for(client, _WARM_UP_SECONDS)
            service.report("searches without a load")
            quiet = await _search_for(client, _QUIET_SECONDS)
            service.report("searches while a feed is loaded")
            loading = asyncio.ensure_future(load())
            busy = await _search_for(client, until=loading)
            await loading
    return _p99(quiet), _p99(busy)


async def _until_ready(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with client.get("/readyz") as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(_POLL_SECONDS)


async def _search_for(
    client: aiohttp.ClientSession, seconds: float = 3600.0, until: "asyncio.Future[object] | None" = None
) -> list[float]:
    """Search at the pace for some time or until `until` is done; return the latencies, ms."""
    begun, searches = time.monotonic(), []
    for count in range(int(seconds * _SEARCHES_PER_SECOND)):
        due = begun + count / _SEARCHES_PER_SECOND
        await asyncio.sleep(max(due - time.monotonic(), 0))
        if until is not None and until.done():
            break
        searches.append(asyncio.create_task(_search(client, due)))
    return list(await asyncio.gather(*searches))


async def _search(client: aiohttp.ClientSession, due: float) -> float:
    wanted = {"area_code": random.choice(AREA_CODES[:100]), "pattern": str(random.randrange(10, 100))}  # noqa: S311 - no secret
    async with client.post("/v1/phone-numbers/search", json=wanted) as answer:
        await answer.read()
        answer.raise_for_status()
    return 1000 * (time.monotonic() - due)


def _p99(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=100)[-1]
