"""Numbers of an area code: the typed wrappers of its scripts; each is its script's only caller."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from shared import store_keys
from shared.atomic.script import Script
from shared.store import Store

_HOLD = Script("hold")
_CONFIRM = Script("confirm")
_GIVE_BACK = Script("give_back")
_TAKE_BACK = Script("take_back")
_RESTOCK = Script("restock")

MAX_NUMBERS_PER_HOLD = 100
"""Numbers that one call of an order moves."""


class NumberState(StrEnum):
    """Where a number is that is not available; one that is nowhere is not known."""

    HELD = "held"
    """An order is being placed."""
    ASSIGNED = "assigned"
    QUARANTINED = "quarantined"
    RETURNED = "returned"
    """Given back to its carrier: not ours until its quarantine is over and a feed lists it anew."""


class Unavailable(NamedTuple):
    """What is known of a number that is not available."""

    state: NumberState
    attributes: int
    attempt: int
    order: str
    """The order by which it came to its present or last organization."""
    organization: str


class Destination(NamedTuple):
    """Where numbers go that an organization has lost."""

    target: str
    """`quarantined` or `returned`."""
    quarantine_ms: int
    cause: str


class Held(NamedTuple):
    """All numbers are held; their attributes, in the order asked."""

    attributes: list[int]


class NotHeld(NamedTuple):
    """None is held; those that are not available."""

    unavailable: list[str]


class Late(NamedTuple):
    """None is held: the attempt's time is over, or a later attempt has begun."""


def read_record(text: bytes) -> Unavailable:
    """Read a value of `store_keys.unavailable`; raises `ValueError` when it is malformed."""
    state, attributes, attempt, order, organization = text.decode().split(" ")
    return Unavailable(NumberState(state), int(attributes), int(attempt), order, organization)


def parse_record(text: bytes | None) -> Unavailable | None:
    """Read a value of `store_keys.unavailable`; None when there is none, or it is malformed."""
    try:
        return None if text is None else read_record(text)
    except ValueError:
        return None


async def hold(
    store: Store,
    area_code: str,
    order: str,
    attempt: int,
    organization: str,
    deadline_ms: int,
    numbers: Sequence[str],
) -> Held | NotHeld | Late:
    """Hold at most `MAX_NUMBERS_PER_HOLD` numbers (E.164) of an area code for an order, all or none."""
    keys = [
        store_keys.available(area_code),
        store_keys.unavailable(area_code),
        store_keys.timers(area_code),
        store_keys.events(area_code),
    ]
    tag, *values = await _HOLD.run(store, keys, order, attempt, organization, deadline_ms, *numbers)
    if tag == b"held":
        return Held([int(value) for value in values])
    return Late() if tag == b"late" else NotHeld([value.decode() for value in values])


async def confirm(store: Store, area_code: str, order: str, numbers: Iterable[str]) -> int:
    """Turn what a complete order holds into assigned numbers; give how many there were."""
    keys = [store_keys.unavailable(area_code), store_keys.timers(area_code), store_keys.events(area_code)]
    confirmed: int = await _CONFIRM.run(store, keys, order, *numbers)
    return confirmed


async def give_back(
    store: Store, area_code: str, order: str, attempt: int, cause: str, numbers: Iterable[str]
) -> int:
    """Give back what an order's attempts up to this one hold, for they came to nothing; give how many."""
    keys = [
        store_keys.available(area_code),
        store_keys.unavailable(area_code),
        store_keys.timers(area_code),
        store_keys.events(area_code),
    ]
    given: int = await _GIVE_BACK.run(store, keys, order, attempt, cause, *numbers)
    return given


async def take_back(
    store: Store, area_code: str, order: str, destination: Destination, numbers: Iterable[str]
) -> int:
    """Take numbers back that their organization, which had them by this order, has lost; give how many."""
    keys = [
        store_keys.available(area_code),
        store_keys.unavailable(area_code),
        store_keys.timers(area_code),
        store_keys.returned(area_code),
        store_keys.events(area_code),
    ]
    taken: int = await _TAKE_BACK.run(store, keys, order, *destination, *numbers)
    return taken


async def restock(store: Store, area_code: str, numbers: Iterable[str]) -> int:
    """Make those numbers available whose quarantine is over; give how many."""
    keys = [
        store_keys.available(area_code),
        store_keys.unavailable(area_code),
        store_keys.timers(area_code),
        store_keys.events(area_code),
    ]
    restocked: int = await _RESTOCK.run(store, keys, *numbers)
    return restocked
