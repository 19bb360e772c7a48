"""What a carrier offers, as bitmaps: made of the blocks that are read of its feed.

A snapshot holds local numbers per area code and features: about 2 bytes a number, so a carrier's whole
feed fits into memory. Everything is done an area code at a time, so that nothing of its size exists twice.
"""

from array import array
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from pyroaring import BitMap

from shared.feeds.profiles import Mode
from shared.feeds.rows import REMOVAL, Block, Range, Row
from shared.stock_score import MMS, SMS

Places = Mapping[int, BitMap]
"""Features → local numbers of one area code; a number has one place."""

Offers = Mapping[str, Places]
"""Area code → what is offered there."""

Numbers = Mapping[str, BitMap]
"""Area code → local numbers."""


class Collected(NamedTuple):
    """What a feed holds."""

    offers: Offers
    """Of a delta, with what it takes away under `REMOVAL`."""
    removals: int
    """Numbers that a row takes away."""
    duplicate: int
    """How many numbers were brought that had been brought before."""


_GATHERED_NUMBERS = 4_000
"""Of one area code and features, before they go into their bitmap: 10 MB over 300 area codes."""


class SnapshotBuilder:
    """Collects the rows of a snapshot."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._areas: defaultdict[str, defaultdict[int, BitMap]] = defaultdict(lambda: defaultdict(BitMap))
        # Arrays, for they hold numbers and not objects: less memory to go through.
        self._gathered: defaultdict[int, defaultdict[str, array[int]]] = defaultdict(
            lambda: defaultdict(lambda: array("I"))
        )
        self._numbers = 0

    def add(self, block: Block) -> None:
        """Add some rows."""
        gathered = self._gathered
        # 0.16 µs a row over 300 area codes; adding the few of each block at once to their bitmaps took 0.28.
        rows = block.rows
        for area_code, local, features in zip(
            rows.area_codes, rows.local_numbers, rows.features, strict=True
        ):
            gathered[features][area_code].append(local)
        self._put_away(_GATHERED_NUMBERS)
        for area_code, first, length, features in block.ranges:
            self._areas[area_code][features].add_range(first, first + length)
        self._numbers += block.number_count

    def _put_away(self, at_least: int) -> None:
        for features, areas in self._gathered.items():
            for area_code, numbers in areas.items():
                if len(numbers) >= at_least:
                    self._areas[area_code][features].update(numbers)
                    del numbers[:]

    def finish(self) -> Collected:
        """Give the snapshot.

        Where rows of one number differ, it gets what all of them name, and is not offered when one of them
        removes it: better to promise too little.
        """
        self._put_away(1)
        offers: dict[str, Places] = {}
        distinct = removals = 0
        while self._areas:
            area_code, places = self._areas.popitem()
            everything = all_of(places)
            distinct += len(everything)
            removals += len(places.get(REMOVAL, _NONE))
            if sum(map(len, places.values())) != len(everything):
                places = _without_contradictions(places, everything)
            if kept := {features: numbers for features, numbers in places.items() if features != REMOVAL}:
                offers[area_code] = kept
        return Collected(offers, removals, self._numbers - distinct)


def _without_contradictions(places: Places, everything: BitMap) -> defaultdict[int, BitMap]:
    lacking = {
        feature: all_of({place: numbers for place, numbers in places.items() if not place & feature})
        for feature in (SMS, MMS)
    }
    resolved: defaultdict[int, BitMap] = defaultdict(BitMap)
    for features in (0, SMS, MMS, SMS | MMS):
        chosen = everything - places.get(REMOVAL, _NONE)
        for feature, lack in lacking.items():
            chosen = chosen - lack if features & feature else chosen & lack
        if chosen:
            resolved[features] = chosen
    return resolved


class DeltaBuilder:
    """Collects the rows of a delta; of several rows of one number the last counts."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._areas: defaultdict[str, defaultdict[int, BitMap]] = defaultdict(lambda: defaultdict(BitMap))
        self._numbers = 0

    def add(self, block: Block) -> None:
        """Add some rows, in their order."""
        for row in block.rows:
            self._put(row)
        for one in block.ranges:
            self._put_range(one)

    def finish(self) -> Collected:
        """Give the delta."""
        offers = {area_code: dict(places) for area_code, places in self._areas.items()}
        removals = sum(len(places.get(REMOVAL, _NONE)) for places in offers.values())
        return Collected(offers, removals, self._numbers - count_of(offers))

    def _put(self, row: Row) -> None:
        (area_code, local), features = row
        places = self._areas[area_code]
        for numbers in places.values():
            numbers.discard(local)
        places[features].add(local)
        self._numbers += 1

    def _put_range(self, one: Range) -> None:
        places = self._areas[one.area_code]
        for numbers in places.values():
            numbers.remove_range(one.first, one.first + one.length)
        places[one.features].add_range(one.first, one.first + one.length)
        self._numbers += one.length


def collector(mode: Mode) -> SnapshotBuilder | DeltaBuilder:
    """Give what collects the blocks of a feed of this mode."""
    return DeltaBuilder() if mode is Mode.DELTA else SnapshotBuilder()


def all_of(places: Places) -> BitMap:
    """Give all numbers of an area code."""
    return BitMap.union(*places.values()) if places else BitMap()


def numbers_of(offers: Offers, area_code: str) -> BitMap:
    """Give all numbers that are offered in an area code."""
    return all_of(offers.get(area_code, {}))


def count_of(offers: Offers) -> int:
    """Give how many numbers are offered, or taken away."""
    return sum(len(numbers) for places in offers.values() for numbers in places.values())


_NONE = BitMap()
