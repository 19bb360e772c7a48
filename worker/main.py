"""The arq worker: `arq worker.main.WorkerSettings`."""

import asyncio
import gc
import logging
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from arq import func
from arq.connections import RedisSettings
from arq.typing import WorkerCoroutine

from shared import jobs, store_keys
from shared.api_keys import register_organizations
from shared.atomic.order_operations import OrderRef
from shared.jobs import JobQueue
from shared.orders.bulk import fill_waiting
from shared.orders.departures import finish_cancel
from shared.orders.sweep import sweep
from shared.search.area_stock import AreaStock
from shared.settings import BadSetting, Settings, read_settings
from shared.spool import Spool
from shared.store import Store
from shared.syncs import open_feeds
from worker.ingest import run_queued_syncs
from worker.loops import repeat
from worker.order_events import OrderEvents
from worker.relay import relay_once

_HEALTH_INTERVAL_SECONDS = 10
_POLL_DELAY_SECONDS = 0.2
_EVENT_PAUSE_SECONDS = 1.0
_JOB_TIMEOUT_SECONDS = 6 * 3600
"""Long enough for any feed. What arq does with a job whose worker died does not matter, for the sweep looks
at the feeds themselves."""
_JOBS_AT_ONCE = 50
_FEEDS_AT_ONCE = 4
"""Files that are read at the same time; a feed that finds no place is woken again by the sweep."""
_YOUNG_OBJECTS = 100_000
"""Rows make young objects by the million and none of them is garbage in a cycle: collecting more seldom
halves the time of reading a feed."""


def _settings() -> Settings:
    try:
        return read_settings()
    except BadSetting as error:
        raise SystemExit(str(error)) from error


_configured = _settings()
_SPOOL_DIR = Path(_configured.spool_dir or ".numbers/spool").resolve()


async def start(ctx: dict[str, Any]) -> None:
    """Connect to the store and say where feeds are looked for."""
    gc.set_threshold(_YOUNG_OBJECTS)
    _set_up_logs()
    store = Store(_configured.redis_url, _configured.store_timeout_seconds)
    spool = Spool(_SPOOL_DIR)
    spool.make()
    await store.execute("SET", store_keys.SPOOL_DIR, str(_SPOOL_DIR))
    await register_organizations(store)
    ctx["store"] = store
    ctx["spool"] = spool
    ctx["queue"] = JobQueue(_configured.redis_url, _configured.store_timeout_seconds)
    ctx["feeds"] = 0
    stock = AreaStock(store)
    ctx["loops"] = [
        asyncio.create_task(repeat(name, step, pause_seconds))
        for name, step, pause_seconds in (
            ("the sweep", partial(sweep, store, _configured), _configured.sweep_seconds),
            (
                "filling bulk orders",
                partial(fill_waiting, store, stock, _configured),
                _configured.sweep_seconds,
            ),
            ("waking feeds", partial(wake_open_feeds, store, ctx["queue"]), _configured.sweep_seconds),
            ("relaying events", partial(relay_once, store, _configured), _EVENT_PAUSE_SECONDS),
            ("reading order events", OrderEvents(store, _configured).step, _EVENT_PAUSE_SECONDS),
        )
    ]


def _set_up_logs() -> None:
    """Show our own lines beside arq's."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s: %(message)s", datefmt="%H:%M:%S"))
    for name in ("worker", "shared"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


async def stop(ctx: dict[str, Any]) -> None:
    """End the loops and close the connections."""
    for loop in ctx["loops"]:
        loop.cancel()
    await asyncio.wait(ctx["loops"])
    await ctx["queue"].close()
    await ctx["store"].close()


async def ingest_feed(ctx: dict[Any, Any], carrier: str) -> int:
    """Job `INGEST_FEED`."""
    if ctx["feeds"] >= _FEEDS_AT_ONCE:
        return 0
    ctx["feeds"] += 1
    try:
        return await run_queued_syncs(ctx["store"], ctx["spool"], carrier, _configured.feed_lease_seconds)
    finally:
        ctx["feeds"] -= 1


async def cancel_order(ctx: dict[Any, Any], organization: str, order_id: str) -> bool:
    """Job `FINISH_CANCEL`."""
    return await finish_cancel(ctx["store"], OrderRef(organization, order_id))


async def wake_open_feeds(store: Store, queue: JobQueue) -> None:
    """Wake the feeds that have queued syncs, for a wake-up or a worker may have been lost."""
    for carrier in await open_feeds(store):
        await queue.wake_feed(carrier)


class WorkerSettings:
    """What arq reads; it looks into this class only, not into its bases."""

    # arq types a job as taking anything.
    functions: ClassVar = [
        func(cast("WorkerCoroutine", ingest_feed), name=jobs.INGEST_FEED),
        func(cast("WorkerCoroutine", cancel_order), name=jobs.FINISH_CANCEL),
    ]
    on_startup = start
    on_shutdown = stop
    redis_settings = RedisSettings.from_dsn(_configured.redis_url)
    job_serializer = staticmethod(jobs.serialize_job)
    job_deserializer = staticmethod(jobs.deserialize_job)
    job_timeout = _JOB_TIMEOUT_SECONDS
    max_jobs = _JOBS_AT_ONCE
    keep_result = 0
    poll_delay = _POLL_DELAY_SECONDS
    health_check_interval = _HEALTH_INTERVAL_SECONDS
