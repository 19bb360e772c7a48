import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from shared import store_keys
from shared.atomic.feed_operations import FeedRun, Overtaken, claim_feed, register_carrier
from shared.phone_number import PhoneNumber, parse_number
from shared.spool import Spool
from shared.stock_score import MMS, SMS
from shared.store import Argument, Store, StoreUnavailable
from shared.syncs import (
    RejectedRow,
    Sync,
    SyncState,
    new_sync_id,
    open_feeds,
    queue_sync,
    read_rejects,
    read_sync,
)
from worker.apply import apply_snapshot
from worker.feed_file import Row
from worker.feed_state import load_snapshot, read_feed_state
from worker.ingest import run_queued_syncs
from worker.snapshot import Offers, SnapshotBuilder

Feed = dict[PhoneNumber, int]
"""The plain model of what a carrier offers: number → features."""

LEASE_SECONDS = 60.0
"""Longer than any test: where a test needs a lease to be over, it says so."""

NUMBERS = [PhoneNumber(area_code, 2_200_000 + at) for area_code in ("415", "212", "604") for at in range(9)]


def some_feed(seed: int, *area_codes: str) -> Feed:
    """Give about two thirds of the area codes' numbers, with features."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    offered = [number for number in NUMBERS if number.area_code in area_codes and chance.random() < 2 / 3]
    return {number: chance.choice((0, SMS, MMS, SMS | MMS)) for number in offered}


OTHERS = some_feed(1, "415", "212")
FIRST = some_feed(2, "415", "212")
SECOND = some_feed(3, "415", "604")
THIRD = some_feed(4, "212", "604")


def csv_of(feed: Feed) -> bytes:
    lines = [
        f"{number.e164},{bool(features & SMS)},{bool(features & MMS)}\n" for number, features in feed.items()
    ]
    return "".join(["number,sms,mms\n", *lines]).encode()


def offers_of(feed: Feed) -> Offers:
    builder = SnapshotBuilder()
    rows: list[Row] = list(feed.items())
    builder.add(rows)
    return builder.finish()[0]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture(autouse=True)
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a small feed take several calls in several groups."""
    monkeypatch.setattr("worker.apply.MAX_NUMBERS_PER_CALL", 3)
    monkeypatch.setattr("worker.apply._CALLS_AT_ONCE", 2)


async def bring(store: Store, spool: Spool, carrier: str, content: bytes) -> str:
    """Put a feed into the spool and queue its sync."""
    sync_id = new_sync_id()
    spool.put(sync_id, BytesIO(content))
    await queue_sync(store, sync_id, carrier)
    return sync_id


async def ended(store: Store, sync_id: str) -> Sync:
    sync = await read_sync(store, sync_id)
    assert sync is not None
    assert sync.state.has_ended
    return sync


async def ingest(store: Store, spool: Spool, carrier: str, feed: Feed | bytes) -> Sync:
    """Bring a feed, run its sync to its end, and give its record."""
    sync_id = await bring(store, spool, carrier, feed if isinstance(feed, bytes) else csv_of(feed))
    assert await run_queued_syncs(store, spool, carrier, LEASE_SECONDS) == 1
    return await ended(store, sync_id)


async def let_lease_end(store: Store, carrier: str) -> None:
    """Stand for the time that goes by after a worker died."""
    await store.execute("HSET", store_keys.feed(carrier), "lease_until_ms", 1)


async def offers_in_store(store: Store) -> dict[str, Feed]:
    """Give what the stock says: carrier → its offers, shown or waiting behind another's."""
    ordinals = await store.execute("HGETALL", store_keys.FEEDS)
    feeds: dict[int, Feed] = {int(ordinal): {} for ordinal in ordinals.values()}
    for area in await store.execute("SMEMBERS", store_keys.AREAS):
        area_code = area.decode()
        shown = await store.execute("ZRANGE", store_keys.available(area_code), 0, -1, "WITHSCORES")
        also = await store.execute("HGETALL", store_keys.also_offered(area_code))
        members = dict(zip(shown[::2], map(int, shown[1::2]), strict=True))
        assert also.keys() <= members.keys()
        for member, score in members.items():
            number = parse_number(member.decode())
            assert score // 65536 == number.local
            waiting = [int(attributes) for attributes in also.get(member, b"").split(b",") if attributes]
            for attributes in (score % 65536, *waiting):
                offers = feeds[attributes >> 6]
                assert number not in offers, f"{member} is there twice for one carrier"
                offers[number] = attributes & 63
    return {carrier.decode(): feeds[int(ordinal)] for carrier, ordinal in ordinals.items()}


async def kept_snapshots(store: Store, carrier: str) -> list[int]:
    prefix = store_keys.feed_snapshot(carrier, 0).removesuffix("0").encode()
    return sorted(int(key.removeprefix(prefix)) for key in await store.execute("KEYS", prefix + b"*"))


async def check_settled(store: Store, feeds: dict[str, Feed]) -> None:
    """Check that the stock is what the feeds say, and that runs have left nothing but that."""
    assert await offers_in_store(store) == feeds
    for carrier, feed in feeds.items():
        state = await read_feed_state(store, carrier)
        assert state.intended == []
        assert state.applied is not None
        assert await kept_snapshots(store, carrier) == [state.applied]
        assert as_feed(await load_snapshot(store, carrier, state.applied)) == feed
    assert await open_feeds(store) == []


def as_feed(offers: Offers) -> Feed:
    return {
        PhoneNumber(area_code, local): features
        for (area_code, features), numbers in offers.items()
        for local in numbers
    }


class RecordingStore(Store):
    """Notes which commands were given."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5)
        self.commands: list[tuple[Argument, ...]] = []

    async def execute(self, *command: Argument) -> Any:
        self.commands.append(command)
        return await super().execute(*command)

    async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        return [await self.execute(*command) for command in commands]


class Cut(Enum):
    """How a run ends before its time, at a command that the store has not seen or has carried out."""

    LOST_BEFORE = auto()
    LOST_AFTER = auto()
    CANCELLED_BEFORE = auto()
    CANCELLED_AFTER = auto()

    @property
    def is_loss(self) -> bool:
        return self in (Cut.LOST_BEFORE, Cut.LOST_AFTER)


class CutStore(RecordingStore):
    """The connection of a run that is cut off at its n-th command.

    One that is lost stays lost for this run; one whose run is cancelled serves it on.
    """

    def __init__(self, url: str, at: int, cut: Cut) -> None:
        super().__init__(url)
        self._at, self._cut = at, cut
        self._victim = asyncio.current_task()

    @property
    def has_cut(self) -> bool:
        return len(self.commands) >= self._at

    async def execute(self, *command: Argument) -> Any:
        is_first = len(self.commands) == self._at - 1
        if self.has_cut and self._cut.is_loss:
            raise StoreUnavailable("lost")
        if not is_first:
            return await super().execute(*command)
        if self._cut is Cut.LOST_AFTER:
            await super().execute(*command)
        else:
            self.commands.append(command)
        if self._cut.is_loss:
            raise StoreUnavailable("lost")
        assert self._victim is not None
        self._victim.cancel()
        if self._cut is Cut.CANCELLED_BEFORE:
            await asyncio.Event().wait()
        return await Store.execute(self, *command)


class PausedStore(RecordingStore):
    """The connection of a run that falls asleep before its n-th command, until it is woken."""

    def __init__(self, url: str, at: int) -> None:
        super().__init__(url)
        self._at = at
        self._wakes = asyncio.Event()
        self.sleeps = asyncio.Event()

    def wake(self) -> None:
        self._wakes.set()

    async def execute(self, *command: Argument) -> Any:
        if len(self.commands) >= self._at - 1:
            self.sleeps.set()
            await self._wakes.wait()
        return await super().execute(*command)


@asynccontextmanager
async def closing(store: RecordingStore) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await store.close()


@asynccontextmanager
async def asleep(store: PausedStore, doing: Awaitable[Any]) -> AsyncIterator[asyncio.Future[Any] | None]:
    """Run until the connection sleeps and give the run; None when it came to its end without."""
    async with closing(store):
        run = asyncio.ensure_future(doing)
        sleeps = asyncio.ensure_future(store.sleeps.wait())
        await asyncio.wait([run, sleeps], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        try:
            if sleeps.done():
                yield run
            else:
                await run
                yield None
        finally:
            store.wake()
            sleeps.cancel()
            await asyncio.wait([run, sleeps], timeout=20)


def counts_of(sync: Sync) -> tuple[int, int, int]:
    return sync.added, sync.removed, sync.unchanged


def expected_counts(new: Feed, applied: Feed) -> tuple[int, int, int]:
    unchanged = len(new.keys() & applied.keys())
    return len(new) - unchanged, len(applied) - unchanged, unchanged


# What a sync does


async def test_the_first_load_puts_all_numbers_in_stock(store: Store, spool: Spool) -> None:
    sync = await ingest(store, spool, "acme", FIRST)
    assert sync.state is SyncState.APPLIED
    assert (sync.read, sync.rejected, sync.duplicate, sync.progress) == (len(FIRST), 0, 0, 100)
    assert counts_of(sync) == (len(FIRST), 0, 0)
    assert sync.reason is None
    assert sync.attempts == 1
    await check_settled(store, {"acme": FIRST})


async def test_the_same_feed_again_changes_nothing(valkey: str, store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    applied = (await read_feed_state(store, "acme")).applied
    watched = RecordingStore(valkey)
    async with closing(watched):
        sync = await ingest(watched, spool, "acme", dict(reversed(FIRST.items())))
    assert counts_of(sync) == (0, 0, len(FIRST))
    touched = [command for command in watched.commands if any(":available" in str(part) for part in command)]
    assert touched == []
    assert (await read_feed_state(store, "acme")).applied == applied
    await check_settled(store, {"acme": FIRST})


async def test_only_what_differs_is_sent(valkey: str, store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    gone, *_, changed = FIRST
    new = {number: features for number, features in FIRST.items() if number != gone}
    new[changed] ^= SMS
    watched = RecordingStore(valkey)
    async with closing(watched):
        await ingest(watched, spool, "acme", new)
    touched = [command for command in watched.commands if any(":available" in str(part) for part in command)]
    # The packed numbers are all that a call has in bytes.
    sent = {part for command in touched for part in command if isinstance(part, bytes)}
    assert sent == {number.local.to_bytes(4, "little") for number in (gone, changed)}
    await check_settled(store, {"acme": new})


async def test_the_next_feed_takes_the_place_of_the_last(store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    sync = await ingest(store, spool, "acme", SECOND)
    assert counts_of(sync) == expected_counts(SECOND, FIRST)
    assert min(counts_of(sync)) > 0
    await check_settled(store, {"acme": SECOND})


async def test_features_that_changed_are_updated(store: Store, spool: Spool) -> None:
    other_features = {number: features ^ MMS for number, features in FIRST.items()}
    await ingest(store, spool, "acme", FIRST)
    sync = await ingest(store, spool, "acme", other_features)
    assert counts_of(sync) == (0, 0, len(FIRST))
    await check_settled(store, {"acme": other_features})


async def test_rejected_and_duplicate_rows_are_counted_and_kept(store: Store, spool: Spool) -> None:
    content = b"number,sms\n4152200001,1\nhello,1\n4152200001,0\n415220000,1\n4152200002,2\n"
    sync = await ingest(store, spool, "acme", content)
    assert sync.state is SyncState.APPLIED
    assert (sync.read, sync.rejected, sync.duplicate, sync.added) == (5, 3, 1, 1)
    assert await read_rejects(store, sync.id) == [
        RejectedRow(3, "has letters"),
        RejectedRow(5, "has 9 digits, needs 10"),
        RejectedRow(6, "sms is neither true nor false"),
    ]
    await check_settled(store, {"acme": {PhoneNumber("415", 2_200_001): 0}})


async def test_the_first_thousand_rejected_rows_are_kept_and_all_counted(store: Store, spool: Spool) -> None:
    sync = await ingest(store, spool, "acme", b"number\n4152200001\n" + b"bad\n" * 2_500)
    assert sync.rejected == 2_500
    assert [row.line for row in await read_rejects(store, sync.id)] == list(range(3, 1_003))


async def test_two_carriers_have_offers_of_their_own(store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    await ingest(store, spool, "other", OTHERS)
    assert FIRST.keys() & OTHERS.keys()
    await check_settled(store, {"acme": FIRST, "other": OTHERS})
    await ingest(store, spool, "acme", SECOND)
    await check_settled(store, {"acme": SECOND, "other": OTHERS})
    await ingest(store, spool, "other", THIRD)
    await check_settled(store, {"acme": SECOND, "other": THIRD})


async def test_a_number_of_two_carriers_stays_until_both_have_let_go(store: Store, spool: Spool) -> None:
    shared_number, second, third = NUMBERS[:3]
    await ingest(store, spool, "acme", {shared_number: SMS, second: 0})
    await ingest(store, spool, "other", {shared_number: MMS, third: 0})
    await ingest(store, spool, "acme", {second: 0})
    await check_settled(store, {"acme": {second: 0}, "other": {shared_number: MMS, third: 0}})
    await ingest(store, spool, "other", {third: 0})
    await check_settled(store, {"acme": {second: 0}, "other": {third: 0}})


async def test_feeds_of_carriers_run_side_by_side(store: Store, spool: Spool) -> None:
    feeds = {f"carrier-{at}": some_feed(at, "415", "212", "604") for at in range(6)}
    for carrier, feed in feeds.items():
        await bring(store, spool, carrier, csv_of(feed))
        await bring(store, spool, carrier, csv_of(feed | THIRD))
    done = await asyncio.gather(
        *(run_queued_syncs(store, spool, carrier, LEASE_SECONDS) for carrier in feeds)
    )
    assert done == [2] * len(feeds)
    await check_settled(store, {carrier: feed | THIRD for carrier, feed in feeds.items()})


# The queue


async def test_syncs_of_a_carrier_run_in_the_order_in_which_they_came(store: Store, spool: Spool) -> None:
    feeds = [FIRST, SECOND, THIRD, FIRST]
    sync_ids = [await bring(store, spool, "acme", csv_of(feed)) for feed in feeds]
    assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 4
    syncs = [await ended(store, sync_id) for sync_id in sync_ids]
    before = [{}, *feeds[:-1]]
    assert [counts_of(sync) for sync in syncs] == list(map(expected_counts, feeds, before))
    assert [sync.generation for sync in syncs] == sorted(sync.generation for sync in syncs)
    await check_settled(store, {"acme": FIRST})


async def test_two_workers_do_not_share_a_feed(valkey: str, store: Store, spool: Spool) -> None:
    await bring(store, spool, "acme", csv_of(FIRST))
    sleeper = PausedStore(valkey, 8)
    async with asleep(sleeper, run_queued_syncs(sleeper, spool, "acme", LEASE_SECONDS)) as run:
        assert run is not None
        assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 0
        sleeper.wake()
        assert await run == 1
    await check_settled(store, {"acme": FIRST})


async def test_without_a_queued_sync_there_is_nothing_to_do(store: Store, spool: Spool) -> None:
    assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 0
    await ingest(store, spool, "acme", FIRST)
    assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 0


async def test_the_spool_is_empty_when_a_sync_has_ended(store: Store, spool: Spool, tmp_path: Path) -> None:
    await ingest(store, spool, "acme", FIRST)
    await ingest(store, spool, "acme", b"nonsense")
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_sync_whose_record_is_gone_does_not_block_the_queue(store: Store, spool: Spool) -> None:
    forgotten = await bring(store, spool, "acme", csv_of(SECOND))
    await store.execute("DEL", store_keys.sync(forgotten))
    sync_id = await bring(store, spool, "acme", csv_of(FIRST))
    await run_queued_syncs(store, spool, "acme", LEASE_SECONDS)
    assert (await ended(store, sync_id)).state is SyncState.APPLIED
    await check_settled(store, {"acme": FIRST})


# Syncs that fail


async def failed(store: Store, sync: Sync, stock: Feed) -> str:
    """Give the reason of a sync that failed and left the stock as it was."""
    assert sync.state is SyncState.FAILED
    await check_settled(store, {"acme": stock})
    assert sync.reason
    return sync.reason


@pytest.mark.parametrize("content", [b"number\n", b"number\nhello\n415\n", b'{"nothing":1}\n'])
async def test_a_feed_of_no_number_fails_and_leaves_the_stock(
    store: Store, spool: Spool, content: bytes
) -> None:
    await ingest(store, spool, "acme", FIRST)
    sync = await ingest(store, spool, "acme", content)
    reason = await failed(store, sync, FIRST)
    assert reason == "the file holds no number that can be used; the stock stays as it was"
    assert sync.read == sync.rejected == len(await read_rejects(store, sync.id))


async def test_a_feed_that_cannot_be_read_fails_and_leaves_the_stock(store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    sync = await ingest(store, spool, "acme", b"phone\n4152200001\n")
    assert await failed(store, sync, FIRST) == ("the header has no column 'number'; its columns are: 'phone'")


async def test_a_header_that_is_not_csv_fails_at_once(store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    sync = await ingest(store, spool, "acme", b'"number\n4152200001\n')
    assert "the header is not CSV" in await failed(store, sync, FIRST)


async def test_a_feed_that_is_gone_from_the_spool_fails_and_the_next_one_runs(
    store: Store, spool: Spool
) -> None:
    await ingest(store, spool, "acme", FIRST)
    gone = await bring(store, spool, "acme", csv_of(SECOND))
    spool.remove(gone)
    await run_queued_syncs(store, spool, "acme", LEASE_SECONDS)
    reason = await failed(store, await ended(store, gone), FIRST)
    assert reason == "the file cannot be read: No such file or directory"
    await ingest(store, spool, "acme", THIRD)
    await check_settled(store, {"acme": THIRD})


async def test_a_sync_whose_runs_die_ten_times_is_given_up(valkey: str, store: Store, spool: Spool) -> None:
    await ingest(store, spool, "acme", FIRST)
    deadly = await bring(store, spool, "acme", csv_of(SECOND))
    for attempt in range(1, 11):
        dying = CutStore(valkey, 12, Cut.LOST_BEFORE)
        async with closing(dying):
            with pytest.raises(StoreUnavailable):
                await run_queued_syncs(dying, spool, "acme", LEASE_SECONDS)
        sync = await read_sync(store, deadly)
        assert sync is not None
        assert (sync.state, sync.attempts) == (SyncState.RUNNING, attempt)
        assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 0
        await let_lease_end(store, "acme")
    following = await bring(store, spool, "acme", csv_of(THIRD))
    assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 2
    sync = await ended(store, deadly)
    assert sync.state is SyncState.FAILED
    assert sync.reason == "given up after 10 runs that did not come to an end"
    assert (await ended(store, following)).state is SyncState.APPLIED
    await check_settled(store, {"acme": THIRD})


# Runs that are cut off


async def set_the_stage(store: Store, spool: Spool) -> str:
    """Have two carriers in stock, and a sync of one in its queue."""
    await store.execute("FLUSHALL")
    await ingest(store, spool, "other", OTHERS)
    await ingest(store, spool, "acme", FIRST)
    return await bring(store, spool, "acme", csv_of(SECOND))


async def run_cut_off(valkey: str, store: Store, spool: Spool, at: int, cut: Cut) -> bool:
    """Run the queue of `acme` until its n-th command; tell whether it came that far."""
    cut_store = CutStore(valkey, at, cut)
    async with closing(cut_store):
        try:
            # A task of its own: that which is cancelled.
            await run_queued_syncs(cut_store, spool, "acme", LEASE_SECONDS)
        except StoreUnavailable:
            assert cut.is_loss
        except asyncio.CancelledError:
            assert not cut.is_loss
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
    if not cut_store.has_cut:
        return False
    if cut.is_loss or at == 1:
        await let_lease_end(store, "acme")
    return True


@pytest.mark.parametrize("cut", Cut)
async def test_cut_off_at_any_command_the_next_run_ends_the_sync(
    valkey: str, store: Store, spool: Spool, cut: Cut
) -> None:
    at, is_cut = 0, True
    while is_cut:
        at += 1
        sync_id = await set_the_stage(store, spool)
        before = (await read_feed_state(store, "acme")).applied
        is_cut = await run_cut_off(valkey, store, spool, at, cut)
        was_adopted = (await read_feed_state(store, "acme")).applied != before
        await run_queued_syncs(store, spool, "acme", LEASE_SECONDS)
        sync = await ended(store, sync_id)
        assert (sync.state, sync.read) == (SyncState.APPLIED, len(SECOND)), at
        if was_adopted and is_cut:
            assert sync.added + sync.unchanged == len(SECOND), at
        else:
            assert counts_of(sync) == expected_counts(SECOND, FIRST), at
        await check_settled(store, {"other": OTHERS, "acme": SECOND})
    assert at > 25


@pytest.mark.parametrize("cut", Cut)
async def test_cut_off_at_any_command_another_feed_takes_its_place(
    valkey: str, store: Store, spool: Spool, cut: Cut
) -> None:
    at, is_cut = 0, True
    while is_cut:
        at += 1
        sync_id = await set_the_stage(store, spool)
        is_cut = await run_cut_off(valkey, store, spool, at, cut)
        spool.remove(sync_id)
        following = await bring(store, spool, "acme", csv_of(THIRD))
        await run_queued_syncs(store, spool, "acme", LEASE_SECONDS)
        await ended(store, sync_id)
        assert (await ended(store, following)).state is SyncState.APPLIED
        await check_settled(store, {"other": OTHERS, "acme": THIRD})
    assert at > 25


async def test_cut_off_twice_at_any_two_commands_the_next_run_ends_in_its_own_state(
    valkey: str, store: Store, spool: Spool
) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    for _ in range(40):
        sync_id = await set_the_stage(store, spool)
        cuts = [(chance.randint(2, 35), chance.choice(list(Cut))) for _ in range(2)]
        await run_cut_off(valkey, store, spool, *cuts[0])
        # The same sync finds another feed now, as if the spool had been meddled with.
        if spool.path_of(sync_id).exists():
            spool.put(sync_id, BytesIO(csv_of(THIRD)))
        await run_cut_off(valkey, store, spool, *cuts[1])
        await bring(store, spool, "acme", csv_of(FIRST))
        await run_queued_syncs(store, spool, "acme", LEASE_SECONDS)
        await check_settled(store, {"other": OTHERS, "acme": FIRST})


@pytest.mark.parametrize("at", [3, 12, 20])
async def test_cancelling_gives_the_feed_back_at_once(
    valkey: str, store: Store, spool: Spool, at: int
) -> None:
    sync_id = await bring(store, spool, "acme", csv_of(FIRST))
    sleeper = PausedStore(valkey, at)
    async with asleep(sleeper, run_queued_syncs(sleeper, spool, "acme", LEASE_SECONDS)) as run:
        assert run is not None
        run.cancel()
        sleeper.wake()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert await run_queued_syncs(store, spool, "acme", LEASE_SECONDS) == 1
    assert (await ended(store, sync_id)).state is SyncState.APPLIED
    await check_settled(store, {"acme": FIRST})


async def test_a_cancelled_run_stays_cancelled_when_the_store_is_gone(
    valkey: str, store: Store, spool: Spool
) -> None:
    await bring(store, spool, "acme", csv_of(FIRST))
    gone = PausedStore(valkey, 12)
    async with asleep(gone, run_queued_syncs(gone, spool, "acme", LEASE_SECONDS)) as run:
        assert run is not None

        async def refuse(*_: Argument) -> Any:
            raise StoreUnavailable("gone")

        gone.execute = refuse  # type: ignore[method-assign]
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


# Runs that wake up late


async def claim(store: Store) -> FeedRun:
    await let_lease_end(store, "acme")
    run = await claim_feed(store, "acme", int(LEASE_SECONDS * 1000))
    assert run is not None
    return run


async def sleep_through(
    valkey: str, store: Store, at: int, check: Callable[[], Awaitable[None]]
) -> asyncio.Future[Any] | None:
    """Have a run with SECOND sleep before its n-th command while one with THIRD ends, then wake it.

    Give the first run when it has ended too; None when it came to its end without sleep.
    """
    late = await claim(store)
    sleeper = PausedStore(valkey, at)
    async with asleep(sleeper, apply_snapshot(sleeper, late, offers_of(SECOND), lambda *_: None)) as run:
        if run is not None:
            current = await claim(store)
            await apply_snapshot(store, current, offers_of(THIRD), lambda *_: None)
            await check()
            sleeper.wake()
            await asyncio.wait([run])
    return run


async def test_a_run_that_wakes_up_late_is_told_so_and_changes_no_stock(
    valkey: str, store: Store, spool: Spool
) -> None:
    async def check() -> None:
        assert await offers_in_store(store) == {"other": OTHERS, "acme": THIRD}
        state = await read_feed_state(store, "acme")
        assert state.applied is not None
        assert state.intended == []
        assert as_feed(await load_snapshot(store, "acme", state.applied)) == THIRD
        ordinal = await register_carrier(store, "acme")
        areas = [area.decode() for area in await store.execute("SMEMBERS", store_keys.AREAS)]
        fences = [await store.execute("HGET", store_keys.fence(area), ordinal) for area in areas]
        assert set(map(int, fences)) == {state.applied}

    at = 1
    await set_the_stage(store, spool)
    while late_run := await sleep_through(valkey, store, at, check):
        assert isinstance(late_run.exception(), Overtaken), (at, late_run)
        await check()
        at += 1
        await set_the_stage(store, spool)
    assert at > 15


async def test_a_run_that_wakes_up_late_leaves_no_snapshot_behind(
    valkey: str, store: Store, spool: Spool
) -> None:
    async def check() -> None:
        state = await read_feed_state(store, "acme")
        assert await kept_snapshots(store, "acme") == [state.applied]

    at = 1
    await set_the_stage(store, spool)
    while await sleep_through(valkey, store, at, check):
        await check()
        at += 1
        await set_the_stage(store, spool)
    assert at > 15


async def test_a_run_that_wakes_up_late_does_not_touch_a_sync_that_has_ended(
    valkey: str, store: Store, spool: Spool
) -> None:
    at, is_asleep = 0, True
    while is_asleep:
        at += 1
        sync_id = await set_the_stage(store, spool)
        sleeper = PausedStore(valkey, at)
        async with asleep(sleeper, run_queued_syncs(sleeper, spool, "acme", LEASE_SECONDS)) as run:
            is_asleep = run is not None
            if run is not None:
                await let_lease_end(store, "acme")
                await run_queued_syncs(store, spool, "acme", LEASE_SECONDS)
                await ended(store, sync_id)
                sleeper.wake()
                await run
        sync = await read_sync(store, sync_id)
        assert sync is not None
        assert (sync.state, sync.reason, sync.progress) == (SyncState.APPLIED, None, 100), (
            at,
            sleeper.commands[at - 1 :],
        )
        await check_settled(store, {"other": OTHERS, "acme": SECOND})


async def test_bitmaps_come_back_from_the_store_as_they_were_kept(store: Store, spool: Spool) -> None:
    # More places than one command moves, each of several containers of a bitmap.
    feed = {
        PhoneNumber(str(area), 2_300_000 + 70_000 * at): at % 4
        for area in range(220, 240)
        for at in range(20)
    }
    await ingest(store, spool, "acme", feed)
    state = await read_feed_state(store, "acme")
    assert state.applied is not None
    kept = await load_snapshot(store, "acme", state.applied)
    assert len(kept) == 80
    assert all(len(numbers) == 5 for numbers in kept.values())
    await check_settled(store, {"acme": feed})
