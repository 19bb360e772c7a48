"""API processes beside, or instead of, those of a service, and keys that open their doors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from tests.http.answers import API_KEYS, new_client
from tests.http.organizations import in_store
from tests.http.test_store_away import APP
from tests.processes import free_port, running
from tests.support import wait_until

ORGANIZATION = "process-tests"
"""That has the keys."""


@contextmanager
def api_process(redis_url: str, log: Path, **settings: str) -> Iterator[str]:
    """Run one API process on a store, with these settings and no limits unless told, and give its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "NUMBERS_SEARCH_RATE": "0",
        "NUMBERS_WRITE_RATE": "0",
        "NUMBERS_REDIS_URL": redis_url,
    } | settings

    def is_up() -> bool:
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    with running(log, "litestar", *APP, "--port", str(port), **settings):
        wait_until(is_up, f"the API runs, see {log}")
        yield url


def secret_of(url: str, *scopes: Scope) -> str:
    """Make a key as `numbers keys create` does."""
    secret = new_secret()
    in_store(url, lambda store: create_api_key(store, ORGANIZATION, Wanted(scopes, "test"), secret))
    return secret


def ask(api: str, secret: str) -> httpx.Response:
    with new_client(api, secret) as client:
        return client.get(API_KEYS, params={"limit": 1})


def is_served(api: str, secret: str) -> bool:
    """Tell whether a secret opens the door; it must not fail in any other way than with 401."""
    response = ask(api, secret)
    assert response.status_code in (200, 401), response.text
    return response.status_code == 200


def newest_keys(client: httpx.Client) -> list[dict[str, str]]:
    """Give the newest keys."""
    keys: list[dict[str, str]] = client.get(API_KEYS).json()["data"]
    return keys


def links(raw: Any) -> int:
    """Give how many processes hear of changed keys."""
    [(_, count)] = raw.pubsub_numsub(store_keys.API_KEYS_CHANGED)
    return int(count)
