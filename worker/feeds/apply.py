"""Applying what a carrier offers: fences first, then only the difference, then it is the applied snapshot.

Whatever is killed at whatever point, the run that follows ends in the state of its own snapshot: what a dead
run meant to do is on record before its first change, and a run that wakes up late meets the fences.
"""

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import NamedTuple

from pyroaring import BitMap

from shared import clock, store_keys
from shared.atomic.feed_operations import (
    MAX_NUMBERS_PER_CALL,
    FeedRun,
    Offerer,
    adopt_snapshot,
    intend_snapshot,
    raise_fence,
    register_carrier,
    stock,
    withdraw,
    write_feed,
)
from shared.feeds.offers import Numbers, Offers, numbers_of
from shared.feeds.profiles import Profiles
from shared.store import Store
from worker.feeds.difference import AreaChange, Difference, difference, union_of
from worker.feeds.feed_state import FeedState, load_snapshot, read_feed_state, save_snapshot
from worker.feeds.pace import Pace

_GROUPS_UNDER_WAY = 2
"""While the store works on one group, the next is made: neither waits for the other."""
_FEATURE = 2**24

Report = Callable[[int, int], None]
"""Is told how many numbers of how many have been sent."""


class InStock(NamedTuple):
    """What a carrier's earlier runs have put in stock, or may have; and the run that goes on from there."""

    offerer: Offerer
    state: FeedState
    applied: Offers
    intended: list[Offers]
    again: Numbers
    """Numbers that have to be sent even if they are in stock."""

    @property
    def run(self) -> FeedRun:
        """Give the run."""
        return self.offerer.run


class Applied(NamedTuple):
    """What a run has changed."""

    change: Difference
    protected: int
    """Numbers among those that its sync has changed whose state no feed changes."""


async def look_at_stock(store: Store, run: FeedRun, profiles: Profiles, area_codes: set[str]) -> InStock:
    """Close out earlier runs and give what they have put in stock; `area_codes` are those that may be new.

    Raises:
        Overtaken: a later run has the feed; it finishes the work.
        StoreUnavailable: the store did not answer; the next run finishes the work.
    """
    ordinal = await register_carrier(store, run.carrier)
    ordinals = {
        name.decode(): int(value)
        for name, value in (await store.execute("HGETALL", store_keys.FEEDS)).items()
    }
    order = profiles.order(ordinals)
    await _close_out_earlier_runs(store, run, ordinal, area_codes)
    state = await read_feed_state(store, run.carrier)
    applied = await load_snapshot(store, run.carrier, state.applied)
    intended = [await load_snapshot(store, run.carrier, generation) for generation in state.intended]
    # What went back to its carrier is not in stock, whatever was applied: it is sent anew after its time.
    again = await _listable_again(store, area_codes | applied.keys())
    if applied and _order_has_changed(state.order, order):
        again = union_of([again, await _offered_by_others(store, ordinals, run.carrier, applied)])
    text = "".join(f",{one}" for one in order) + ","
    return InStock(Offerer(run, ordinal, text), state, applied, intended, again)


async def apply_offers(
    store: Store, before: InStock, new: Offers, report: Report, *, rolls_back: bool = False
) -> Applied:
    """Make the stock of the run's carrier what `new` says; raises like `look_at_stock`."""
    run, state = before.run, before.state
    change = difference(new, before.applied, before.intended, before.again)
    # What a run before this one has counted, if the sync goes on where that one ended.
    protected = state.protected if state.applied_by == run.sync_id else 0
    if change.size or before.intended or rolls_back:
        # In this order, so that whatever was kept is found and forgotten by the run that adopts.
        await intend_snapshot(store, run)
        await save_snapshot(store, run, new)
        protected += await _send(store, before.offerer, change, report)
        if rolls_back:
            await adopt_snapshot(store, run, "", None, state.generations, protected=protected)
        else:
            # A sync that goes on where it waited keeps the way back to before it began.
            previous = state.previous if state.applied_by == run.sync_id else state.applied or 0
            forgotten = state.generations - {previous}
            await adopt_snapshot(store, run, run.sync_id, previous, forgotten, protected=protected)
    await write_feed(store, run, store_keys.feed(run.carrier), ["order", before.offerer.order])
    return Applied(change, protected)


async def _close_out_earlier_runs(store: Store, run: FeedRun, ordinal: int, area_codes: set[str]) -> None:
    """Raise the fence of every area code that this or any earlier run can touch."""
    known = {area.decode() for area in await store.execute("SMEMBERS", store_keys.AREAS)}
    if area_codes - known:
        await store.execute("SADD", store_keys.AREAS, *(area_codes - known))
    await asyncio.gather(*(raise_fence(store, run, ordinal, area) for area in known | area_codes))


async def _listable_again(store: Store, area_codes: set[str]) -> Numbers:
    """Give the returned numbers whose quarantine is over."""
    areas = sorted(area_codes)
    now_ms = await clock.now_ms(store)
    lists = await store.execute_many(
        [("ZRANGE", store_keys.returned(area), "-inf", now_ms, "BYSCORE") for area in areas]
    )
    return {
        area: BitMap(int(number[len(b"+1415") :]) for number in numbers)
        for area, numbers in zip(areas, lists, strict=True)
        if numbers
    }


def _order_has_changed(noted: str, order: list[int]) -> bool:
    """Tell whether carriers have another order than at the last run; those it did not know came last."""
    before = [int(ordinal) for ordinal in noted.split(",") if ordinal]
    return [*before, *sorted({*order} - {*before})] != order


async def _offered_by_others(
    store: Store, ordinals: Mapping[str, int], carrier: str, applied: Offers
) -> Numbers:
    """Give the carrier's numbers that another carrier offers too."""
    shared: list[Numbers] = []
    for other in ordinals.keys() - {carrier}:
        state = await read_feed_state(store, other)
        theirs = await load_snapshot(store, other, state.applied)
        shared.append({area: numbers_of(applied, area) & numbers_of(theirs, area) for area in applied})
    return union_of(shared)


async def _send(store: Store, offerer: Offerer, change: Difference, report: Report) -> int:
    """Send a difference and give how many of its numbers are protected."""
    calls, pace = _calls(store, offerer, change), Pace(store)
    sent = protected = 0
    total = change.size

    async def send_groups() -> None:
        nonlocal sent, protected
        while group := list(islice(calls, await pace.calls())):
            async with pace.resting():
                found = await asyncio.gather(*(call() for call, _ in group))
            # Not in one with the await, which would add to what it was before.
            protected += sum(found)
            sent += sum(count for _, count in group)
            report(sent, total)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_GROUPS_UNDER_WAY):
                tasks.create_task(send_groups())
    except ExceptionGroup as errors:
        # The first is the cause; what followed, if anything, is its consequence.
        raise errors.exceptions[0] from errors
    return protected


def _calls(
    store: Store, offerer: Offerer, change: Difference
) -> Iterator[tuple[Callable[[], Awaitable[int]], int]]:
    """Give each call that the difference needs, and how many numbers it moves."""
    for area in change.areas:
        for packed in _chunks(area.withdraw.to_array()):
            yield partial(withdraw, store, offerer, area.area_code, packed), len(packed) // 4
        for packed in _chunks(_with_features(area)):
            yield partial(stock, store, offerer, area.area_code, packed), len(packed) // 4


def _with_features(area: AreaChange) -> "array[int]":
    """Give the numbers to stock with their features, together: a small change is one call."""
    packed = array("I")
    for features, numbers in area.stock.items():
        packed.extend(numbers.shift(features * _FEATURE).to_array())
    return packed


def _chunks(values: "array[int]") -> Iterator[bytes]:
    """Give values in chunks for one call each, unsigned 32-bit little-endian."""
    for begin in range(0, len(values), MAX_NUMBERS_PER_CALL):
        yield values[begin : begin + MAX_NUMBERS_PER_CALL].tobytes()
