"""Waking the feed worker, and watching what it makes of a sync."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from deploy.cli.store_option import same_store, with_store
from shared.feeds.syncs import Sync, SyncState, read_sync
from shared.jobs import FEED_WORKER_HEALTH_KEY, JobQueue
from shared.settings import Settings
from shared.store import Store, StoreUnavailable

EXIT_CODES: Final = {
    SyncState.QUEUED: 0,
    SyncState.RUNNING: 0,
    SyncState.APPLIED: 0,
    SyncState.REFUSED: 1,
    SyncState.FAILED: 1,
    # 2 is a command that was typed wrongly.
    SyncState.WAITING: 3,
    SyncState.SUPERSEDED: 4,
}
"""How a command that waited for a sync ends."""

_EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

_LOOK_INTERVAL_SECONDS = 0.1
_SHOWN_PER_SECOND = 4
_BAR_WIDTH = 20
_STORE_PATIENCE_SECONDS = 10.0
"""How long the store may be away: a sync goes on when it is back."""
_WORKER_PATIENCE_SECONDS = 10.0
"""How long a queued sync may lie before it is said that no worker runs; one that starts takes a second."""


async def wake_worker(settings: Settings, carrier: str) -> None:
    """Have the worker look at a carrier's queue; a wake-up that is lost is made up for by its sweep."""
    queue = JobQueue(settings.redis_url, settings.store_timeout_seconds)
    try:
        with suppress(StoreUnavailable):
            await queue.wake_feed(carrier)
    finally:
        await queue.close()


def wait_for(settings: Settings, sync: Sync, *, is_quiet: bool = False) -> Sync:
    """Show how a sync goes until it has ended, and give its record then; Ctrl-C ends the looking only.

    Raises:
        StoreUnavailable: the store does not answer any more.
        ClickException: the sync is gone from the store.
    """
    try:
        return with_store(settings, lambda store: follow(store, sync, is_quiet=is_quiet))
    except KeyboardInterrupt:
        command = same_store(f"sync show {sync.id} --wait")
        click.echo(f"not waiting any longer; the sync goes on, and this shows it:\n  {command}", err=True)
        sys.exit(_EXIT_INTERRUPTED)


async def follow(
    store: Store, sync: Sync, *, is_quiet: bool, meanwhile: Callable[[], None] = lambda: None
) -> Sync:
    """Show a bar, on a terminal, until the sync has ended, and give its record then.

    Raises:
        StoreUnavailable: the store does not answer any more.
        ClickException: the sync is gone from the store.
        BaseException: whatever `meanwhile`, which is called again and again, raises.
    """
    answered_at = time.monotonic()
    with _SyncBar(sync, is_quiet=is_quiet) as bar:
        while not sync.state.has_ended:
            await asyncio.sleep(_LOOK_INTERVAL_SECONDS)
            meanwhile()
            try:
                sync = await _look(store, sync.id)
                is_alone = sync.state is SyncState.QUEUED and not await store.execute(
                    "EXISTS", FEED_WORKER_HEALTH_KEY
                )
            except StoreUnavailable:
                if time.monotonic() - answered_at > _STORE_PATIENCE_SECONDS:
                    raise
                bar.say("the store does not answer")
                continue
            answered_at = time.monotonic()
            bar.show(sync, is_alone=is_alone)
    return sync


async def _look(store: Store, sync_id: str) -> Sync:
    sync = await read_sync(store, sync_id)
    if sync is None:
        raise click.ClickException(f"the sync {sync_id} is gone from the store")
    return sync


class _SyncBar:
    """How far a sync has come, on standard error; without a terminal, only that nobody works on it."""

    def __init__(self, sync: Sync, *, is_quiet: bool) -> None:
        console = Console(stderr=True)
        self._speaks_once = not is_quiet and not console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(_BAR_WIDTH),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            refresh_per_second=_SHOWN_PER_SECOND,
            disable=is_quiet or not console.is_terminal,
        )
        self._carrier = sync.carrier
        self._task = self._progress.add_task(f"{sync.carrier}: {sync.state}", total=100, start=False)
        self._begun = time.monotonic()
        self._first = self._last = (time.monotonic(), sync.read)

    def show(self, sync: Sync, *, is_alone: bool) -> None:
        """Show what a record says; `is_alone` is one that no worker is there for."""
        if is_alone:
            self._say_alone()
            return
        if sync.state is SyncState.QUEUED:
            # What ran before it was confirmed is not what is waited for now.
            self.say("queued")
            return
        self._progress.start_task(self._task)
        rate = self._rows_a_second(sync.read)
        rows = f"  {sync.read:,} rows" if sync.read else ""
        shown_rate = f"  {rate:,.0f} rows/s" if rate else ""
        self.say(f"{sync.state}{rows}{shown_rate}")
        self._progress.update(self._task, completed=sync.progress)

    def say(self, what: str) -> None:
        """Show how it stands, in words."""
        self._progress.update(self._task, description=f"{self._carrier}: {what}")

    def _say_alone(self) -> None:
        self.say("queued; no feed worker is running")
        if self._speaks_once and time.monotonic() - self._begun > _WORKER_PATIENCE_SECONDS:
            self._speaks_once = False
            click.echo("no feed worker is running, the sync waits for one", err=True)

    def _rows_a_second(self, read: int) -> float:
        """Give the rate of the reading, which stands when all is read and being applied."""
        if read < self._last[1]:
            # Another worker has begun anew.
            self._first = (time.monotonic(), read)
        if read != self._last[1]:
            self._last = (time.monotonic(), read)
        seconds = self._last[0] - self._first[0]
        return (self._last[1] - self._first[1]) / seconds if seconds > 0 else 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._progress.stop()
