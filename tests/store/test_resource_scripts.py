"""What becomes of an organization's numbers, through the wrappers of the scripts."""

import pytest
from redis.exceptions import ResponseError

from shared import clock, store_keys
from shared.atomic.area_operations import Destination
from shared.atomic.order_operations import OrderRef
from shared.atomic.requests import RequestKey, RequestKeyReused
from shared.atomic.resource_operations import (
    Patched,
    Released,
    cancel_order,
    end_departures,
    patch_number,
    release_numbers,
)
from shared.store import Store
from tests.store.ordering import (
    MINUTE_MS,
    NUMBER,
    ORDER,
    ORGANIZATION,
    OTHER_ORDER,
    REQUEST,
    RETURN,
    SECOND,
    THIRD,
    commit,
    due_of,
    everything,
    idempotency_of,
    open_,
    resource_id,
)

LATER = OrderRef(ORGANIZATION, "0198a000-0000-7000-8000-000000000003")
QUARANTINE = Destination("quarantined", 7000, "release")
DEPARTURE = f"{ORDER.id} quarantined 7000 release"
ID, SECOND_ID = resource_id(ORDER, NUMBER), resource_id(ORDER, SECOND)
OTHER_KEY = RequestKey(REQUEST.digest, "another")


async def own(store: Store, *numbers: str, order: OrderRef = ORDER) -> None:
    """Give numbers to an organization, as far as the organization is concerned."""
    assert await commit(store, await open_(store, order, numbers=numbers), *numbers) == "complete"


async def release(
    store: Store,
    *ids: str,
    destination: Destination = QUARANTINE,
    request: RequestKey | None = None,
    keep_only_a_release: bool = False,
) -> Released:
    return await release_numbers(
        store, ORGANIZATION, ids, destination, MINUTE_MS, request, keep_only_a_release=keep_only_a_release
    )


async def resource_of(store: Store, some_id: str = ID) -> dict[str, str]:
    record = await store.execute("HGETALL", store_keys.resource(ORGANIZATION, some_id))
    return {name.decode(): value.decode() for name, value in record.items()}


# Releasing


async def test_a_released_number_is_lost_to_the_organization_and_has_still_to_be_moved(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    earliest_ms = await clock.now_ms(store)
    released = await release(store, ID)
    latest_ms = await clock.now_ms(store)
    assert released == Released([ID], [], [], [(NUMBER, DEPARTURE)], is_repeated=False)
    assert await resource_of(store) == {}
    assert await store.execute("ZRANGE", store_keys.numbers(ORGANIZATION), 0, -1) == [SECOND.encode()]
    assert await store.execute("HKEYS", store_keys.owned(ORGANIZATION)) == [SECOND.encode()]
    departures = await store.execute("HGETALL", store_keys.departures(ORGANIZATION))
    assert departures == {NUMBER.encode(): DEPARTURE.encode()}
    # Others wait as long as a request may take, before they do what this one was about to.
    due_ms = await due_of(store, NUMBER)
    assert due_ms is not None
    assert earliest_ms <= due_ms - MINUTE_MS <= latest_ms
    at_ms = int(await store.execute("ZSCORE", store_keys.released(ORGANIZATION), ID))
    assert earliest_ms <= at_ms <= latest_ms


async def test_a_departure_says_where_the_number_goes(store: Store) -> None:
    await own(store, NUMBER)
    years_ms = 3_650 * 86_400_000
    await release(store, ID, destination=Destination("returned", years_ms, "return_to_carrier"))
    departure = await store.execute("HGET", store_keys.departures(ORGANIZATION), NUMBER)
    assert departure.decode() == f"{ORDER.id} returned 315360000000 return_to_carrier"


async def test_numbers_of_several_orders_are_released_together_and_each_says_by_which_it_came(
    store: Store,
) -> None:
    await own(store, NUMBER)
    await own(store, SECOND, order=LATER)
    later_id = resource_id(LATER, SECOND)
    released = await release(store, later_id, ID, destination=RETURN)
    assert released.released == [later_id, ID]
    tail = f"returned {MINUTE_MS} return_to_carrier"
    assert released.departures == [(SECOND, f"{LATER.id} {tail}"), (NUMBER, f"{ORDER.id} {tail}")]


async def test_every_id_is_told_what_it_is(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    await release(store, ID)
    released = await release(store, "unknown-1", SECOND_ID, ID, "unknown-2")
    assert released.released == [SECOND_ID]
    assert released.unknown == ["unknown-1", "unknown-2"]
    assert released.already_released == [ID]
    assert released.departures == [(SECOND, DEPARTURE)]


async def test_another_organizations_number_is_unknown_and_stays(store: Store) -> None:
    await own(store, NUMBER, order=OTHER_ORDER)
    before = await everything(store)
    stranger_id = resource_id(OTHER_ORDER, NUMBER)
    assert await release(store, stranger_id) == Released([], [stranger_id], [], [], is_repeated=False)
    assert await everything(store) == before


async def test_releasing_again_is_told_so_and_changes_nothing(store: Store) -> None:
    await own(store, NUMBER)
    await release(store, ID)
    before = await everything(store)
    for _ in range(2):
        assert await release(store, ID) == Released([], [], [ID], [], is_repeated=False)
        assert await everything(store) == before


async def test_a_released_id_is_forgotten_after_its_time(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    await release(store, ID)
    await release(store, SECOND_ID)
    begun_ms = await clock.now_ms(store) - store_keys.RELEASED_SECONDS * 1000
    await store.execute("ZADD", store_keys.released(ORGANIZATION), begun_ms, ID)
    released = await release(store, ID, SECOND_ID)
    assert (released.unknown, released.already_released) == ([ID], [SECOND_ID])
    assert await store.execute("ZRANGE", store_keys.released(ORGANIZATION), 0, -1) == [SECOND_ID.encode()]


async def test_an_id_that_is_given_twice_is_released_once(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    released = await release(store, ID, SECOND_ID, ID)
    assert [number for number, _ in released.departures] == [NUMBER, SECOND]
    departures = await store.execute("HKEYS", store_keys.departures(ORGANIZATION))
    assert {*departures} == {NUMBER.encode(), SECOND.encode()}


async def test_a_resource_that_cannot_be_read_keeps_all_of_its_call_where_they_are(store: Store) -> None:
    await own(store, NUMBER, SECOND, THIRD)
    await store.execute("HDEL", store_keys.resource(ORGANIZATION, SECOND_ID), "order_id")
    before = await everything(store)
    with pytest.raises(ResponseError, match=SECOND_ID):
        await release(store, ID, SECOND_ID)
    assert await everything(store) == before
    await store.execute("HSET", store_keys.resource(ORGANIZATION, SECOND_ID), "order_id", ORDER.id)
    await store.execute("HDEL", store_keys.resource(ORGANIZATION, SECOND_ID), "number")
    before = await everything(store)
    with pytest.raises(ResponseError, match=SECOND_ID):
        await cancel_order(store, ORDER, "complete", None, MINUTE_MS, 0, [ID, SECOND_ID])
    assert await everything(store) == before
    # The others can go without it.
    assert (await release(store, ID)).released == [ID]


async def test_as_many_are_released_at_once_as_are_allowed(store: Store) -> None:
    numbers = [f"+1415555{n:04}" for n in range(100)]
    await own(store, *numbers)
    ids = [resource_id(ORDER, number) for number in numbers]
    released = await release(store, *ids)
    assert released.released == ids
    assert released.departures == [(number, DEPARTURE) for number in numbers]
    assert await store.execute("EXISTS", store_keys.owned(ORGANIZATION)) == 0


async def test_nothing_to_release_is_no_error(store: Store) -> None:
    assert await release(store) == Released([], [], [], [], is_repeated=False)
    assert await everything(store) == {}


# A release that is repeated


async def test_the_same_release_again_has_the_first_answer_and_takes_nothing_more(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    first = await release(store, ID, "unknown", request=REQUEST)
    before = await everything(store)
    # Whatever it asks for: the fingerprint says that it is the same.
    assert await release(store, SECOND_ID, request=REQUEST) == first._replace(is_repeated=True)
    assert await everything(store) == before
    left = await store.execute("TTL", store_keys.idempotency(ORGANIZATION, REQUEST.digest))
    assert store_keys.IDEMPOTENCY_SECONDS - 60 < left <= store_keys.IDEMPOTENCY_SECONDS


async def test_lists_that_are_empty_come_back_as_lists(store: Store) -> None:
    first = await release(store, "unknown", request=REQUEST)
    assert first == Released([], ["unknown"], [], [], is_repeated=False)
    assert await release(store, "unknown", request=REQUEST) == first._replace(is_repeated=True)


async def test_a_release_with_the_key_of_another_request_is_refused(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    await release(store, ID, request=REQUEST)
    before = await everything(store)
    with pytest.raises(RequestKeyReused):
        await release(store, SECOND_ID, request=OTHER_KEY)
    assert await everything(store) == before


async def test_the_answer_of_a_release_that_released_nothing_is_kept_only_when_asked(store: Store) -> None:
    await release(store, ID, request=REQUEST, keep_only_a_release=True)
    assert await idempotency_of(store) == {}
    await own(store, NUMBER)
    first = await release(store, ID, request=REQUEST, keep_only_a_release=True)
    assert first.released == [ID]
    assert await release(store, ID, request=REQUEST, keep_only_a_release=True) == first._replace(
        is_repeated=True
    )


async def test_without_an_idempotency_key_no_answer_is_kept(store: Store) -> None:
    await own(store, NUMBER)
    await release(store, ID)
    assert not await store.execute("KEYS", "*idempotency*")


# The end of departures


async def test_a_number_that_has_been_moved_is_struck_out(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    released = await release(store, ID, SECOND_ID)
    assert await end_departures(store, ORGANIZATION, released.departures[:1]) == 1
    assert await store.execute("HKEYS", store_keys.departures(ORGANIZATION)) == [SECOND.encode()]
    assert await due_of(store, NUMBER) is None
    assert await due_of(store, SECOND) is not None


async def test_striking_out_again_does_no_harm(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    released = await release(store, ID, SECOND_ID)
    await end_departures(store, ORGANIZATION, released.departures[:1])
    before = await everything(store)
    assert await end_departures(store, ORGANIZATION, released.departures[:1]) == 0
    assert await everything(store) == before
    assert await end_departures(store, ORGANIZATION, released.departures) == 1


async def test_a_later_departure_of_the_same_number_stays(store: Store) -> None:
    await own(store, NUMBER)
    [earlier] = (await release(store, ID)).departures
    # Moved, sold to the same organization again, and released before the first was struck out.
    await own(store, NUMBER, order=LATER)
    [later] = (await release(store, resource_id(LATER, NUMBER))).departures
    before = await everything(store)
    assert await end_departures(store, ORGANIZATION, [earlier]) == 0
    assert await everything(store) == before
    assert await end_departures(store, ORGANIZATION, [later]) == 1


async def test_what_departs_from_others_stays(store: Store) -> None:
    await own(store, NUMBER)
    await release(store, ID)
    before = await everything(store)
    assert await end_departures(store, OTHER_ORDER.organization, [(NUMBER, DEPARTURE)]) == 0
    assert await end_departures(store, ORGANIZATION, [(THIRD, DEPARTURE)]) == 0
    assert await everything(store) == before


# Changing


async def patch(
    store: Store, changes: dict[str, str], request: RequestKey | None = None, some_id: str = ID
) -> Patched | None:
    return await patch_number(store, ORGANIZATION, some_id, changes, request)


async def test_a_change_is_written_and_the_rest_stays(store: Store) -> None:
    await own(store, NUMBER, SECOND)
    # As if it had been bought a while ago.
    await store.execute("HSET", store_keys.resource(ORGANIZATION, ID), "updated_ms", 1)
    before, second = await resource_of(store), await resource_of(store, SECOND_ID)
    patched = await patch(store, {"label": "front desk", "inbound_url": "https://in.example"})
    after = await resource_of(store)
    assert patched is not None
    assert {name.decode(): value.decode() for name, value in patched.record.items()} == after
    assert not patched.is_repeated
    now_ms = await clock.now_ms(store)
    assert now_ms - MINUTE_MS < int(after.pop("updated_ms")) <= now_ms
    del before["updated_ms"]
    assert after == before | {"label": "front desk", "inbound_url": "https://in.example"}
    assert await resource_of(store, SECOND_ID) == second


async def test_an_empty_text_clears(store: Store) -> None:
    await own(store, NUMBER)
    await patch(store, {"label": "front desk", "status_url": "https://status.example"})
    for _ in range(2):
        await patch(store, {"label": ""})
        resource = await resource_of(store)
        assert "label" not in resource
        assert resource["status_url"] == "https://status.example"


async def test_no_change_changes_nothing(store: Store) -> None:
    await own(store, NUMBER)
    await store.execute("HSET", store_keys.resource(ORGANIZATION, ID), "updated_ms", 1)
    before = await everything(store)
    assert await patch(store, {}) is not None
    assert await everything(store) == before


async def test_a_resource_that_is_gone_does_not_come_back(store: Store) -> None:
    await own(store, NUMBER)
    await release(store, ID)
    before = await everything(store)
    assert await patch(store, {"label": "front desk"}, REQUEST) is None
    assert await patch(store, {"label": ""}, REQUEST, "unknown") is None
    assert await everything(store) == before


async def test_another_organizations_resource_is_not_changed(store: Store) -> None:
    await own(store, NUMBER, order=OTHER_ORDER)
    before = await everything(store)
    assert await patch(store, {"label": "mine"}, some_id=resource_id(OTHER_ORDER, NUMBER)) is None
    assert await everything(store) == before


async def test_the_same_change_again_has_the_first_answer_and_undoes_no_later_one(store: Store) -> None:
    await own(store, NUMBER)
    first = await patch(store, {"label": "first"}, REQUEST)
    assert first is not None
    await patch(store, {"label": "second"})
    before = await everything(store)
    assert await patch(store, {"label": "first"}, REQUEST) == first._replace(is_repeated=True)
    assert await everything(store) == before
    with pytest.raises(RequestKeyReused):
        await patch(store, {"label": "third"}, OTHER_KEY)
    assert await everything(store) == before


async def test_the_answer_to_a_change_is_given_again_when_the_resource_is_gone(store: Store) -> None:
    await own(store, NUMBER)
    first = await patch(store, {"label": "first"}, REQUEST)
    assert first is not None
    await release(store, ID)
    assert await patch(store, {"label": "first"}, REQUEST) == first._replace(is_repeated=True)
    left = await store.execute("TTL", store_keys.idempotency(ORGANIZATION, REQUEST.digest))
    assert store_keys.IDEMPOTENCY_SECONDS - 60 < left <= store_keys.IDEMPOTENCY_SECONDS
