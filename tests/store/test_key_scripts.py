"""What the headers of the scripts of API keys promise, beyond what the records show."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from shared import clock, store_keys
from shared.api_keys import COMMAND_LINE
from shared.atomic.key_operations import (
    Actor,
    Attempt,
    KeyIsDead,
    KeysAreFull,
    TakenOver,
    create_key,
    note_key_uses,
    revoke_key,
    rotate_key,
)
from shared.atomic.requests import RequestKey
from shared.store import Store

ORGANIZATION = "acme"
KEYS = store_keys.api_keys(ORGANIZATION)
USES = store_keys.api_key_uses(ORGANIZATION)
EVENTS = store_keys.api_key_events(ORGANIZATION)
FEW = 3
"""Keys that an organization may have in these tests."""
LATE = Actor("a key", "a request", Attempt(RequestKey("digest", "fingerprint"), b"1"))


def record_of(digest: str, **fields: object) -> bytes:
    known = {"label": None, "digest": digest, "prefix": "am_live_0000", "scopes": ["numbers:read"]}
    return msgspec.json.encode(known | fields)


async def put(store: Store, key_id: str, **fields: object) -> None:
    """List a key in any state."""
    await store.execute("HSET", KEYS, key_id, record_of(f"digest of {key_id}", created_ms=1, **fields))


async def create(store: Store, key_id: str, digest: str = "new") -> str:
    """Create a key and give the digest that does not serve any more."""
    return (await create_key(store, ORGANIZATION, key_id, record_of(digest), FEW, COMMAND_LINE)).dead_digest


async def listed(store: Store) -> set[str]:
    return {key_id.decode() for key_id in await store.execute("HKEYS", KEYS)}


async def all_of(store: Store) -> list[object]:
    """Give all that is kept of an organization's keys."""
    return await store.execute_many(
        [("HGETALL", KEYS), ("HGETALL", USES), ("XRANGE", EVENTS, "-", "+"), ("KEYS", "*")]
    )


@pytest.fixture
async def channel(valkey: str) -> AsyncIterator[PubSub]:
    """Listen to what processes hear of keys that changed."""
    async with Redis.from_url(valkey) as client, client.pubsub() as link:
        await link.subscribe(store_keys.API_KEYS_CHANGED)
        assert await link.get_message(timeout=5)
        yield link


async def heard(store: Store, channel: PubSub) -> list[str]:
    """Give the keys that were told of up to now."""
    await store.execute("PUBLISH", store_keys.API_KEYS_CHANGED, "the end")
    ids: list[str] = []
    while ids[-1:] != ["the end"]:
        message = await channel.get_message(timeout=5)
        assert message is not None
        ids.append(message["data"].decode())
    return ids[:-1]


async def test_a_record_is_kept_as_it_is_given_with_the_time_of_the_store(store: Store) -> None:
    before = await clock.now_ms(store)
    written = await create_key(store, ORGANIZATION, "a", record_of("one", expires_ms="9"), FEW, COMMAND_LINE)

    record = msgspec.json.decode(written.record)
    assert await store.execute("HGET", KEYS, "a") == written.record
    assert before <= record.pop("created_ms") <= await clock.now_ms(store)
    assert record == msgspec.json.decode(record_of("one", expires_ms="9"))
    assert written.dead_digest == ""


async def test_one_key_more_than_there_may_be_needs_a_dead_one_the_oldest(store: Store) -> None:
    now_ms = await clock.now_ms(store)
    await put(store, "live")
    await put(store, "expires later", expires_ms=str(now_ms + 60_000))
    await put(store, "expired", expires_ms=str(now_ms))
    await store.execute("HSET", USES, "expired", 1, "live", 2)

    assert await create(store, "new") == "digest of expired"

    assert await listed(store) == {"live", "expires later", "new"}
    assert await store.execute("HKEYS", USES) == [b"live"]
    before = await all_of(store)
    with pytest.raises(KeysAreFull):
        await create(store, "one more")
    assert await all_of(store) == before


async def test_while_there_is_room_no_dead_key_is_forgotten(store: Store) -> None:
    await put(store, "dead", revoked_ms=1)

    assert [await create(store, key_id) for key_id in ("a", "b")] == ["", ""]
    assert await listed(store) == {"dead", "a", "b"}


async def test_a_key_that_is_made_again_takes_nobodys_place(store: Store) -> None:
    for key_id in ("a", "b", "dead"):
        await put(store, key_id, **({"revoked_ms": 1} if key_id == "dead" else {}))

    assert await create(store, "a", "another") == "digest of a"
    assert await create(store, "a", "another") == ""
    assert await listed(store) == {"a", "b", "dead"}


async def test_of_many_that_are_made_at_once_only_as_many_as_there_may_be_are(store: Store) -> None:
    made = await asyncio.gather(
        *[create(store, f"key {place}") for place in range(20)], return_exceptions=True
    )

    assert made[:FEW] == [""] * FEW
    assert all(isinstance(one, KeysAreFull) for one in made[FEW:])
    assert len(await listed(store)) == FEW


async def test_a_key_that_is_rotated_by_many_at_once_has_one_secret_and_names_each_before_once(
    store: Store,
) -> None:
    await put(store, "a")
    digests = [f"digest {place}" for place in range(20)]

    rotated = await asyncio.gather(
        *[rotate_key(store, ORGANIZATION, "a", digest, "prefix", COMMAND_LINE) for digest in digests]
    )

    last = msgspec.json.decode(await store.execute("HGET", KEYS, "a"))["digest"]
    dead = [written.dead_digest for written in rotated if written is not None]
    assert sorted([*dead, last]) == sorted(["digest of a", *digests])


async def test_who_is_dead_stays_dead(store: Store) -> None:
    now_ms = await clock.now_ms(store)
    await put(store, "revoked", revoked_ms=now_ms + 60_000)
    await put(store, "expired", expires_ms=str(now_ms))
    before = await all_of(store)

    for key_id in ("revoked", "expired"):
        with pytest.raises(KeyIsDead):
            await rotate_key(store, ORGANIZATION, key_id, "new", "prefix", COMMAND_LINE)
    await revoke_key(store, ORGANIZATION, "revoked", COMMAND_LINE)

    assert await all_of(store) == before


async def test_what_is_not_there_is_neither_rotated_nor_revoked(store: Store) -> None:
    before = await all_of(store)

    assert await rotate_key(store, ORGANIZATION, "none", "new", "prefix", COMMAND_LINE) is None
    assert await revoke_key(store, ORGANIZATION, "none", COMMAND_LINE) is None

    assert await all_of(store) == before


async def test_processes_hear_of_every_key_that_is_rotated_or_revoked_and_of_no_other(
    store: Store, channel: PubSub
) -> None:
    for key_id in ("a", "b", "c"):
        await put(store, key_id)

    await create(store, "a", "another")
    await rotate_key(store, ORGANIZATION, "b", "new", "prefix", COMMAND_LINE)
    await revoke_key(store, ORGANIZATION, "c", COMMAND_LINE)
    with pytest.raises(KeyIsDead):
        await rotate_key(store, ORGANIZATION, "c", "new", "prefix", COMMAND_LINE)
    await rotate_key(store, ORGANIZATION, "none", "new", "prefix", COMMAND_LINE)
    await revoke_key(store, ORGANIZATION, "none", COMMAND_LINE)
    await note_key_uses(store, ORGANIZATION, [("a", 1)])

    assert await heard(store, channel) == ["b", "c"]


async def test_processes_hear_of_a_key_again_that_is_revoked_again(store: Store, channel: PubSub) -> None:
    # Who revokes it again may do so because the word of it was lost.
    await put(store, "a")
    for _ in range(2):
        await revoke_key(store, ORGANIZATION, "a", COMMAND_LINE)

    assert await heard(store, channel) == ["a", "a"]


async def test_an_attempt_that_has_its_request_no_longer_in_hand_changes_nothing(
    store: Store, channel: PubSub
) -> None:
    await put(store, "a")
    before = await all_of(store)

    with pytest.raises(TakenOver):
        await create_key(store, ORGANIZATION, "b", record_of("new"), FEW, LATE)
    for key_id in ("a", "none"):
        with pytest.raises(TakenOver):
            await rotate_key(store, ORGANIZATION, key_id, "new", "prefix", LATE)

    assert await all_of(store) == before
    assert await heard(store, channel) == []


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4_102_444_800_000)), min_size=1),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=50, deadline=None)
def test_the_time_of_a_use_never_goes_back_and_only_listed_keys_have_one(
    valkey: str, calls: list[list[tuple[str, int]]]
) -> None:
    async def body() -> None:
        store = Store(valkey, timeout_seconds=5)
        try:
            await store.execute("FLUSHALL")
            await put(store, "a")
            await put(store, "b", revoked_ms=1)
            latest: dict[str, int] = {}
            for uses in calls:
                await note_key_uses(store, ORGANIZATION, uses)
                for key_id, at_ms in uses:
                    if key_id != "c":
                        latest[key_id] = max(at_ms, latest.get(key_id, 0))
                kept = await store.execute("HGETALL", USES)
                assert {key_id.decode(): int(at_ms) for key_id, at_ms in kept.items()} == latest
        finally:
            await store.close()

    asyncio.run(body())
