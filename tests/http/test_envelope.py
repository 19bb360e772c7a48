import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import redis
from litestar import Litestar, get
from litestar.exceptions import HTTPException, InternalServerException
from litestar.testing import AsyncTestClient

from api.app import create_app
from shared import store_keys
from shared.key_secrets import digests_of, new_secret
from shared.settings import Settings
from tests.http.answers import (
    API_KEYS,
    BULK,
    COVERAGE,
    FEEDS,
    NUMBERS,
    ORDERS,
    RELEASE,
    SEARCH,
    SYNCS,
    ULID,
    assert_error,
    found,
    new_client,
)
from tests.support import Service, wait_until

JSON = {"Content-Type": "application/json"}
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with new_client(service.instance.url, service.instance.key) as client:
        yield client


@pytest.fixture(scope="module")
def reader(service: Service) -> str:
    """Give the `Authorization` of a key that may not search."""
    done = service.numbers("keys create", "--org", "envelope-tests", "--scope", "numbers:read")
    return f"Bearer {done.stdout.strip()}"


ANSWERS: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "POST", SEARCH, {"content": b"{}"}),
    (400, "POST", SEARCH, {"content": b"{"}),
    (401, "POST", SEARCH, {"content": b"{}", "headers": {"Authorization": "Bearer x"}}),
    (404, "GET", "/", {}),
    (404, "GET", "/v1", {}),
    (404, "POST", "/v1/nothing", {"content": b"{}"}),
    (404, "GET", "/v1/phone%2Dnumbers%00", {}),
    (404, "OPTIONS", "/nothing", {}),
    (404, "GET", "/docs/nothing.js", {}),
    (404, "GET", "/schema", {}),
    (405, "GET", SEARCH, {}),
    (405, "DELETE", SEARCH, {}),
    (405, "PATCH", SEARCH, {"content": b"{}"}),
    (405, "TRACE", SEARCH, {}),
    (405, "BREW", SEARCH, {}),
    (405, "POST", "/healthz", {}),
    (405, "POST", "/readyz", {}),
    (405, "POST", "/openapi.json", {}),
    (405, "DELETE", "/docs", {}),
    (413, "POST", SEARCH, {"content": b" " * 70_000, "headers": JSON}),
    (415, "POST", SEARCH, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (422, "POST", SEARCH, {"content": b'{"quantity": 0}'}),
    (200, "GET", NUMBERS, {}),
    (200, "GET", f"{ORDERS}/", {}),
    (400, "POST", BULK, {"content": b"[]"}),
    (404, "GET", f"{NUMBERS}/{UNKNOWN_ID}", {}),
    (404, "DELETE", f"{NUMBERS}/{UNKNOWN_ID}", {}),
    (404, "GET", f"{ORDERS}/{UNKNOWN_ID}/cancel/now", {}),
    (404, "POST", f"{ORDERS}/{UNKNOWN_ID}/cancel", {}),
    (405, "GET", BULK, {}),
    (405, "GET", RELEASE, {}),
    (405, "POST", NUMBERS, {"content": b"{}"}),
    (405, "DELETE", ORDERS, {}),
    (405, "PUT", f"{NUMBERS}/{UNKNOWN_ID}", {"content": b"{"}),
    (405, "GET", f"{ORDERS}/{UNKNOWN_ID}/cancel", {}),
    (413, "PATCH", f"{NUMBERS}/{UNKNOWN_ID}", {"content": b" " * 70_000, "headers": JSON}),
    (415, "POST", RELEASE, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (422, "GET", f"{NUMBERS}/x", {}),
    (422, "GET", f"{NUMBERS}?limit=0", {}),
    (422, "POST", ORDERS, {"content": b"{}"}),
    (200, "GET", API_KEYS, {}),
    (400, "POST", API_KEYS, {"content": b"{"}),
    (404, "GET", f"{API_KEYS}/{UNKNOWN_ID}", {}),
    (404, "DELETE", f"{API_KEYS}/{UNKNOWN_ID}", {}),
    (404, "POST", f"{API_KEYS}/{UNKNOWN_ID}/rotate", {}),
    (405, "DELETE", API_KEYS, {}),
    (405, "PUT", f"{API_KEYS}/{UNKNOWN_ID}", {"content": b"{"}),
    (405, "GET", f"{API_KEYS}/{UNKNOWN_ID}/rotate", {}),
    (413, "POST", API_KEYS, {"content": b" " * 70_000, "headers": JSON}),
    (415, "POST", API_KEYS, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (422, "POST", API_KEYS, {"content": b"{}"}),
    (422, "GET", f"{API_KEYS}?cursor=x", {}),
    (200, "GET", SYNCS, {}),
    (200, "GET", COVERAGE, {}),
    (400, "PUT", f"{FEEDS}/envelope", {"content": b""}),
    (404, "POST", f"{FEEDS}/nobody/syncs", {}),
    (404, "GET", f"{SYNCS}/{UNKNOWN_ID}", {}),
    (404, "GET", f"{SYNCS}/{UNKNOWN_ID}/rejects", {}),
    (404, "POST", f"{SYNCS}/{UNKNOWN_ID}/confirm", {}),
    (404, "POST", f"{SYNCS}/{UNKNOWN_ID}/rollback", {}),
    (405, "GET", f"{FEEDS}/envelope", {}),
    (405, "POST", COVERAGE, {"content": b"{}"}),
    (405, "GET", f"{SYNCS}/{UNKNOWN_ID}/confirm", {}),
    (413, "POST", f"{FEEDS}/envelope/syncs", {"content": b" " * 70_000, "headers": JSON}),
    (415, "POST", f"{FEEDS}/envelope/syncs", {"content": b"{}", "headers": {"Content-Type": "text/csv"}}),
    (422, "GET", f"{SYNCS}/x", {}),
    (422, "PUT", f"{FEEDS}/Envelope", {"content": b"number"}),
    (204, "OPTIONS", SEARCH, {}),
    (204, "OPTIONS", f"{NUMBERS}/{UNKNOWN_ID}", {}),
    (200, "GET", "/healthz", {}),
    (200, "GET", "/readyz", {}),
    (200, "GET", "/openapi.json", {}),
    (200, "GET", "/docs", {}),
    (200, "GET", "/docs/initializer.js", {}),
    (304, "GET", "/docs", {"headers": {"If-None-Match": "*"}}),
]


@pytest.mark.parametrize(("status", "method", "path", "options"), ANSWERS)
def test_every_answer_has_a_request_id_and_every_error_the_same_in_its_body(
    client: httpx.Client, status: int, method: str, path: str, options: dict[str, Any]
) -> None:
    response = client.request(method, path, **options)

    assert response.status_code == status
    [request_id] = response.headers.get_list("x-request-id")
    assert ULID.fullmatch(request_id)
    if status >= 400:
        assert_error(response, status)


def test_an_answer_to_a_caller_without_the_scope_is_no_exception(client: httpx.Client, reader: str) -> None:
    assert_error(client.post(SEARCH, content=b"{}", headers={"Authorization": reader}), 403)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (SEARCH, {"POST", "OPTIONS"}),
        (NUMBERS, {"GET", "OPTIONS"}),
        (f"{ORDERS}/{UNKNOWN_ID}", {"GET", "OPTIONS"}),
        (f"{ORDERS}/{UNKNOWN_ID}/cancel", {"POST", "OPTIONS"}),
        (BULK, {"POST", "OPTIONS"}),
        (f"{BULK}/{UNKNOWN_ID}", {"GET", "OPTIONS"}),
        (RELEASE, {"POST", "OPTIONS"}),
        ("/healthz", {"GET", "OPTIONS"}),
        ("/readyz", {"GET", "OPTIONS"}),
        ("/openapi.json", {"GET", "OPTIONS"}),
        ("/docs", {"GET", "OPTIONS"}),
    ],
)
def test_405_says_which_methods_there_are_and_options_says_the_same(
    client: httpx.Client, path: str, allowed: set[str]
) -> None:
    refused = client.put(path)
    options = client.request("OPTIONS", path)

    assert_error(refused, 405)
    assert set(refused.headers["allow"].split(", ")) == allowed
    assert (options.status_code, options.content) == (204, b"")
    assert set(options.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"{NUMBERS}/{UNKNOWN_ID}", {"GET", "PATCH", "DELETE", "OPTIONS"}),
        (ORDERS, {"GET", "POST", "OPTIONS"}),
        (API_KEYS, {"GET", "POST", "OPTIONS"}),
        (f"{API_KEYS}/{UNKNOWN_ID}", {"GET", "DELETE", "OPTIONS"}),
    ],
)
def test_405_names_all_methods_of_a_path_that_has_several(
    client: httpx.Client, path: str, allowed: set[str]
) -> None:
    refused = client.put(path)

    assert_error(refused, 405)
    assert set(refused.headers["allow"].split(", ")) == allowed


def test_only_405_and_options_have_allow(client: httpx.Client) -> None:
    for status, method, path, options in ANSWERS:
        response = client.request(method, path, **options)
        assert ("allow" in response.headers) == (status in (204, 405)), (method, path)


def test_head_has_the_id_too_and_no_body(client: httpx.Client) -> None:
    response = client.head(SEARCH)

    assert (response.status_code, response.content) == (405, b"")
    assert ULID.fullmatch(response.headers["x-request-id"])


def test_no_two_requests_have_the_same_id_whatever_they_ask_for_themselves(client: httpx.Client) -> None:
    mine = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    responses = [client.get("/healthz", headers={"X-Request-Id": mine}) for _ in range(20)]
    responses += [client.post(SEARCH, content=b"{", headers={"X-Request-Id": mine}) for _ in range(20)]
    responses += [client.get("/nothing", headers={"X-Request-Id": mine}) for _ in range(20)]

    ids = {response.headers["x-request-id"] for response in responses}

    assert len(ids) == len(responses)
    assert mine not in ids


def test_a_success_has_no_error_and_no_meta(client: httpx.Client) -> None:
    found(client.post(SEARCH, content=b"{}"))
    assert client.get("/healthz").json() == {"success": True, "data": {"status": "ok"}}
    wait_until(lambda: client.get("/readyz").json()["data"]["status"] == "ready", "the workers live")
    ready = {"status": "ready", "worker": "alive", "feed_worker": "alive"}
    assert client.get("/readyz").json() == {"success": True, "data": ready}


def test_a_server_error_says_internal_error_and_is_in_the_log_with_its_request_id(
    service: Service, client: httpx.Client
) -> None:
    secret = new_secret()
    [digest] = digests_of(secret, None)
    pointer = store_keys.api_key_digest(digest)
    with redis.Redis.from_url(service.instance.redis_url) as store:
        # Of the wrong type: the store refuses to read it, and nobody expects that.
        store.hset(pointer, "no", "string")
        try:
            response = client.post(SEARCH, content=b"{}", headers={"Authorization": f"Bearer {secret}"})
        finally:
            store.delete(pointer)

    request_id = assert_error(response, 500)["request_id"]
    assert "WRONGTYPE" not in response.text
    log = service.data_dir / "api.log"
    wait_until(lambda: request_id in log.read_text(), "the request id is in the log")
    assert "WRONGTYPE" in log.read_text().partition(request_id)[2]
    assert secret not in log.read_text()


INSIDE = "password=hunter2 in /srv/secret.py"


@get("/raises", include_in_schema=False)
async def raises() -> None:
    raise RuntimeError(INSIDE)


@get("/raises-http", include_in_schema=False)
async def raises_http() -> None:
    raise InternalServerException(INSIDE, headers={"X-Inside": INSIDE})


@get("/raises-teapot", include_in_schema=False)
async def raises_teapot() -> None:
    raise HTTPException(INSIDE, status_code=418, extra={"inside": INSIDE})


@pytest.fixture
async def broken() -> AsyncIterator[AsyncTestClient[Litestar]]:
    """Give the app with routes that fail, and a store that is not there."""
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    for route in (raises, raises_http, raises_teapot):
        app.register(route)
    async with AsyncTestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/raises", "/raises-http", "/raises-teapot"])
async def test_what_nobody_expected_is_500_and_tells_nothing_of_the_inside(
    broken: AsyncTestClient[Litestar], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await broken.get(path)

    request_id = assert_error(response, 500)["request_id"]
    for word in ("hunter2", "secret.py", "RuntimeError", "Traceback"):
        assert word not in response.text + repr(response.headers)
    [line] = [record for record in caplog.records if record.name == "api.error_answers"]
    assert line.levelno == logging.ERROR
    assert vars(line)["request_id"] == request_id
    assert line.exc_info is not None
    assert INSIDE in str(line.exc_info[1])


async def test_a_store_that_is_away_is_503_and_tells_nothing_of_the_inside(
    broken: AsyncTestClient[Litestar],
) -> None:
    bearer = {"Authorization": f"Bearer {new_secret()}"}
    for response in (
        await broken.get("/readyz"),
        await broken.post(SEARCH, content=b"{}", headers=bearer),
        await broken.get(NUMBERS, headers=bearer),
        await broken.post(ORDERS, json={"numbers": ["+14155550123"]}, headers=bearer),
        await broken.delete(f"{NUMBERS}/{UNKNOWN_ID}", headers=bearer),
    ):
        assert_error(response, 503)
        assert int(response.headers["retry-after"]) >= 1
        for word in ("127.0.0.1", "redis", "Error", "onnect"):
            assert word not in response.text
