"""The steps of an order in the area codes of its numbers: hold, and then confirm or give back."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from shared.atomic.area_operations import (
    MAX_NUMBERS_PER_HOLD,
    Held,
    Late,
    confirm,
    give_back,
    hold,
)
from shared.atomic.order_operations import Attempt, OrderRef
from shared.store import Store, StoreUnavailable

T = TypeVar("T")

_SHAPE = re.compile(r"\+1[2-9][0-9]{9}")
"""What can be in stock at all."""


class Holding(NamedTuple):
    """What came of an attempt to hold numbers."""

    features: dict[str, int]
    """Number → its attributes; those that are held."""
    unavailable: list[str]
    """Those that are not available, in the order asked."""
    is_late: bool


async def hold_all(store: Store, attempt: Attempt, numbers: Iterable[str]) -> Holding:
    """Hold numbers of any area codes for an attempt; those of an area code all or none, 100 at a time.

    Raises:
        StoreUnavailable: what is held now is not known; when the attempt's time is over the sweep undoes it.
    """
    asked = list(numbers)
    groups = list(by_area(asked))
    order, number, _, deadline_ms = attempt
    results = await _all(
        [
            hold(store, area_code, order.id, number, order.organization, deadline_ms, group)
            for area_code, group in groups
        ]
    )
    features: dict[str, int] = {}
    unavailable = {number for number in asked if not _SHAPE.fullmatch(number)}
    for (_, group), result in zip(groups, results, strict=True):
        if isinstance(result, Held):
            features |= zip(group, result.attributes, strict=True)
        elif not isinstance(result, Late):
            unavailable.update(result.unavailable)
    return Holding(
        features,
        [number for number in asked if number in unavailable],
        any(isinstance(result, Late) for result in results),
    )


async def confirm_all(store: Store, order: OrderRef, numbers: Iterable[str]) -> None:
    """Make the numbers of a complete order assigned; what cannot be done now the sweep does."""
    with suppress(StoreUnavailable):
        await _all([confirm(store, area, order.id, group) for area, group in by_area(numbers)])


async def give_back_all(store: Store, attempt: Attempt, cause: str, numbers: Iterable[str]) -> None:
    """Give back what this and earlier attempts hold; what cannot be done now the sweep does."""
    with suppress(StoreUnavailable):
        await give_back_for_certain(store, attempt.order, attempt.number, cause, numbers)


async def give_back_for_certain(
    store: Store, order: OrderRef, attempt: int, cause: str, numbers: Iterable[str]
) -> None:
    """Give back what attempts up to this one hold; raises `StoreUnavailable` when that is not certain."""
    await _all([give_back(store, area, order.id, attempt, cause, group) for area, group in by_area(numbers)])


async def _all(steps: Sequence[Awaitable[T]]) -> list[T]:
    """Return the results of steps that run at once; most orders have one, which needs no task of its own."""
    return [await steps[0]] if len(steps) == 1 else await asyncio.gather(*steps)


def by_area(numbers: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    """Group numbers that can be in stock by area code, at most `MAX_NUMBERS_PER_HOLD` in a group."""
    areas: defaultdict[str, list[str]] = defaultdict(list)
    for number in numbers:
        if _SHAPE.fullmatch(number):
            areas[number[2:5]].append(number)
    for area_code, group in areas.items():
        for begin in range(0, len(group), MAX_NUMBERS_PER_HOLD):
            yield area_code, group[begin : begin + MAX_NUMBERS_PER_HOLD]
