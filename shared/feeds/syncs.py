"""Syncs: the record of each time that a carrier's feed is brought in step, and the queue of those to be done.

The queue of a feed is the truth, its head the work that runs or runs next; jobs are only wake-ups. So what
concerns a carrier is done one after the other in the order in which it came, whatever dies meanwhile.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct
from ulid import ULID

from shared import clock, store_keys
from shared.atomic.feed_operations import FeedRun, mark_sync, record_run, register_carrier
from shared.feeds.profiles import Mode
from shared.feeds.rows import RejectedRow
from shared.store import Store
from shared.store_keys import SYNC_LIFETIME_SECONDS

MAX_KEPT_REJECTS = 1_000
"""Rejected rows kept with their reasons; all are counted."""

_QUEUED_WITHIN_MS = 60_000
"""From the record of a sync to its place in the queue is one round trip; nobody is still on the way then."""
_NEVER_QUEUED = "whoever brought it died before it was queued; nothing was changed: bring it again"


class SyncState(StrEnum):
    """How far a sync has come."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """What it adds is applied; what it removes waits until somebody confirms it."""
    APPLIED = "applied"
    REFUSED = "refused"
    """The feed cannot be used; nothing was changed."""
    FAILED = "failed"
    """It could not be done, whatever the feed is."""
    SUPERSEDED = "superseded"
    """A newer feed has made it pointless."""

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more happens by itself."""
        return self not in (SyncState.QUEUED, SyncState.RUNNING)


class Task(StrEnum):
    """What a run has to do for a sync."""

    FETCH = "fetch"
    """Fetch the feed from the carrier's source, then as `READ`."""
    READ = "read"
    """Read the feed that lies in the spool, and apply it."""
    CONFIRM = "confirm"
    """Remove what waits for a confirmation."""
    ROLL_BACK = "rollback"
    """Bring back the stock from before the sync."""


class Sync(Struct, frozen=True):
    """The record of one sync."""

    id: str
    carrier: str
    state: SyncState
    created_at: datetime
    updated_at: datetime
    mode: Mode | None = None
    """As whoever brought the feed says; None is as the carrier's profile has it."""
    dry_run: bool = False
    """Show what would change, and change nothing."""
    confirm: bool = False
    """Whoever brought the feed has looked at it: it passes the guards of what it removes."""
    sha256: str | None = None
    """Of the feed as it was handed over, in hex."""
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
    """Numbers that came in another row too."""
    protected: int = 0
    """Numbers among the changed whose state no feed changes: held, assigned, quarantined, returned, or ours
    to keep. It is noted who offers them. After a run that died, of all that were sent again."""
    progress: int = 0
    """Percent."""
    reading_ms: int = 0
    """How long it took to read the feed, once it was there."""
    applying_ms: int = 0
    """How long it took after that to bring the stock in step."""
    reason: str | None = None
    """Why it is refused, failed, superseded or waiting."""


class SyncOptions(NamedTuple):
    """What whoever starts a sync may say."""

    mode: Mode | None = None
    dry_run: bool = False
    confirm: bool = False


class SyncNotWaiting(Exception):
    """There is nothing to confirm."""


class SyncNotApplied(Exception):
    """There is nothing to roll back."""


def new_sync_id() -> str:
    """Make an id for a sync: a UUIDv7."""
    return str(ULID().to_uuid7(compliant=True))


async def queue_feed(
    store: Store, sync_id: str, carrier: str, options: SyncOptions, *, sha256: str | None
) -> Sync:
    """Record a sync, unless it is on record already, and put it at the end of its carrier's queue.

    Its feed is in the spool and has the digest `sha256`; without one it is fetched from the carrier's source.

    Raises:
        TooManyCarriers: there is no room for another; nothing was recorded.
        StoreUnavailable: the store did not answer; whether it is queued is not known.
    """
    if not options.dry_run:
        await register_carrier(store, carrier)
    at = await clock.now(store)
    sync = Sync(
        sync_id,
        carrier,
        SyncState.QUEUED,
        at,
        at,
        mode=options.mode,
        dry_run=options.dry_run,
        confirm=options.confirm,
        sha256=sha256,
    )
    key = store_keys.sync(sync.id)
    fields = [
        item
        for name, value in msgspec.to_builtins(sync).items()
        if value is not None
        for item in (name, int(value) if isinstance(value, bool) else value)
    ]
    oldest = clock.ms_of(at.timestamp() - SYNC_LIFETIME_SECONDS)
    if not await store.execute("EXISTS", key):
        await store.execute_many(
            [
                ("HSET", key, *fields),
                ("EXPIRE", key, SYNC_LIFETIME_SECONDS),
                ("ZADD", store_keys.SYNCS, clock.ms_of(at.timestamp()), sync.id),
                ("ZREMRANGEBYSCORE", store_keys.SYNCS, "-inf", oldest),
            ]
        )
    await _queue(store, carrier, Task.READ if sha256 else Task.FETCH, sync.id)
    return sync


async def confirm_sync(store: Store, sync: Sync) -> Sync:
    """Have the removals done that wait for a confirmation.

    Raises:
        SyncNotWaiting: none of this sync wait.
        StoreUnavailable: the store did not answer; the same call again does no harm.
    """
    if sync.state is not SyncState.WAITING:
        raise SyncNotWaiting(f"the sync {sync.id} is {sync.state}")
    await _queue(store, sync.carrier, Task.CONFIRM, sync.id)
    return await _requeued(store, sync)


async def roll_back_sync(store: Store, sync: Sync) -> Sync:
    """Have the stock brought back that the carrier's feed made before this sync, and forget what of it waits.

    Raises:
        SyncNotApplied: it has changed nothing, or a later one has, and nothing of it waits.
        StoreUnavailable: the store did not answer; the same call again does no harm.
    """
    applied_by = await store.execute("HGET", store_keys.feed(sync.carrier), "applied_by")
    is_applied = applied_by is not None and applied_by.decode() == sync.id
    if not is_applied and sync.state is not SyncState.WAITING:
        raise SyncNotApplied(f"the stock of {sync.carrier} is not what the sync {sync.id} made it")
    await _queue(store, sync.carrier, Task.ROLL_BACK, sync.id)
    return await _requeued(store, sync)


async def _queue(store: Store, carrier: str, task: Task, sync_id: str) -> None:
    await store.execute("RPUSH", store_keys.feed_queue(carrier), f"{task}:{sync_id}")


async def _requeued(store: Store, sync: Sync) -> Sync:
    """Say in its record that a sync has work to be done again, unless a run was faster."""
    at = msgspec.to_builtins(await clock.now(store))
    change = (sync.state, SyncState.QUEUED)
    await mark_sync(store, sync.id, change, "", at, generation=sync.generation)
    return await read_sync(store, sync.id) or sync


async def update_sync(store: Store, run: FeedRun, **changes: str | int) -> None:
    """Write what a run has to say into its sync's record; raises `Overtaken` and `StoreUnavailable`."""
    changes["updated_at"] = msgspec.to_builtins(await clock.now(store))
    await record_run(store, run, [item for change in changes.items() for item in change])


async def supersede_sync(store: Store, run: FeedRun, sync_id: str, reason: str) -> None:
    """Note that a run has made the removals of another sync pointless, unless a later run has written since.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    at = msgspec.to_builtins(await clock.now(store))
    for state in (SyncState.WAITING, SyncState.QUEUED):
        change = (state, SyncState.SUPERSEDED)
        await mark_sync(store, sync_id, change, reason, at, generation=run.generation)


async def read_sync(store: Store, sync_id: str) -> Sync | None:
    """Give a sync's record, None when it is unknown or too old; raises `StoreUnavailable`."""
    return _sync_of(await store.execute("HGETALL", store_keys.sync(sync_id)))


async def list_syncs(store: Store, limit: int, before: str | None = None) -> tuple[list[Sync], int]:
    """Give syncs, the newest first, those before the sync `before`; and how many there are in all.

    Of a sync that is not known any more, nothing stands before.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    begin = 0
    if before is not None:
        rank = await store.execute("ZREVRANK", store_keys.SYNCS, before)
        if rank is None:
            return [], await store.execute("ZCARD", store_keys.SYNCS)
        begin = rank + 1
    ids, total = await store.execute_many(
        [
            ("ZREVRANGE", store_keys.SYNCS, begin, begin + limit - 1),
            ("ZCARD", store_keys.SYNCS),
        ]
    )
    records = await store.execute_many([("HGETALL", store_keys.sync(sync_id.decode())) for sync_id in ids])
    return [sync for record in records if (sync := _sync_of(record))], total


def _sync_of(record: dict[bytes, bytes]) -> Sync | None:
    if not record:
        return None
    fields = {name.decode(): value.decode() for name, value in record.items()}
    return msgspec.convert({**fields, "reason": fields.get("reason") or None}, Sync, strict=False)


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
    """Give the known carriers whose feeds have queued syncs; raises `StoreUnavailable`.

    A carrier that is not known has dry runs at most: `settle_open_syncs` finds them.
    """
    carriers = [carrier.decode() for carrier in await store.execute("HKEYS", store_keys.FEEDS)]
    lengths = await store.execute_many([("LLEN", store_keys.feed_queue(carrier)) for carrier in carriers])
    return [carrier for carrier, length in zip(carriers, lengths, strict=True) if length]


async def settle_open_syncs(store: Store) -> set[str]:
    """Give the carriers with syncs that have not ended, and end those that never came into their queue.

    Whoever recorded such a one died before it was queued, for record and queue have no slot in common. It
    fails and is not queued now: what is newer than it may have been applied meanwhile.

    Raises:
        StoreUnavailable: the store did not answer; the same call again goes on.
    """
    until = await clock.now_ms(store) - _QUEUED_WITHIN_MS
    ids = [one.decode() for one in await store.execute("ZRANGE", store_keys.SYNCS, "-inf", until, "BYSCORE")]
    states = await store.execute_many([("HGET", store_keys.sync(sync_id), "state") for sync_id in ids])
    carriers = set()
    for sync_id, state in zip(ids, states, strict=True):
        if state is None or SyncState(state.decode()).has_ended:
            continue
        sync = await read_sync(store, sync_id)
        if sync is not None:
            carriers.add(sync.carrier)
            await _fail_unless_queued(store, sync)
    return carriers


async def _fail_unless_queued(store: Store, sync: Sync) -> None:
    queue = await store.execute("LRANGE", store_keys.feed_queue(sync.carrier), 0, -1)
    if any(work.decode().partition(":")[2] == sync.id for work in queue):
        return
    at = msgspec.to_builtins(await clock.now(store))
    change = (SyncState.QUEUED, SyncState.FAILED)
    # Of generation 0: a run that has had it in hand since has found it in the queue.
    await mark_sync(store, sync.id, change, _NEVER_QUEUED, at, generation=0)
