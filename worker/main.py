"""The worker of orders and events: `arq worker.main.WorkerSettings`."""

import asyncio
import logging
from functools import partial
from typing import Any, ClassVar, cast

from arq import func
from arq.typing import WorkerCoroutine

from shared import jobs
from shared.atomic.order_operations import OrderRef
from shared.logs import set_up_logs
from shared.orders.bulk import fill_waiting
from shared.orders.departures import finish_cancel
from shared.orders.sweep import sweep
from shared.search.search import Search
from shared.store import Store
from worker.job_log import logged
from worker.loops import repeat
from worker.order_events import OrderEvents
from worker.process import (
    HEALTH_INTERVAL_SECONDS,
    POLL_DELAY_SECONDS,
    end_loops,
    settings_or_exit,
)
from worker.relay import Relay

_EVENT_PAUSE_SECONDS = 1.0
_JOB_TIMEOUT_SECONDS = 60
"""Long enough for any cancellation. What arq does with a job whose worker died does not matter, for the sweep
looks at the orders themselves."""
_JOBS_AT_ONCE = 50

logger = logging.getLogger(__name__)

_configured = settings_or_exit()


async def start(ctx: dict[str, Any]) -> None:
    """Connect to the store and begin to look for what is due."""
    set_up_logs(_configured)
    store = Store(_configured.redis_url, _configured.store_timeout_seconds)
    ctx["store"] = store
    ctx["search"] = search = Search(store, _configured)
    ctx["loops"] = [
        asyncio.create_task(repeat(name, step, pause_seconds))
        for name, step, pause_seconds in (
            ("the sweep", partial(sweep, store, _configured), _configured.sweep_seconds),
            (
                "filling bulk orders",
                partial(fill_waiting, store, search, _configured),
                _configured.sweep_seconds,
            ),
            ("relaying events", Relay(store, _configured).step, _EVENT_PAUSE_SECONDS),
            ("reading order events", OrderEvents(store, _configured).step, _EVENT_PAUSE_SECONDS),
        )
    ]
    logger.info("the worker has started")


async def stop(ctx: dict[str, Any]) -> None:
    """End the loops and close the connection."""
    await end_loops(ctx["loops"])
    await ctx["search"].close()
    await ctx["store"].close()
    logger.info("the worker has stopped")


@logged(jobs.FINISH_CANCEL, "organization", "order_id")
async def cancel_order(ctx: dict[Any, Any], organization: str, order_id: str) -> bool:
    """Job `FINISH_CANCEL`."""
    return await finish_cancel(ctx["store"], OrderRef(organization, order_id))


class WorkerSettings:
    """What arq reads; it looks into this class only, not into its bases."""

    # arq types a job as taking anything.
    functions: ClassVar = [func(cast("WorkerCoroutine", cancel_order), name=jobs.FINISH_CANCEL)]
    on_startup = start
    on_shutdown = stop
    redis_settings = jobs.queue_settings(_configured.redis_url, _configured.store_timeout_seconds)
    job_serializer = staticmethod(jobs.serialize_job)
    job_deserializer = staticmethod(jobs.deserialize_job)
    job_timeout = _JOB_TIMEOUT_SECONDS
    max_jobs = _JOBS_AT_ONCE
    keep_result = 0
    poll_delay = POLL_DELAY_SECONDS
    health_check_interval = HEALTH_INTERVAL_SECONDS
