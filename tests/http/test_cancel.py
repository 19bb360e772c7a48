import time
from datetime import datetime
from typing import Any

import pytest

from shared.atomic.order_operations import OrderRef, Routing, open_order
from shared.ids import new_id
from shared.orders.records import fields_of
from tests.http.answers import ORDERS, assert_error, assert_invalid, assert_times, found, succeeded
from tests.http.organizations import Organization, Organizations, Shelf, in_store, put, states_of
from tests.support import Service, wait_until

FIRST, SECOND = "612", "613"
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"


@pytest.fixture(scope="module")
def shelf(service: Service) -> Shelf:
    return Shelf(service, "cancel", [FIRST, SECOND], 60)


@pytest.fixture(scope="module")
def buyer(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "cancel-tests")


def place(service: Service, numbers: list[str]) -> set[str]:
    return states_of(service.instance.redis_url, numbers)


def order_id_of(resources: list[dict[str, Any]]) -> str:
    order_id: str = resources[0]["order_id"]
    return order_id


def becomes(buyer: Organization, order_id: str, status: str) -> None:
    wait_until(lambda: buyer.status_of(order_id) == status, f"the order is {status}")


def test_a_complete_order_is_202_cancelling_and_a_worker_makes_it_cancelled_and_its_numbers_available(
    service: Service, shelf: Shelf, buyer: Organization
) -> None:
    numbers = [*shelf.take(2), *shelf.take(1, SECOND)]
    order_id = order_id_of(buyer.orders(numbers))

    response = buyer.cancel(order_id)

    order = succeeded(response, 202)
    assert list(order) == ["order_id", "status", "numbers", "created_at", "updated_at"]
    assert (order["order_id"], order["status"], order["numbers"]) == (order_id, "cancelling", numbers)
    assert_times(order)
    assert response.headers["location"] == f"{ORDERS}/{order_id}"
    becomes(buyer, order_id, "cancelled")
    assert place(service, numbers) == {"available"}
    search = buyer.post("/v1/phone-numbers/search", {"pattern": numbers[0], "area_code": FIRST})
    assert found(search) == numbers[:1]
    assert len(buyer.orders(numbers)) == 3


def test_the_organization_loses_the_numbers_before_the_response(shelf: Shelf, buyer: Organization) -> None:
    resources = buyer.orders(shelf.take(3))
    lost = {resource["number"] for resource in resources}

    succeeded(buyer.cancel(order_id_of(resources)), 202)

    assert not lost & buyer.has()
    for resource in resources:
        assert_error(buyer.number(resource["id"]), 404)
        assert_error(buyer.patch(resource["id"], label="mine"), 404)
        assert_error(buyer.release(resource["id"]), 404)
    report = succeeded(buyer.release_all(resource["id"] for resource in resources))
    assert report["already_released"] == [resource["id"] for resource in resources]


def test_a_number_that_was_released_before_stays_where_it_is(
    service: Service, shelf: Shelf, buyer: Organization
) -> None:
    numbers = shelf.take(3)
    resources = buyer.orders(numbers)
    succeeded(buyer.release(resources[1]["id"]))

    succeeded(buyer.cancel(order_id_of(resources)), 202)

    becomes(buyer, order_id_of(resources), "cancelled")
    assert place(service, [numbers[0], numbers[2]]) == {"available"}
    assert place(service, [numbers[1]]) == {"quarantined"}


def test_an_order_all_of_whose_numbers_were_released_is_cancelled_all_the_same(
    shelf: Shelf, buyer: Organization
) -> None:
    resources = buyer.orders(shelf.take(1))
    succeeded(buyer.release(resources[0]["id"]))

    succeeded(buyer.cancel(order_id_of(resources)), 202)

    becomes(buyer, order_id_of(resources), "cancelled")


def test_a_cancelled_order_is_200_however_often(shelf: Shelf, buyer: Organization) -> None:
    order_id = order_id_of(buyer.orders(shelf.take(1)))
    buyer.cancel(order_id)
    becomes(buyer, order_id, "cancelled")

    for _ in range(2):
        response = buyer.cancel(order_id)
        assert succeeded(response)["status"] == "cancelled"
        assert response.headers["location"] == f"{ORDERS}/{order_id}"


def test_an_order_that_was_cancelled_does_not_touch_the_next_owner_of_its_number(
    service: Service, organizations: Organizations, shelf: Shelf, buyer: Organization
) -> None:
    numbers = shelf.take(1)
    order_id = order_id_of(buyer.orders(numbers))
    buyer.cancel(order_id)
    becomes(buyer, order_id, "cancelled")
    next_owner = organizations.of(service, "cancel-tests-next")
    next_owner.orders(numbers)

    succeeded(buyer.cancel(order_id))

    assert next_owner.has() == set(numbers)
    assert place(service, numbers) == {"assigned"}


def test_an_order_of_bulk_that_was_filled_is_cancelled_alike(
    service: Service, shelf: Shelf, buyer: Organization
) -> None:
    shelf.take(1, SECOND)
    response = buyer.bulk(quantity=2, area_code=SECOND)
    numbers = response.json()["data"]["assigned_numbers"]
    order_id = response.headers["location"].rpartition("/")[2]

    assert succeeded(buyer.cancel(order_id), 202)["numbers"] == numbers

    becomes(buyer, order_id, "cancelled")
    assert place(service, numbers) == {"available"}


def test_an_order_that_failed_is_409(buyer: Organization) -> None:
    failed = buyer.order(["+16125550000"]).headers["location"].rpartition("/")[2]

    assert_error(buyer.cancel(failed), 409, "ORDER_NOT_CANCELLABLE")
    assert buyer.status_of(failed) == "failed"


def test_an_order_that_is_pending_is_409(service: Service, buyer: Organization) -> None:
    ref = OrderRef(buyer.name, new_id())
    fields = fields_of(("+16125550000",), Routing(), None)
    in_store(service.instance.redis_url, lambda store: open_order(store, ref, 15_000, None, fields))

    assert_error(buyer.cancel(ref.id), 409, "ORDER_NOT_CANCELLABLE")
    assert buyer.status_of(ref.id) == "pending"


def test_an_order_that_nobody_finishes_fails_and_is_409(hasty: Service, organizations: Organizations) -> None:
    buyer = organizations.of(hasty, "cancel-tests-dead")
    ref = OrderRef(buyer.name, new_id())
    fields = fields_of(("+16125550000",), Routing(), None)
    in_store(hasty.instance.redis_url, lambda store: open_order(store, ref, 1, None, fields))

    becomes(buyer, ref.id, "failed")

    assert_error(buyer.cancel(ref.id), 409, "ORDER_NOT_CANCELLABLE")


def test_an_order_whose_time_is_over_is_409_and_keeps_its_numbers(
    hasty: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(hasty, "cancel-tests-late")
    numbers = put(hasty, "614", [5_557_000])
    order_id = order_id_of(buyer.orders(numbers))
    ordered_at = datetime.fromisoformat(succeeded(buyer.get_order(order_id))["updated_at"]).timestamp()
    # There it can be cancelled for 0 s.
    wait_until(lambda: time.time() > ordered_at + 0.002, "the time to cancel is over")

    assert_error(buyer.cancel(order_id), 409, "ORDER_NOT_CANCELLABLE")

    assert buyer.status_of(order_id) == "complete"
    assert buyer.has() == set(numbers)


def test_the_numbers_of_a_cancelled_order_are_kept_back_as_long_as_is_set(
    watchful: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(watchful, "cancel-tests-quarantine")
    numbers = put(watchful, "615", [5_557_000, 5_557_001])
    order_id = order_id_of(buyer.orders(numbers))

    succeeded(buyer.cancel(order_id), 202)

    becomes(buyer, order_id, "cancelled")
    assert states_of(watchful.instance.redis_url, numbers) == {"quarantined"}
    assert_error(buyer.order(numbers), 409, "INSUFFICIENT_INVENTORY")


def test_an_unknown_order_is_404_and_a_malformed_id_422(buyer: Organization) -> None:
    assert_error(buyer.cancel(UNKNOWN_ID), 404)
    assert_invalid(buyer.cancel("x"), id="must be a UUID")


def test_the_id_is_taken_in_either_case(shelf: Shelf, buyer: Organization) -> None:
    order_id = order_id_of(buyer.orders(shelf.take(1)))

    assert succeeded(buyer.cancel(order_id.upper()), 202)["order_id"] == order_id


@pytest.mark.parametrize("body", [b"", b"{", b'{"reason": 1}', b"x" * 70_000])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_body_is_ignored(buyer: Organization, body: bytes, content_type: str) -> None:
    path = f"{ORDERS}/{UNKNOWN_ID}/cancel"

    assert_error(buyer.client.post(path, content=body, headers={"Content-Type": content_type}), 404)
