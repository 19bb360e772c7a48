from typing import Any

import pytest

from tests.http.answers import NUMBERS, RELEASE, assert_error, assert_invalid, found, succeeded
from tests.http.organizations import (
    OPERATOR,
    Organization,
    Organizations,
    Shelf,
    available,
    put,
    state_of,
    states_of,
)
from tests.support import Service, wait_until

AREA = "650"
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"


@pytest.fixture(scope="module")
def shelf(service: Service) -> Shelf:
    return Shelf(service, "release", [AREA], 60)


@pytest.fixture(scope="module")
def owner(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "release-tests")


@pytest.fixture(scope="module")
def operator(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "release-tests", OPERATOR)


def where(service: Service, resource: dict[str, Any]) -> str:
    return state_of(service.instance.redis_url, resource["number"])


def test_a_released_number_is_gone_in_quarantine_and_not_for_sale_before_the_response(
    service: Service, owner: Organization, shelf: Shelf
) -> None:
    [resource] = owner.orders(shelf.take(1), label="mine", inbound_url="https://example.com")

    response = owner.release(resource["id"])

    assert succeeded(response) == {"status": "released"}
    assert where(service, resource) == "quarantined"
    assert_error(owner.number(resource["id"]), 404)
    assert_error(owner.patch(resource["id"], label="x"), 404)
    assert_error(owner.release(resource["id"]), 404)
    assert resource["number"] not in owner.has()
    assert_error(owner.order([resource["number"]]), 409, "INSUFFICIENT_INVENTORY")
    search = {"pattern": resource["number"], "area_code": AREA}
    assert found(owner.post("/v1/phone-numbers/search", search)) == []


def test_the_stock_counts_neither_what_is_assigned_nor_what_is_in_quarantine(
    service: Service, owner: Organization
) -> None:
    numbers = put(service, "654", range(5_557_000, 5_557_004))
    resources = owner.orders(numbers[:2])

    succeeded(owner.release(resources[0]["id"]))

    assert available(service)["654"] == 2


def test_a_number_is_available_again_when_its_quarantine_is_over_without_its_old_routing(
    hasty: Service, organizations: Organizations
) -> None:
    owner = organizations.of(hasty, "release-tests-before")
    next_owner = organizations.of(hasty, "release-tests-after")
    numbers = put(hasty, "651", [5_557_000])
    [resource] = owner.orders(numbers, label="old", inbound_url="https://example.com")
    succeeded(owner.release(resource["id"]))
    assert_error(next_owner.order(numbers), 409, "INSUFFICIENT_INVENTORY")

    wait_until(lambda: where(hasty, resource) == "available", "the quarantine is over")

    [again] = next_owner.orders(numbers)
    assert again["id"] != resource["id"]
    assert (again["label"], again["inbound_url"]) == (None, None)
    assert (again["sms_enabled"], again["mms_enabled"]) == (resource["sms_enabled"], resource["mms_enabled"])
    # The old id stays what it was: a released one.
    assert_error(owner.release(resource["id"]), 404)
    assert succeeded(owner.release_all([resource["id"]]))["already_released"] == [resource["id"]]
    assert next_owner.has() == set(numbers)


def test_a_number_that_was_assigned_once_is_available_after_its_quarantine_whatever_the_feed_says(
    hasty: Service, organizations: Organizations
) -> None:
    owner = organizations.of(hasty, "release-tests-kept")
    numbers = Shelf(hasty, "release-kept", ["652"], 2).take(2)
    [resource] = owner.orders(numbers[:1])
    # The carrier offers the other one only.
    assert hasty.ingest("release-kept", f"number\n{numbers[1]}".encode())["removed"] == 1
    assert where(hasty, resource) == "assigned"

    succeeded(owner.release(resource["id"]))

    wait_until(lambda: where(hasty, resource) == "available", "the quarantine is over")


# Back to the carrier


@pytest.mark.parametrize("value", ["true", "1", "TRUE"])
def test_back_to_the_carrier_without_the_scope_is_403_and_the_number_untouched(
    service: Service, owner: Organization, shelf: Shelf, value: str
) -> None:
    [resource] = owner.orders(shelf.take(1))

    assert_error(owner.release(resource["id"], return_to_carrier=value), 403)

    assert succeeded(owner.number(resource["id"])) == resource
    assert where(service, resource) == "assigned"


def test_without_the_scope_nothing_is_said_of_the_id(owner: Organization) -> None:
    for resource_id in (UNKNOWN_ID, "x"):
        assert_error(owner.release(resource_id, return_to_carrier="true"), 403)


def test_back_to_the_carrier_with_the_scope_takes_the_number_out_of_the_inventory(
    service: Service, owner: Organization, operator: Organization, shelf: Shelf
) -> None:
    [resource] = owner.orders(shelf.take(1))

    assert succeeded(operator.release(resource["id"], return_to_carrier="true")) == {"status": "released"}

    assert where(service, resource) == "returned"
    assert_error(owner.number(resource["id"]), 404)
    assert_error(owner.order([resource["number"]]), 409, "INSUFFICIENT_INVENTORY")


@pytest.mark.parametrize("query", [{}, {"return_to_carrier": "false"}, {"return_to_carrier": "0"}])
def test_with_the_scope_too_a_plain_release_is_a_quarantine(
    service: Service, operator: Organization, shelf: Shelf, query: dict[str, str]
) -> None:
    [resource] = operator.orders(shelf.take(1))

    succeeded(operator.release(resource["id"], **query))

    assert where(service, resource) == "quarantined"


@pytest.mark.parametrize("value", ["yes", "", "2", "t"])
def test_neither_true_nor_false_is_422_and_the_number_untouched(
    service: Service, operator: Organization, shelf: Shelf, value: str
) -> None:
    [resource] = operator.orders(shelf.take(1))

    response = operator.release(resource["id"], return_to_carrier=value)

    assert_invalid(response, return_to_carrier="must be true or false")
    assert where(service, resource) == "assigned"


@pytest.mark.parametrize("body", [b"", b"{", b"x" * 70_000])
def test_a_body_is_ignored(owner: Organization, body: bytes) -> None:
    response = owner.client.request(
        "DELETE", f"{NUMBERS}/{UNKNOWN_ID}", content=body, headers={"Content-Type": "text/plain"}
    )

    assert_error(response, 404)


# Several at once


def test_a_list_is_released_and_each_unique_id_is_in_one_of_the_three_lists(
    service: Service, organizations: Organizations, owner: Organization, shelf: Shelf
) -> None:
    other = organizations.of(service, "release-tests-other")
    [theirs] = other.orders(shelf.take(1))
    ids = [resource["id"] for resource in owner.orders(shelf.take(4))]
    succeeded(owner.release(ids[3]))
    sent = [ids[0], UNKNOWN_ID, ids[3], ids[1].upper(), theirs["id"], ids[0], ids[2]]

    report = succeeded(owner.release_all(sent))

    assert report == {
        "released": [ids[0], ids[1], ids[2]],
        "unknown": [UNKNOWN_ID, theirs["id"]],
        "already_released": [ids[3]],
    }
    assert not {ids[0], ids[1], ids[2]} & owner.has()
    assert other.has() == {theirs["number"]}
    again = succeeded(owner.release_all(sent))
    assert again == {
        "released": [],
        "unknown": [UNKNOWN_ID, theirs["id"]],
        "already_released": [ids[0], ids[3], ids[1], ids[2]],
    }


def test_a_hundred_numbers_are_in_quarantine_before_the_response(
    service: Service, owner: Organization
) -> None:
    numbers = put(service, "653", range(5_557_000, 5_557_100))
    resources = owner.orders(numbers)

    report = succeeded(owner.release_all(resource["id"] for resource in resources))

    assert report["released"] == [resource["id"] for resource in resources]
    assert states_of(service.instance.redis_url, numbers[::10]) == {"quarantined"}


@pytest.mark.parametrize(
    ("ids", "details"),
    [
        ([], {"ids": "must be a list of 1-100 UUIDs"}),
        ([UNKNOWN_ID] * 101, {"ids": "must be a list of 1-100 UUIDs"}),
        (None, {"ids": "must be a list of 1-100 UUIDs"}),
        (UNKNOWN_ID, {"ids": "must be a list of 1-100 UUIDs"}),
        (
            # That one comes again is no mistake.
            [UNKNOWN_ID, "x", None, 5, "+16505557000", UNKNOWN_ID + "\n", UNKNOWN_ID],
            {f"ids.{place}": "must be a UUID" for place in range(1, 6)},
        ),
    ],
)
def test_ids_are_1_to_100_uuids_and_each_bad_one_is_named(
    owner: Organization, ids: Any, details: dict[str, str]
) -> None:
    assert_invalid(owner.post(RELEASE, {"ids": ids}), **details)


def test_the_ids_are_required_and_nothing_else_is_taken(owner: Organization) -> None:
    assert_invalid(owner.post(RELEASE, {"return_to_carrier": True}), ids="is required",
                   return_to_carrier="is not a known field")  # fmt: skip


def test_a_bad_id_keeps_the_others_from_being_released(
    service: Service, owner: Organization, shelf: Shelf
) -> None:
    [resource] = owner.orders(shelf.take(1))

    assert_invalid(owner.release_all([resource["id"], "x"]), **{"ids.1": "must be a UUID"})

    assert where(service, resource) == "assigned"


@pytest.mark.parametrize(
    "query",
    ["return_to_carrier=true", "return_to_carrier=yes", "return_to_carrier=false&return_to_carrier=true"],
)
@pytest.mark.parametrize("body", [b"{", b'{"ids": []}', b""])
def test_back_to_the_carrier_in_a_list_is_403_for_everybody_before_the_body_is_looked_at(
    owner: Organization, operator: Organization, query: str, body: bytes
) -> None:
    for organization in (owner, operator):
        assert_error(organization.client.post(f"{RELEASE}?{query}", content=body), 403)


def test_back_to_the_carrier_in_a_list_leaves_the_numbers_untouched(
    service: Service, operator: Organization, shelf: Shelf
) -> None:
    [resource] = operator.orders(shelf.take(1))

    response = operator.client.post(f"{RELEASE}?return_to_carrier=true", json={"ids": [resource["id"]]})

    assert_error(response, 403)
    assert where(service, resource) == "assigned"
