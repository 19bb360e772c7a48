"""A search is answered ahead of the router or behind it, and no client can tell which.

The same requests go to the app itself and to one whose short way hands every request to the router.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from litestar import Litestar

from api import short_search
from api.app import create_app
from api.edge import SHORT_SEARCH
from api.json_body import MAX_BODY_BYTES
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.rate_limits import Overrides, set_overrides
from shared.settings import Settings
from shared.store import Store
from tests.http.answers import SEARCH
from tests.http.asgi_apps import served
from tests.support import put_in_stock

SECRETS = {name: new_secret() for name in ("buyer", "reader", "limited", "unknown")}
STOCK = {"415": [5_550_100, 5_550_101, 7_777_777], "800": [2_112_345]}


class Routed:
    """A short way that answers nothing."""

    async def answer(self, _scope: Any, receive: Any, _send: Any) -> Any:
        return receive


class Answer(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    line: dict[str, Any]
    """Of the log."""


class Ways:
    """Two apps on one store."""

    def __init__(self, short: Litestar, routed: Litestar, lines: list[dict[str, Any]]) -> None:
        self.short, self.routed, self.lines = short, routed, lines

    async def send(self, app: Litestar, request: "Request") -> Answer:
        messages = list(request.messages())
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        self.lines.clear()
        await app(request.scope(), receive, send)
        start, *bodies = sent
        return Answer(
            start["status"],
            sorted((name.lower(), value) for name, value in start["headers"]),
            b"".join(message.get("body", b"") for message in bodies),
            self.lines[0] if len(self.lines) == 1 else {"lines": len(self.lines)},
        )


class Request(NamedTuple):
    """A request as the server gives it to the app."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]
    is_ended: bool
    """Whether the last chunk says that it is the last; Granian sends an empty one after it."""

    def scope(self) -> Any:
        return {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": self.method, "scheme": "http", "path": self.path, "raw_path": self.path.encode(),
            "query_string": self.query, "root_path": "", "headers": self.headers, "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1), "state": {}, "extensions": {},
        }  # fmt: skip

    def messages(self) -> list[dict[str, Any]]:
        chunks = self.chunks or [b""]
        last = len(chunks) - 1
        messages = [
            {"type": "http.request", "body": chunk, "more_body": i < last or not self.is_ended}
            for i, chunk in enumerate(chunks)
        ]
        return (
            messages
            if self.is_ended
            else [*messages, {"type": "http.request", "body": b"", "more_body": False}]
        )


@pytest.fixture(scope="module")
async def ways(valkey: str) -> AsyncIterator[Ways]:
    lines: list[dict[str, Any]] = []
    store = Store(valkey, timeout_seconds=5)
    await store.execute("FLUSHALL")
    for area_code, locals_ in STOCK.items():
        await put_in_stock(store, area_code, locals_)
    scopes = {"reader": (Scope.NUMBERS_READ,)}
    for name in ("buyer", "reader", "limited"):
        wanted = Wanted(scopes.get(name, (Scope.NUMBERS_WRITE,)), name)
        await create_api_key(store, name, wanted, SECRETS[name])
    await set_overrides(store, "limited", Overrides(search_rate=1_000_000, search_burst=1_000_000))
    configured = Settings(redis_url=valkey, search_rate=0, write_rate=0, key_cache_seconds=600)
    with pytest.MonkeyPatch.context() as patch:

        def note(*fields: Any) -> None:
            request_id, method, route, status, _, organization, key_id, is_client_gone = fields
            assert request_id
            lines.append({"line": (method, route, status, organization, key_id, is_client_gone)})

        patch.setattr(short_search, "write_request_line", note)
        patch.setattr("api.request_log.write_request_line", note)
        apps = [create_app(configured), create_app(configured)]
        async with served(apps[0]), served(apps[1]):
            apps[1].state[SHORT_SEARCH] = Routed()
            yield Ways(apps[0], apps[1], lines)
    await store.close()


JSON = b"application/json"
bodies = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "area_code": st.sampled_from(["415", "800", "212", "041", "41", "\uff14\uff11\uff15", 415, None]),
            "number_type": st.sampled_from(["local", "toll_free", "short_code", "mobile", None, 1]),
            "pattern": st.sampled_from(["5550", "+1415", "7777777", "", "+", "5+5", "1" * 13, None, 555]),
            "quantity": st.sampled_from([10, 100, 101, 10**30, 0, -1, "5", 5.0, True, None]),
            "unknown": st.just(1),
        },
    ).map(msgspec.json.encode),
    st.sampled_from(
        [
            b"", b" ", b"{}", b"[]", b"null", b"5", b"{", b'{"a"', b"\xef\xbb\xbf{}", b'{"pattern": "\xff"}',
            b'{"pattern": "7", "pattern": "7777777"}', b'{"quantity": 1e2}', b'{"quantity": NaN}', b"[" * 999,
            b'{"pattern": "\\u0035550"}', b'{"pattern": "\\ud800"}', b"{}" + b" " * MAX_BODY_BYTES,
        ]
    ),
)  # fmt: skip
authorizations = st.sampled_from(
    [
        [b"Bearer " + SECRETS["buyer"].encode()],
        [b"bearer \t" + SECRETS["buyer"].encode() + b" "],
        [b"Bearer " + SECRETS["limited"].encode()],
        [b"Bearer " + SECRETS["reader"].encode()],
        [b"Bearer " + SECRETS["unknown"].encode()],
        [b"Bearer " + SECRETS["buyer"].encode()[:-1] + b"0"],
        [b"Bearer \xff"],
        [b"Basic " + SECRETS["buyer"].encode()],
        [b"Bearer"],
        [SECRETS["buyer"].encode()],
        [b"Bearer " + SECRETS["buyer"].encode(), b"Bearer " + SECRETS["buyer"].encode()],
        [b"Bearer " + SECRETS["buyer"].encode(), b"Bearer " + SECRETS["unknown"].encode()],
        [],
    ]
)
others = st.lists(
    st.sampled_from(
        [
            (b"content-type", JSON), (b"content-type", b"application/json; charset=utf-8"), (b"x-a", b"b"),
            (b"content-type", b"text/plain"), (b"content-type", b""), (b"content-encoding", b"gzip"),
            (b"content-encoding", b"identity"), (b"transfer-encoding", b"chunked"), (b"accept", b"text/html"),
            (b"transfer-encoding", b"gzip"), (b"idempotency-key", b"k"), (b"origin", b"https://x.example"),
            (b"x-request-id", b"mine"), (b"cookie", b"a=b"), (b"expect", b"100-continue"), (b"a", b""),
        ]
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Return a request that is plain in most of its parts."""
    method = draw(st.sampled_from(["POST"] * 8 + ["GET", "PUT", "HEAD", "OPTIONS", "post"]))
    path = draw(st.sampled_from([SEARCH] * 8 + [SEARCH + "/", "/" + SEARCH, SEARCH.upper(), "/v1/x"]))
    query = draw(st.sampled_from([b""] * 8 + [b"limit=5", b"%", b"x"]))
    body = draw(bodies)
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=2)))
    chunks = [body[first:last] for first, last in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    headers = [(b"host", b"x"), *((b"authorization", value) for value in draw(authorizations)), *draw(others)]
    if draw(st.sampled_from([True] * 4 + [False])):
        headers.append((b"content-length", str(len(body)).encode()))
    return Request(method, path, query, draw(st.permutations(headers)), chunks, is_ended=draw(st.booleans()))


def comparable(answer: Answer) -> Answer:
    """Return an answer without what differs from request to request."""
    ids = {value for name, value in answer.headers if name == b"x-request-id"}
    (request_id,) = ids
    headers = [
        (name, b"" if name in (b"x-request-id", b"ratelimit") else value) for name, value in answer.headers
    ]
    return answer._replace(headers=headers, body=answer.body.replace(request_id, b"ID"))


@given(st.lists(requests(), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_client_can_tell_which_way_its_search_went(ways: Ways, some: list[Request]) -> None:
    for request in some:
        short = comparable(await ways.send(ways.short, request))
        routed = comparable(await ways.send(ways.routed, request))
        assert short == routed


@pytest.mark.parametrize("name", ["buyer", "limited"])
async def test_an_ordinary_search_goes_the_short_way(
    ways: Ways, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    body = b'{"area_code": "415", "pattern": "555"}'
    headers = [
        (b"host", b"x"),
        (b"authorization", b"Bearer " + SECRETS[name].encode()),
        (b"content-type", JSON),
        (b"content-length", str(len(body)).encode()),
    ]
    request = Request("POST", SEARCH, b"", headers, [body], is_ended=False)
    # The first looks the key up.
    await ways.send(ways.short, request)
    monkeypatch.setattr(Litestar, "__call__", None)
    answer = await ways.send(ways.short, request)
    numbers = [one["number"] for one in msgspec.json.decode(answer.body)["data"]]
    assert numbers == ["+14155550100", "+14155550101"]
