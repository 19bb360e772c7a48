import inspect
import re

import pytest
from hypothesis import given, strategies as st

from shared import store_keys

CONSTANTS = [name for name, value in vars(store_keys).items() if name.isupper() and isinstance(value, str)]
FUNCTIONS = [
    function
    for _, function in inspect.getmembers(store_keys, inspect.isfunction)
    if function.__module__ == store_keys.__name__
]
AREA_KEYS = (store_keys.available, store_keys.also_offered, store_keys.fence)

area_codes = st.from_regex(r"[2-9][0-9]{2}", fullmatch=True)
carriers = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)


def hash_tag(key: str) -> str:
    """Give the part of a key that decides its slot, as the cluster specification has it."""
    tag = re.match(r"[^{]*\{([^}]+)\}", key)
    return tag[1] if tag else key


@given(area_codes)
def test_the_keys_of_one_area_code_share_a_hash_tag(area_code: str) -> None:
    assert {hash_tag(key(area_code)) for key in AREA_KEYS} == {area_code}


@given(carriers, st.integers(1, 2**40))
def test_the_keys_of_one_carriers_feed_share_a_hash_tag(carrier: str, generation: int) -> None:
    keys = [store_keys.feed(carrier), store_keys.feed_queue(carrier)]
    keys.append(store_keys.feed_snapshot(carrier, generation))
    assert {hash_tag(key) for key in keys} == {f"feed:{carrier}"}


@given(area_codes, area_codes, carriers, carriers, st.integers(1, 9), st.integers(1, 9))
def test_no_two_things_have_the_same_key(
    area_code: str, other_area: str, carrier: str, other_carrier: str, generation: int, later: int
) -> None:
    things = [(key, area) for key in AREA_KEYS for area in {area_code, other_area}]
    keys = [key(area) for key, area in things]
    for name in {carrier, other_carrier}:
        keys += [store_keys.feed(name), store_keys.feed_queue(name), store_keys.sync(name)]
        keys += [store_keys.sync_rejects(name), store_keys.api_key(name)]
        keys += [store_keys.feed_snapshot(name, number) for number in {generation, later}]
    keys += [getattr(store_keys, name) for name in CONSTANTS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (store_keys.available("415"), "{415}:available"),
        (store_keys.also_offered("415"), "{415}:also"),
        (store_keys.fence("415"), "{415}:fence"),
        (store_keys.api_key("sha256-0"), "key:sha256-0"),
        (store_keys.feed("acme"), "{feed:acme}"),
        (store_keys.feed_queue("acme"), "{feed:acme}:queue"),
        (store_keys.feed_snapshot("acme", 7), "{feed:acme}:snapshot:7"),
        (store_keys.sync("1"), "sync:1"),
        (store_keys.sync_rejects("1"), "sync:1:rejects"),
        (store_keys.AREAS, "areas"),
        (store_keys.API_KEYS, "keys"),
        (store_keys.FEEDS, "feeds"),
        (store_keys.SPOOL_DIR, "spool-dir"),
    ],
)
def test_a_key_keeps_its_name_for_stores_outlive_releases(key: str, name: str) -> None:
    assert key == name


def test_every_key_says_its_type_and_its_lifetime_or_why_it_has_none() -> None:
    assert len(FUNCTIONS) >= 9
    texts = {function.__name__: function.__doc__ or "" for function in FUNCTIONS}
    source = inspect.getsource(store_keys)
    for name in CONSTANTS:
        described = re.search(rf'^{name} = .*\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL)
        assert described, name
        texts[name] = described[1]
    for name, text in texts.items():
        assert re.match(r"(Sorted set|Set|Hash|List|String)\b", text), name
        assert re.search(r"No lifetime(: .+|, as .+|\.)|Lives `", text, re.DOTALL), name
