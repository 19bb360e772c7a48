"""The jobs of the feed worker while the store of the feeds is away, and that of the queue is not."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from arq import Retry, func
from arq.connections import create_pool
from arq.typing import WorkerCoroutine
from arq.worker import Worker

from deploy.cli.ports import LOOPBACK, free_port
from shared import jobs
from shared.feeds.profiles import Profile, Profiles
from shared.feeds.spool import Spool
from shared.store import Store
from worker.feeds.main import fetch_feed, ingest_feed
from worker.feeds.tasks import Feeds


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """Give what jobs are given, with a store that nobody serves."""
    gone = Store(f"redis://{LOOPBACK}:{free_port()}", timeout_seconds=1)
    yield {"feeds": Feeds(gone, Spool(tmp_path), Profiles({}, Profile())), "job_id": "fetch", "job_try": 1}
    await gone.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the warnings and errors; none may show where in the code it was."""
    assert not [record for record in caplog.records if record.exc_info]
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_feed_that_finds_the_store_away_says_so_in_one_line(
    valkey: str, store: Store, context: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    del store
    caplog.set_level(logging.INFO)
    pool = await create_pool(jobs.queue_settings(valkey, 5), default_queue_name=jobs.FEED_QUEUE)
    await pool.enqueue_job(jobs.INGEST_FEED, "acme")
    worker = Worker(
        functions=[func(cast("WorkerCoroutine", ingest_feed), name=jobs.INGEST_FEED)],
        redis_pool=pool,
        queue_name=jobs.FEED_QUEUE,
        burst=True,
        poll_delay=0.02,
        ctx=context,
        handle_signals=False,
    )
    await worker.run_check()
    await pool.aclose()
    [line] = lines(caplog)
    assert line.startswith("the feed of acme: the store is unavailable: ")


async def test_a_feed_that_was_to_be_fetched_while_the_store_is_away_is_fetched_when_it_is_back(
    context: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Retry):
        await fetch_feed(context, "acme")
    [line] = lines(caplog)
    assert line.startswith("fetching the feed of acme: the store is unavailable: ")
