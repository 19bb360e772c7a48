"""What tests of orders share: numbers in any state, the whole of a store, and time that has passed."""

from collections.abc import Iterable, Mapping
from typing import Any

from shared import clock, store_keys
from shared.atomic.area_operations import (
    Destination,
    Held,
    NumberState,
    Unavailable,
    confirm,
    hold,
    read_record,
    take_back,
)
from shared.atomic.order_operations import (
    Attempt,
    NewResource,
    OrderRef,
    Routing,
    commit_order,
    open_order,
)
from shared.atomic.requests import RequestKey
from shared.number_events import PACKED_LOCALS
from shared.stock_score import SMS, attributes, score
from shared.store import Store

AREA = "415"
NUMBER, SECOND, THIRD = "+14155550123", "+14155550124", "+14155550125"
ORGANIZATION = "buyer"
ORDER = OrderRef(ORGANIZATION, "0198a000-0000-7000-8000-000000000001")
OTHER_ORDER = OrderRef("stranger", "0198a000-0000-7000-8000-000000000002")
REQUEST = RequestKey("digest", "fingerprint")
OFFERED = attributes(1, SMS)
"""What a number has by default: offered by the first carrier."""
MINUTE_MS = 60_000
"""Longer than any test."""
QUARANTINE = Destination(NumberState.QUARANTINED, MINUTE_MS, "release")
RETURN = Destination(NumberState.RETURNED, MINUTE_MS, "return_to_carrier")
LIVING_STATES = ("available", *NumberState)


async def offer(store: Store, *numbers: str, having: int = OFFERED) -> None:
    """Make numbers available as a feed does."""
    for number in numbers:
        await store.execute("SADD", store_keys.AREAS, number[2:5])
        key = store_keys.available(number[2:5])
        await store.execute("ZADD", key, score(int(number[5:]), having), number)


async def deadline(store: Store) -> int:
    return await clock.now_ms(store) + MINUTE_MS


async def hold_for(store: Store, order: OrderRef, *numbers: str, attempt: int = 1) -> None:
    held = await hold(store, AREA, order.id, attempt, order.organization, await deadline(store), numbers)
    assert isinstance(held, Held)


async def put(
    store: Store, number: str, state: str, order: OrderRef = ORDER, *, having: int = OFFERED
) -> None:
    """Bring a number into a state by the way that leads there."""
    await offer(store, number, having=having)
    if state == "available":
        return
    await hold_for(store, order, number)
    if state == NumberState.HELD:
        return
    await confirm(store, AREA, order.id, [number])
    if state == NumberState.ASSIGNED:
        return
    destination = QUARANTINE if state == NumberState.QUARANTINED else RETURN
    assert await take_back(store, AREA, order.id, destination, [number]) == 1


async def place_of(store: Store, number: str) -> int | Unavailable | None:
    """Give the one place that a number has: its attributes when it is available; None when it is unknown."""
    area_code = number[2:5]
    found = await store.execute("ZSCORE", store_keys.available(area_code), number)
    record = await store.execute("HGET", store_keys.unavailable(area_code), number)
    assert found is None or record is None, f"{number} has two places"
    if record is not None:
        return read_record(record)
    if found is None:
        return None
    local, having = divmod(int(found), 2**16)
    assert local == int(number[5:])
    return having


async def state_of(store: Store, number: str) -> str:
    place = await place_of(store, number)
    if place is None:
        return "unknown"
    return place.state.value if isinstance(place, Unavailable) else "available"


async def timer_of(store: Store, number: str) -> int | None:
    due = await store.execute("ZSCORE", store_keys.timers(number[2:5]), number)
    return None if due is None else int(due)


async def end_timer(store: Store, number: str) -> None:
    """Stand for the time that goes by until a hold or a quarantine is over."""
    assert await store.execute("ZADD", store_keys.timers(number[2:5]), "XX", "CH", 1, number) == 1


async def end_return(store: Store, number: str) -> None:
    """Stand for the time that goes by until a returned number may be listed anew."""
    assert await store.execute("ZADD", store_keys.returned(number[2:5]), "XX", "CH", 1, number) == 1


async def end_attempt(store: Store, order: OrderRef) -> None:
    """Stand for the time that goes by until nobody has an order in hand any more."""
    await store.execute("HSET", order.key, "deadline_ms", 1)


async def events_of(store: Store, area_code: str = AREA) -> list[dict[str, str]]:
    """Give the events of an area code, oldest first."""
    entries = await store.execute("XRANGE", store_keys.events(area_code), "-", "+")
    return [_texts(fields) for _, fields in entries]


async def no_events_yet(store: Store) -> None:
    """Forget what has been told, so that what comes is all there is."""
    await store.execute("DEL", store_keys.events(AREA))


async def everything(store: Store) -> dict[str, Any]:
    """Give all that a store holds, by key."""
    commands: dict[str, tuple[str, ...]] = {
        "hash": ("HGETALL",),
        "zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
        "set": ("SMEMBERS",),
        "list": ("LRANGE", "0", "-1"),
        "stream": ("XRANGE", "-", "+"),
        "string": ("GET",),
    }
    found = {}
    for key in await store.execute("KEYS", "*"):
        name, *arguments = commands[(await store.execute("TYPE", key)).decode()]
        found[key.decode()] = await store.execute(name, key, *arguments)
    return found


async def open_(
    store: Store,
    order: OrderRef = ORDER,
    request: RequestKey | None = None,
    fields: Mapping[str, str | int] | None = None,
    numbers: Iterable[str] = (NUMBER,),
) -> Attempt:
    """Open an order of named numbers that nobody else has."""
    opened = await open_order(store, order, MINUTE_MS, request, fields or {"numbers": " ".join(numbers)})
    assert isinstance(opened, Attempt)
    return opened


async def open_bulk(store: Store, order: OrderRef = ORDER, request: RequestKey | None = None) -> Attempt:
    """Open an order of one number of the service's choice."""
    fields: dict[str, str | int] = {"numbers": "", "quantity": 1, "pattern": "", "wait_ms": MINUTE_MS}
    return await open_(store, order, request, fields)


def resources_of(order: OrderRef, *numbers: str) -> list[NewResource]:
    return [NewResource(number, resource_id(order, number), SMS) for number in numbers]


def resource_id(order: OrderRef, number: str) -> str:
    return f"{order.id[-2:]}-{number[-4:]}"


async def commit(
    store: Store, attempt: Attempt, *numbers: str, request: RequestKey | None = None, answer: bytes = b"done"
) -> str:
    resources = resources_of(attempt.order, *(numbers or (NUMBER,)))
    return await commit_order(store, attempt, request, answer, Routing(), resources)


async def complete(store: Store, order: OrderRef, *numbers: str) -> Attempt:
    """Have an order take the whole way for numbers that are available."""
    attempt = await open_(store, order, numbers=numbers)
    await hold_for(store, order, *numbers)
    assert await commit(store, attempt, *numbers) == "complete"
    assert await confirm(store, AREA, order.id, numbers) == len(numbers)
    return attempt


async def record_of(store: Store, order: OrderRef = ORDER) -> dict[str, str]:
    return _texts(await store.execute("HGETALL", order.key))


async def idempotency_of(store: Store, organization: str = ORGANIZATION) -> dict[str, str]:
    """Give what the organization's `REQUEST` stands for."""
    return _texts(await store.execute("HGETALL", store_keys.idempotency(organization, REQUEST.digest)))


async def due_of(store: Store, member: str, organization: str = ORGANIZATION) -> int | None:
    due = await store.execute("ZSCORE", store_keys.due(organization), member)
    return None if due is None else int(due)


def _texts(fields: Mapping[bytes, bytes] | list[bytes]) -> dict[str, str]:
    if isinstance(fields, list):
        fields = dict(zip(fields[::2], fields[1::2], strict=True))
    return {name.decode(): value.decode() for name, value in fields.items() if name != PACKED_LOCALS}
