import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from shared import store_keys
from shared.api_keys import MOST_KEYS, Scope, Wanted, create_api_key
from shared.ids import new_id
from shared.key_secrets import is_well_formed, new_secret
from shared.store import Store
from tests.http.answers import (
    API_KEYS,
    SEARCH,
    TIME,
    UUID7,
    assert_alike,
    assert_error,
    assert_invalid,
    new_client,
    paged,
    succeeded,
)
from tests.http.api_processes import api_process
from tests.http.organizations import Organization, Organizations, in_store
from tests.http.test_idempotency import BAD_KEY
from tests.support import Service, wait_until

UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"
KEEPER = (Scope.APIKEYS_READ, Scope.APIKEYS_WRITE)
READ = ["numbers:read"]
MEMBERS = [
    *("id", "org_id", "label", "prefix", "scopes", "created_at", "last_used_at", "revoked_at", "expires_at"),
    "plaintext",
]
EXPIRES = "must be a time to come, in RFC 3339 with an offset, such as 2030-01-31T09:30:00Z"
LABEL = "must be text of 1-255 characters"


@pytest.fixture(scope="module")
def keeper(service: Service, organizations: Organizations) -> Organization:
    """Give a caller that may do all with keys, and read and write numbers."""
    return organizations.of(
        service,
        "key-tests",
        (*KEEPER, Scope.NUMBERS_READ, Scope.NUMBERS_WRITE, Scope.PLATFORM_INVENTORY_READ),
    )


@pytest.fixture
def own(service: Service, organizations: Organizations) -> Organization:
    """Give a caller in an organization that no other test has."""
    return organizations.of(
        service, f"key-tests-{new_id()}", (*KEEPER, Scope.NUMBERS_READ, Scope.NUMBERS_WRITE)
    )


@pytest.fixture(scope="module")
def raw(service: Service) -> Iterator[Any]:
    with redis.Redis.from_url(service.instance.redis_url) as client:
        yield client


def made(caller: Organization, key: str | None = None, **members: Any) -> dict[str, Any]:
    """Make a key, check its whole shape, and give it."""
    response = caller.create_key(key, **{"label": "a", "scopes": READ} | members)
    resource: dict[str, Any] = succeeded(response, 201)
    assert_key(resource)
    assert response.headers["location"] == f"{API_KEYS}/{resource['id']}"
    assert resource["org_id"] == caller.name
    return resource


def assert_key(resource: dict[str, Any], *, is_secret: bool = True) -> None:
    """Check the whole shape of a key, and whether its secret is told."""
    assert list(resource) == MEMBERS
    assert UUID7.fullmatch(resource["id"])
    assert TIME.fullmatch(resource["created_at"])
    for member in ("last_used_at", "revoked_at", "expires_at"):
        assert resource[member] is None or TIME.fullmatch(resource[member])
    assert re.fullmatch(r"am_live_[0-9A-Za-z]{4}", resource["prefix"])
    if is_secret:
        assert is_well_formed(resource["plaintext"])
        assert resource["plaintext"].startswith(resource["prefix"])
    else:
        assert resource["plaintext"] is None


def untold(resource: dict[str, Any]) -> dict[str, Any]:
    return resource | {"plaintext": None}


def status_with(caller: Organization, secret: str) -> int:
    """Give what a request with this secret is answered."""
    with new_client(str(caller.client.base_url), secret) as client:
        return client.get("/v1/phone-numbers").status_code


# Creation


def test_a_new_key_works_at_once_and_its_secret_is_shown_this_once(keeper: Organization) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    resource = made(keeper, label="Checkout ☎", scopes=["numbers:read", "apikeys:read"])

    assert (resource["label"], resource["scopes"]) == ("Checkout ☎", ["numbers:read", "apikeys:read"])
    assert before < datetime.fromisoformat(resource["created_at"]) < datetime.now(UTC) + timedelta(seconds=1)
    assert [resource[name] for name in ("last_used_at", "revoked_at", "expires_at")] == [None] * 3
    assert status_with(keeper, resource["plaintext"]) == 200
    assert succeeded(keeper.get_key(resource["id"])) == untold(resource)
    assert keeper.page(API_KEYS, limit=1).json()["data"] == [untold(resource)]


def test_no_two_keys_have_the_same_secret_or_id(keeper: Organization) -> None:
    keys = [made(keeper) for _ in range(20)]
    assert len({key["plaintext"] for key in keys}) == len({key["id"] for key in keys}) == 20


def test_scopes_are_listed_in_the_documented_order_whatever_order_they_came_in(keeper: Organization) -> None:
    asked = ["apikeys:write", "numbers:write", "apikeys:read", "numbers:read"]
    assert made(keeper, scopes=asked)["scopes"] == [one for one in Scope if one in asked]


@pytest.mark.parametrize(
    ("scopes", "details"),
    [
        ([], {"scopes": "must have at least one scope"}),
        (["numbers:delete"], {"scopes.0": "is not a known scope"}),
        (["Numbers:Read"], {"scopes.0": "is not a known scope"}),
        (["numbers:read "], {"scopes.0": "is not a known scope"}),
        ([""], {"scopes.0": "is not a known scope"}),
        (["*"], {"scopes.0": "is not a known scope"}),
        (["numbers:read", "numbers:read"], {"scopes.1": "is the same as scopes.0"}),
        (
            ["numbers:read", "x", "numbers:write", "numbers:read"],
            {"scopes.1": "is not a known scope", "scopes.3": "is the same as scopes.0"},
        ),
    ],
)
def test_unknown_empty_and_duplicate_scopes_are_400(
    keeper: Organization, scopes: list[str], details: dict[str, str]
) -> None:
    response = keeper.create_key(label="a", scopes=scopes)

    assert assert_error(response, 400, has_details=True)["details"] == details


@pytest.mark.parametrize(
    ("members", "details"),
    [
        ({}, {"label": "is required", "scopes": "is required"}),
        ({"scopes": READ}, {"label": "is required"}),
        ({"label": None, "scopes": READ}, {"label": LABEL}),
        ({"label": "", "scopes": READ}, {"label": LABEL}),
        ({"label": "a" * 256, "scopes": READ}, {"label": LABEL}),
        ({"label": 5, "scopes": READ}, {"label": LABEL}),
        ({"label": "a"}, {"scopes": "is required"}),
        ({"label": "a", "scopes": None}, {"scopes": "must be a list of scopes"}),
        ({"label": "a", "scopes": "numbers:read"}, {"scopes": "must be a list of scopes"}),
        ({"label": "a", "scopes": {}}, {"scopes": "must be a list of scopes"}),
        ({"label": "a", "scopes": ["numbers:read", 5]}, {"scopes.1": "must be a scope"}),
        (
            {"label": "a", "scopes": [None, True]},
            {"scopes.0": "must be a scope", "scopes.1": "must be a scope"},
        ),
        ({"label": "a", "scopes": READ, "org_id": "x"}, {"org_id": "is not a known field"}),
        (
            {"label": "", "scopes": 1, "expires_at": 1},
            {"label": LABEL, "scopes": "must be a list of scopes", "expires_at": EXPIRES},
        ),
    ],
)
def test_a_body_of_the_wrong_shape_is_422_and_all_that_is_wrong_is_named(
    keeper: Organization, members: dict[str, Any], details: dict[str, str]
) -> None:
    assert_invalid(keeper.create_key(**members), **details)


@pytest.mark.parametrize(
    "expires_at",
    [
        "2026-01-01T00:00:00Z",
        "2099-01-01T00:00:00",
        "2099-01-01",
        "2099-13-01T00:00:00Z",
        "2099-02-29T00:00:00Z",
        "2099-01-01T00:00Z",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+01:00",
        "tomorrow",
        "",
        4_070_908_800,
        "4070908800",
        True,
    ],
)
def test_an_expiry_that_is_past_or_no_rfc_3339_time_with_an_offset_is_422(
    keeper: Organization, expires_at: object
) -> None:
    assert_invalid(keeper.create_key(label="a", scopes=READ, expires_at=expires_at), expires_at=EXPIRES)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        ("2099-01-01t01:30:00.5+01:30", "2099-01-01T00:00:00.500000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999000Z"),
        (None, None),
    ],
)
def test_an_expiry_is_told_in_utc_however_far_off_it_is(
    keeper: Organization, asked: str | None, told: str | None
) -> None:
    resource = made(keeper, expires_at=asked)

    assert resource["expires_at"] == told
    assert status_with(keeper, resource["plaintext"]) == 200
    succeeded(keeper.rotate_key(resource["id"]))
    assert succeeded(keeper.get_key(resource["id"]))["expires_at"] == told


@pytest.mark.parametrize("label", ["a", "a" * 255, "☎" * 255, "two\nlines", "\0", "null", '"\\/', " "])
def test_a_label_comes_back_as_it_was_sent(keeper: Organization, label: str) -> None:
    assert made(keeper, label=label)["label"] == label


def test_a_key_cannot_make_one_that_may_do_more_than_itself(
    service: Service, organizations: Organizations
) -> None:
    caller = organizations.of(service, "key-tests-narrow", (Scope.APIKEYS_WRITE, Scope.NUMBERS_READ))

    for scope in set(Scope) - {Scope.APIKEYS_WRITE, Scope.NUMBERS_READ}:
        assert_error(caller.create_key(label="a", scopes=[scope]), 403)
        assert_error(caller.create_key(label="a", scopes=["numbers:read", scope]), 403)
    made(caller, scopes=["numbers:read", "apikeys:write"])


def test_a_refused_creation_makes_nothing(own: Organization, raw: Any) -> None:
    before = sorted(raw.keys("key:*"))

    assert_error(own.create_key("key", label="a", scopes=["platform:inventory:write"]), 403)
    assert_error(own.create_key("key", label="a", scopes=[]), 400, has_details=True)
    assert_error(own.create_key("key", label="", scopes=READ), 422)
    assert_error(own.create_key("key", label="a", scopes=READ, expires_at="2020-01-01T00:00:00Z"), 422)

    assert own.page(API_KEYS).json()["meta"]["total"] == 1
    assert sorted(raw.keys("key:*")) == before
    assert kept_of(raw, own.name) == []


def test_when_there_is_no_room_for_another_live_key_it_is_409_and_a_revoked_one_makes_room(
    service: Service, own: Organization, raw: Any
) -> None:
    async def fill(store: Store) -> None:
        wanted = Wanted((Scope.NUMBERS_READ,), "filler")
        for _ in range(MOST_KEYS - 1):
            await create_api_key(store, own.name, wanted, new_secret())

    in_store(service.instance.redis_url, fill)
    digests = len(raw.keys("key:*"))

    for key in (None, "key", "key"):
        assert_error(own.create_key(key, label="a", scopes=READ), 409, "API_KEY_LIMIT")

    assert len(raw.keys("key:*")) == digests
    victim = own.page(API_KEYS, limit=1).json()["data"][0]["id"]
    succeeded(own.revoke_key(victim))
    resource = made(own, "key")
    assert own.page(API_KEYS).json()["meta"]["total"] == MOST_KEYS
    assert_error(own.get_key(victim), 404)
    assert status_with(own, resource["plaintext"]) == 200


# Collection


def test_the_collection_is_newest_first_and_its_pages_hold_every_key_once_while_keys_come_and_go(
    own: Organization,
) -> None:
    old = [made(own, label=str(place))["id"] for place in range(9)]
    all_ids = [key["id"] for key in own.page(API_KEYS).json()["data"]]
    assert all_ids[:-1] == old[::-1]

    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        data, meta = paged(own.page(API_KEYS, **query), 3)
        seen += [key["id"] for key in data]
        made(own, label="new")
        succeeded(own.revoke_key(data[-1]["id"]))
        cursor = meta["next_cursor"]
        if cursor is None:
            break

    assert seen == all_ids


def test_total_is_true_and_include_revoked_leaves_the_revoked_out(own: Organization) -> None:
    keys = [made(own) for _ in range(5)]
    for key in keys[:2]:
        succeeded(own.revoke_key(key["id"]))

    everything, meta = paged(own.page(API_KEYS), 50)
    assert (len(everything), meta) == (6, {"total": 6, "limit": 50, "offset": 0, "next_cursor": None})
    for key in everything:
        assert_key(key, is_secret=False)
    assert paged(own.page(API_KEYS, include_revoked="true"), 50)[0] == everything
    live, meta = paged(own.page(API_KEYS, include_revoked="false", limit=2), 2)
    assert meta["total"] == 4
    rest, meta = paged(own.page(API_KEYS, include_revoked="false", limit=2, cursor=meta["next_cursor"]), 2)
    assert meta["next_cursor"] is None
    assert [*live, *rest] == [key for key in everything if key["revoked_at"] is None]


@pytest.mark.parametrize(
    ("query", "details"),
    [
        *[
            ({"cursor": cursor}, {"cursor": "must be the next_cursor of a page before"})
            for cursor in (
                "",
                "x",
                "1",
                UNKNOWN_ID,
                f"1.{UNKNOWN_ID}\n",
                f"-1.{UNKNOWN_ID}",
                f"{'9' * 16}.{UNKNOWN_ID}",
            )
        ],
        *[
            ({"limit": limit}, {"limit": "must be an integer from 1 to 100"})
            for limit in ("0", "101", "-1", "5.0", "x", "")
        ],
        ({"include_revoked": "maybe"}, {"include_revoked": "must be true or false"}),
    ],
)
def test_a_bad_cursor_limit_or_filter_is_422(
    keeper: Organization, query: dict[str, str], details: dict[str, str]
) -> None:
    assert_invalid(keeper.page(API_KEYS, **query), **details)


# One key


def test_a_rotated_key_has_a_new_secret_and_the_old_one_is_dead_at_once(keeper: Organization) -> None:
    first = made(
        keeper, scopes=["numbers:read", "numbers:write"], label="b", expires_at="2099-01-01T00:00:00Z"
    )
    assert status_with(keeper, first["plaintext"]) == 200

    second: dict[str, Any] = succeeded(keeper.rotate_key(first["id"]))

    assert status_with(keeper, first["plaintext"]) == 401
    assert status_with(keeper, second["plaintext"]) == 200
    assert_key(second)
    changed = {"plaintext", "prefix", "last_used_at"}
    assert {name: second[name] for name in set(second) - changed} == {
        name: first[name] for name in set(first) - changed
    }
    third = succeeded(keeper.rotate_key(first["id"]))
    assert len({key["plaintext"] for key in (first, second, third)}) == 3
    assert status_with(keeper, second["plaintext"]) == 401


@pytest.mark.parametrize("body", [b"", b"{", b'{"scopes": []}', b"\xff", b"[]"])
def test_rotation_and_revocation_ignore_a_body(keeper: Organization, body: bytes) -> None:
    key_id = made(keeper)["id"]
    headers = {"Content-Type": "text/plain"}

    succeeded(keeper.client.post(f"{API_KEYS}/{key_id}/rotate", content=body, headers=headers))
    succeeded(keeper.client.request("DELETE", f"{API_KEYS}/{key_id}", content=body, headers=headers))


def test_who_has_fewer_rights_than_a_key_cannot_rotate_it_but_may_revoke_it(
    service: Service, organizations: Organizations, keeper: Organization
) -> None:
    narrow = organizations.of(service, keeper.name, KEEPER)
    resource = made(keeper)

    assert_error(narrow.rotate_key(resource["id"]), 403)
    assert_error(narrow.rotate_key(resource["id"], "key"), 403)
    assert status_with(keeper, resource["plaintext"]) == 200
    succeeded(narrow.revoke_key(resource["id"]))


def test_a_revoked_key_is_dead_at_once_and_stays_listed_as_it_was(keeper: Organization) -> None:
    resource = made(keeper)
    assert status_with(keeper, resource["plaintext"]) == 200

    revoked = succeeded(keeper.revoke_key(resource["id"]))

    assert status_with(keeper, resource["plaintext"]) == 401
    assert_key(revoked, is_secret=False)
    assert revoked["revoked_at"] >= resource["created_at"]
    again = succeeded(keeper.revoke_key(resource["id"].upper()))
    assert again["revoked_at"] == revoked["revoked_at"]
    assert succeeded(keeper.get_key(resource["id"]))["revoked_at"] == revoked["revoked_at"]
    assert_error(keeper.rotate_key(resource["id"]), 409, "API_KEY_NOT_LIVE")
    assert_error(keeper.rotate_key(resource["id"], "key"), 409, "API_KEY_NOT_LIVE")


def test_an_expired_key_cannot_be_rotated_and_can_still_be_revoked(keeper: Organization) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    resource = made(keeper, expires_at=soon.isoformat())

    wait_until(lambda: status_with(keeper, resource["plaintext"]) == 401, "the key has expired")

    assert_error(keeper.rotate_key(resource["id"]), 409, "API_KEY_NOT_LIVE")
    assert succeeded(keeper.get_key(resource["id"]))["revoked_at"] is None
    assert succeeded(keeper.revoke_key(resource["id"]))["revoked_at"] is not None


def test_a_key_can_revoke_and_rotate_itself(own: Organization, organizations: Organizations) -> None:
    resource = made(own, scopes=["apikeys:write", "apikeys:read"])
    itself = organizations.again(str(own.client.base_url), resource["plaintext"], own.name)

    rotated = succeeded(itself.rotate_key(resource["id"]))
    assert_error(itself.get_key(resource["id"]), 401)
    itself = organizations.again(str(own.client.base_url), rotated["plaintext"], own.name)
    succeeded(itself.revoke_key(resource["id"]))
    assert_error(itself.revoke_key(resource["id"]), 401)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/rotate"), ("DELETE", "")])
def test_another_organizations_key_is_answered_as_one_that_there_is_not(
    service: Service, organizations: Organizations, keeper: Organization, method: str, path: str
) -> None:
    stranger = organizations.of(service, "key-tests-stranger", tuple(Scope))
    resource = made(keeper)

    for headers in ({}, {"Idempotency-Key": f"foreign {method}{path}"}):
        foreign, absent = (
            stranger.client.request(method, f"{API_KEYS}/{key_id}{path}", headers=headers)
            for key_id in (resource["id"], UNKNOWN_ID)
        )
        assert_error(foreign, 404)
        assert_alike(foreign, absent)
    assert status_with(keeper, resource["plaintext"]) == 200
    assert succeeded(keeper.get_key(resource["id"]))["revoked_at"] is None


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/rotate"), ("DELETE", "")])
@pytest.mark.parametrize("key_id", ["x", UNKNOWN_ID[:-1], f"{UNKNOWN_ID}0", f"{UNKNOWN_ID[:-1]}g"])
def test_a_malformed_id_is_422(keeper: Organization, method: str, path: str, key_id: str) -> None:
    assert_invalid(keeper.client.request(method, f"{API_KEYS}/{key_id}{path}"), id="must be a UUID")


def test_the_organizations_stream_says_who_did_what_in_which_request(own: Organization, raw: Any) -> None:
    resource = made(own)
    answers = [own.rotate_key(resource["id"]), own.revoke_key(resource["id"]), own.revoke_key(resource["id"])]
    mine = own.page(API_KEYS).json()["data"][-1]["id"]

    told = [entry for _, entry in raw.xrange(store_keys.api_key_events(own.name))]

    told = [{name.decode(): value.decode() for name, value in entry.items()} for entry in told][1:]
    assert [entry["event"] for entry in told] == ["created", "rotated", "revoked"]
    assert {(entry["key"], entry["by"]) for entry in told} == {(resource["id"], mine)}
    assert [entry["request"] for entry in told[1:]] == [one.headers["x-request-id"] for one in answers[:2]]


# Idempotency-Key


def test_a_creation_that_comes_again_makes_nothing_and_tells_no_secret(own: Organization) -> None:
    first = made(own, "key", label="first")

    for _ in range(2):
        again = own.create_key("key", label="first", scopes=READ)
        assert succeeded(again, 201) == untold(first)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == f"{API_KEYS}/{first['id']}"
    assert_error(own.create_key("key", label="other", scopes=READ), 422, "IDEMPOTENCY_KEY_REUSED")
    assert own.page(API_KEYS).json()["meta"]["total"] == 2
    assert status_with(own, first["plaintext"]) == 200


def test_a_rotation_that_comes_again_changes_nothing_and_tells_no_secret(own: Organization) -> None:
    key_id, other_id = made(own)["id"], made(own)["id"]
    first = succeeded(own.rotate_key(key_id, "key"))

    again = own.rotate_key(key_id, "key")

    assert succeeded(again) == untold(first)
    assert again.headers["idempotency-replayed"] == "true"
    assert status_with(own, first["plaintext"]) == 200
    assert_error(own.rotate_key(other_id, "key"), 422, "IDEMPOTENCY_KEY_REUSED")


def test_a_revocation_that_comes_again_gives_the_first_answer(own: Organization) -> None:
    key_id = made(own)["id"]
    first = own.revoke_key(key_id, "key")

    again = own.revoke_key(key_id, "key")

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


@pytest.mark.parametrize("bad", [b"", b"a" * 256, b"\xc3\xa9", b"a\tb"])
def test_a_bad_idempotency_key_is_422(keeper: Organization, bad: bytes) -> None:
    key_id = made(keeper)["id"]
    headers = [(b"Idempotency-Key", bad)]
    for response in (
        keeper.client.post(API_KEYS, json={"label": "a", "scopes": READ}, headers=headers),
        keeper.client.post(f"{API_KEYS}/{key_id}/rotate", headers=headers),
        keeper.client.delete(f"{API_KEYS}/{key_id}", headers=headers),
    ):
        assert_invalid(response, **{"Idempotency-Key": BAD_KEY})


def test_what_was_refused_leaves_the_idempotency_key_free(own: Organization) -> None:
    assert_error(own.rotate_key(UNKNOWN_ID, "key"), 404)
    assert_error(own.revoke_key(UNKNOWN_ID, "key"), 404)
    assert_error(own.create_key("key", label="a", scopes=READ, expires_at="2020-01-01T00:00:00Z"), 422)

    key_id = made(own, "key")["id"]
    succeeded(own.rotate_key(key_id, "key"))
    succeeded(own.revoke_key(key_id, "key"))


def kept_of(raw: Any, organization: str) -> list[bytes]:
    names: list[bytes] = list(raw.scan_iter(store_keys.idempotency(organization, "*"), count=1000))
    return names


def test_of_creations_that_come_at_once_with_one_key_one_makes_a_key_and_tells_a_secret_that_works(
    own: Organization,
) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: own.create_key("key", label="a", scopes=READ), range(8)))

    made_now = [one for one in answers if one.status_code == 201 and one.json()["data"]["plaintext"]]
    assert len(made_now) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert_error(answer, 409, "IDEMPOTENCY_IN_PROGRESS")
            assert int(answer.headers["retry-after"]) >= 1
    assert own.page(API_KEYS).json()["meta"]["total"] == 2
    assert status_with(own, made_now[0].json()["data"]["plaintext"]) == 200


@pytest.mark.parametrize("what", ["creation", "rotation"])
def test_an_attempt_that_died_is_taken_up_with_the_same_key_and_a_new_secret(
    own: Organization, raw: Any, what: str
) -> None:
    before = made(own)

    def send() -> httpx.Response:
        if what == "rotation":
            return own.rotate_key(before["id"], "key")
        return own.create_key("key", label="b", scopes=READ)

    first = send().json()["data"]
    [name] = kept_of(raw, own.name)
    # As if it had died before its answer was kept, and its time were over.
    raw.hdel(name, "answer")
    raw.hset(name, "deadline_ms", "1")

    again = send()

    second = again.json()["data"]
    assert "idempotency-replayed" not in again.headers
    assert second == first | {name: second[name] for name in ("plaintext", "prefix")}
    assert second["plaintext"] != first["plaintext"]
    assert status_with(own, first["plaintext"]) == 401
    assert status_with(own, second["plaintext"]) == 200
    assert own.page(API_KEYS).json()["meta"]["total"] == (3 if what == "creation" else 2)
    assert succeeded(send(), again.status_code) == untold(second)


def test_the_store_never_holds_a_secret(own: Organization, raw: Any) -> None:
    first = made(own, "key")
    second = succeeded(own.rotate_key(first["id"], "key"))
    own.create_key("key", label="a", scopes=READ)
    own.rotate_key(first["id"], "key")

    dump = b"".join(filter(None, (raw.dump(name) for name in raw.scan_iter(f"*{own.name}*", count=1000))))
    pointers = b"".join(raw.mget(raw.keys("key:*"))) + b"".join(raw.keys("*"))

    assert len(kept_of(raw, own.name)) == 2
    for secret in (first["plaintext"], second["plaintext"], own.secret):
        assert secret[12:].encode() not in dump + pointers
        assert secret[-8:].encode() not in dump + pointers


# Limits and rights


def test_making_and_rotating_keys_share_ten_a_minute_and_revoking_does_not_count(
    service: Service, organizations: Organizations, own: Organization, tmp_path: Path
) -> None:
    key_id = made(own)["id"]
    url = service.instance.redis_url
    limits = {"NUMBERS_WRITE_RATE": "20", "NUMBERS_WRITE_BURST": "50"}
    with api_process(url, tmp_path / "api.log", **limits) as there:
        limited = organizations.again(there, own.secret, own.name)
        answers = [limited.rotate_key(key_id) for _ in range(5)]
        answers += [limited.create_key(label="a", scopes=READ) for _ in range(4)]
        # What is refused for its form counts as well.
        answers += [limited.create_key(label="", scopes=READ)]
        refused = [limited.create_key(label="a", scopes=READ), limited.rotate_key(key_id)]

        assert [answer.status_code for answer in answers] == [200] * 5 + [201] * 4 + [422]
        for answer in refused:
            assert_error(answer, 429)
            assert 1 <= int(answer.headers["retry-after"]) <= 6
        succeeded(limited.revoke_key(key_id))
        succeeded(limited.get_key(key_id))


def test_keys_are_shown_to_readers_of_keys_only_and_changed_by_writers_only(
    service: Service, organizations: Organizations, keeper: Organization
) -> None:
    reader = organizations.of(service, keeper.name, (Scope.APIKEYS_READ,))
    writer = organizations.of(service, keeper.name, (Scope.APIKEYS_WRITE, Scope.NUMBERS_READ))
    key_id = made(writer)["id"]

    assert_error(writer.page(API_KEYS), 403)
    assert_error(writer.get_key(key_id), 403)
    for refused in (reader.create_key(), reader.rotate_key("x"), reader.revoke_key("x")):
        assert_error(refused, 403)
    succeeded(reader.get_key(key_id))
    assert_error(reader.client.post(SEARCH, json={}), 403)
