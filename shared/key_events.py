"""What has become of API keys, and who did it: the stream of events of their organization."""

from datetime import datetime

from msgspec import Struct

from shared import store_keys
from shared.clock import time_of
from shared.store import Store


class KeyEvent(Struct, frozen=True):
    """One change of a key."""

    event: str
    """`created`, `rotated` or `revoked`."""
    time: datetime
    """The store's, UTC, to the millisecond."""
    by: str
    """The id of an API key, or `command line`."""
    request_id: str | None
    """Of the request that did it; None from the command line."""


async def read_key_events(store: Store, organization: str, key_id: str) -> list[KeyEvent]:
    """Give what has become of a key, oldest first, as far as it is kept; raises `StoreUnavailable`."""
    # About a thousand for all keys of an organization: one command reads them in a millisecond or two.
    entries = await store.execute("XRANGE", store_keys.api_key_events(organization), "-", "+")
    wanted = key_id.encode()
    return [_event_of(entry_id, fields) for entry_id, fields in entries if fields[b"key"] == wanted]


def _event_of(entry_id: bytes, fields: dict[bytes, bytes]) -> KeyEvent:
    """Read an entry; the store has numbered it with the time at which it was written."""
    time_ms = int(entry_id.partition(b"-")[0])
    request_id = fields[b"request"].decode() or None
    return KeyEvent(fields[b"event"].decode(), time_of(time_ms), fields[b"by"].decode(), request_id)
