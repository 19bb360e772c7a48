"""All that the store knows of numbers and orders, and what must be true of it in a quiet moment."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from shared import clock, store_keys
from shared.atomic.area_operations import NumberState, Unavailable, read_record
from shared.number_events import PACKED_LOCALS
from shared.stock_score import KEPT
from shared.store import Store, with_scores

_ATTRIBUTES = 2**16
COMMITTED = ("complete", "cancelling", "cancelled")


class Violation(NamedTuple):
    """Something that must not be, and what it is about, for the evidence."""

    text: str
    numbers: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()


@dataclass
class Area:
    """One area code."""

    available: dict[str, int]
    """Number → attributes."""
    records: dict[str, Unavailable]
    timers: dict[str, int]
    also: dict[str, list[int]]
    returned: dict[str, int]
    events: dict[str, dict[str, str]] = field(repr=False)
    """By id, oldest first."""

    def attributes_of(self, number: str) -> int | None:
        """Give a number's attributes wherever it is, None when it is not known."""
        record = self.records.get(number)
        return record.attributes if record else self.available.get(number)


@dataclass
class Organization:
    """One organization."""

    orders: dict[str, dict[str, str]]
    listed: set[str]
    """The ids of the orders that its list has."""
    numbers: set[str]
    owned: dict[str, str]
    """Number → resource id."""
    resources: dict[str, dict[str, str]]
    """By resource id."""
    departures: dict[str, str]
    due: dict[str, int]
    waiting: set[str]
    released: set[str]


@dataclass
class Picture:
    """The whole store."""

    areas: dict[str, Area]
    organizations: dict[str, Organization]
    now_ms: int
    relayed: list[dict[str, str]] = field(repr=False)
    """What other services read of the events."""

    def orders(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Give organization, id and record of each order."""
        for name, organization in self.organizations.items():
            for order_id, record in organization.orders.items():
                yield name, order_id, record

    def record_of(self, number: str) -> Unavailable | None:
        """Give the record of a number that is not available."""
        area = self.areas.get(number[2:5])
        return area.records.get(number) if area else None

    def known(self) -> set[str]:
        """Give all numbers that are somewhere."""
        return {number for area in self.areas.values() for number in (*area.available, *area.records)}


async def take_picture(store: Store, *, with_events: bool = False) -> Picture:
    """Read everything; raises `StoreUnavailable`."""
    areas = sorted(name.decode() for name in await store.execute("SMEMBERS", store_keys.AREAS))
    organizations = sorted(
        name.decode() for name in await store.execute("SMEMBERS", store_keys.ORGANIZATIONS)
    )
    relayed = await store.execute("XRANGE", store_keys.NUMBER_EVENTS, "-", "+") if with_events else []
    return Picture(
        {area: await _area(store, area, with_events=with_events) for area in areas},
        {name: await _organization(store, name) for name in organizations},
        await clock.now_ms(store),
        [_text(fields) for _, fields in relayed],
    )


async def _area(store: Store, area: str, *, with_events: bool) -> Area:
    available, records, timers, also, returned = await store.execute_many(
        [
            ("ZRANGE", store_keys.available(area), 0, -1, "WITHSCORES"),
            ("HGETALL", store_keys.unavailable(area)),
            ("ZRANGE", store_keys.timers(area), 0, -1, "WITHSCORES"),
            ("HGETALL", store_keys.also_offered(area)),
            ("ZRANGE", store_keys.returned(area), 0, -1, "WITHSCORES"),
        ]
    )
    entries = await store.execute("XRANGE", store_keys.events(area), "-", "+") if with_events else []
    return Area(
        {number.decode(): score % _ATTRIBUTES for number, score in with_scores(available)},
        {number.decode(): read_record(text) for number, text in records.items()},
        {number.decode(): at_ms for number, at_ms in with_scores(timers)},
        {number.decode(): [int(offer) for offer in offers.split(b",")] for number, offers in also.items()},
        {number.decode(): at_ms for number, at_ms in with_scores(returned)},
        {entry_id.decode(): _text(fields) for entry_id, fields in entries},
    )


async def _organization(store: Store, name: str) -> Organization:
    listed, numbers, owned, departures, due, waiting, released = await store.execute_many(
        [
            ("ZRANGE", store_keys.orders(name), 0, -1),
            ("ZRANGE", store_keys.numbers(name), 0, -1),
            ("HGETALL", store_keys.owned(name)),
            ("HGETALL", store_keys.departures(name)),
            ("ZRANGE", store_keys.due(name), 0, -1, "WITHSCORES"),
            ("ZRANGE", store_keys.waiting(name), 0, -1),
            ("ZRANGE", store_keys.released(name), 0, -1),
        ]
    )
    orders = await _all_hashes(store, store_keys.order(name, ""))
    resources = await _all_hashes(store, store_keys.resource(name, ""))
    return Organization(
        orders,
        {order_id.decode() for order_id in listed},
        {number.decode() for number in numbers},
        _text(owned),
        resources,
        _text(departures),
        {member.decode(): at_ms for member, at_ms in with_scores(due)},
        {order_id.decode() for order_id in waiting},
        {resource_id.decode() for resource_id in released},
    )


async def _all_hashes(store: Store, prefix: str) -> dict[str, dict[str, str]]:
    """Give all hashes whose key begins so, by the rest of it: also those that no index knows."""
    names: list[bytes] = []
    cursor: bytes | int = 0
    while True:
        cursor, found = await store.execute("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", 5_000)
        names += found
        if int(cursor) == 0:
            break
    ids = sorted({name.decode().removeprefix(prefix) for name in names})
    records = await store.execute_many([("HGETALL", prefix + one) for one in ids])
    return {one: _text(record) for one, record in zip(ids, records, strict=True) if record}


def _text(record: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in record.items() if name != PACKED_LOCALS}


def unsettled(picture: Picture) -> list[Violation]:
    """Give what somebody still has to do; of bulk orders that wait nothing."""
    found = []
    for area in picture.areas.values():
        found += [
            Violation(f"{number} is still held by {record.order}", (number,), (record.order,))
            for number, record in area.records.items()
            if record.state is NumberState.HELD
        ]
        found += [
            Violation(f"the timer of {number} ran out {picture.now_ms - at_ms} ms ago", (number,))
            for number, at_ms in area.timers.items()
            if at_ms <= picture.now_ms
        ]
    for name, organization in picture.organizations.items():
        found += [
            Violation(f"{number} has still to be moved: {departure}", (number,))
            for number, departure in organization.departures.items()
        ]
        found += [
            Violation(f"{member} of {name} was due {picture.now_ms - at_ms} ms ago", (), (member,))
            for member, at_ms in organization.due.items()
            if at_ms <= picture.now_ms
        ]
        found += [
            Violation(f"order {order_id} of {name} is still {record['status']}", (), (order_id,))
            for order_id, record in organization.orders.items()
            if record["status"] == "cancelling"
            or (record["status"] == "pending" and order_id not in organization.waiting)
        ]
    return found


def inconsistencies(picture: Picture) -> list[Violation]:
    """Give what contradicts itself in a store in which nothing is under way."""
    found: list[Violation] = []
    for area_code, area in picture.areas.items():
        found += _of_area(area_code, area)
    for name, organization in picture.organizations.items():
        found += _of_organization(name, organization)
    found += _of_ownership(picture)
    found += _of_orders(picture)
    return found


def _of_area(area_code: str, area: Area) -> Iterable[Violation]:
    for number in (*area.available, *area.records):
        if not number.startswith(f"+1{area_code}"):
            yield Violation(f"{number} is not of {area_code}", (number,))
    for number in area.available.keys() & area.records.keys():
        yield Violation(f"{number} is available and {area.records[number].state}", (number,))
    timed = (NumberState.HELD, NumberState.QUARANTINED)
    expected = {number for number, record in area.records.items() if record.state in timed}
    for number in expected ^ area.timers.keys():
        yield Violation(f"{number}: its timer does not fit its record {area.records.get(number)}", (number,))
    gone = {number for number, record in area.records.items() if record.state is NumberState.RETURNED}
    for number in gone ^ area.returned.keys():
        yield Violation(f"{number}: returned or not, {area.records.get(number)}", (number,))
    for number in area.also.keys() - area.available.keys() - area.records.keys():
        yield Violation(f"{number} has a further offer and is not known", (number,))
    for number, attributes in area.available.items():
        if attributes < 64 and not attributes & KEPT:
            yield Violation(f"{number} is available, offered by nobody and not ours to keep", (number,))


def _of_organization(name: str, organization: Organization) -> Iterable[Violation]:
    by_number = {record["number"]: one for one, record in organization.resources.items()}
    if len(by_number) != len(organization.resources):
        counts = Counter(record["number"] for record in organization.resources.values())
        for number in (number for number, count in counts.items() if count > 1):
            yield Violation(f"{name} has {number} by several resources", (number,))
    if by_number != organization.owned:
        odd = dict(by_number.items() ^ organization.owned.items())
        yield Violation(f"{name}: its resources and what it owns differ: {odd}", tuple(odd))
    for number in organization.numbers ^ organization.owned.keys():
        yield Violation(f"{name}: {number} is in one of its indexes only", (number,))
    for resource_id in organization.released & organization.resources.keys():
        number = organization.resources[resource_id]["number"]
        yield Violation(f"{name}: resource {resource_id} was released and is there", (number,))
    for order_id in organization.listed ^ organization.orders.keys():
        yield Violation(f"{name}: order {order_id} and the list of orders differ", (), (order_id,))
    for order_id in organization.orders.keys() - organization.due.keys():
        yield Violation(f"{name}: nobody will ever look at order {order_id} again", (), (order_id,))
    for order_id in organization.waiting:
        record = organization.orders.get(order_id, {})
        if record.get("status") != "pending" or record.get("numbers") or record.get("deadline_ms") != "0":
            yield Violation(f"{name}: order {order_id} waits and is {record}", (), (order_id,))


def _of_ownership(picture: Picture) -> Iterable[Violation]:
    """What organizations have is what is assigned, number by number."""
    owners: dict[str, tuple[str, str]] = {}
    for name, organization in picture.organizations.items():
        for resource in organization.resources.values():
            number, owner = resource["number"], (resource["order_id"], name)
            if number in owners:
                yield Violation(
                    f"{number} is {owner} and {owners[number]}", (number,), (owner[0], owners[number][0])
                )
            owners[number] = owner
    assigned = {
        number: (record.order, record.organization)
        for area in picture.areas.values()
        for number, record in area.records.items()
        if record.state is NumberState.ASSIGNED
    }
    for number in owners.keys() | assigned.keys():
        if owners.get(number) != assigned.get(number):
            yield Violation(
                f"{number}: owned by {owners.get(number)}, assigned to {assigned.get(number)}",
                (number,),
                tuple({owner[0] for owner in (owners.get(number), assigned.get(number)) if owner}),
            )


def _of_orders(picture: Picture) -> Iterable[Violation]:
    """What an organization has by an order is of a complete order, and of its numbers."""
    committed: dict[tuple[str, str], str] = {}
    for name, order_id, record in picture.orders():
        got = set(record["numbers"].split())
        have = {
            resource["number"]
            for resource in picture.organizations[name].resources.values()
            if resource["order_id"] == order_id
        }
        may_have = got if record["status"] == "complete" else set()
        if have - may_have:
            odd = tuple(sorted(have - may_have))
            yield Violation(f"{record['status']} order {order_id} of {name} has {odd}", odd, (order_id,))
        if record["status"] in COMMITTED and (label := record.get("label")):
            first = committed.setdefault((name, label), order_id)
            if first != order_id:
                yield Violation(f"one request of {name} got two orders: {label}", (), (first, order_id))
