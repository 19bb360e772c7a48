"""How fast a feed goes through the worker, beside a bare pipelined ZADD of the same numbers."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import redis
from msgspec import Struct

from deploy.cli.child_process import ChildProcess
from deploy.cli.ingest import hand_over
from deploy.sample_feed.generate import AREA_CODES
from shared import store_keys
from shared.phone_number import InvalidNumber, parse_number
from shared.settings import Settings, variable_of
from shared.stock_score import SMS, attributes, score
from shared.store import Store
from shared.syncs import Sync, SyncState, read_sync

_MEMBERS_PER_ZADD = 1_000
_ZADDS_PER_PIPELINE = 10
_STOP_SECONDS = 3.0
_LOOK_INTERVAL_SECONDS = 0.1
_CARRIER = "bench"


class IngestFigures(Struct):
    """Rows a second, parse and validation included, from the queue to `applied`."""

    rows: int
    area_codes: int
    zadd_seconds: float
    first_load_seconds: float
    same_again_seconds: float
    ratio: float
    """Time of the bare ZADD over that of the first load: 1 is as fast."""
    slowest_script_us: float
    """p99.9 of the scripts' time in the store."""


def make_numbers(rows: int, area_codes: int, seed: int) -> list[tuple[str, int]]:
    """Give distinct valid numbers, (area code, local), in random order."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, keeps no secret
    numbers: set[tuple[str, int]] = set()
    while len(numbers) < rows:
        area_code = AREA_CODES[draw.randrange(area_codes)]
        try:
            numbers.add(parse_number(f"{area_code}{draw.randrange(2_000_000, 10_000_000)}"))
        except InvalidNumber:
            continue
    shuffled = sorted(numbers)
    draw.shuffle(shuffled)
    return shuffled


def time_bare_zadd(url: str, numbers: list[tuple[str, int]]) -> float:
    """Time the plainest load that redis-py can do: members by area code, 1,000 a command, 10 a pipeline."""
    offered = attributes(1, SMS)
    begun = time.perf_counter()
    by_area: dict[str, dict[str, int]] = {}
    for area_code, local in numbers:
        by_area.setdefault(area_code, {})[f"+1{area_code}{local}"] = score(local, offered)
    with redis.Redis.from_url(url) as client:
        pipeline, commands = client.pipeline(transaction=False), 0
        for area_code, members in by_area.items():
            items = list(members.items())
            for begin in range(0, len(items), _MEMBERS_PER_ZADD):
                pipeline.zadd(store_keys.available(area_code), dict(items[begin : begin + _MEMBERS_PER_ZADD]))
                commands += 1
                if commands % _ZADDS_PER_PIPELINE == 0:
                    pipeline.execute()
        pipeline.execute()
    return time.perf_counter() - begun


async def measure(
    url: str, directory: Path, rows: int, area_codes: int, seed: int, report: Callable[[str], None]
) -> IngestFigures:
    """Measure on an empty store of our own, with a worker process of our own."""
    report(f"making {rows:,} numbers over {area_codes} area codes")
    numbers = make_numbers(rows, area_codes, seed)
    feed = directory / "feed.csv"
    with feed.open("w") as file:
        file.write("number,sms,mms\n")
        file.writelines(
            f"+1{area}{local},true,{'true' if local % 3 else 'false'}\n" for area, local in numbers
        )
    report("bare ZADD")
    zadd_seconds = time_bare_zadd(url, numbers)
    del numbers
    store = Store(url, timeout_seconds=60)
    await store.execute("FLUSHALL")
    spool = directory / "spool"
    worker = ChildProcess(
        "worker",
        "arq",
        "worker.main.WorkerSettings",
        environment={variable_of("redis_url"): url, variable_of("spool_dir"): str(spool)},
        log=directory / "worker.log",
    )
    worker.start()
    try:
        settings = Settings(redis_url=url, spool_dir=str(spool))
        report("first load through the worker")
        first = await _ingest(store, settings, feed)
        latency = await store.execute("INFO", "latencystats")
        report("the same feed again")
        again = await _ingest(store, settings, feed)
    finally:
        worker.ask_to_stop()
        worker.stop(time.monotonic() + _STOP_SECONDS)
        await store.close()
    return IngestFigures(
        rows=rows,
        area_codes=area_codes,
        zadd_seconds=zadd_seconds,
        first_load_seconds=_seconds(first),
        same_again_seconds=_seconds(again),
        ratio=zadd_seconds / _seconds(first),
        slowest_script_us=latency["latency_percentiles_usec_evalsha"]["p99.9"],
    )


async def _ingest(store: Store, settings: Settings, feed: Path) -> Sync:
    with feed.open("rb") as file:
        sync = await hand_over(store, settings, feed.parent, _CARRIER, file)
    while not sync.state.has_ended:
        await asyncio.sleep(_LOOK_INTERVAL_SECONDS)
        sync = await read_sync(store, sync.id) or sync
    if sync.state is not SyncState.APPLIED:
        raise RuntimeError(f"the sync {sync.state}: {sync.reason}")
    return sync


def _seconds(sync: Sync) -> float:
    return (sync.updated_at - sync.created_at).total_seconds()
