"""The one clock: the store's, so that all processes agree on what is due."""

from datetime import UTC, datetime

from shared.store import Store


async def now(store: Store) -> datetime:
    """Give the store's time, UTC, to the microsecond; raises `StoreUnavailable`."""
    seconds, microseconds = await store.execute("TIME")
    return datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(microseconds))


def ms_of(seconds: float) -> int:
    """Give a duration in whole milliseconds, as scripts take it."""
    return int(seconds * 1000)


async def now_ms(store: Store) -> int:
    """Give the store's time as Unix milliseconds; raises `StoreUnavailable`."""
    seconds, microseconds = await store.execute("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000
