import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest
import redis

from shared import store_keys
from shared.feeds.syncs import new_sync_id
from tests.http.answers import FEEDS, SYNCS, assert_error, assert_invalid, paged
from tests.http.inventory import ended, feed_of, fetch, look, queued, spool_of, strays_in_spool, upload
from tests.http.organizations import OPERATOR, Organization, Organizations
from tests.http.test_idempotency import BAD_KEY, assert_replayed
from tests.support import Service, wait_until

UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"
FEED = feed_of("+16405557000", "+16405557001")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Give a key that no other test has."""
    return re.sub(r"[^ -~]", "", request.node.name)[:200]


class Write(NamedTuple):
    """A route that writes: something to write to, a request, and another request of the same route."""

    prepare: Callable[[Organization], Any]
    send: Callable[[Organization, Any, str], httpx.Response]
    send_other: Callable[[Organization, Any, str], httpx.Response]


def put(caller: Organization, feed: bytes, key: str, **query: Any) -> httpx.Response:
    return upload(caller, "keyed", feed, {"Idempotency-Key": key}, **query)


def act(caller: Organization, path: str, key: str) -> httpx.Response:
    return caller.client.post(f"{SYNCS}/{path}", headers={"Idempotency-Key": key})


def nothing(_: Organization) -> None:
    return None


def waiting(caller: Organization) -> str:
    """Give a sync whose removals wait."""
    ended(caller, upload(caller, "guarded", feed_of("+16415557000", "+16415557001"), confirm="true"))
    sync = ended(caller, upload(caller, "guarded", feed_of("+16415557000")))
    assert sync["state"] == "waiting"
    sync_id: str = sync["id"]
    return sync_id


def applied(caller: Organization) -> str:
    """Give a sync that can be rolled back."""
    for number in ("+16425557000", "+16425557001"):
        sync = ended(caller, upload(caller, "back-again", feed_of(number)))
    sync_id: str = sync["id"]
    return sync_id


WRITES = {
    "fetch": Write(
        nothing,
        lambda caller, _, key: fetch(caller, "sourced", key, dry_run=True),
        lambda caller, _, key: fetch(caller, "sourced", key),
    ),
    "upload": Write(
        nothing,
        lambda caller, _, key: put(caller, FEED, key),
        lambda caller, _, key: put(caller, FEED + b"\n", key),
    ),
    "upload with options": Write(
        nothing,
        lambda caller, _, key: put(caller, FEED, key, mode="delta"),
        lambda caller, _, key: put(caller, FEED, key, mode="delta", dry_run="true"),
    ),
    "confirm": Write(
        waiting,
        lambda caller, sync_id, key: act(caller, f"{sync_id}/confirm", key),
        lambda caller, _, key: act(caller, f"{UNKNOWN_ID}/confirm", key),
    ),
    "rollback": Write(
        applied,
        lambda caller, sync_id, key: act(caller, f"{sync_id}/rollback", key),
        lambda caller, _, key: act(caller, f"{UNKNOWN_ID}/rollback", key),
    ),
}


def syncs_total(operator: Organization) -> int:
    total: int = paged(operator.page(SYNCS, limit=1), 1)[1]["total"]
    return total


@pytest.mark.parametrize("name", WRITES)
def test_the_same_key_with_the_same_request_gives_the_first_response_again_and_no_second_sync(
    feeding: Service, operator: Organization, key: str, name: str
) -> None:
    write = WRITES[name]
    target = write.prepare(operator)
    first = write.send(operator, target, key)
    sync_id = queued(first)
    total = syncs_total(operator)
    assert_replayed(first, write.send(operator, target, key))
    ended(operator, first)
    seen = look(operator, sync_id)

    for _ in range(2):
        assert_replayed(first, write.send(operator, target, key))

    assert (syncs_total(operator), look(operator, sync_id)) == (total, seen)
    assert strays_in_spool(feeding, operator) == []


@pytest.mark.parametrize("name", WRITES)
def test_the_same_key_with_another_request_is_422_and_does_nothing(
    feeding: Service, operator: Organization, key: str, name: str
) -> None:
    write = WRITES[name]
    target = write.prepare(operator)
    first = write.send(operator, target, key)
    queued(first)
    total = syncs_total(operator)

    assert_error(write.send_other(operator, target, key), 422, "IDEMPOTENCY_KEY_REUSED")

    assert_replayed(first, write.send(operator, target, key))
    assert (syncs_total(operator), strays_in_spool(feeding, operator)) == (total, [])


def test_a_key_is_one_of_its_organization_and_its_route(
    feeding: Service, organizations: Organizations, operator: Organization, key: str
) -> None:
    other = organizations.of(feeding, "inventory-tests-other", OPERATOR)

    syncs = {queued(answer) for answer in (put(operator, FEED, key), put(other, FEED, key))}
    syncs |= {queued(fetch(operator, "sourced", key))}

    assert len(syncs) == 3


@pytest.mark.parametrize("name", ["fetch", "upload"])
def test_of_requests_that_come_at_once_with_one_key_one_makes_a_sync(
    feeding: Service, operator: Organization, key: str, name: str
) -> None:
    total = syncs_total(operator)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: WRITES[name].send(operator, None, key), range(8)))

    made = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.content for answer in made}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in made) == 1
    for answer in answers:
        if answer.status_code != 202:
            assert_error(answer, 409, "IDEMPOTENCY_IN_PROGRESS")
            assert int(answer.headers["retry-after"]) >= 1
    assert syncs_total(operator) == total + 1
    assert strays_in_spool(feeding, operator) == []


# While the first request runs, or after it died


def kept_under(service: Service, caller: Organization, sync_id: str) -> str:
    """Give the name of the record of the key that stands for a sync."""
    with redis.Redis.from_url(service.instance.redis_url, decode_responses=True) as client:
        pattern = store_keys.idempotency(caller.name, "*")
        names = list(client.scan_iter(pattern, count=1000))
        [name] = [name for name in names if client.hget(name, "makes") == sync_id]
        assert 86_000 < client.ttl(name) <= 86_400
    found: str = name
    return found


def die_before_the_answer(
    service: Service, caller: Organization, first: httpx.Response, deadline_ms: int = 1
) -> None:
    """Leave of a request what an API leaves that dies over it, some time before it has answered."""
    name = kept_under(service, caller, first.json()["data"]["id"])
    with redis.Redis.from_url(service.instance.redis_url) as client:
        assert client.hdel(name, "answer") == 1
        client.hset(name, "deadline_ms", deadline_ms)


def test_a_request_whose_first_one_still_runs_is_409_with_retry_after(
    feeding: Service, operator: Organization, key: str
) -> None:
    total = syncs_total(operator)
    first = put(operator, FEED, key)
    with redis.Redis.from_url(feeding.instance.redis_url) as client:
        seconds, _ = client.time()
    die_before_the_answer(feeding, operator, first, (seconds + 60) * 1000)

    again = put(operator, FEED, key)

    assert_error(again, 409, "IDEMPOTENCY_IN_PROGRESS")
    assert 1 <= int(again.headers["retry-after"]) <= 60
    assert (syncs_total(operator), strays_in_spool(feeding, operator)) == (total + 1, [])


@pytest.mark.parametrize("name", WRITES)
def test_after_the_first_request_died_over_its_answer_the_next_one_shows_its_sync(
    feeding: Service, operator: Organization, key: str, name: str
) -> None:
    write = WRITES[name]
    target = write.prepare(operator)
    first = write.send(operator, target, key)
    done = ended(operator, first)
    total = syncs_total(operator)
    die_before_the_answer(feeding, operator, first)

    again = write.send(operator, target, key)

    assert queued(again) == done["id"]
    assert "idempotency-replayed" not in again.headers
    assert_replayed(again, write.send(operator, target, key))
    assert look(operator, done["id"])["state"] == done["state"]
    assert (syncs_total(operator), strays_in_spool(feeding, operator)) == (total, [])


@pytest.mark.parametrize("name", ["fetch", "upload"])
def test_after_the_first_request_died_before_its_sync_the_next_one_makes_it(
    feeding: Service, operator: Organization, key: str, name: str
) -> None:
    first = WRITES[name].send(operator, None, key)
    ended(operator, first)
    die_before_the_answer(feeding, operator, first)
    meant = new_sync_id()
    with redis.Redis.from_url(feeding.instance.redis_url) as client:
        client.hset(kept_under(feeding, operator, first.json()["data"]["id"]), "makes", meant)

    again = WRITES[name].send(operator, None, key)

    assert queued(again) == meant
    assert ended(operator, again)["state"] == "applied"
    path = spool_of(feeding) / f"{meant}.feed"
    wait_until(lambda: not path.exists(), "the feed is gone from the spool")


# The key


def test_what_was_refused_leaves_the_key_free(operator: Organization, key: str) -> None:
    sync_id = ended(operator, put(operator, FEED, f"{key} first"))["id"]
    for refused, status, code in (
        (fetch(operator, "nobody", key), 404, None),
        (fetch(operator, "sourced", key, mode="x"), 422, None),
        (put(operator, b"", key), 400, None),
        (act(operator, f"{UNKNOWN_ID}/confirm", key), 404, None),
        (act(operator, f"{sync_id}/confirm", key), 409, "SYNC_NOT_WAITING"),
        (act(operator, f"{UNKNOWN_ID}/rollback", key), 404, None),
    ):
        assert_error(refused, status, code)

    queued(fetch(operator, "sourced", key))
    queued(put(operator, FEED, key))
    queued(act(operator, f"{waiting(operator)}/confirm", key))
    queued(act(operator, f"{applied(operator)}/rollback", key))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{FEEDS}/sourced/syncs"),
        ("PUT", f"{FEEDS}/keyed"),
        ("POST", f"{SYNCS}/{UNKNOWN_ID}/confirm"),
        ("POST", f"{SYNCS}/{UNKNOWN_ID}/rollback"),
    ],
)
def test_a_bad_key_and_two_keys_are_422(operator: Organization, method: str, path: str) -> None:
    for keys in ([b""], [b"a" * 256], [b"\xc3\xa9"], [b"one", b"two"]):
        headers = [(b"Idempotency-Key", one) for one in keys]
        response = operator.client.request(method, path, content=b"{}", headers=headers)
        assert_invalid(response, **{"Idempotency-Key": BAD_KEY})
