"""The arq worker: `arq worker.main.WorkerSettings`."""

import gc
import logging
from datetime import UTC
from pathlib import Path
from typing import Any, ClassVar, cast

from arq import cron, func
from arq.connections import RedisSettings
from arq.typing import WorkerCoroutine

from shared import jobs, store_keys
from shared.jobs import JobQueue
from shared.settings import BadSetting, Settings, read_settings
from shared.spool import Spool
from shared.store import Store
from shared.syncs import open_feeds
from worker.ingest import run_queued_syncs

_SWEEP_SECONDS = frozenset(range(0, 60, 5))
_HEALTH_INTERVAL_SECONDS = 10
_POLL_DELAY_SECONDS = 0.2
_JOB_TIMEOUT_SECONDS = 6 * 3600
"""Long enough for any feed. What arq does with a job whose worker died does not matter, for the sweep looks
at the feeds themselves."""
_FEEDS_AT_ONCE = 4
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
    ctx["store"] = store
    ctx["spool"] = spool
    ctx["queue"] = JobQueue(_configured.redis_url, _configured.store_timeout_seconds)


def _set_up_logs() -> None:
    """Show our own lines beside arq's, and not the sweep's: every 5 s it is no news."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s: %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("worker")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.getLogger("arq.worker").addFilter(lambda line: wake_open_feeds.__name__ not in line.getMessage())


async def stop(ctx: dict[str, Any]) -> None:
    """Close the connections."""
    await ctx["queue"].close()
    await ctx["store"].close()


async def ingest_feed(ctx: dict[Any, Any], carrier: str) -> int:
    """Job `INGEST_FEED`."""
    return await run_queued_syncs(ctx["store"], ctx["spool"], carrier, _configured.feed_lease_seconds)


async def wake_open_feeds(ctx: dict[Any, Any]) -> None:
    """Wake the feeds that have queued syncs, for a wake-up or a worker may have been lost."""
    for carrier in await open_feeds(ctx["store"]):
        await ctx["queue"].wake_feed(carrier)


class WorkerSettings:
    """What arq reads; it looks into this class only, not into its bases."""

    # arq types a job as taking anything.
    functions: ClassVar = [func(cast("WorkerCoroutine", ingest_feed), name=jobs.INGEST_FEED)]
    cron_jobs: ClassVar = [
        cron(wake_open_feeds, name="wake_open_feeds", second=set(_SWEEP_SECONDS), run_at_startup=True)
    ]
    on_startup = start
    on_shutdown = stop
    redis_settings = RedisSettings.from_dsn(_configured.redis_url)
    job_serializer = staticmethod(jobs.serialize_job)
    job_deserializer = staticmethod(jobs.deserialize_job)
    job_timeout = _JOB_TIMEOUT_SECONDS
    max_jobs = _FEEDS_AT_ONCE
    keep_result = 0
    poll_delay = _POLL_DELAY_SECONDS
    health_check_interval = _HEALTH_INTERVAL_SECONDS
    timezone = UTC
