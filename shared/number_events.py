"""Events: what is written down of each change of a number's life, in the stream of its area code.

A change of one number names the number, the organization and the order. What a carrier's feed changes is told
by one entry a call, with the carrier and how many numbers it were: feeds move numbers by the million.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from shared import store_keys
from shared.clock import time_of, time_text
from shared.phone_number import PhoneNumber
from shared.store import Store

Entry = tuple[bytes, dict[bytes, bytes]]
"""An entry of a stream: its id and its fields."""

_READ_AT_ONCE = 1_000

PACKED_LOCALS: Final = b"locals"
"""Field of an entry that counts: its local numbers, packed unsigned 32-bit little-endian, features above
bit 24. Only for readers that follow the stock of an area code: it is neither relayed nor shown."""


class NumberEvent(Struct, frozen=True, omit_defaults=True, rename={"from_": "from"}):
    """One change; the states are those of a number, and `available` and `unknown`."""

    id: str
    """Of the entry in its area code's stream: events of an area code are in order of it."""
    time: datetime
    """The store's, UTC, to the millisecond."""
    from_: str
    to: str
    cause: str
    number: str | None = None
    """E.164; None for a change that a feed made to `count` numbers."""
    order: str | None = None
    organization: str | None = None
    carrier: str | None = None
    count: int | None = None


def parse_event(entry: Entry) -> NumberEvent:
    """Read an entry of an area code's stream."""
    entry_id, fields = entry
    values: dict[str, Any] = {
        name.decode(): value.decode() for name, value in fields.items() if name != PACKED_LOCALS
    }
    values |= {"id": entry_id.decode(), "time": time_of(int(values["time"]))}
    return msgspec.convert(values, NumberEvent, strict=False)


def render_event(event: NumberEvent) -> dict[str, Any]:
    """Give an event as JSON has it, without what it does not name."""
    return {**msgspec.to_builtins(event), "time": time_text(event.time)}


def reading_after(area_code: str, after: bytes, most: int) -> tuple[str | bytes | int, ...]:
    """Give the command that reads the oldest entries after the one with this id, `b""` for the first."""
    return "XRANGE", store_keys.events(area_code), b"(" + after if after else b"-", b"+", "COUNT", most


async def read_life(store: Store, number: PhoneNumber) -> AsyncIterator[NumberEvent]:
    """Give what has happened to a number, oldest first, as far as it is kept; raises `StoreUnavailable`."""
    wanted = number.e164.encode()
    after = b""
    while True:
        entries: list[Entry] = await store.execute(*reading_after(number.area_code, after, _READ_AT_ONCE))
        for entry in entries:
            if entry[1].get(b"number") == wanted:
                yield parse_event(entry)
        if len(entries) < _READ_AT_ONCE:
            return
        after = entries[-1][0]
