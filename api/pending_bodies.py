"""The time-out of request bodies."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

BODY_SECONDS: Final = 10.0
"""In which a whole body has to come: at the most that it may have, 6.5 KB a second. The server ends slow
headers by itself, but would wait for a body for ever."""


class PendingBodies:
    """The requests whose body has not arrived yet, with one timer for all: `asyncio.timeout` costs 5 µs."""

    def __init__(self) -> None:
        """Begin with none."""
        self._began: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, arriving: Awaitable[T]) -> T:
        """Return what the current request waits for; raises `TimeoutError` after `BODY_SECONDS`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type only: requests run in tasks
        self._began[task] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BODY_SECONDS, self._expire)
        try:
            return await arriving
        except asyncio.CancelledError as error:
            if task not in self._expired or task.uncancel():
                raise
            raise TimeoutError from error
        finally:
            del self._began[task]
            self._expired.discard(task)

    def _expire(self) -> None:
        """End what has taken too long, and schedule the next check."""
        self._timer = None
        now = time.monotonic()
        for task, began in self._began.items():
            if now - began >= BODY_SECONDS and task not in self._expired:
                self._expired.add(task)
                task.cancel()
        if self._began:
            oldest = min(self._began.values())
            delay = max(oldest + BODY_SECONDS - now, 0.1)
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)
