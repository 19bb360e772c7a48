"""One look at the store: when it began, and how long work may be overdue."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

from shared import clock
from shared.settings import Pace, Period, Settings
from shared.store import Store

Progress = Callable[[str, int], None]
"""Is told what is being looked at, and how much of it has been."""


HOLD_AT_MOST_MS = clock.ms_of(get_args(Pace)[1].le)
QUARANTINE_AT_MOST_MS = clock.ms_of(get_args(Period)[1].le)
"""The longest that can be set: what was set when a hold or a quarantine began is written nowhere."""


def no_progress(_what: str, _count: int) -> None:
    """Tell nobody."""


class Look(NamedTuple):
    """What every part of an audit needs."""

    store: Store
    at_ms: int
    """When it began, Unix ms."""
    patience_ms: int
    """How long work may be overdue: an order may take its time, and two sweeps then have seen it."""

    def is_overdue(self, due_ms: int) -> bool:
        """Tell whether somebody should have done by now what was due then."""
        return due_ms < self.at_ms - self.patience_ms


async def begin_look(store: Store, settings: Settings) -> Look:
    """Begin to look now; raises `StoreUnavailable`."""
    patience_seconds = settings.hold_seconds + 2 * settings.sweep_seconds
    return Look(store, await clock.now_ms(store), clock.ms_of(patience_seconds))


async def absent(store: Store, command: str, key: str, names: Sequence[str]) -> list[str]:
    """Give those names that a hash (`HMGET`) or a sorted set (`ZMSCORE`) does not have."""
    if not names:
        return []
    found = await store.execute(command, key, *names)
    return [name for name, value in zip(names, found, strict=True) if value is None]
