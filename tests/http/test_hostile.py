import asyncio
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from shared.api_keys import Scope
from tests.http.answers import (
    BULK,
    FEEDS,
    NUMBERS,
    ORDERS,
    RELEASE,
    SEARCH,
    assert_error,
    found,
    new_client,
)
from tests.http.document import read_document
from tests.http.organizations import Organizations
from tests.processes import processes_of
from tests.support import Service, wait_until

KEYS = "/v1/api-keys"
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"
GOOD = {"area_code": "209"}
"""A search that leaves what the service knows of all area codes as it was, for the tests that come after."""
SLOW_SECONDS = 20
"""For headers to come; a body has 10."""


class Raw(NamedTuple):
    """What came back on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes
    """What came after the first answer."""


@pytest.fixture(scope="module")
def secret(service: Service, organizations: Organizations) -> str:
    return organizations.of(service, "hostile", tuple(Scope)).secret


@pytest.fixture(scope="module")
def client(service: Service, secret: str) -> Iterator[httpx.Client]:
    with new_client(service.instance.url, secret) as client:
        yield client


@pytest.fixture(autouse=True)
def _others_are_served_and_nothing_is_unhandled(service: Service, client: httpx.Client) -> Iterator[None]:
    log = service.data_dir / "api.log"
    before = log.stat().st_size
    yield
    found(client.post(SEARCH, json=GOOD))
    written = log.read_bytes()[before:]
    assert b"Traceback" not in written
    assert b"unhandled" not in written


def connect(service: Service) -> socket.socket:
    url = httpx.URL(service.instance.url)
    return socket.create_connection((url.host, url.port), timeout=SLOW_SECONDS + 15)


def head(method: str, path: str, secret: str, *lines: str) -> bytes:
    fixed = (f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {secret}")
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def send_raw(service: Service, request: bytes) -> Raw:
    """Send bytes, and read until the other side closes."""
    with connect(service) as connection:
        connection.sendall(request)
        return read_raw(connection)


def read_raw(connection: socket.socket) -> Raw:
    answer = b""
    try:
        while chunk := connection.recv(65_536):
            answer += chunk
    except ConnectionResetError:
        # It was closed while there was still something to read.
        assert answer
    top, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers["content-length"])
    return Raw(int(first.split()[1]), headers, rest[:length], rest[length:])


def assert_refused(raw: Raw, status: int) -> None:
    """Check that an answer is an error in the envelope."""
    assert_error(httpx.Response(raw.status, headers=raw.headers, content=raw.body), status)


def assert_refused_by_server(raw: Raw, *statuses: int) -> None:
    """Check that what is no HTTP, or too much, gets an answer without a body, and no second one."""
    assert raw.status in statuses
    assert (raw.body, raw.rest) == (b"", b"")
    assert raw.headers["connection"] == "close"


# Bodies


def nested(depth: int) -> bytes:
    return b"[" * depth


def nested_objects(depth: int) -> bytes:
    return b'{"pattern":' * depth


def huge(digits: int) -> bytes:
    return b'{"quantity": %s}' % (b"9" * digits)


BODIES: dict[str, tuple[bytes, int]] = {
    "one byte too many": (b" " * (64 * 1024 + 1), 413),
    "100,000 brackets": (nested(100_000), 413),
    "60,000 brackets": (nested(60_000), 400),
    "30,000 brackets, closed": (nested(30_000) + b"]" * 30_000, 400),
    "5,000 objects": (nested_objects(5_000), 400),
    "5,000 objects in an unknown field": (b'{"x":' * 5_000 + b"1" + b"}" * 5_000, 400),
    "a list 500 deep in a field": (b'{"pattern":' + nested(500) + b"]" * 500 + b"}", 422),
    "an integer of 100,000 digits": (huge(100_000), 413),
    "an integer of 60,000 digits": (huge(60_000), 422),
    "an integer of 5,000 digits": (huge(5_000), 422),
    "a negative integer of 5,000 digits": (b'{"quantity": -' + b"9" * 5_000 + b"}", 422),
    "1e999": (b'{"quantity": 1e999}', 422),
    "1e-999": (b'{"quantity": 1e-999}', 422),
    "a fraction of 60,000 digits": (b'{"quantity": 0.' + b"9" * 60_000 + b"}", 422),
    "NaN": (b'{"quantity": NaN}', 400),
    "Infinity": (b'{"quantity": -Infinity}', 400),
    "a NUL byte": (b'{"pattern": "5\x00"}', 400),
    "invalid UTF-8": (b'{"pattern": "\xff\xfe"}', 400),
    "a surrogate in UTF-8": (b'{"pattern": "\xed\xa0\x80"}', 400),
    "UTF-16": ('{"pattern": "5"}'.encode("utf-16"), 400),
    "a lone surrogate": (rb'{"pattern": "\ud800"}', 400),
    "a NUL": (rb'{"pattern": "5\u0000"}', 422),
    "other digits": ('{"pattern": "\u0665\u0665\u0665"}'.encode(), 422),
    "wide digits": ('{"area_code": "\uff14\uff11\uff15"}'.encode(), 422),
    "a newline after a pattern": (rb'{"pattern": "555\n"}', 422),
    "a pattern of 60,000 digits": (b'{"pattern": "' + b"5" * 60_000 + b'"}', 422),
    "a glob": (b'{"pattern": "*[a-z]?*"}', 422),
    "a pattern for a bad regex": (b'{"pattern": "(((((a+)+)+)+)+$"}', 422),
    "only a plus": (b'{"pattern": "++"}', 422),
    "the same unknown field 5,000 times": (b"{" + b'"x":1,' * 5_000 + b'"x":1}', 422),
    "5,000 unknown fields": (json.dumps({f"x{i}": 1 for i in range(4_000)}).encode(), 422),
    "a field of 60,000 characters": (b'{"' + b"x" * 60_000 + b'": 1}', 422),
    "__proto__": (b'{"__proto__": {"admin": true}, "constructor": 1}', 422),
    "a bomb, compressed": (gzip.compress(b" " * 10_000_000), 400),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_nobody_means_well_is_a_clear_4xx(client: httpx.Client, what: str) -> None:
    body, status = BODIES[what]

    asked_at = time.monotonic()
    response = client.post(SEARCH, content=body)

    assert_error(response, status)
    assert len(response.content) < 500_000
    assert time.monotonic() - asked_at < 2


TEXTS: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "order": (
        "POST",
        ORDERS,
        {"numbers": ["+12095550100"], "label": "l", "inbound_url": "https://a.example"},
        ("numbers", "label", "inbound_url", "status_url", "campaign_id"),
    ),
    "bulk": ("POST", BULK, {"quantity": 1}, ("area_code", "pattern", "number_type", "label", "mode")),
    "search": ("POST", SEARCH, {}, ("area_code", "pattern", "number_type")),
    "patch": ("PATCH", f"{NUMBERS}/{UNKNOWN_ID}", {}, ("inbound_url", "label", "campaign_id")),
    "release": ("POST", RELEASE, {}, ("ids",)),
    "key": ("POST", KEYS, {"label": "l", "scopes": ["numbers:read"]}, ("label", "scopes", "expires_at")),
    "sync": ("POST", f"{FEEDS}/nobody/syncs", {}, ("mode",)),
}


@pytest.mark.parametrize("what", TEXTS)
@pytest.mark.parametrize("text", [r"\u0000", r"5\u0000", r"\ud800", r"\udc00\ud800", r"x\ud83d"])
def test_no_text_field_takes_half_a_character_and_none_but_a_label_a_nul(
    client: httpx.Client, what: str, text: str
) -> None:
    method, path, good, fields = TEXTS[what]
    has_nul = "u0000" in text
    for field in fields:
        if has_nul and field == "label":
            continue
        value: Any = ["TEXT"] if field in ("numbers", "ids", "scopes") else "TEXT"
        body = json.dumps(good | {field: value}).replace("TEXT", text)

        response = client.request(method, path, content=body)

        # Half a character is no text at all; a NUL is a wrong value, and an unknown scope.
        status = 422 if has_nul and field != "scopes" else 400
        assert_error(response, status, has_details=has_nul)


# Headers


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def test_a_body_without_end_is_refused_once_it_is_too_long(service: Service, secret: str) -> None:
    raw = send_raw(
        service, head("POST", SEARCH, secret, "Transfer-Encoding: chunked") + chunked(b" " * 8192) * 9
    )

    assert_refused(raw, 413)


def test_a_body_that_is_said_to_be_too_long_is_refused_before_it_comes(service: Service, secret: str) -> None:
    assert_refused(send_raw(service, head("POST", SEARCH, secret, "Content-Length: 65537")), 413)
    assert_refused(send_raw(service, head("POST", SEARCH, secret, "Content-Length: 9999999999")), 413)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Encoding: gzip"], 415),
        (["Content-Encoding: identity, br"], 415),
        (["Content-Type: application/json", "Content-Type: application/json"], 415),
        (["Content-Type: application/json", "Content-Type: text/plain"], 415),
        (["Content-Type: application/json, text/plain"], 415),
        (["Content-Type: application/json; charset=utf-16", "Content-Type:"], 415),
        (["Content-Type: multipart/form-data; boundary=x"], 415),
        (["Content-Type: application/x-www-form-urlencoded"], 415),
        (["Content-Type: application/xml"], 415),
        (["Authorization: Bearer x"], 401),
    ],
)
def test_headers_that_say_two_things_or_something_else_are_refused(
    service: Service, secret: str, lines: list[str], status: int
) -> None:
    request = head("POST", SEARCH, secret, "Connection: close", "Content-Length: 2", *lines) + b"{}"

    assert_refused(send_raw(service, request), status)


@pytest.mark.parametrize("keys", [("one", "two"), ("one", "one"), ("a" * 256,), ("",), ("a\tb",), ("é",)])
def test_an_idempotency_key_that_is_none_or_comes_twice_is_422(
    service: Service, secret: str, keys: tuple[str, ...]
) -> None:
    lines = [f"Idempotency-Key: {key}" for key in keys]
    body = b'{"numbers": ["+12095550100"]}'
    request = head("POST", ORDERS, secret, "Connection: close", f"Content-Length: {len(body)}", *lines) + body

    raw = send_raw(service, request)

    assert_refused(raw, 422)
    assert b"Idempotency-Key" in raw.body


@pytest.mark.parametrize("place", ["query", "cookie", "both"])
def test_a_key_in_the_query_or_in_a_cookie_is_401(service: Service, secret: str, place: str) -> None:
    query = {} if place == "cookie" else {"authorization": f"Bearer {secret}", "api_key": secret}
    cookies = {} if place == "query" else {"Cookie": f"authorization={secret}; session={secret}"}

    response = httpx.get(service.instance.url + NUMBERS, params=query, headers=cookies)

    assert_error(response, 401)
    assert secret not in response.text + repr(response.headers)


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Content-Length: 3"],
        ["Content-Length: 2, 2"],
        ["Content-Length: +2"],
        ["Content-Length: -2"],
        ["Content-Length: 0x2"],
        ["Content-Length: 99999999999999999999999"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
        ["Content-Length : 2"],
        ["X-A: b", " folded: c"],
        ["X-A: \x00"],
        ["X-\x00A: b"],
    ],
)
def test_a_request_whose_length_or_headers_are_in_doubt_is_400_and_ends_the_connection(
    service: Service, secret: str, lines: list[str]
) -> None:
    raw = send_raw(service, head("POST", SEARCH, secret, *lines) + b"{}" + SMUGGLED)

    assert_refused_by_server(raw, 400)


def test_of_two_lengths_the_chunks_count_and_what_follows_them_is_the_next_request(
    service: Service, secret: str
) -> None:
    # RFC 9112, 6.3: Transfer-Encoding overrides Content-Length.
    lines = ("Content-Length: 4", "Transfer-Encoding: chunked")
    raw = send_raw(
        service, head("POST", SEARCH, secret, *lines) + chunked(json.dumps(GOOD).encode(), b"") + SMUGGLED
    )

    assert (raw.status, raw.body[:16]) == (200, b'{"success":true,')
    assert raw.rest.count(b"HTTP/1.1") <= 1
    coded = ("Transfer-Encoding: gzip, chunked", "Connection: close")
    assert_refused(send_raw(service, head("POST", SEARCH, secret, *coded) + chunked(b"{}", b"")), 415)


def test_headers_that_are_too_long_or_too_many_are_431_and_too_long_a_path_is_414(
    service: Service, secret: str
) -> None:
    for lines in (["X-A: " + "a" * 1_000_000], [f"X-{i}: a" for i in range(200)], ["X-A: b" * 100_000]):
        with connect(service) as connection:
            # It does not wait for the end.
            with suppress(OSError):
                connection.sendall(head("GET", NUMBERS, secret, *lines))
            assert_refused_by_server(read_raw(connection), 431)
    assert_refused_by_server(send_raw(service, head("GET", f"{NUMBERS}/{'a' * 70_000}", secret)), 414)
    long = send_raw(service, head("GET", f"{NUMBERS}/{'a' * 30_000}", secret, "Connection: close"))
    assert_refused(long, 422)


@pytest.mark.parametrize(
    "request_", [b"\x16\x03\x01" * 100, b"GET /healthz\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", b"\x00" * 100]
)
def test_what_is_no_http_1_is_400(service: Service, request_: bytes) -> None:
    assert_refused_by_server(send_raw(service, request_), 400)


def test_http_2_and_web_sockets_are_not_spoken(service: Service) -> None:
    with connect(service) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.recv(1000) in (b"", b"HTTP/1.1 400 Bad Request\r\n")
    upgrade = (
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    request = f"GET {NUMBERS} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n" + "\r\n".join(upgrade)
    assert_refused(send_raw(service, request.encode() + b"\r\n\r\n"), 401)


# Methods and paths


def allowed(response: httpx.Response) -> set[str]:
    [text] = response.headers.get_list("allow")
    return set(text.split(", "))


def test_a_wrong_method_is_405_with_all_that_are_right(service: Service, client: httpx.Client) -> None:
    document = read_document(service.instance.url)
    others = {"/openapi.json": {"GET"}, "/docs": {"GET"}, "/docs/initializer.js": {"GET"}}
    methods = {
        path: {method.upper() for method in operations} for path, operations in document["paths"].items()
    }
    for template, known in (methods | others).items():
        path = template.replace("{carrier}", "nobody")
        for parameter in ("{id}", "{key_id}"):
            path = path.replace(parameter, UNKNOWN_ID)
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "HEAD", "BREW"} - known:
            response = client.request(method, path)
            assert response.status_code == 405, (method, path)
            assert allowed(response) == known | {"OPTIONS"}, (method, path)
            if method != "HEAD":
                assert_error(response, 405)
        response = client.options(path)
        assert response.status_code == 204
        assert allowed(response) == known | {"OPTIONS"}, path


PATHS: dict[str, int] = {
    "/v1/phone-numbers/%00": 422,
    "/v1/phone-numbers/..": 422,
    "/v1/phone-numbers/%2e%2e": 422,
    "/v1/phone-numbers/%2e%2e/%2e%2e/etc/passwd": 404,
    "/v1/phone-numbers/%252e%252e%252f": 422,
    f"/v1/phone-numbers/{UNKNOWN_ID}%00": 422,
    f"/v1/phone-numbers/{UNKNOWN_ID}%0a": 422,
    f"/v1/phone-numbers/{UNKNOWN_ID}%2f..%2fx": 404,
    f"/v1/phone-numbers/%2f{UNKNOWN_ID}": 404,
    "//v1/api-keys": 404,
    "/v1//api-keys": 404,
    "/v1%2fapi-keys": 404,
    "/v1%2Fapi-keys": 404,
    "/v1/api-keys%2F": 404,
    "/v1/inventory%2fsyncs": 404,
    "/%2f%2fhealthz": 404,
    "/v1/phone-numbers/%ff%fe": 422,
    "/v1/phone-numbers/%ed%a0%80": 422,
    "/v1/phone-numbers/%": 422,
    "/v1/phone-numbers/%zz": 422,
    "/v1/phone-numbers/%0d%0aX-Injected:%20yes": 422,
    "/v1/phone-numbers/{id}": 422,
    "/v1/phone-numbers/*": 422,
    "/docs/..%2f..%2fapp.py": 404,
    "/docs/%2e%2e/app.py": 404,
    "/docs/../app.py": 404,
    "/docs/swagger-ui%2fswagger-ui.css": 404,
    "/docs/swagger-ui.css%00.js": 404,
    "/V1/phone-numbers": 404,
    "/v1/phone-numbers;x=1": 404,
    "/v1/phone-numbers%3flimit=1": 404,
    "/%76%31/nothing": 404,
    "/v1/phone-numbers?limit=%00": 422,
    "/v1/phone-numbers?limit=" + "9" * 5_000: 422,
    "/v1/phone-numbers?limit=1e1": 422,
    "/v1/phone-numbers?limit=%d9%a5": 422,
    "/v1/phone-numbers?cursor=%ed%a0%80": 422,
    "/v1/phone-numbers?cursor=1%0a": 422,
    "/v1/phone-numbers?search=" + "5" * 5_000: 422,
    "/v1/phone-numbers?campaign_id=%00": 422,
    "/v1/phone-numbers?number_type=local%00": 422,
    "/v1/phone-numbers/orders?cursor=" + "9" * 400: 422,
    "/v1/api-keys?include_revoked=%00": 422,
    "/v1/api-keys?cursor=.": 422,
    "/v1/inventory/syncs?cursor=%00": 422,
    "/v1/inventory/syncs/%00/rejects": 422,
}


@pytest.mark.parametrize("path", PATHS, ids=[path[:60] for path in PATHS])
def test_a_path_or_a_query_that_is_none_is_a_clear_4xx(service: Service, secret: str, path: str) -> None:
    # As it stands: a client would tidy it up.
    raw = send_raw(service, head("GET", path, secret, "Connection: close"))

    assert_refused(raw, PATHS[path])
    assert "x-injected" not in raw.headers


@pytest.mark.parametrize("after", ["\xa0", "\x85", "\x1f"])
def test_a_key_with_anything_but_blanks_after_it_is_401(service: Service, secret: str, after: str) -> None:
    line = f"Authorization: Bearer {secret}{after}".encode("latin-1")
    raw = send_raw(service, b"GET /v1/api-keys HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")

    assert raw.status in (400, 401)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", KEYS, b'{"label": "to outlive it", "scopes": ["apikeys:read"]}'),
        ("POST", ORDERS, b'{"numbers": ["+12095550199"]}'),
        ("POST", SEARCH, b'{"quantity": 1}'),
        ("PUT", f"{FEEDS}/outlived", b"number\n+12095550199\n"),
    ],
)
def test_a_key_that_ends_while_a_body_comes_opens_nothing(
    service: Service, client: httpx.Client, method: str, path: str, body: bytes
) -> None:
    wanted = {"label": "to be revoked", "scopes": [scope.value for scope in Scope]}
    made = client.post(KEYS, json=wanted).json()["data"]
    begin = head(method, path, made["plaintext"], "Connection: close", f"Content-Length: {len(body)}")
    with connect(service) as connection:
        connection.sendall(begin + body[:1])
        # Nothing tells a client that its headers have been read and its key was let in.
        time.sleep(0.3)
        assert client.delete(f"{KEYS}/{made['id']}").status_code == 200
        connection.sendall(body[1:])
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 401 "), answer
    assert made["id"] not in {key["id"] for key in client.get(f"{KEYS}?include_revoked=false").json()["data"]}


def test_queries_with_thousands_of_parameters_or_of_odd_ones_are_answered(client: httpx.Client) -> None:
    for query in ("&".join(f"x{i}=1" for i in range(4_000)), "&" * 5_000, "=&=" * 1_000, "limit&search"):
        assert client.get(f"{NUMBERS}?{query}").status_code in (200, 422)
    # A search for what is in no number finds nothing.
    for text in ("%00", "%ff", "%ed%a0%80", "*", "%5B%5D", "%F0%9F%98%80"):
        assert client.get(f"{NUMBERS}?search={text}").json()["data"] == []


def test_a_body_on_get_is_ignored(service: Service, secret: str) -> None:
    for body in (b"{}", nested(60_000), b"x" * 200_000):
        request = head("GET", NUMBERS, secret, "Connection: close", f"Content-Length: {len(body)}") + body
        with connect(service) as connection:
            connection.sendall(request)
            assert connection.recv(12) == b"HTTP/1.1 200"


# Time


def seconds_until_closed(service: Service, begin: bytes, drop: bytes = b"") -> tuple[float, bytes]:
    """Send the beginning of a request, then a drop each half a second; give when it ended, and the answer."""
    began = time.monotonic()
    answer = b""
    with connect(service) as connection:
        connection.sendall(begin)
        connection.settimeout(0.5)
        while time.monotonic() - began < SLOW_SECONDS + 10:
            try:
                chunk = connection.recv(65_536)
                if not chunk:
                    return time.monotonic() - began, answer
                answer += chunk
            except TimeoutError:
                if drop:
                    connection.sendall(drop)
            except OSError:
                return time.monotonic() - began, answer
    raise AssertionError("it may go on for ever")


def test_who_is_slow_is_cut_off_and_nobody_waits_for_him(service: Service, secret: str) -> None:
    body = head("POST", SEARCH, secret, "Content-Length: 1000")
    chunks = head("POST", ORDERS, secret, "Transfer-Encoding: chunked")
    slow_headers = [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\n", b""),
        (b"GET /healthz HTTP/1.1\r\n", b"X-A: b\r\n"),
    ]
    slow_bodies = [(body, b""), (body, b" "), (chunks, b"1\r\n \r\n")]

    with ThreadPoolExecutor(len(slow_headers + slow_bodies)) as threads:
        cut = [threads.submit(seconds_until_closed, service, *slow) for slow in slow_headers]
        timed_out = [threads.submit(seconds_until_closed, service, *slow) for slow in slow_bodies]
        with new_client(service.instance.url, secret) as client:
            while not all(one.done() for one in timed_out):
                asked_at = time.monotonic()
                found(client.post(SEARCH, json=GOOD))
                assert time.monotonic() - asked_at < 1

    for one in cut:
        seconds, answer = one.result()
        assert SLOW_SECONDS - 1 < seconds < SLOW_SECONDS + 5
        assert not answer or answer.startswith(b"HTTP/1.1 408")
    for one in timed_out:
        seconds, answer = one.result()
        assert 9 < seconds < 15
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"REQUEST_TIMEOUT"' in answer
        assert b"connection: close" in answer.lower()


def test_two_thousand_connections_that_do_nothing_keep_nobody_out(
    service: Service, client: httpx.Client
) -> None:
    idle = [connect(service) for _ in range(2_000)]
    try:
        for _ in range(20):
            asked_at = time.monotonic()
            found(client.post(SEARCH, json=GOOD))
            assert time.monotonic() - asked_at < 1
    finally:
        for connection in idle:
            connection.close()


# Memory


HOSTILE: Sequence[Callable[[int], tuple[str, str, bytes, str]]] = (
    lambda _: ("POST", SEARCH, nested(60_000), ""),
    lambda _: ("POST", SEARCH, huge(60_000), ""),
    lambda _: ("POST", SEARCH, b" " * 65_537, ""),
    lambda number: ("POST", SEARCH, b'{"x%d": 1}' % number, ""),
    lambda number: ("GET", f"/v1/{number}/%00", b"", ""),
    lambda number: ("GET", f"{NUMBERS}/{number}%2f{number}", b"", ""),
    lambda number: ("GET", f"{NUMBERS}?search={number}&x{number}=%ff", b"", ""),
    lambda number: ("POST", SEARCH, b"{}", f"am_live_{number:030}"),
    lambda number: ("POST", ORDERS, msgspec.json.encode({"numbers": [f"+1209555{number % 10_000:04}"]}), ""),
    lambda number: (f"X{number}", SEARCH, b"", ""),
)
"""From a number, which no two have in common: method, path, body, and a key that is not the right one."""


def memory_of(service: Service) -> int:
    """Give the resident bytes of the processes that serve the API."""
    pids = [process.pid for process in processes_of(service.data_dir) if "granian" in process.command]
    pids += [process.pid for process in processes_of(service.data_dir) if process.parent in pids]
    status = [Path(f"/proc/{pid}/status").read_text() for pid in set(pids)]
    assert len(status) >= 2
    return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in status) * 1024


async def send_all(service: Service, secret: str, numbers: Iterator[int], total: int) -> set[int]:
    """Send so many hostile requests, and give what was answered."""
    url = httpx.URL(service.instance.url)
    statuses: set[int] = set()

    async def one(number: int) -> None:
        method, path, body, key = HOSTILE[number % len(HOSTILE)](number)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        length = f"Content-Length: {len(body)}"
        writer.write(head(method, path, key or secret, "Connection: close", length) + body)
        try:
            statuses.add(int((await reader.readline()).split()[1]))
        finally:
            writer.close()

    async def some() -> None:
        for _ in range(total // 20):
            await one(next(numbers))

    await asyncio.gather(*(some() for _ in range(20)))
    return statuses


async def test_memory_stays_flat_however_many_hostile_requests_come(service: Service, secret: str) -> None:
    numbers = count()
    # What the allocator keeps for the most that it ever had to hold at once is there after these.
    await send_all(service, secret, numbers, 4_000)
    before = memory_of(service)

    statuses = await send_all(service, secret, numbers, 8_000)

    grown = memory_of(service) - before
    assert statuses <= {200, 400, 401, 404, 405, 409, 413, 422}
    assert grown < 4_000_000, f"{grown / 1_000_000:.1f} MB more, {before / 1_000_000:.1f} before"
    wait_until(
        lambda: httpx.get(f"{service.instance.url}/readyz").status_code == 200, "it is as ready as ever"
    )
