import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from shared import store_keys
from shared.api_keys import (
    ApiKey,
    Scope,
    UnknownApiKey,
    create_api_key,
    digest_of,
    find_api_key,
    is_well_formed,
    list_api_keys,
    new_secret,
    revoke_api_key,
)
from shared.store import Store

ALL_SCOPES = tuple(Scope)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

secrets = st.builds(new_secret)
places = st.integers(0, len(new_secret()) - 1)


async def create(store: Store, secret: str, label: str | None = None) -> ApiKey:
    return await create_api_key(store, "acme", (Scope.NUMBERS_READ,), label, secret)


def key(**fields: datetime | None) -> ApiKey:
    record = ApiKey(id="1", org_id="acme", label=None, prefix="am_live_0000", scopes=(), created_at=NOW)
    return ApiKey(**{name: getattr(record, name) for name in record.__struct_fields__} | fields)


def test_a_secret_has_the_prefix_and_38_letters_and_digits_and_none_comes_twice() -> None:
    made = [new_secret() for _ in range(200)]
    assert all(re.fullmatch(r"am_live_[0-9A-Za-z]{38}", secret) for secret in made)
    assert len(set(made)) == 200


@given(secrets)
def test_every_secret_that_is_made_is_well_formed(secret: str) -> None:
    assert is_well_formed(secret)


@given(secrets, places, st.characters())
def test_any_wrong_character_is_noticed(secret: str, place: int, wrong: str) -> None:
    mistyped = secret[:place] + wrong + secret[place + 1 :]
    assert is_well_formed(mistyped) == (mistyped == secret)


@given(secrets, places, st.sampled_from("0123456789ABCXYZabcxyz"))
def test_any_wrong_letter_or_digit_is_noticed(secret: str, place: int, wrong: str) -> None:
    mistyped = secret[:place] + wrong + secret[place + 1 :]
    assert is_well_formed(mistyped) == (mistyped == secret)


def test_all_neighbours_that_are_swapped_are_noticed() -> None:
    for _ in range(50):
        secret = new_secret()
        for place in range(len(secret) - 1):
            swapped = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
            assert is_well_formed(swapped) == (swapped == secret)


@given(secrets, places, st.characters())
def test_a_character_too_many_or_too_few_is_noticed(secret: str, place: int, extra: str) -> None:
    assert not is_well_formed(secret[:place] + secret[place + 1 :])
    assert not is_well_formed(secret[:place] + extra + secret[place:])


@pytest.mark.parametrize("text", ["", "am_live_", "am_live_" + "0" * 38, "AM_LIVE_" + "0" * 38, "Bearer x"])
def test_an_invented_secret_is_refused(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize("around", ["{}\n", " {}", "{} ", "{}\0"])
def test_white_space_around_a_secret_is_not_part_of_it(around: str) -> None:
    assert not is_well_formed(around.format(new_secret()))


def test_a_digest_leads_with_its_scheme_and_differs_for_every_secret() -> None:
    secret = new_secret()
    assert re.fullmatch(r"sha256-[0-9a-f]{64}", digest_of(secret))
    assert digest_of(secret) == digest_of(secret) != digest_of(new_secret())


async def test_a_new_key_is_found_by_the_digest_of_its_secret(store: Store) -> None:
    secret = new_secret()
    before, _ = await store.execute("TIME")
    created = await create_api_key(store, "acme", ALL_SCOPES, "the label", secret)
    after, _ = await store.execute("TIME")
    found = await find_api_key(store, digest_of(secret))
    assert found == created
    assert found == ApiKey(
        id=created.id,
        org_id="acme",
        label="the label",
        prefix=secret[:12],
        scopes=ALL_SCOPES,
        created_at=created.created_at,
    )
    assert int(before) <= created.created_at.timestamp() <= int(after) + 1
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", created.id)


@pytest.mark.parametrize("label", [None, "", "Zürich ☎", "two\nlines", "null"])
@pytest.mark.parametrize("scopes", [(), (Scope.NUMBERS_WRITE,), ALL_SCOPES])
async def test_label_and_scopes_come_back_as_they_were(
    store: Store, label: str | None, scopes: tuple[Scope, ...]
) -> None:
    secret = new_secret()
    created = await create_api_key(store, "acme", scopes, label, secret)
    assert (created.label, created.scopes) == (label, scopes)
    assert await find_api_key(store, digest_of(secret)) == created


async def test_an_unknown_digest_finds_nothing(store: Store) -> None:
    await create(store, new_secret())
    assert await find_api_key(store, digest_of(new_secret())) is None


async def test_the_store_holds_the_digest_of_a_secret_and_nothing_else_of_it(store: Store) -> None:
    secret = new_secret()
    await create(store, secret)
    names = await store.execute("KEYS", "*")
    assert len(names) == 3
    held = [*names, *await store.execute("SMEMBERS", store_keys.ORGANIZATIONS)]
    for name in set(names) - {store_keys.ORGANIZATIONS.encode()}:
        for field, value in (await store.execute("HGETALL", name)).items():
            held += [field, value]
    everything = b"\n".join(held)
    assert digest_of(secret).encode() in everything
    # The visible prefix is kept; no further character of the secret is.
    assert secret[:12].encode() in everything
    assert secret[:13].encode() not in everything
    assert secret[12:].encode() not in everything
    assert secret[-6:].encode() not in everything


async def test_all_keys_are_listed_oldest_first(store: Store) -> None:
    created = [await create(store, new_secret(), f"key {place}") for place in range(20)]
    assert [key.label for key in await list_api_keys(store)] == [f"key {place}" for place in range(20)]
    assert await list_api_keys(store) == created


async def test_there_are_no_keys_at_first(store: Store) -> None:
    assert await list_api_keys(store) == []


async def test_a_revoked_key_is_live_no_more_and_is_still_listed(store: Store) -> None:
    secret, other = new_secret(), new_secret()
    created, untouched = await create(store, secret), await create(store, other)
    revoked = await revoke_api_key(store, created.id)
    found = await find_api_key(store, digest_of(secret))
    assert found == revoked
    assert revoked.revoked_at is not None
    assert not revoked.is_live(created.created_at)
    assert revoked.revoked_at >= created.created_at
    assert await find_api_key(store, digest_of(other)) == untouched
    assert await list_api_keys(store) == [revoked, untouched]


async def test_a_key_that_is_revoked_again_keeps_the_first_time(store: Store) -> None:
    created = await create(store, new_secret())
    first = await revoke_api_key(store, created.id)
    assert await revoke_api_key(store, created.id) == first


@pytest.mark.parametrize("key_id", ["", "unknown", "00000000-0000-7000-8000-000000000000"])
async def test_a_key_that_is_not_known_cannot_be_revoked(store: Store, key_id: str) -> None:
    await create(store, new_secret())
    before = await list_api_keys(store)
    with pytest.raises(UnknownApiKey):
        await revoke_api_key(store, key_id)
    assert await list_api_keys(store) == before


async def test_a_key_revoked_while_it_was_being_made_stays_revoked(store: Store) -> None:
    # Listed, but its record is not there yet.
    secret = new_secret()
    await store.execute("HSET", store_keys.API_KEYS, "an-id", digest_of(secret))
    with pytest.raises(UnknownApiKey):
        await revoke_api_key(store, "an-id")
    assert await find_api_key(store, digest_of(secret)) is None
    assert await list_api_keys(store) == []
    created = await create(store, secret)
    found = await find_api_key(store, digest_of(secret))
    assert found is not None
    assert not found.is_live(created.created_at)


@pytest.mark.parametrize(
    ("fields", "live"),
    [
        ({}, True),
        ({"expires_at": NOW + timedelta(microseconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"expires_at": NOW - timedelta(days=1)}, False),
        ({"revoked_at": NOW - timedelta(days=1)}, False),
        ({"revoked_at": NOW + timedelta(days=1)}, False),
        ({"revoked_at": NOW, "expires_at": NOW + timedelta(days=1)}, False),
    ],
)
def test_a_key_is_live_until_it_expires_or_is_revoked(fields: dict[str, datetime], live: bool) -> None:
    assert key(**fields).is_live(NOW) is live
