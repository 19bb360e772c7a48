"""The costs of a search are counted: round trips, commands, tasks and bytecode, so that none grows unnoticed.

`python -m tests.bench` measures times; these counts are the same on every machine. The bounds of the bytecode
are 20 % above what CPython 3.11 took when they were set.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from random import Random
from types import FrameType
from typing import Any, NamedTuple

import msgspec
import pytest
from litestar import Litestar

from api.app import create_app
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.settings import Settings
from shared.store import Store
from tests.http.answers import SEARCH
from tests.http.asgi_apps import served
from tests.store.searching import ALL_LOCALS
from tests.support import put_in_stock

DENSE, SPARSE = "415", "212"
AREAS = [str(area_code) for area_code in range(301, 341)]


class Costs(NamedTuple):
    """Of one search, in the mean."""

    round_trips: float
    commands: float
    tasks: float
    instructions: float


class Bench:
    """An app in this process, and a store."""

    def __init__(self, app: Litestar, secret: str, store: Store) -> None:
        self.app, self.secret, self.store = app, secret, store

    async def search(self, area_code: str | None, pattern: str) -> int:
        """Search as the server has the app do it; return how many numbers were found."""
        wanted = {"pattern": pattern} | ({"area_code": area_code} if area_code else {})
        body = msgspec.json.encode(wanted)
        headers = [
            (b"host", b"x"),
            (b"authorization", f"Bearer {self.secret}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        scope: Any = {
            "type": "http", "method": "POST", "path": SEARCH, "raw_path": SEARCH.encode(),
            "query_string": b"", "headers": headers, "state": {},
        }  # fmt: skip
        sent: list[Any] = []

        bodies = [body, b""]

        async def receive() -> Any:
            if not bodies:
                # The client waits for its answer.
                await asyncio.Event().wait()
            return {"type": "http.request", "body": bodies.pop(0), "more_body": bool(bodies)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        assert sent[0]["status"] == 200
        return len(msgspec.json.decode(sent[1]["body"])["data"])

    async def costs(self, area_code: str | None, patterns: list[str]) -> Costs:
        """Return what searches cost, one after the other."""

        async def search_all() -> None:
            for pattern in patterns:
                await self.search(area_code, pattern)

        await search_all()
        tasks = await tasks_of(search_all)
        before = await self._store_counts()
        await search_all()
        after = await self._store_counts()
        reads, commands = ((a - b - 1) / len(patterns) for a, b in zip(after, before, strict=True))
        instructions = await instructions_of(search_all)
        return Costs(reads, commands, tasks / len(patterns), instructions / len(patterns))

    async def _store_counts(self) -> tuple[int, int]:
        statistics = await self.store.execute("INFO", "stats")
        return int(statistics["total_reads_processed"]), int(statistics["total_commands_processed"])


async def tasks_of(body: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Return how many tasks a coroutine creates."""
    loop, created = asyncio.get_running_loop(), 0

    def count(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal created
        created += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(count)
    try:
        await body()
    finally:
        loop.set_task_factory(None)
    return created


async def instructions_of(body: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Return how many bytecode instructions run in our own modules until a coroutine has ended."""
    counts = Counter[str]()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            module = frame.f_globals.get("__name__", "").partition(".")[0]
            if module not in ("api", "shared"):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counts["all"] += 1
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        await body()
    finally:
        sys.settrace(previous)
    return counts["all"]


@pytest.fixture(scope="module")
async def bench(valkey: str) -> AsyncIterator[Bench]:
    draw = Random(1)  # noqa: S311
    store, secret = Store(valkey, timeout_seconds=30), new_secret()
    await store.execute("FLUSHALL")
    await put_in_stock(store, DENSE, draw.sample(ALL_LOCALS, 260_000))
    await put_in_stock(store, SPARSE, draw.sample(ALL_LOCALS, 3_333))
    for area_code in AREAS:
        await put_in_stock(store, area_code, draw.sample(ALL_LOCALS, 3_333))
    await create_api_key(store, "buyer", Wanted((Scope.NUMBERS_WRITE,), "bench"), secret)
    app = create_app(Settings(redis_url=valkey, search_rate=0, key_cache_seconds=600))
    with pytest.MonkeyPatch.context() as patch:
        # No search brings a hint up to date because some time has passed.
        patch.setattr("shared.search.hints._DUE_SECONDS", 300.0)
        patch.setattr("shared.search.stock_sizes._MAX_AGE_SECONDS", 600.0)
        async with served(app):
            await app.state["services"].search.learn(DENSE)
            bench = Bench(app, secret, store)
            for named in (DENSE, SPARSE, None):
                await bench.search(named, "7777777")
            yield bench
    await store.close()


@pytest.fixture(autouse=True)
def seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat the same searches."""
    for module in ("hint", "joined_hints", "search", "stock_sizes"):
        monkeypatch.setattr(f"shared.search.{module}._random", Random(1))  # noqa: S311


def patterns(*lengths: int) -> list[str]:
    draw = Random(2)  # noqa: S311
    return ["".join(draw.choices("0123456789", k=length)) for length in lengths for _ in range(40)]


@pytest.mark.parametrize(
    ("area_code", "lengths", "most"),
    [
        # Filled searches: one lookup. Others also read the events and the size.
        (DENSE, (1, 2, 3, 4), Costs(1, 1, 0, 5_600)),
        (DENSE, (6, 7), Costs(1, 4, 0, 2_650)),
        (SPARSE, (1, 2), Costs(1, 1, 0, 3_000)),
        (SPARSE, (4, 5, 6, 7), Costs(1, 4, 0, 3_100)),
        (None, (1, 2), Costs(1, 1, 0, 4_700)),
        # The read of all area codes' events is a task that concurrent searches share.
        (None, (4, 5, 6, 7), Costs(2, 5, 1, 6_400)),
    ],
)
async def test_a_search_costs_no_more_than_it_did(
    bench: Bench, area_code: str | None, lengths: tuple[int, ...], most: Costs
) -> None:
    costs = await bench.costs(area_code, patterns(*lengths))
    assert costs.round_trips <= most.round_trips
    assert costs.commands <= most.commands
    assert costs.tasks <= most.tasks
    assert costs.instructions <= most.instructions
