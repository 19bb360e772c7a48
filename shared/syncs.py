"""Syncs: the record of each time that a carrier's feed is read, and the queue of those not yet done.

The queue of a feed is the truth, its head the sync that runs or runs next; jobs are only wake-ups. So the
files of a carrier are applied one after the other in the order in which they came, whatever dies meanwhile.
"""

import re
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct
from ulid import ULID

from shared import clock, store_keys
from shared.atomic.feed_operations import FeedRun, record_run, register_carrier
from shared.store import Store
from shared.store_keys import SYNC_LIFETIME_SECONDS

CARRIER_NAME = re.compile(r"[a-z0-9-]{1,32}")

MAX_KEPT_REJECTS = 1_000
"""Rejected rows kept with their reasons; all are counted."""


class SyncState(StrEnum):
    """How far a sync has come."""

    QUEUED = "queued"
    RUNNING = "running"
    APPLIED = "applied"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more will happen."""
        return self in (SyncState.APPLIED, SyncState.FAILED)


class Sync(Struct, frozen=True):
    """The record of one sync."""

    id: str
    carrier: str
    state: SyncState
    created_at: datetime
    updated_at: datetime
    mode: str = "snapshot"
    generation: int = 0
    """The run that has it in hand; runs of a feed are counted, so that a late one can be refused."""
    attempts: int = 0
    read: int = 0
    """Rows."""
    added: int = 0
    """Numbers that this carrier did not offer before."""
    removed: int = 0
    """Numbers that this carrier no longer offers."""
    unchanged: int = 0
    """Numbers that it offered before and still does."""
    rejected: int = 0
    """Rows that hold no number."""
    duplicate: int = 0
    """Rows whose number came in another row too."""
    progress: int = 0
    """Percent."""
    reason: str | None = None
    """Why it failed."""


class RejectedRow(Struct, frozen=True):
    """A row of a feed that could not be read; the first line is 1."""

    line: int
    reason: str


def new_sync_id() -> str:
    """Make an id for a sync: a UUIDv7."""
    return str(ULID().to_uuid7(compliant=True))


async def queue_sync(store: Store, sync_id: str, carrier: str) -> Sync:
    """Record a sync, whose feed is in the spool, and put it at the end of its carrier's queue.

    Raises:
        TooManyCarriers: there is no room for another; nothing was recorded.
        StoreUnavailable: the store did not answer; whether it is queued is not known.
    """
    await register_carrier(store, carrier)
    at = await clock.now(store)
    sync = Sync(id=sync_id, carrier=carrier, state=SyncState.QUEUED, created_at=at, updated_at=at)
    key = store_keys.sync(sync.id)
    fields = [item for field in msgspec.to_builtins(sync).items() if field[1] is not None for item in field]
    await store.execute_many([("HSET", key, *fields), ("EXPIRE", key, SYNC_LIFETIME_SECONDS)])
    await store.execute("RPUSH", store_keys.feed_queue(carrier), sync.id)
    return sync


async def update_sync(store: Store, run: FeedRun, **changes: str | int) -> None:
    """Write what a run has to say into its sync's record; raises `Overtaken` and `StoreUnavailable`."""
    changes["updated_at"] = msgspec.to_builtins(await clock.now(store))
    await record_run(store, run, [item for change in changes.items() for item in change])


async def read_sync(store: Store, sync_id: str) -> Sync | None:
    """Give a sync's record, None when it is unknown or too old; raises `StoreUnavailable`."""
    record = await store.execute("HGETALL", store_keys.sync(sync_id))
    if not record:
        return None
    fields = {name.decode(): value.decode() for name, value in record.items()}
    return msgspec.convert(fields, Sync, strict=False)


async def keep_rejects(store: Store, sync_id: str, rows: list[RejectedRow]) -> None:
    """Keep a sync's rejected rows, in place of an earlier attempt's; raises `StoreUnavailable`."""
    key = store_keys.sync_rejects(sync_id)
    commands: list[tuple[str | bytes | int, ...]] = [("DEL", key)]
    if rows:
        encoded = [msgspec.json.encode(row) for row in rows[:MAX_KEPT_REJECTS]]
        commands += [("RPUSH", key, *encoded), ("EXPIRE", key, SYNC_LIFETIME_SECONDS)]
    await store.execute_many(commands)


async def read_rejects(store: Store, sync_id: str) -> list[RejectedRow]:
    """Give the rejected rows that were kept, in the order of their lines; raises `StoreUnavailable`."""
    rows = await store.execute("LRANGE", store_keys.sync_rejects(sync_id), 0, -1)
    return [msgspec.json.decode(row, type=RejectedRow) for row in rows]


async def open_feeds(store: Store) -> list[str]:
    """Give the carriers whose feeds have queued syncs; raises `StoreUnavailable`."""
    carriers = [carrier.decode() for carrier in await store.execute("HKEYS", store_keys.FEEDS)]
    lengths = await store.execute_many([("LLEN", store_keys.feed_queue(carrier)) for carrier in carriers])
    return [carrier for carrier, length in zip(carriers, lengths, strict=True) if length]
