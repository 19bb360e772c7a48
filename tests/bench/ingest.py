"""How fast a feed goes through the worker, compared with a bare pipelined ZADD; and how searches fare."""

import gc
import time
from pathlib import Path

import redis
from msgspec import Struct

from deploy.cli.child_process import ChildProcess
from deploy.generated_feed import FeedFormat, make_rows
from shared import store_keys
from shared.feeds.formats.read import read_feed
from shared.feeds.offers import collector
from shared.stock_score import SMS, attributes, score
from shared.store import Store
from tests.bench.ingest_service import BACKGROUND_CARRIER, MEASURED_CARRIER, IngestService, Load
from tests.bench.ingest_waiting import search_latency

CHURN = 0.01
SLOW_MICROSECONDS = 2_000

_MEMBERS_PER_ZADD = 1_000
_ZADDS_PER_PIPELINE = 10
_MOST_BACKGROUND_ROWS = 1_000_000


class IngestFigures(Struct):
    """All that was measured in one run."""

    rows: int
    area_codes: int
    format: FeedFormat
    zadd_seconds: float
    parsing_seconds: float
    """Only reading the feed into its offers, as `numbers feeds check` does."""
    first_load: Load
    with_churn: Load
    worker_peak_mb: float
    zadd_bytes: int
    """Memory of the store after the bare ZADD."""
    first_load_bytes: int
    with_churn_bytes: int
    commands: int
    slow_commands: int
    search_p99_ms: float
    """Over HTTP, at 100 searches a second."""
    search_p99_loading_ms: float
    """The same while a feed is loaded."""


def time_bare_zadd(url: str, rows: list[tuple[str, int]]) -> float:
    """Return the seconds of the plainest load with redis-py: by area code, 1,000 a command, 10 a pipeline."""
    offered = attributes(1, SMS)
    waiting: dict[str, dict[str, int]] = {}
    begun = time.perf_counter()
    with redis.Redis.from_url(url) as client:
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


def time_parsing(service: IngestService, feed: Path) -> float:
    """Return the seconds of reading a feed into its offers."""
    # As in the worker: rows are no garbage in cycles.
    gc.set_threshold(100_000)
    profile = service.profiles().of(MEASURED_CARRIER)
    begun = time.perf_counter()
    collected = collector(profile.mode)
    for block in read_feed(feed, profile):
        collected.add(block)
    collected.finish()
    return time.perf_counter() - begun


async def measure(service: IngestService, rows: int, area_codes: int, seed: int) -> IngestFigures:
    """Measure on an empty store; starts the processes itself."""
    report = service.report
    first = service.make_feed("first", rows, area_codes, seed)
    second = service.make_feed("second", rows, area_codes, seed, CHURN)
    background = service.make_feed("background", min(rows, _MOST_BACKGROUND_ROWS), area_codes, seed + 1)
    store = Store(service.url, timeout_seconds=60)
    try:
        report("bare ZADD")
        numbers = [(area_code, local) for area_code, local, _ in make_rows(rows, area_codes, seed)]
        zadd_seconds = time_bare_zadd(service.url, numbers)
        del numbers
        zadd_bytes = await _used_memory(store)
        await store.execute("FLUSHALL", "SYNC")
        empty_bytes = await _used_memory(store)
        await store.execute("CONFIG", "RESETSTAT")
        await store.execute("SLOWLOG", "RESET")
        report("parsing alone")
        parsing_seconds = time_parsing(service, first)
        with service.process("worker", "arq", "worker.feeds.main.WorkerSettings") as worker:
            report("first load through the worker")
            first_load = await service.load(store, MEASURED_CARRIER, first)
            first_load_bytes = await _used_memory(store)
            report(f"a feed with {CHURN:.0%} changed")
            with_churn = await service.load(store, MEASURED_CARRIER, second)
            with_churn_bytes = await _used_memory(store)
            quiet, busy = await search_latency(
                service, store, lambda: service.load(store, BACKGROUND_CARRIER, background)
            )
            peak_mb = _peak_mb(worker)
        return IngestFigures(
            rows=rows,
            area_codes=area_codes,
            format=service.form,
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
            search_p99_loading_ms=busy,
        )
    finally:
        await store.close()


async def _used_memory(store: Store) -> int:
    used: int = (await store.execute("INFO", "memory"))["used_memory"]
    return used


def _peak_mb(worker: ChildProcess) -> float:
    """Return the peak memory of a process on Linux; 0 elsewhere."""
    status = Path(f"/proc/{worker.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
