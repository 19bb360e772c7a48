"""Reading what is too big for one command, a chunk at a time, so that nobody else waits long for it.

What stays for the whole walk is given at least once, and may be given twice; what comes or goes meanwhile may
be given or not.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from shared.store import Argument, Store

CHUNK = 250
"""Members of one command: at most a quarter of a millisecond of the store's time in the mean."""

T = TypeVar("T")


async def walk_hash(store: Store, key: str) -> AsyncIterator[dict[str, bytes]]:
    """Give the fields and values of a hash; raises `StoreUnavailable`."""
    async for found in _walk(store, "HSCAN", key):
        items = [(name.decode(errors="replace"), value) for name, value in found.items()]
        for chunk in chunks(items):
            yield dict(chunk)


async def walk_sorted_set(store: Store, key: str) -> AsyncIterator[dict[str, int]]:
    """Give the members of a sorted set and their scores, which are integers; raises `StoreUnavailable`."""
    async for found in _walk(store, "ZSCAN", key):
        items = [(member.decode(errors="replace"), int(score)) for member, score in found]
        for chunk in chunks(items):
            yield dict(chunk)


async def walk_keys(store: Store) -> AsyncIterator[list[str]]:
    """Give the names of all keys of the store; raises `StoreUnavailable`."""
    async for found in _walk(store, "SCAN"):
        for chunk in chunks(found):
            yield [name.decode(errors="replace") for name in chunk]


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    """Split `items` into parts of at most `CHUNK`."""
    return [items[begin : begin + CHUNK] for begin in range(0, len(items), CHUNK)]


async def _walk(store: Store, *command: Argument) -> AsyncIterator[Any]:
    cursor = 0
    while True:
        cursor, found = await store.execute(*command, cursor, "COUNT", CHUNK)
        yield found
        if cursor == 0:
            return
