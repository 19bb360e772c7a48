"""Apps that are called in the process of the tests, without a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[None]:
    """Run an app's lifespan in one task: a fixture begins and ends in two."""
    ready, done = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.lifespan():
            ready.set()
            await done.wait()

    running = asyncio.create_task(run())
    await ready.wait()
    yield
    done.set()
    await running
