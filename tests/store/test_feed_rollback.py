"""Rolling back: the stock that a carrier's feed had made before its last sync."""

import os
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from shared import clock
from shared.feeds.profiles import Mode, Profile
from shared.feeds.syncs import SyncNotApplied, SyncOptions, SyncState, confirm_sync, roll_back_sync
from shared.stock_score import MMS, SMS
from shared.store import Store
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
    csv_of,
    delta_of,
    expected_counts,
    profiles,
)

pytestmark = pytest.mark.usefixtures("small_calls")

ONE, TWO, THREE = NUMBERS[:3]
STAYS = {number: FIRST[number] for number in FIRST.keys() - SECOND.keys()} | SECOND
"""The stock while what SECOND removes of FIRST waits."""


async def test_the_first_load_can_be_rolled_back_to_nothing(feeding: Feeding) -> None:
    await feeding.ingest("other", OTHERS)
    sync = await feeding.roll_back(await feeding.ingest("acme", FIRST))
    assert sync.state is SyncState.SUPERSEDED
    assert sync.reason == f"rolled back: 0 numbers added, {len(FIRST)} removed"
    await feeding.check_settled({"other": OTHERS, "acme": {}})


async def test_a_snapshot_can_be_rolled_back_to_the_one_before(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    sync = await feeding.roll_back(await feeding.ingest("acme", SECOND))
    added, removed, _ = expected_counts(FIRST, SECOND)
    assert sync.reason == f"rolled back: {added} numbers added, {removed} removed"
    await feeding.check_settled({"acme": FIRST})


async def test_what_was_rolled_back_can_be_brought_again(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    await feeding.roll_back(await feeding.ingest("acme", SECOND))
    sync = await feeding.ingest("acme", SECOND)
    assert (sync.added, sync.removed, sync.unchanged) == expected_counts(SECOND, FIRST)
    await feeding.check_settled({"acme": SECOND})
    await feeding.roll_back(sync)
    await feeding.check_settled({"acme": FIRST})


async def test_there_is_one_way_back_and_no_second_one(feeding: Feeding) -> None:
    first = await feeding.ingest("acme", FIRST)
    second = await feeding.roll_back(await feeding.ingest("acme", SECOND))
    for sync in (second, first):
        with pytest.raises(SyncNotApplied):
            await feeding.roll_back(sync)
    await feeding.check_settled({"acme": FIRST})


async def test_a_sync_that_is_not_the_last_cannot_be_rolled_back(feeding: Feeding) -> None:
    first = await feeding.ingest("acme", FIRST)
    await feeding.ingest("acme", SECOND)
    with pytest.raises(SyncNotApplied):
        await feeding.roll_back(first)
    await feeding.check_settled({"acme": SECOND})


async def test_a_sync_that_changed_nothing_leaves_the_way_back_of_the_one_before(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    second = await feeding.ingest("acme", SECOND)
    same = await feeding.ingest("acme", SECOND)
    with pytest.raises(SyncNotApplied):
        await feeding.roll_back(same)
    await feeding.roll_back(second)
    await feeding.check_settled({"acme": FIRST})


async def test_a_rollback_that_a_newer_feed_in_the_queue_comes_before_is_not_done(feeding: Feeding) -> None:
    sync = await feeding.ingest("acme", FIRST)
    await feeding.bring("acme", SECOND)
    await roll_back_sync(feeding.store, sync)
    assert await feeding.run("acme") == 2
    sync = await feeding.ended(sync.id)
    assert sync.state is SyncState.APPLIED
    assert sync.reason == "not rolled back: a later sync has changed the stock"
    await feeding.check_settled({"acme": SECOND})


async def test_a_rollback_that_is_over_before_it_is_noted_as_queued_is_not_noted_as_queued(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = await feeding.ingest("acme", FIRST)
    await feeding.bring("acme", SECOND)
    now = clock.now

    async def run_first(store: Store) -> datetime:
        monkeypatch.setattr(clock, "now", now)
        assert await feeding.run("acme") == 2
        return await now(store)

    monkeypatch.setattr(clock, "now", run_first)
    assert (await roll_back_sync(feeding.store, sync)).state is SyncState.APPLIED


async def test_two_rollbacks_at_once_do_it_once(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    sync = await feeding.ingest("acme", SECOND)
    await roll_back_sync(feeding.store, sync)
    await roll_back_sync(feeding.store, await feeding.record(sync.id))
    await feeding.run("acme")
    assert (await feeding.ended(sync.id)).state is SyncState.SUPERSEDED
    await feeding.check_settled({"acme": FIRST})


# Syncs whose removals wait


async def test_a_sync_that_waits_can_be_rolled_back_and_nothing_waits_any_more(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.roll_back(await feeding.ingest("acme", SECOND))
    assert sync.state is SyncState.SUPERSEDED
    await feeding.check_settled({"acme": FIRST})


async def test_a_sync_that_was_confirmed_is_rolled_back_to_before_it_began(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.confirm(await feeding.ingest("acme", SECOND))
    await feeding.check_settled({"acme": SECOND})
    await feeding.roll_back(sync)
    await feeding.check_settled({"acme": FIRST})


async def test_a_confirmation_behind_the_rollback_in_the_queue_does_nothing(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.ingest("acme", SECOND)
    await roll_back_sync(feeding.store, sync)
    await confirm_sync(feeding.store, sync)
    assert await feeding.run("acme") == 2
    assert (await feeding.ended(sync.id)).state is SyncState.SUPERSEDED
    await feeding.check_settled({"acme": FIRST})


async def test_a_rollback_behind_the_confirmation_in_the_queue_undoes_both(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.ingest("acme", SECOND)
    await confirm_sync(feeding.store, sync)
    await roll_back_sync(feeding.store, await feeding.record(sync.id))
    assert await feeding.run("acme") == 2
    await feeding.check_settled({"acme": FIRST})


async def test_a_delta_before_the_rollback_in_the_queue_stays_and_only_the_removals_are_dropped(
    feeding: Feeding,
) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync = await feeding.ingest("acme", SECOND)
    new = next(number for number in NUMBERS if number not in STAYS)
    await feeding.bring("acme", delta_of([(new, 0)]), SyncOptions(Mode.DELTA))
    await roll_back_sync(feeding.store, sync)
    assert await feeding.run("acme") == 2
    sync = await feeding.ended(sync.id)
    assert (sync.state, sync.reason) == (
        SyncState.SUPERSEDED,
        "what it removes is not wanted any more; what it added stays",
    )
    await feeding.check_settled({"acme": STAYS | {new: 0}})


async def test_a_delta_that_only_waits_can_be_declined_and_brought_again(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    delta = [(number, None) for number in sorted(FIRST)[:2]]
    for _ in range(2):
        waiting = await feeding.delta("acme", delta)
        assert waiting.state is SyncState.WAITING
        assert (await feeding.roll_back(waiting)).state is SyncState.SUPERSEDED
        await feeding.check_settled({"acme": FIRST})


async def test_what_waited_from_before_still_waits_after_the_rollback_of_a_delta(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    waiting = await feeding.ingest("acme", SECOND)
    new = next(number for number in NUMBERS if number not in STAYS)
    await feeding.roll_back(await feeding.delta("acme", [(new, SMS)]))
    old = await feeding.ended(waiting.id)
    assert old.state is SyncState.WAITING
    await feeding.check_settled({"acme": STAYS}, {waiting.id: FIRST.keys() - SECOND.keys()})


# Deltas


async def test_a_delta_that_was_rolled_back_is_applied_when_it_comes_again(feeding: Feeding) -> None:
    await feeding.delta("acme", [(ONE, SMS), (TWO, SMS)])
    delta = [(ONE, None), (THREE, MMS)]
    for _ in range(2):
        await feeding.roll_back(await feeding.delta("acme", delta))
        await feeding.check_settled({"acme": {ONE: SMS, TWO: SMS}})
    assert (await feeding.delta("acme", delta)).added == 1
    await feeding.check_settled({"acme": {TWO: SMS, THREE: MMS}})


async def test_a_fetched_delta_that_was_rolled_back_is_not_fetched_by_itself_but_can_be_brought(
    feeding: Feeding, tmp_path: Path
) -> None:
    source = tmp_path / "delta.csv"
    source.write_bytes(b"number\n4152200001\n")
    feeding.profiles = profiles(acme=Profile(source=str(source), mode=Mode.DELTA, guards=ANY_REMOVAL))
    await feeding.roll_back(await feeding.fetch("acme"))
    assert (await feeding.fetch("acme")).read == 0
    await feeding.check_settled({"acme": {}})
    assert (await feeding.ingest("acme", source.read_bytes())).added == 1


# What was fetched from a source


ROLLED_BACK = (
    "the source has not changed since it was rolled back; to apply it again: "
    "`numbers ingest --carrier acme --source --confirm`"
)


def source_of(feeding: Feeding, tmp_path: Path, feed: Feed, seconds: int) -> None:
    """Have the source be a file with this feed, changed so many seconds after 1970."""
    source = tmp_path / "source.csv"
    source.write_bytes(csv_of(feed))
    os.utime(source, (seconds, seconds))
    feeding.profiles = profiles(acme=Profile(source=str(source), guards=ANY_REMOVAL))


@pytest.mark.parametrize("touched", [2_000, 3_000], ids=["unchanged", "touched"])
async def test_what_was_fetched_and_rolled_back_comes_back_only_when_somebody_confirms_it(
    feeding: Feeding, tmp_path: Path, touched: int
) -> None:
    source_of(feeding, tmp_path, FIRST, 1_000)
    await feeding.fetch("acme")
    source_of(feeding, tmp_path, SECOND, 2_000)
    await feeding.roll_back(await feeding.fetch("acme"))
    source_of(feeding, tmp_path, SECOND, touched)
    for _ in range(2):
        again = await feeding.fetch("acme")
        assert (again.state, again.read, again.reason) == (SyncState.APPLIED, 0, ROLLED_BACK)
        await feeding.check_settled({"acme": FIRST})
    await feeding.fetch("acme", SyncOptions(confirm=True))
    await feeding.check_settled({"acme": SECOND})
    again = await feeding.fetch("acme")
    assert again.reason == "the source has not changed since it was fetched last"


async def test_removals_that_were_declined_do_not_wait_again_when_the_source_is_fetched_anew(
    feeding: Feeding, tmp_path: Path
) -> None:
    await feeding.ingest("acme", FIRST)
    source_of(feeding, tmp_path, {}, 1_000)
    (tmp_path / "source.csv").write_bytes(csv_of(SECOND))
    by_name = {"acme": msgspec.structs.replace(feeding.profiles.of("acme"), guards=NO_REMOVAL)}
    feeding.profiles = profiles(**by_name)
    sync = await feeding.fetch("acme")
    assert sync.state is SyncState.WAITING
    await feeding.roll_back(sync)
    assert (await feeding.fetch("acme")).reason == ROLLED_BACK
    await feeding.check_settled({"acme": FIRST})


@pytest.mark.parametrize("seconds", [1_000, 3_000], ids=["older", "newer"])
async def test_another_feed_of_the_source_is_applied_after_a_rollback(
    feeding: Feeding, tmp_path: Path, seconds: int
) -> None:
    source_of(feeding, tmp_path, FIRST, 2_000)
    await feeding.roll_back(await feeding.fetch("acme"))
    source_of(feeding, tmp_path, THIRD, seconds)
    await feeding.fetch("acme")
    await feeding.check_settled({"acme": THIRD})


async def test_what_was_rolled_back_is_applied_when_its_profile_reads_it_differently(
    feeding: Feeding, tmp_path: Path
) -> None:
    source_of(feeding, tmp_path, {ONE: 0}, 1_000)
    await feeding.roll_back(await feeding.fetch("acme"))
    by_name = {"acme": msgspec.structs.replace(feeding.profiles.of("acme"), sms=True)}
    feeding.profiles = profiles(**by_name)
    await feeding.fetch("acme")
    await feeding.check_settled({"acme": {ONE: SMS}})


async def test_a_rollback_leaves_a_feed_that_came_before_it_as_it_was(feeding: Feeding) -> None:
    """A sync that ended long ago is not brought back to life."""
    await feeding.ingest("acme", FIRST)
    await feeding.ingest("acme", SECOND)
    await feeding.roll_back(await feeding.ingest("acme", THIRD))
    await feeding.check_settled({"acme": SECOND})
