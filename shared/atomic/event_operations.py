"""Events of numbers' lives: the typed wrapper of their script, which is its only caller."""

from collections.abc import Sequence

from shared import store_keys
from shared.atomic.script import Script
from shared.number_events import Entry
from shared.store import Store

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
        flat += (entry_id, 2 * len(fields))
        for field in fields.items():
            flat += field
    count: int = await _RELAY_EVENTS.run(store, keys, area_code, after, *flat)
    if count < 0:
        raise NotRelayable(f"entry {entries[0][0].decode()} has too many fields")
    return count
