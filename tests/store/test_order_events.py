"""Orders that other services cancel by an entry in a stream."""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, cast

import pytest
import redis

from shared import clock, store_keys
from shared.atomic.order_operations import Attempt, OrderRef, Routing, fail_order, open_order
from shared.ids import new_id
from shared.number_events import Entry
from shared.orders.bulk import BulkRequest, place_bulk_order
from shared.orders.departures import cancel, finish_cancel
from shared.orders.holds import hold_all
from shared.orders.placing import Answer, complete, new_resources, place_order
from shared.orders.records import OrderStatus, Wish, fields_of, read_order
from shared.search.search import Search
from shared.settings import Settings
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future
from tests.support import Service, put_in_stock, wait_until
from worker.order_events import MOST_DELIVERIES, OrderEvents

SETTINGS = Settings()
DAY_MS = 86_400_000
NUMBERS = tuple(f"+1415{local}" for local in range(5_550_100, 5_550_110))
UNKNOWN_ID = "0190f0a0-0000-7000-8000-000000000001"
KEY = store_keys.ORDER_EVENTS


@pytest.fixture
async def stocked(store: Store) -> Store:
    await put_in_stock(store, "415", [int(number[5:]) for number in NUMBERS])
    return store


def consumer(store: Store, take_over_after_seconds: float = 0, **settings: float) -> OrderEvents:
    """Give a consumer that tries again at once what is not acknowledged."""
    return OrderEvents(store, Settings(**cast("dict[str, Any]", settings)), take_over_after_seconds)


async def place(store: Store, *numbers: str, organization: str = "acme") -> OrderRef:
    order = OrderRef(organization, new_id())
    await place_order(store, order, numbers, Routing(), None, 15_000, lambda _: b"")
    return order


async def send(store: Store, order: OrderRef, /, **fields: str | bytes) -> bytes:
    """Write an entry that cancels an order, with other fields than usual; give its id."""
    usual = {"type": "order.cancelled", "order": order.id, "organization": order.organization}
    flat = [item for field in {**usual, **fields}.items() for item in field]
    return cast("bytes", await store.execute("XADD", KEY, "*", *flat))


async def status_of(store: Store, order: OrderRef) -> OrderStatus | None:
    record = await read_order(store, order)
    return record.status if record else None


async def unacknowledged(store: Store) -> int:
    """Give how many entries are not done, delivered or not."""
    groups = await store.execute("XINFO", "GROUPS", KEY)
    fields = dict(zip(groups[0][::2], groups[0][1::2], strict=True))
    return cast("int", fields[b"pending"] + fields[b"lag"])


async def set_aside(store: Store) -> list[dict[bytes, bytes]]:
    entries: list[Entry] = await store.execute("XRANGE", store_keys.REJECTED_ORDER_EVENTS, "-", "+")
    return [fields for _, fields in entries]


async def available(store: Store) -> int:
    return cast("int", await store.execute("ZCARD", store_keys.available("415")))


def failing(times: int, error: BaseException, then: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that fails so many times and then does what it should."""
    calls = count(1)

    async def call(*arguments: Any) -> Any:
        if next(calls) <= times:
            raise error
        return await then(*arguments)

    return call


async def test_an_order_is_cancelled_and_its_numbers_are_available_again(stocked: Store) -> None:
    order = await place(stocked, *NUMBERS[:3])
    other = await place(stocked, NUMBERS[3])
    await send(stocked, order)

    assert await consumer(stocked).step() == 1

    assert await status_of(stocked, order) is OrderStatus.CANCELLED
    assert await status_of(stocked, other) is OrderStatus.COMPLETE
    assert await available(stocked) == len(NUMBERS) - 1
    assert await stocked.execute("ZRANGE", store_keys.numbers("acme"), 0, -1) == [NUMBERS[3].encode()]
    assert await unacknowledged(stocked) == 0
    assert await set_aside(stocked) == []


async def test_entries_written_before_the_first_worker_count(stocked: Store) -> None:
    orders = [await place(stocked, number) for number in NUMBERS[:3]]
    for order in orders:
        await send(stocked, order)
    events = consumer(stocked)

    assert await events.step() == 3
    assert await events.step() == 0
    assert {await status_of(stocked, order) for order in orders} == {OrderStatus.CANCELLED}


async def test_a_repeated_entry_is_done_and_changes_nothing(stocked: Store) -> None:
    order = await place(stocked, *NUMBERS[:2])
    events = consumer(stocked)
    await send(stocked, order)
    await events.step()
    again = await place(stocked, *NUMBERS[:2], organization="beta")

    await send(stocked, order)
    await events.step()

    assert await unacknowledged(stocked) == 0
    assert await set_aside(stocked) == []
    assert await status_of(stocked, again) is OrderStatus.COMPLETE
    assert await stocked.execute("ZCARD", store_keys.numbers("beta")) == 2


async def test_an_order_whose_cancelling_has_begun_is_finished(stocked: Store) -> None:
    order = await place(stocked, *NUMBERS[:2])
    await cancel(stocked, order, SETTINGS, None)
    assert await status_of(stocked, order) is OrderStatus.CANCELLING
    await send(stocked, order)

    await consumer(stocked).step()

    assert await status_of(stocked, order) is OrderStatus.CANCELLED
    assert await available(stocked) == len(NUMBERS)


async def test_an_order_id_may_be_in_capitals_and_further_fields_are_ignored(stocked: Store) -> None:
    order = await place(stocked, NUMBERS[0])
    await send(stocked, order, order=order.id.upper(), note="customer called")
    await consumer(stocked).step()
    assert await status_of(stocked, order) is OrderStatus.CANCELLED


async def test_an_entry_in_another_organizations_name_cancels_nothing(stocked: Store) -> None:
    order = await place(stocked, NUMBERS[0])
    await send(stocked, order._replace(organization="beta"))
    await consumer(stocked).step()
    assert await status_of(stocked, order) is OrderStatus.COMPLETE
    (rejected,) = await set_aside(stocked)
    assert rejected[b"reason"] == b"no such order"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "order.created"}, b"type is unknown"),
        ({"type": ""}, b"type is unknown"),
        ({"type": b"\xff\xfe"}, b"type is unknown"),
        ({"order": ""}, b"order is no order id"),
        ({"order": "1234"}, b"order is no order id"),
        ({"order": UNKNOWN_ID[:-1] + "g"}, b"order is no order id"),
        ({"order": UNKNOWN_ID + "\n"}, b"order is no order id"),
        ({"order": "0" * 100_000}, b"order is no order id"),
        ({"organization": ""}, b"organization is no organization's name"),
        ({"organization": "acme}:x"}, b"organization is no organization's name"),
        ({"organization": "a" * 65}, b"organization is no organization's name"),
        ({"order": UNKNOWN_ID}, b"no such order"),
        ({"organization": "nobody"}, b"no such order"),
    ],
)
async def test_an_entry_that_cannot_be_used_is_set_aside_with_its_fields_and_the_reason(
    stocked: Store, fields: dict[str, str | bytes], reason: bytes
) -> None:
    order = await place(stocked, NUMBERS[0])
    entry_id = await send(stocked, order, **fields)
    events = consumer(stocked)

    await events.step()

    ((_, sent),) = await stocked.execute("XRANGE", KEY, "-", "+")
    cut = {name: value[:256] for name, value in sent.items()}
    assert await set_aside(stocked) == [{**cut, b"reason": reason, b"entry": entry_id}]
    assert await unacknowledged(stocked) == 0
    assert await events.step() == 0
    assert await status_of(stocked, order) is OrderStatus.COMPLETE


@pytest.mark.parametrize("name", ["type", "order", "organization"])
async def test_an_entry_that_lacks_a_field_is_set_aside(stocked: Store, name: str) -> None:
    fields = {"type": "order.cancelled", "order": UNKNOWN_ID, "organization": "acme"}
    del fields[name]
    await stocked.execute("XADD", KEY, "*", *(item for field in fields.items() for item in field))
    await consumer(stocked).step()
    (rejected,) = await set_aside(stocked)
    assert rejected[b"reason"] == f"{name} is missing".encode()


async def test_an_entry_of_any_size_is_set_aside_small_and_keeps_a_reason_of_its_own(stocked: Store) -> None:
    many = [item for place in range(1000) for item in (f"{place}" + "n" * 1000, "v" * 1000)]
    await stocked.execute("XADD", KEY, "*", "reason", "theirs", *many)
    await consumer(stocked).step()
    length = await stocked.execute("MEMORY", "USAGE", store_keys.REJECTED_ORDER_EVENTS, "SAMPLES", 0)
    assert length < 40_000
    ((_, raw),) = await stocked.execute(b"XRANGE", store_keys.REJECTED_ORDER_EVENTS, "-", "+")
    assert raw[:2] == [b"reason", b"theirs"]
    assert raw[-4:-1] == [b"reason", b"type is missing", b"entry"]


async def test_entries_that_cannot_be_used_keep_none_of_the_others_from_being_done(stocked: Store) -> None:
    orders = [await place(stocked, number) for number in NUMBERS]
    for order in orders:
        await send(stocked, order, type="order.created")
        await send(stocked, order)
    await consumer(stocked).step()
    assert {await status_of(stocked, order) for order in orders} == {OrderStatus.CANCELLED}
    assert len(await set_aside(stocked)) == len(orders)


async def test_an_order_that_has_failed_or_is_too_old_is_set_aside(stocked: Store) -> None:
    failed = await place(stocked, NUMBERS[0], "+12125550000")
    old = await place(stocked, NUMBERS[1])
    long_ago = await clock.now_ms(stocked) - 2 * DAY_MS
    await stocked.execute("HSET", old.key, "ended_ms", long_ago)
    await send(stocked, failed)
    await send(stocked, old)

    await consumer(stocked).step()

    reasons = {item[b"order"].decode(): item[b"reason"] for item in await set_aside(stocked)}
    assert reasons == {failed.id: b"the order is failed", old.id: b"it is too late to cancel it"}
    assert await status_of(stocked, old) is OrderStatus.COMPLETE
    assert await unacknowledged(stocked) == 0


async def opened(store: Store) -> Attempt:
    """Begin an order that somebody has in hand."""
    order = OrderRef("acme", new_id())
    attempt = await open_order(store, order, 60_000, None, fields_of(NUMBERS[:2], Routing()))
    assert isinstance(attempt, Attempt)
    return attempt


async def test_an_order_in_somebodys_hand_is_cancelled_when_it_is_complete(stocked: Store) -> None:
    attempt = await opened(stocked)
    await send(stocked, attempt.order)
    events = consumer(stocked)

    for _ in range(MOST_DELIVERIES + 2):
        await events.step()
    assert await unacknowledged(stocked) == 1
    assert await set_aside(stocked) == []

    holding = await hold_all(stocked, attempt, NUMBERS[:2])
    resources = new_resources(attempt, Routing(), holding, NUMBERS[:2])
    await complete(stocked, attempt, None, b"", Routing(), resources)
    await events.step()
    assert await status_of(stocked, attempt.order) is OrderStatus.CANCELLED
    assert await available(stocked) == len(NUMBERS)
    assert await unacknowledged(stocked) == 0


async def test_an_order_in_somebodys_hand_that_fails_is_set_aside_then(stocked: Store) -> None:
    attempt = await opened(stocked)
    await send(stocked, attempt.order)
    events = consumer(stocked)
    await events.step()
    await fail_order(stocked, attempt, None, "insufficient_inventory", b"")

    await events.step()

    (rejected,) = await set_aside(stocked)
    assert rejected[b"reason"] == b"the order is failed"
    assert await unacknowledged(stocked) == 0


async def test_a_bulk_order_that_waits_is_cancelled(stocked: Store) -> None:
    order = OrderRef("acme", new_id())
    asked = BulkRequest(Wish(len(NUMBERS) + 1), Routing(), None, lambda _: b"")
    answer = await place_bulk_order(stocked, Search(stocked, Settings()), SETTINGS, order, asked)
    assert isinstance(answer, Answer)
    assert await status_of(stocked, order) is OrderStatus.PENDING
    await send(stocked, order)

    await consumer(stocked).step()

    assert await status_of(stocked, order) is OrderStatus.CANCELLED
    assert await unacknowledged(stocked) == 0


@pytest.mark.parametrize("step", ["cancel", "finish_cancel"])
async def test_an_entry_that_the_store_could_not_serve_is_tried_again(
    stocked: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    order = await place(stocked, *NUMBERS[:2])
    other = await place(stocked, *NUMBERS[2:4])
    await send(stocked, order)
    await send(stocked, other)
    real: Callable[..., Any] = cancel if step == "cancel" else finish_cancel
    monkeypatch.setattr(
        f"worker.order_events.{step}", failing(MOST_DELIVERIES + 2, StoreUnavailable("away"), real)
    )
    events = consumer(stocked)
    for _ in range((MOST_DELIVERIES + 2) // 2):
        with pytest.raises(StoreUnavailable):
            await events.step()
    assert await unacknowledged(stocked) == 2

    await events.step()

    for each in (order, other):
        assert await status_of(stocked, each) is OrderStatus.CANCELLED
    assert await available(stocked) == len(NUMBERS)
    assert await unacknowledged(stocked) == 0
    assert await set_aside(stocked) == []


async def test_an_entry_that_ends_in_an_error_is_tried_ten_times_and_then_set_aside(
    stocked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await place(stocked, NUMBERS[0])
    await send(stocked, order)
    monkeypatch.setattr("worker.order_events.cancel", failing(1000, ValueError("a mistake of ours"), cancel))
    events = consumer(stocked)

    for _ in range(MOST_DELIVERIES - 1):
        await events.step()
        assert await unacknowledged(stocked) == 1
    assert await set_aside(stocked) == []
    await events.step()

    (rejected,) = await set_aside(stocked)
    assert rejected[b"reason"] == b"failed 10 times: ValueError"
    assert await unacknowledged(stocked) == 0


async def test_an_error_that_passes_costs_nothing(stocked: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    order = await place(stocked, NUMBERS[0])
    await send(stocked, order)
    monkeypatch.setattr(
        "worker.order_events.cancel", failing(MOST_DELIVERIES - 1, ValueError("a mistake of ours"), cancel)
    )
    events = consumer(stocked)
    for _ in range(MOST_DELIVERIES):
        await events.step()
    assert await status_of(stocked, order) is OrderStatus.CANCELLED
    assert await set_aside(stocked) == []


async def test_what_a_dead_worker_has_not_done_another_takes_over_after_a_while(
    stocked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await place(stocked, NUMBERS[0])
    await send(stocked, order)
    with monkeypatch.context() as patch:
        patch.setattr("worker.order_events.cancel", failing(1, asyncio.CancelledError(), cancel))
        with pytest.raises(asyncio.CancelledError):
            await consumer(stocked).step()

    assert await consumer(stocked, 60).step() == 0
    assert await status_of(stocked, order) is OrderStatus.COMPLETE

    patient = consumer(stocked, 0.1)
    begun = time.monotonic()
    while await patient.step() == 0:
        assert time.monotonic() - begun < 10
    assert await status_of(stocked, order) is OrderStatus.CANCELLED
    assert await unacknowledged(stocked) == 0


async def test_entries_that_wait_keep_none_behind_them_from_being_taken_over(
    stocked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.order_events._AT_ONCE", 2)
    attempt = await opened(stocked)
    order = await place(stocked, NUMBERS[3])
    for _ in range(5):
        await send(stocked, attempt.order)
    await send(stocked, order)
    events = consumer(stocked)
    await stocked.execute("XGROUP", "CREATE", KEY, "numbers", "0")
    await stocked.execute("XREADGROUP", "GROUP", "numbers", "dead", "STREAMS", KEY, ">")

    assert [await events.step() for _ in range(3)] == [2, 2, 2]
    assert await status_of(stocked, order) is OrderStatus.CANCELLED

    # And those that wait have their turn again.
    await fail_order(stocked, attempt, None, "insufficient_inventory", b"")
    assert [await events.step() for _ in range(3)] == [2, 2, 1]
    assert await unacknowledged(stocked) == 0


async def test_workers_share_the_entries(stocked: Store) -> None:
    locals_ = range(2_000_000, 2_000_200)
    await put_in_stock(stocked, "212", locals_)
    orders = [await place(stocked, f"+1212{local}") for local in locals_]
    for order in orders:
        await send(stocked, order)
    workers = [consumer(stocked, 60) for _ in range(3)]

    seen = await asyncio.gather(*(worker.step() for worker in workers))

    assert sum(seen) == len(orders)
    assert len({worker.name for worker in workers}) == 3
    assert min(seen) > 0
    assert {await status_of(stocked, order) for order in orders} == {OrderStatus.CANCELLED}
    assert await stocked.execute("ZCARD", store_keys.available("212")) == len(orders)


async def test_a_store_that_was_emptied_is_read_again(stocked: Store) -> None:
    events = consumer(stocked)
    await events.step()
    await stocked.execute("FLUSHALL")
    await put_in_stock(stocked, "415", [5_550_100])
    order = await place(stocked, NUMBERS[0])
    await send(stocked, order)

    assert await events.step() == 1
    assert await status_of(stocked, order) is OrderStatus.CANCELLED


async def test_entries_that_are_old_and_done_go_and_those_that_are_not_done_stay(stocked: Store) -> None:
    now_ms = await clock.now_ms(stocked)
    ids = [f"{now_ms - day * DAY_MS}-1" for day in (50, 45, 40, 35, 1)]
    attempt = await opened(stocked)
    usual = ("type", "order.cancelled", "organization", "acme", "order")
    for entry_id, order in zip(
        ids, (UNKNOWN_ID, UNKNOWN_ID, attempt.order.id, *[UNKNOWN_ID] * 2), strict=True
    ):
        await stocked.execute("XADD", KEY, entry_id, *usual, order)
    for entry_id in ids[2:]:
        await stocked.execute("XADD", store_keys.REJECTED_ORDER_EVENTS, entry_id, "reason", "old")
    events = consumer(stocked)

    # Before anything is delivered nothing may go.
    await stocked.execute("XGROUP", "CREATE", KEY, "numbers", "0")
    await events.tidy()
    assert await stocked.execute("XLEN", KEY) == 5
    assert len(await set_aside(stocked)) == 1

    # Nor may an entry that waits for its order, however old it is.
    await events.step()
    await events.tidy()
    assert [entry_id.decode() for entry_id, _ in await stocked.execute("XRANGE", KEY, "-", "+")] == ids[2:]

    await fail_order(stocked, attempt, None, "insufficient_inventory", b"")
    await events.step()
    await events.tidy()
    assert [entry_id.decode() for entry_id, _ in await stocked.execute("XRANGE", KEY, "-", "+")] == ids[4:]


async def test_long_dead_workers_are_forgotten_unless_somebody_has_to_take_over(
    stocked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_ms = 300
    monkeypatch.setattr("worker.order_events._FORGET_CONSUMERS_AFTER_MS", after_ms)
    living, idle, busy = (consumer(stocked, 60) for _ in range(3))
    attempt = await opened(stocked)
    await idle.step()
    await send(stocked, attempt.order)
    await busy.step()

    async def names(least_idle_ms: int) -> set[str]:
        consumers = await stocked.execute("XINFO", "CONSUMERS", KEY, "numbers")
        fields = [dict(zip(item[::2], item[1::2], strict=True)) for item in consumers]
        return {item[b"name"].decode() for item in fields if item[b"idle"] >= least_idle_ms}

    begun = time.monotonic()
    while not await names(after_ms) >= {idle.name, busy.name}:
        assert time.monotonic() - begun < 10
    await living.step()

    assert await names(0) == {living.name, busy.name}
    assert await unacknowledged(stocked) == 1


async def test_a_worker_that_wakes_up_while_it_is_forgotten_keeps_what_it_reads(
    stocked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.order_events._FORGET_CONSUMERS_AFTER_MS", 0)
    sleeper, other = (consumer(stocked) for _ in range(2))
    attempt = await opened(stocked)
    for worker in (sleeper, other):
        await worker.step()
    await send(stocked, attempt.order)
    wakes_up = iter([sleeper.step])

    class Waking(Store):
        """Has the sleeper read the entry before anything is asked of the store after the look."""

        @returns_future
        async def execute(self, *command: Argument) -> Any:
            reply = await stocked.execute(*command)
            if command[:2] == ("XINFO", "CONSUMERS"):
                assert [await wake_up() for wake_up in wakes_up] == [1]
            return reply

        @returns_future
        async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
            return [await self.execute(*command) for command in commands]

    monkeypatch.setattr(other, "_store", Waking("redis://nowhere", 1))
    await other.tidy()
    monkeypatch.setattr(other, "_store", stocked)
    await fail_order(stocked, attempt, None, "insufficient_inventory", b"")
    await other.step()

    (rejected,) = await set_aside(stocked)
    assert rejected[b"order"] == attempt.order.id.encode()


def test_an_entry_written_by_any_redis_client_has_the_worker_cancel_the_order(service: Service) -> None:
    number = "+13605550123"
    service.ingest("order-events", f"number\n{number}\n".encode())
    with service.client() as client, redis.Redis.from_url(service.instance.redis_url) as other_service:
        store = cast("Any", other_service)
        path = "/v1/phone-numbers/orders"
        ordered = client.post(path, json={"numbers": [number]})
        assert ordered.status_code == 200, ordered.text
        order = ordered.json()["data"][0]["order_id"]

        fields = {"type": "order.cancelled", "order": order, "organization": service.instance.org}
        store.xadd(KEY, fields)

        wait_until(
            lambda: client.get(f"{path}/{order}").json()["data"]["status"] == "cancelled",
            "the order is cancelled",
        )

        def told() -> list[tuple[bytes, bytes]]:
            entries = [event for _, event in store.xrange(store_keys.NUMBER_EVENTS)]
            of_number = [event for event in entries if event.get(b"number") == number.encode()]
            return [(event[b"to"], event[b"cause"]) for event in of_number]

        expected = [(b"held", b"order"), (b"assigned", b"order"), (b"available", b"cancel")]
        wait_until(lambda: told() == expected, "the number's changes are relayed")
