import pytest

from shared.api_keys import (
    ApiKey,
    Scope,
    Wanted,
    create_api_key,
    find_api_key,
    list_api_keys,
    revoke_api_key,
    rotate_api_key,
)
from shared.atomic.key_operations import Actor, Attempt, TakenOver
from shared.atomic.request_operations import Begun, begin_request
from shared.atomic.requests import RequestKey
from shared.ids import new_id
from shared.key_secrets import new_secret
from shared.store import Store

REQUEST = RequestKey("digest", "fingerprint")
WANTED = Wanted((Scope.NUMBERS_READ,), "a", expires_ms=253_402_300_799_999)


async def begun(store: Store, allowed_ms: int, key_id: str) -> Begun:
    found = await begin_request(store, "acme", REQUEST, key_id, allowed_ms)
    while not isinstance(found, Begun):
        found = await begin_request(store, "acme", REQUEST, key_id, allowed_ms)
    return found


def actor(attempt: Begun) -> Actor:
    return Actor("key", "request", Attempt(REQUEST, attempt.deadline))


async def create(store: Store, attempt: Begun, secret: str) -> ApiKey:
    return await create_api_key(store, "acme", WANTED, secret, None, attempt.id, actor(attempt))


async def is_found(store: Store, secret: str) -> bool:
    return await find_api_key(store, secret) is not None


async def test_a_creation_that_another_attempt_has_taken_over_changes_nothing(store: Store) -> None:
    stalled = await begun(store, 1, new_id())
    resumed = await begun(store, 60_000, new_id())
    assert (resumed.id, resumed.is_resumed) == (stalled.id, True)
    late, told = new_secret(), new_secret()
    key = await create(store, resumed, told)

    with pytest.raises(TakenOver):
        await create(store, stalled, late)

    assert await list_api_keys(store, "acme") == [key]
    assert (await is_found(store, told), await is_found(store, late)) == (True, False)
    assert len(await store.execute("KEYS", "key:*")) == 1


async def test_a_rotation_that_another_attempt_has_taken_over_changes_nothing(store: Store) -> None:
    key = await create_api_key(store, "acme", WANTED, new_secret())
    stalled = await begun(store, 1, key.id)
    resumed = await begun(store, 60_000, key.id)
    late, told = new_secret(), new_secret()
    await rotate_api_key(store, "acme", key.id, told, None, actor(resumed))

    with pytest.raises(TakenOver):
        await rotate_api_key(store, "acme", key.id, late, None, actor(stalled))

    assert (await is_found(store, told), await is_found(store, late)) == (True, False)
    assert len(await store.execute("KEYS", "key:*")) == 1


async def test_a_creation_that_is_taken_up_keeps_the_keys_place_and_kills_the_secret_before(
    store: Store,
) -> None:
    first, second = new_secret(), new_secret()
    before = await create(store, await begun(store, 1, new_id()), first)
    newer = await create_api_key(store, "acme", WANTED, new_secret())

    key = await create(store, await begun(store, 60_000, new_id()), second)

    assert (key.id, key.created_ms) == (before.id, before.created_ms)
    assert [one.id for one in await list_api_keys(store, "acme")] == [newer.id, before.id]
    assert (await is_found(store, first), await is_found(store, second)) == (False, True)


async def test_a_key_that_was_revoked_while_its_creation_lay_dead_stays_revoked(store: Store) -> None:
    before = await create(store, await begun(store, 1, new_id()), new_secret())
    revoked = await revoke_api_key(store, "acme", before.id)
    assert revoked is not None

    key = await create(store, await begun(store, 60_000, new_id()), new_secret())

    assert key.revoked_ms == revoked.revoked_ms


async def test_an_expiry_in_the_year_9999_comes_back_from_every_change(store: Store) -> None:
    key = await create_api_key(store, "acme", WANTED, new_secret())
    rotated = await rotate_api_key(store, "acme", key.id, new_secret())
    revoked = await revoke_api_key(store, "acme", key.id)

    for one in (key, rotated, revoked, *await list_api_keys(store, "acme")):
        assert one is not None
        assert one.expires_ms == WANTED.expires_ms
