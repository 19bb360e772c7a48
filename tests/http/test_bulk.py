from typing import Any

import pytest

from tests.http.answers import (
    BULK,
    ORDERS,
    ROUTING,
    assert_error,
    assert_invalid,
    bulk_order,
    paged,
    succeeded,
)
from tests.http.organizations import Organization, Organizations, Shelf, put, states_of
from tests.support import Service, wait_until

FIRST, SECOND, MANY = "620", "623", "626"
BAD_QUANTITIES: list[Any] = [0, -1, 1001, 10**30, 5.0, "5", True, None, []]
QUANTITY = "must be an integer from 1 to 1000"


@pytest.fixture(scope="module", autouse=True)
def _stock(service: Service) -> None:
    Shelf(service, "bulk", [FIRST, SECOND], 60)


@pytest.fixture(scope="module")
def buyer(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "bulk-tests")


def path_of(order: dict[str, Any]) -> str:
    return f"{BULK}/{order['order_id']}"


def becomes(buyer: Organization, path: str, status: str) -> dict[str, Any]:
    wait_until(
        lambda: buyer.client.get(path).json()["data"]["status"] == status, f"the bulk order is {status}"
    )
    return bulk_order(buyer.client.get(path))


# Filled at once


def test_what_is_in_stock_is_filled_at_once_200_and_is_an_order_like_any_other(
    service: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(service, "bulk-tests-filled")

    response = buyer.bulk(quantity=5, area_code=FIRST, number_type="local", pattern="+16205557")

    order = bulk_order(response)
    assert (order["status"], order["order_id"], order["quantity"]) == ("complete", None, 5)
    assert (order["assigned_count"], order["pending_count"], order["failed_count"]) == (5, 0, 0)
    assert all(number.startswith("+16205557") for number in order["assigned_numbers"])
    assert states_of(service.instance.redis_url, order["assigned_numbers"]) == {"assigned"}
    assert buyer.has() == set(order["assigned_numbers"])
    location = response.headers["location"]
    ordered = succeeded(buyer.client.get(location))
    assert (ordered["status"], ordered["numbers"]) == ("complete", order["assigned_numbers"])
    resources, _ = paged(buyer.page())
    assert {f"{ORDERS}/{resource['order_id']}" for resource in resources} == {location}
    looked_at = bulk_order(buyer.client.get(location.replace(ORDERS, BULK)))
    assert looked_at == order | {"order_id": ordered["order_id"]}


def test_each_number_gets_the_routing(service: Service, organizations: Organizations) -> None:
    buyer = organizations.of(service, "bulk-tests-routing")
    routing = {
        "inbound_url": "https://example.com/in",
        "status_url": "https://example.com/status",
        "label": "all of them",
        "campaign_id": "01932c07-2c4f-7000-8000-000000000000",
    }

    bulk_order(buyer.bulk(quantity=3, area_code=FIRST, mode="atomic", **routing))

    resources, _ = paged(buyer.page())
    assert [{field: resource[field] for field in ROUTING} for resource in resources] == [routing] * 3


def test_without_an_area_code_any_number_of_the_type_will_do(
    watchful: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(watchful, "bulk-tests-type")
    stock = [
        *put(watchful, "844", range(5_557_000, 5_557_020)),
        *put(watchful, "866", range(5_557_000, 5_557_020)),
    ]
    put(watchful, "632", range(5_557_000, 5_557_040))

    order = bulk_order(buyer.bulk(quantity=40, number_type="toll_free"))

    assert sorted(order["assigned_numbers"]) == stock


def test_a_thousand_numbers_are_filled_at_once(service: Service, organizations: Organizations) -> None:
    buyer = organizations.of(service, "bulk-tests-thousand")
    stock = put(service, MANY, range(5_557_000, 5_558_000))

    order = bulk_order(buyer.bulk(quantity=1000, area_code=MANY))

    assert sorted(order["assigned_numbers"]) == stock
    assert buyer.has() == set(stock)


def test_two_bulk_orders_never_get_the_same_number(buyer: Organization) -> None:
    one, other = (bulk_order(buyer.bulk(quantity=10, area_code=SECOND))["assigned_numbers"] for _ in range(2))

    assert not set(one) & set(other)


# Left to wait


def test_what_is_not_in_stock_waits_202_and_assigns_nothing(
    service: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(service, "bulk-tests-waiting")
    stock = put(service, "627", range(5_557_000, 5_557_002))

    response = buyer.bulk(quantity=3, area_code="627")

    order = bulk_order(response, 202)
    assert (order["status"], order["quantity"]) == ("pending", 3)
    assert (order["assigned_count"], order["pending_count"], order["failed_count"]) == (0, 3, 0)
    assert order["assigned_numbers"] == []
    assert response.headers["location"] == path_of(order)
    assert bulk_order(buyer.client.get(path_of(order))) == order
    listed = succeeded(buyer.get_order(order["order_id"]))
    assert (listed["status"], listed["numbers"]) == ("pending", [])
    assert states_of(service.instance.redis_url, stock) == {"available"}
    assert buyer.has() == set()


def test_a_type_that_matches_nothing_waits(buyer: Organization) -> None:
    assert bulk_order(buyer.bulk(quantity=1, number_type="short_code"), 202)["status"] == "pending"
    assert bulk_order(buyer.bulk(quantity=1, number_type="local", area_code="844"), 202)["pending_count"] == 1


def test_a_waiting_order_is_filled_all_at_once_when_a_feed_brings_stock(
    watchful: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(watchful, "bulk-tests-feed")
    order = bulk_order(buyer.bulk(quantity=3, area_code="628", label="later"), 202)
    feed = ["number", "+16285557000", "+16285557001"]
    assert watchful.ingest("bulk-feed", "\n".join(feed).encode())["added"] == 2
    assert bulk_order(buyer.client.get(path_of(order)))["status"] == "pending"

    watchful.ingest("bulk-feed", "\n".join([*feed, "+16285557002"]).encode())

    filled = becomes(buyer, path_of(order), "complete")
    assert (filled["order_id"], filled["assigned_count"]) == (order["order_id"], 3)
    assert sorted(filled["assigned_numbers"]) == ["+16285557000", "+16285557001", "+16285557002"]
    resources, _ = paged(buyer.page())
    assert {resource["number"] for resource in resources} == set(filled["assigned_numbers"])
    assert {resource["label"] for resource in resources} == {"later"}
    assert {resource["order_id"] for resource in resources} == {order["order_id"]}
    assert buyer.status_of(order["order_id"]) == "complete"


def test_the_oldest_is_filled_first_whoever_waits(watchful: Service, organizations: Organizations) -> None:
    # Named so that their order as texts is not the one in which they came.
    buyers = [organizations.of(watchful, f"bulk-tests-oldest-{name}") for name in ("c", "a", "b")]
    orders = [bulk_order(buyer.bulk(quantity=2, area_code="629"), 202) for buyer in buyers]

    for count, (buyer, order) in enumerate(zip(buyers, orders, strict=True)):
        put(watchful, "629", range(5_557_000 + 2 * count, 5_557_002 + 2 * count))
        becomes(buyer, path_of(order), "complete")
        later = [
            bulk_order(other.client.get(path_of(waiting)))["status"]
            for other, waiting in list(zip(buyers, orders, strict=True))[count + 1 :]
        ]
        assert set(later) <= {"pending"}


def test_a_waiting_order_whose_time_is_over_is_failed(hasty: Service, organizations: Organizations) -> None:
    buyer = organizations.of(hasty, "bulk-tests-expired")
    order = bulk_order(buyer.bulk(quantity=2, area_code="630"), 202)

    failed = becomes(buyer, path_of(order), "failed")

    assert (failed["order_id"], failed["failed_count"]) == (order["order_id"], 2)
    put(hasty, "630", range(5_557_000, 5_557_002))
    assert_error(buyer.cancel(order["order_id"]), 409, "ORDER_NOT_CANCELLABLE")
    # One that comes after it would be filled after it.
    assert bulk_order(buyer.bulk(quantity=2, area_code="630"))["status"] == "complete"
    assert bulk_order(buyer.client.get(path_of(order)))["status"] == "failed"


def test_a_waiting_order_is_cancelled_by_the_call_that_cancels_orders_200_and_is_not_filled(
    watchful: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(watchful, "bulk-tests-cancelled")
    order = bulk_order(buyer.bulk(quantity=2, area_code="631"), 202)

    cancelled = succeeded(buyer.cancel(order["order_id"]))

    assert (cancelled["order_id"], cancelled["status"]) == (order["order_id"], "cancelled")
    assert cancelled["numbers"] == []
    looked_at = bulk_order(buyer.client.get(path_of(order)))
    assert (looked_at["status"], looked_at["failed_count"]) == ("cancelled", 2)
    next_order = bulk_order(buyer.bulk(quantity=2, area_code="631"), 202)
    put(watchful, "631", range(5_557_000, 5_557_002))
    becomes(buyer, path_of(next_order), "complete")
    assert bulk_order(buyer.client.get(path_of(order))) == looked_at
    assert succeeded(buyer.cancel(order["order_id"]))["status"] == "cancelled"


def test_a_bulk_order_that_was_filled_and_cancelled_has_no_numbers(
    service: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(service, "bulk-tests-filled-cancelled")
    response = buyer.bulk(quantity=2, area_code=FIRST)
    path = response.headers["location"].replace(ORDERS, BULK)

    succeeded(buyer.cancel(path.rpartition("/")[2]), 202)

    cancelled = becomes(buyer, path, "cancelled")
    assert (cancelled["assigned_count"], cancelled["failed_count"]) == (0, 2)
    assert buyer.has() == set()


# The request


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, {"quantity": "is required"}),
        *[({"quantity": quantity}, {"quantity": QUANTITY}) for quantity in BAD_QUANTITIES],
        *[
            ({"quantity": 1, "mode": mode}, {"mode": "must be atomic"})
            for mode in ("immediate_partial", "partial", "", "ATOMIC", 1)
        ],
        ({"quantity": 1, "numbers": ["+16205557000"]}, {"numbers": "is not a known field"}),
        (
            {
                "quantity": 0,
                "area_code": "99",
                "number_type": "x",
                "pattern": "x",
                "mode": "all",
                "label": 1,
                "inbound_url": "x",
                "status_url": "",
                "campaign_id": "x",
                "z": None,
            },
            {
                "quantity": QUANTITY,
                "area_code": "must be 3 digits, the first 2-9",
                "number_type": "must be one of local, toll_free, short_code",
                "pattern": "must be 1-12 characters: digits, with an optional leading +",
                "mode": "must be atomic",
                "label": "must be text of at most 255 characters",
                "inbound_url": "must be an https URL of at most 2048 characters",
                "status_url": "must be an https URL of at most 2048 characters",
                "campaign_id": "must be a UUID",
                "z": "is not a known field",
            },
        ),
    ],
)
def test_a_request_that_breaks_the_rules_is_422_and_every_field_named(
    buyer: Organization, body: dict[str, Any], details: dict[str, str]
) -> None:
    assert_invalid(buyer.post(BULK, body), **details)


def test_null_is_as_if_the_field_were_absent(watchful: Service, organizations: Organizations) -> None:
    buyer = organizations.of(watchful, "bulk-tests-null")
    put(watchful, "633", range(5_557_000, 5_557_001))
    optional = ("number_type", "area_code", "pattern", *ROUTING, "mode")

    assert bulk_order(buyer.bulk(quantity=1, **dict.fromkeys(optional)))["status"] == "complete"


def test_an_order_of_named_numbers_is_no_bulk_order(buyer: Organization) -> None:
    location = buyer.order(["+442071838750"]).headers["location"]

    assert_error(buyer.client.get(location.replace(ORDERS, BULK)), 404)
    assert_error(buyer.client.get(f"{BULK}/01932c07-2c4f-7000-8000-000000000000"), 404)
    assert_invalid(buyer.client.get(f"{BULK}/x"), id="must be a UUID")
