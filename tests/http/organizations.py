"""Organizations, and the numbers that there are for them: each test has its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import httpx
import msgspec

from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.atomic.area_operations import read_record
from shared.key_secrets import new_secret
from shared.store import Store
from tests.http.answers import API_KEYS, BULK, NUMBERS, ORDERS, RELEASE, new_client, ordered
from tests.http.document import assert_described, read_document
from tests.support import Service, put_in_stock

T = TypeVar("T")

USER = (Scope.NUMBERS_READ, Scope.NUMBERS_WRITE)
OPERATOR = (*USER, Scope.PLATFORM_INVENTORY_WRITE)


def in_store(url: str, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do something to the store behind a service's back."""

    async def run() -> T:
        store = Store(url, timeout_seconds=5)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


class Organization:
    """An organization, and one of its keys at work; every answer that it gets has to fit the document."""

    def __init__(self, url: str, secret: str, name: str) -> None:
        """Speak to the service at `url` with this key."""
        self.name = name
        self.secret = secret
        self.client = new_client(url, secret)
        self.client.event_hooks = {"response": [self._check]}

    def _check(self, response: httpx.Response) -> None:
        response.read()
        assert_described(read_document(str(self.client.base_url).rstrip("/")), response)

    def order(self, numbers: Iterable[str], key: str | None = None, **members: Any) -> httpx.Response:
        """Order these numbers."""
        return self.post(ORDERS, {"numbers": list(numbers), **members}, key)

    def orders(self, numbers: Iterable[str], **members: Any) -> list[dict[str, Any]]:
        """Order numbers that are available, and give what comes of it."""
        return ordered(self.order(numbers, **members))

    def bulk(self, key: str | None = None, **members: Any) -> httpx.Response:
        """Order so many numbers."""
        return self.post(BULK, members, key)

    def cancel(self, order_id: str, key: str | None = None) -> httpx.Response:
        """Cancel an order."""
        return self.client.post(f"{ORDERS}/{order_id}/cancel", headers=_headers(key))

    def patch(self, resource_id: str, key: str | None = None, **members: Any) -> httpx.Response:
        """Change the routing of a number."""
        return self.client.patch(f"{NUMBERS}/{resource_id}", json=members, headers=_headers(key))

    def release(self, resource_id: str, key: str | None = None, **query: str) -> httpx.Response:
        """Release a number."""
        return self.client.delete(f"{NUMBERS}/{resource_id}", params=query, headers=_headers(key))

    def release_all(self, ids: Iterable[str], key: str | None = None) -> httpx.Response:
        """Release several numbers at once."""
        return self.post(RELEASE, {"ids": list(ids)}, key)

    def number(self, resource_id: str) -> httpx.Response:
        """Look at a number."""
        return self.client.get(f"{NUMBERS}/{resource_id}")

    def get_order(self, order_id: str) -> httpx.Response:
        """Look at an order."""
        return self.client.get(f"{ORDERS}/{order_id}")

    def status_of(self, order_id: str) -> str:
        """Give the status of an order."""
        status: str = self.get_order(order_id).json()["data"]["status"]
        return status

    def create_key(self, key: str | None = None, **members: Any) -> httpx.Response:
        """Make an API key."""
        return self.post(API_KEYS, members, key)

    def rotate_key(self, key_id: str, key: str | None = None) -> httpx.Response:
        """Give an API key a new secret."""
        return self.client.post(f"{API_KEYS}/{key_id}/rotate", headers=_headers(key))

    def revoke_key(self, key_id: str, key: str | None = None) -> httpx.Response:
        """End an API key."""
        return self.client.delete(f"{API_KEYS}/{key_id}", headers=_headers(key))

    def get_key(self, key_id: str) -> httpx.Response:
        """Look at an API key."""
        return self.client.get(f"{API_KEYS}/{key_id}")

    def page(self, path: str = NUMBERS, **query: Any) -> httpx.Response:
        """Get a page of a collection."""
        return self.client.get(path, params=query)

    def has(self) -> set[str]:
        """Give the numbers that the organization has."""
        numbers: set[str] = set()
        query: dict[str, Any] = {"limit": 100}
        while True:
            body = self.page(**query).json()
            numbers.update(resource["number"] for resource in body["data"])
            query["cursor"] = body["meta"]["next_cursor"]
            if query["cursor"] is None:
                return numbers

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
        """Send a body."""
        return self.client.post(path, json=body, headers=_headers(key))


class Organizations:
    """Gives organizations their keys, and closes their connections in the end."""

    def __init__(self) -> None:
        """Begin without any."""
        self._made: list[Organization] = []

    def of(self, service: Service, name: str, scopes: tuple[Scope, ...] = USER) -> Organization:
        """Give a new key to an organization of a service."""
        return self.at(service.instance.url, service.instance.redis_url, name, scopes)

    def at(self, url: str, redis_url: str, name: str, scopes: tuple[Scope, ...] = USER) -> Organization:
        """Give a new key to an organization of an API on this store, as `numbers keys create` does."""
        secret = new_secret()
        in_store(redis_url, lambda store: create_api_key(store, name, Wanted(scopes), secret))
        return self.again(url, secret, name)

    def again(self, url: str, secret: str, name: str) -> Organization:
        """Use a key at another API of the same store."""
        self._made.append(Organization(url, secret, name))
        return self._made[-1]

    def close(self) -> None:
        """Close the connections."""
        for organization in self._made:
            organization.client.close()


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


class Shelf:
    """Numbers of area codes that a module has brought into stock; `take` gives each of them once."""

    def __init__(self, service: Service, carrier: str, area_codes: Iterable[str], each: int) -> None:
        """Bring a feed; the first number of two has SMS, the other one MMS too."""
        self._left = {area: [f"+1{area}5557{line:03}" for line in range(each)] for area in area_codes}
        rows = [
            f"{number},true,{'true' if index % 2 else 'false'}"
            for numbers in self._left.values()
            for index, number in enumerate(numbers)
        ]
        sync = service.ingest(carrier, "\n".join(["number,sms,mms", *rows]).encode())
        assert (sync["state"], sync["added"]) == ("applied", len(rows))

    def take(self, count: int, area_code: str | None = None) -> list[str]:
        """Give numbers that nobody else was given, of the first area code unless told."""
        left = self._left[area_code or next(iter(self._left))]
        taken, left[:] = left[:count], left[count:]
        assert len(taken) == count, "the module has to bring more numbers"
        return taken


def put(service: Service, area_code: str, locals_: Iterable[int]) -> list[str]:
    """Make local numbers available without a feed, and give them."""
    chosen = list(locals_)
    in_store(service.instance.redis_url, lambda store: put_in_stock(store, area_code, chosen))
    return [f"+1{area_code}{local}" for local in chosen]


def state_of(redis_url: str, number: str) -> str:
    """Give where a number is: `available`, `held`, `assigned`, `quarantined`, `returned` or `unknown`."""

    async def look(store: Store) -> str:
        area_code = number[2:5]
        if await store.execute("ZSCORE", store_keys.available(area_code), number) is not None:
            return "available"
        text = await store.execute("HGET", store_keys.unavailable(area_code), number)
        return read_record(text).state.value if text else "unknown"

    return in_store(redis_url, look)


def states_of(redis_url: str, numbers: Iterable[str]) -> set[str]:
    """Give where numbers are."""
    return {state_of(redis_url, number) for number in numbers}


def available(service: Service) -> dict[str, int]:
    """Give area code → how many numbers `numbers stats` says are available."""
    areas = msgspec.json.decode(service.numbers("stats", "--json").stdout)["area_codes"]
    return {area_code: states["available"] for area_code, states in areas.items()}
