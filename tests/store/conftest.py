"""What tests of carriers' feeds are given."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.feeds.spool import Spool
from shared.store import Store
from tests.store.feeding import Feeding

Run = Callable[[Callable[[Store], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def run(valkey: str) -> Iterator[Run]:
    """Return a function that runs a coroutine with an emptied store, for tests that are not coroutines."""
    loop = asyncio.new_event_loop()
    store = Store(valkey, timeout_seconds=5)

    def run(body: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        async def on_an_empty_store() -> None:
            await store.execute("FLUSHALL")
            await body(store)

        loop.run_until_complete(on_an_empty_store())

    yield run
    loop.run_until_complete(store.close())
    loop.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def feeding(store: Store, spool: Spool) -> Feeding:
    return Feeding(store, spool)


@pytest.fixture
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a small feed take several calls in several groups."""
    monkeypatch.setattr("worker.feeds.apply.MAX_NUMBERS_PER_CALL", 3)
    monkeypatch.setattr("worker.feeds.pace._CALLS_ALONE", 2)
