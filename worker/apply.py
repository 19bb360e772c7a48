"""Applying a snapshot: fences first, then only the difference, then the new snapshot is the applied one.

Whatever is killed at whatever point, the run that follows ends in the state of its own snapshot: what a dead
run meant to do is on record before its first change, and a run that wakes up late meets the fences.
"""

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import islice

from pyroaring import BitMap

from shared import clock, store_keys
from shared.atomic.feed_operations import (
    MAX_NUMBERS_PER_CALL,
    FeedRun,
    adopt_snapshot,
    intend_snapshot,
    raise_fence,
    register_carrier,
    stock,
    withdraw,
)
from shared.stock_score import attributes
from shared.store import Store
from worker.feed_state import load_snapshot, read_feed_state, save_snapshot
from worker.snapshot import Difference, Offers, difference

_CALLS_AT_ONCE = 32
"""Calls of a run under way at once: a pipeline deep enough for the store never to wait for Python, short
enough (some milliseconds) that searches come in between."""

_BYTES_PER_LOCAL = 4

Report = Callable[[int, int], None]
"""Is told how many numbers of how many have been sent."""


async def apply_snapshot(store: Store, run: FeedRun, new: Offers, report: Report) -> Difference:
    """Make the stock of the run's carrier what its new snapshot says, and give what had to change.

    Raises:
        Overtaken: a later run has the feed; it finishes the work.
        StoreUnavailable: the store did not answer; the next run finishes the work.
    """
    ordinal = await register_carrier(store, run.carrier)
    await _close_out_earlier_runs(store, run, ordinal, new)
    state = await read_feed_state(store, run.carrier)
    applied: Offers = {} if state.applied is None else await load_snapshot(store, run.carrier, state.applied)
    intended = [await load_snapshot(store, run.carrier, generation) for generation in state.intended]
    # What went back to its carrier is not in stock, whatever was applied: it is sent anew after its time.
    again = await _listable_again(store, {area_code for area_code, _ in new})
    change = difference(new, applied, intended, again)
    if change.size or intended:
        # In this order, so that whatever was kept is found and forgotten by the run that adopts.
        await intend_snapshot(store, run)
        await save_snapshot(store, run, new)
        await _send(store, run, ordinal, change, report)
        await adopt_snapshot(store, run, state.generations)
    return change


async def _listable_again(store: Store, area_codes: set[str]) -> dict[str, BitMap]:
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


async def _close_out_earlier_runs(store: Store, run: FeedRun, ordinal: int, new: Offers) -> None:
    """Raise the fence of every area code that this or any earlier run can touch."""
    known = {area.decode() for area in await store.execute("SMEMBERS", store_keys.AREAS)}
    in_new = {area_code for area_code, _ in new}
    if in_new - known:
        await store.execute("SADD", store_keys.AREAS, *in_new)
    await asyncio.gather(*(raise_fence(store, run, ordinal, area) for area in known | in_new))


async def _send(store: Store, run: FeedRun, ordinal: int, change: Difference, report: Report) -> None:
    calls = _calls(store, run, ordinal, change)
    sent = 0
    while group := list(islice(calls, _CALLS_AT_ONCE)):
        await asyncio.gather(*(call() for call, _ in group))
        sent += sum(count for _, count in group)
        report(sent, change.size)


def _calls(
    store: Store, run: FeedRun, ordinal: int, change: Difference
) -> Iterator[tuple[Callable[[], Awaitable[None]], int]]:
    """Give each call that the difference needs, and how many numbers it moves."""
    for area_code, numbers in change.withdraw.items():
        for packed in _packed(numbers):
            yield partial(withdraw, store, run, ordinal, area_code, packed), len(packed) // _BYTES_PER_LOCAL
    for (area_code, features), numbers in change.stock.items():
        offered = attributes(ordinal, features)
        for packed in _packed(numbers):
            yield partial(stock, store, run, offered, area_code, packed), len(packed) // _BYTES_PER_LOCAL


def _packed(numbers: BitMap) -> Iterator[bytes]:
    """Give the local numbers in chunks for one call each, packed as unsigned 32-bit little-endian."""
    items = iter(numbers)
    while chunk := array("I", islice(items, MAX_NUMBERS_PER_CALL)):
        yield chunk.tobytes()
