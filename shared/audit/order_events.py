"""The audit of the stream in which other services say what has become of orders: somebody reads it."""

from collections.abc import Sequence

from shared import store_keys
from shared.audit.look import Look
from shared.audit.violations import Kind, Violation

KINDS = frozenset({Kind.UNREAD_ORDER_EVENT})

_GROUP = b"numbers"
"""The workers' consumer group, as `worker/order_events.py` makes it."""


async def examine_order_events(look: Look, _place: str = "", _names: Sequence[str] = ()) -> list[Violation]:
    """Name the oldest entry that no worker has read, if it is there for long; raises `StoreUnavailable`."""
    key = store_keys.ORDER_EVENTS
    if not await look.store.execute("XRANGE", key, "-", "+", "COUNT", 1):
        return []
    groups = await look.store.execute("XINFO", "GROUPS", key)
    fields = (dict(zip(group[::2], group[1::2], strict=True)) for group in groups)
    last_read = {group[b"name"]: group[b"last-delivered-id"].decode() for group in fields}.get(_GROUP, "0")
    unread = await look.store.execute("XRANGE", key, f"({last_read}", "+", "COUNT", 1)
    ids = [entry[0].decode() for entry in unread]
    return [
        Violation(
            kind=Kind.UNREAD_ORDER_EVENT,
            detail=f"no worker has read the entry {entry_id} of {key} and what came after it",
            repairable=False,
        )
        for entry_id in ids
        if look.is_overdue(int(entry_id.split("-")[0]))
    ]
