"""What a run does for a sync: fetch its feed, read and apply it, do what was confirmed, or roll it back."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from pyroaring import BitMap

from shared import clock, store_keys
from shared.atomic.feed_operations import FeedRun, forget_removals, let_removals_wait, write_feed
from shared.feeds.guards import refusal
from shared.feeds.offers import Numbers, Offers, count_of
from shared.feeds.profiles import Mode, Profile, Profiles
from shared.feeds.rows import REMOVAL, FeedRefused
from shared.feeds.sources import DIRECTORY_OF_DELTAS, parse_source
from shared.feeds.spool import FeedTooLarge, Spool
from shared.feeds.syncs import Sync, SyncState, Task, keep_rejects, supersede_sync, update_sync
from shared.store import Store
from worker.feeds.apply import InStock, apply_offers, look_at_stock
from worker.feeds.difference import Difference, changed_by, difference, missing_from, together, without
from worker.feeds.feed_state import (
    SourceFeed,
    areas_of_snapshot,
    load_removals,
    load_snapshot,
    note_source,
    read_feed_state,
    save_removals,
    waiting_syncs,
)
from worker.feeds.fetch import fetch
from worker.feeds.guards import too_many_removed
from worker.feeds.reading import Progress, Reading, read_spooled
from worker.feeds.sources.opened import SourceUnavailable

_MAX_KEPT_CONTENTS = 1_000
"""Deltas of a carrier that are known again when they come a second time."""


class Feeds(NamedTuple):
    """What is needed to bring carriers' feeds in step."""

    store: Store
    spool: Spool
    profiles: Profiles


class Outcome(NamedTuple):
    """How a task ended: what is written into its sync's record."""

    state: SyncState
    reason: str = ""
    counts: Mapping[str, int] = {}


class Plan(NamedTuple):
    """What a feed means for the stock."""

    new: Offers
    """What the carrier offers from now on."""
    removed: Numbers
    """What it does not offer any more: not in `new`, unless it waits."""
    waits_because: str | None
    """Why the removals wait for a confirmation."""


async def do_task(feeds: Feeds, run: FeedRun, sync: Sync, progress: Progress) -> Outcome:
    """Do a run's task for its sync.

    Raises:
        Overtaken: a later run has the feed; it finishes the work.
        StoreUnavailable: the store did not answer; the next run finishes the work.
    """
    try:
        return await _TASKS[Task(run.task)](feeds, run, sync, progress)
    except (FeedRefused, FeedTooLarge) as error:
        return Outcome(SyncState.REFUSED, str(error), {"read": progress.read, "rejected": progress.rejected})
    except SourceUnavailable as error:
        return Outcome(SyncState.FAILED, str(error))
    except OSError as error:
        return Outcome(SyncState.FAILED, f"the feed cannot be read from the spool: {error.strerror or error}")


async def _fetch(feeds: Feeds, run: FeedRun, sync: Sync, progress: Progress) -> Outcome:
    store = feeds.store
    fetched = (await read_feed_state(store, run.carrier)).fetched
    if fetched is None or fetched.sync_id != sync.id:
        found = await _fetch_new(feeds, run, sync)
        if isinstance(found, Outcome):
            return found
        fetched = found
        # Before it is read: one sync is one feed, whatever the source has when a run follows one that died.
        await note_source(store, run, "fetched", fetched)
    await update_sync(store, run, sha256=fetched.sha256)
    outcome = await _read_spooled(feeds, run, sync, fetched.sha256, progress)
    if outcome.state in (SyncState.APPLIED, SyncState.WAITING) and not sync.dry_run:
        # A time that is still to come would make all that follows look older.
        modified_ms = min(fetched.modified_ms, await clock.now_ms(store))
        await note_source(store, run, "source", msgspec.structs.replace(fetched, modified_ms=modified_ms))
    return outcome


async def _fetch_new(feeds: Feeds, run: FeedRun, sync: Sync) -> SourceFeed | Outcome:
    """Fetch what the source has, or say why there is nothing to be read."""
    profile = feeds.profiles.of(run.carrier)
    mode = sync.mode or profile.mode
    source = parse_source(profile.source) if profile.source else None
    if mode is Mode.DELTA and source is not None and await asyncio.to_thread(source.is_directory):
        return Outcome(SyncState.FAILED, DIRECTORY_OF_DELTAS)
    state = await read_feed_state(feeds.store, run.carrier)
    # What is read differently now is fetched again.
    reader = hashlib.sha256(msgspec.json.encode(profile)).hexdigest()[:16]
    last = state.source if state.source is not None and state.source.reader == reader else None
    if sync.dry_run or sync.confirm:
        last = None
    fetched = await fetch(profile, feeds.spool, sync.id, last.version if last else None)
    if last is not None and last.is_rolled_back and (fetched is None or fetched.sha256 == last.sha256):
        return Outcome(
            SyncState.APPLIED,
            "the source has not changed since it was rolled back; to apply it again: "
            f"`numbers ingest --carrier {run.carrier} --source --confirm`",
        )
    if fetched is None:
        if mode is Mode.SNAPSHOT:
            areas = await areas_of_snapshot(feeds.store, run.carrier, state.applied)
            await _note_areas(feeds.store, run, areas)
        return Outcome(SyncState.APPLIED, "the source has not changed since it was fetched last")
    modified_ms = fetched.modified_ms or 0
    if last is not None and not last.is_rolled_back and 0 < modified_ms < last.modified_ms:
        return Outcome(SyncState.SUPERSEDED, "the source's feed is older than the one that was applied last")
    return SourceFeed(sync.id, reader, fetched.sha256, fetched.version, modified_ms)


async def _read(feeds: Feeds, run: FeedRun, sync: Sync, progress: Progress) -> Outcome:
    return await _read_spooled(feeds, run, sync, sync.sha256 or "", progress)


async def _read_spooled(feeds: Feeds, run: FeedRun, sync: Sync, sha256: str, progress: Progress) -> Outcome:
    store, profile = feeds.store, feeds.profiles.of(run.carrier)
    mode = sync.mode or profile.mode
    if mode is Mode.DELTA and not sync.confirm and await _was_applied(store, run, sha256):
        return Outcome(
            SyncState.APPLIED,
            "the same delta was applied before; nothing was changed (unless it is confirmed)",
        )
    begun = time.monotonic()
    path = feeds.spool.path_of(sync.id)
    reading = await asyncio.to_thread(read_spooled, path, sha256, profile, mode, progress)
    was_read = time.monotonic()
    await keep_rejects(store, sync.id, reading.rejects)
    counts = {
        "read": progress.read,
        "rejected": progress.rejected,
        "duplicate": reading.duplicate,
        "reading_ms": clock.ms_of(was_read - begun),
    }
    if reason := _refusal(profile, mode, reading, progress):
        return Outcome(SyncState.REFUSED, reason, counts)
    guarded = None if sync.confirm else profile
    if sync.dry_run:
        # Nothing of what makes a carrier known, or an earlier run harmless, is for one that changes nothing.
        state = await read_feed_state(store, run.carrier)
        began = await load_snapshot(store, run.carrier, state.applied)
        return _forecast(began, _plan(began, reading.offers, mode, guarded), counts)
    before = await look_at_stock(store, run, feeds.profiles, set(reading.offers))
    began = await _before_sync(store, run, before)
    plan = _plan(began, reading.offers, mode, guarded)
    await _settle_waiting(store, run, reading.offers, mode)
    if plan.waits_because:
        await let_removals_wait(store, run)
        await save_removals(store, run, sync.id, plan.removed)
    change, protected = await apply_offers(store, before, plan.new, progress.show_sent)
    if began is not before.applied:
        change = difference(plan.new, began)
    areas = reading.offers.keys() if mode is Mode.DELTA else reading.offers.keys() | before.applied.keys()
    await _note_areas(store, run, areas)
    if mode is Mode.DELTA:
        await _note_content(store, run, sha256)
    counts |= _counts_of(change)
    counts |= {"protected": protected, "applying_ms": clock.ms_of(time.monotonic() - was_read)}
    if plan.waits_because:
        return Outcome(SyncState.WAITING, _waiting_for(plan, sync.id), counts)
    return Outcome(SyncState.APPLIED, "", counts)


def _refusal(profile: Profile, mode: Mode, reading: Reading, progress: Progress) -> str | None:
    numbers = count_of(reading.offers)
    return refusal(profile.guards, mode, rows=progress.read, rejected=progress.rejected, numbers=numbers)


def _plan(applied: Offers, read: Offers, mode: Mode, guarded: Profile | None) -> Plan:
    new = changed_by(applied, read) if mode is Mode.DELTA else read
    removed = missing_from(new, applied)
    reason = too_many_removed(guarded.guards, applied, new, removed) if guarded else None
    return Plan(together(new, applied, removed) if reason else new, removed, reason)


async def _before_sync(store: Store, run: FeedRun, before: InStock) -> Offers:
    """Give what was applied before the sync: another run may have applied it, and died before it said so."""
    if before.state.applied_by != run.sync_id:
        return before.applied
    return await load_snapshot(store, run.carrier, before.state.previous)


def _forecast(began: Offers, plan: Plan, counts: Mapping[str, int]) -> Outcome:
    change = difference(without(plan.new, plan.removed), began)
    reason = "dry run: nothing was changed"
    if plan.waits_because:
        reason += f"; its removals would wait for a confirmation: {plan.waits_because}"
    return Outcome(SyncState.APPLIED, reason, {**counts, **_counts_of(change)})


def _waiting_for(plan: Plan, sync_id: str) -> str:
    count = sum(map(len, plan.removed.values()))
    return (
        f"{plan.waits_because}: {count:,} removals wait for `numbers sync confirm {sync_id}`; "
        "what it adds is applied"
    )


def _counts_of(change: Difference) -> dict[str, int]:
    return {"added": change.added, "removed": change.removed, "unchanged": change.unchanged}


async def _settle_waiting(store: Store, run: FeedRun, read: Offers, mode: Mode) -> None:
    """Bring removals that wait up to date with a feed that came after them, or that is read once more."""
    waiting = await waiting_syncs(store, run.carrier)
    if mode is Mode.SNAPSHOT or run.sync_id in waiting:
        gone = waiting if mode is Mode.SNAPSHOT else [run.sync_id]
        await _drop_waiting(store, run, gone, "a newer snapshot of the carrier has come")
        return
    for sync_id in waiting:
        # What is offered anew is not to be removed any more.
        removals = await load_removals(store, run.carrier, sync_id)
        left = {area_code: numbers - _added_in(read, area_code) for area_code, numbers in removals.items()}
        await save_removals(store, run, sync_id, left)


def _added_in(delta: Offers, area_code: str) -> BitMap:
    places = delta.get(area_code, {})
    return BitMap().union(*(numbers for features, numbers in places.items() if features != REMOVAL))


async def _drop_waiting(store: Store, run: FeedRun, sync_ids: list[str], reason: str) -> None:
    if not sync_ids:
        return
    for sync_id in sync_ids:
        if sync_id != run.sync_id:
            await supersede_sync(store, run, sync_id, reason)
    # Last: a run that dies before finds them once more.
    await forget_removals(store, run, sync_ids)


async def _confirm(feeds: Feeds, run: FeedRun, sync: Sync, progress: Progress) -> Outcome:
    store = feeds.store
    before = await look_at_stock(store, run, feeds.profiles, set())
    began = await _before_sync(store, run, before)
    # None when another run has done it, and died before it said so: what is superseded is not run.
    removals = await load_removals(store, run.carrier, run.sync_id)
    new = without(before.applied, removals)
    applied = await apply_offers(store, before, new, progress.show_sent)
    removed = difference(new, began).removed
    counts = {
        "removed": removed,
        "unchanged": sync.unchanged + sync.removed - removed,
        "protected": applied.protected,
    }
    return Outcome(SyncState.APPLIED, "", counts)


async def _roll_back(feeds: Feeds, run: FeedRun, sync: Sync, progress: Progress) -> Outcome:
    store = feeds.store
    before = await look_at_stock(store, run, feeds.profiles, set())
    is_applied = before.state.applied_by == run.sync_id and before.state.previous is not None
    is_waiting = run.sync_id in await waiting_syncs(store, run.carrier)
    if before.state.applied_by is not None and not is_applied and not is_waiting:
        return Outcome(SyncState.APPLIED, "not rolled back: a later sync has changed the stock")
    # First: once the stock is what it was, a run that follows a dead one does not know what there was to do.
    if sync.sha256:
        await store.execute("ZREM", store_keys.feed_contents(run.carrier), sync.sha256)
    source = before.state.source
    if source is not None and source.sha256 == sync.sha256:
        # Or the next fetch would bring it back.
        await note_source(store, run, "source", msgspec.structs.replace(source, is_rolled_back=True))
    if is_waiting:
        await forget_removals(store, run, [run.sync_id])
        if not is_applied:
            return Outcome(
                SyncState.SUPERSEDED, "what it removes is not wanted any more; what it added stays"
            )
    if not is_applied:
        return Outcome(SyncState.SUPERSEDED, "rolled back")
    previous = await load_snapshot(store, run.carrier, before.state.previous)
    change, _ = await apply_offers(store, before, previous, progress.show_sent, rolls_back=True)
    return Outcome(
        SyncState.SUPERSEDED, f"rolled back: {change.added:,} numbers added, {change.removed:,} removed"
    )


async def _note_areas(store: Store, run: FeedRun, area_codes: Iterable[str]) -> None:
    """Note of which area codes the carrier has said now what it offers."""
    now_ms = await clock.now_ms(store)
    fields = [item for area_code in sorted(area_codes) for item in (area_code, now_ms)]
    if fields:
        await write_feed(store, run, store_keys.feed_confirmed(run.carrier), fields)


async def _was_applied(store: Store, run: FeedRun, sha256: str) -> bool:
    """Tell whether a delta was applied, but for a run of the same sync that died before it said so."""
    if (await read_feed_state(store, run.carrier)).noted_by == run.sync_id:
        return False
    return await store.execute("ZSCORE", store_keys.feed_contents(run.carrier), sha256) is not None


async def _note_content(store: Store, run: FeedRun, sha256: str) -> None:
    await write_feed(store, run, store_keys.feed(run.carrier), ["noted_by", run.sync_id])
    key = store_keys.feed_contents(run.carrier)
    await store.execute_many(
        [
            ("ZADD", key, "NX", await clock.now_ms(store), sha256),
            ("ZREMRANGEBYRANK", key, 0, -_MAX_KEPT_CONTENTS - 1),
        ]
    )


_TASKS: Mapping[Task, Callable[[Feeds, FeedRun, Sync, Progress], Awaitable[Outcome]]] = {
    Task.FETCH: _fetch,
    Task.READ: _read,
    Task.CONFIRM: _confirm,
    Task.ROLL_BACK: _roll_back,
}
