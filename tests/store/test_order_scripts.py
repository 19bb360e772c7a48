"""The life of an order's record, through the wrappers of the scripts."""

import asyncio

import pytest

from shared import clock, store_keys
from shared.atomic.order_operations import (
    ORDER_KEPT_MS,
    Attempt,
    Busy,
    Ended,
    Known,
    NewResource,
    OrderRef,
    Routing,
    commit_order,
    end_cancel,
    fail_order,
    forget_order,
    keep_answer,
    let_wait,
    open_order,
    pick_numbers,
    take_order,
)
from shared.atomic.requests import RequestKey, RequestKeyReused
from shared.atomic.resource_operations import (
    Cancelled,
    Changed,
    NotCancellable,
    cancel_order,
    end_departures,
)
from shared.stock_score import MMS, SMS
from shared.store import Store
from tests.store.ordering import (
    MINUTE_MS,
    NUMBER,
    ORDER,
    ORGANIZATION,
    REQUEST,
    SECOND,
    THIRD,
    commit,
    due_of,
    end_attempt,
    everything,
    idempotency_of,
    open_,
    open_bulk,
    record_of,
    resource_id,
)

LATER = OrderRef(ORGANIZATION, "0198a000-0000-7000-8000-000000000003")
STRANGER = OrderRef("stranger", ORDER.id)
FIELDS: dict[str, str | int] = {"numbers": NUMBER}
ROUTING = Routing("https://in.example", "https://status.example", "front desk", "a-campaign")


def is_now(at_ms: int | str, now_ms: int) -> bool:
    return now_ms - MINUTE_MS / 2 < int(at_ms) <= now_ms


async def retake(store: Store, order: OrderRef = ORDER) -> Attempt:
    """Begin the next attempt, as if the time of the last had passed."""
    await end_attempt(store, order)
    taken = await take_order(store, order, MINUTE_MS)
    assert isinstance(taken, Attempt)
    return taken


async def become(store: Store, status: str, *, is_bulk: bool = False) -> Attempt:
    """Bring the order into a status by the way that leads there, and give its only attempt."""
    attempt = await (open_bulk(store) if is_bulk else open_(store))
    if status == "failed":
        assert await fail_order(store, attempt, None, "late", b"") == "failed"
    elif status in ("complete", "cancelling", "cancelled"):
        assert await commit(store, attempt) == "complete"
    if status in ("cancelling", "cancelled"):
        assert isinstance(await cancel(store), Cancelled)
    if status == "cancelled":
        await depart(store)
        assert await end_cancel(store, ORDER)
    assert (await record_of(store))["status"] == status
    return attempt


async def cancel(
    store: Store,
    seen: str = "complete",
    *,
    request: RequestKey | None = None,
    window_ms: int = MINUTE_MS,
    quarantine_ms: int = 0,
    numbers: tuple[str, ...] = (NUMBER,),
) -> Cancelled | NotCancellable | Changed:
    ids = [resource_id(ORDER, number) for number in numbers]
    return await cancel_order(store, ORDER, seen, request, window_ms, quarantine_ms, ids)


async def depart(store: Store) -> None:
    """Have all departed numbers moved."""
    left = await store.execute("HGETALL", store_keys.departures(ORGANIZATION))
    await end_departures(
        store, ORGANIZATION, [(number.decode(), text.decode()) for number, text in left.items()]
    )


# Opening


async def test_an_opened_order_is_written_down_before_anything_is_done_for_it(store: Store) -> None:
    fields: dict[str, str | int] = {"numbers": f"{NUMBER} {SECOND}", "label": "front desk", "quantity": 7}
    opened = await open_order(store, ORDER, MINUTE_MS, None, fields)
    now_ms = await clock.now_ms(store)
    assert isinstance(opened, Attempt)
    assert opened == Attempt(ORDER, 1, opened.at_ms, opened.at_ms + MINUTE_MS)
    assert is_now(opened.at_ms, now_ms)
    assert await record_of(store) == {
        "status": "pending",
        "attempt": "1",
        "created_ms": str(opened.at_ms),
        "updated_ms": str(opened.at_ms),
        "deadline_ms": str(opened.deadline_ms),
        "numbers": f"{NUMBER} {SECOND}",
        "label": "front desk",
        "quantity": "7",
    }
    assert await due_of(store, ORDER.id) == opened.deadline_ms
    assert await store.execute("ZRANGE", store_keys.orders(ORGANIZATION), 0, -1) == [ORDER.id.encode()]


async def test_without_an_idempotency_key_none_is_kept(store: Store) -> None:
    await open_(store)
    assert not await store.execute("KEYS", "*idempotency*")


@pytest.mark.parametrize("status", ["complete", "failed", "cancelled"])
async def test_to_open_an_order_that_has_ended_opens_nothing(store: Store, status: str) -> None:
    await open_(store)
    await store.execute("HSET", ORDER.key, "status", status)
    before = await everything(store)
    fields = {"numbers": SECOND}
    assert await open_order(store, ORDER, MINUTE_MS, None, fields) == Known(ORDER, None)
    assert await everything(store) == before


async def test_orders_are_listed_in_the_order_in_which_they_came(store: Store) -> None:
    names = [f"order-{at}" for at in (3, 1, 2)]
    for name in names:
        await open_(store, OrderRef(ORGANIZATION, name))
    listed = await store.execute("ZRANGE", store_keys.orders(ORGANIZATION), 0, -1)
    assert [name.decode() for name in listed] == names


async def test_an_idempotency_key_stands_for_the_order_that_came_first(store: Store) -> None:
    await open_(store, request=REQUEST)
    before = await everything(store)
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS) == Known(ORDER, None)
    assert await everything(store) == before


async def test_an_idempotency_key_is_forgotten_after_its_time(store: Store) -> None:
    await open_(store, request=REQUEST)
    left = await store.execute("TTL", store_keys.idempotency(ORGANIZATION, REQUEST.digest))
    assert store_keys.IDEMPOTENCY_SECONDS - 60 < left <= store_keys.IDEMPOTENCY_SECONDS


async def test_a_key_whose_request_is_answered_gives_the_answer(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    await commit(store, attempt, request=REQUEST, answer=b"\x00 the answer")
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS) == Known(ORDER, b"\x00 the answer")


async def test_a_key_that_comes_with_another_request_is_refused(store: Store) -> None:
    await open_(store, request=REQUEST)
    before = await everything(store)
    with pytest.raises(RequestKeyReused):
        await open_order(store, LATER, MINUTE_MS, RequestKey(REQUEST.digest, "another"), FIELDS)
    assert await everything(store) == before


async def test_keys_of_other_organizations_and_routes_are_other_keys(store: Store) -> None:
    await open_(store, request=REQUEST)
    await open_(store, STRANGER, request=REQUEST)
    await open_(store, LATER, request=RequestKey("another digest", REQUEST.fingerprint))


async def test_of_the_same_request_many_times_at_once_one_opens_the_order(store: Store) -> None:
    refs = [OrderRef(ORGANIZATION, f"order-{at}") for at in range(30)]
    results = await asyncio.gather(*(open_order(store, ref, MINUTE_MS, REQUEST, FIELDS) for ref in refs))
    [opened] = [result for result in results if isinstance(result, Attempt)]
    assert {result.order for result in results} == {opened.order}
    assert await store.execute("ZCARD", store_keys.orders(ORGANIZATION)) == 1


# Taking in hand


async def test_an_order_that_somebody_has_in_hand_is_busy_until_the_deadline(store: Store) -> None:
    await open_(store)
    before = await everything(store)
    busy = await take_order(store, ORDER, MINUTE_MS)
    assert isinstance(busy, Busy)
    assert MINUTE_MS / 2 < busy.for_ms <= MINUTE_MS
    assert await everything(store) == before


async def test_after_the_deadline_the_next_attempt_begins(store: Store) -> None:
    first = await open_(store)
    await end_attempt(store, ORDER)
    taken = await take_order(store, ORDER, 2 * MINUTE_MS)
    assert isinstance(taken, Attempt)
    assert taken == Attempt(ORDER, 2, taken.at_ms, taken.at_ms + 2 * MINUTE_MS)
    assert first.at_ms <= taken.at_ms <= await clock.now_ms(store)
    record = await record_of(store)
    assert (record["attempt"], record["deadline_ms"]) == ("2", str(taken.deadline_ms))
    assert record["created_ms"] == str(first.at_ms)
    assert await due_of(store, ORDER.id) == taken.deadline_ms


async def test_an_order_can_be_taken_the_moment_its_deadline_has_come(store: Store) -> None:
    assert isinstance(await open_order(store, ORDER, 0, None, FIELDS), Attempt)
    assert isinstance(await take_order(store, ORDER, MINUTE_MS), Attempt)


async def test_attempts_only_grow(store: Store) -> None:
    await open_(store)
    assert [(await retake(store)).number for _ in range(11)] == list(range(2, 13))


async def test_of_many_who_take_an_order_one_gets_it(store: Store) -> None:
    await open_(store)
    await end_attempt(store, ORDER)
    results = await asyncio.gather(*(take_order(store, ORDER, MINUTE_MS) for _ in range(30)))
    assert sum(isinstance(result, Attempt) for result in results) == 1
    assert sum(isinstance(result, Busy) for result in results) == 29


@pytest.mark.parametrize("status", ["complete", "failed", "cancelling", "cancelled"])
async def test_an_order_that_has_ended_cannot_be_taken(store: Store, status: str) -> None:
    await become(store, status)
    await end_attempt(store, ORDER)
    before = await everything(store)
    assert await take_order(store, ORDER, MINUTE_MS) == Ended(ORDER, status)
    assert await everything(store) == before


async def test_an_order_that_is_not_there_cannot_be_taken(store: Store) -> None:
    assert await take_order(store, ORDER, MINUTE_MS) == Ended(ORDER, "forgotten")
    assert await everything(store) == {}


async def test_an_order_of_another_organization_is_not_there(store: Store) -> None:
    await open_(store)
    await end_attempt(store, ORDER)
    assert await take_order(store, STRANGER, MINUTE_MS) == Ended(STRANGER, "forgotten")


# Picking and waiting


async def test_picks_are_written_down_and_renew_the_time(store: Store) -> None:
    attempt = await open_bulk(store)
    picked = await pick_numbers(store, attempt, 2 * MINUTE_MS, [NUMBER, SECOND])
    assert picked is not None
    assert picked == attempt._replace(deadline_ms=picked.deadline_ms)
    assert is_now(picked.deadline_ms - 2 * MINUTE_MS, await clock.now_ms(store))
    record = await record_of(store)
    assert (record["numbers"], record["deadline_ms"]) == (f"{NUMBER} {SECOND}", str(picked.deadline_ms))
    assert await due_of(store, ORDER.id) == picked.deadline_ms


async def test_new_picks_take_the_place_of_the_old_ones(store: Store) -> None:
    attempt = await open_bulk(store)
    for numbers in ([NUMBER, SECOND], [THIRD], [THIRD]):
        assert await pick_numbers(store, attempt, MINUTE_MS, numbers)
        assert (await record_of(store))["numbers"] == " ".join(numbers)


async def test_a_waiting_order_is_in_nobodys_hand_and_picks_nothing(store: Store) -> None:
    attempt = await open_bulk(store)
    await pick_numbers(store, attempt, MINUTE_MS, [NUMBER])
    assert await let_wait(store, attempt, None, b"")
    record = await record_of(store)
    assert (record["status"], record["numbers"], record["deadline_ms"]) == ("pending", "", "0")
    assert await due_of(store, ORDER.id) == attempt.at_ms + int(record["wait_ms"])
    since = await store.execute("ZSCORE", store_keys.waiting(ORGANIZATION), ORDER.id)
    assert int(since) == attempt.at_ms
    assert isinstance(await take_order(store, ORDER, MINUTE_MS), Attempt)


async def test_an_order_that_waits_again_waits_since_it_came_and_as_long_as_before(store: Store) -> None:
    await let_wait(store, await open_bulk(store), None, b"")
    before = await everything(store)
    assert await let_wait(store, await retake(store), None, b"")
    after = await everything(store)
    assert (await record_of(store))["attempt"] == "2"
    for key in (store_keys.due(ORGANIZATION), store_keys.waiting(ORGANIZATION)):
        assert after[key] == before[key]


async def test_the_answer_to_an_order_that_waits_is_kept(store: Store) -> None:
    assert await let_wait(store, await open_bulk(store, request=REQUEST), REQUEST, b"wait")
    assert (await idempotency_of(store))["answer"] == "wait"
    # An attempt of the worker's, who answers nobody, leaves it.
    assert await let_wait(store, await retake(store), None, b"not this")
    assert (await idempotency_of(store))["answer"] == "wait"


# Completing


async def test_a_completed_order_gives_its_organization_its_numbers(store: Store) -> None:
    attempt = await open_(store)
    resources = [NewResource(NUMBER, "id-1", SMS), NewResource(SECOND, "id-2", SMS | MMS)]
    assert await commit_order(store, attempt, None, b"", ROUTING, resources) == "complete"
    at = str(attempt.at_ms)
    for number, resource, features in resources:
        record = await store.execute("HGETALL", store_keys.resource(ORGANIZATION, resource))
        assert {name.decode(): value.decode() for name, value in record.items()} == {
            "number": number,
            "order_id": ORDER.id,
            "features": str(features),
            "created_ms": at,
            "updated_ms": at,
            "inbound_url": "https://in.example",
            "status_url": "https://status.example",
            "label": "front desk",
            "campaign_id": "a-campaign",
        }
    owned = await store.execute("HGETALL", store_keys.owned(ORGANIZATION))
    assert owned == {NUMBER.encode(): b"id-1", SECOND.encode(): b"id-2"}
    listed = await store.execute("ZRANGE", store_keys.numbers(ORGANIZATION), 0, -1)
    assert listed == [NUMBER.encode(), SECOND.encode()]


async def test_a_completed_order_ends_now_and_is_kept_for_its_time(store: Store) -> None:
    await become(store, "complete")
    record = await record_of(store)
    assert record["status"] == "complete"
    assert record["ended_ms"] == record["updated_ms"]
    assert is_now(record["ended_ms"], await clock.now_ms(store))
    assert await due_of(store, ORDER.id) == int(record["ended_ms"]) + ORDER_KEPT_MS


async def test_routing_that_is_not_set_is_not_written(store: Store) -> None:
    attempt = await open_(store)
    await commit_order(
        store, attempt, None, b"", Routing(label="front desk"), [NewResource(NUMBER, "id-1", 0)]
    )
    fields = await store.execute("HKEYS", store_keys.resource(ORGANIZATION, "id-1"))
    assert {*fields} == {b"number", b"order_id", b"features", b"created_ms", b"updated_ms", b"label"}


async def test_no_two_numbers_have_the_same_place_in_the_list(store: Store) -> None:
    for at in range(3):
        attempt = await open_(store, OrderRef(ORGANIZATION, f"order-{at}"))
        await commit(store, attempt, *(f"+1415555010{3 * at + n}" for n in range(3)))
    flat = await store.execute("ZRANGE", store_keys.numbers(ORGANIZATION), 0, -1, "WITHSCORES")
    places = list(map(int, flat[1::2]))
    assert [member[-1:] for member in flat[::2]] == [str(n).encode() for n in range(9)]
    assert len({*places}) == 9
    orders = await store.execute("ZRANGE", store_keys.orders(ORGANIZATION), 0, -1, "WITHSCORES")
    assert not {*places} & {*map(int, orders[1::2])}


async def test_as_many_numbers_are_committed_at_once_as_a_bulk_order_may_have(store: Store) -> None:
    attempt = await open_bulk(store)
    numbers = [f"+1415555{n:04}" for n in range(1000)]
    resources = [NewResource(number, f"id-{number[-4:]}", SMS) for number in numbers]
    assert await commit_order(store, attempt, None, b"", ROUTING, resources) == "complete"
    listed = await store.execute("ZRANGE", store_keys.numbers(ORGANIZATION), 0, -1)
    assert [number.decode() for number in listed] == numbers
    assert await store.execute("HLEN", store_keys.owned(ORGANIZATION)) == 1000


async def test_an_order_is_completed_once(store: Store) -> None:
    attempt = await become(store, "complete")
    before = await everything(store)
    assert await commit(store, attempt) == "complete"
    assert await commit(store, attempt, SECOND) == "complete"
    assert await everything(store) == before


async def test_a_completed_bulk_order_waits_no_more(store: Store) -> None:
    await let_wait(store, await open_bulk(store), None, b"")
    assert await commit(store, await retake(store)) == "complete"
    assert await store.execute("ZCARD", store_keys.waiting(ORGANIZATION)) == 0


async def test_the_answer_is_kept_in_the_step_that_completes_the_order(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    left = await store.execute("TTL", store_keys.idempotency(ORGANIZATION, REQUEST.digest))
    assert await commit(store, attempt, request=REQUEST, answer=b"done") == "complete"
    assert await idempotency_of(store) == {
        "fingerprint": REQUEST.fingerprint,
        "order": ORDER.id,
        "answer": "done",
    }
    assert await store.execute("TTL", store_keys.idempotency(ORGANIZATION, REQUEST.digest)) <= left


# Failing


async def test_a_failed_order_ends_now_and_is_kept_for_its_time(store: Store) -> None:
    attempt = await open_(store)
    assert await fail_order(store, attempt, None, "insufficient_inventory", b"") == "failed"
    record = await record_of(store)
    assert (record["status"], record["reason"]) == ("failed", "insufficient_inventory")
    assert record["ended_ms"] == record["updated_ms"]
    assert await due_of(store, ORDER.id) == int(record["ended_ms"]) + ORDER_KEPT_MS


async def test_a_refusal_is_the_answer_to_the_same_request(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    await fail_order(store, attempt, REQUEST, "insufficient_inventory", b"no")
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS) == Known(ORDER, b"no")


async def test_the_place_of_an_order_that_failed_without_an_answer_can_be_taken_by_name(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    await fail_order(store, attempt, REQUEST, "expired", b"")
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS) == Known(ORDER, None)
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS, LATER) == Known(ORDER, None)
    assert isinstance(await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS, ORDER), Attempt)
    third = LATER._replace(id="a-third")
    assert await open_order(store, third, MINUTE_MS, REQUEST, FIELDS, ORDER) == Known(LATER, None)


async def test_the_first_answer_that_is_found_for_an_order_is_the_one_that_is_kept(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    assert await keep_answer(store, attempt.order, REQUEST, b"first") == b"first"
    assert await keep_answer(store, attempt.order, REQUEST, b"second") == b"first"
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS) == Known(ORDER, b"first")


async def test_no_answer_is_kept_for_an_order_that_the_key_does_not_stand_for(store: Store) -> None:
    await open_(store, request=REQUEST)
    assert await keep_answer(store, LATER, REQUEST, b"other") == b"other"
    assert "answer" not in await idempotency_of(store)


async def test_an_order_that_has_an_answer_keeps_its_place(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    await fail_order(store, attempt, REQUEST, "insufficient_inventory", b"no")
    assert await open_order(store, LATER, MINUTE_MS, REQUEST, FIELDS, ORDER) == Known(ORDER, b"no")


async def test_an_answer_that_was_given_stays_when_the_order_fails_later(store: Store) -> None:
    await let_wait(store, await open_bulk(store, request=REQUEST), REQUEST, b"wait")
    assert await fail_order(store, await retake(store), REQUEST, "expired", b"") == "failed"
    assert (await idempotency_of(store))["answer"] == "wait"
    assert await store.execute("ZCARD", store_keys.waiting(ORGANIZATION)) == 0


@pytest.mark.parametrize("answer", [b"", b"no"])
async def test_a_key_that_stands_for_another_order_by_now_is_left_alone(store: Store, answer: bytes) -> None:
    attempt = await open_(store, request=REQUEST)
    # Its time passed, and the key came again.
    await store.execute("DEL", store_keys.idempotency(ORGANIZATION, REQUEST.digest))
    await open_(store, LATER, request=REQUEST)
    before = await idempotency_of(store)
    assert await fail_order(store, attempt, REQUEST, "expired", answer) == "failed"
    assert await idempotency_of(store) == before


@pytest.mark.parametrize("outcome", ["complete", "wait", "failed"])
async def test_an_answer_is_kept_only_where_the_key_still_stands_for_the_order(
    store: Store, outcome: str
) -> None:
    attempt = await open_bulk(store, request=REQUEST)
    key = store_keys.idempotency(ORGANIZATION, REQUEST.digest)
    await store.execute("DEL", key)
    if outcome == "complete":
        await commit(store, attempt, request=REQUEST, answer=b"late")
    elif outcome == "wait":
        await let_wait(store, attempt, REQUEST, b"late")
    else:
        await fail_order(store, attempt, REQUEST, "expired", b"late")
    assert await idempotency_of(store) == {}


# Who decides


async def deciding(store: Store, attempt: Attempt, what: str) -> str | bool:
    if what == "commit":
        return await commit(store, attempt)
    if what == "fail":
        return await fail_order(store, attempt, REQUEST, "late", b"no")
    if what == "wait":
        return await let_wait(store, attempt, REQUEST, b"wait")
    return await pick_numbers(store, attempt, MINUTE_MS, [THIRD]) is not None


DECISIONS = ("commit", "fail", "wait", "pick")
decisions = pytest.mark.parametrize("what", DECISIONS)


@decisions
@pytest.mark.parametrize("later", [1, 9])
async def test_an_attempt_that_was_overtaken_decides_nothing(store: Store, what: str, later: int) -> None:
    overtaken = await open_bulk(store, request=REQUEST)
    for _ in range(later):
        await retake(store)
    before = await everything(store)
    answer = "overtaken" if what in ("commit", "fail") else False
    assert await deciding(store, overtaken, what) == answer
    assert await everything(store) == before


@decisions
async def test_an_overtaken_attempt_decides_nothing_when_the_order_has_ended_either(
    store: Store, what: str
) -> None:
    overtaken = await open_bulk(store, request=REQUEST)
    await commit(store, await retake(store), request=REQUEST)
    before = await everything(store)
    assert await deciding(store, overtaken, what) in ("overtaken", False)
    assert await everything(store) == before


@decisions
@pytest.mark.parametrize("status", ["complete", "failed", "cancelling", "cancelled"])
async def test_an_order_ends_once(store: Store, what: str, status: str) -> None:
    attempt = await become(store, status, is_bulk=True)
    before = await everything(store)
    assert await deciding(store, attempt, what) == (status if what in ("commit", "fail") else False)
    assert await everything(store) == before


@decisions
async def test_nothing_is_decided_for_an_order_that_is_not_there(store: Store, what: str) -> None:
    attempt = Attempt(ORDER, 1, 1, 1)
    assert await deciding(store, attempt, what) == ("forgotten" if what in ("commit", "fail") else False)
    assert await everything(store) == {}


@decisions
async def test_a_decision_at_one_order_leaves_the_others(store: Store, what: str) -> None:
    await open_bulk(store, LATER)
    before = await record_of(store, LATER)
    assert await deciding(store, await open_bulk(store), what)
    assert await record_of(store, LATER) == before


async def test_of_a_commit_and_a_failure_at_once_one_wins_and_both_know(store: Store) -> None:
    attempt = await open_(store)
    results = await asyncio.gather(
        *(deciding(store, attempt, what) for what in ("fail", "commit", "fail", "commit"))
    )
    assert results == [(await record_of(store))["status"]] * 4


# Cancelling


async def test_a_cancelled_order_takes_its_numbers_from_the_organization_at_once(store: Store) -> None:
    attempt = await open_(store, numbers=(NUMBER, SECOND))
    await commit(store, attempt, NUMBER, SECOND)
    cancelled = await cancel(store, numbers=(NUMBER, SECOND), quarantine_ms=7000)
    assert isinstance(cancelled, Cancelled)
    assert (cancelled.status, cancelled.is_repeated) == ("cancelling", False)
    assert {name.decode(): value.decode() for name, value in cancelled.record.items()} == await record_of(
        store
    )
    now_ms = await clock.now_ms(store)
    for key in (store_keys.numbers, store_keys.owned):
        assert await store.execute("EXISTS", key(ORGANIZATION)) == 0
    for number in (NUMBER, SECOND):
        resource = resource_id(ORDER, number)
        assert await store.execute("EXISTS", store_keys.resource(ORGANIZATION, resource)) == 0
        released = await store.execute("ZSCORE", store_keys.released(ORGANIZATION), resource)
        assert is_now(int(released), now_ms)
        departure = await store.execute("HGET", store_keys.departures(ORGANIZATION), number)
        assert departure.decode() == f"{ORDER.id} quarantined 7000 cancel"
        due_ms = await due_of(store, number)
        assert due_ms is not None
        assert is_now(due_ms, now_ms)
    due_ms = await due_of(store, ORDER.id)
    assert due_ms is not None
    assert is_now(due_ms, now_ms)


async def test_cancelling_takes_nothing_that_the_organization_has_by_another_order(store: Store) -> None:
    await become(store, "complete")
    await commit(store, await open_(store, LATER), SECOND)
    ids = [resource_id(ORDER, NUMBER), resource_id(LATER, SECOND), "unknown"]
    assert isinstance(await cancel_order(store, ORDER, "complete", None, MINUTE_MS, 0, ids), Cancelled)
    assert await store.execute("HKEYS", store_keys.owned(ORGANIZATION)) == [SECOND.encode()]
    assert await store.execute("HKEYS", store_keys.departures(ORGANIZATION)) == [NUMBER.encode()]


async def test_a_cancelled_order_whose_numbers_are_all_gone_has_nothing_to_move(store: Store) -> None:
    await become(store, "complete")
    cancelled = await cancel_order(store, ORDER, "complete", None, MINUTE_MS, 0, [])
    assert isinstance(cancelled, Cancelled)
    assert await store.execute("EXISTS", store_keys.departures(ORGANIZATION)) == 0
    assert await end_cancel(store, ORDER)


async def test_a_bulk_order_that_waits_is_cancelled_for_good(store: Store) -> None:
    await let_wait(store, await open_bulk(store), None, b"")
    cancelled = await cancel(store, "pending", numbers=())
    assert isinstance(cancelled, Cancelled)
    assert cancelled.status == "cancelled"
    record = await record_of(store)
    assert (record["status"], record["ended_ms"]) == ("cancelled", record["updated_ms"])
    assert await due_of(store, ORDER.id) == int(record["ended_ms"]) + ORDER_KEPT_MS
    assert await store.execute("ZCARD", store_keys.waiting(ORGANIZATION)) == 0


async def test_a_bulk_order_cancelled_while_it_is_filled_gets_nothing(store: Store) -> None:
    attempt = await open_bulk(store)
    await pick_numbers(store, attempt, MINUTE_MS, [NUMBER, SECOND])
    assert isinstance(await cancel(store, "pending", numbers=()), Cancelled)
    # What it had picked is not what it got: nobody may take that for its own.
    assert (await record_of(store))["numbers"] == ""
    for what in DECISIONS:
        assert await deciding(store, attempt, what) in ("cancelled", False)


@pytest.mark.parametrize("status", ["pending", "failed"])
async def test_an_order_that_is_not_complete_cannot_be_cancelled(store: Store, status: str) -> None:
    await become(store, status)
    before = await everything(store)
    assert await cancel(store, status, request=REQUEST) == NotCancellable()
    assert await everything(store) == before


async def test_an_order_can_be_cancelled_only_within_the_window(store: Store) -> None:
    await become(store, "complete")
    ended_ms = int((await record_of(store))["ended_ms"])
    await store.execute("HSET", ORDER.key, "ended_ms", ended_ms - MINUTE_MS)
    before = await everything(store)
    assert await cancel(store, window_ms=MINUTE_MS - 1) == NotCancellable()
    assert await everything(store) == before
    assert isinstance(await cancel(store, window_ms=2 * MINUTE_MS), Cancelled)


@pytest.mark.parametrize("status", ["cancelling", "cancelled"])
async def test_cancelling_again_is_told_so_and_changes_nothing(store: Store, status: str) -> None:
    await become(store, status)
    before = await everything(store)
    again = await cancel(store, status, window_ms=0)
    assert isinstance(again, Cancelled)
    assert (again.status, again.is_repeated) == (status, False)
    assert await everything(store) == before


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ("complete", "pending"),
        ("cancelling", "complete"),
        ("cancelled", "complete"),
        ("failed", "pending"),
    ],
)
async def test_an_order_that_changed_since_it_was_looked_at_is_looked_at_again(
    store: Store, status: str, seen: str
) -> None:
    await become(store, status)
    before = await everything(store)
    assert await cancel(store, seen, request=REQUEST) == Changed()
    assert await everything(store) == before


async def test_an_order_that_is_not_there_is_not_cancelled(store: Store) -> None:
    assert await cancel(store, "complete") == Changed()
    assert await everything(store) == {}


async def test_the_same_cancel_again_has_the_first_answer_whatever_has_become_of_the_order(
    store: Store,
) -> None:
    await become(store, "complete")
    first = await cancel(store, request=REQUEST)
    assert isinstance(first, Cancelled)
    await depart(store)
    assert await end_cancel(store, ORDER)
    before = await everything(store)
    assert await cancel(store, "cancelled", request=REQUEST) == first._replace(is_repeated=True)
    assert await everything(store) == before
    with pytest.raises(RequestKeyReused):
        await cancel(store, "cancelled", request=RequestKey(REQUEST.digest, "another"))
    left = await store.execute("TTL", store_keys.idempotency(ORGANIZATION, REQUEST.digest))
    assert store_keys.IDEMPOTENCY_SECONDS - 60 < left <= store_keys.IDEMPOTENCY_SECONDS


# The end of a cancel


async def test_an_order_is_cancelled_when_the_last_of_its_numbers_has_been_moved(store: Store) -> None:
    attempt = await open_(store, numbers=(NUMBER, SECOND))
    await commit(store, attempt, NUMBER, SECOND)
    await cancel(store, numbers=(NUMBER, SECOND))
    departure = f"{ORDER.id} quarantined 0 cancel"
    assert not await end_cancel(store, ORDER)
    await end_departures(store, ORGANIZATION, [(NUMBER, departure)])
    before = await everything(store)
    assert not await end_cancel(store, ORDER)
    assert await everything(store) == before
    await end_departures(store, ORGANIZATION, [(SECOND, departure)])
    assert await end_cancel(store, ORDER)
    record = await record_of(store)
    assert (record["status"], record["ended_ms"]) == ("cancelled", record["updated_ms"])
    assert await due_of(store, ORDER.id) == int(record["ended_ms"]) + ORDER_KEPT_MS


async def test_a_departure_of_the_same_number_by_a_later_order_is_not_waited_for(store: Store) -> None:
    await become(store, "cancelling")
    await store.execute(
        "HSET", store_keys.departures(ORGANIZATION), NUMBER, f"{LATER.id} quarantined 0 release"
    )
    assert await end_cancel(store, ORDER)


@pytest.mark.parametrize("status", ["pending", "failed", "complete", "cancelled"])
async def test_only_an_order_that_is_being_cancelled_can_end_so(store: Store, status: str) -> None:
    await become(store, status)
    before = await everything(store)
    assert not await end_cancel(store, ORDER)
    assert await everything(store) == before


async def test_a_cancel_that_was_never_begun_has_no_end(store: Store) -> None:
    assert not await end_cancel(store, ORDER)
    assert await everything(store) == {}


# Forgetting


@pytest.mark.parametrize("status", ["failed", "complete", "cancelled"])
async def test_an_order_is_forgotten_when_it_ended_long_ago(store: Store, status: str) -> None:
    await become(store, status)
    await open_(store, LATER)
    assert not await forget_order(store, ORDER)
    ended_ms = await clock.now_ms(store) - ORDER_KEPT_MS
    await store.execute("HSET", ORDER.key, "ended_ms", ended_ms)
    assert await forget_order(store, ORDER)
    assert await record_of(store) == {}
    assert await store.execute("ZRANGE", store_keys.orders(ORGANIZATION), 0, -1) == [LATER.id.encode()]
    assert await due_of(store, ORDER.id) is None
    assert await due_of(store, LATER.id) is not None
    assert await record_of(store, LATER) != {}


async def test_an_order_is_looked_at_again_when_it_may_be_forgotten(store: Store) -> None:
    await become(store, "failed")
    await store.execute("ZADD", store_keys.due(ORGANIZATION), 1, ORDER.id)
    assert not await forget_order(store, ORDER)
    ended_ms = int((await record_of(store))["ended_ms"])
    assert await due_of(store, ORDER.id) == ended_ms + ORDER_KEPT_MS


@pytest.mark.parametrize("status", ["pending", "cancelling"])
async def test_an_order_with_open_work_is_never_forgotten(store: Store, status: str) -> None:
    await become(store, status)
    await store.execute("HSET", ORDER.key, "ended_ms", 1)
    before = await everything(store)
    assert not await forget_order(store, ORDER)
    assert await everything(store) == before


async def test_what_is_left_of_an_order_that_is_not_there_goes(store: Store) -> None:
    for key in (store_keys.orders(ORGANIZATION), store_keys.due(ORGANIZATION)):
        await store.execute("ZADD", key, 1, ORDER.id)
    for _ in range(2):
        assert await forget_order(store, ORDER)
        assert await everything(store) == {}


async def test_what_an_organization_has_by_an_order_stays_when_the_order_is_forgotten(store: Store) -> None:
    await become(store, "complete")
    await store.execute("HSET", ORDER.key, "ended_ms", 1)
    owned = await store.execute("HGETALL", store_keys.owned(ORGANIZATION))
    assert await forget_order(store, ORDER)
    assert await store.execute("HGETALL", store_keys.owned(ORGANIZATION)) == owned
