import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import redis

from shared import store_keys
from shared.atomic.order_operations import OrderRef, Routing, open_order
from shared.atomic.requests import RequestKey
from shared.ids import new_id
from shared.orders.records import fields_of
from tests.http.answers import (
    BULK,
    NUMBERS,
    ORDERS,
    RELEASE,
    SEARCH,
    assert_error,
    assert_invalid,
    found,
    ordered,
    succeeded,
)
from tests.http.organizations import Organization, Organizations, Shelf, in_store, put, states_of
from tests.http.test_store_away import APP
from tests.processes import free_port, running
from tests.support import Service, wait_until

AREA, BULK_AREA = "660", "665"
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"
BAD_KEY = "must be 1-255 printable ASCII characters"


@pytest.fixture(scope="module")
def shelf(service: Service) -> Shelf:
    put(service, BULK_AREA, range(5_557_000, 5_557_050))
    return Shelf(service, "idempotency", [AREA], 150)


@pytest.fixture(scope="module")
def buyer(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "idempotency-tests")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Give a key that no other test has."""
    return re.sub(r"[^ -~]", "", request.node.name)[:200]


class Write(NamedTuple):
    """A route that writes: something to write to, a request, and another request of the same route."""

    prepare: Callable[[Organization, Shelf], Any]
    send: Callable[[Organization, Any, str], httpx.Response]
    send_other: Callable[[Organization, Any, str], httpx.Response]


def resource_id(buyer: Organization, shelf: Shelf) -> str:
    [resource] = buyer.orders(shelf.take(1))
    found: str = resource["id"]
    return found


def order_id(buyer: Organization, shelf: Shelf) -> str:
    [resource] = buyer.orders(shelf.take(1))
    found: str = resource["order_id"]
    return found


def unused(_: Organization, __: Shelf) -> None:
    return None


WRITES = {
    "order": Write(
        lambda _, shelf: shelf.take(2),
        lambda buyer, numbers, key: buyer.order(numbers, key),
        lambda buyer, numbers, key: buyer.order(numbers[:1], key),
    ),
    "bulk": Write(
        unused,
        lambda buyer, _, key: buyer.bulk(key, quantity=2, area_code=BULK_AREA),
        lambda buyer, _, key: buyer.bulk(key, quantity=1, area_code=BULK_AREA),
    ),
    "bulk that waits": Write(
        unused,
        lambda buyer, _, key: buyer.bulk(key, quantity=2, area_code="661"),
        lambda buyer, _, key: buyer.bulk(key, quantity=2, area_code="661", label="x"),
    ),
    "cancel": Write(
        order_id,
        lambda buyer, order_id, key: buyer.cancel(order_id, key),
        lambda buyer, order_id, key: buyer.cancel(order_id.upper(), key),
    ),
    "patch": Write(
        resource_id,
        lambda buyer, resource_id, key: buyer.patch(resource_id, key, label="one"),
        lambda buyer, resource_id, key: buyer.patch(resource_id, key, label="other"),
    ),
    "release": Write(
        resource_id,
        lambda buyer, resource_id, key: buyer.release(resource_id, key),
        lambda buyer, resource_id, key: buyer.release(resource_id, key, return_to_carrier="false"),
    ),
    "release of several": Write(
        resource_id,
        lambda buyer, resource_id, key: buyer.release_all([resource_id, UNKNOWN_ID], key),
        lambda buyer, resource_id, key: buyer.release_all([UNKNOWN_ID, resource_id], key),
    ),
}


def assert_replayed(first: httpx.Response, again: httpx.Response) -> None:
    """Check that an answer is given again: status, body and where the order is, and that it says so."""
    assert "idempotency-replayed" not in first.headers
    assert again.headers.get_list("idempotency-replayed") == ["true"]
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers.get("location") == first.headers.get("location")


@pytest.mark.parametrize("name", WRITES)
def test_the_same_key_with_the_same_request_gives_the_first_response_again_and_does_nothing(
    buyer: Organization, shelf: Shelf, key: str, name: str
) -> None:
    write = WRITES[name]
    target = write.prepare(buyer, shelf)
    first = write.send(buyer, target, key)
    assert first.is_success, first.text
    had = buyer.has()

    for _ in range(3):
        again = write.send(buyer, target, key)
        assert_replayed(first, again)
        # A request has an id of its own, unless it repeats an error.
        assert again.headers["x-request-id"] != first.headers["x-request-id"]

    assert buyer.has() == had


@pytest.mark.parametrize("name", WRITES)
def test_the_same_key_with_another_request_is_422_and_does_nothing(
    buyer: Organization, shelf: Shelf, key: str, name: str
) -> None:
    write = WRITES[name]
    target, other = write.prepare(buyer, shelf), write.prepare(buyer, shelf)
    first = write.send(buyer, target, key)
    had = buyer.has()

    for response in (write.send(buyer, other, key), write.send_other(buyer, target, key)):
        if other is not None or response.status_code == 422:
            assert_error(response, 422, "IDEMPOTENCY_KEY_REUSED")
            assert "idempotency-replayed" not in response.headers

    assert buyer.has() == had
    assert_replayed(first, write.send(buyer, target, key))


def test_a_key_is_one_of_its_organization_and_not_of_another(
    service: Service, organizations: Organizations, buyer: Organization, shelf: Shelf, key: str
) -> None:
    numbers = shelf.take(1)
    first = buyer.order(numbers, key)
    same = organizations.of(service, buyer.name)
    other = organizations.of(service, "idempotency-tests-other")

    assert_replayed(first, same.order(numbers, key))
    assert_error(other.order(numbers, key), 409, "INSUFFICIENT_INVENTORY")


def test_a_key_is_one_of_its_route_and_not_of_another(buyer: Organization, shelf: Shelf, key: str) -> None:
    [resource] = ordered(buyer.order(shelf.take(1), key))
    answers = [
        buyer.bulk(key, quantity=1, area_code=BULK_AREA),
        buyer.patch(resource["id"], key, label="x"),
        buyer.release_all([UNKNOWN_ID], key),
        buyer.release(resource["id"], key),
        buyer.cancel(resource["order_id"], key),
    ]

    for answer in answers:
        assert answer.is_success, answer.text
        assert "idempotency-replayed" not in answer.headers


def test_how_the_json_is_spelled_makes_no_difference(buyer: Organization, shelf: Shelf, key: str) -> None:
    [number] = shelf.take(1)
    escaped = number.replace("+1", "\\u002b1")
    headers = {"Idempotency-Key": key}
    first = buyer.client.post(
        ORDERS, content=f'{{"numbers":["{number}"],"label":"a"}}'.encode(), headers=headers
    )
    assert first.status_code == 200

    for body in (
        f'{{ "label" : "a",\n "numbers" : [ "{escaped}" ] }}',
        f'{{"numbers":["{number}"],"label":"\\u0061","campaign_id":null,"inbound_url":null}}',
        f'{{"label":"b","label":"a","numbers":["{number}"]}}',
    ):
        assert_replayed(first, buyer.client.post(ORDERS, content=body.encode(), headers=headers))


@pytest.mark.parametrize("body", [{"label": "b"}, {}, {"label": "a", "status_url": "https://example.com"}])
def test_another_value_of_any_member_is_another_request(
    buyer: Organization, shelf: Shelf, key: str, body: dict[str, str]
) -> None:
    numbers = shelf.take(1)
    assert buyer.order(numbers, key, label="a").status_code == 200

    assert_error(buyer.order(numbers, key, **body), 422, "IDEMPOTENCY_KEY_REUSED")


def test_the_order_of_the_numbers_is_part_of_the_request(buyer: Organization, shelf: Shelf, key: str) -> None:
    numbers = shelf.take(2)
    assert buyer.order(numbers, key).status_code == 200

    assert_error(buyer.order(numbers[::-1], key), 422, "IDEMPOTENCY_KEY_REUSED")


# The key


@pytest.mark.parametrize("bad", [b"", b"a" * 256, b"\xc3\xa9", b"\xff", b"a\tb"])
def test_a_bad_key_is_422_on_every_write(buyer: Organization, bad: bytes) -> None:
    headers = [(b"Idempotency-Key", bad)]
    for method, path, body in (
        ("POST", ORDERS, {"numbers": ["+16605550000"]}),
        ("POST", BULK, {"quantity": 1, "area_code": "661"}),
        ("POST", f"{ORDERS}/{UNKNOWN_ID}/cancel", None),
        ("PATCH", f"{NUMBERS}/{UNKNOWN_ID}", {}),
        ("DELETE", f"{NUMBERS}/{UNKNOWN_ID}", None),
        ("POST", RELEASE, {"ids": [UNKNOWN_ID]}),
    ):
        response = buyer.client.request(method, path, json=body, headers=headers)
        assert_invalid(response, **{"Idempotency-Key": BAD_KEY})


@pytest.mark.parametrize("good", ["!", "~", "a b", "0" * 255, '{"a": "b"}', "*"])
def test_a_key_of_1_to_255_printable_characters_is_taken_and_stands_for_itself_only(
    buyer: Organization, shelf: Shelf, good: str
) -> None:
    numbers = shelf.take(1)
    first = buyer.order(numbers, good)
    assert first.status_code == 200

    assert_replayed(first, buyer.order(numbers, good))
    assert_error(buyer.order(numbers, f"not {good}"[:255]), 409, "INSUFFICIENT_INVENTORY")


def test_two_keys_are_none(buyer: Organization, shelf: Shelf) -> None:
    numbers = shelf.take(1)
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]

    response = buyer.client.post(ORDERS, json={"numbers": numbers}, headers=headers)

    assert_invalid(response, **{"Idempotency-Key": BAD_KEY})
    buyer.orders(numbers)


def test_a_key_is_kept_for_24_hours(service: Service, organizations: Organizations, shelf: Shelf) -> None:
    buyer = organizations.of(service, "idempotency-tests-lifetime")
    for name, write in WRITES.items():
        assert write.send(buyer, write.prepare(buyer, shelf), name).is_success

    with redis.Redis.from_url(service.instance.redis_url) as client:
        kept = list(client.scan_iter(store_keys.idempotency(buyer.name, "*"), count=1000))
        lifetimes = [client.ttl(name) for name in kept]

    assert len(kept) == len(WRITES)
    assert all(86_400 - 600 < lifetime <= 86_400 for lifetime in lifetimes)


def test_a_search_has_no_key_and_ignores_one(buyer: Organization) -> None:
    for bad in ("a", "a" * 300):
        found(buyer.client.post(SEARCH, json={"area_code": AREA}, headers={"Idempotency-Key": bad}))


# What is kept and what is not


def test_an_order_that_was_refused_is_kept_even_when_its_numbers_have_come(
    service: Service, buyer: Organization, key: str
) -> None:
    numbers = ["+16625557000"]
    first = buyer.order(numbers, key)
    assert_error(first, 409, "INSUFFICIENT_INVENTORY")
    put(service, "662", [5_557_000])

    again = buyer.order(numbers, key)

    assert_error(again, 409, "INSUFFICIENT_INVENTORY")
    assert_replayed(first, again)
    assert buyer.order(numbers, f"{key} again").status_code == 200


def test_what_has_become_of_the_order_since_does_not_change_its_answer(
    buyer: Organization, shelf: Shelf, key: str
) -> None:
    numbers = shelf.take(2)
    first = buyer.order(numbers, key)
    resources = ordered(first)
    succeeded(buyer.patch(resources[0]["id"], label="changed"))
    succeeded(buyer.release(resources[0]["id"]))
    succeeded(buyer.cancel(resources[0]["order_id"]), 202)

    assert_replayed(first, buyer.order(numbers, key))

    assert not set(numbers) & buyer.has()


def test_a_change_that_comes_again_undoes_no_later_change(
    buyer: Organization, shelf: Shelf, key: str
) -> None:
    [resource] = buyer.orders(shelf.take(1))
    first = buyer.patch(resource["id"], key, label="first")
    later = succeeded(buyer.patch(resource["id"], label="later"))

    assert_replayed(first, buyer.patch(resource["id"], key, label="first"))
    assert succeeded(buyer.number(resource["id"])) == later

    succeeded(buyer.release(resource["id"]))
    assert_replayed(first, buyer.patch(resource["id"], key, label="first"))


def test_what_was_refused_for_its_form_or_found_nothing_leaves_the_key_free(
    buyer: Organization, shelf: Shelf, key: str
) -> None:
    for refused, status in (
        (buyer.order([], key), 422),
        (buyer.bulk(key, quantity=0), 422),
        (buyer.client.post(ORDERS, content=b"{", headers={"Idempotency-Key": key}), 400),
        (buyer.client.post(BULK, content=b"x" * 70_000, headers={"Idempotency-Key": key}), 413),
        (buyer.patch(UNKNOWN_ID, key, label="x"), 404),
        (buyer.release(UNKNOWN_ID, key), 404),
        (buyer.cancel(UNKNOWN_ID, key), 404),
        (buyer.release_all([], key), 422),
    ):
        assert_error(refused, status)

    [resource] = ordered(buyer.order(shelf.take(1), key))
    succeeded(buyer.bulk(key, quantity=1, area_code=BULK_AREA))
    succeeded(buyer.patch(resource["id"], key, label="x"))
    succeeded(buyer.release(resource["id"], key))
    succeeded(buyer.cancel(resource["order_id"], key), 202)
    succeeded(buyer.release_all([UNKNOWN_ID], key))


def test_what_was_forbidden_leaves_the_key_free(buyer: Organization, shelf: Shelf, key: str) -> None:
    [resource] = buyer.orders(shelf.take(1))

    assert_error(
        buyer.client.delete(
            f"{NUMBERS}/{resource['id']}?return_to_carrier=true", headers={"Idempotency-Key": key}
        ),
        403,
    )

    succeeded(buyer.release(resource["id"], key))


# While the first request runs, or after it died


def begun(service: Service, buyer: Organization, key: str, numbers: list[str], hold_ms: int) -> OrderRef:
    """Write an order down as an API does that dies before it holds anything."""
    url = service.instance.redis_url
    # What the key and the request are called in the store is read from an answer, which is then forgotten.
    assert buyer.order(numbers, key).status_code == 409
    with redis.Redis.from_url(url) as client:
        [name] = [
            name
            for name in client.scan_iter(store_keys.idempotency(buyer.name, "*"), count=1000)
            if client.hget(name, "answer")
        ]
        request = RequestKey(name.decode().rpartition(":")[2], client.hget(name, "fingerprint").decode())
        client.delete(name)
    ref = OrderRef(buyer.name, new_id())
    fields = fields_of(tuple(numbers), Routing())
    in_store(url, lambda store: open_order(store, ref, hold_ms, request, fields))
    return ref


def test_a_request_whose_first_one_still_runs_is_409_with_retry_after(
    service: Service, organizations: Organizations, key: str
) -> None:
    buyer = organizations.of(service, "idempotency-tests-running")
    ref = begun(service, buyer, key, ["+16635557000"], 14_500)

    for _ in range(2):
        response = buyer.order(["+16635557000"], key)
        assert_error(response, 409, "IDEMPOTENCY_IN_PROGRESS")
        [retry_after] = response.headers.get_list("retry-after")
        assert 1 <= int(retry_after) <= 15
        assert "idempotency-replayed" not in response.headers
    assert_error(buyer.order(["+16635557001"], key), 422, "IDEMPOTENCY_KEY_REUSED")
    assert buyer.status_of(ref.id) == "pending"


def test_after_the_first_request_died_the_next_one_finishes_its_order(
    service: Service, organizations: Organizations, key: str
) -> None:
    buyer = organizations.of(service, "idempotency-tests-died")
    numbers = ["+16645557000", "+16645557001"]
    ref = begun(service, buyer, key, numbers, 1)
    put(service, "664", [5_557_000, 5_557_001])

    response = buyer.order(numbers, key)

    assert [resource["order_id"] for resource in ordered(response)] == [ref.id] * 2
    assert buyer.has() == set(numbers)
    assert_replayed(response, buyer.order(numbers, key))


def test_of_requests_that_come_at_once_with_one_key_one_is_carried_out(
    service: Service, organizations: Organizations, shelf: Shelf
) -> None:
    buyer = organizations.of(service, "idempotency-tests-at-once")
    numbers = shelf.take(5)

    with ThreadPoolExecutor(8) as threads:
        for index, number in enumerate(numbers):
            send = lambda _, index=index, number=number: buyer.order([number], str(index))  # noqa: E731
            answers = list(threads.map(send, range(8)))
            filled = [answer for answer in answers if answer.status_code == 200]
            assert len({answer.content for answer in filled}) == 1
            assert sum("idempotency-replayed" not in answer.headers for answer in filled) == 1
            for answer in answers:
                if answer.status_code != 200:
                    assert_error(answer, 409, "IDEMPOTENCY_IN_PROGRESS")

    assert buyer.has() == set(numbers)
    assert len(buyer.page(ORDERS).json()["data"]) == len(numbers)
    assert states_of(service.instance.redis_url, numbers) == {"assigned"}


@contextmanager
def another_api(service: Service, log: Path) -> Iterator[str]:
    """Run one more API process on the store of a service, and give its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    with running(log, "litestar", *APP, "--port", str(port), NUMBERS_REDIS_URL=service.instance.redis_url):
        wait_until(is_up, f"the API runs, see {log}")
        yield url


def test_the_first_response_is_kept_over_processes_and_restarts(
    service: Service,
    organizations: Organizations,
    buyer: Organization,
    shelf: Shelf,
    key: str,
    tmp_path: Path,
) -> None:
    firsts = {}
    targets = {}
    with another_api(service, tmp_path / "first.log") as url:
        there = organizations.again(url, buyer.secret, buyer.name)
        for name, write in WRITES.items():
            targets[name] = write.prepare(buyer, shelf)
            firsts[name] = write.send(there, targets[name], f"{key} {name}")
            assert firsts[name].is_success, (name, firsts[name].text)
            # Another process of the service, at the same time.
            assert_replayed(firsts[name], write.send(buyer, targets[name], f"{key} {name}"))

    with another_api(service, tmp_path / "second.log") as url:
        restarted = organizations.again(url, buyer.secret, buyer.name)
        for name, write in WRITES.items():
            assert_replayed(firsts[name], write.send(restarted, targets[name], f"{key} {name}"))
