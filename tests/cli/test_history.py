import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import pytest
import redis

from shared import store_keys
from shared.atomic.area_operations import give_back, hold
from shared.atomic.order_operations import OrderRef, Routing
from shared.ids import new_id
from shared.orders.departures import release
from shared.orders.placing import place_order
from shared.orders.records import find_owned
from shared.settings import Settings
from shared.store import Store
from tests.support import Service, numbers

T = TypeVar("T")

AREA = "986"
CARRIER = "history-tests"
ORGANIZATION = "acme"
LOCALS = range(5_550_100, 5_550_108)
NUMBERS = [f"+1{AREA}{local}" for local in LOCALS]
TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


@pytest.fixture(scope="module")
def stocked(service: Service) -> Service:
    rows = [f"{number},true,{'true' if number in NUMBERS[:4] else 'false'}" for number in NUMBERS]
    service.ingest(CARRIER, "\n".join(["number,sms,mms", *rows]).encode())
    with_store(service, lambda store: store.execute("SADD", store_keys.ORGANIZATIONS, ORGANIZATION))
    return service


def with_store(service: Service, action: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store = Store(service.instance.redis_url, timeout_seconds=5)
        try:
            return await action(store)
        finally:
            await store.close()

    return asyncio.run(run())


def place(service: Service, *ordered: str) -> OrderRef:
    order = OrderRef(ORGANIZATION, new_id())
    with_store(
        service, lambda store: place_order(store, order, ordered, Routing(), None, 15_000, lambda _: b"")
    )
    return order


def let_go(service: Service, number: str, *, to_carrier: bool) -> None:
    async def do(store: Store) -> None:
        owned = await find_owned(store, ORGANIZATION, (number,))
        await release(store, ORGANIZATION, owned, Settings(), None, to_carrier=to_carrier)

    with_store(service, do)


def history(service: Service, number: str) -> dict[str, Any]:
    done = service.numbers("history", "--json", number)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    told: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert set(told) == {"number", "events", "now"}
    return told


def changes(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(event["from"], event["to"], event["cause"]) for event in told["events"]]


def test_as_json_a_life_is_told_from_its_beginning_and_then_where_the_number_is(stocked: Service) -> None:
    number = NUMBERS[0]
    order = place(stocked, number)
    let_go(stocked, number, to_carrier=False)

    told = history(stocked, number)

    assert told["number"] == number
    assert changes(told) == [
        ("available", "held", "order"),
        ("held", "assigned", "order"),
        ("assigned", "quarantined", "release"),
    ]
    times = [event["time"] for event in told["events"]]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)
    for event in told["events"]:
        assert (event["number"], event["order"], event["organization"]) == (number, order.id, ORGANIZATION)
    now = told["now"]
    assert now.pop("due") > times[-1]
    assert now == {
        "state": "quarantined",
        "organization": ORGANIZATION,
        "order": order.id,
        "carrier": CARRIER,
        "sms": True,
        "mms": True,
        "is_kept": True,
    }


def test_for_people_each_change_has_a_line_and_the_last_line_says_where_the_number_is(
    stocked: Service,
) -> None:
    number = NUMBERS[1]
    order = place(stocked, number)

    done = stocked.numbers("history", number)

    assert (done.returncode, done.stderr) == (0, "")
    header, held, assigned, now = (line.split() for line in done.stdout.splitlines())
    assert header == ["time", "from", "→", "to", "cause", "organization", "order"]
    assert held[1:] == ["available", "→", "held", "order", ORGANIZATION, order.id]
    assert assigned[1:] == ["held", "→", "assigned", "order", ORGANIZATION, order.id]
    assert TIME.fullmatch(held[0])
    assert " ".join(now) == (
        f"now assigned to {ORGANIZATION} (order {order.id}); offered by {CARRIER}, with sms and mms"
    )


@pytest.mark.parametrize(
    "spelling",
    [NUMBERS[2], NUMBERS[2][2:], f"({AREA}) 555-0102", f" 1-{AREA}-555-0102", f"+1 {AREA}.555.0102"],
)
def test_a_number_may_be_spelled_as_people_do(stocked: Service, spelling: str) -> None:
    told = history(stocked, spelling)
    assert told["number"] == NUMBERS[2]
    assert told["now"]["state"] == "available"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("415555", "has 6 digits, needs 10"),
        ("number", "has letters"),
        ("", "empty"),
        ("9115550123", "area code 911 is a service code"),
        ("9" * 1000, "longer than 32 characters"),
        ("\x1b[31m", "letters"),
    ],
)
def test_text_that_is_no_number_is_one_line_of_error(text: str, reason: str) -> None:
    done = numbers("history", "--redis-url", "redis://127.0.0.1:1/0", text)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Invalid value for 'NUMBER': ")
    assert reason in line
    assert line.isprintable()
    assert len(line) < 250


def test_a_number_is_needed_and_help_says_how_it_is_spelled_and_what_is_kept() -> None:
    assert numbers("history").returncode == 2
    shown = numbers("history", "--help")
    assert shown.returncode == 0
    for text in ("+14155550123", "NUMBERS_EVENT_RETENTION_SECONDS", "quarantined", "returned"):
        assert text in shown.stdout


def test_a_number_that_nothing_has_happened_to_is_told_so_and_where_it_is(stocked: Service) -> None:
    kept = "as far as events are kept: 30 days"

    available = stocked.numbers("history", NUMBERS[5]).stdout.splitlines()
    unknown = stocked.numbers("history", "+19869999999").stdout.splitlines()

    assert available == [
        f"nothing has happened to {NUMBERS[5]}, {kept}",
        f"now available, offered by {CARRIER}, with sms",
    ]
    assert unknown == [
        f"nothing has happened to +19869999999, {kept}",
        "now not known: no carrier's feed lists it",
    ]
    assert history(stocked, NUMBERS[5])["events"] == []
    assert history(stocked, "+19869999999")["now"]["state"] == "unknown"


def test_a_number_that_went_back_to_its_carrier_is_told_so(stocked: Service) -> None:
    number = NUMBERS[3]
    order = place(stocked, number)
    let_go(stocked, number, to_carrier=True)

    told = history(stocked, number)

    assert changes(told)[-1] == ("assigned", "returned", "return_to_carrier")
    assert (told["now"]["state"], told["now"]["carrier"]) == ("returned", "history-tests")
    assert TIME.fullmatch(told["now"]["due"])
    last = stocked.numbers("history", number).stdout.splitlines()[-1]
    assert last.startswith(
        f"now returned to its carrier, last assigned to {ORGANIZATION} (order {order.id}); "
    )


def test_a_number_that_is_held_is_told_so_with_its_deadline(stocked: Service) -> None:
    number, order = NUMBERS[6], new_id()
    far_future_ms = 4_102_444_800_000
    with_store(stocked, lambda store: hold(store, AREA, order, 1, ORGANIZATION, far_future_ms, [number]))
    assert history(stocked, number)["now"]["due"] == "2100-01-01T00:00:00.000Z"
    assert stocked.numbers("history", number).stdout.splitlines()[-1] == (
        f"now held for {ORGANIZATION} (order {order}) until 2100-01-01T00:00:00.000Z; "
        f"offered by {CARRIER}, with sms"
    )
    with_store(stocked, lambda store: give_back(store, AREA, order, 1, "expired", [number]))


def test_a_number_without_an_offer_that_is_ours_to_keep_is_told_so(stocked: Service) -> None:
    area_code = "984"
    number = f"+1{area_code}5550100"
    with redis.Redis.from_url(stocked.instance.redis_url) as client:
        client.zadd(store_keys.available(area_code), {number: 5_550_100 * 65_536 + 4})
    assert history(stocked, number)["now"] == {
        "state": "available",
        "organization": None,
        "order": None,
        "due": None,
        "carrier": None,
        "sms": False,
        "mms": False,
        "is_kept": True,
    }
    shown = stocked.numbers("history", number).stdout.splitlines()[-1]
    assert shown == "now available, offered by no carrier, without sms and mms"
    with_store(stocked, lambda store: store.execute("UNLINK", store_keys.available(area_code)))


def test_a_life_is_found_among_thousands_of_others_events(stocked: Service) -> None:
    area_code = "983"
    number = f"+1{area_code}5550100"
    fields = {"from": "available", "to": "held", "time": "1767225600123", "cause": "order"}
    fields |= {"order": new_id(), "organization": ORGANIZATION}
    with redis.Redis.from_url(stocked.instance.redis_url) as client:
        pipeline = client.pipeline()
        for place in range(2500):
            other = f"+1{area_code}{5_550_101 + place}"
            of = number if place in (0, 999, 1000, 2499) else other
            pipeline.xadd(store_keys.events(area_code), {"number": of, "sequence": place, **fields})
            pipeline.xadd(store_keys.events(area_code), {"from": "unknown", "to": "available", "count": 7})
        ids = [entry_id.decode() for entry_id in pipeline.execute()]

    told = history(stocked, number)

    assert [event["id"] for event in told["events"]] == [ids[0], ids[1998], ids[2000], ids[4998]]
    assert told["events"][0]["time"] == "2026-01-01T00:00:00.123Z"
    with_store(stocked, lambda store: store.execute("UNLINK", store_keys.events(area_code)))


def test_a_store_that_is_away_is_one_line_of_error() -> None:
    done = numbers("history", "+14155550123", "--redis-url", "redis://127.0.0.1:1/0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the store cannot be reached: ")
    assert done.stderr.count("\n") == 1
