"""Removals that wait: what is applied at once, what a confirmation does, and what makes it pointless."""

import asyncio

import pytest

from shared import store_keys
from shared.atomic.feed_operations import FeedRun
from shared.feeds.profiles import Guards, Mode, Profile
from shared.feeds.syncs import Sync, SyncNotWaiting, SyncState, confirm_sync, supersede_sync
from shared.stock_score import MMS, SMS
from tests.store.feeding import (
    ANY_REMOVAL,
    FIRST,
    NO_REMOVAL,
    NUMBERS,
    OTHERS,
    SECOND,
    THIRD,
    Feed,
    Feeding,
    assign,
    counts_of,
    profiles,
)

pytestmark = pytest.mark.usefixtures("small_calls")

GONE = FIRST.keys() - SECOND.keys()
KEPT = {number: FIRST[number] for number in GONE}
"""What SECOND removes of FIRST."""


async def made_wait(feeding: Feeding) -> Sync:
    """Have FIRST in stock, and SECOND with what it removes waiting."""
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.ingest("acme", SECOND)
    assert sync.state is SyncState.WAITING
    return sync


async def test_what_a_feed_adds_and_changes_is_applied_while_what_it_removes_waits(feeding: Feeding) -> None:
    sync = await made_wait(feeding)
    await feeding.check_settled({"acme": KEPT | SECOND}, {sync.id: {*GONE}})
    assert counts_of(sync) == (len(SECOND.keys() - FIRST.keys()), 0, len(FIRST))
    assert sync.progress == 100


async def test_the_reason_says_which_guard_it_was_and_what_to_do(feeding: Feeding) -> None:
    sync = await made_wait(feeding)
    assert sync.reason == (
        f"it removes {len(GONE)} of {len(FIRST)} numbers ({len(GONE) * 100 / len(FIRST):.1f} %), "
        f"more than 0 %: {len(GONE)} removals wait for `numbers sync confirm {sync.id}`; "
        "what it adds is applied"
    )


async def test_an_area_code_that_empties_waits_however_many_numbers_there_are_elsewhere(
    feeding: Feeding,
) -> None:
    feeding.profiles = profiles(Guards(emptied_area=3))
    full = {number: SMS for number in NUMBERS if number.area_code != "604"}
    few = {number: SMS for number in NUMBERS if number.area_code == "604"}
    await feeding.ingest("acme", full | dict(list(few.items())[:2]))
    # Two are too few for a guard.
    assert (await feeding.ingest("acme", full)).state is SyncState.APPLIED
    await feeding.ingest("acme", full | dict(list(few.items())[:3]))
    sync = await feeding.ingest("acme", full)
    assert sync.state is SyncState.WAITING
    assert sync.reason
    assert sync.reason.startswith("it leaves nothing in area code 604: 3 removals wait")


async def test_whoever_has_looked_at_a_feed_before_passes_its_guards(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.ingest("acme", SECOND, confirm=True)
    assert (sync.state, sync.removed) == (SyncState.APPLIED, len(GONE))
    await feeding.check_settled({"acme": SECOND})


async def test_a_feed_that_passes_its_guards_is_still_refused_when_it_is_empty(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    assert (await feeding.ingest("acme", b"number\n", confirm=True)).state is SyncState.REFUSED
    await feeding.check_settled({"acme": FIRST})


async def test_guards_are_those_of_the_carriers_own_profile(feeding: Feeding) -> None:
    feeding.profiles = profiles(NO_REMOVAL, acme=Profile(guards=ANY_REMOVAL))
    await feeding.ingest("acme", FIRST)
    await feeding.ingest("other", FIRST)
    assert (await feeding.ingest("acme", SECOND)).state is SyncState.APPLIED
    assert (await feeding.ingest("other", SECOND)).state is SyncState.WAITING


# Confirming


async def test_a_confirmation_removes_what_waited(feeding: Feeding) -> None:
    waiting = await made_wait(feeding)
    sync = await feeding.confirm(waiting)
    assert (sync.state, sync.reason) == (SyncState.APPLIED, None)
    added = len(SECOND.keys() - FIRST.keys())
    assert counts_of(sync) == (added, len(GONE), len(SECOND) - added)
    await feeding.check_settled({"acme": SECOND})


async def test_a_second_confirmation_is_refused(feeding: Feeding) -> None:
    sync = await made_wait(feeding)
    await feeding.confirm(sync)
    with pytest.raises(SyncNotWaiting):
        await feeding.confirm(sync)


async def test_a_confirmation_counts_even_when_whoever_gave_it_died_before_it_was_noted(
    feeding: Feeding,
) -> None:
    waiting = await made_wait(feeding)
    await feeding.store.execute("RPUSH", store_keys.feed_queue("acme"), f"confirm:{waiting.id}")
    assert await feeding.run("acme") == 1
    assert (await feeding.ended(waiting.id)).state is SyncState.APPLIED
    await feeding.check_settled({"acme": SECOND})


async def test_two_confirmations_at_once_do_it_once(feeding: Feeding) -> None:
    waiting = await made_wait(feeding)
    await asyncio.gather(*(confirm_sync(feeding.store, waiting) for _ in range(2)))
    assert await feeding.run("acme") == 2
    sync = await feeding.ended(waiting.id)
    assert (sync.state, sync.removed) == (SyncState.APPLIED, len(GONE))
    await feeding.check_settled({"acme": SECOND})


async def test_a_number_of_another_carrier_too_stays_available_when_its_removal_is_confirmed(
    feeding: Feeding,
) -> None:
    await feeding.ingest("other", OTHERS)
    await feeding.confirm(await made_wait(feeding))
    assert OTHERS.keys() & GONE
    await feeding.check_settled({"other": OTHERS, "acme": SECOND})


async def test_what_waits_is_confirmed_against_the_stock_as_it_is_then(feeding: Feeding) -> None:
    """A delta comes between: it lists some anew, and takes some itself."""
    waiting = await made_wait(feeding)
    feeding.profiles = profiles(ANY_REMOVAL)
    relisted, removed, *others = sorted(GONE)
    await feeding.delta("acme", [(relisted, MMS), (removed, None)])
    await feeding.check_settled(
        {"acme": SECOND | {relisted: MMS} | {number: FIRST[number] for number in others}},
        {waiting.id: GONE - {relisted}},
    )
    sync = await feeding.confirm(waiting)
    assert sync.removed == len(others)
    await feeding.check_settled({"acme": SECOND | {relisted: MMS}})


async def test_deltas_whose_removals_wait_do_not_supersede_each_other(feeding: Feeding) -> None:
    first, second, third = sorted(FIRST)[:3]
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    one = await feeding.delta("acme", [(first, None), (second, None)])
    two = await feeding.delta("acme", [(third, None), (second, None)])
    assert (one.state, two.state) == (SyncState.WAITING, SyncState.WAITING)
    await feeding.check_settled({"acme": FIRST}, {one.id: {first, second}, two.id: {second, third}})
    assert (await feeding.confirm(two)).removed == 2
    assert (await feeding.confirm(one)).removed == 1
    await feeding.check_settled(
        {"acme": {number: FIRST[number] for number in FIRST.keys() - {first, second, third}}}
    )


# Superseding


@pytest.mark.parametrize("newer", [SECOND, THIRD, FIRST])
async def test_a_newer_snapshot_supersedes_one_that_waits(feeding: Feeding, newer: Feed) -> None:
    waiting = await made_wait(feeding)
    sync = await feeding.ingest("acme", newer)
    before = KEPT | SECOND
    gone = before.keys() - newer.keys()
    old = await feeding.ended(waiting.id)
    assert (old.state, old.reason) == (SyncState.SUPERSEDED, "a newer snapshot of the carrier has come")
    assert counts_of(sync) == (len(newer.keys() - before.keys()), 0, len(before))
    stock = {number: before[number] for number in gone} | newer
    await feeding.check_settled({"acme": stock}, {sync.id: {*gone}})
    with pytest.raises(SyncNotWaiting):
        await feeding.confirm(waiting)
    await feeding.confirm(sync)
    await feeding.check_settled({"acme": newer})


async def test_a_confirmation_that_comes_after_a_newer_snapshot_in_the_queue_does_nothing(
    feeding: Feeding,
) -> None:
    waiting = await made_wait(feeding)
    newer = await feeding.bring("acme", FIRST | SECOND)
    assert (await confirm_sync(feeding.store, waiting)).state is SyncState.QUEUED
    assert await feeding.run("acme") == 2
    assert (await feeding.ended(waiting.id)).state is SyncState.SUPERSEDED
    assert (await feeding.ended(newer)).state is SyncState.APPLIED
    await feeding.check_settled({"acme": FIRST | SECOND})


async def test_a_snapshot_that_is_refused_leaves_what_waits(feeding: Feeding) -> None:
    waiting = await made_wait(feeding)
    await feeding.ingest("acme", b"number\n")
    await feeding.check_settled({"acme": KEPT | SECOND}, {waiting.id: {*GONE}})
    await feeding.confirm(waiting)
    await feeding.check_settled({"acme": SECOND})


async def test_a_dry_run_leaves_what_waits(feeding: Feeding) -> None:
    waiting = await made_wait(feeding)
    await feeding.ingest("acme", THIRD, dry_run=True)
    await feeding.check_settled({"acme": KEPT | SECOND}, {waiting.id: {*GONE}})


async def test_a_sync_that_has_ended_is_not_superseded(feeding: Feeding) -> None:
    sync = await feeding.ingest("acme", FIRST)
    await supersede_sync(feeding.store, FeedRun("acme", 9, "read", "another"), sync.id, "late")
    assert await feeding.record(sync.id) == sync


# Beside orders


async def test_what_waits_can_be_ordered_meanwhile_and_is_counted_as_protected(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    waiting = await feeding.ingest("acme", SECOND)
    number = min(GONE)
    await assign(feeding.store, number)
    sync = await feeding.confirm(waiting)
    assert (sync.removed, sync.protected) == (len(GONE), 1)
    [record] = await feeding.store.execute("HVALS", store_keys.unavailable(number.area_code))
    assert record.startswith(b"assigned ")


@pytest.mark.parametrize("mode", Mode)
async def test_a_feed_that_removes_nothing_never_waits(feeding: Feeding, mode: Mode) -> None:
    feeding.profiles = profiles(NO_REMOVAL)
    await feeding.ingest("acme", FIRST, mode=mode)
    sync = await feeding.ingest("acme", FIRST | SECOND, mode=mode)
    assert sync.state is SyncState.APPLIED
    await feeding.check_settled({"acme": FIRST | SECOND})
