"""What the store knows of a carrier's feed: the snapshots in stock and begun, and what waits."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from shared import store_keys
from shared.atomic.feed_operations import FeedRun, Overtaken, write_feed
from shared.feeds.offers import Numbers, Offers
from shared.store import Store

_BYTES_PER_COMMAND = 128 << 10
"""Bitmaps that one command moves: more would keep others from the store for a millisecond. A bitmap alone may
have more, up to 1 MB when every number of an area code is offered at random."""
_BITMAPS_PER_COMMAND = 16


class SourceFeed(Struct, frozen=True):
    """A feed as a sync has fetched it from the carrier's source."""

    sync_id: str
    reader: str
    """Stands for the profile that it was read with: read differently, it is another feed."""
    sha256: str
    version: str | None
    """As the source has it."""
    modified_ms: int
    """How old it is, Unix ms; 0 when that is not known."""
    is_rolled_back: bool = False


class FeedState(NamedTuple):
    """The state of a feed; generations name snapshots that are kept."""

    applied: int | None
    intended: list[int]
    """Of runs that did not finish; what they changed is not known."""
    applied_by: str | None
    """The sync that made the stock what it is."""
    protected: int
    """Of the numbers that it changed."""
    previous: int | None
    """From before that sync; 0 when there was nothing, None when there is no way back."""
    order: str
    """The carriers' precedence at the last run."""
    noted_by: str | None
    """The sync that noted last which delta it had applied."""
    fetched: SourceFeed | None
    """What was fetched last, whatever has become of it."""
    source: SourceFeed | None
    """What of the source was applied last."""

    @property
    def generations(self) -> set[int]:
        """Give all of them."""
        known = {self.applied or 0, self.previous or 0, *self.intended}
        return known - {0}


async def read_feed_state(store: Store, carrier: str) -> FeedState:
    """Give the state of a feed; raises `StoreUnavailable`."""
    values = await store.execute("HMGET", store_keys.feed(carrier), *FeedState._fields)
    known = {name: value.decode() for name, value in zip(FeedState._fields, values, strict=True) if value}
    return FeedState(
        applied=int(known["applied"]) if "applied" in known else None,
        intended=[int(generation) for generation in known.get("intended", "").split()],
        applied_by=known.get("applied_by"),
        protected=int(known.get("protected", 0)),
        previous=int(known["previous"]) if "previous" in known else None,
        order=known.get("order", ""),
        noted_by=known.get("noted_by"),
        fetched=_source_feed(known.get("fetched")),
        source=_source_feed(known.get("source")),
    )


def _source_feed(text: str | None) -> SourceFeed | None:
    return None if text is None else msgspec.json.decode(text, type=SourceFeed)


async def note_source(
    store: Store, run: FeedRun, place: Literal["fetched", "source"], one: SourceFeed
) -> None:
    """Note what was fetched, or what of it is applied; raises `Overtaken` and `StoreUnavailable`."""
    await write_feed(store, run, store_keys.feed(run.carrier), [place, msgspec.json.encode(one)])


async def load_snapshot(store: Store, carrier: str, generation: int | None) -> Offers:
    """Give a kept snapshot; nothing for the generation 0 or None.

    Raises:
        Overtaken: a later run has replaced it meanwhile.
        StoreUnavailable: the store did not answer.
    """
    return await _load(store, store_keys.feed_snapshot(carrier, generation)) if generation else {}


async def areas_of_snapshot(store: Store, carrier: str, generation: int | None) -> set[str]:
    """Give the area codes of a kept snapshot; none for the generation None. Raises `StoreUnavailable`."""
    places = await store.execute("HKEYS", store_keys.feed_snapshot(carrier, generation or 0))
    return {place.decode().partition(":")[0] for place in places}


async def save_snapshot(store: Store, run: FeedRun, offers: Offers) -> None:
    """Keep a snapshot under the run's generation; raises `Overtaken` and `StoreUnavailable`."""
    await _save(store, run, store_keys.feed_snapshot(run.carrier, run.generation), offers)


async def load_removals(store: Store, carrier: str, sync_id: str) -> Numbers:
    """Give what a sync wants to remove; raises as `load_snapshot`."""
    places = await _load(store, store_keys.feed_removals(carrier, sync_id))
    return {area_code: numbers[0] for area_code, numbers in places.items()}


async def save_removals(store: Store, run: FeedRun, sync_id: str, numbers: Numbers) -> None:
    """Keep what a sync wants to remove; raises `Overtaken` and `StoreUnavailable`."""
    places = {area_code: {0: removed} for area_code, removed in numbers.items()}
    await _save(store, run, store_keys.feed_removals(run.carrier, sync_id), places)


async def waiting_syncs(store: Store, carrier: str) -> list[str]:
    """Give the syncs whose removals wait for a confirmation; raises `StoreUnavailable`."""
    members = await store.execute("SMEMBERS", store_keys.feed_waiting(carrier))
    return sorted(member.decode() for member in members)


async def _load(store: Store, key: str) -> Offers:
    offers: dict[str, dict[int, BitMap]] = {}
    places = await store.execute("HKEYS", key)
    for begin in range(0, len(places), _BITMAPS_PER_COMMAND):
        group = places[begin : begin + _BITMAPS_PER_COMMAND]
        bitmaps = await store.execute("HMGET", key, *group)
        if None in bitmaps:
            raise Overtaken
        for place, bitmap in zip(group, bitmaps, strict=True):
            area_code, features = place.decode().split(":")
            offers.setdefault(area_code, {})[int(features)] = BitMap.deserialize(bitmap)
    return offers


async def _save(store: Store, run: FeedRun, key: str, offers: Offers) -> None:
    for fields in _packed(offers):
        await write_feed(store, run, key, fields)


def _packed(offers: Offers) -> Iterator[list[str | bytes]]:
    """Give place, bitmap, place, bitmap for one command each."""
    fields: list[str | bytes] = []
    size = 0
    for area_code, places in offers.items():
        for features, numbers in places.items():
            # In runs and blocks, which many carriers' numbers come in, half the bytes or less.
            numbers.run_optimize()
            bitmap = numbers.serialize()
            if fields and size + len(bitmap) > _BYTES_PER_COMMAND:
                yield fields
                fields, size = [], 0
            fields += [f"{area_code}:{features}", bitmap]
            size += len(bitmap)
    if fields:
        yield fields
