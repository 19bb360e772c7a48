"""The queue between those who bring work and the worker: job names, payloads and how they travel."""

import math
from typing import Any, Final

import msgspec
from arq.connections import ArqRedis, RedisSettings
from arq.constants import default_queue_name, health_check_key_suffix
from redis.exceptions import RedisError

from shared.atomic.order_operations import OrderRef
from shared.store import StoreUnavailable
from shared.store_url import StoreUrl

INGEST_FEED: Final = "ingest_feed"
"""Job: run the queued syncs of a carrier's feed. Argument: carrier. A wake-up only: what is to be done
stands in the feed's queue, so one job too many or too few does no harm."""

FINISH_CANCEL: Final = "finish_cancel"
"""Job: move the numbers of an order that is being cancelled. Arguments: organization, order id. A wake-up
only: what is to be done stands among the organization's due work."""

FEED_QUEUE: Final = "arq:feeds"
"""The queue of the feeds' worker: a feed takes minutes, and nothing else waits for it."""

WORKER_HEALTH_KEY: Final = default_queue_name + health_check_key_suffix
"""String that a living worker keeps from expiring."""

FEED_WORKER_HEALTH_KEY: Final = FEED_QUEUE + health_check_key_suffix
"""The same of a feeds' worker."""


def serialize_job(job: dict[str, Any]) -> bytes:
    """Encode a job as MessagePack: arq's own pickle would make write access to the store code execution."""
    return msgspec.msgpack.encode(job, enc_hook=repr)


def deserialize_job(data: bytes) -> dict[str, Any]:
    """Decode what `serialize_job` made."""
    decoded: dict[str, Any] = msgspec.msgpack.decode(data)
    return decoded


def queue_settings(url: str, timeout_seconds: float) -> RedisSettings:
    """Return how arq's workers connect to the queue.

    arq's own `RedisSettings.from_dsn` neither decodes a password nor reads the options of TLS.
    """
    options = StoreUrl.parse(url).client_options
    return RedisSettings(
        database=options.pop("db"),
        # arq counts whole seconds.
        conn_timeout=math.ceil(timeout_seconds),
        **options,
    )


class JobQueue:
    """Puts jobs into the worker's queue."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """Prepare; connects at first use."""
        self._arq = ArqRedis(
            **StoreUrl.parse(url).client_options,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            job_serializer=serialize_job,
            job_deserializer=deserialize_job,
        )

    async def wake_feed(self, carrier: str) -> None:
        """Have a worker look at this carrier's queued syncs; raises `StoreUnavailable`."""
        await self._enqueue(INGEST_FEED, carrier, queue=FEED_QUEUE)

    async def wake_cancel(self, order: OrderRef) -> None:
        """Have a worker move the numbers of an order that is being cancelled; raises `StoreUnavailable`."""
        await self._enqueue(FINISH_CANCEL, *order)

    async def _enqueue(self, job: str, *arguments: str, queue: str = default_queue_name) -> None:
        try:
            await self._arq.enqueue_job(job, *arguments, _queue_name=queue)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._arq.aclose(close_connection_pool=True)
