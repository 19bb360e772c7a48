import inspect
import re
from typing import TypeVar

import pytest
from hypothesis import given, strategies as st

from shared import store_keys

T = TypeVar("T")

CONSTANTS = [name for name, value in vars(store_keys).items() if name.isupper() and isinstance(value, str)]
FUNCTIONS = [
    function
    for _, function in inspect.getmembers(store_keys, inspect.isfunction)
    if function.__module__ == store_keys.__name__
]
AREA_KEYS = (
    store_keys.available,
    store_keys.also_offered,
    store_keys.fence,
    store_keys.unavailable,
    store_keys.timers,
    store_keys.returned,
    store_keys.events,
)
ORGANIZATION_KEYS = (
    store_keys.orders,
    store_keys.waiting,
    store_keys.numbers,
    store_keys.owned,
    store_keys.released,
    store_keys.departures,
    store_keys.due,
    store_keys.sequence,
    store_keys.api_keys,
    store_keys.api_key_uses,
    store_keys.api_key_events,
    store_keys.rate_limits,
)
KEYS_WITHIN_AN_ORGANIZATION = (
    store_keys.order,
    store_keys.resource,
    store_keys.idempotency,
    store_keys.permits,
)
"""Those that take an id as well."""
CARRIER_KEYS = (
    store_keys.feed,
    store_keys.feed_queue,
    store_keys.feed_waiting,
    store_keys.feed_contents,
    store_keys.feed_confirmed,
)
KEYS_OF_AN_ID = (store_keys.sync, store_keys.sync_rejects, store_keys.api_key_digest)

area_codes = st.from_regex(r"[2-9][0-9]{2}", fullmatch=True)
carriers = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)
organizations = carriers
ids = st.from_regex(r"[0-9a-f-]{1,36}", fullmatch=True)


def several(values: st.SearchStrategy[T]) -> st.SearchStrategy[set[T]]:
    return st.sets(values, min_size=1, max_size=2)


def hash_tag(key: str) -> str:
    """Give the part of a key that decides its slot, as the cluster specification has it."""
    tag = re.match(r"[^{]*\{([^}]+)\}", key)
    return tag[1] if tag else key


def test_every_function_that_makes_a_key_is_looked_at_here() -> None:
    known: set[object] = {
        *AREA_KEYS,
        *ORGANIZATION_KEYS,
        *KEYS_WITHIN_AN_ORGANIZATION,
        *CARRIER_KEYS,
        *KEYS_OF_AN_ID,
    }
    assert known | {store_keys.feed_snapshot, store_keys.feed_removals} == {*FUNCTIONS}


@given(area_codes)
def test_the_keys_of_one_area_code_share_a_hash_tag(area_code: str) -> None:
    assert {hash_tag(key(area_code)) for key in AREA_KEYS} == {area_code}


@given(organizations, ids)
def test_the_keys_of_one_organization_share_a_hash_tag(organization: str, some_id: str) -> None:
    keys = [key(organization) for key in ORGANIZATION_KEYS]
    keys += [key(organization, some_id) for key in KEYS_WITHIN_AN_ORGANIZATION]
    assert {hash_tag(key) for key in keys} == {f"org:{organization}"}


@given(carriers, st.integers(1, 2**40), ids)
def test_the_keys_of_one_carriers_feed_share_a_hash_tag(carrier: str, generation: int, sync_id: str) -> None:
    keys = [key(carrier) for key in CARRIER_KEYS]
    keys += [store_keys.feed_snapshot(carrier, generation), store_keys.feed_removals(carrier, sync_id)]
    assert {hash_tag(key) for key in keys} == {f"feed:{carrier}"}


def test_the_events_for_others_and_what_is_noted_of_them_share_a_slot() -> None:
    assert hash_tag(store_keys.NUMBER_EVENTS) == hash_tag(store_keys.EVENTS_RELAYED) == "events:numbers"


@given(several(area_codes), several(carriers), several(ids), several(st.integers(1, 9)))
def test_no_two_things_have_the_same_key(
    areas: set[str], names: set[str], some_ids: set[str], generations: set[int]
) -> None:
    keys = [key(area) for key in AREA_KEYS for area in areas]
    for name in names:
        keys += [key(name) for key in (*ORGANIZATION_KEYS, *CARRIER_KEYS)]
        keys += [key(name, some_id) for key in KEYS_WITHIN_AN_ORGANIZATION for some_id in some_ids]
        keys += [store_keys.feed_snapshot(name, generation) for generation in generations]
        keys += [store_keys.feed_removals(name, some_id) for some_id in some_ids]
    keys += [key(some_id) for key in KEYS_OF_AN_ID for some_id in some_ids]
    keys += [getattr(store_keys, constant) for constant in CONSTANTS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (store_keys.available("415"), "{415}:available"),
        (store_keys.also_offered("415"), "{415}:also"),
        (store_keys.fence("415"), "{415}:fence"),
        (store_keys.unavailable("415"), "{415}:unavailable"),
        (store_keys.timers("415"), "{415}:timers"),
        (store_keys.returned("415"), "{415}:returned"),
        (store_keys.events("415"), "{415}:events"),
        (store_keys.order("acme", "1"), "{org:acme}:order:1"),
        (store_keys.orders("acme"), "{org:acme}:orders"),
        (store_keys.waiting("acme"), "{org:acme}:waiting"),
        (store_keys.numbers("acme"), "{org:acme}:numbers"),
        (store_keys.owned("acme"), "{org:acme}:owned"),
        (store_keys.resource("acme", "1"), "{org:acme}:number:1"),
        (store_keys.released("acme"), "{org:acme}:released"),
        (store_keys.departures("acme"), "{org:acme}:departures"),
        (store_keys.due("acme"), "{org:acme}:due"),
        (store_keys.sequence("acme"), "{org:acme}:sequence"),
        (store_keys.idempotency("acme", "0"), "{org:acme}:idempotency:0"),
        (store_keys.api_key_digest("sha256-0"), "key:sha256-0"),
        (store_keys.api_keys("acme"), "{org:acme}:keys"),
        (store_keys.api_key_uses("acme"), "{org:acme}:keys:used"),
        (store_keys.api_key_events("acme"), "{org:acme}:keys:events"),
        (store_keys.rate_limits("acme"), "{org:acme}:limits"),
        (store_keys.permits("acme", "search"), "{org:acme}:permits:search"),
        (store_keys.feed("acme"), "{feed:acme}"),
        (store_keys.feed_queue("acme"), "{feed:acme}:queue"),
        (store_keys.feed_snapshot("acme", 7), "{feed:acme}:snapshot:7"),
        (store_keys.feed_waiting("acme"), "{feed:acme}:waiting"),
        (store_keys.feed_removals("acme", "1"), "{feed:acme}:removals:1"),
        (store_keys.feed_contents("acme"), "{feed:acme}:contents"),
        (store_keys.feed_confirmed("acme"), "{feed:acme}:confirmed"),
        (store_keys.sync("1"), "sync:1"),
        (store_keys.sync_rejects("1"), "sync:1:rejects"),
        (store_keys.AREAS, "areas"),
        (store_keys.ORGANIZATIONS, "orgs"),
        (store_keys.API_KEYS_CHANGED, "keys:changed"),
        (store_keys.FEEDS, "feeds"),
        (store_keys.SYNCS, "syncs"),
        (store_keys.SPOOL_DIR, "spool-dir"),
        (store_keys.NUMBER_EVENTS, "events:numbers"),
        (store_keys.EVENTS_RELAYED, "{events:numbers}:relayed"),
        (store_keys.ORDER_EVENTS, "events:orders"),
        (store_keys.REJECTED_ORDER_EVENTS, "events:orders:rejected"),
    ],
)
def test_a_key_keeps_its_name_for_stores_outlive_releases(key: str, name: str) -> None:
    assert key == name


def test_every_key_says_its_type_and_its_lifetime_or_why_it_has_none() -> None:
    texts = {function.__name__: function.__doc__ or "" for function in FUNCTIONS}
    source = inspect.getsource(store_keys)
    for name in CONSTANTS:
        described = re.search(rf'^{name} = .*\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL)
        assert described, name
        texts[name] = described[1]
    for name, text in texts.items():
        assert re.match(r"(Sorted set|Set|Hash|List|Stream|String)\b", text), name
        assert re.search(r"No lifetime(: .+|, as .+|\.)|Lives `", text, re.DOTALL), name


def test_lifetimes_are_what_clients_are_promised() -> None:
    days = [
        seconds / 86_400
        for seconds in (
            store_keys.IDEMPOTENCY_SECONDS,
            store_keys.RELEASED_SECONDS,
            store_keys.ORDER_SECONDS,
            store_keys.SYNC_LIFETIME_SECONDS,
        )
    ]
    assert days == [1, 30, 90, 30]
