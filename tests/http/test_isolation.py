from typing import Any

import httpx
import pytest

from shared.api_keys import Scope
from tests.http.answers import (
    BULK,
    COVERAGE,
    FEEDS,
    NUMBERS,
    ORDERS,
    RELEASE,
    SYNCS,
    assert_alike,
    assert_error,
    bulk_order,
    paged,
    succeeded,
)
from tests.http.organizations import OPERATOR, Organization, Organizations, Shelf
from tests.support import Service

AREA = "670"
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"


@pytest.fixture(scope="module")
def shelf(service: Service) -> Shelf:
    return Shelf(service, "isolation", [AREA], 40)


@pytest.fixture(scope="module")
def mine(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "isolation-tests-mine", OPERATOR)


@pytest.fixture(scope="module")
def theirs(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "isolation-tests-theirs")


Ids = dict[str, str]


@pytest.fixture(scope="module")
def foreign(theirs: Organization, shelf: Shelf) -> Ids:
    """Give ids of what the other organization has."""
    [resource] = theirs.orders(shelf.take(1), label="theirs")
    return {
        "number": resource["id"],
        "order": resource["order_id"],
        "bulk": bulk_order(theirs.bulk(quantity=2, area_code="671"), 202)["order_id"],
    }


LABEL = {"json": {"label": "mine"}}
KEY = {"headers": {"Idempotency-Key": "isolation"}}
# Method, path, what else is sent, and which id is put in.
BY_ID: list[tuple[str, str, dict[str, Any], str]] = [
    ("GET", f"{NUMBERS}/{{}}", {}, "number"),
    ("PATCH", f"{NUMBERS}/{{}}", LABEL, "number"),
    ("PATCH", f"{NUMBERS}/{{}}", LABEL | KEY, "number"),
    ("DELETE", f"{NUMBERS}/{{}}", {}, "number"),
    ("DELETE", f"{NUMBERS}/{{}}", KEY, "number"),
    ("DELETE", f"{NUMBERS}/{{}}?return_to_carrier=true", {}, "number"),
    ("GET", f"{ORDERS}/{{}}", {}, "order"),
    ("GET", f"{ORDERS}/{{}}", {}, "bulk"),
    ("GET", f"{ORDERS}/{{}}", {}, "number"),
    ("POST", f"{ORDERS}/{{}}/cancel", {}, "order"),
    ("POST", f"{ORDERS}/{{}}/cancel", KEY, "order"),
    ("POST", f"{ORDERS}/{{}}/cancel", {}, "bulk"),
    ("GET", f"{BULK}/{{}}", {}, "bulk"),
    ("GET", f"{BULK}/{{}}", {}, "order"),
]


@pytest.mark.parametrize("request_", BY_ID)
def test_what_another_organization_has_is_answered_byte_for_byte_as_what_there_is_not(
    mine: Organization, theirs: Organization, foreign: Ids, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    method, path, options, kind = request_
    before = [theirs.page().text, theirs.page(ORDERS).text]

    answers = [
        mine.client.request(method, path.format(one), **options)
        for one in (foreign[kind], UNKNOWN_ID, foreign[kind].upper())
    ]

    for answer in answers:
        assert_error(answer, 404)
        assert_alike(answer, answers[0])
    assert [theirs.page().text, theirs.page(ORDERS).text] == before


def test_another_organizations_ids_are_unknown_in_a_list_of_releases(
    mine: Organization, theirs: Organization, foreign: Ids
) -> None:
    answers = [mine.release_all([one]).json() for one in (foreign["number"], UNKNOWN_ID)]

    assert answers[0] == {
        "success": True,
        "data": {"released": [], "unknown": [foreign["number"]], "already_released": []},
    }
    assert answers[1]["data"]["unknown"] == [UNKNOWN_ID]
    succeeded(theirs.number(foreign["number"]))


def test_an_id_that_another_organization_released_is_unknown(
    mine: Organization, theirs: Organization, shelf: Shelf
) -> None:
    [resource] = theirs.orders(shelf.take(1))
    succeeded(theirs.release(resource["id"]))

    assert succeeded(mine.release_all([resource["id"]]))["unknown"] == [resource["id"]]


def test_each_organization_lists_what_is_its_own_and_counts_nothing_else(
    service: Service, organizations: Organizations, shelf: Shelf
) -> None:
    buyers = [organizations.of(service, f"isolation-tests-list-{index}") for index in range(2)]
    numbers = [shelf.take(1), shelf.take(2)]
    for buyer, some in zip(buyers, numbers, strict=True):
        buyer.orders(some)

    for buyer, some in zip(buyers, numbers, strict=True):
        resources, meta = paged(buyer.page())
        assert [resource["number"] for resource in resources] == some[::-1]
        assert meta["total"] == len(some)
        orders, meta = paged(buyer.page(ORDERS))
        assert [order["numbers"] for order in orders] == [some]
        assert meta["total"] == 1
        assert paged(buyer.page(search="5557"))[1]["total"] == len(some)


def test_all_keys_of_an_organization_see_the_same(
    service: Service, organizations: Organizations, theirs: Organization, foreign: Ids
) -> None:
    other_key = organizations.of(service, theirs.name)

    assert other_key.page().text == theirs.page().text
    assert other_key.number(foreign["number"]).text == theirs.number(foreign["number"]).text


def test_an_organization_whose_name_is_the_beginning_of_anothers_sees_nothing_of_it(
    service: Service, organizations: Organizations, foreign: Ids
) -> None:
    for name in ("isolation-tests", "isolation-tests-theirs-too"):
        other = organizations.of(service, name)
        assert paged(other.page())[1]["total"] == paged(other.page(ORDERS))[1]["total"] == 0
        assert_error(other.number(foreign["number"]), 404)


# Scopes


READ, WRITE = Scope.NUMBERS_READ, Scope.NUMBERS_WRITE
READ_INVENTORY, WRITE_INVENTORY = Scope.PLATFORM_INVENTORY_READ, Scope.PLATFORM_INVENTORY_WRITE
ROUTES: list[tuple[str, str, Scope]] = [
    ("POST", ORDERS, WRITE),
    ("GET", ORDERS, READ),
    ("GET", f"{ORDERS}/{UNKNOWN_ID}", READ),
    ("POST", f"{ORDERS}/{UNKNOWN_ID}/cancel", WRITE),
    ("POST", BULK, WRITE),
    ("GET", f"{BULK}/{UNKNOWN_ID}", READ),
    ("GET", NUMBERS, READ),
    ("GET", f"{NUMBERS}/{UNKNOWN_ID}", READ),
    ("PATCH", f"{NUMBERS}/{UNKNOWN_ID}", WRITE),
    ("DELETE", f"{NUMBERS}/{UNKNOWN_ID}", WRITE),
    ("POST", RELEASE, WRITE),
    ("POST", f"{FEEDS}/nobody/syncs", WRITE_INVENTORY),
    ("PUT", f"{FEEDS}/Nobody", WRITE_INVENTORY),
    ("GET", SYNCS, READ_INVENTORY),
    ("GET", f"{SYNCS}/{UNKNOWN_ID}", READ_INVENTORY),
    ("GET", f"{SYNCS}/{UNKNOWN_ID}/rejects", READ_INVENTORY),
    ("POST", f"{SYNCS}/{UNKNOWN_ID}/confirm", WRITE_INVENTORY),
    ("POST", f"{SYNCS}/{UNKNOWN_ID}/rollback", WRITE_INVENTORY),
    ("GET", COVERAGE, READ_INVENTORY),
]


@pytest.fixture(scope="module")
def by_scope(service: Service, organizations: Organizations) -> dict[tuple[bool, Scope], httpx.Client]:
    """Give clients that have one scope, and clients that have all but one."""
    return {
        (is_alone, scope): organizations.of(
            service,
            "isolation-tests-scopes",
            (scope,) if is_alone else tuple(one for one in Scope if one is not scope),
        ).client
        for scope in (READ, WRITE, READ_INVENTORY, WRITE_INVENTORY)
        for is_alone in (True, False)
    }


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_route_needs_its_scope_and_no_other_one_stands_in_for_it(
    by_scope: dict[tuple[bool, Scope], httpx.Client], method: str, path: str, scope: Scope
) -> None:
    assert_error(by_scope[False, scope].request(method, path, content=b"{}"), 403)
    assert by_scope[True, scope].request(method, path, content=b"{}").status_code in (200, 404, 422)


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_caller_without_the_scope_learns_nothing_of_body_id_and_parameters(
    by_scope: dict[tuple[bool, Scope], httpx.Client], method: str, path: str, scope: Scope
) -> None:
    client = by_scope[False, scope]

    for content, content_type in ((b"{", "application/json"), (b"", "text/plain"), (b"x" * 70_000, "")):
        response = client.request(
            method,
            path.replace(UNKNOWN_ID, "x") + "?limit=0&cursor=x&return_to_carrier=x",
            content=content,
            headers={"Content-Type": content_type, "Idempotency-Key": ""},
        )
        assert_error(response, 403)


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_without_a_key_every_route_is_401(service: Service, method: str, path: str, scope: Scope) -> None:
    assert scope in Scope
    with httpx.Client(base_url=service.instance.url) as client:
        response = client.request(method, path, content=b"{")

    assert_error(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
