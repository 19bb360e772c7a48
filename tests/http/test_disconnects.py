import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

import aiohttp
import httpx
import pytest
import redis

from shared.api_keys import Scope
from tests.http.answers import NUMBERS, ORDERS, SEARCH, succeeded
from tests.http.organizations import USER, Organization, Organizations
from tests.support import Service

KEYS = "/v1/api-keys"
DISCONNECTS = 2_000
AT_ONCE = 40
"""Connections that are about to be cut; each is replaced by another."""
PATIENCE_SECONDS = 0.3
"""At most so long a connection waits before it is cut, most much less: an answer takes 20-100 ms here."""
ORGANIZATIONS = ("alder", "birch", "cedar", "dogwood", "elm", "fir")
AREA_CODES = ("202", "203", "205", "206", "207", "208")
NUMBERS_EACH = 5


class Tenant(NamedTuple):
    """An organization whose data all say whose they are."""

    organization: Organization
    marker: str
    area_code: str
    ids: list[str]
    """Of its numbers."""

    @property
    def name(self) -> str:
        return self.organization.name


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with one API process: all that is cut off shares its connection to the store."""
    service = Service(tmp_path_factory.mktemp("disconnects"), "--no-sample")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def tenants(own: Service, organizations: Organizations) -> list[Tenant]:
    """Give each organization numbers and keys that bear its marker, in an area code that only it has."""
    stock = [f"+1{area_code}55570{line:02}" for area_code in AREA_CODES for line in range(2 * NUMBERS_EACH)]
    assert own.ingest("trees", "\n".join(["number", *stock]).encode())["added"] == len(stock)
    made = []
    for name, area_code in zip(ORGANIZATIONS, AREA_CODES, strict=True):
        organization = organizations.of(own, name, (*USER, Scope.APIKEYS_READ, Scope.APIKEYS_WRITE))
        marker = f"<{name}'s own>"
        numbers = [number for number in stock if number[2:5] == area_code][:NUMBERS_EACH]
        resources = organization.orders(numbers, label=marker)
        for _ in range(3):
            succeeded(organization.post(KEYS, {"label": marker, "scopes": ["numbers:read"]}), 201)
        made.append(Tenant(organization, marker, area_code, [resource["id"] for resource in resources]))
    return made


class Asked(NamedTuple):
    """A request of a tenant's, and what its answer has to have."""

    method: str
    path: str
    body: dict[str, Any] | None
    status: int
    needle: str


def any_request(tenant: Tenant, random: Random) -> Asked:
    chosen = random.choice(tenant.ids)
    # No two requests ask for the same one, so that an answer fits no other's request.
    unknown = f"+1{tenant.area_code}{random.randrange(7_200_000, 8_000_000)}"
    return random.choice(
        [
            Asked("GET", NUMBERS, None, 200, tenant.marker),
            Asked("GET", KEYS, None, 200, tenant.marker),
            Asked("GET", ORDERS, None, 200, f"+1{tenant.area_code}"),
            Asked("GET", f"{NUMBERS}/{chosen}", None, 200, chosen),
            Asked("PATCH", f"{NUMBERS}/{chosen}", {"label": tenant.marker}, 200, chosen),
            Asked("POST", SEARCH, {"area_code": tenant.area_code}, 200, f"+1{tenant.area_code}5557"),
            Asked("POST", ORDERS, {"numbers": [unknown]}, 409, unknown),
        ]
    )


def assert_own(tenants: list[Tenant], tenant: Tenant, answer: str) -> None:
    """Check that there is nothing of anybody else in what a tenant was sent, be it whole or not."""
    for other in tenants:
        if other is not tenant:
            assert other.marker not in answer, f"{tenant.name} was sent what is {other.name}'s"
            assert f"+1{other.area_code}" not in answer, f"{tenant.name} was sent {other.name}'s numbers"
            assert not any(one in answer for one in other.ids), f"{tenant.name} was sent {other.name}'s ids"
            assert f'"org_id":"{other.name}"' not in answer


def raw(tenant: Tenant, asked: Asked) -> bytes:
    body = b"" if asked.body is None else json.dumps(asked.body).encode()
    lines = (
        f"{asked.method} {asked.path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {tenant.organization.secret}",
        f"Content-Length: {len(body)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    top = await reader.readuntil(b"\r\n\r\n")
    [length] = [
        int(line.partition(b":")[2]) for line in top.lower().split(b"\r\n") if b"content-length" in line
    ]
    return int(top.split()[1]), (await reader.readexactly(length)).decode()


async def disconnect(url: httpx.URL, tenants: list[Tenant], random: Random, seen: Counter[str]) -> None:
    """Use a connection as one should, once or twice or not at all, and then cut it at some instant."""
    tenant = random.choice(tenants)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for _ in range(random.choice((0, 0, 1, 2))):
            asked = any_request(tenant, random)
            writer.write(raw(tenant, asked))
            status, answer = await read_answer(reader)
            assert_own(tenants, tenant, answer)
            assert status == asked.status, answer
            assert asked.needle in answer
        last = raw(tenant, any_request(tenant, random))
        if random.random() < 0.2:
            last += raw(tenant, any_request(tenant, random))
        is_whole = random.random() < 0.7
        writer.write(last if is_whole else last[: random.randrange(1, len(last))])
        received = b""
        # Not to wait for anything, but to be gone at an instant that nobody foresees.
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(random.random() ** 3 * PATIENCE_SECONDS):
                received = await reader.read(random.randrange(1, 2_000))
        assert_own(tenants, tenant, received.decode(errors="replace"))
        seen["answered" if received else "whole" if is_whole else "part"] += 1
    finally:
        if random.random() < 0.5:
            writer.transport.abort()
        writer.close()


async def behave(url: str, tenants: list[Tenant], tenant: Tenant, done: asyncio.Event, random: Random) -> int:
    """Ask one thing after another, check every answer, and give how many there were."""
    answers = 0
    headers = {"Authorization": f"Bearer {tenant.organization.secret}"}
    async with aiohttp.ClientSession(url, headers=headers) as client:
        while not done.is_set():
            asked = any_request(tenant, random)
            async with client.request(asked.method, asked.path, json=asked.body) as response:
                answer = await response.text()
            assert_own(tenants, tenant, answer)
            assert response.status == asked.status, answer
            assert asked.needle in answer
            answers += 1
    return answers


async def cut_off(own: Service, tenants: list[Tenant], total: int, seed: int) -> tuple[Counter[str], int]:
    """Disconnect so often while others behave; give what was cut, and how many answers these had."""
    random, seen, done = Random(seed), Counter[str](), asyncio.Event()  # noqa: S311 - no secrets
    address = httpx.URL(own.instance.url)

    async def some() -> None:
        for _ in range(total // AT_ONCE):
            await disconnect(address, tenants, random, seen)

    async with asyncio.TaskGroup() as group:
        behaving = [
            group.create_task(behave(own.instance.url, tenants, tenant, done, random))
            for tenant in tenants[:3]
        ]
        try:
            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        finally:
            done.set()
    return seen, sum(task.result() for task in behaving)


async def test_whoever_hangs_up_at_whatever_instant_nobody_gets_what_was_meant_for_another(
    own: Service, tenants: list[Tenant]
) -> None:
    seen, answers = await cut_off(own, tenants, DISCONNECTS, seed=5)

    assert seen.total() == DISCONNECTS
    # The instants were spread over the life of a request, and the others had their share.
    assert all(seen[kind] > DISCONNECTS / 50 for kind in ("answered", "whole", "part")), seen
    assert answers > DISCONNECTS / 20
    log = (own.data_dir / "api.log").read_text()
    for trouble in ("Traceback", "unhandled", "never retrieved", "unavailable"):
        assert trouble not in log
    for tenant in tenants:
        numbers, keys = (tenant.organization.page(path).json()["data"] for path in (NUMBERS, KEYS))
        assert {resource["id"] for resource in numbers} == set(tenant.ids)
        assert {resource["label"] for resource in numbers} == {tenant.marker}
        assert {key["org_id"] for key in keys} == {tenant.name}
    # One process has one connection for commands and another for words of changed keys, as ever.
    with redis.Redis.from_url(own.instance.redis_url) as client:
        links = [link for link in client.client_list() if link["name"] == "api"]
    assert len(links) == 1
