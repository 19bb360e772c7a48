"""What the store knows of a carrier's feed: the snapshot that is in stock and those that were begun."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, TypeVar

from pyroaring import BitMap

from shared import store_keys
from shared.atomic.feed_operations import FeedRun, Overtaken, keep_snapshot
from shared.store import Store
from worker.snapshot import Offers

_T = TypeVar("_T")

_BITMAPS_PER_COMMAND = 16
"""A bitmap has up to 130 kB, so that no command moves more than about 2 MB."""


class FeedState(NamedTuple):
    """Generations of the snapshots kept for a feed."""

    applied: int | None
    intended: list[int]
    """Of runs that did not finish; what they changed is not known."""

    @property
    def generations(self) -> list[int]:
        """Give all of them."""
        return self.intended if self.applied is None else [self.applied, *self.intended]


async def read_feed_state(store: Store, carrier: str) -> FeedState:
    """Give which snapshots are kept; raises `StoreUnavailable`."""
    applied, intended = await store.execute("HMGET", store_keys.feed(carrier), "applied", "intended")
    return FeedState(
        applied=int(applied) if applied else None,
        intended=[int(generation) for generation in (intended or b"").split()],
    )


async def load_snapshot(store: Store, carrier: str, generation: int) -> Offers:
    """Give a kept snapshot.

    Raises:
        Overtaken: a later run has replaced it meanwhile.
        StoreUnavailable: the store did not answer.
    """
    key = store_keys.feed_snapshot(carrier, generation)
    offers: dict[tuple[str, int], BitMap] = {}
    places = await store.execute("HKEYS", key)
    for group in _groups(iter(places)):
        bitmaps = await store.execute("HMGET", key, *group)
        if None in bitmaps:
            raise Overtaken
        for place, bitmap in zip(group, bitmaps, strict=True):
            area_code, features = place.decode().split(":")
            offers[area_code, int(features)] = BitMap.deserialize(bitmap)
    return offers


async def save_snapshot(store: Store, run: FeedRun, offers: Offers) -> None:
    """Keep a snapshot under the run's generation; raises `Overtaken` and `StoreUnavailable`."""
    for group in _groups(iter(offers.items())):
        fields: list[str | bytes] = []
        for (area_code, features), bitmap in group:
            fields += [f"{area_code}:{features}", bitmap.serialize()]
        await keep_snapshot(store, run, fields)


def _groups(items: Iterator[_T]) -> Iterator[list[_T]]:
    while group := list(islice(items, _BITMAPS_PER_COMMAND)):
        yield group
