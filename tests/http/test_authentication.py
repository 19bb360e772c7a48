from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import redis

from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import digests_of, is_well_formed, new_secret
from shared.settings import Settings
from tests.http.answers import SEARCH, assert_error, found, new_client
from tests.http.organizations import in_store
from tests.support import Service, wait_until

ORGANIZATION = "authentication-tests"


class Key(NamedTuple):
    id: str
    secret: str


def create_key(service: Service, *scopes: Scope) -> Key:
    options = [option for scope in scopes for option in ("--scope", scope.value)]
    done = service.numbers("keys create", "--org", ORGANIZATION, "--json", *options)
    assert done.returncode == 0, done.stderr
    resource = msgspec.json.decode(done.stdout)
    return Key(resource["id"], resource["plaintext"])


def revoke(service: Service, key: Key) -> None:
    assert service.numbers("keys revoke", key.id).returncode == 0


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    """Give a client that sends no key of its own."""
    with new_client(service.instance.url) as client:
        yield client


@pytest.fixture(scope="module")
def store_client(service: Service) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(service.instance.redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def searcher(service: Service) -> str:
    """Give the secret of a key that may search and nothing else."""
    return create_key(service, Scope.NUMBERS_WRITE).secret


@pytest.fixture(scope="module")
def scopeless(service: Service) -> str:
    """Give the secret of a key that may do all but search."""
    return create_key(service, *(scope for scope in Scope if scope is not Scope.NUMBERS_WRITE)).secret


@pytest.fixture(scope="module")
def revoked(service: Service, client: httpx.Client) -> str:
    key = create_key(service, Scope.NUMBERS_WRITE)
    revoke(service, key)
    wait_until(lambda: post(client, key.secret).status_code == 401, "the revoked key is refused")
    return key.secret


@pytest.fixture(scope="module")
def expired(service: Service) -> str:
    secret = new_secret()
    wanted = Wanted((Scope.NUMBERS_WRITE,), "over", expires_ms=1)
    in_store(service.instance.redis_url, lambda store: create_api_key(store, ORGANIZATION, wanted, secret))
    return secret


def digest_of(secret: str) -> str:
    """Give the digest of a secret where there is no pepper."""
    [digest] = digests_of(secret, None)
    return digest


def post(client: httpx.Client, secret: str, body: bytes = b"{}") -> httpx.Response:
    return client.post(SEARCH, content=body, headers={"Authorization": f"Bearer {secret}"})


def other_character(character: str) -> str:
    return "a" if character != "a" else "b"


# What a request may carry instead of a good key; `searcher` is one.
REFUSED: dict[str, Callable[[str], list[tuple[str, str | bytes]]]] = {
    "no header": lambda _: [],
    "an empty header": lambda _: [("Authorization", "")],
    "Basic": lambda _: [("Authorization", "Basic dXNlcjpwYXNzd29yZA==")],
    "Basic with the key": lambda key: [("Authorization", f"Basic {key}")],
    "the scheme alone": lambda _: [("Authorization", "Bearer")],
    "no scheme": lambda key: [("Authorization", key)],
    "another scheme": lambda key: [("Authorization", f"Token {key}")],
    "a longer scheme": lambda key: [("Authorization", f"Bearers {key}")],
    "a comma for the space": lambda key: [("Authorization", f"Bearer,{key}")],
    "no space": lambda key: [("Authorization", f"Bearer{key}")],
    "quotes": lambda key: [("Authorization", f'Bearer "{key}"')],
    "two tokens": lambda key: [("Authorization", f"Bearer {key} {key}")],
    "a list": lambda key: [("Authorization", f"Bearer {key}, Bearer {key}")],
    "not ASCII": lambda _: [("Authorization", b"Bearer am_live_\xe9\xff")],
    "very long": lambda key: [("Authorization", f"Bearer {key}{'a' * 5000}")],
    "another prefix": lambda key: [("Authorization", f"Bearer {key.replace('live', 'test')}")],
    "one character less": lambda key: [("Authorization", f"Bearer {key[:-1]}")],
    "one character more": lambda key: [("Authorization", f"Bearer {key}a")],
    "other case": lambda key: [("Authorization", f"Bearer {key.swapcase()}")],
    "a wrong checksum": lambda key: [("Authorization", f"Bearer {key[:-1]}{other_character(key[-1])}")],
    "a mistyped key": lambda key: [
        ("Authorization", f"Bearer {key[:20]}{other_character(key[20])}{key[21:]}")
    ],
    "the digest of a key": lambda key: [("Authorization", f"Bearer {digest_of(key)}")],
    "an unknown key": lambda _: [("Authorization", f"Bearer {new_secret()}")],
    "the key twice": lambda key: [("Authorization", f"Bearer {key}")] * 2,
    "a good and a bad key": lambda key: [
        ("Authorization", f"Bearer {key}"),
        ("Authorization", "Bearer x"),
    ],
    "a bad and a good key": lambda key: [
        ("Authorization", "Basic eDp4"),
        ("Authorization", f"Bearer {key}"),
    ],
    "another header": lambda key: [("X-Api-Key", key), ("Proxy-Authorization", f"Bearer {key}")],
    "a cookie": lambda key: [("Cookie", f"Authorization=Bearer {key}; token={key}")],
}


def told(response: httpx.Response) -> tuple[dict[str, Any], dict[str, str]]:
    """Give all that a 401 tells, but for what no two answers share."""
    error = assert_error(response, 401)
    assert response.headers.get_list("www-authenticate") == ["Bearer"]
    # Granian closes a connection whose request it has not read to its end, which is a matter of timing.
    own = ("x-request-id", "date", "connection")
    headers = {name: value for name, value in response.headers.items() if name not in own}
    return {name: value for name, value in error.items() if name != "request_id"}, headers


@pytest.mark.parametrize("what", REFUSED)
def test_whatever_is_wrong_with_a_key_the_answer_is_the_same_401(
    client: httpx.Client, searcher: str, what: str
) -> None:
    headers = REFUSED[what](searcher)
    # What httpx is told must arrive as it is meant: header by header, undecoded.
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]

    response = client.post(SEARCH, content=b"{}", headers=raw)

    assert told(response) == told(client.post(SEARCH, content=b"{}"))


@pytest.mark.parametrize("kind", ["revoked", "expired"])
def test_a_key_that_was_good_is_refused_alike(
    client: httpx.Client, kind: str, request: pytest.FixtureRequest
) -> None:
    response = post(client, request.getfixturevalue(kind))

    assert told(response) == told(client.post(SEARCH, content=b"{}"))


@pytest.mark.parametrize(
    "name", ["key", "token", "access_token", "api_key", "Authorization", "authorization"]
)
def test_a_key_in_the_query_is_no_key(client: httpx.Client, searcher: str, name: str) -> None:
    response = client.post(SEARCH, params={name: f"Bearer {searcher}"}, content=b"{}")

    assert told(response) == told(client.post(SEARCH, content=b"{}"))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_good_key_is_taken_however_the_scheme_is_spelled(
    client: httpx.Client, searcher: str, scheme: str
) -> None:
    found(client.post(SEARCH, content=b"{}", headers={"Authorization": f"{scheme} {searcher}"}))


def test_the_scope_decides_and_no_other_scope_stands_in_for_it(
    client: httpx.Client, searcher: str, scopeless: str
) -> None:
    error = assert_error(post(client, scopeless), 403)

    assert error["message"] == "missing required scope"
    found(post(client, searcher))


def test_a_revoked_key_is_dead_within_the_documented_time_even_if_it_is_used_all_the_while(
    service: Service, client: httpx.Client
) -> None:
    bound = Settings().key_cache_seconds
    assert bound <= 0.5
    key = create_key(service, Scope.NUMBERS_WRITE)
    found(post(client, key.secret))

    revoke(service, key)

    # Twice the bound, for the machine may be busy; a cache that use kept fresh would never let go.
    wait_until(lambda: post(client, key.secret).status_code == 401, "the key is dead", 2 * bound)


def test_a_new_key_works_at_once(service: Service, client: httpx.Client) -> None:
    found(post(client, create_key(service, Scope.NUMBERS_WRITE).secret))


def questions_about_keys(
    service: Service, client: httpx.Client, secrets: list[str]
) -> tuple[list[str], list[str]]:
    """Send requests with these secrets; give the digests that the store was asked for, and their own."""
    marker = new_secret()
    asked = []
    with redis.Redis.from_url(service.instance.redis_url, socket_timeout=10) as other, other.monitor() as log:
        for secret in (*secrets, marker):
            assert post(client, secret).status_code == 401
        for seen in log.listen():
            _, _, digest = str(seen["command"]).partition("GET key:")
            if digest:
                asked.append(digest)
            if digest == digest_of(marker):
                return asked[:-1], [digest_of(secret) for secret in secrets]
    raise AssertionError("the monitor ended early")


def test_an_invented_or_mistyped_key_costs_the_store_no_command(
    service: Service, client: httpx.Client
) -> None:
    good = [new_secret() for _ in range(20)]
    mistyped = [secret[:-1] + other_character(secret[-1]) for secret in good]
    assert not any(map(is_well_formed, mistyped))

    asked, _ = questions_about_keys(service, client, mistyped)

    assert asked == []


def test_a_caller_who_insists_on_an_unknown_key_costs_the_store_one_command(
    service: Service, client: httpx.Client
) -> None:
    unknown = new_secret()

    asked, digests = questions_about_keys(service, client, [unknown] * 5)

    # More only if the five requests took longer than a record is believed.
    assert 1 <= len(asked) < 5
    assert set(asked) == set(digests)


def test_the_store_holds_no_secret(
    service: Service, searcher: str, revoked: str, store_client: redis.Redis
) -> None:
    pointers = list(store_client.scan_iter("key:*", count=1000))
    organizations = [ORGANIZATION, service.instance.org]
    records = [store_client.hgetall(store_keys.api_keys(name)) for name in organizations]
    text = repr([pointers, store_client.mget(pointers), records])

    for secret in (searcher, revoked, service.instance.key):
        assert digest_of(secret) in text
        assert secret not in text
        assert secret[12:] not in text


# The order of checks: each request breaks two rules, and the answer says the first


NOT_JSON = b"{"
INVALID = b'{"quantity": 0}'
LONG = b"x" * (64 * 1024 + 1)
TEXT = {"Content-Type": "text/plain"}


@pytest.mark.parametrize("who", ["nobody", "scopeless"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/phone-numbers/search/nothing", 404),
        ("GET", SEARCH, 405),
        ("DELETE", SEARCH, 405),
        ("PUT", SEARCH, 405),
        ("PATCH", SEARCH, 405),
    ],
)
def test_the_route_comes_before_the_key(
    client: httpx.Client, scopeless: str, who: str, method: str, path: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {scopeless}"} if who == "scopeless" else {}

    assert_error(client.request(method, path, headers=headers), status)
    assert_error(client.request(method, path, headers=headers | TEXT, content=LONG), status)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(LONG, {}), (b"{}", TEXT), (LONG, TEXT), (b"", {}), (NOT_JSON, {}), (INVALID, {}), (b"{}", {})],
    ids=["413", "415", "413 and 415", "empty", "400", "422", "good"],
)
def test_the_key_comes_before_the_body_and_so_does_the_scope(
    client: httpx.Client, scopeless: str, body: bytes, headers: dict[str, str]
) -> None:
    bad = scopeless[:-1] + other_character(scopeless[-1])

    assert_error(client.post(SEARCH, content=body, headers=headers), 401)
    assert_error(client.post(SEARCH, content=body, headers=headers | {"Authorization": f"Bearer {bad}"}), 401)
    without_scope = headers | {"Authorization": f"Bearer {scopeless}"}
    assert_error(client.post(SEARCH, content=body, headers=without_scope), 403)


def test_the_key_comes_before_the_scope(client: httpx.Client, service: Service) -> None:
    key = create_key(service, Scope.NUMBERS_READ)
    assert_error(post(client, key.secret), 403)

    revoke(service, key)

    wait_until(lambda: post(client, key.secret).status_code == 401, "the key is refused as revoked")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (LONG, {}, 413),
        (LONG[:-1].ljust(70_000, b"{"), {}, 413),
        (INVALID.ljust(70_000), {}, 413),
        (NOT_JSON, TEXT, 415),
        (b"", TEXT, 415),
        (INVALID, TEXT, 415),
        (INVALID[:-1], {}, 400),
        (INVALID + b"x", {}, 400),
        (b"[" + INVALID + b"]", {}, 400),
    ],
)
def test_size_and_type_come_before_syntax_and_syntax_before_the_fields(
    client: httpx.Client, searcher: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    headers = headers | {"Authorization": f"Bearer {searcher}"}

    assert_error(client.post(SEARCH, content=body, headers=headers), status)


def test_what_needs_no_key_ignores_a_bad_one(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert client.get(path, headers={"Authorization": "Bearer x"}).status_code == 200
