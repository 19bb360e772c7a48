"""Doing the work that waits in a carrier's queue, one after the other."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.atomic.feed_operations import (
    FeedRun,
    Overtaken,
    claim_feed,
    forget_removals,
    leave_feed,
    renew_feed,
)
from shared.feeds.syncs import Sync, SyncState, Task, read_sync, update_sync
from shared.store import Store, StoreUnavailable
from worker.feeds.reading import Progress
from worker.feeds.tasks import Feeds, Outcome, do_task

logger = logging.getLogger(__name__)

_REPORT_INTERVAL_SECONDS = 0.5

_MAX_ATTEMPTS = 10
"""Runs that died over a sync before it is given up: a feed that kills its worker must not do so for ever.

What they have put in stock stays on record as intended, and the next feed takes back what it does not list.
The guards do not see that, for they look at what was applied last: otherwise a feed as it should be would
wait for a confirmation because one that was given up had added what nobody wants.
"""

_POINTLESS_FOR = {
    Task.FETCH: {state for state in SyncState if state.has_ended},
    Task.READ: {state for state in SyncState if state.has_ended},
    Task.CONFIRM: {state for state in SyncState if state.has_ended} - {SyncState.WAITING},
    Task.ROLL_BACK: {SyncState.REFUSED, SyncState.FAILED, SyncState.SUPERSEDED},
}
"""States in which a sync has no use for a task: it was done before, or is not wanted any more."""


async def run_queued_syncs(feeds: Feeds, carrier: str, lease_seconds: float) -> int:
    """Do the work in a carrier's queue until it is empty or another worker has it; give how much was done.

    Raises:
        StoreUnavailable: the store went away; the run goes on when its lease is over.
    """
    lease_ms = int(lease_seconds * 1000)
    ended = 0
    while run := await claim_feed(feeds.store, carrier, lease_ms):
        try:
            await _run_task(feeds, run, lease_ms)
        except Overtaken:
            logger.warning("sync %s of %s: another run has taken over", run.sync_id, carrier)
            break
        except asyncio.CancelledError:
            await _give_back(feeds.store, run)
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


async def _run_task(feeds: Feeds, run: FeedRun, lease_ms: int) -> None:
    sync = await read_sync(feeds.store, run.sync_id)
    if sync is not None and sync.state not in _POINTLESS_FOR[Task(run.task)]:
        # Of each task anew: a sync that took nine runs can still be confirmed and rolled back.
        attempts = sync.attempts + 1 if sync.state is SyncState.RUNNING else 1
        await update_sync(feeds.store, run, state=SyncState.RUNNING, attempts=attempts)
        if attempts > _MAX_ATTEMPTS:
            reason = f"given up after {_MAX_ATTEMPTS} runs that did not come to an end"
            outcome = Outcome(SyncState.FAILED, reason)
        else:
            outcome = await _do_task(feeds, run, sync, lease_ms)
        if outcome.state is not SyncState.WAITING:
            # They are done, or nobody can confirm them any more.
            await forget_removals(feeds.store, run, [run.sync_id])
        await _record(feeds.store, run, outcome)
    await leave_feed(feeds.store, run)
    feeds.spool.remove(run.sync_id)


async def _do_task(feeds: Feeds, run: FeedRun, sync: Sync, lease_ms: int) -> Outcome:
    progress = Progress()
    async with _kept_in_hand(feeds.store, run, progress, lease_ms):
        try:
            return await do_task(feeds, run, sync, progress)
        finally:
            progress.is_abandoned = True


async def _record(store: Store, run: FeedRun, outcome: Outcome) -> None:
    done = {"progress": 100} if outcome.state in (SyncState.APPLIED, SyncState.WAITING) else {}
    await update_sync(store, run, state=outcome.state, reason=outcome.reason, **outcome.counts, **done)
    level = logging.WARNING if outcome.state in (SyncState.FAILED, SyncState.REFUSED) else logging.INFO
    found = [f"{count} {name}" for name, count in outcome.counts.items()]
    said = ", ".join([*found, outcome.reason] if outcome.reason else found)
    logger.log(level, "sync %s of %s %s: %s", run.sync_id, run.carrier, outcome.state, said)


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
            shown = {"progress": progress.percent}
            if progress.read:
                shown |= {"read": progress.read, "rejected": progress.rejected}
            await update_sync(store, run, **shown)
        except StoreUnavailable:
            # A store that is slow for a moment ends no run whose lease is good for longer.
            if time.monotonic() - renewed_at > lease_ms / 1000:
                raise
        await asyncio.sleep(_REPORT_INTERVAL_SECONDS)
