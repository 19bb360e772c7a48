"""One thing that cannot be read, or nobody expected, keeps nobody else waiting."""

import logging

import pytest

from shared import store_keys
from shared.atomic.order_operations import Attempt, OrderRef, Routing, let_wait, open_order
from shared.atomic.requests import RequestKey
from shared.ids import new_id
from shared.orders.bulk import fill_waiting
from shared.orders.departures import cancel
from shared.orders.placing import OutcomeUnknown, place_order
from shared.orders.records import OrderStatus, Wish, fields_of, read_order
from shared.orders.sweep import sweep
from shared.search.search import Search
from shared.settings import Settings
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future
from tests.store.ordering import (
    AREA,
    MINUTE_MS,
    NUMBER,
    ORDER,
    ORGANIZATION,
    REQUEST,
    SECOND,
    complete,
    end_timer,
    offer,
    put,
    state_of,
)

SETTINGS = Settings()


async def waiting(store: Store) -> OrderRef:
    """Give a bulk order of one number that waits."""
    ref = OrderRef(ORGANIZATION, new_id())
    fields = fields_of((), Routing(), Wish(1, area_code=AREA), MINUTE_MS)
    attempt = await open_order(store, ref, MINUTE_MS, None, fields)
    assert isinstance(attempt, Attempt)
    assert await let_wait(store, attempt, None, b"")
    return ref


async def test_a_bulk_order_that_cannot_be_read_keeps_no_other_waiting_and_is_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.execute("SADD", store_keys.ORGANIZATIONS, ORGANIZATION)
    broken, good = await waiting(store), await waiting(store)
    await store.execute("HSET", broken.key, "number_type", "premium")
    await offer(store, NUMBER)
    with caplog.at_level(logging.ERROR):
        assert await fill_waiting(store, Search(store, Settings()), SETTINGS) == 1
    order = await read_order(store, good)
    assert order is not None
    assert order.status is OrderStatus.COMPLETE
    assert broken.id in caplog.text


async def test_a_record_that_cannot_be_read_keeps_no_other_number_from_the_sweep(store: Store) -> None:
    for number in (NUMBER, SECOND):
        await put(store, number, "quarantined")
        await end_timer(store, number)
    await store.execute("SADD", store_keys.AREAS, AREA)
    await store.execute("HSET", store_keys.unavailable(AREA), NUMBER, "no record")
    await sweep(store, SETTINGS)
    assert await state_of(store, SECOND) == "available"


async def test_an_order_that_cannot_be_read_keeps_no_other_from_the_sweep_and_is_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.execute("SADD", store_keys.ORGANIZATIONS, ORGANIZATION)
    broken, dead = OrderRef(ORGANIZATION, new_id()), OrderRef(ORGANIZATION, new_id())
    for ref in (broken, dead):
        await open_order(store, ref, 0, None, fields_of((NUMBER,), Routing()))
    await store.execute("HDEL", broken.key, "created_ms")
    with caplog.at_level(logging.ERROR):
        await sweep(store, SETTINGS)
    order = await read_order(store, dead)
    assert order is not None
    assert order.status is OrderStatus.FAILED
    assert broken.id in caplog.text


class Failing(Store):
    """A store that does not answer one script any more."""

    failing = ""

    @returns_future
    async def execute(self, *command: Argument) -> object:
        if command[0] == "EVALSHA" and self.failing and command[3:4] == (self.failing,):
            raise StoreUnavailable("no answer")
        return await super().execute(*command)


async def test_an_outcome_that_is_not_known_names_the_order_that_the_key_stands_for(
    store: Store, valkey: str
) -> None:
    await open_order(store, ORDER, 0, REQUEST, fields_of((NUMBER,), Routing()))
    failing = Failing(valkey, timeout_seconds=5)
    # What takes the order over begins with the order's own key.
    failing.failing = ORDER.key
    fresh = OrderRef(ORGANIZATION, new_id())
    with pytest.raises(OutcomeUnknown) as caught:
        await place_order(failing, fresh, (NUMBER,), Routing(), REQUEST, MINUTE_MS, lambda _: b"")
    await failing.close()
    assert caught.value.order == ORDER


async def test_a_cancel_forgets_what_was_released_long_ago(store: Store) -> None:
    await offer(store, NUMBER)
    await complete(store, ORDER, NUMBER)
    await store.execute("ZADD", store_keys.released(ORGANIZATION), 1, "long-ago")
    await cancel(store, ORDER, SETTINGS, RequestKey("another", "request"))
    assert await store.execute("ZSCORE", store_keys.released(ORGANIZATION), "long-ago") is None
    assert await store.execute("ZCARD", store_keys.released(ORGANIZATION)) == 1
