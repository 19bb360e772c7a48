"""Runs over feeds that die at any command, and others that wake up late."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from shared import store_keys
from shared.feeds.profiles import Mode, Profile
from shared.feeds.syncs import (
    SyncNotApplied,
    SyncOptions,
    SyncState,
    confirm_sync,
    list_syncs,
    new_sync_id,
    queue_feed,
    roll_back_sync,
)
from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future
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
    as_feed,
    as_set,
    assign,
    delta_of,
    let_lease_end,
    profiles,
)
from tests.store.ordering import everything
from worker.feeds.feed_state import load_removals, load_snapshot, read_feed_state, waiting_syncs

pytestmark = pytest.mark.usefixtures("small_calls")


class CountingStore(Store):
    """Counts its commands."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5)
        self.count = 0

    @returns_future
    async def execute(self, *command: Argument) -> Any:
        self.count += 1
        return await super().execute(*command)

    @returns_future
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


class CutStore(CountingStore):
    """The connection of a run that is cut off at its n-th command.

    One that is lost stays lost for this run; one whose run is cancelled serves it on.
    """

    def __init__(self, url: str, at: int, cut: Cut) -> None:
        super().__init__(url)
        self._at, self._cut = at, cut
        self._victim = asyncio.current_task()

    @property
    def has_cut(self) -> bool:
        return self.count >= self._at

    @returns_future
    async def execute(self, *command: Argument) -> Any:
        is_first = self.count == self._at - 1
        if self.has_cut and self._cut.is_loss:
            raise StoreUnavailable("lost")
        if not is_first:
            return await super().execute(*command)
        if self._cut is Cut.LOST_AFTER:
            await super().execute(*command)
        else:
            self.count += 1
        if self._cut.is_loss:
            raise StoreUnavailable("lost")
        assert self._victim is not None
        self._victim.cancel()
        if self._cut is Cut.CANCELLED_BEFORE:
            await asyncio.Event().wait()
        return await Store.execute(self, *command)


class PausedStore(CountingStore):
    """The connection of a run that falls asleep before its n-th command, until it is woken."""

    def __init__(self, url: str, at: int) -> None:
        super().__init__(url)
        self._at = at
        self._wakes = asyncio.Event()
        self.sleeps = asyncio.Event()

    def wake(self) -> None:
        self._wakes.set()

    @returns_future
    async def execute(self, *command: Argument) -> Any:
        if self.count >= self._at - 1:
            self.sleeps.set()
            await self._wakes.wait()
        return await super().execute(*command)


@asynccontextmanager
async def asleep(store: PausedStore, doing: Awaitable[Any]) -> AsyncIterator[asyncio.Future[Any] | None]:
    """Run until the connection sleeps and give the run; None when it came to its end without."""
    run = asyncio.ensure_future(doing)
    sleeps = asyncio.ensure_future(store.sleeps.wait())
    try:
        await asyncio.wait([run, sleeps], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        if sleeps.done():
            yield run
        else:
            await run
            yield None
    finally:
        store.wake()
        sleeps.cancel()
        await asyncio.wait([run, sleeps], timeout=20)
        await store.close()


# What is at work when it is cut off


async def snapshot(feeding: Feeding) -> None:
    """Its numbers are some that are there, some that another carrier has, and some that an order has."""
    await feeding.bring("acme", SECOND)


async def made_wait(feeding: Feeding) -> str:
    feeding.profiles = profiles(NO_REMOVAL)
    return (await feeding.ingest("acme", SECOND)).id


async def snapshot_after_one_that_waits(feeding: Feeding) -> None:
    """It waits itself, and the one before is superseded."""
    await made_wait(feeding)
    await feeding.bring("acme", THIRD)


async def confirmation(feeding: Feeding) -> None:
    await confirm_sync(feeding.store, await feeding.record(await made_wait(feeding)))


async def confirmation_after_a_delta(feeding: Feeding) -> None:
    sync_id = await made_wait(feeding)
    feeding.profiles = profiles()
    relisted, removed, *_ = sorted(FIRST.keys() - SECOND.keys())
    await feeding.delta("acme", [(relisted, MMS), (removed, None)])
    await confirm_sync(feeding.store, await feeding.record(sync_id))


async def delta(feeding: Feeding) -> None:
    await feeding.bring("acme", delta_of(DELTA), SyncOptions(Mode.DELTA))


async def delta_after_one_that_waits(feeding: Feeding) -> None:
    """It waits as well, and lists something anew that the other wants to remove."""
    await made_wait(feeding)
    await delta(feeding)


async def rollback(feeding: Feeding) -> None:
    sync_id = await made_wait(feeding)
    await roll_back_sync(feeding.store, await feeding.record(sync_id))


async def rollback_of_a_delta(feeding: Feeding) -> None:
    await made_wait(feeding)
    feeding.profiles = profiles()
    sync = await feeding.delta("acme", DELTA)
    await roll_back_sync(feeding.store, sync)


async def fetched_delta(feeding: Feeding) -> None:
    source = feeding.spool.path_of("source")
    source.write_bytes(delta_of(DELTA))
    feeding.profiles = profiles(acme=Profile(source=str(source), mode=Mode.DELTA, guards=NO_REMOVAL))
    await queue_feed(feeding.store, new_sync_id(), "acme", SyncOptions(), sha256=None)


RELISTED, *_, REMOVED = sorted(FIRST.keys() - SECOND.keys())
DELTA = [
    (RELISTED, FIRST[RELISTED] ^ SMS),
    (REMOVED, None),
    *((number, MMS) for number in NUMBERS if number not in FIRST | SECOND),
]

WORK = [
    snapshot,
    snapshot_after_one_that_waits,
    confirmation,
    confirmation_after_a_delta,
    delta,
    delta_after_one_that_waits,
    rollback,
    rollback_of_a_delta,
    fetched_delta,
]


class Ended(NamedTuple):
    """What there is when all work is done."""

    offers: dict[str, Feed]
    before: Feed
    """What a rollback would bring back."""
    removals: list[set[PhoneNumber]]
    syncs: list[dict[str, Any]]
    noted: set[bytes]
    """Deltas that are known again."""
    protected: list[int]
    """Of each sync."""

    def check(self, expected: "Ended", at: int) -> None:
        """Check that all is as expected; more may be counted as protected when it was sent again."""
        assert self._replace(protected=[]) == expected._replace(protected=[]), at
        assert all(found >= known for found, known in zip(self.protected, expected.protected, strict=True))


class Stage:
    """Two carriers in stock and work in the queue of one: made once, and brought back for every trial."""

    def __init__(self, feeding: Feeding) -> None:
        self.feeding = feeding
        self._keys: list[tuple[Argument, ...]] = []
        self._files: dict[Path, bytes] = {}

    async def make(self, work: Callable[[Feeding], Awaitable[None]]) -> None:
        feeding, store = self.feeding, self.feeding.store
        await store.execute("FLUSHALL")
        self._keys = []
        feeding.profiles = profiles(ANY_REMOVAL)
        await feeding.ingest("other", OTHERS)
        await feeding.ingest("acme", FIRST)
        await assign(store, RELISTED)
        await assign(store, min(FIRST.keys() & SECOND.keys() - OTHERS.keys()))
        await work(feeding)
        for key in await store.execute("KEYS", "*"):
            ttl_ms, value = await store.execute_many([("PTTL", key), ("DUMP", key)])
            self._keys.append(("RESTORE", key, max(ttl_ms, 0), value))
        self._files = {path: path.read_bytes() for path in feeding.spool.path_of("").parent.iterdir()}

    async def restore(self) -> None:
        await self.feeding.store.execute_many([("FLUSHALL",), *self._keys])
        for path, content in self._files.items():
            path.write_bytes(content)

    def lose_files(self) -> None:
        for path in self._files:
            path.unlink(missing_ok=True)

    async def ended(self) -> Ended:
        """Check that nothing is left but what is needed, and give what there is."""
        feeding, store = self.feeding, self.feeding.store
        offers = await feeding.offers_in_store()
        waiting = await waiting_syncs(store, "acme")
        removals = [as_set(await load_removals(store, "acme", sync_id)) for sync_id in waiting]
        await feeding.check_settled(offers, dict(zip(waiting, removals, strict=True)))
        state = await read_feed_state(store, "acme")
        syncs, _ = await list_syncs(store, 100)
        return Ended(
            offers,
            as_feed(await load_snapshot(store, "acme", state.previous)),
            removals,
            [told(msgspec.to_builtins(sync)) for sync in syncs],
            {*await store.execute("ZRANGE", store_keys.feed_contents("acme"), 0, -1)},
            [sync.protected for sync in syncs],
        )

    async def run_cut_off(self, valkey: str, at: int, cut: Cut) -> bool:
        """Work off the queue until the n-th command; tell whether it came that far."""
        cut_store = CutStore(valkey, at, cut)
        try:
            await self.feeding.run("acme", cut_store)
        except StoreUnavailable:
            assert cut.is_loss
        except asyncio.CancelledError:
            assert not cut.is_loss
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        finally:
            await cut_store.close()
        if cut_store.has_cut and (cut.is_loss or at == 1):
            await let_lease_end(self.feeding.store, "acme")
        return cut_store.has_cut


def told(record: dict[str, Any]) -> dict[str, Any]:
    """Give what a record says, but for what differs from run to run."""
    reason = str(record["reason"])
    differs = ("generation", "attempts", "updated_at", "reading_ms", "applying_ms", "protected")
    kept = {name: value for name, value in record.items() if name not in differs}
    # One that follows on a dead run does not know how much that one has brought back.
    return kept | {"reason": reason.partition(":")[0] if reason.startswith("rolled back") else reason}


@pytest.fixture
async def stage(feeding: Feeding) -> Stage:
    return Stage(feeding)


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
async def test_cut_off_at_any_command_the_next_run_ends_as_if_nothing_had_happened(
    valkey: str, stage: Stage, work: Callable[[Feeding], Awaitable[None]]
) -> None:
    await stage.make(work)
    await stage.feeding.run("acme")
    expected = await stage.ended()
    at, is_cut = 0, True
    while is_cut:
        at += 1
        await stage.restore()
        is_cut = await stage.run_cut_off(valkey, at, Cut.LOST_BEFORE)
        await stage.feeding.run("acme")
        (await stage.ended()).check(expected, at)
    assert at > 25


@pytest.mark.parametrize("cut", [Cut.LOST_AFTER, Cut.CANCELLED_BEFORE, Cut.CANCELLED_AFTER])
async def test_however_it_is_cut_off_the_next_run_ends_as_if_nothing_had_happened(
    valkey: str, stage: Stage, cut: Cut
) -> None:
    await stage.make(snapshot_after_one_that_waits)
    await stage.feeding.run("acme")
    expected = await stage.ended()
    at, is_cut = 0, True
    while is_cut:
        at += 1
        await stage.restore()
        is_cut = await stage.run_cut_off(valkey, at, cut)
        await stage.feeding.run("acme")
        (await stage.ended()).check(expected, at)
    assert at > 25


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
async def test_cut_off_at_any_command_another_file_takes_its_place(
    valkey: str, stage: Stage, work: Callable[[Feeding], Awaitable[None]]
) -> None:
    await stage.make(work)
    at, is_cut = 0, True
    while is_cut:
        # Every second command is as good as every one: the test before has seen them all.
        at += 2
        await stage.restore()
        is_cut = await stage.run_cut_off(valkey, at, Cut.LOST_BEFORE)
        stage.lose_files()
        following = await stage.feeding.bring("acme", LAST, SyncOptions(Mode.SNAPSHOT, confirm=True))
        await stage.feeding.run("acme")
        assert (await stage.feeding.ended(following)).state is SyncState.APPLIED
        await stage.feeding.check_settled({"other": OTHERS, "acme": LAST})
    assert at > 25


LAST = dict.fromkeys(NUMBERS[::2], SMS)


async def test_cut_off_twice_at_any_two_commands_the_last_file_counts(valkey: str, stage: Stage) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    for work in (snapshot_after_one_that_waits, delta_after_one_that_waits):
        await stage.make(work)
        for _ in range(15):
            await stage.restore()
            for _ in range(2):
                await stage.run_cut_off(valkey, chance.randint(2, 60), chance.choice(list(Cut)))
            await stage.feeding.bring("acme", LAST, SyncOptions(Mode.SNAPSHOT, confirm=True))
            await let_lease_end(stage.feeding.store, "acme")
            await stage.feeding.run("acme")
            await stage.feeding.check_settled({"other": OTHERS, "acme": LAST})


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
async def test_a_run_that_wakes_up_late_changes_nothing(
    valkey: str, stage: Stage, work: Callable[[Feeding], Awaitable[None]]
) -> None:
    await stage.make(work)
    at, is_asleep = 0, True
    while is_asleep:
        at += 1
        await stage.restore()
        sleeper = PausedStore(valkey, at)
        async with asleep(sleeper, stage.feeding.run("acme", sleeper)) as run:
            is_asleep = run is not None
            if run is None:
                break
            await let_lease_end(stage.feeding.store, "acme")
            await stage.feeding.run("acme")
            before = await everything(stage.feeding.store)
            sleeper.wake()
            await asyncio.wait([run])
            assert await everything(stage.feeding.store) == before, at
    assert at > 25


async def test_a_run_that_wakes_up_after_another_file_was_applied_changes_nothing(
    valkey: str, stage: Stage
) -> None:
    await stage.make(snapshot_after_one_that_waits)
    at = 0
    while True:
        at += 1
        await stage.restore()
        sleeper = PausedStore(valkey, at)
        async with asleep(sleeper, stage.feeding.run("acme", sleeper)) as run:
            if run is None:
                break
            await let_lease_end(stage.feeding.store, "acme")
            await stage.feeding.bring("acme", LAST, SyncOptions(Mode.SNAPSHOT, confirm=True))
            await stage.feeding.run("acme")
            sleeper.wake()
            await asyncio.wait([run])
            await stage.feeding.check_settled({"other": OTHERS, "acme": LAST})
    assert at > 25


# Whose turn it is


async def test_two_workers_do_not_share_a_feed(valkey: str, feeding: Feeding) -> None:
    await feeding.bring("acme", FIRST)
    sleeper = PausedStore(valkey, 8)
    async with asleep(sleeper, feeding.run("acme", sleeper)) as run:
        assert run is not None
        assert await feeding.run("acme") == 0
        sleeper.wake()
        assert await run == 1
    await feeding.check_settled({"acme": FIRST})


async def test_a_sync_whose_runs_die_ten_times_is_given_up(valkey: str, feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    deadly = await feeding.bring("acme", SECOND)
    for attempt in range(1, 11):
        dying = CutStore(valkey, 30, Cut.LOST_BEFORE)
        with pytest.raises(StoreUnavailable):
            await feeding.run("acme", dying)
        await dying.close()
        sync = await feeding.record(deadly)
        assert (sync.state, sync.attempts) == (SyncState.RUNNING, attempt)
        assert await feeding.run("acme") == 0
        await let_lease_end(feeding.store, "acme")
    feeding.profiles = profiles(ANY_REMOVAL)
    following = await feeding.bring("acme", THIRD)
    assert await feeding.run("acme") == 2
    sync = await feeding.ended(deadly)
    assert sync.state is SyncState.FAILED
    assert sync.reason == "given up after 10 runs that did not come to an end"
    assert (await feeding.ended(following)).state is SyncState.APPLIED
    await feeding.check_settled({"acme": THIRD})


async def test_runs_that_died_over_a_feed_do_not_count_when_it_is_confirmed(
    valkey: str, feeding: Feeding
) -> None:
    await feeding.ingest("acme", FIRST)
    feeding.profiles = profiles(NO_REMOVAL)
    sync_id = await feeding.bring("acme", SECOND)
    for _ in range(9):
        dying = CutStore(valkey, 20, Cut.LOST_BEFORE)
        with pytest.raises(StoreUnavailable):
            await feeding.run("acme", dying)
        await dying.close()
        await let_lease_end(feeding.store, "acme")
    assert await feeding.run("acme") == 1
    waiting = await feeding.ended(sync_id)
    assert (waiting.state, waiting.attempts) == (SyncState.WAITING, 10)
    sync = await feeding.confirm(waiting)
    assert (sync.state, sync.attempts) == (SyncState.APPLIED, 1)
    await feeding.check_settled({"acme": SECOND})


async def test_what_a_dead_run_has_left_is_cleared_even_when_nothing_has_to_be_sent(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    # As one would that died while it sent numbers again that were in stock.
    state = await read_feed_state(feeding.store, "acme")
    assert state.applied is not None
    kept, left = (store_keys.feed_snapshot("acme", generation) for generation in (state.applied, 99))
    await feeding.store.execute("COPY", kept, left)
    await feeding.store.execute("HSET", store_keys.feed("acme"), "intended", 99)
    sync = await feeding.ingest("acme", FIRST)
    await feeding.check_settled({"acme": FIRST})
    # There is a way back, though all is the same there, and only one.
    await feeding.roll_back(sync)
    await feeding.check_settled({"acme": FIRST})
    with pytest.raises(SyncNotApplied):
        await feeding.roll_back(sync)


@pytest.mark.parametrize("at", [3, 12, 20])
async def test_cancelling_gives_the_feed_back_at_once_and_counts_for_no_attempt(
    valkey: str, feeding: Feeding, at: int
) -> None:
    sync_id = await feeding.bring("acme", FIRST)
    sleeper = PausedStore(valkey, at)
    async with asleep(sleeper, feeding.run("acme", sleeper)) as run:
        assert run is not None
        run.cancel()
        sleeper.wake()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert await feeding.run("acme") == 1
    sync = await feeding.ended(sync_id)
    assert (sync.state, sync.attempts) == (SyncState.APPLIED, 1)
    await feeding.check_settled({"acme": FIRST})


async def test_a_cancelled_run_stays_cancelled_when_the_store_is_gone(valkey: str, feeding: Feeding) -> None:
    await feeding.bring("acme", FIRST)
    gone = PausedStore(valkey, 12)
    async with asleep(gone, feeding.run("acme", gone)) as run:
        assert run is not None

        @returns_future
        async def refuse(*_: Argument) -> Any:
            raise StoreUnavailable("gone")

        gone.execute = refuse  # type: ignore[method-assign]
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
