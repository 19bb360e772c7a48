"""Differences between what carriers offered before and what they offer now."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyroaring import BitMap

from shared.feeds.offers import Numbers, Offers, Places, all_of, numbers_of
from shared.feeds.rows import REMOVAL


def changed_by(applied: Offers, delta: Offers) -> Offers:
    """Give what is offered when a delta has changed what is applied."""
    return {
        area_code: _changed_area(applied.get(area_code, {}), delta.get(area_code, {}))
        for area_code in applied.keys() | delta.keys()
    }


def _changed_area(applied: Places, delta: Places) -> Places:
    touched = all_of(delta)
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
        area_code: all_of(places) - all_of(new.get(area_code, {})) for area_code, places in applied.items()
    }
    return {area_code: numbers for area_code, numbers in missing.items() if numbers}


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


def union_of(parts: Iterable[Numbers]) -> Numbers:
    """Give the numbers that any of some has."""
    joined: dict[str, BitMap] = {}
    for part in parts:
        for area_code, numbers in part.items():
            joined[area_code] = joined.get(area_code, _NONE) | numbers
    return joined


_NONE = BitMap()
