"""Trimming streams: what is too old goes, a bit at a time."""

from collections.abc import Mapping

from shared.store import Store

_MOST_AT_ONCE = 1_000
"""Entries that one command drops, in whole nodes of the stream: far less than a millisecond's work."""


async def trim(store: Store, oldest_kept: Mapping[str, bytes]) -> None:
    """Drop the entries of streams (key → id) that are older than this id; of many, the oldest thousand.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    dropped = await store.execute_many(
        [("XTRIM", key, "MINID", "~", oldest, "LIMIT", _MOST_AT_ONCE) for key, oldest in oldest_kept.items()]
    )
    # What is left is less than a node, unless the limit ended it: then it is the next trim's.
    await store.execute_many(
        [
            ("XTRIM", key, "MINID", "=", oldest)
            for (key, oldest), count in zip(oldest_kept.items(), dropped, strict=True)
            if count == 0
        ]
    )


def id_at(ms: int) -> bytes:
    """Give the lowest id that an entry of this time, Unix ms, can have."""
    return b"%d-0" % max(ms, 0)


def earlier(one: bytes, other: bytes) -> bytes:
    """Give the lower of two ids."""
    return min(one, other, key=_parts)


def _parts(entry_id: bytes) -> tuple[int, int]:
    time, _, place = entry_id.partition(b"-")
    return int(time), int(place)
