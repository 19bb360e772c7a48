"""How many requests an organization may make: what is set for all, and what is set for one."""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared import store_keys
from shared.settings import Settings
from shared.store import Store

_MICROSECONDS = 1_000_000


class Limited(StrEnum):
    """Kinds of requests, each with a limit of its own."""

    SEARCH = "search"
    READ = "read"
    """Everything else that changes nothing."""
    WRITE = "write"
    KEYS = "keys"
    """Making secrets: creating and rotating API keys."""


_WRITING: Final = (Limited.WRITE, Limited.KEYS)


class Limit(Struct, frozen=True):
    """So many requests a second, and so many at once."""

    rate: float
    """0 is unlimited."""
    burst: int

    @property
    def worth(self) -> int:
        """Give the microseconds that a request is worth, rounded so that no more than `rate` pass."""
        return math.ceil(_MICROSECONDS / self.rate)

    @property
    def window_seconds(self) -> int:
        """Give how long it takes until the burst is whole again, rounded up."""
        return math.ceil(self.burst * self.worth / _MICROSECONDS)


class Overrides(Struct, frozen=True, omit_defaults=True):
    """What is set for one organization; None is as for all."""

    search_rate: float | None = None
    search_burst: int | None = None
    write_rate: float | None = None
    write_burst: int | None = None

    def of(self, kind: Limited) -> tuple[float | None, int | None]:
        """Give rate and burst that are set for a kind of requests."""
        if kind in _WRITING:
            return self.write_rate, self.write_burst
        return self.search_rate, self.search_burst


KEYS_LIMIT: Final = Limit(10 / 60, 10)
"""Ten a minute."""


def limit_of(kind: Limited, settings: Settings, overrides: Overrides) -> Limit | None:
    """Give the limit for a kind of requests; None when there is none.

    Reading has the figures of searching: it costs the store about as much. Keys are made without a limit only
    where writing has none.
    """
    if kind in _WRITING:
        rate, burst = settings.write_rate, settings.write_burst
    else:
        rate, burst = settings.search_rate, settings.search_burst
    own_rate, own_burst = overrides.of(kind)
    limit = Limit(rate if own_rate is None else own_rate, burst if own_burst is None else own_burst)
    if not limit.rate:
        return None
    return KEYS_LIMIT if kind is Limited.KEYS else limit


def overrides_of(record: dict[bytes, bytes]) -> Overrides:
    """Read what is set for an organization."""
    fields = {name.decode(): value.decode() for name, value in record.items()}
    return msgspec.convert(fields, Overrides, strict=False)


async def read_overrides(store: Store, organization: str) -> Overrides:
    """Give what is set for an organization; raises `StoreUnavailable`."""
    return overrides_of(await store.execute("HGETALL", store_keys.rate_limits(organization)))


async def list_overrides(store: Store, organizations: Sequence[str]) -> dict[str, Overrides]:
    """Give what is set for those of the organizations that have limits of their own.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    records = await store.execute_many(
        [("HGETALL", store_keys.rate_limits(organization)) for organization in organizations]
    )
    return {name: overrides_of(record) for name, record in zip(organizations, records, strict=True) if record}


async def set_overrides(store: Store, organization: str, overrides: Overrides) -> None:
    """Set limits of an organization, in force within the age of a cached key; raises `StoreUnavailable`."""
    fields = [
        item for field in msgspec.structs.asdict(overrides).items() if field[1] is not None for item in field
    ]
    if fields:
        await store.execute("HSET", store_keys.rate_limits(organization), *fields)


async def clear_overrides(store: Store, organization: str) -> None:
    """Have an organization's limits be as for all again; raises `StoreUnavailable`."""
    await store.execute("DEL", store_keys.rate_limits(organization))
