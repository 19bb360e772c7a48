"""How fast a feed goes through the worker, beside a bare pipelined ZADD; and how long others have to wait."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from msgspec import Struct

from deploy.cli.child_process import ChildProcess
from deploy.generated_feed import FeedFormat, make_rows, write_feed
from shared import store_keys
from shared.feeds.formats.read import read_feed
from shared.feeds.offers import collector
from shared.feeds.profiles import Profiles, read_profiles
from shared.feeds.spool import Spool
from shared.feeds.syncs import Sync, SyncOptions, SyncState, new_sync_id, queue_feed, read_sync
from shared.jobs import JobQueue
from shared.settings import Settings, variable_of
from shared.stock_score import SMS, attributes, score
from shared.store import Store
from shared.store_url import StoreUrl

CHURN = 0.01
SLOW_MICROSECONDS = 2_000

_MEMBERS_PER_ZADD = 1_000
_ZADDS_PER_PIPELINE = 10
_STOP_SECONDS = 3.0
_LOOK_INTERVAL_SECONDS = 0.1
_MOST_BESIDE = 1_000_000
_CARRIER = "bench"
_BESIDE = "beside"
"""The carrier whose feed is loaded while others search."""


class Load(Struct):
    """One feed through the worker."""

    rows: int
    seconds: float
    """From the queue to `applied`."""
    reading_seconds: float
    applying_seconds: float


class IngestFigures(Struct):
    """What was measured."""

    rows: int
    area_codes: int
    format: FeedFormat
    zadd_seconds: float
    parsing_seconds: float
    """Of reading the feed into what it offers, as `numbers feeds check` does, and nothing else."""
    first_load: Load
    with_churn: Load
    worker_peak_mb: float
    zadd_bytes: int
    """Of the store's memory, after the bare ZADD."""
    first_load_bytes: int
    with_churn_bytes: int
    commands: int
    slow_commands: int
    search_p99_ms: float
    """Over HTTP, at 100 searches a second."""
    search_p99_beside_ms: float
    """The same while a feed is loaded."""


class Bench:
    """A store, a worker, an API and the feeds to measure them with."""

    def __init__(self, url: str, directory: Path, form: FeedFormat, report: Callable[[str], None]) -> None:
        """Prepare; nothing runs yet."""
        self.url = url
        self.directory = directory
        self.form = form
        self.report = report
        self.settings = Settings(redis_url=url, spool_dir=str(directory / "spool"))
        self.feeds_file = directory / "feeds.toml"
        self.feeds_file.write_text(
            "".join(f'[profiles.{carrier}]\nformat = "{form}"\n' for carrier in (_CARRIER, _BESIDE))
        )
        self._environment = {
            variable_of("redis_url"): url,
            variable_of("spool_dir"): str(directory / "spool"),
            variable_of("feeds_file"): str(self.feeds_file),
            variable_of("search_rate"): "0",
            variable_of("write_rate"): "0",
        }

    def profiles(self) -> Profiles:
        """Give what the worker reads feeds by."""
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
            # In a thread, for the searches that are timed meanwhile.
            sha256 = await asyncio.to_thread(spool.put, sync_id, file, limit)
        begun = time.monotonic()
        sync: Sync | None = await queue_feed(store, sync_id, carrier, SyncOptions(), sha256=sha256)
        queue = JobQueue(self.url, self.settings.store_timeout_seconds)
        await queue.wake_feed(carrier)
        await queue.close()
        while sync is not None and not sync.state.has_ended:
            await asyncio.sleep(_LOOK_INTERVAL_SECONDS)
            sync = await read_sync(store, sync_id)
        if sync is None or sync.state is not SyncState.APPLIED:
            raise RuntimeError(f"the sync came to nothing: {sync}")
        seconds = time.monotonic() - begun
        return Load(sync.read, seconds, sync.reading_ms / 1000, sync.applying_ms / 1000)


def time_bare_zadd(url: str, rows: list[tuple[str, int]]) -> float:
    """Time the plainest load that redis-py can do: members by area code, 1,000 a command, 10 a pipeline."""
    offered = attributes(1, SMS)
    waiting: dict[str, dict[str, int]] = {}
    begun = time.perf_counter()
    with redis.Redis(**StoreUrl.parse(url).client_options) as client:
        pipeline, commands = client.pipeline(transaction=False), 0
        for area_code, local in rows:
            members = waiting.setdefault(area_code, {})
            members[f"+1{area_code}{local}"] = score(local, offered)
            if len(members) == _MEMBERS_PER_ZADD:
                pipeline.zadd(store_keys.available(area_code), waiting.pop(area_code))
                commands += 1
                if commands % _ZADDS_PER_PIPELINE == 0:
                    pipeline.execute()
        for area_code, members in waiting.items():
            pipeline.zadd(store_keys.available(area_code), members)
        pipeline.execute()
    return time.perf_counter() - begun


def time_parsing(bench: Bench, feed: Path) -> float:
    """Time reading a feed into what it offers."""
    # As the worker has it: rows are no garbage in cycles.
    gc.set_threshold(100_000)
    profile = bench.profiles().of(_CARRIER)
    begun = time.perf_counter()
    collected = collector(profile.mode)
    for block in read_feed(feed, profile):
        collected.add(block)
    collected.finish()
    return time.perf_counter() - begun


async def measure(bench: Bench, rows: int, area_codes: int, seed: int) -> IngestFigures:
    """Measure on an empty store of our own, with processes of our own."""
    # Here, for its HTTP client takes a tenth of a second that no other command is to wait for.
    from deploy.cli.bench_waiting import search_latency  # noqa: PLC0415

    report = bench.report
    first = bench.make_feed("first", rows, area_codes, seed)
    second = bench.make_feed("second", rows, area_codes, seed, CHURN)
    beside = bench.make_feed("beside", min(rows, _MOST_BESIDE), area_codes, seed + 1)
    store = Store(bench.url, timeout_seconds=60)
    try:
        report("bare ZADD")
        numbers = [(area_code, local) for area_code, local, _ in make_rows(rows, area_codes, seed)]
        zadd_seconds = time_bare_zadd(bench.url, numbers)
        del numbers
        zadd_bytes = await _used_memory(store)
        await store.execute("FLUSHALL", "SYNC")
        empty_bytes = await _used_memory(store)
        await store.execute("CONFIG", "RESETSTAT")
        await store.execute("SLOWLOG", "RESET")
        report("parsing alone")
        parsing_seconds = time_parsing(bench, first)
        with bench.process("worker", "arq", "worker.feeds.main.WorkerSettings") as worker:
            report("first load through the worker")
            first_load = await bench.load(store, _CARRIER, first)
            first_load_bytes = await _used_memory(store)
            report(f"a feed of which {CHURN:.0%} are others")
            with_churn = await bench.load(store, _CARRIER, second)
            with_churn_bytes = await _used_memory(store)
            quiet, busy = await search_latency(bench, store, lambda: bench.load(store, _BESIDE, beside))
            peak_mb = _peak_mb(worker)
        return IngestFigures(
            rows=rows,
            area_codes=area_codes,
            format=bench.form,
            zadd_seconds=zadd_seconds,
            parsing_seconds=parsing_seconds,
            first_load=first_load,
            with_churn=with_churn,
            worker_peak_mb=peak_mb,
            zadd_bytes=zadd_bytes - empty_bytes,
            first_load_bytes=first_load_bytes - empty_bytes,
            with_churn_bytes=with_churn_bytes - empty_bytes,
            commands=(await store.execute("INFO", "stats"))["total_commands_processed"],
            slow_commands=await store.execute("SLOWLOG", "LEN"),
            search_p99_ms=quiet,
            search_p99_beside_ms=busy,
        )
    finally:
        await store.close()


async def _used_memory(store: Store) -> int:
    used: int = (await store.execute("INFO", "memory"))["used_memory"]
    return used


def _peak_mb(worker: ChildProcess) -> float:
    """Give the most memory that a process has had, as Linux tells it; 0 elsewhere."""
    status = Path(f"/proc/{worker.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
