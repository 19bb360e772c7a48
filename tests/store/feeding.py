"""What tests of carriers' feeds share: small feeds, a worker's runs, and what has to be true after them."""

import random
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from shared import store_keys
from shared.feeds.offers import Numbers, Offers, SnapshotBuilder
from shared.feeds.profiles import Guards, Mode, Profile, Profiles
from shared.feeds.spool import Spool
from shared.feeds.syncs import (
    Sync,
    SyncOptions,
    SyncState,
    confirm_sync,
    new_sync_id,
    open_feeds,
    queue_feed,
    read_sync,
    roll_back_sync,
)
from shared.phone_number import PhoneNumber, parse_number
from shared.stock_score import KEPT, MMS, SMS
from shared.store import Store
from tests.rules.feed_files import block_of
from worker.feeds.feed_state import load_removals, load_snapshot, read_feed_state, waiting_syncs
from worker.feeds.ingest import run_queued_syncs
from worker.feeds.tasks import Feeds

Feed = dict[PhoneNumber, int]
"""The plain model of what a carrier offers: number → features."""

LEASE_SECONDS = 60.0
"""Longer than any test: where a test needs a lease to be over, it says so."""

NUMBERS = [PhoneNumber(area_code, 2_200_000 + at) for area_code in ("415", "212", "604") for at in range(9)]
FEATURES = (0, SMS, MMS, SMS | MMS)

ANY_REMOVAL = Guards(removed_percent=100, emptied_area=1_000_000)
NO_REMOVAL = Guards(removed_percent=0, removed_numbers=0)
"""Every removal waits."""


def some_feed(seed: int, *area_codes: str) -> Feed:
    """Give about two thirds of the area codes' numbers, with features."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    offered = [number for number in NUMBERS if number.area_code in area_codes and chance.random() < 2 / 3]
    return {number: chance.choice(FEATURES) for number in offered}


OTHERS = some_feed(1, "415", "212")
FIRST = some_feed(2, "415", "212")
SECOND = some_feed(3, "415", "604")
THIRD = some_feed(4, "212", "604")


def csv_of(feed: Feed) -> bytes:
    lines = [
        f"{number.e164},{bool(features & SMS)},{bool(features & MMS)}\n" for number, features in feed.items()
    ]
    return "".join(["number,sms,mms\n", *lines]).encode()


Changes = Iterable[tuple[PhoneNumber, int | None]]
"""Rows of a delta: a number and its features, None to take it away."""


def delta_of(changes: Changes) -> bytes:
    lines = [
        f"{number.e164},{bool((features or 0) & SMS)},{bool((features or 0) & MMS)},"
        f"{'delete' if features is None else 'add'}\n"
        for number, features in changes
    ]
    return "".join(["number,sms,mms,action\n", *lines]).encode()


def offers_of(feed: Feed) -> Offers:
    builder = SnapshotBuilder()
    builder.add(block_of(feed.items()))
    return builder.finish()[0]


def as_feed(offers: Offers) -> Feed:
    return {
        PhoneNumber(area_code, local): features
        for area_code, places in offers.items()
        for features, numbers in places.items()
        for local in numbers
    }


def as_set(numbers: Numbers) -> set[PhoneNumber]:
    return {PhoneNumber(area_code, local) for area_code, locals_ in numbers.items() for local in locals_}


def profiles(default: Guards = ANY_REMOVAL, /, **by_name: Profile) -> Profiles:
    """Give profiles; a carrier that is not named has the plain format and these guards."""
    return Profiles(by_name, Profile(guards=default))


async def let_lease_end(store: Store, carrier: str) -> None:
    """Stand for the time that goes by after a worker died."""
    await store.execute("HSET", store_keys.feed(carrier), "lease_until_ms", 1)


class Feeding:
    """Brings feeds as people do, and works them off as the worker does."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self.store = store
        self.spool = spool
        self.profiles = profiles()

    def feeds(self, store: Store | None = None) -> Feeds:
        return Feeds(store or self.store, self.spool, self.profiles)

    async def bring(self, carrier: str, feed: Feed | bytes, options: SyncOptions = SyncOptions()) -> str:  # noqa: B008
        """Put a feed into the spool and queue its sync; give its id."""
        sync_id = new_sync_id()
        content = feed if isinstance(feed, bytes) else csv_of(feed)
        sha256 = self.spool.put(sync_id, BytesIO(content), 1 << 20)
        await queue_feed(self.store, sync_id, carrier, options, sha256=sha256)
        return sync_id

    async def fetch(self, carrier: str, options: SyncOptions = SyncOptions()) -> Sync:  # noqa: B008
        """Have a feed fetched from its source and applied."""
        sync = await queue_feed(self.store, new_sync_id(), carrier, options, sha256=None)
        return await self._done(sync)

    async def run(self, carrier: str, store: Store | None = None) -> int:
        """Work off a carrier's queue."""
        return await run_queued_syncs(self.feeds(store), carrier, LEASE_SECONDS)

    async def ingest(self, carrier: str, feed: Feed | bytes, **options: Any) -> Sync:
        """Bring a feed, run its sync to its end, and give its record."""
        sync_id = await self.bring(carrier, feed, SyncOptions(**options))
        assert await self.run(carrier) == 1
        return await self.ended(sync_id)

    async def delta(self, carrier: str, changes: Changes, **options: Any) -> Sync:
        return await self.ingest(carrier, delta_of(changes), mode=Mode.DELTA, **options)

    async def confirm(self, sync: Sync) -> Sync:
        return await self._done(await confirm_sync(self.store, await self.record(sync.id)))

    async def roll_back(self, sync: Sync) -> Sync:
        return await self._done(await roll_back_sync(self.store, await self.record(sync.id)))

    async def _done(self, sync: Sync) -> Sync:
        assert sync.state is SyncState.QUEUED
        assert await self.run(sync.carrier) == 1
        return await self.ended(sync.id)

    async def record(self, sync_id: str) -> Sync:
        sync = await read_sync(self.store, sync_id)
        assert sync is not None
        return sync

    async def ended(self, sync_id: str) -> Sync:
        sync = await self.record(sync_id)
        assert sync.state.has_ended
        return sync

    async def offers_in_store(self) -> dict[str, Feed]:
        """Give what the stock says: carrier → its offers, shown or waiting behind one that counts before."""
        ordinals = {
            name.decode(): int(ordinal)
            for name, ordinal in (await self.store.execute("HGETALL", store_keys.FEEDS)).items()
        }
        order = self.profiles.order(ordinals)
        feeds: dict[int, Feed] = {ordinal: {} for ordinal in ordinals.values()}
        for area in await self.store.execute("SMEMBERS", store_keys.AREAS):
            for number, offers in (await offers_in_area(self.store, area.decode())).items():
                carriers = [attributes >> 6 for attributes in offers]
                assert len({*carriers}) == len(carriers), f"{number} is there twice for one carrier"
                assert carriers[0] == min(carriers, key=order.index), f"{number} shows the wrong carrier"
                for attributes in offers:
                    feeds[attributes >> 6][number] = attributes & (SMS | MMS)
        return {carrier: feeds[ordinal] for carrier, ordinal in ordinals.items()}

    async def check_settled(
        self, feeds: Mapping[str, Feed], waiting: Mapping[str, set[PhoneNumber]] | None = None
    ) -> None:
        """Check that the stock is what the feeds say, and that runs have left nothing but what is needed.

        `waiting`: of each sync whose removals wait, which numbers they are.
        """
        assert await self.offers_in_store() == feeds
        kept = {}
        for carrier, feed in feeds.items():
            state = await read_feed_state(self.store, carrier)
            assert state.intended == []
            assert as_feed(await load_snapshot(self.store, carrier, state.applied)) == feed
            # One of nothing has no key.
            assert {*await self.kept(carrier, "snapshot")} <= {str(one) for one in state.generations}
            waits = await waiting_syncs(self.store, carrier)
            assert await self.kept(carrier, "removals") == waits
            for sync_id in waits:
                assert (await self.record(sync_id)).state is SyncState.WAITING
                kept[sync_id] = as_set(await load_removals(self.store, carrier, sync_id))
        assert kept == (waiting or {})
        assert await open_feeds(self.store) == []

    async def kept(self, carrier: str, what: str) -> list[str]:
        """Give the names of the bitmaps that are kept of a carrier's feed."""
        prefix = f"{store_keys.feed(carrier)}:{what}:"
        keys = await self.store.execute("KEYS", prefix + "*")
        return sorted(key.decode().removeprefix(prefix) for key in keys)


async def offers_in_area(store: Store, area_code: str) -> dict[PhoneNumber, list[int]]:
    """Give the attributes of each number's offers, the one that counts first; whoever has the number."""
    shown = await store.execute("ZRANGE", store_keys.available(area_code), 0, -1, "WITHSCORES")
    away = await store.execute("HGETALL", store_keys.unavailable(area_code))
    also = await store.execute("HGETALL", store_keys.also_offered(area_code))
    counting = {member: int(record.split()[1]) for member, record in away.items()}
    for member, score in zip(shown[::2], map(int, shown[1::2]), strict=True):
        assert member not in counting, f"{member} has two places"
        assert score // 65536 == parse_number(member.decode()).local
        counting[member] = score % 65536
    offered = {member: attributes for member, attributes in counting.items() if attributes >> 6}
    assert also.keys() <= offered.keys()
    return {
        parse_number(member.decode()): [
            attributes,
            *(int(other) for other in also.get(member, b"").split(b",") if other),
        ]
        for member, attributes in offered.items()
    }


async def assign(store: Store, number: PhoneNumber) -> None:
    """Stand for an order that takes an available number."""
    area = number.area_code
    having = int(await store.execute("ZSCORE", store_keys.available(area), number.e164)) % 2**16
    await store.execute("ZREM", store_keys.available(area), number.e164)
    await store.execute(
        "HSET", store_keys.unavailable(area), number.e164, f"assigned {having | KEPT} 1 order buyer"
    )


def counts_of(sync: Sync) -> tuple[int, int, int]:
    return sync.added, sync.removed, sync.unchanged


def expected_counts(new: Feed, applied: Feed) -> tuple[int, int, int]:
    unchanged = len(new.keys() & applied.keys())
    return len(new) - unchanged, len(applied) - unchanged, unchanged
