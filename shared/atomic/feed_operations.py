"""Feeds: the typed wrappers of the scripts that carriers' feeds need; each is its script's only caller."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shared import store_keys
from shared.atomic.script import Script
from shared.stock_score import MAX_CARRIER_ORDINAL
from shared.store import Store

MAX_NUMBERS_PER_CALL = 100
"""Numbers that one `stock` or `withdraw` moves: 0.1-0.2 ms of the store. With 200, twice as many of the calls
took over 2 ms on a machine whose processors others use too, and a first load was a tenth faster."""

_REGISTER_CARRIER = Script("register_carrier")
_CLAIM_FEED = Script("claim_feed")
_RENEW_FEED = Script("renew_feed")
_INTEND_SNAPSHOT = Script("intend_snapshot")
_ADOPT_SNAPSHOT = Script("adopt_snapshot")
_LEAVE_FEED = Script("leave_feed")
_WRITE_FEED = Script("write_feed")
_LET_REMOVALS_WAIT = Script("let_removals_wait")
_FORGET_REMOVALS = Script("forget_removals")
_RECORD_RUN = Script("record_run")
_MARK_SYNC = Script("mark_sync")
_RAISE_FENCE = Script("raise_fence")
_STOCK = Script("stock")
_WITHDRAW = Script("withdraw")


class TooManyCarriers(Exception):
    """As many carriers are known as a score has room for."""


class Overtaken(Exception):
    """A later run has this carrier's feed; nothing was written, and this run has to stop."""


class FeedRun(NamedTuple):
    """One run over a carrier's feed: the one with the highest generation is the only one that may write."""

    carrier: str
    generation: int
    task: str
    sync_id: str

    @property
    def work(self) -> str:
        """What stands in the queue."""
        return f"{self.task}:{self.sync_id}"


class Offerer(NamedTuple):
    """A run that changes the stock, and whose offers count before which."""

    run: FeedRun
    ordinal: int
    """Of its carrier."""
    order: str
    """`,ordinal,ordinal,`: all carriers in the order in which their offers count."""


async def register_carrier(store: Store, carrier: str) -> int:
    """Give the ordinal of a carrier, its own for ever; raises `TooManyCarriers`."""
    ordinal: int = await _REGISTER_CARRIER.run(store, [store_keys.FEEDS], carrier, MAX_CARRIER_ORDINAL)
    if ordinal == 0:
        raise TooManyCarriers(f"there is room for {MAX_CARRIER_ORDINAL} carriers")
    return ordinal


async def claim_feed(store: Store, carrier: str, lease_ms: int) -> FeedRun | None:
    """Take a carrier's feed in hand; None when nothing waits or another run has it."""
    keys = [store_keys.feed(carrier), store_keys.feed_queue(carrier)]
    reply = await _CLAIM_FEED.run(store, keys, lease_ms)
    if not reply:
        return None
    task, _, sync_id = reply[1].decode().partition(":")
    return FeedRun(carrier, reply[0], task, sync_id)


async def renew_feed(store: Store, run: FeedRun, lease_ms: int) -> None:
    """Keep the feed in hand for `lease_ms` from now, 0 to give it back; raises `Overtaken`."""
    _check(await _RENEW_FEED.run(store, [store_keys.feed(run.carrier)], run.generation, lease_ms))


async def write_feed(store: Store, run: FeedRun, key: str, fields: Iterable[str | int | bytes]) -> None:
    """Write field, value, field, value into a hash of the run's feed; raises `Overtaken`."""
    _check(await _WRITE_FEED.run(store, [store_keys.feed(run.carrier), key], run.generation, *fields))


async def intend_snapshot(store: Store, run: FeedRun) -> None:
    """Note that the run is going to apply the snapshot kept under its generation; raises `Overtaken`."""
    _check(await _INTEND_SNAPSHOT.run(store, [store_keys.feed(run.carrier)], run.generation))


async def let_removals_wait(store: Store, run: FeedRun) -> None:
    """Note that removals of the run's sync are kept until they are confirmed; raises `Overtaken`."""
    keys = [store_keys.feed(run.carrier), store_keys.feed_waiting(run.carrier)]
    _check(await _LET_REMOVALS_WAIT.run(store, keys, run.generation, run.sync_id))


async def forget_removals(store: Store, run: FeedRun, sync_ids: Sequence[str]) -> None:
    """Forget what syncs, at least one, wanted to remove; raises `Overtaken`."""
    removals = [store_keys.feed_removals(run.carrier, sync_id) for sync_id in sync_ids]
    keys = [store_keys.feed(run.carrier), store_keys.feed_waiting(run.carrier), *removals]
    _check(await _FORGET_REMOVALS.run(store, keys, run.generation, *sync_ids))


async def record_run(store: Store, run: FeedRun, fields: Iterable[str | int]) -> None:
    """Write field, value, field, value into the record of the run's sync; raises `Overtaken`."""
    lifetime = store_keys.SYNC_LIFETIME_SECONDS
    _check(await _RECORD_RUN.run(store, [store_keys.sync(run.sync_id)], run.generation, lifetime, *fields))


async def mark_sync(
    store: Store,
    sync_id: str,
    change: tuple[str, str],
    reason: str,
    at: str,
    *,
    generation: int,
) -> bool:
    """Change a sync's state from one to another, and say whether it had the first.

    Nothing is changed when a run later than `generation` has written into the record.
    """
    return bool(await _MARK_SYNC.run(store, [store_keys.sync(sync_id)], *change, reason, at, generation))


async def adopt_snapshot(
    store: Store,
    run: FeedRun,
    applied_by: str,
    previous: int | None,
    forgotten: Iterable[int],
    *,
    protected: int,
) -> None:
    """Note that the run's snapshot is in stock; raises `Overtaken`.

    `applied_by` is the sync that has made the stock what it is, `protected` how many of the numbers that it
    changed are, `previous` the generation from before it (0: there was none; None: there is no way back). The
    `forgotten` generations are dropped.
    """
    old = [store_keys.feed_snapshot(run.carrier, generation) for generation in forgotten]
    back = "" if previous is None else previous
    keys = [store_keys.feed(run.carrier), *old]
    _check(await _ADOPT_SNAPSHOT.run(store, keys, run.generation, applied_by, back, protected))


async def leave_feed(store: Store, run: FeedRun) -> None:
    """Take the run's work, which is done, from the queue and give the feed back; raises `Overtaken`."""
    keys = [store_keys.feed(run.carrier), store_keys.feed_queue(run.carrier)]
    _check(await _LEAVE_FEED.run(store, keys, run.generation, run.work))


async def raise_fence(store: Store, run: FeedRun, ordinal: int, area_code: str) -> None:
    """Keep earlier runs of this carrier out of an area code; raises `Overtaken`."""
    _check(await _RAISE_FENCE.run(store, [store_keys.fence(area_code)], ordinal, run.generation))


async def stock(store: Store, offerer: Offerer, area_code: str, packed: bytes) -> int:
    """Offer numbers, and give how many of them no feed can make available.

    `packed`: features * 2^24 + local number, 32-bit little-endian. Raises `Overtaken`.
    """
    keys = [
        store_keys.available(area_code),
        store_keys.also_offered(area_code),
        store_keys.fence(area_code),
        store_keys.unavailable(area_code),
        store_keys.returned(area_code),
        store_keys.events(area_code),
    ]
    return await _change(store, _STOCK, keys, offerer, area_code, packed)


async def withdraw(store: Store, offerer: Offerer, area_code: str, packed: bytes) -> int:
    """Take back a carrier's offers of numbers, and give how many of them stay all the same.

    `packed`: local numbers, 32-bit little-endian. Raises `Overtaken`.
    """
    keys = [
        store_keys.available(area_code),
        store_keys.also_offered(area_code),
        store_keys.fence(area_code),
        store_keys.unavailable(area_code),
        store_keys.events(area_code),
    ]
    return await _change(store, _WITHDRAW, keys, offerer, area_code, packed)


async def _change(
    store: Store, script: Script, keys: list[str], offerer: Offerer, area_code: str, packed: bytes
) -> int:
    run, ordinal, order = offerer
    reply = await script.run(store, keys, run.generation, ordinal, area_code, packed, run.carrier, order)
    _check(reply[0])
    protected: int = reply[1]
    return protected


def _check(is_current: int) -> None:
    if not is_current:
        raise Overtaken
