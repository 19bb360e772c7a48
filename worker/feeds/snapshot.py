"""What a carrier offers, as bitmaps, and the difference between two such states.

A snapshot holds local numbers per area code and features: about 2 bytes a number, so a carrier's whole feed
fits into memory, and comparing two costs milliseconds. Everything is done an area code at a time, so that
nothing of the size of a feed exists twice.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pyroaring import BitMap

from shared.feeds.rows import REMOVAL, Block, Range, Row
from shared.stock_score import MMS, SMS

Places = Mapping[int, BitMap]
"""Features → local numbers of one area code; a number has one place."""

Offers = Mapping[str, Places]
"""Area code → what is offered there."""

Numbers = Mapping[str, BitMap]
"""Area code → local numbers."""

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
        for (area_code, local), features in block.rows:
            gathered[features][area_code].append(local)
        self._put_away(_GATHERED_NUMBERS)
        for area_code, first, length, features in block.ranges:
            self._areas[area_code][features].add_range(first, first + length)
        self._numbers += len(block.rows) + sum(one.length for one in block.ranges)

    def _put_away(self, at_least: int) -> None:
        for features, areas in self._gathered.items():
            for area_code, numbers in areas.items():
                if len(numbers) >= at_least:
                    self._areas[area_code][features].update(numbers)
                    del numbers[:]

    def finish(self) -> tuple[Offers, int]:
        """Give the snapshot and how many numbers were brought that had been brought before.

        Where rows of one number differ, it gets what all of them name, and is not offered when one of them
        removes it: better to promise too little.
        """
        self._put_away(1)
        offers: dict[str, Places] = {}
        distinct = 0
        while self._areas:
            area_code, places = self._areas.popitem()
            everything = _all_of(places)
            distinct += len(everything)
            if sum(map(len, places.values())) != len(everything):
                places = _without_contradictions(places, everything)
            if kept := {features: numbers for features, numbers in places.items() if features != REMOVAL}:
                offers[area_code] = kept
        return offers, self._numbers - distinct


def _without_contradictions(places: Places, everything: BitMap) -> defaultdict[int, BitMap]:
    lacking = {
        feature: _all_of({place: numbers for place, numbers in places.items() if not place & feature})
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

    def finish(self) -> tuple[Offers, int]:
        """Give what the delta offers and, under `REMOVAL`, takes away; and how many numbers came twice."""
        offers = {area_code: dict(places) for area_code, places in self._areas.items()}
        return offers, self._numbers - count_of(offers)

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


def changed_by(applied: Offers, delta: Offers) -> Offers:
    """Give what is offered when a delta has changed what is applied."""
    return {
        area_code: _changed_area(applied.get(area_code, {}), delta.get(area_code, {}))
        for area_code in applied.keys() | delta.keys()
    }


def _changed_area(applied: Places, delta: Places) -> Places:
    touched = _all_of(delta)
    places = {features: numbers - touched for features, numbers in applied.items()}
    for features, numbers in delta.items():
        if features != REMOVAL:
            places[features] = places.get(features, _NONE) | numbers
    return places


def without(offers: Offers, numbers: Numbers) -> Offers:
    """Give offers without some numbers."""
    return {
        area_code: {features: offered - numbers.get(area_code, _NONE) for features, offered in places.items()}
        for area_code, places in offers.items()
    }


def together(offers: Offers, others: Offers, numbers: Numbers) -> Offers:
    """Give offers, and of others those of some numbers, which the first do not have."""
    joined = {area_code: dict(places) for area_code, places in offers.items()}
    for area_code, chosen in numbers.items():
        places = joined.setdefault(area_code, {})
        for features, offered in others.get(area_code, {}).items():
            places[features] = places.get(features, _NONE) | (offered & chosen)
    return joined


def missing_from(new: Offers, applied: Offers) -> Numbers:
    """Give the numbers that are applied and not in a new state."""
    missing = {
        area_code: _all_of(places) - _all_of(new.get(area_code, {})) for area_code, places in applied.items()
    }
    return {area_code: numbers for area_code, numbers in missing.items() if numbers}


def numbers_of(offers: Offers, area_code: str) -> BitMap:
    """Give all numbers that are offered in an area code."""
    return _all_of(offers.get(area_code, {}))


def count_of(offers: Offers) -> int:
    """Give how many numbers are offered, or taken away."""
    return sum(len(numbers) for places in offers.values() for numbers in places.values())


class AreaChange(NamedTuple):
    """What has to be sent for one area code."""

    area_code: str
    stock: Places
    withdraw: BitMap

    @property
    def size(self) -> int:
        """Give how many numbers have to be sent."""
        return len(self.withdraw) + sum(map(len, self.stock.values()))


class Difference(NamedTuple):
    """What to do so that the stock holds a new state, and how that compares with the one applied last."""

    areas: list[AreaChange]
    added: int
    removed: int
    unchanged: int

    @property
    def size(self) -> int:
        """Give how many numbers have to be sent."""
        return sum(area.size for area in self.areas)


def difference(
    new: Offers, applied: Offers, intended: Sequence[Offers] = (), again: Numbers | None = None
) -> Difference:
    """Compare a new state with the one applied last and those that runs meant to apply but did not finish.

    Of unfinished runs it is not known what they changed: a number may be in stock when any of the old states
    has it, and is for certain only when all have it with the same features. Numbers `again` are sent even so,
    and not counted as changes: the carrier offers them as it did.
    """
    old = [applied, *intended]
    areas: list[AreaChange] = []
    added = removed = unchanged = 0
    for area_code in sorted(new.keys() | {area_code for state in old for area_code in state}):
        in_new, in_applied = numbers_of(new, area_code), numbers_of(applied, area_code)
        repeated = (again or {}).get(area_code, _NONE)
        kept = len(in_new & in_applied)
        added += len(in_new) - kept
        removed += len(in_applied - in_new)
        unchanged += kept
        possible = BitMap.union(*(numbers_of(state, area_code) for state in old))
        change = AreaChange(
            area_code, _to_stock(new.get(area_code, {}), area_code, old, repeated), possible - in_new
        )
        if change.size:
            areas.append(change)
    return Difference(areas, added, removed, unchanged)


def _to_stock(new: Places, area_code: str, old: Sequence[Offers], repeated: BitMap) -> Places:
    stock: dict[int, BitMap] = {}
    for features, numbers in new.items():
        certain = BitMap.intersection(*(state.get(area_code, {}).get(features, _NONE) for state in old))
        if to_send := numbers - (certain - repeated):
            stock[features] = to_send
    return stock


def _all_of(places: Places) -> BitMap:
    return BitMap.union(*places.values()) if places else BitMap()


def union_of(parts: Iterable[Numbers]) -> Numbers:
    """Give the numbers that any of some has."""
    joined: dict[str, BitMap] = {}
    for part in parts:
        for area_code, numbers in part.items():
            joined[area_code] = joined.get(area_code, _NONE) | numbers
    return joined


_NONE = BitMap()
