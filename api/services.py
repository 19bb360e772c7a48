"""What the routes work with: one set for each process."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from msgspec import Struct

from api.key_cache import KeyCache, follow_changes
from api.key_uses import KeyUses
from api.rate_limit import Refusals
from shared.feeds.profiles import Profiles
from shared.jobs import JobQueue
from shared.search.search import Search
from shared.settings import Settings
from shared.store import API_CLIENT, Store

_STATE_KEY = "services"
_YOUNG_OBJECTS = 50_000


class Services(Struct, frozen=True):
    """The connection to the store, and what is remembered of it."""

    store: Store
    keys: KeyCache
    key_uses: KeyUses
    refusals: Refusals
    search: Search
    queue: JobQueue
    settings: Settings
    profiles: Profiles


def services_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Services:
    """Give the services of the app that this connection came to."""
    return services_in(connection.app)


def services_in(app: Litestar) -> Services:
    """Return the services of an app."""
    services: Services = app.state[_STATE_KEY]
    return services


def lifespan(
    settings: Settings, profiles: Profiles
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Make the context in which an app with these settings and profiles of feeds lives."""

    @asynccontextmanager
    async def run(app: Litestar) -> AsyncIterator[None]:
        store = Store(settings.redis_url, settings.store_timeout_seconds, API_CLIENT)
        queue = JobQueue(settings.redis_url, settings.store_timeout_seconds)
        keys, uses = KeyCache(store, settings), KeyUses(store)
        search = Search(store, settings)
        app.state[_STATE_KEY] = Services(store, keys, uses, Refusals(), search, queue, settings, profiles)
        _spare_the_collector()
        try:
            async with asyncio.TaskGroup() as group:
                link = follow_changes(settings.redis_url, settings.store_timeout_seconds, keys)
                beside = [group.create_task(link), group.create_task(uses.go_on_telling())]
                yield
                for task in beside:
                    task.cancel()
        finally:
            await search.close()
            await queue.close()
            await store.close()

    return run


def _spare_the_collector() -> None:
    """Keep what start-up made out of garbage collection: p99 of a busy process went from 22 to 9-12 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
