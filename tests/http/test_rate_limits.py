import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import aiohttp
import httpx
import pytest
import redis
from litestar.testing import AsyncTestClient

from api.app import create_app
from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.rate_limits import Overrides, clear_overrides, set_overrides
from shared.settings import Settings
from shared.store import Store
from shared.store_connection import Connection, Waiter
from tests.http.answers import BULK, NUMBERS, ORDERS, RELEASE, SEARCH, assert_error, found
from tests.http.document import read_document
from tests.http.organizations import USER, Organization, Organizations, in_store
from tests.support import Service, put_in_stock, wait_until

SEARCH_BURST, WRITE_BURST = 4, 3
SECONDS_A_REQUEST = 100
"""No test takes so long that anything comes back."""
KEYS = "/v1/api-keys"
NOT_IN_STOCK = {"numbers": ["+12135550100"]}

FIELD = r'"(?P<kind>[a-z]+)";{0}=(?P<first>[0-9]+);{1}=(?P<second>[0-9]+)'
"""A list of one item, a string with two integers as parameters (RFC 9651)."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service in which a burst is all that an organization gets."""
    service = Service(
        tmp_path_factory.mktemp("limited"),
        "--no-sample",
        NUMBERS_SEARCH_RATE=str(1 / SECONDS_A_REQUEST),
        NUMBERS_SEARCH_BURST=str(SEARCH_BURST),
        NUMBERS_WRITE_RATE=str(1 / SECONDS_A_REQUEST),
        NUMBERS_WRITE_BURST=str(WRITE_BURST),
        NUMBERS_STORE_TIMEOUT_SECONDS="0.5",
    )
    yield service
    service.stop()


def fields_of(response: httpx.Response) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
    """Give kind, quota and window of `RateLimit-Policy`, and kind, rest and time of `RateLimit`."""
    given = []
    for name, parameters in (("ratelimit-policy", "qw"), ("ratelimit", "rt")):
        [text] = response.headers.get_list(name)
        field = re.fullmatch(FIELD.format(*parameters), text)
        assert field, text
        given.append((field["kind"], int(field["first"]), int(field["second"])))
    return given[0], given[1]


def assert_limited(response: httpx.Response, kind: str) -> int:
    """Check the whole shape of a refusal, and give when to come again."""
    assert_error(response, 429)
    [text] = response.headers.get_list("retry-after")
    assert re.fullmatch("[1-9][0-9]*", text)
    policy, state = fields_of(response)
    assert policy[0] == kind
    assert state == (kind, 0, int(text))
    return int(text)


def search(organization: Organization) -> httpx.Response:
    return organization.post(SEARCH, {"area_code": "209"})


def use_up_searches(organization: Organization) -> None:
    for _ in range(SEARCH_BURST):
        found(search(organization))
    assert_limited(search(organization), "search")


@contextmanager
def commands_seen(service: Service) -> Iterator[list[str]]:
    """Give what the store is sent while the body runs; it is there once the body has ended."""
    seen: list[str] = []
    with redis.Redis.from_url(service.instance.redis_url) as other, other.monitor() as log:
        yield seen
        with redis.Redis.from_url(service.instance.redis_url) as marking:
            marking.echo("the end")
        for command in log.listen():
            if "the end" in str(command["command"]):
                return
            seen.append(str(command["command"]))


def test_after_a_burst_the_answer_is_429_and_says_when_to_come_again(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "burst")

    for left in reversed(range(SEARCH_BURST)):
        response = search(organization)
        found(response)
        policy, state = fields_of(response)
        assert policy == ("search", SEARCH_BURST, SEARCH_BURST * SECONDS_A_REQUEST)
        used_seconds = (SEARCH_BURST - left) * SECONDS_A_REQUEST
        assert state[:2] == ("search", left)
        assert used_seconds - 30 <= state[2] <= used_seconds

    for _ in range(3):
        assert SECONDS_A_REQUEST - 30 <= assert_limited(search(organization), "search") <= SECONDS_A_REQUEST


def test_what_a_key_may_not_do_is_403_before_any_limit_and_takes_no_permit(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "not-theirs")

    for _ in range(WRITE_BURST + 1):
        returned = organization.release("01932c07-2c4f-7000-8000-000000000000", return_to_carrier="true")
        assert_error(returned, 403)
        in_bulk = organization.client.post(f"{RELEASE}?return_to_carrier=true", json={"ids": []})
        assert_error(in_bulk, 403)
    response = organization.post(ORDERS, NOT_IN_STOCK)

    assert fields_of(response)[1][:2] == ("write", WRITE_BURST - 1)


def test_searching_reading_writing_and_making_keys_are_limited_apart(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "kinds", (*USER, Scope.APIKEYS_READ, Scope.APIKEYS_WRITE))
    use_up_searches(organization)

    for _ in range(SEARCH_BURST):
        assert fields_of(organization.page(NUMBERS))[0][0] == "read"
    for path in (NUMBERS, ORDERS, KEYS):
        assert_limited(organization.page(path), "read")
    for _ in range(WRITE_BURST):
        response = organization.post(ORDERS, NOT_IN_STOCK)
        assert response.status_code == 409
        assert fields_of(response)[0] == ("write", WRITE_BURST, WRITE_BURST * SECONDS_A_REQUEST)
    assert_limited(organization.post(ORDERS, NOT_IN_STOCK), "write")
    assert_limited(organization.post(BULK, {"quantity": 1}), "write")
    made = organization.post(KEYS, {"label": "one", "scopes": ["numbers:read"]})
    assert made.status_code == 201
    # Ten a minute, whatever is set for writing.
    assert fields_of(made)[0] == ("keys", 10, 60)


def test_what_one_organization_uses_up_is_not_missing_for_another(
    limited: Service, organizations: Organizations
) -> None:
    greedy, modest = (organizations.of(limited, name) for name in ("greedy", "modest"))
    use_up_searches(greedy)

    found(search(modest))
    # Nor does a second key make a second limit.
    assert_limited(search(organizations.of(limited, "greedy")), "search")


BAD_BODIES: list[tuple[bytes, dict[str, str], int]] = [
    (b"{", {}, 400),
    (b"{}", {"Content-Type": "text/plain"}, 415),
    (b'{"quantity": 0}', {}, 422),
    (b" " * 70_000, {}, 413),
]


def test_a_bad_body_counts_and_after_the_last_permit_nothing_is_said_of_it(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "clumsy")
    assert len(BAD_BODIES) == SEARCH_BURST

    for body, headers, status in BAD_BODIES:
        response = organization.client.post(SEARCH, content=body, headers=headers)
        assert_error(response, status)
        assert fields_of(response)[0][0] == "search"

    # The first is refused by the store, the others by the process.
    for body, headers, _ in BAD_BODIES:
        assert_limited(organization.client.post(SEARCH, content=body, headers=headers), "search")


def test_whoever_is_refused_is_answered_before_the_body_has_come(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "long-winded")
    use_up_searches(organization)

    async def ask() -> str:
        address = httpx.URL(limited.instance.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {organization.secret}\r\n"
        writer.write(f"{head}Content-Length: 1000\r\n\r\n".encode())
        line = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        return line.decode()

    assert asyncio.run(ask()) == "HTTP/1.1 429 Too Many Requests\r\n"


def test_who_was_refused_costs_the_store_no_permit_and_no_search_until_the_time_has_passed(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "patient")
    rate = Overrides(search_rate=0.5, search_burst=1)
    in_store(limited.instance.redis_url, lambda store: set_overrides(store, "patient", rate))
    found(search(organization))
    refused_at = time.monotonic()
    seconds = assert_limited(search(organization), "search")
    assert 1 <= seconds <= 2

    with commands_seen(limited) as seen:
        refused = 0
        while search(organization).status_code == 429:
            refused += 1
    passed = time.monotonic() - refused_at

    permit = store_keys.permits("patient", "search")
    permits = [command for command in seen if command.startswith("EVALSHA") and permit in command]
    assert refused > 5
    # That of the search which was let through, and of one more when it came a moment too early.
    assert 1 <= len(permits) <= 2
    assert passed >= seconds - 0.1


def test_limits_that_are_set_for_an_organization_act_within_a_second(
    limited: Service, organizations: Organizations
) -> None:
    url = limited.instance.redis_url
    organization = organizations.of(limited, "favoured")
    use_up_searches(organization)

    more = Overrides(search_rate=1000, search_burst=50)
    in_store(url, lambda store: set_overrides(store, "favoured", more))
    allowed = ("search", 50, 1)
    wait_until(lambda: fields_of(search(organization))[0] == allowed, "more is allowed", 1)
    # What was used up is held against it under the new limit too, but for no longer than that one allows.
    wait_until(lambda: search(organization).status_code == 200, "it is let through", 2)
    unlimited = Overrides(search_rate=0)
    in_store(url, lambda store: set_overrides(store, "favoured", unlimited))
    wait_until(lambda: "ratelimit-policy" not in search(organization).headers, "no limit is left", 1)
    # A limit for reading it had all the while: that of searching.
    in_store(url, lambda store: clear_overrides(store, "favoured"))
    wait_until(lambda: search(organization).status_code == 429, "it has what all have", 1 + SEARCH_BURST)


def test_without_a_limit_no_permit_is_asked_for_and_none_is_told_of(
    limited: Service, service: Service, organizations: Organizations
) -> None:
    url = limited.instance.redis_url
    unlimited = Overrides(search_rate=0, write_rate=0)
    in_store(url, lambda store: set_overrides(store, "boundless", unlimited))

    # That is also what `numbers up` does for everybody, unless it is told otherwise.
    for where in (limited, service):
        organization = organizations.of(where, "boundless", (*USER, Scope.APIKEYS_WRITE))
        with commands_seen(where) as seen:
            answers = [
                *(search(organization) for _ in range(300)),
                *(organization.page() for _ in range(20)),
                *(organization.post(ORDERS, NOT_IN_STOCK) for _ in range(60)),
                *(organization.post(KEYS, {"label": "x", "scopes": ["numbers:read"]}) for _ in range(12)),
            ]
        assert {response.status_code for response in answers} == {200, 409, 201}
        assert not any({"ratelimit", "ratelimit-policy"} & set(response.headers) for response in answers)
        assert any("boundless" in command for command in seen)
        assert not any(":permits:" in command for command in seen)


def test_while_the_store_is_away_the_answer_is_503_and_not_unlimited(
    limited: Service, organizations: Organizations
) -> None:
    organization = organizations.of(limited, "deserted")
    found(search(organization))
    with redis.Redis.from_url(limited.instance.redis_url) as client:
        pid: int = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        # The key is still known, so that it is the permit which cannot be had; then the key is not either.
        for response in (search(organization), organization.page(), search(organization)):
            assert_error(response, 503)
            assert int(response.headers["retry-after"]) >= 1
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: search(organization).status_code in (200, 429), "the store is used again", 5)


async def test_four_processes_let_through_a_burst_and_what_the_rate_gives_and_no_more(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rate, burst, seconds = 100, 60, 3.0
    service = Service(
        tmp_path_factory.mktemp("four"),
        "--no-sample",
        api_workers=4,
        NUMBERS_SEARCH_RATE=str(rate),
        NUMBERS_SEARCH_BURST=str(burst),
    )
    store = Store(service.instance.redis_url, timeout_seconds=5)
    statuses: list[int] = []

    async def now() -> float:
        whole, micro = await store.execute("TIME")
        return float(whole) + float(micro) / 1_000_000

    async def go_on(client: aiohttp.ClientSession, until: float) -> None:
        while time.monotonic() < until:
            async with client.post(SEARCH, json={}) as response:
                statuses.append(response.status)

    try:
        # A connection for each, so that the processes share them.
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {service.instance.key}"}
        async with aiohttp.ClientSession(
            service.instance.url, headers=headers, connector=connector
        ) as client:
            began = await now()
            until = time.monotonic() + seconds
            await asyncio.gather(*(go_on(client, until) for _ in range(64)))
            passed = await now() - began
    finally:
        await store.close()
        service.stop()

    let_through = statuses.count(200)
    assert set(statuses) == {200, 429}
    assert statuses.count(429) > let_through
    assert let_through <= burst + rate * passed + 1
    # A process that was refused refuses for a second; then there is another burst.
    assert let_through >= 2 * burst


async def test_a_permit_travels_in_the_same_batch_as_the_search_and_before_it(
    store: Store, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_secret()
    await create_api_key(store, "frugal", Wanted((Scope.NUMBERS_WRITE,)), secret)
    await put_in_stock(store, "209", range(5557000, 5557010))
    batches: list[list[str]] = []
    send = Connection.send

    def noting(self: Connection, packed: Sequence[bytes], waiters: Sequence[Waiter]) -> None:
        batches.append([command.decode(errors="replace") for command in packed])
        send(self, packed, waiters)

    app = create_app(Settings(redis_url=valkey, key_cache_seconds=60))
    async with AsyncTestClient(app) as client:
        headers = {"Authorization": f"Bearer {secret}"}
        body = {"area_code": "209", "pattern": "555", "quantity": 5}
        # The first one makes the key, the scripts and the stock's shape known.
        assert (await client.post(SEARCH, json=body, headers=headers)).status_code == 200
        monkeypatch.setattr(Connection, "send", noting)
        for _ in range(3):
            batches.clear()
            response = await client.post(SEARCH, json=body, headers=headers)
            assert len(response.json()["data"]) == 5
            assert fields_of(response)[0] == ("search", 200, 2)
            assert len(batches) == 1, batches
            [batch] = batches
            assert store_keys.permits("frugal", "search") in batch[0]
            assert len(batch) > 1
            assert all(store_keys.available("209") in command for command in batch[1:])


def test_the_document_has_429_for_every_route_that_needs_a_key_and_for_no_other(service: Service) -> None:
    document = read_document(service.instance.url)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answer = operation["responses"].get("429")
            assert (answer is not None) == path.startswith("/v1/")
            if answer is not None:
                assert answer["headers"]["Retry-After"]["required"]
                assert {"RateLimit", "RateLimit-Policy"} <= set(answer["headers"])
