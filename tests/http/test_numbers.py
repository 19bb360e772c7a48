from typing import Any

import pytest

from tests.http.answers import (
    NUMBERS,
    ROUTING,
    TIME,
    assert_error,
    assert_invalid,
    assert_resource,
    paged,
    succeeded,
)
from tests.http.organizations import Organization, Organizations, Shelf
from tests.support import Service

FIRST, SECOND, TOLL_FREE = "640", "641", "855"
CAMPAIGN = "01932c07-2c4f-7000-8000-00000000abcd"
UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"


@pytest.fixture(scope="module")
def shelf(service: Service) -> Shelf:
    return Shelf(service, "numbers", [FIRST, SECOND, TOLL_FREE], 100)


@pytest.fixture(scope="module")
def owner(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "numbers-tests")


@pytest.fixture(scope="module")
def lister(service: Service, organizations: Organizations, shelf: Shelf) -> Organization:
    """Give an organization that has 4 numbers in an order of its own: the list tests change nothing."""
    lister = organizations.of(service, "numbers-tests-list")
    lister.orders(shelf.take(2), campaign_id=CAMPAIGN)
    lister.orders(shelf.take(1, TOLL_FREE), campaign_id=CAMPAIGN.replace("abcd", "1111"))
    lister.orders(shelf.take(1, SECOND))
    return lister


def numbers_of(resources: list[dict[str, Any]]) -> list[str]:
    return [resource["number"] for resource in resources]


# The list


def test_who_has_nothing_gets_an_empty_page(service: Service, organizations: Organizations) -> None:
    nobody = organizations.of(service, "numbers-tests-nobody")

    assert paged(nobody.page()) == ([], {"total": 0, "limit": 20, "offset": 0, "next_cursor": None})


def test_the_list_is_newest_first_with_each_number_as_it_is(lister: Organization) -> None:
    resources, meta = paged(lister.page())

    assert [number[2:5] for number in numbers_of(resources)] == [SECOND, TOLL_FREE, FIRST, FIRST]
    assert numbers_of(resources)[2] > numbers_of(resources)[3]
    assert (meta["total"], meta["next_cursor"]) == (4, None)
    for resource in resources:
        assert_resource(resource)
        assert succeeded(lister.number(resource["id"])) == resource


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"number_type": "local"}, [0, 2, 3]),
        ({"number_type": "toll_free"}, [1]),
        ({"number_type": "short_code"}, []),
        ({"campaign_id": CAMPAIGN}, [2, 3]),
        ({"campaign_id": CAMPAIGN.upper()}, [2, 3]),
        ({"campaign_id": UNKNOWN_ID}, []),
        ({"search": "+1640"}, [2, 3]),
        ({"search": "5557"}, [0, 1, 2, 3]),
        ({"search": "41555"}, [0]),
        ({"search": "555+"}, []),
        ({"search": "+"}, [0, 1, 2, 3]),
        ({"search": ""}, [0, 1, 2, 3]),
        ({"search": "*"}, []),
        ({"search": "1", "number_type": "toll_free", "campaign_id": CAMPAIGN}, []),
        ({"search": "1640", "number_type": "local", "campaign_id": CAMPAIGN}, [2, 3]),
    ],
)
def test_the_filters_let_through_what_matches_all_of_them_and_the_total_counts_it(
    lister: Organization, query: dict[str, str], places: list[int]
) -> None:
    everything, _ = paged(lister.page())

    resources, meta = paged(lister.page(**query))

    assert resources == [everything[place] for place in places]
    assert (meta["total"], meta["next_cursor"]) == (len(places), None)


def test_a_plus_in_the_search_need_not_be_escaped(lister: Organization) -> None:
    plain, _ = paged(lister.client.get(f"{NUMBERS}?search=+1640"))
    escaped, _ = paged(lister.client.get(f"{NUMBERS}?search=%2B1640"))

    assert len(plain) == 2
    assert plain == escaped


@pytest.mark.parametrize(
    ("query", "phrase"),
    [
        ({"number_type": "mobile"}, "must be one of local, toll_free, short_code"),
        ({"number_type": ""}, "must be one of local, toll_free, short_code"),
        ({"campaign_id": "x"}, "must be a UUID"),
        ({"campaign_id": ""}, "must be a UUID"),
        ({"search": "1" * 33}, "must be at most 32 characters"),
    ],
)
def test_a_filter_that_can_match_nothing_is_422(
    owner: Organization, query: dict[str, str], phrase: str
) -> None:
    [name] = query
    assert_invalid(owner.page(**query), **{name: phrase})


def test_all_bad_parameters_are_named_at_once(owner: Organization) -> None:
    response = owner.page(limit="0", cursor="x", number_type="x", campaign_id="x", search="x" * 33)

    assert set(assert_error(response, 422)["details"]) == {
        *("limit", "cursor", "number_type", "campaign_id", "search")
    }


@pytest.mark.parametrize("query", [{}, {"search": "5557"}])
def test_pages_neither_skip_nor_repeat_while_numbers_come_and_go(
    service: Service, organizations: Organizations, shelf: Shelf, query: dict[str, str]
) -> None:
    owner = organizations.of(service, f"numbers-tests-pages-{len(query)}")
    owner.orders(shelf.take(9))
    before, _ = paged(owner.page(**query))
    gone = before[5]

    seen: list[dict[str, Any]] = []
    first, meta = paged(owner.page(limit=4, **query), 4)
    seen += first
    # One that was seen goes, one that was not seen yet goes, and new ones come.
    succeeded(owner.release(first[1]["id"]))
    succeeded(owner.release(gone["id"]))
    owner.orders(shelf.take(3))
    totals = [meta["total"]]
    while meta["next_cursor"] is not None:
        page, meta = paged(owner.page(limit=4, cursor=meta["next_cursor"], **query), 4)
        totals.append(meta["total"])
        seen += page

    assert numbers_of(seen) == [number for number in numbers_of(before) if number != gone["number"]]
    assert totals == [9, 10]


@pytest.mark.parametrize("limit", ["5.0", "1e1", "+5", " 5", "\N{ARABIC-INDIC DIGIT FIVE}", "101", "-1", ""])
def test_a_limit_that_is_no_integer_from_1_to_100_is_422(lister: Organization, limit: str) -> None:
    assert_invalid(lister.page(limit=limit), limit="must be an integer from 1 to 100")


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_any_size_together_are_the_list(lister: Organization, limit: int) -> None:
    everything, _ = paged(lister.page())

    seen: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while query.get("cursor", "") is not None:
        page, meta = paged(lister.page(**query), limit)
        assert meta["total"] == 4
        seen += page
        query["cursor"] = meta["next_cursor"]

    assert seen == everything


def test_the_limit_is_20_unless_told(service: Service, organizations: Organizations, shelf: Shelf) -> None:
    owner = organizations.of(service, "numbers-tests-limit")
    owner.orders(shelf.take(21))

    resources, meta = paged(owner.page())

    assert (len(resources), meta["total"]) == (20, 21)
    assert meta["next_cursor"] is not None


def test_a_cursor_of_another_list_or_organization_does_no_harm(
    lister: Organization, owner: Organization, shelf: Shelf
) -> None:
    owner.orders(shelf.take(2))
    _, meta = paged(owner.page(limit=1), 1)

    resources, _ = paged(lister.page(cursor=meta["next_cursor"]))

    assert {resource["id"] for resource in resources} <= {item["id"] for item in paged(lister.page())[0]}
    paged(owner.page("/v1/phone-numbers/orders", cursor=meta["next_cursor"]))
    assert paged(lister.page(cursor="0"))[0] == []
    assert paged(lister.page(cursor="9" * 15))[0] == paged(lister.page())[0]


# One number


def test_a_number_is_404_when_it_is_unknown_or_released(owner: Organization, shelf: Shelf) -> None:
    [resource] = owner.orders(shelf.take(1))
    assert succeeded(owner.number(resource["id"])) == resource
    assert succeeded(owner.number(resource["id"].upper())) == resource

    succeeded(owner.release(resource["id"]))

    assert_error(owner.number(resource["id"]), 404)
    assert_error(owner.number(UNKNOWN_ID), 404)


MALFORMED = [
    *("x", "1", "0" * 35, "0" * 37, "0" * 35 + "g", UNKNOWN_ID.replace("-", ""), f"{{{UNKNOWN_ID}}}"),
    *(UNKNOWN_ID + "%0a", "%00", "%ff", "0" * 35 + "%D9%A0", "+16405557000"),
]


@pytest.mark.parametrize("path", ["", "/orders", "/bulk"])
@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_id_is_422(owner: Organization, path: str, malformed: str) -> None:
    assert_invalid(owner.client.get(f"{NUMBERS}{path}/{malformed}"), id="must be a UUID")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_malformed_id_is_422_to_who_writes(owner: Organization, method: str) -> None:
    assert_invalid(owner.client.request(method, f"{NUMBERS}/x", content=b"{}"), id="must be a UUID")


@pytest.mark.parametrize("unknown", [UNKNOWN_ID, UNKNOWN_ID.upper(), "-" * 36, "A" * 36])
def test_an_id_of_the_right_form_that_nobody_has_is_404(owner: Organization, unknown: str) -> None:
    for path in ("", "/orders", "/bulk"):
        assert_error(owner.client.get(f"{NUMBERS}{path}/{unknown}"), 404)
    assert_error(owner.patch(unknown, label="x"), 404)
    assert_error(owner.release(unknown), 404)


# Its routing


NEW = {
    "inbound_url": "https://example.com/new",
    "status_url": "https://example.com/status",
    "label": "new",
    "campaign_id": CAMPAIGN,
}


@pytest.fixture
def resource(owner: Organization, shelf: Shelf) -> dict[str, Any]:
    [resource] = owner.orders(
        shelf.take(1),
        inbound_url="https://example.com/old",
        status_url="https://example.com/old",
        label="old",
        campaign_id=UNKNOWN_ID,
    )
    return resource


def test_all_routing_can_be_changed_at_once(owner: Organization, resource: dict[str, Any]) -> None:
    changed = succeeded(owner.patch(resource["id"], **NEW))

    assert_resource(changed)
    assert changed == resource | NEW | {"updated_at": changed["updated_at"]}
    assert changed["updated_at"] > resource["updated_at"]
    assert succeeded(owner.number(resource["id"])) == changed


@pytest.mark.parametrize("field", ROUTING)
def test_what_is_absent_or_null_stays(owner: Organization, resource: dict[str, Any], field: str) -> None:
    others: dict[str, Any] = dict.fromkeys(ROUTING)

    changed = succeeded(owner.patch(resource["id"], **others | {field: NEW[field]}))

    assert changed == resource | {field: NEW[field], "updated_at": changed["updated_at"]}
    assert succeeded(owner.patch(resource["id"], **{field: resource[field]}))[field] == resource[field]


@pytest.mark.parametrize("field", ["inbound_url", "status_url", "label"])
def test_an_empty_text_clears(owner: Organization, resource: dict[str, Any], field: str) -> None:
    changed = succeeded(owner.patch(resource["id"], **{field: ""}))

    assert changed == resource | {field: None, "updated_at": changed["updated_at"]}
    assert succeeded(owner.patch(resource["id"], **{field: ""}))[field] is None


def test_a_campaign_is_not_cleared_by_an_empty_text(owner: Organization, resource: dict[str, Any]) -> None:
    assert_invalid(owner.patch(resource["id"], campaign_id=""), campaign_id="must be a UUID")
    assert succeeded(owner.number(resource["id"])) == resource


@pytest.mark.parametrize("members", [{}, dict.fromkeys(ROUTING)])
def test_nothing_to_change_changes_nothing(
    owner: Organization, resource: dict[str, Any], members: dict[str, None]
) -> None:
    assert succeeded(owner.patch(resource["id"], **members)) == resource


@pytest.mark.parametrize(
    "field", ["id", "number", "number_type", "sms_enabled", "created_at", "order_id", "x"]
)
def test_any_other_field_is_400_whatever_its_value_and_nothing_changes(
    owner: Organization, resource: dict[str, Any], field: str
) -> None:
    for value in (resource.get(field), None, 5):
        members: dict[str, Any] = {field: value, "label": "new"}
        response = owner.patch(resource["id"], **members)
        assert assert_error(response, 400, has_details=True)["details"] == {field: "cannot be changed"}
    assert succeeded(owner.number(resource["id"])) == resource


def test_routing_that_breaks_its_rule_is_422_and_nothing_changes(
    owner: Organization, resource: dict[str, Any]
) -> None:
    response = owner.patch(
        resource["id"], inbound_url="http://x", status_url=5, label="a" * 256, campaign_id=1
    )

    url = "must be an https URL of at most 2048 characters, or empty"
    assert_invalid(
        response,
        inbound_url=url,
        status_url=url,
        label="must be text of at most 255 characters",
        campaign_id="must be a UUID",
    )
    assert succeeded(owner.number(resource["id"])) == resource


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xef\xbb\xbf{}", "application/json", 400),
        (b'{"label": "\xff"}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}" + b" " * 70_000, "application/json", 413),
    ],
)
def test_a_body_that_cannot_be_looked_into_comes_before_an_unknown_number(
    owner: Organization, body: bytes, content_type: str, status: int
) -> None:
    response = owner.client.patch(
        f"{NUMBERS}/{UNKNOWN_ID}", content=body, headers={"Content-Type": content_type}
    )

    assert_error(response, status)


def test_what_was_changed_is_in_the_list_and_in_its_filter(
    owner: Organization, resource: dict[str, Any]
) -> None:
    campaign_id = resource["id"]
    changed = succeeded(owner.patch(resource["id"], campaign_id=campaign_id))

    listed, meta = paged(owner.page(campaign_id=campaign_id))

    assert (listed, meta["total"]) == ([changed], 1)
    assert TIME.fullmatch(changed["updated_at"])
