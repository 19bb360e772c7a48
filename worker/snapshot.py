"""Snapshots as bitmaps, and the difference between two: what has to change in the stock.

A snapshot holds local numbers per area code and features: about 2 bytes a number, so a carrier's whole feed
fits into memory, and comparing two costs milliseconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pyroaring import BitMap

from shared.stock_score import MMS, SMS
from worker.feed_file import Row

Offers = Mapping[tuple[str, int], BitMap]
"""(area code, features) → local numbers; a number has one place."""


class SnapshotBuilder:
    """Collects the rows of a feed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._offers: defaultdict[tuple[str, int], BitMap] = defaultdict(BitMap)
        self._rows = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Add some rows: the more at a time, the better."""
        grouped: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for (area_code, local), features in rows:
            grouped[area_code, features].append(local)
        for place, numbers in grouped.items():
            self._offers[place].update(numbers)
            self._rows += len(numbers)

    def finish(self) -> tuple[Offers, int]:
        """Give the snapshot and how many rows brought a number that another row brought too.

        Where such rows differ, the number gets what all of them name: better to promise too little.
        """
        everything = _by_area(self._offers)
        lacking = {feature: _by_area(self._without(feature)) for feature in (SMS, MMS)}
        snapshot: dict[tuple[str, int], BitMap] = {}
        for area_code, numbers in everything.items():
            for features in (0, SMS, MMS, SMS | MMS):
                chosen = numbers.copy()
                for feature, without in lacking.items():
                    lack = without.get(area_code, BitMap())
                    chosen = chosen - lack if features & feature else chosen & lack
                if chosen:
                    snapshot[area_code, features] = chosen
        return snapshot, self._rows - sum(map(len, everything.values()))

    def _without(self, feature: int) -> Offers:
        return {place: numbers for place, numbers in self._offers.items() if not place[1] & feature}


class Difference(NamedTuple):
    """What to do so that the stock holds a new snapshot, and how it compares with the one applied last."""

    stock: dict[tuple[str, int], BitMap]
    withdraw: dict[str, BitMap]
    added: int
    removed: int
    unchanged: int

    @property
    def size(self) -> int:
        """Give how many numbers have to be sent."""
        return sum(map(len, self.stock.values())) + sum(map(len, self.withdraw.values()))


def difference(
    new: Offers, applied: Offers, intended: Sequence[Offers], again: Mapping[str, BitMap] | None = None
) -> Difference:
    """Compare a new snapshot with the one applied last and those that runs meant to apply but did not finish.

    Of unfinished runs it is not known what they changed: a number may be in stock when any of the old
    snapshots has it, and is for certain only when all have it with the same features.
    """
    old = [applied, *intended]
    in_new, in_applied = _by_area(new), _by_area(applied)
    possible: defaultdict[str, BitMap] = defaultdict(BitMap)
    for snapshot in old:
        for area_code, numbers in _by_area(snapshot).items():
            possible[area_code] |= numbers
    empty = BitMap()
    stock = {
        place: numbers
        - (
            BitMap.intersection(*(snapshot.get(place, empty) for snapshot in old))
            - (again or {}).get(place[0], empty)
        )
        for place, numbers in new.items()
    }
    withdraw = {area_code: numbers - in_new.get(area_code, empty) for area_code, numbers in possible.items()}
    kept = {area_code: numbers & in_applied.get(area_code, empty) for area_code, numbers in in_new.items()}
    unchanged = sum(len(numbers - (again or {}).get(area_code, empty)) for area_code, numbers in kept.items())
    return Difference(
        stock={place: numbers for place, numbers in stock.items() if numbers},
        withdraw={area_code: numbers for area_code, numbers in withdraw.items() if numbers},
        added=sum(map(len, in_new.values())) - unchanged,
        removed=sum(map(len, in_applied.values())) - sum(map(len, kept.values())),
        unchanged=unchanged,
    )


def _by_area(offers: Offers) -> dict[str, BitMap]:
    numbers: defaultdict[str, BitMap] = defaultdict(BitMap)
    for (area_code, _), bitmap in offers.items():
        numbers[area_code] |= bitmap
    return dict(numbers)
