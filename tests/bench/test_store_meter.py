"""The store's time is that of the others: each script once, and none of the bench's own commands."""

from collections.abc import Iterator

import pytest
import redis

from tests.bench.processes import Processes, StoreServer
from tests.bench.slow_commands import SlowCommands
from tests.bench.store_connection import StoreConnection
from tests.bench.store_meter import CHANGER_CLIENT, StoreMeter

_SCRIPT = "for i = 1, 2000 do redis.call('ZADD', KEYS[1], i, i) end"


@pytest.fixture
def own_store() -> Iterator[StoreServer]:
    with Processes(SlowCommands()) as processes:
        yield processes.store()


def time_of(store: StoreServer, name: str) -> tuple[int, int]:
    """Return the µs of others, and those of the script itself, which a client of this name runs."""
    with (
        redis.Redis.from_url(store.url, client_name=name) as client,
        StoreMeter(store, SlowCommands()) as meter,
    ):
        client.ping()
        used, _ = meter.run(lambda: client.eval(_SCRIPT, 1, "test"))
    [script] = [entry.microseconds for entry in used.entries if entry.command == b"EVAL"]
    return used.others(), script


def test_a_script_counts_once_although_its_commands_are_logged(own_store: StoreServer) -> None:
    others, script = time_of(own_store, "api")
    assert others == script > 500


def test_changes_do_not_count(own_store: StoreServer) -> None:
    others, script = time_of(own_store, CHANGER_CLIENT)
    assert (others, script > 500) == (0, True)


def test_the_benchs_own_commands_are_known_one_by_one(own_store: StoreServer) -> None:
    with StoreMeter(own_store, SlowCommands()) as meter:
        used, _ = meter.run(lambda: [own_store.client.execute("ZRANGE", "test", 0, 9) for _ in range(5)])
    assert len(used.own("ZRANGE")) == 5
    assert used.others() == 0


def test_slow_commands_of_the_bench_do_not_count(own_store: StoreServer) -> None:
    members = [item for number in range(50_000) for item in (number, f"member {number}")]
    slow = SlowCommands()
    slow.begin(own_store.client)
    own_store.client.execute("ZADD", "test:bench", *members)
    with redis.Redis.from_url(own_store.url, client_name="api") as client:
        client.zadd("test:api", {f"member {number}": number for number in range(50_000)})
    slow.collect(own_store.client)
    assert (slow.slow, slow.worst_us > 2_000) == (1, True)


def test_a_store_that_is_gone_does_not_disturb_the_end() -> None:
    slow = SlowCommands()
    slow.collect(StoreConnection("redis://127.0.0.1:1/0"))
    assert slow.commands == 0
