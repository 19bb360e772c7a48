"""The one clock: the store's, so that all processes agree on what is due."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from shared.store import Store


async def now(store: Store) -> datetime:
    """Give the store's time, UTC, to the microsecond; raises `StoreUnavailable`."""
    seconds, microseconds = await store.execute("TIME")
    return datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(microseconds))


def unix_ms(reply: Sequence[bytes]) -> int:
    """Give the store's reply to `TIME` as Unix milliseconds."""
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000


def ms_of(seconds: float) -> int:
    """Give a duration in whole milliseconds, as scripts take it."""
    return int(seconds * 1000)


@lru_cache(maxsize=4096)
def time_of(ms: int) -> datetime:
    """Return the time that is so many Unix milliseconds.

    The numbers of a page share few times: those of one order have the same, twice each until they change.
    """
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def time_text(time: datetime) -> str:
    """Give a UTC time as `2026-03-01T09:30:00.123Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


async def now_ms(store: Store) -> int:
    """Give the store's time as Unix milliseconds; raises `StoreUnavailable`."""
    return unix_ms(await store.execute("TIME"))
