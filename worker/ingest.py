"""Running the syncs that wait in a carrier's queue, one after the other."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from shared.atomic.feed_operations import FeedRun, Overtaken, claim_feed, leave_feed, renew_feed
from shared.spool import Spool
from shared.store import Store, StoreUnavailable
from shared.syncs import MAX_KEPT_REJECTS, RejectedRow, SyncState, keep_rejects, read_sync, update_sync
from worker.apply import apply_snapshot
from worker.feed_file import FeedUnreadable, read_feed
from worker.snapshot import Offers, SnapshotBuilder

logger = logging.getLogger(__name__)

_REPORT_INTERVAL_SECONDS = 0.5

_MAX_ATTEMPTS = 10
"""Runs that died over a sync before it is given up: a feed that kills its worker must not do so for ever."""


class Progress(Struct):
    """What a run has done so far: written by the reading thread, shown by the event loop."""

    read: int = 0
    rejected: int = 0
    percent: int = 0
    is_abandoned: bool = False


class Reading(Struct):
    """What was read from a feed."""

    offers: Offers
    duplicate: int
    rejects: list[RejectedRow]


async def run_queued_syncs(store: Store, spool: Spool, carrier: str, lease_seconds: float) -> int:
    """Run the syncs of a carrier's queue until it is empty or another worker has it; give how many ended.

    Raises:
        StoreUnavailable: the store went away; the run goes on when its lease is over.
    """
    lease_ms = int(lease_seconds * 1000)
    ended = 0
    while run := await claim_feed(store, carrier, lease_ms):
        try:
            await _run_sync(store, spool, run, lease_ms)
        except Overtaken:
            logger.warning("sync %s of %s: another run has taken over", run.sync_id, carrier)
            break
        except asyncio.CancelledError:
            await _give_back(store, run)
            raise
        ended += 1
    return ended


async def _give_back(store: Store, run: FeedRun) -> None:
    """Let the next worker begin at once, not only when the lease is over; who is told to stop did not die."""

    async def give_back() -> None:
        sync = await read_sync(store, run.sync_id)
        if sync is not None and sync.generation == run.generation:
            await update_sync(store, run, attempts=max(sync.attempts - 1, 0))
        await renew_feed(store, run, lease_ms=0)

    try:
        await asyncio.shield(give_back())
    except (Overtaken, StoreUnavailable):
        # It is another's, or it comes free when the lease is over.
        return


async def _run_sync(store: Store, spool: Spool, run: FeedRun, lease_ms: int) -> None:
    sync = await read_sync(store, run.sync_id)
    if sync is not None and not sync.state.has_ended:
        attempts = sync.attempts + 1
        await update_sync(store, run, state=SyncState.RUNNING, attempts=attempts)
        if attempts > _MAX_ATTEMPTS:
            await _fail(store, run, f"given up after {_MAX_ATTEMPTS} runs that did not come to an end")
        else:
            await _ingest(store, spool.path_of(run.sync_id), run, lease_ms)
    await leave_feed(store, run)
    spool.remove(run.sync_id)


async def _ingest(store: Store, path: Path, run: FeedRun, lease_ms: int) -> None:
    progress = Progress()
    async with _kept_in_hand(store, run, progress, lease_ms):
        try:
            reading = await asyncio.to_thread(_read, path, progress)
        except FeedUnreadable as error:
            await _fail(store, run, str(error))
            return
        finally:
            progress.is_abandoned = True
        await keep_rejects(store, run.sync_id, reading.rejects)
        counts = {
            "read": progress.read,
            "rejected": progress.rejected,
            "duplicate": reading.duplicate,
        }
        if not reading.offers:
            # Absence is how carriers say "gone", and a feed of nothing is how their outages look.
            await update_sync(store, run, **counts)
            await _fail(store, run, "the file holds no number that can be used; the stock stays as it was")
            return

        def report(sent: int, total: int) -> None:
            progress.percent = 50 + 50 * sent // total

        change = await apply_snapshot(store, run, reading.offers, report)
    await update_sync(
        store,
        run,
        state=SyncState.APPLIED,
        added=change.added,
        removed=change.removed,
        unchanged=change.unchanged,
        progress=100,
        **counts,
    )
    logger.info(
        "sync %s of %s applied: %d added, %d removed, %d unchanged, %d rejected",
        *(run.sync_id, run.carrier, change.added, change.removed, change.unchanged, progress.rejected),
    )


async def _fail(store: Store, run: FeedRun, reason: str) -> None:
    await update_sync(store, run, state=SyncState.FAILED, reason=reason)
    logger.warning("sync %s of %s failed: %s", run.sync_id, run.carrier, reason)


def _read(path: Path, progress: Progress) -> Reading:
    """Read a feed into a snapshot; runs in a thread."""
    size = path.stat().st_size if path.exists() else 0
    builder = SnapshotBuilder()
    rejects: list[RejectedRow] = []
    for block in read_feed(path):
        builder.add(block.rows)
        rejects += block.rejects[: MAX_KEPT_REJECTS - len(rejects)]
        progress.read += len(block.rows) + len(block.rejects)
        progress.rejected += len(block.rejects)
        progress.percent = 50 * block.position // size
        if progress.is_abandoned:
            break
    offers, duplicate = builder.finish()
    return Reading(offers, duplicate, rejects)


@asynccontextmanager
async def _kept_in_hand(store: Store, run: FeedRun, progress: Progress, lease_ms: int) -> AsyncIterator[None]:
    """Renew the lease and show the progress while the body runs; a run that is overtaken is cut off."""
    try:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(_keep(store, run, progress, lease_ms))
            yield
            keeper.cancel()
    except ExceptionGroup as group_of_errors:
        # The first is the cause; what followed, if anything, is its consequence.
        raise group_of_errors.exceptions[0] from group_of_errors


async def _keep(store: Store, run: FeedRun, progress: Progress, lease_ms: int) -> None:
    renewed_at = time.monotonic()
    while True:
        try:
            await renew_feed(store, run, lease_ms)
            renewed_at = time.monotonic()
            await update_sync(
                store, run, progress=progress.percent, read=progress.read, rejected=progress.rejected
            )
        except StoreUnavailable:
            # A store that is slow for a moment ends no run whose lease is good for longer.
            if time.monotonic() - renewed_at > lease_ms / 1000:
                raise
        await asyncio.sleep(_REPORT_INTERVAL_SECONDS)
