"""The processes and feeds that the ingest benchmark works with."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from deploy.cli.child_process import ChildProcess
from deploy.generated_feed import FeedFormat, make_rows, write_feed
from shared.feeds.profiles import Profiles, read_profiles
from shared.feeds.spool import Spool
from shared.feeds.syncs import Sync, SyncOptions, SyncState, new_sync_id, queue_feed, read_sync
from shared.jobs import JobQueue
from shared.settings import Settings, variable_of
from shared.store import Store

MEASURED_CARRIER: Final = "bench"
BACKGROUND_CARRIER: Final = "background"
"""The carrier whose feed is loaded while searches are timed."""

_STOP_SECONDS = 3.0
_POLL_SECONDS = 0.1


class Load(Struct):
    """One feed through the worker."""

    rows: int
    seconds: float
    """From the queue to `applied`."""
    reading_seconds: float
    applying_seconds: float


class IngestService:
    """A store, processes of the service, and feeds for them."""

    def __init__(self, url: str, directory: Path, form: FeedFormat, report: Callable[[str], None]) -> None:
        """Prepare; no process runs yet."""
        self.url = url
        self.directory = directory
        self.form = form
        self.report = report
        self.settings = Settings(redis_url=url, spool_dir=str(directory / "spool"))
        self.feeds_file = directory / "feeds.toml"
        self.feeds_file.write_text(
            "".join(
                f'[profiles.{carrier}]\nformat = "{form}"\n'
                for carrier in (MEASURED_CARRIER, BACKGROUND_CARRIER)
            )
        )
        self._environment = {
            variable_of("redis_url"): url,
            variable_of("spool_dir"): str(directory / "spool"),
            variable_of("feeds_file"): str(self.feeds_file),
            variable_of("search_rate"): "0",
            variable_of("write_rate"): "0",
        }

    def profiles(self) -> Profiles:
        """Return the profiles by which the worker reads feeds."""
        return read_profiles(str(self.feeds_file))

    def make_feed(self, name: str, rows: int, area_codes: int, seed: int, churn: float = 0.0) -> Path:
        """Write a feed to the directory."""
        self.report(f"writing {rows:,} rows over {area_codes} area codes")
        path = self.directory / name
        with path.open("wb") as file:
            write_feed(file, make_rows(rows, area_codes, seed, churn), self.form)
        return path

    @contextmanager
    def process(self, name: str, script: str, *arguments: str) -> Iterator[ChildProcess]:
        """Run a process of the service while the body runs."""
        log = self.directory / f"{name}.log"
        child = ChildProcess(name, script, *arguments, environment=self._environment, log=log)
        child.start()
        try:
            yield child
        finally:
            child.ask_to_stop()
            child.stop(time.monotonic() + _STOP_SECONDS)

    async def load(self, store: Store, carrier: str, feed: Path) -> Load:
        """Bring a feed and wait until it is applied."""
        sync_id = new_sync_id()
        limit = self.profiles().of(carrier).limits.bytes
        spool = Spool(self.directory / "spool")
        with feed.open("rb") as file:
            # In a thread, because searches are timed at the same time.
            sha256 = await asyncio.to_thread(spool.put, sync_id, file, limit)
        begun = time.monotonic()
        sync: Sync | None = await queue_feed(store, sync_id, carrier, SyncOptions(), sha256=sha256)
        queue = JobQueue(self.url, self.settings.store_timeout_seconds)
        await queue.wake_feed(carrier)
        await queue.close()
        while sync is not None and not sync.state.has_ended:
            await asyncio.sleep(_POLL_SECONDS)
            sync = await read_sync(store, sync_id)
        if sync is None or sync.state is not SyncState.APPLIED:
            raise RuntimeError(f"the sync was not applied: {sync}")
        seconds = time.monotonic() - begun
        return Load(sync.read, seconds, sync.reading_ms / 1000, sync.applying_ms / 1000)
