"""The records of API keys: what becomes of them, and which secrets lead to them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from shared import clock, store_keys
from shared.api_keys import (
    MOST_KEYS,
    ApiKey,
    Scope,
    Wanted,
    create_api_key,
    find_api_key,
    find_organization,
    in_order,
    list_api_keys,
    list_organizations,
    read_api_key,
    revoke_api_key,
    rotate_api_key,
)
from shared.atomic.key_operations import (
    Actor,
    Attempt,
    KeyIsDead,
    KeysAreFull,
    TakenOver,
    note_key_uses,
)
from shared.atomic.request_operations import Begun, begin_request
from shared.atomic.requests import RequestKey
from shared.ids import new_id
from shared.key_events import KeyEvent, read_key_events
from shared.key_secrets import digests_of, new_secret
from shared.rate_limits import Overrides, clear_overrides, list_overrides, read_overrides, set_overrides
from shared.store import Store

ALL_SCOPES = tuple(Scope)
SCOPES = (Scope.NUMBERS_READ,)
ORGANIZATION = "acme"
PEPPER, OTHER_PEPPER = "a pepper of a deployment", "a pepper of another one"
NOW_MS = 1_767_225_600_000
YEAR_9999_MS = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999
NOBODY = "00000000-0000-7000-8000-000000000000"


async def create(store: Store, secret: str, **wanted: Any) -> ApiKey:
    return await create_api_key(store, ORGANIZATION, Wanted(**{"scopes": SCOPES} | wanted), secret)


async def find(store: Store, secret: str, pepper: str | None = None) -> ApiKey | None:
    found = await find_api_key(store, secret, pepper)
    return None if found is None else found.key


async def let_expire(store: Store, key: ApiKey) -> None:
    """Have a key be one that expired a moment ago."""
    name = store_keys.api_keys(key.org_id)
    record = (await store.execute("HGET", name, key.id)).decode()
    past = re.sub(r"\{", f'{{"expires_ms":"{key.created_ms}",', record, count=1)
    await store.execute("HSET", name, key.id, past)


async def digests_in(store: Store) -> set[str]:
    return {name.decode() for name in await store.execute("KEYS", store_keys.api_key_digest("*"))}


def names_of(secret: str, pepper: str | None = None) -> set[str]:
    """Give the key of the store that a new key with this secret has."""
    return {store_keys.api_key_digest(digests_of(secret, pepper)[0])}


async def events_of(store: Store, key: ApiKey) -> list[tuple[str, str, str | None]]:
    events = await read_key_events(store, key.org_id, key.id)
    return [(event.event, event.by, event.request_id) for event in events]


# Creating and finding


async def test_a_new_key_is_found_by_its_secret_and_was_made_at_the_stores_time(store: Store) -> None:
    secret = new_secret()
    before = await clock.now_ms(store)
    created = await create(store, secret, scopes=ALL_SCOPES, label="the label")
    after = await clock.now_ms(store)

    found = await find_api_key(store, secret)

    assert found is not None
    assert found.key == created
    assert found.key == ApiKey(
        id=created.id,
        org_id=ORGANIZATION,
        label="the label",
        prefix=secret[:12],
        scopes=ALL_SCOPES,
        created_ms=created.created_ms,
    )
    assert before <= created.created_ms <= after <= found.at_ms
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", created.id)
    assert await read_api_key(store, ORGANIZATION, created.id) == created


@pytest.mark.parametrize("label", [None, "", "Zürich ☎ 𝄞", "two\nlines", "null", 'a/b\\c"d\0'])
@pytest.mark.parametrize("scopes", [(Scope.NUMBERS_WRITE,), ALL_SCOPES])
async def test_label_and_scopes_come_back_as_they_were_whatever_becomes_of_the_key(
    store: Store, label: str | None, scopes: tuple[Scope, ...]
) -> None:
    secret = new_secret()
    created = await create(store, new_secret(), label=label, scopes=scopes)
    rotated = await rotate_api_key(store, ORGANIZATION, created.id, secret)
    revoked = await revoke_api_key(store, ORGANIZATION, created.id)

    for key in (created, rotated, revoked, await find(store, secret)):
        assert key is not None
        assert (key.label, key.scopes) == (label, scopes)


@pytest.mark.parametrize("expires_ms", [NOW_MS, 4_102_444_800_000, YEAR_9999_MS])
async def test_when_a_key_expires_is_kept_to_the_millisecond_whatever_becomes_of_it(
    store: Store, expires_ms: int
) -> None:
    created = await create(store, new_secret(), expires_ms=expires_ms)
    revoked = await revoke_api_key(store, ORGANIZATION, created.id)

    assert created.expires_ms == expires_ms
    assert revoked is not None
    assert revoked.expires_ms == expires_ms
    [listed] = await list_api_keys(store, ORGANIZATION)
    assert listed.expires_ms == expires_ms


async def test_neither_secret_nor_pepper_is_anywhere_in_the_store(store: Store) -> None:
    secret, next_secret = new_secret(), new_secret()
    created = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), secret, PEPPER)
    await rotate_api_key(store, ORGANIZATION, created.id, next_secret, PEPPER)

    kept = []
    for name in await store.execute("KEYS", "*"):
        kept += [name, await store.execute("DUMP", name)]

    for hidden in (secret[12:], next_secret[12:], PEPPER):
        assert not any(hidden.encode() in content for content in kept)


async def test_a_secret_that_nobody_has_leads_to_no_key(store: Store) -> None:
    await create(store, new_secret())

    assert await find_api_key(store, new_secret()) is None
    assert await find_api_key(store, new_secret(), PEPPER) is None


async def test_a_secret_that_was_digested_with_a_pepper_needs_it(store: Store) -> None:
    secret = new_secret()
    created = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), secret, PEPPER)

    assert await digests_in(store) == names_of(secret, PEPPER)
    assert await find(store, secret, PEPPER) == created
    assert await find(store, secret) is None
    assert await find(store, secret, OTHER_PEPPER) is None


async def test_keys_that_were_made_before_there_was_a_pepper_go_on(store: Store) -> None:
    secret = new_secret()
    created = await create(store, secret)

    assert await find(store, secret, PEPPER) == created


async def test_to_rotate_with_a_pepper_gives_a_key_from_before_a_digest_that_needs_it(store: Store) -> None:
    before, after = new_secret(), new_secret()
    created = await create(store, before)

    rotated = await rotate_api_key(store, ORGANIZATION, created.id, after, PEPPER)

    assert await digests_in(store) == names_of(after, PEPPER)
    assert await find(store, after, PEPPER) == rotated
    assert await find(store, before, PEPPER) is None
    assert await find(store, after) is None


async def test_a_found_key_comes_with_the_limits_that_are_set_for_its_organization(store: Store) -> None:
    secret = new_secret()
    await create(store, secret)
    await set_overrides(store, "another", Overrides(search_rate=1.0))
    own = Overrides(search_rate=0.5, write_burst=7)
    await set_overrides(store, ORGANIZATION, own)

    found = await find_api_key(store, secret)

    assert found is not None
    assert found.overrides == own


async def test_a_digest_of_which_no_record_knows_leads_nowhere(store: Store) -> None:
    # As after a crash between its writing and the record's.
    secret = new_secret()
    [name] = names_of(secret)
    await store.execute("SET", name, f"{ORGANIZATION} {new_id()}")
    assert await find_api_key(store, secret) is None

    key = await create(store, new_secret())
    await store.execute("SET", name, f"{ORGANIZATION} {key.id}")
    assert await find_api_key(store, secret) is None


# Rotating


async def test_a_rotated_key_is_the_same_with_another_secret_and_the_one_before_is_nobodys(
    store: Store,
) -> None:
    before, after = new_secret(), new_secret()
    created = await create(store, before, label="the label", expires_ms=YEAR_9999_MS)

    rotated = await rotate_api_key(store, ORGANIZATION, created.id, after)

    assert rotated == replace(created, prefix=after[:12])
    assert await find(store, after) == rotated
    assert await find(store, before) is None
    assert await digests_in(store) == names_of(after)


async def test_the_digest_of_a_secret_before_leads_nowhere_even_while_it_is_still_there(store: Store) -> None:
    # As after a crash between the change of the record and the removal of the digest.
    before, after = new_secret(), new_secret()
    created = await create(store, before)
    await rotate_api_key(store, ORGANIZATION, created.id, after)
    [name] = names_of(before)
    await store.execute("SET", name, f"{ORGANIZATION} {created.id}")

    assert await find(store, before) is None
    assert await find(store, after) is not None


async def test_a_dead_key_gets_no_other_secret_and_nothing_is_left_of_it(store: Store) -> None:
    for end in (revoke_api_key, None):
        secret, other = new_secret(), new_secret()
        created = await create(store, secret)
        if end is None:
            await let_expire(store, created)
        else:
            await end(store, ORGANIZATION, created.id)
        before = await read_api_key(store, ORGANIZATION, created.id)

        with pytest.raises(KeyIsDead):
            await rotate_api_key(store, ORGANIZATION, created.id, other)

        assert await read_api_key(store, ORGANIZATION, created.id) == before
        assert await find(store, other) is None
        assert not names_of(other) & await digests_in(store)
        assert ("rotated", "command line", None) not in await events_of(store, created)


@pytest.mark.parametrize("key_id", ["", "unknown", NOBODY])
async def test_a_key_that_is_not_known_is_neither_read_nor_rotated_nor_revoked(
    store: Store, key_id: str
) -> None:
    key = await create(store, new_secret())
    digests, secret = await digests_in(store), new_secret()

    assert await read_api_key(store, ORGANIZATION, key_id) is None
    assert await rotate_api_key(store, ORGANIZATION, key_id, secret) is None
    assert await revoke_api_key(store, ORGANIZATION, key_id) is None
    assert await find_organization(store, key_id) is None
    # Of another organization it is as if it were not there.
    assert await read_api_key(store, "another", key.id) is None
    assert await rotate_api_key(store, "another", key.id, secret) is None
    assert await revoke_api_key(store, "another", key.id) is None

    assert await list_api_keys(store, ORGANIZATION) == [key]
    assert await digests_in(store) == digests
    assert await list_api_keys(store, "another") == []


# Revoking and expiring


async def test_a_revoked_key_is_live_no_more_and_is_still_listed(store: Store) -> None:
    secret, other = new_secret(), new_secret()
    created, untouched = await create(store, secret), await create(store, other)

    revoked = await revoke_api_key(store, ORGANIZATION, created.id)

    assert revoked is not None
    assert revoked.revoked_ms is not None
    assert created.created_ms <= revoked.revoked_ms <= await clock.now_ms(store)
    assert revoked == replace(created, revoked_ms=revoked.revoked_ms)
    assert await find(store, secret) == revoked
    assert not revoked.is_live(created.created_ms)
    assert await find(store, other) == untouched
    assert {key.id: key for key in await list_api_keys(store, ORGANIZATION)} == {
        revoked.id: revoked,
        untouched.id: untouched,
    }


async def test_a_key_that_is_revoked_again_keeps_the_first_time_and_one_event(store: Store) -> None:
    created = await create(store, new_secret())
    first = await revoke_api_key(store, ORGANIZATION, created.id, Actor("one"))

    assert await revoke_api_key(store, ORGANIZATION, created.id, Actor("another")) == first
    assert await events_of(store, created) == [("created", "command line", None), ("revoked", "one", None)]


async def test_an_expired_key_is_found_dead_and_can_still_be_revoked(store: Store) -> None:
    secret = new_secret()
    created = await create(store, secret)
    await let_expire(store, created)

    found = await find_api_key(store, secret)

    assert found is not None
    assert not found.key.is_live(found.at_ms)
    revoked = await revoke_api_key(store, ORGANIZATION, created.id)
    assert revoked is not None
    assert revoked.revoked_ms is not None


@pytest.mark.parametrize(
    ("fields", "live"),
    [
        ({}, True),
        ({"expires_ms": NOW_MS + 1}, True),
        ({"expires_ms": NOW_MS}, False),
        ({"expires_ms": NOW_MS - 1}, False),
        ({"revoked_ms": NOW_MS - 1}, False),
        ({"revoked_ms": NOW_MS + 1}, False),
        ({"revoked_ms": NOW_MS, "expires_ms": NOW_MS + 1}, False),
    ],
)
def test_a_key_is_live_until_it_expires_or_is_revoked(fields: dict[str, int], live: bool) -> None:
    key = ApiKey("1", ORGANIZATION, None, "am_live_0000", (), created_ms=NOW_MS)

    assert replace(key, **fields).is_live(NOW_MS) is live


# The same id again: an attempt at a request that another one repeats


async def test_a_key_that_is_made_again_has_the_new_secret_and_its_place_of_before(store: Store) -> None:
    before, after, key_id = new_secret(), new_secret(), new_id()
    first = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), before, key_id=key_id)
    second = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), after, key_id=key_id)

    assert first.id == second.id == key_id
    assert second == replace(first, prefix=after[:12])
    assert await list_api_keys(store, ORGANIZATION) == [second]
    assert await find(store, before) is None
    assert await digests_in(store) == names_of(after)


async def test_a_key_that_is_made_again_with_the_same_secret_goes_on(store: Store) -> None:
    secret, key_id = new_secret(), new_id()
    first = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), secret, key_id=key_id)

    assert await create_api_key(store, ORGANIZATION, Wanted(SCOPES), secret, key_id=key_id) == first
    assert await find(store, secret) == first


async def test_a_key_that_was_revoked_stays_so_when_it_is_made_again(store: Store) -> None:
    secret, key_id = new_secret(), new_id()
    await create_api_key(store, ORGANIZATION, Wanted(SCOPES), new_secret(), key_id=key_id)
    revoked = await revoke_api_key(store, ORGANIZATION, key_id)

    again = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), secret, key_id=key_id)

    assert revoked is not None
    assert again.revoked_ms == revoked.revoked_ms
    assert await find(store, secret) == again


async def test_an_attempt_that_was_taken_over_changes_nothing_and_leaves_no_digest(store: Store) -> None:
    request = RequestKey("digest", "fingerprint")
    created = await create(store, new_secret())
    begun = await begin_request(store, ORGANIZATION, request, new_id(), 60_000)
    assert isinstance(begun, Begun)
    in_hand = Actor("a key", "a request", Attempt(request, begun.deadline))
    late = Actor("a key", "a request", Attempt(request, b"1"))
    kept = await store.execute("HGETALL", store_keys.api_keys(ORGANIZATION)), await digests_in(store)

    with pytest.raises(TakenOver):
        await create_api_key(store, ORGANIZATION, Wanted(SCOPES), new_secret(), actor=late)
    with pytest.raises(TakenOver):
        await rotate_api_key(store, ORGANIZATION, created.id, new_secret(), actor=late)

    assert kept == (
        await store.execute("HGETALL", store_keys.api_keys(ORGANIZATION)),
        await digests_in(store),
    )
    await create_api_key(store, ORGANIZATION, Wanted(SCOPES), new_secret(), actor=in_hand)
    assert await rotate_api_key(store, ORGANIZATION, created.id, new_secret(), actor=in_hand)


# Lists


async def test_keys_are_listed_the_newest_first_each_organizations_apart(store: Store) -> None:
    created = [await create(store, new_secret(), label=f"key {place}") for place in range(20)]
    foreign = await create_api_key(store, "another", Wanted(SCOPES), new_secret())

    # Of two that were made in one millisecond the higher id comes first: some order, and always the same.
    expected = sorted(created, key=lambda key: (key.created_ms, key.id), reverse=True)
    assert await list_api_keys(store, ORGANIZATION) == expected
    assert await list_api_keys(store, "another") == [foreign]
    assert await find_organization(store, foreign.id) == "another"
    assert await find_organization(store, created[7].id) == ORGANIZATION


async def test_there_are_no_keys_and_no_organizations_at_first(store: Store) -> None:
    assert await list_api_keys(store, ORGANIZATION) == []
    assert await list_organizations(store) == []
    assert await read_key_events(store, ORGANIZATION, NOBODY) == []


async def test_organizations_that_ever_had_a_key_are_listed_by_name(store: Store) -> None:
    for name in ("zeta", "acme", "zeta", "beta"):
        key = await create_api_key(store, name, Wanted(SCOPES), new_secret())
    await revoke_api_key(store, "beta", key.id)

    assert await list_organizations(store) == ["acme", "beta", "zeta"]


def test_scopes_come_in_the_order_of_the_document_and_each_once() -> None:
    assert in_order([*reversed(ALL_SCOPES), Scope.NUMBERS_READ]) == ALL_SCOPES
    assert in_order([]) == ()


# When keys were last used


async def test_a_use_is_shown_wherever_the_key_is(store: Store) -> None:
    secret = new_secret()
    created = await create(store, secret)
    await note_key_uses(store, ORGANIZATION, [(created.id, NOW_MS)])
    used = replace(created, last_used_ms=NOW_MS)

    assert await find(store, secret) == used
    assert await read_api_key(store, ORGANIZATION, created.id) == used
    assert await list_api_keys(store, ORGANIZATION) == [used]
    rotated = await rotate_api_key(store, ORGANIZATION, created.id, secret)
    assert rotated == used
    revoked = await revoke_api_key(store, ORGANIZATION, created.id)
    assert revoked is not None
    assert revoked.last_used_ms == NOW_MS


# So many and no more


async def fill(store: Store, count: int) -> list[ApiKey]:
    return [await create(store, new_secret(), label=f"key {place}") for place in range(count)]


async def test_an_organization_with_as_many_live_keys_as_it_may_have_gets_no_other(store: Store) -> None:
    await fill(store, MOST_KEYS)
    digests, secret = await digests_in(store), new_secret()
    kept = await store.execute("HGETALL", store_keys.api_keys(ORGANIZATION))

    with pytest.raises(KeysAreFull):
        await create(store, secret)

    assert await store.execute("HGETALL", store_keys.api_keys(ORGANIZATION)) == kept
    assert await digests_in(store) == digests
    assert await find(store, secret) is None
    # Another organization has room of its own, and one of those that are there can be made again.
    await create_api_key(store, "another", Wanted(SCOPES), new_secret())
    some_id = next(iter(kept)).decode()
    again = await create_api_key(store, ORGANIZATION, Wanted(SCOPES), secret, key_id=some_id)
    assert again.id == some_id


async def test_of_a_full_organization_the_oldest_dead_key_is_forgotten_with_all_that_is_its(
    store: Store,
) -> None:
    secret = new_secret()
    oldest = await create(store, secret)
    keys = await fill(store, MOST_KEYS - 1)
    await note_key_uses(store, ORGANIZATION, [(key.id, NOW_MS) for key in (oldest, *keys[:20])])
    for newer in (keys[10], keys[5]):
        await revoke_api_key(store, ORGANIZATION, newer.id)
    await let_expire(store, oldest)

    for gone in (oldest, keys[5], keys[10]):
        made = await create(store, new_secret())

        listed = await list_api_keys(store, ORGANIZATION)
        assert len(listed) == MOST_KEYS
        assert gone.id not in {key.id for key in listed}
        assert made in listed
        assert len(await digests_in(store)) == MOST_KEYS
        assert not await store.execute("HEXISTS", store_keys.api_key_uses(ORGANIZATION), gone.id)
    assert await find(store, secret) is None
    with pytest.raises(KeysAreFull):
        await create(store, new_secret())


# Events


async def test_what_becomes_of_a_key_is_told_with_who_did_it_and_by_which_request(store: Store) -> None:
    before = await clock.now(store)
    created = await create(store, new_secret())
    other = await create(store, new_secret())
    await rotate_api_key(store, ORGANIZATION, created.id, new_secret(), actor=Actor(other.id, "request 1"))
    await revoke_api_key(store, ORGANIZATION, created.id, Actor("another key", "request 2"))

    events = await read_key_events(store, ORGANIZATION, created.id)

    times = [event.time for event in events]
    assert events == [
        KeyEvent("created", times[0], "command line", None),
        KeyEvent("rotated", times[1], other.id, "request 1"),
        KeyEvent("revoked", times[2], "another key", "request 2"),
    ]
    assert times == sorted(times)
    # The times of entries are whole milliseconds.
    assert before - timedelta(milliseconds=1) <= times[0] <= times[-1] <= await clock.now(store)
    assert await events_of(store, other) == [("created", "command line", None)]
    assert await read_key_events(store, "another", created.id) == []


async def test_about_the_last_thousand_events_of_an_organization_are_kept(store: Store) -> None:
    created = await create(store, new_secret())
    for _ in range(1_300):
        await rotate_api_key(store, ORGANIZATION, created.id, new_secret())

    assert 1_000 <= len(await read_key_events(store, ORGANIZATION, created.id)) < 1_200


# Limits of an organization


async def test_what_is_set_for_an_organization_adds_up_until_it_is_cleared(store: Store) -> None:
    await set_overrides(store, ORGANIZATION, Overrides(search_rate=0.0, write_burst=3))
    await set_overrides(store, ORGANIZATION, Overrides(write_burst=4, write_rate=1 / 3))
    await set_overrides(store, ORGANIZATION, Overrides())

    own = Overrides(search_rate=0.0, write_rate=1 / 3, write_burst=4)
    assert await read_overrides(store, ORGANIZATION) == own
    assert await list_overrides(store, ["another", ORGANIZATION]) == {ORGANIZATION: own}
    await clear_overrides(store, ORGANIZATION)
    assert await read_overrides(store, ORGANIZATION) == Overrides()
    assert await list_overrides(store, ["another", ORGANIZATION]) == {}
    assert await store.execute("EXISTS", store_keys.rate_limits(ORGANIZATION)) == 0
