from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from litestar import Litestar
from litestar.testing import AsyncTestClient

from api.app import create_app
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.settings import Settings
from shared.store import Store
from tests.http.answers import (
    ORDERS,
    ROUTING,
    UUID7,
    assert_error,
    assert_invalid,
    assert_times,
    found,
    ordered,
    paged,
    succeeded,
)
from tests.http.organizations import Organization, Organizations, Shelf, states_of
from tests.support import Service, put_in_stock

FIRST, SECOND, TOLL_FREE = "602", "603", "833"
NOWHERE = ["+442071838750", "+16045557000", "+16025550000", "+10005550000", "+1234567", "+999999999999999"]
NUMBER = "must be a number in E.164, such as +14155550123"
LIST = "must be a list of 1-100 numbers"
URL = "must be an https URL of at most 2048 characters"


@pytest.fixture(scope="module")
def shelf(service: Service) -> Shelf:
    return Shelf(service, "orders", [FIRST, SECOND, TOLL_FREE], 200)


@pytest.fixture(scope="module")
def buyer(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "orders-tests")


def place(service: Service, numbers: list[str]) -> set[str]:
    return states_of(service.instance.redis_url, numbers)


# All or nothing


def test_an_order_brings_all_its_numbers_over_several_area_codes_in_the_order_asked(
    service: Service, shelf: Shelf, buyer: Organization
) -> None:
    asked = [*shelf.take(2, SECOND), *shelf.take(1, TOLL_FREE), *shelf.take(2, FIRST), *shelf.take(1, SECOND)]

    resources = buyer.orders(asked)

    assert [resource["number"] for resource in resources] == asked
    assert len({resource["id"] for resource in resources}) == len(asked)
    assert len({resource["order_id"] for resource in resources}) == 1
    assert [resource["number_type"] for resource in resources].count("toll_free") == 1
    assert place(service, asked) == {"assigned"}
    assert set(asked) <= buyer.has()


def test_a_number_is_found_until_it_is_ordered_and_never_after(shelf: Shelf, buyer: Organization) -> None:
    [number] = shelf.take(1)
    search = {"pattern": number, "area_code": FIRST}

    assert found(buyer.post("/v1/phone-numbers/search", search)) == [number]
    buyer.orders([number])
    assert found(buyer.post("/v1/phone-numbers/search", search)) == []


def test_the_features_are_those_that_the_carrier_offers(shelf: Shelf, buyer: Organization) -> None:
    resources = buyer.orders(shelf.take(2))

    assert [resource["sms_enabled"] for resource in resources] == [True, True]
    assert [resource["mms_enabled"] for resource in resources].count(True) == 1


@pytest.mark.parametrize("count", [1, 100])
def test_an_order_of_1_to_100_numbers_is_taken(shelf: Shelf, buyer: Organization, count: int) -> None:
    assert len(buyer.orders(shelf.take(count, SECOND))) == count


def test_a_number_that_is_not_available_is_409_and_none_is_assigned(
    service: Service, shelf: Shelf, buyer: Organization
) -> None:
    taken = shelf.take(2)
    buyer.orders(taken)
    wanted = [*shelf.take(2, SECOND), *shelf.take(1)]
    had = buyer.has()
    asked = [NOWHERE[0], wanted[0], taken[1], wanted[1], NOWHERE[1], wanted[2], taken[0]]

    response = buyer.order(asked)

    assert_error(response, 409, "INSUFFICIENT_INVENTORY")
    assert response.json()["data"] == {
        "available_count": 3,
        "unavailable": [NOWHERE[0], taken[1], NOWHERE[1], taken[0]],
    }
    assert place(service, wanted) == {"available"}
    assert buyer.has() == had
    assert len(buyer.orders(wanted)) == 3


@pytest.mark.parametrize("number", NOWHERE)
def test_a_number_that_never_existed_is_answered_like_one_that_is_taken(
    buyer: Organization, number: str
) -> None:
    response = buyer.order([number])

    assert_error(response, 409, "INSUFFICIENT_INVENTORY")
    assert response.json()["data"] == {"available_count": 0, "unavailable": [number]}


def test_who_has_a_number_makes_no_difference(
    service: Service, organizations: Organizations, shelf: Shelf, buyer: Organization
) -> None:
    other = organizations.of(service, "orders-tests-other")
    mine, theirs = shelf.take(1), shelf.take(1)
    buyer.orders(mine)
    other.orders(theirs)

    answers = [buyer.order([number]).json() for number in (*mine, *theirs, NOWHERE[1])]

    for answer in answers:
        answer["error"].pop("request_id")
        assert answer["data"].pop("unavailable") in (mine, theirs, [NOWHERE[1]])
    assert answers[0] == answers[1] == answers[2]


def test_an_order_that_failed_is_a_failed_order_in_location(buyer: Organization) -> None:
    response = buyer.order(NOWHERE[:2])

    assert response.status_code == 409
    order = succeeded(buyer.client.get(response.headers["location"]))
    assert (order["status"], order["numbers"]) == ("failed", NOWHERE[:2])


# The request


@pytest.mark.parametrize(
    ("numbers", "details"),
    [
        ([], {"numbers": LIST}),
        ([f"+1602555{line:04}" for line in range(101)], {"numbers": LIST}),
        ("+16025557000", {"numbers": LIST}),
        ({"0": "+16025557000"}, {"numbers": LIST}),
        (None, {"numbers": LIST}),
        (["16025557000"], {"numbers.0": NUMBER}),
        (["+16025557000", "(602) 555-7000", 5, None, "", "+", "+0123456789", "+16025557000\n"],
         {f"numbers.{place}": NUMBER for place in range(1, 8)}),
        (["+1602555700\N{ARABIC-INDIC DIGIT ZERO}"], {"numbers.0": NUMBER}),
        (["+16025557000", "+16025557001", "+16025557000"], {"numbers.2": "is the same as numbers.0"}),
        (
            ["+16025557000", "x", "+16025557000", "+16025557000"],
            {
                "numbers.1": NUMBER,
                "numbers.2": "is the same as numbers.0",
                "numbers.3": "is the same as numbers.0",
            },
        ),
    ],
)  # fmt: skip
def test_numbers_are_1_to_100_in_e164_without_duplicates_and_each_bad_one_is_named(
    buyer: Organization, numbers: Any, details: dict[str, str]
) -> None:
    assert_invalid(buyer.post(ORDERS, {"numbers": numbers}), **details)


def test_the_numbers_are_required(buyer: Organization) -> None:
    assert_invalid(buyer.post(ORDERS, {}), numbers="is required")


ROUTED = {
    "inbound_url": "https://example.com/in?a=1&b=%20",
    "status_url": "https://user@sub.example.com:8443/",
    "label": "Hotline \N{BLACK TELEPHONE}",
    "campaign_id": "01932c07-2c4f-7000-8000-000000000000",
}


def test_each_number_of_the_order_gets_the_routing(shelf: Shelf, buyer: Organization) -> None:
    resources = buyer.orders(shelf.take(3), **ROUTED)

    for resource in resources:
        assert {field: resource[field] for field in ROUTING} == ROUTED
        assert succeeded(buyer.number(resource["id"])) == resource


def test_absent_routing_is_null_and_so_is_null(shelf: Shelf, buyer: Organization) -> None:
    [absent], [null] = buyer.orders(shelf.take(1)), buyer.orders(shelf.take(1), **dict.fromkeys(ROUTING))

    assert [absent[field] for field in ROUTING] == [null[field] for field in ROUTING] == [None] * 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inbound_url", "https://" + "a" * 2040),
        ("status_url", "https://[2001:db8::1]/x"),
        ("label", "a" * 255),
        ("label", "\N{BLACK TELEPHONE}" * 255),
        ("label", 'a\nb\x00c "quoted"'),
        ("campaign_id", "01932c07-2c4f-7000-8000-000000000000"),
        ("campaign_id", "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_routing_that_follows_its_rule_is_kept_as_it_was_sent(
    shelf: Shelf, buyer: Organization, field: str, value: str
) -> None:
    [resource] = buyer.orders(shelf.take(1), **{field: value})

    assert resource[field] == value
    assert succeeded(buyer.number(resource["id"]))[field] == value


def test_a_campaign_is_the_same_in_either_case(shelf: Shelf, buyer: Organization) -> None:
    [resource] = buyer.orders(shelf.take(1), campaign_id="01932C07-2C4F-7000-8000-00000000ABCD")

    assert resource["campaign_id"] == "01932c07-2c4f-7000-8000-00000000abcd"


LONG_LABELS: list[Any] = ["a" * 256, 5, True, []]
BAD_URLS: list[Any] = [
    *("", "http://example.com", "ftp://example.com", "example.com", "https:", "https://", "https:///path"),
    *("https://a b", "https://example.com\n", " https://example.com"),
    *("https://ex\N{LATIN SMALL LETTER E WITH ACUTE}.com", "https://example.com/\x00", "HTTPS://example.com"),
    *("https://" + "a" * 2041, 5, True, [], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "phrase"),
    [
        *[(field, value, URL) for field in ("inbound_url", "status_url") for value in BAD_URLS],
        *[("label", value, "must be text of at most 255 characters") for value in LONG_LABELS],
        *[
            ("campaign_id", value, "must be a UUID")
            for value in ("", "x", "01932c072c4f70008000000000000000", "0" * 35 + "g", "0" * 37, 5)
        ],
    ],
)
def test_routing_that_breaks_its_rule_is_422_and_orders_nothing(
    buyer: Organization, field: str, value: Any, phrase: str
) -> None:
    assert_invalid(buyer.order(NOWHERE[:1], **{field: value}), **{field: phrase})


def test_all_that_is_wrong_is_named_at_once(buyer: Organization) -> None:
    response = buyer.order(["x"], inbound_url="x", label=5, campaign_id="", colour="red")

    assert_invalid(
        response,
        **{"numbers.0": NUMBER},
        inbound_url=URL,
        label="must be text of at most 255 characters",
        campaign_id="must be a UUID",
        colour="is not a known field",
    )


# Orders


def test_a_complete_order_is_looked_at_where_location_says(shelf: Shelf, buyer: Organization) -> None:
    asked = [*shelf.take(1, SECOND), *shelf.take(2)]
    response = buyer.order(asked)
    [resource, *_] = ordered(response)

    order = succeeded(buyer.client.get(response.headers["location"]))

    assert list(order) == ["order_id", "status", "numbers", "created_at", "updated_at"]
    assert (order["order_id"], order["status"]) == (resource["order_id"], "complete")
    assert order["numbers"] == asked
    assert UUID7.fullmatch(order["order_id"])
    assert_times(order)
    assert order["created_at"] == resource["created_at"]


def test_the_orders_of_both_kinds_are_listed_newest_first(
    service: Service, organizations: Organizations, shelf: Shelf
) -> None:
    buyer = organizations.of(service, "orders-tests-list")
    assert paged(buyer.page(ORDERS)) == ([], {"total": 0, "limit": 20, "offset": 0, "next_cursor": None})
    # By its whole text: any other number of the shelf is another test's.
    [in_bulk] = shelf.take(1)
    placed = [
        buyer.order(shelf.take(1)),
        buyer.order(NOWHERE[:1]),
        buyer.bulk(quantity=1, area_code=FIRST, pattern=in_bulk),
    ]

    orders, meta = paged(buyer.page(ORDERS))

    assert [f"{ORDERS}/{order['order_id']}" for order in orders] == [
        response.headers["location"] for response in placed[::-1]
    ]
    assert [order["status"] for order in orders] == ["complete", "failed", "complete"]
    assert orders == [succeeded(buyer.get_order(order["order_id"])) for order in orders]
    assert (meta["total"], meta["next_cursor"]) == (3, None)


def test_pages_of_orders_neither_skip_nor_repeat_while_others_are_placed(
    service: Service, organizations: Organizations
) -> None:
    buyer = organizations.of(service, "orders-tests-pages")
    for _ in range(5):
        buyer.order(NOWHERE[:1])
    before, _ = paged(buyer.page(ORDERS))

    seen: list[dict[str, Any]] = []
    query: dict[str, str] = {}
    for total, count in ((5, 2), (6, 2), (7, 1)):
        page, meta = paged(buyer.page(ORDERS, limit=2, **query), 2)
        assert (meta["total"], len(page)) == (total, count)
        seen += page
        query = {"cursor": meta["next_cursor"]}
        buyer.order(NOWHERE[:1])

    assert query == {"cursor": None}
    assert seen == before


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *[({"limit": value}, "limit") for value in ("0", "101", "-1", "x", "", "1.5", "1,5", "true")],
        *[({"cursor": value}, "cursor") for value in ("", "x", "-1", "1.5", "9" * 16, "1\n")],
    ],
)
@pytest.mark.parametrize("path", [ORDERS, "/v1/phone-numbers"])
def test_a_limit_out_of_range_and_a_bad_cursor_are_422(
    buyer: Organization, path: str, query: dict[str, str], name: str
) -> None:
    phrases = {
        "limit": "must be an integer from 1 to 100",
        "cursor": "must be the next_cursor of a page before",
    }
    assert_invalid(buyer.page(path, **query), **{name: phrases[name]})


def test_unknown_query_parameters_are_ignored(buyer: Organization) -> None:
    paged(buyer.page(ORDERS, offset="x", page="2"))


# What it costs


@pytest.fixture
async def in_process(store: Store, valkey: str) -> AsyncIterator[AsyncTestClient[Litestar]]:
    """Give the app without a worker, and a key whose record stays cached."""
    secret = new_secret()
    await create_api_key(store, "round-trips", Wanted((Scope.NUMBERS_WRITE,)), secret)
    app = create_app(Settings(redis_url=valkey, key_cache_seconds=3600, write_rate=0))
    async with AsyncTestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "mine"}])
async def test_an_order_of_one_number_costs_at_most_four_round_trips(
    in_process: AsyncTestClient[Litestar], store: Store, valkey: str, headers: dict[str, str]
) -> None:
    await put_in_stock(store, "605", [5557000, 5557001])
    # The first order teaches the store its scripts.
    assert (await in_process.post(ORDERS, json={"numbers": ["+16055557000"]})).status_code == 200

    with redis.Redis.from_url(valkey, socket_timeout=10) as other, other.monitor() as log:
        response = await in_process.post(ORDERS, json={"numbers": ["+16055557001"]}, headers=headers)
        await store.execute("ECHO", "the end")
        commands = []
        for seen in log.listen():
            if "the end" in seen["command"]:
                break
            # What a script does is no round trip.
            if seen["client_type"] != "lua":
                commands.append(seen["command"])

    assert response.status_code == 200
    assert 1 <= len(commands) <= 4, commands
    assert {command.split()[0] for command in commands} == {"EVALSHA"}


def test_a_number_that_many_order_at_once_goes_to_one_of_them(
    service: Service, organizations: Organizations, shelf: Shelf
) -> None:
    numbers = shelf.take(5)
    buyers = [organizations.of(service, f"orders-tests-race-{index}") for index in range(4)]

    with ThreadPoolExecutor(len(buyers)) as threads:
        for number in numbers:
            statuses = threads.map(lambda buyer, number=number: buyer.order([number]).status_code, buyers)
            assert sorted(statuses) == [200, 409, 409, 409]

    assert place(service, numbers) == {"assigned"}
    assert sorted(number for buyer in buyers for number in buyer.has()) == numbers
