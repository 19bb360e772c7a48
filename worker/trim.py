"""Trimming streams: what is too old goes, a bit at a time."""

from collections.abc import Mapping

from shared.store import Store

_MOST_AT_ONCE = 10_000
"""Entries that one command drops, in whole nodes of the stream: a tenth of a millisecond's work."""

_MOST_TIMES = 10
"""Commands in a row for one stream: more than is added between two trims, and some milliseconds at most."""


async def trim(store: Store, oldest_kept: Mapping[str, bytes]) -> None:
    """Drop the entries of streams (key → id) that are older than this id, of each at most a hundred thousand.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    left = dict(oldest_kept)
    for _ in range(_MOST_TIMES):
        dropped = await store.execute_many(
            [("XTRIM", key, "MINID", "~", oldest, "LIMIT", _MOST_AT_ONCE) for key, oldest in left.items()]
        )
        # Where no whole node was too old, what is left to drop is less than a node.
        ends = {key: left.pop(key) for key, count in zip(list(left), dropped, strict=True) if count == 0}
        await store.execute_many([("XTRIM", key, "MINID", "=", oldest) for key, oldest in ends.items()])
        if not left:
            return


def id_at(ms: int) -> bytes:
    """Give the lowest id that an entry of this time, Unix ms, can have."""
    return b"%d-0" % max(ms, 0)


def earlier(one: bytes, other: bytes) -> bytes:
    """Give the lower of two ids."""
    return min(one, other, key=_parts)


def _parts(entry_id: bytes) -> tuple[int, int]:
    time, _, place = entry_id.partition(b"-")
    return int(time), int(place)
