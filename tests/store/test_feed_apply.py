"""What a sync of a carrier's snapshot does to the stock, and what its record says of it."""

import asyncio
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from shared import store_keys
from shared.coverage import read_coverage
from shared.feeds.profiles import Format, Guards, Limits, Mode, Profile
from shared.feeds.rows import RejectedRow
from shared.feeds.syncs import Sync, SyncOptions, SyncState, read_rejects
from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from shared.store import Argument, Store
from tests.futures import returns_future
from tests.store.feeding import (
    ANY_REMOVAL,
    FIRST,
    NUMBERS,
    OTHERS,
    SECOND,
    THIRD,
    Feed,
    Feeding,
    counts_of,
    delta_of,
    expected_counts,
    profiles,
    some_feed,
)
from tests.store.ordering import everything
from worker.feeds.feed_state import load_snapshot, read_feed_state

pytestmark = pytest.mark.usefixtures("small_calls")


class RecordingStore(Store):
    """Notes which commands were given."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5)
        self.commands: list[tuple[Argument, ...]] = []

    @returns_future
    async def execute(self, *command: Argument) -> Any:
        self.commands.append(command)
        return await super().execute(*command)

    @returns_future
    async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        return [await self.execute(*command) for command in commands]

    @property
    def changes(self) -> list[tuple[Argument, ...]]:
        """Give the commands that change the stock."""
        return [command for command in self.commands if any(":available" in str(part) for part in command)]


async def ingest_watched(valkey: str, feeding: Feeding, feed: Feed) -> tuple[RecordingStore, Sync]:
    sync_id = await feeding.bring("acme", feed)
    watched = RecordingStore(valkey)
    try:
        assert await feeding.run("acme", watched) == 1
    finally:
        await watched.close()
    return watched, await feeding.ended(sync_id)


# What a sync does


async def test_the_first_load_puts_all_numbers_in_stock(feeding: Feeding) -> None:
    sync = await feeding.ingest("acme", FIRST)
    assert sync.state is SyncState.APPLIED
    assert (sync.read, sync.rejected, sync.duplicate, sync.progress) == (len(FIRST), 0, 0, 100)
    assert counts_of(sync) == (len(FIRST), 0, 0)
    assert (sync.protected, sync.reason, sync.attempts) == (0, None, 1)
    await feeding.check_settled({"acme": FIRST})


async def test_the_same_feed_again_changes_nothing(valkey: str, feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    applied = await read_feed_state(feeding.store, "acme")
    watched, sync = await ingest_watched(valkey, feeding, dict(reversed(FIRST.items())))
    assert counts_of(sync) == (0, 0, len(FIRST))
    assert watched.changes == []
    assert await read_feed_state(feeding.store, "acme") == applied
    await feeding.check_settled({"acme": FIRST})


async def test_only_what_differs_is_sent(valkey: str, feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    gone, *_, changed = FIRST
    new = {number: features for number, features in FIRST.items() if number != gone}
    new[changed] ^= SMS
    watched, _ = await ingest_watched(valkey, feeding, new)
    # The packed numbers are all that a call has in bytes.
    sent = {part for command in watched.changes for part in command if isinstance(part, bytes)}
    assert sent == {
        gone.local.to_bytes(4, "little"),
        (new[changed] * 2**24 + changed.local).to_bytes(4, "little"),
    }
    await feeding.check_settled({"acme": new})


async def test_the_next_feed_takes_the_place_of_the_last(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    sync = await feeding.ingest("acme", SECOND)
    assert counts_of(sync) == expected_counts(SECOND, FIRST)
    assert min(counts_of(sync)) > 0
    await feeding.check_settled({"acme": SECOND})


async def test_features_that_changed_are_updated(feeding: Feeding) -> None:
    other_features = {number: features ^ MMS for number, features in FIRST.items()}
    await feeding.ingest("acme", FIRST)
    sync = await feeding.ingest("acme", other_features)
    assert counts_of(sync) == (0, 0, len(FIRST))
    await feeding.check_settled({"acme": other_features})


async def test_a_range_of_numbers_is_so_many_numbers_and_one_row(feeding: Feeding) -> None:
    feeding.profiles = profiles(acme=Profile(format=Format.RANGES, sms=True, guards=ANY_REMOVAL))
    sync = await feeding.ingest("acme", b"start,count\n+14152200000,7\n+14152200005,3\n")
    assert (sync.read, sync.added, sync.duplicate) == (2, 8, 2)
    await feeding.check_settled({"acme": {PhoneNumber("415", 2_200_000 + at): SMS for at in range(8)}})


async def test_rejected_and_duplicate_rows_are_counted_and_kept(feeding: Feeding) -> None:
    content = b"number,sms\n4152200001,1\nhello,1\n4152200001,0\n415220000,1\n4152200002,2\n"
    sync = await feeding.ingest("acme", content)
    assert sync.state is SyncState.APPLIED
    assert (sync.read, sync.rejected, sync.duplicate, sync.added) == (5, 3, 1, 1)
    assert await read_rejects(feeding.store, sync.id) == [
        RejectedRow(3, "has letters", "hello,1"),
        RejectedRow(5, "has 9 digits, needs 10", "415220000,1"),
        RejectedRow(6, "sms is neither true nor false", "4152200002,2"),
    ]
    await feeding.check_settled({"acme": {PhoneNumber("415", 2_200_001): 0}})


async def test_the_first_thousand_rejected_rows_are_kept_and_all_counted(feeding: Feeding) -> None:
    sync = await feeding.ingest("acme", b"number\n4152200001\n" + b"bad\n" * 2_500)
    assert sync.rejected == 2_500
    assert [row.line for row in await read_rejects(feeding.store, sync.id)] == list(range(3, 1_003))


async def test_bitmaps_come_back_from_the_store_as_they_were_kept(feeding: Feeding) -> None:
    # More places than one command moves, each of several containers of a bitmap.
    feed = {
        PhoneNumber(str(area), 2_300_000 + 70_000 * at): at % 4
        for area in range(220, 240)
        for at in range(20)
    }
    await feeding.ingest("acme", feed)
    state = await read_feed_state(feeding.store, "acme")
    kept = await load_snapshot(feeding.store, "acme", state.applied)
    assert [len(numbers) for places in kept.values() for numbers in places.values()] == [5] * 80
    await feeding.check_settled({"acme": feed})


async def test_for_each_area_code_it_is_known_when_the_carrier_last_said_what_it_offers(
    feeding: Feeding,
) -> None:
    async def confirmed() -> dict[str, int]:
        found = await feeding.store.execute("HGETALL", store_keys.feed_confirmed("acme"))
        return {area.decode(): int(at) for area, at in found.items()}

    await feeding.ingest("acme", FIRST)
    assert (await confirmed()).keys() == {"415", "212"}
    # What is not in a snapshot is not offered: that is said of it too.
    await feeding.store.execute("HSET", store_keys.feed_confirmed("acme"), "415", 1, "212", 1)
    await feeding.ingest("acme", SECOND)
    seen = await confirmed()
    assert seen.keys() == {"415", "212", "604"}
    assert min(seen.values()) > 1
    # A delta speaks only of what it names.
    await feeding.store.execute("HSET", store_keys.feed_confirmed("acme"), "415", 1, "604", 1)
    await feeding.delta("acme", [(NUMBERS[0], None)])
    seen = await confirmed()
    assert (seen["415"] > 1, seen["604"]) == (True, 1)


# The queue


async def test_syncs_of_a_carrier_run_in_the_order_in_which_they_came(feeding: Feeding) -> None:
    feeds = [FIRST, SECOND, THIRD, FIRST]
    sync_ids = [await feeding.bring("acme", feed) for feed in feeds]
    assert await feeding.run("acme") == 4
    syncs = [await feeding.ended(sync_id) for sync_id in sync_ids]
    before = [{}, *feeds[:-1]]
    assert [counts_of(sync) for sync in syncs] == list(map(expected_counts, feeds, before))
    assert [sync.generation for sync in syncs] == sorted(sync.generation for sync in syncs)
    await feeding.check_settled({"acme": FIRST})


async def test_feeds_of_carriers_run_side_by_side(feeding: Feeding) -> None:
    feeds = {f"carrier-{at}": some_feed(at, "415", "212", "604") for at in range(6)}
    for carrier, feed in feeds.items():
        await feeding.bring(carrier, feed)
        await feeding.bring(carrier, feed | THIRD)
    assert await asyncio.gather(*(feeding.run(carrier) for carrier in feeds)) == [2] * len(feeds)
    await feeding.check_settled({carrier: feed | THIRD for carrier, feed in feeds.items()})


async def test_without_a_queued_sync_there_is_nothing_to_do(feeding: Feeding) -> None:
    assert await feeding.run("acme") == 0
    await feeding.ingest("acme", FIRST)
    assert await feeding.run("acme") == 0


async def test_the_spool_is_empty_when_a_sync_has_ended(feeding: Feeding, tmp_path: Path) -> None:
    await feeding.ingest("acme", FIRST)
    await feeding.ingest("acme", b"nonsense")
    await feeding.ingest("acme", SECOND, dry_run=True)
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_sync_whose_record_is_gone_does_not_block_the_queue(feeding: Feeding) -> None:
    forgotten = await feeding.bring("acme", SECOND)
    await feeding.store.execute("DEL", store_keys.sync(forgotten))
    sync_id = await feeding.bring("acme", FIRST)
    await feeding.run("acme")
    assert (await feeding.ended(sync_id)).state is SyncState.APPLIED
    await feeding.check_settled({"acme": FIRST})


# Feeds that are refused, syncs that fail


async def untouched(feeding: Feeding, state: SyncState, feed: Feed | bytes) -> Sync:
    """Bring a feed that leaves the stock as it was, and give its record."""
    await feeding.ingest("acme", FIRST)
    sync = await feeding.ingest("acme", feed)
    assert sync.state is state
    await feeding.check_settled({"acme": FIRST})
    return sync


@pytest.mark.parametrize(
    "content",
    [b"number\n", b"number\nhello\n415\n", b'{"nothing":1}\n', b"number,action\n4152200001,delete\n"],
)
async def test_a_feed_of_no_number_is_refused_and_leaves_the_stock(feeding: Feeding, content: bytes) -> None:
    sync = await untouched(feeding, SyncState.REFUSED, content)
    assert sync.reason == "the feed holds no number that can be used; the stock stays as it was"
    assert sync.rejected == len(await read_rejects(feeding.store, sync.id))


@pytest.mark.parametrize("content", [b"", b"phone\n4152200001\n", b'"number\n4152200001\n', b"\xff\xfe\x00"])
async def test_a_feed_that_cannot_be_read_is_refused_with_a_reason(feeding: Feeding, content: bytes) -> None:
    assert (await untouched(feeding, SyncState.REFUSED, content)).reason


async def test_a_feed_that_has_more_than_its_profile_allows_is_refused(feeding: Feeding) -> None:
    feeding.profiles = profiles(acme=Profile(limits=Limits(rows=len(FIRST)), guards=ANY_REMOVAL))
    longer = FIRST | dict.fromkeys(NUMBERS, 0)
    assert (await untouched(feeding, SyncState.REFUSED, longer)).reason


async def test_too_many_rows_that_cannot_be_read_refuse_the_whole_feed(feeding: Feeding) -> None:
    feeding.profiles = profiles(Guards(rejected_percent=50, rejected_rows=2))
    sync = await untouched(feeding, SyncState.REFUSED, b"number\n4152200001\n4152200002\na\nb\nc\n")
    assert sync.reason == "3 of 5 rows cannot be read, more than 50 %; the stock stays as it was"
    assert (sync.read, sync.rejected) == (5, 3)
    assert [row.line for row in await read_rejects(feeding.store, sync.id)] == [4, 5, 6]


async def test_a_file_that_is_not_the_one_that_was_handed_over_is_refused(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    sync_id = await feeding.bring("acme", SECOND)
    feeding.spool.put(sync_id, BytesIO(b"number\n4152200001\n"), 1 << 20)
    await feeding.run("acme")
    sync = await feeding.ended(sync_id)
    assert sync.state is SyncState.REFUSED
    assert sync.reason
    assert "SHA-256" in sync.reason
    await feeding.check_settled({"acme": FIRST})


async def test_a_feed_that_is_gone_from_the_spool_fails_and_the_next_one_runs(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    gone = await feeding.bring("acme", SECOND)
    feeding.spool.remove(gone)
    await feeding.run("acme")
    sync = await feeding.ended(gone)
    assert sync.state is SyncState.FAILED
    assert sync.reason == "the feed cannot be read from the spool: No such file or directory"
    await feeding.check_settled({"acme": FIRST})
    await feeding.ingest("acme", THIRD)
    await feeding.check_settled({"acme": THIRD})


# Dry runs


@pytest.mark.parametrize("guards", [ANY_REMOVAL, Guards(removed_percent=0, removed_numbers=0)])
@pytest.mark.parametrize("mode", Mode)
async def test_a_dry_run_shows_what_would_change_and_changes_nothing(
    feeding: Feeding, guards: Guards, mode: Mode
) -> None:
    await feeding.ingest("acme", FIRST)
    await feeding.ingest("other", OTHERS)
    feeding.profiles = profiles(guards)
    await feeding.ingest("acme", dict(list(FIRST.items())[:-2]))
    delta = [(number, SECOND.get(number)) for number in FIRST | SECOND]
    feed = SECOND if mode is Mode.SNAPSHOT else delta_of(delta)

    before = await everything(feeding.store)
    sync = await feeding.ingest("acme", feed, mode=mode, dry_run=True)
    after = await everything(feeding.store)

    allowed = {store_keys.SYNCS, store_keys.sync(sync.id), store_keys.feed("acme")}
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} <= allowed
    feed_before, feed_after = before[store_keys.feed("acme")], after[store_keys.feed("acme")]
    changed = {
        name for name in feed_before.keys() | feed_after if feed_before.get(name) != feed_after.get(name)
    }
    assert changed <= {b"generation", b"lease_until_ms"}

    assert sync.state is SyncState.APPLIED
    assert sync.reason
    assert sync.reason.startswith("dry run: nothing was changed")
    assert ("would wait" in sync.reason) == (guards is not ANY_REMOVAL)
    shown = counts_of(sync)
    # Exactly what comes of it when it is meant.
    assert counts_of(await feeding.ingest("acme", feed, mode=mode, confirm=True)) == shown


async def test_a_dry_run_of_a_carrier_that_nobody_knew_does_not_make_it_known(feeding: Feeding) -> None:
    sync = await feeding.ingest("acme", FIRST, dry_run=True)
    assert counts_of(sync) == (len(FIRST), 0, 0)
    assert await read_coverage(feeding.store) == []
    assert {*await everything(feeding.store)} == {
        store_keys.SYNCS,
        store_keys.sync(sync.id),
        store_keys.feed("acme"),
    }


# Sources


@pytest.fixture
def source(feeding: Feeding, tmp_path: Path) -> Path:
    """Give the file that the profile of `acme` names as its source."""
    source = tmp_path / "feed.csv"
    feeding.profiles = profiles(acme=Profile(source=str(source), guards=ANY_REMOVAL))
    return source


def lay(source: Path, content: bytes, changed_at: float | None = None) -> None:
    source.write_bytes(content)
    if changed_at is not None:
        os.utime(source, (changed_at, changed_at))


async def test_a_fetched_feed_is_applied_once_and_again_when_it_has_changed(
    feeding: Feeding, source: Path
) -> None:
    lay(source, b"number\n4152200001\n")
    assert counts_of(await feeding.fetch("acme")) == (1, 0, 0)
    again = await feeding.fetch("acme")
    assert (again.state, again.read) == (SyncState.APPLIED, 0)
    assert again.reason == "the source has not changed since it was fetched last"
    lay(source, b"number\n4152200001\n4152200002\n")
    assert counts_of(await feeding.fetch("acme")) == (1, 0, 1)


async def test_a_source_that_went_back_in_time_is_not_applied(feeding: Feeding, source: Path) -> None:
    lay(source, b"number\n4152200001\n", 2_000_000)
    await feeding.fetch("acme")
    lay(source, b"number\n4152200002\n", 1_000_000)
    sync = await feeding.fetch("acme")
    assert sync.state is SyncState.SUPERSEDED
    assert sync.reason == "the source's feed is older than the one that was applied last"
    await feeding.check_settled({"acme": {PhoneNumber("415", 2_200_001): 0}})


async def test_a_source_that_is_away_fails_and_leaves_the_stock(feeding: Feeding, source: Path) -> None:
    await feeding.ingest("acme", FIRST)
    sync = await feeding.fetch("acme")
    assert sync.state is SyncState.FAILED
    assert sync.reason
    assert source.name in sync.reason
    await feeding.check_settled({"acme": FIRST})


async def test_a_dry_run_of_a_source_does_not_count_as_fetched(feeding: Feeding, source: Path) -> None:
    lay(source, b"number\n4152200001\n")
    assert counts_of(await feeding.fetch("acme", SyncOptions(dry_run=True))) == (1, 0, 0)
    assert counts_of(await feeding.fetch("acme")) == (1, 0, 0)
    await feeding.check_settled({"acme": {PhoneNumber("415", 2_200_001): 0}})


async def test_a_source_that_is_read_in_another_way_is_fetched_again(feeding: Feeding, source: Path) -> None:
    lay(source, b"number\n4152200001\n")
    await feeding.fetch("acme")
    feeding.profiles = profiles(acme=Profile(source=str(source), sms=True, guards=ANY_REMOVAL))
    await feeding.fetch("acme")
    await feeding.check_settled({"acme": {PhoneNumber("415", 2_200_001): SMS}})


async def test_a_carrier_without_a_source_has_nothing_to_fetch(feeding: Feeding) -> None:
    sync = await feeding.fetch("acme")
    assert (sync.state, sync.reason) == (SyncState.FAILED, "the carrier's profile names no source")
