"""Feeds: the typed wrappers of the scripts that carriers' feeds need; each is its script's only caller."""

from collections.abc import Iterable
from typing import NamedTuple

from shared import store_keys
from shared.atomic.script import Script
from shared.stock_score import MAX_CARRIER_ORDINAL
from shared.store import Store

MAX_NUMBERS_PER_CALL = 200
"""Numbers that one `stock` or `withdraw` moves: chunks of 200 kept every call below 2 ms, 500 did not."""

_REGISTER_CARRIER = Script("register_carrier")
_CLAIM_FEED = Script("claim_feed")
_RENEW_FEED = Script("renew_feed")
_INTEND_SNAPSHOT = Script("intend_snapshot")
_ADOPT_SNAPSHOT = Script("adopt_snapshot")
_LEAVE_FEED = Script("leave_feed")
_KEEP_SNAPSHOT = Script("keep_snapshot")
_RECORD_RUN = Script("record_run")
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
    sync_id: str


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
    return FeedRun(carrier, reply[0], reply[1].decode()) if reply else None


async def renew_feed(store: Store, run: FeedRun, lease_ms: int) -> None:
    """Keep the feed in hand for `lease_ms` from now, 0 to give it back; raises `Overtaken`."""
    _check(await _RENEW_FEED.run(store, [store_keys.feed(run.carrier)], run.generation, lease_ms))


async def intend_snapshot(store: Store, run: FeedRun) -> None:
    """Note that the run is going to apply the snapshot kept under its generation; raises `Overtaken`."""
    _check(await _INTEND_SNAPSHOT.run(store, [store_keys.feed(run.carrier)], run.generation))


async def keep_snapshot(store: Store, run: FeedRun, fields: Iterable[str | bytes]) -> None:
    """Keep a part of the run's snapshot: place, bitmap, place, bitmap; raises `Overtaken`."""
    keys = [store_keys.feed(run.carrier), store_keys.feed_snapshot(run.carrier, run.generation)]
    _check(await _KEEP_SNAPSHOT.run(store, keys, run.generation, *fields))


async def record_run(store: Store, run: FeedRun, fields: Iterable[str | int]) -> None:
    """Write field, value, field, value into the record of the run's sync; raises `Overtaken`."""
    lifetime = store_keys.SYNC_LIFETIME_SECONDS
    _check(await _RECORD_RUN.run(store, [store_keys.sync(run.sync_id)], run.generation, lifetime, *fields))


async def adopt_snapshot(store: Store, run: FeedRun, replaced: Iterable[int]) -> None:
    """Note that the run's snapshot is in stock and forget the `replaced` generations; raises `Overtaken`."""
    old = [store_keys.feed_snapshot(run.carrier, generation) for generation in replaced]
    _check(await _ADOPT_SNAPSHOT.run(store, [store_keys.feed(run.carrier), *old], run.generation))


async def leave_feed(store: Store, run: FeedRun) -> None:
    """Take the run's sync, which has ended, from the queue and give the feed back; raises `Overtaken`."""
    keys = [store_keys.feed(run.carrier), store_keys.feed_queue(run.carrier)]
    _check(await _LEAVE_FEED.run(store, keys, run.generation, run.sync_id))


async def raise_fence(store: Store, run: FeedRun, ordinal: int, area_code: str) -> None:
    """Keep earlier runs of this carrier out of an area code; raises `Overtaken`."""
    _check(await _RAISE_FENCE.run(store, [store_keys.fence(area_code)], ordinal, run.generation))


async def stock(store: Store, run: FeedRun, attributes: int, area_code: str, packed: bytes) -> None:
    """Offer numbers (local numbers, packed 32-bit little-endian); raises `Overtaken`."""
    keys = [
        store_keys.available(area_code),
        store_keys.also_offered(area_code),
        store_keys.fence(area_code),
        store_keys.unavailable(area_code),
        store_keys.returned(area_code),
        store_keys.events(area_code),
    ]
    _check(await _STOCK.run(store, keys, run.generation, attributes, area_code, packed, run.carrier))


async def withdraw(store: Store, run: FeedRun, ordinal: int, area_code: str, packed: bytes) -> None:
    """Take back a carrier's offers of numbers, packed as for `stock`; raises `Overtaken`."""
    keys = [
        store_keys.available(area_code),
        store_keys.also_offered(area_code),
        store_keys.fence(area_code),
        store_keys.unavailable(area_code),
        store_keys.events(area_code),
    ]
    _check(await _WITHDRAW.run(store, keys, run.generation, ordinal, area_code, packed, run.carrier))


def _check(is_current: int) -> None:
    if not is_current:
        raise Overtaken
