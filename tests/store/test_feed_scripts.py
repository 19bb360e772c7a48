"""Whose turn it is with a carrier's feed, through the wrappers of the scripts."""

import asyncio
import time

import pytest

from shared import store_keys
from shared.atomic.feed_operations import (
    FeedRun,
    Overtaken,
    TooManyCarriers,
    adopt_snapshot,
    claim_feed,
    forget_removals,
    intend_snapshot,
    leave_feed,
    let_removals_wait,
    mark_sync,
    record_run,
    register_carrier,
    renew_feed,
    write_feed,
)
from shared.stock_score import MAX_CARRIER_ORDINAL
from shared.store import Store

LEASE_MS = 60_000
FEED = store_keys.feed("acme")


async def queue(store: Store, *sync_ids: str, task: str = "read") -> None:
    await store.execute(
        "RPUSH", store_keys.feed_queue("acme"), *(f"{task}:{sync_id}" for sync_id in sync_ids)
    )


async def queued(store: Store) -> list[bytes]:
    work: list[bytes] = await store.execute("LRANGE", store_keys.feed_queue("acme"), 0, -1)
    return work


async def claim(store: Store, lease_ms: int = LEASE_MS) -> FeedRun:
    run = await claim_feed(store, "acme", lease_ms)
    assert run is not None
    return run


async def feed_state(store: Store) -> dict[bytes, bytes]:
    state: dict[bytes, bytes] = await store.execute("HGETALL", FEED)
    return state


async def lease_left_ms(store: Store) -> int:
    seconds, microseconds = await store.execute("TIME")
    until = int(await store.execute("HGET", FEED, "lease_until_ms"))
    return until - int(seconds) * 1000 - int(microseconds) // 1000


async def end_lease(store: Store) -> None:
    """Make the lease one that ended just now, as if the time had passed."""
    seconds, microseconds = await store.execute("TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    await store.execute("HSET", FEED, "lease_until_ms", now_ms - 1)


async def test_a_feed_without_queued_syncs_cannot_be_claimed_and_leaves_no_trace(store: Store) -> None:
    assert await claim_feed(store, "acme", LEASE_MS) is None
    assert await store.execute("DBSIZE") == 0


async def test_a_claim_gives_the_oldest_sync_and_leaves_it_queued(store: Store) -> None:
    await queue(store, "first", "second")
    assert await claim(store) == FeedRun("acme", 1, "read", "first")
    assert await queued(store) == [b"read:first", b"read:second"]


async def test_a_claimed_feed_cannot_be_claimed_again(store: Store) -> None:
    await queue(store, "first", "second")
    await claim(store)
    before = await feed_state(store)
    assert await claim_feed(store, "acme", LEASE_MS) is None
    assert await feed_state(store) == before


async def test_of_many_claims_at_once_one_succeeds(store: Store) -> None:
    await queue(store, "first", "second")
    claims = await asyncio.gather(*(claim_feed(store, "acme", LEASE_MS) for _ in range(50)))
    assert [run for run in claims if run] == [FeedRun("acme", 1, "read", "first")]


async def test_a_claimed_feed_does_not_keep_others_from_other_feeds(store: Store) -> None:
    await queue(store, "first")
    await store.execute("RPUSH", store_keys.feed_queue("beta"), "read:other")
    await claim(store)
    assert await claim_feed(store, "beta", LEASE_MS) == FeedRun("beta", 1, "read", "other")


async def test_a_lease_that_is_over_lets_the_next_run_take_the_same_sync(store: Store) -> None:
    await queue(store, "first", "second")
    await claim(store)
    await end_lease(store)
    assert await claim(store) == FeedRun("acme", 2, "read", "first")


async def test_a_lease_ends_by_the_clock_of_the_store(store: Store) -> None:
    await queue(store, "first")
    begun = time.monotonic()
    await claim(store, lease_ms=150)
    while (run := await claim_feed(store, "acme", LEASE_MS)) is None:
        assert time.monotonic() - begun < 10
    # The store's milliseconds may be one ahead.
    assert time.monotonic() - begun >= 0.145
    assert run == FeedRun("acme", 2, "read", "first")


async def test_a_feed_that_is_given_back_can_be_claimed_at_once(store: Store) -> None:
    await queue(store, "first")
    await renew_feed(store, await claim(store), 0)
    assert await claim(store) == FeedRun("acme", 2, "read", "first")


async def test_a_renewed_lease_counts_from_now(store: Store) -> None:
    await queue(store, "first")
    run = await claim(store, lease_ms=1000)
    assert 0 < await lease_left_ms(store) <= 1000
    await renew_feed(store, run, LEASE_MS)
    assert LEASE_MS - 5000 < await lease_left_ms(store) <= LEASE_MS
    assert await claim_feed(store, "acme", LEASE_MS) is None


async def test_an_overtaken_run_can_do_nothing_with_the_feed(store: Store) -> None:
    await queue(store, "first", "second")
    overtaken = await claim(store)
    await end_lease(store)
    current = await claim(store)
    snapshot = store_keys.feed_snapshot("acme", overtaken.generation)
    await store.execute("HSET", snapshot, "415:1", b"bitmap")
    await store.execute("SADD", store_keys.feed_waiting("acme"), "waiting")
    before = await feed_state(store)
    with pytest.raises(Overtaken):
        await renew_feed(store, overtaken, LEASE_MS)
    with pytest.raises(Overtaken):
        await write_feed(store, overtaken, snapshot, ["415:2", b"late"])
    with pytest.raises(Overtaken):
        await write_feed(store, overtaken, FEED, ["order", ",1,"])
    with pytest.raises(Overtaken):
        await intend_snapshot(store, overtaken)
    with pytest.raises(Overtaken):
        await adopt_snapshot(store, overtaken, "first", 0, [overtaken.generation], protected=0)
    with pytest.raises(Overtaken):
        await let_removals_wait(store, overtaken)
    with pytest.raises(Overtaken):
        await forget_removals(store, overtaken, ["waiting"])
    with pytest.raises(Overtaken):
        await leave_feed(store, overtaken)
    assert await feed_state(store) == before
    assert await store.execute("HGETALL", snapshot) == {b"415:1": b"bitmap"}
    assert await store.execute("SMEMBERS", store_keys.feed_waiting("acme")) == {b"waiting"}
    assert await store.execute("LLEN", store_keys.feed_queue("acme")) == 2
    await leave_feed(store, current)


@pytest.mark.parametrize("generation", [0, 2, 11, 100])
async def test_only_the_generation_of_the_run_itself_is_current(store: Store, generation: int) -> None:
    await queue(store, "first")
    stranger = (await claim(store))._replace(generation=generation)
    with pytest.raises(Overtaken):
        await renew_feed(store, stranger, LEASE_MS)
    with pytest.raises(Overtaken):
        await leave_feed(store, stranger)


async def test_syncs_are_run_in_the_order_in_which_they_were_queued(store: Store) -> None:
    names = [f"sync-{place}" for place in range(10)]
    await queue(store, *names[:5])
    done, generations = [], []
    for place in range(10):
        run = await claim(store)
        done.append(run.sync_id)
        generations.append(run.generation)
        if place < 5:
            await queue(store, names[5 + place])
        await leave_feed(store, run)
    assert done == names
    assert generations == list(range(1, 11))
    assert await claim_feed(store, "acme", LEASE_MS) is None


async def test_leaving_takes_the_sync_from_the_queue_and_gives_the_feed_back(store: Store) -> None:
    await queue(store, "first", "second")
    await leave_feed(store, await claim(store))
    assert await queued(store) == [b"read:second"]
    assert await claim(store) == FeedRun("acme", 2, "read", "second")


async def test_leaving_twice_takes_no_other_sync(store: Store) -> None:
    await queue(store, "first", "second", "third")
    run = await claim(store)
    await leave_feed(store, run)
    await leave_feed(store, run)
    assert await queued(store) == [b"read:second", b"read:third"]


async def test_generations_only_grow_whatever_happens_to_the_runs(store: Store) -> None:
    await queue(store, *(f"sync-{place}" for place in range(20)))
    seen = []
    for place in range(40):
        run = await claim(store)
        seen.append(run.generation)
        if place % 2:
            await leave_feed(store, run)
        elif place % 4:
            await renew_feed(store, run, 0)
        else:
            await end_lease(store)
    assert seen == sorted(set(seen))


async def test_snapshots_that_are_intended_stay_on_record_until_one_is_adopted(store: Store) -> None:
    await queue(store, "first")
    for generation in (1, 2, 3):
        run = await claim(store)
        await store.execute("HSET", store_keys.feed_snapshot("acme", generation), "415:1", b"bitmap")
        await intend_snapshot(store, run)
        await renew_feed(store, run, 0)
    assert (await feed_state(store))[b"intended"] == b"1 2 3"
    assert b"applied" not in await feed_state(store)
    run = await claim(store)
    await store.execute("HSET", store_keys.feed_snapshot("acme", 4), "415:1", b"bitmap")
    await intend_snapshot(store, run)
    await adopt_snapshot(store, run, "first", 1, [2, 3], protected=5)
    state = await feed_state(store)
    assert [state[name] for name in (b"applied", b"applied_by", b"previous", b"protected")] == [
        b"4",
        b"first",
        b"1",
        b"5",
    ]
    assert b"intended" not in state
    kept = [await store.execute("EXISTS", store_keys.feed_snapshot("acme", n)) for n in range(1, 5)]
    assert kept == [1, 0, 0, 1]


async def test_adopting_twice_ends_the_same(store: Store) -> None:
    await queue(store, "first")
    run = await claim(store)
    await store.execute("HSET", store_keys.feed_snapshot("acme", 1), "415:1", b"bitmap")
    await intend_snapshot(store, run)
    for previous in (0, None):
        await adopt_snapshot(store, run, "first", previous, [], protected=0)
        before = await feed_state(store)
        assert before[b"previous"] == (b"" if previous is None else b"0")
        await adopt_snapshot(store, run, "first", previous, [], protected=0)
        assert await feed_state(store) == before
    assert await store.execute("EXISTS", store_keys.feed_snapshot("acme", 1)) == 1


async def test_what_a_run_writes_stands_where_it_is_meant_beside_what_was_there(store: Store) -> None:
    await queue(store, "first")
    run = await claim(store)
    snapshot = store_keys.feed_snapshot("acme", run.generation)
    await write_feed(store, run, snapshot, ["415:1", b"\x00bitmap\xff", "415:2", b"two"])
    await write_feed(store, run, snapshot, ["212:1", b"three"])
    assert await store.execute("HGETALL", snapshot) == {
        b"415:1": b"\x00bitmap\xff",
        b"415:2": b"two",
        b"212:1": b"three",
    }
    before = await feed_state(store)
    await write_feed(store, run, FEED, ["order", ",1,"])
    assert await feed_state(store) == {**before, b"order": b",1,"}


async def test_removals_wait_until_they_are_forgotten_with_what_is_kept_of_them(store: Store) -> None:
    for sync_id in ("first", "second", "third"):
        await queue(store, sync_id)
        run = await claim(store)
        await let_removals_wait(store, run)
        await let_removals_wait(store, run)
        await write_feed(store, run, store_keys.feed_removals("acme", sync_id), ["415:0", b"bitmap"])
        await leave_feed(store, run)
    await queue(store, "last")
    await forget_removals(store, await claim(store), ["first", "third", "unknown"])
    assert await store.execute("SMEMBERS", store_keys.feed_waiting("acme")) == {b"second"}
    assert await store.execute("KEYS", store_keys.feed_removals("acme", "*")) == [
        store_keys.feed_removals("acme", "second").encode()
    ]


async def test_a_sync_is_marked_only_when_it_is_what_it_is_thought_to_be(store: Store) -> None:
    record = store_keys.sync("first")
    assert not await mark_sync(store, "first", ("waiting", "queued"), "", "now", generation=1)
    assert await store.execute("EXISTS", record) == 0
    await record_run(store, FeedRun("acme", 1, "read", "first"), ["state", "waiting", "read", 7])
    assert not await mark_sync(store, "first", ("queued", "superseded"), "late", "now", generation=1)
    assert not await mark_sync(store, "first", ("waiting", "queued"), "", "now", generation=0)
    assert await mark_sync(store, "first", ("waiting", "superseded"), "newer", "now", generation=1)
    assert await store.execute("HGETALL", record) == {
        b"generation": b"1",
        b"state": b"superseded",
        b"read": b"7",
        b"reason": b"newer",
        b"updated_at": b"now",
    }


@pytest.mark.parametrize("task", ["fetch", "read", "confirm", "rollback"])
async def test_a_claim_says_what_is_to_be_done_for_which_sync(store: Store, task: str) -> None:
    await queue(store, "first", task=task)
    run = await claim(store)
    assert (run.task, run.sync_id) == (task, "first")
    await leave_feed(store, run)
    assert await queued(store) == []


async def test_leaving_takes_one_of_the_same_work_that_is_queued_twice(store: Store) -> None:
    await queue(store, "first", "first", task="confirm")
    await leave_feed(store, await claim(store))
    assert await queued(store) == [b"confirm:first"]


async def test_a_record_never_goes_back_from_what_a_later_run_wrote(store: Store) -> None:
    earlier, later = FeedRun("acme", 9, "read", "first"), FeedRun("acme", 10, "read", "first")
    record = store_keys.sync("first")
    await record_run(store, earlier, ["state", "running", "read", 1])
    await record_run(store, later, ["read", 2])
    with pytest.raises(Overtaken):
        await record_run(store, earlier, ["state", "failed", "read", 3])
    assert await store.execute("HGETALL", record) == {
        b"generation": b"10",
        b"state": b"running",
        b"read": b"2",
    }
    # The one that wrote last goes on writing.
    await record_run(store, later, ["state", "applied"])
    assert await store.execute("HGET", record, "state") == b"applied"


async def test_a_record_lives_its_whole_lifetime_from_the_last_word_on(store: Store) -> None:
    record, lifetime = store_keys.sync("first"), store_keys.SYNC_LIFETIME_SECONDS
    await record_run(store, FeedRun("acme", 1, "read", "first"), ["read", 1])
    assert lifetime - 60 < await store.execute("TTL", record) <= lifetime
    await store.execute("EXPIRE", record, 100)
    await record_run(store, FeedRun("acme", 1, "read", "first"), ["read", 2])
    assert lifetime - 60 < await store.execute("TTL", record) <= lifetime


async def test_every_carrier_has_an_ordinal_of_its_own_for_ever(store: Store) -> None:
    names = [f"carrier-{place}" for place in range(50)]
    first = await asyncio.gather(*(register_carrier(store, name) for name in names))
    again = await asyncio.gather(*(register_carrier(store, name) for name in reversed(names)))
    assert sorted(first) == list(range(1, 51))
    assert first == again[::-1]


async def test_there_is_room_for_as_many_carriers_as_a_score_can_tell_apart(store: Store) -> None:
    names = [f"carrier-{place}" for place in range(MAX_CARRIER_ORDINAL)]
    ordinals = await asyncio.gather(*(register_carrier(store, name) for name in names))
    assert max(ordinals) == MAX_CARRIER_ORDINAL == 1023
    with pytest.raises(TooManyCarriers, match="1023"):
        await register_carrier(store, "one-too-many")
    assert await store.execute("HLEN", store_keys.FEEDS) == MAX_CARRIER_ORDINAL
    # Those who are known are not turned away.
    assert await register_carrier(store, names[7]) == ordinals[7]
