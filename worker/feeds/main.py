"""The worker of carriers' feeds: `arq worker.feeds.main.WorkerSettings`.

A process of its own: a feed keeps Python busy for minutes, and orders do not wait for that.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from arq import Retry, func
from arq.typing import WorkerCoroutine

from shared import jobs, store_keys
from shared.feeds.profiles import BadProfiles, Profiles, read_profiles
from shared.feeds.spool import Spool
from shared.feeds.syncs import SyncOptions, new_sync_id, open_feeds, queue_feed, settle_open_syncs
from shared.jobs import JobQueue
from shared.logs import set_up_logs
from shared.store import Store, StoreUnavailable
from worker.feeds.ingest import run_queued_syncs
from worker.feeds.schedule import cron_jobs
from worker.feeds.tasks import Feeds
from worker.job_log import logged
from worker.loops import repeat
from worker.process import (
    HEALTH_INTERVAL_SECONDS,
    POLL_DELAY_SECONDS,
    end_loops,
    settings_or_exit,
)

logger = logging.getLogger(__name__)

_JOB_TIMEOUT_SECONDS = 6 * 3600
"""Long enough for any feed. What arq does with a job whose worker died does not matter, for a loop looks at
the feeds themselves."""
_FEEDS_AT_ONCE = 2
"""Feeds that are read at the same time, each with up to 150 MB; the others wait in the queue."""
_NICENESS = 10
"""Reading a feed takes a processor for minutes: those who answer requests come first."""
_YOUNG_OBJECTS = 100_000
"""Rows make young objects by the million and none of them is garbage in a cycle: collecting more seldom
halves the time of reading a feed."""
_SETTLE_SECONDS = 60.0
"""Between looks at all syncs of the last days, for what a look at the queues does not find."""
_FETCH_AGAIN_SECONDS = 5
"""After the store was away when a feed was to be fetched; its next time may be a day away."""


def _profiles() -> Profiles:
    try:
        return read_profiles(_configured.feeds_file)
    except BadProfiles as error:
        raise SystemExit(str(error)) from error


_configured = settings_or_exit()
_known_profiles = _profiles()
_SPOOL_DIR = Path(_configured.spool_dir or ".numbers/spool").resolve()


async def start(ctx: dict[str, Any]) -> None:
    """Connect to the store and say where feeds are looked for."""
    os.nice(_NICENESS)
    gc.set_threshold(_YOUNG_OBJECTS)
    set_up_logs(_configured)
    store = Store(_configured.redis_url, _configured.store_timeout_seconds)
    spool = Spool(_SPOOL_DIR)
    spool.make()
    spool.forget_leftovers(store_keys.SYNC_LIFETIME_SECONDS)
    await store.execute("SET", store_keys.SPOOL_DIR, str(_SPOOL_DIR))
    ctx["feeds"] = Feeds(store, spool, _known_profiles)
    ctx["queue"] = JobQueue(_configured.redis_url, _configured.store_timeout_seconds)
    ctx["loops"] = [
        asyncio.create_task(repeat(name, partial(wake, ctx["queue"], partial(find, store)), pause_seconds))
        for name, find, pause_seconds in (
            ("waking feeds", open_feeds, _configured.sweep_seconds),
            ("looking after syncs", settle_open_syncs, _SETTLE_SECONDS),
        )
    ]
    logger.info("the worker of feeds has started")


async def stop(ctx: dict[str, Any]) -> None:
    """End the loops and close the connections."""
    await end_loops(ctx["loops"])
    await ctx["queue"].close()
    await ctx["feeds"].store.close()
    logger.info("the worker of feeds has stopped")


@logged(jobs.INGEST_FEED, "carrier")
async def ingest_feed(ctx: dict[Any, Any], carrier: str) -> int:
    """Job `INGEST_FEED`."""
    try:
        return await run_queued_syncs(ctx["feeds"], carrier, _configured.feed_lease_seconds)
    except StoreUnavailable as error:
        # arq would show where, and that is no bug of ours. A loop wakes the feed again.
        logger.warning("the feed of %s: the store is unavailable: %s", carrier, error)
        return 0


@logged("fetch_feed", "carrier")
async def fetch_feed(ctx: dict[Any, Any], carrier: str) -> None:
    """Queue a sync of a carrier's configured source, at its time, unless one has work to be done."""
    store = ctx["feeds"].store
    try:
        if carrier not in await open_feeds(store):
            await queue_feed(store, new_sync_id(), carrier, SyncOptions(), sha256=None)
        await ctx["queue"].wake_feed(carrier)
    except StoreUnavailable as error:
        logger.warning("fetching the feed of %s: the store is unavailable: %s", carrier, error)
        raise Retry(defer=_FETCH_AGAIN_SECONDS) from error


async def wake(queue: JobQueue, find: Callable[[], Awaitable[Iterable[str]]]) -> None:
    """Wake the feeds that have work, for a wake-up or a worker may have been lost."""
    for carrier in await find():
        await queue.wake_feed(carrier)


class WorkerSettings:
    """What arq reads; it looks into this class only, not into its bases."""

    # arq types a job as taking anything.
    functions: ClassVar = [func(cast("WorkerCoroutine", ingest_feed), name=jobs.INGEST_FEED)]
    cron_jobs: ClassVar = cron_jobs(_known_profiles, cast("WorkerCoroutine", fetch_feed))
    timezone = UTC
    on_startup = start
    on_shutdown = stop
    redis_settings = jobs.queue_settings(_configured.redis_url, _configured.store_timeout_seconds)
    queue_name = jobs.FEED_QUEUE
    job_serializer = staticmethod(jobs.serialize_job)
    job_deserializer = staticmethod(jobs.deserialize_job)
    job_timeout = _JOB_TIMEOUT_SECONDS
    max_jobs = _FEEDS_AT_ONCE
    keep_result = 0
    poll_delay = POLL_DELAY_SECONDS
    health_check_interval = HEALTH_INTERVAL_SECONDS
