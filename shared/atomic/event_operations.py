"""Events, out and in: the typed wrappers of their scripts, which are their only callers."""

from collections.abc import Sequence

from shared import store_keys
from shared.atomic.script import Script
from shared.number_events import PACKED_LOCALS, Entry
from shared.store import Store

_FORGET_CONSUMER = Script("forget_consumer")
_RELAY_EVENTS = Script("relay_events")

MAX_ENTRIES_PER_CALL = 200
"""Entries that one call relays: in less than a millisecond."""


class NotRelayable(Exception):
    """An entry has more fields than a script can write; says which."""


async def relay_events(store: Store, area_code: str, after: bytes, entries: Sequence[Entry]) -> int:
    """Relay the entries that follow `after` in an area code's stream, `b""` for the first; give how many.

    That is all of them, or none when somebody else was faster; those before one that can never be relayed.

    Raises:
        NotRelayable: the first of them can never be.
    """
    keys = [store_keys.NUMBER_EVENTS, store_keys.EVENTS_RELAYED]
    flat: list[bytes | int] = []
    for entry_id, fields in entries:
        relayed = [item for field in fields.items() if field[0] != PACKED_LOCALS for item in field]
        flat += (entry_id, len(relayed), *relayed)
    count: int = await _RELAY_EVENTS.run(store, keys, area_code, after, *flat)
    if count < 0:
        raise NotRelayable(f"entry {entries[0][0].decode()} has too many fields")
    return count


async def forget_consumer(store: Store, group: str, consumer: bytes) -> bool:
    """Take a consumer of orders' events from its group; tell whether it had nothing in hand and is gone."""
    return bool(await _FORGET_CONSUMER.run(store, [store_keys.ORDER_EVENTS], group, consumer))
