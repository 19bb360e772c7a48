"""The audit of an organization's numbers: its lists, its resources and their area codes agree."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from shared import store_keys
from shared.atomic.area_operations import NumberState, Unavailable, parse_record
from shared.atomic.order_operations import OrderRef
from shared.atomic.repair_operations import Trace, trace_numbers
from shared.atomic.resource_operations import read_fields
from shared.audit.look import Look, Progress, absent
from shared.audit.violations import Kind, Violation
from shared.chunks import walk_hash, walk_sorted_set
from shared.orders.records import OrderStatus
from shared.store import Store

NUMBER_KINDS = frozenset(
    {
        Kind.RESOURCE_WITHOUT_ASSIGNMENT,
        Kind.OWNED_TWICE,
        Kind.INDEX_WITHOUT_RESOURCE,
        Kind.UNEARNED_RESOURCE,
        Kind.ORDER_LACKS_NUMBER,
    }
)
RESOURCE_KINDS = frozenset({Kind.RESOURCE_NOT_INDEXED})

_NUMBER = re.compile(r"\+1[0-9]{10}")
_STATUSES = frozenset(OrderStatus)


class _Place(NamedTuple):
    """What a number's area code says of it."""

    text: bytes | None
    record: Unavailable | None
    is_available: bool


_NOWHERE = _Place(None, None, is_available=False)


async def walk_numbers(look: Look, organization: str, progress: Progress) -> tuple[int, list[Violation]]:
    """Count an organization's numbers and name what is wrong with them; raises `StoreUnavailable`."""
    store, seen = look.store, 0
    owned = store_keys.owned(organization)
    violations: list[Violation] = []
    async for resources in walk_hash(store, owned):
        violations += await examine_owned(look, organization, list(resources))
        progress(f"numbers of {organization}", seen := seen + len(resources))
    async for places in walk_sorted_set(store, store_keys.numbers(organization)):
        strays = await absent(store, "HMGET", owned, list(places))
        violations += await examine_owned(look, organization, strays)
        progress(f"numbers of {organization}", seen := seen + len(places))
    return await store.execute("HLEN", owned), violations


async def examine_owned(look: Look, organization: str, numbers: Sequence[str]) -> list[Violation]:
    """Name what is wrong with numbers (at most `CHUNK`) of an organization; raises `StoreUnavailable`."""
    if not numbers:
        return []
    store = look.store
    ids, listed = await store.execute_many(
        [
            ("HMGET", store_keys.owned(organization), *numbers),
            ("ZMSCORE", store_keys.numbers(organization), *numbers),
        ]
    )
    resources = await _read_resources(store, organization, [(id_ or b"").decode() for id_ in ids])
    # After the resources: what is being released is gone from its area code later than from here.
    places = await _read_places(store, numbers)
    violations: list[Violation] = []
    founded: list[tuple[str, str]] = []
    for number, id_, place_in_list, resource in zip(numbers, ids, listed, resources, strict=True):
        if id_ is None and place_in_list is None:
            continue
        place = places.get(number, _NOWHERE)
        if id_ is None or resource.number != number:
            violations.append(_unfounded(organization, number, id_, place))
            continue
        founded.append((number, resource.order))
        if (found := await _misplaced(store, organization, number, resource.order, place)) is not None:
            violations.append(found)
    # After the resources: an order is complete before there are any, and cancelled when there are none.
    traces = await trace_numbers(store, organization, founded)
    for (number, order), trace in zip(founded, traces, strict=True):
        violations += _unearned(OrderRef(organization, order), number, trace)
    return violations


async def examine_resources(look: Look, organization: str, ids: Sequence[str]) -> list[Violation]:
    """Name the resources (at most `CHUNK`) that their organization's lists do not show as they should.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    if not ids:
        return []
    found = await _read_resources(look.store, organization, ids)
    resources = [(id_, resource) for id_, resource in zip(ids, found, strict=True) if resource.exists]
    numbers = [resource.number for _, resource in resources]
    if not numbers:
        return []
    owned, listed = await look.store.execute_many(
        [
            ("HMGET", store_keys.owned(organization), *numbers),
            ("ZMSCORE", store_keys.numbers(organization), *numbers),
        ]
    )
    violations = []
    for (id_, resource), other, place in zip(resources, owned, listed, strict=True):
        if other == id_.encode() and place is not None:
            continue
        has_another = other not in (None, id_.encode())
        detail = (
            f"the organization has it by the resource {other.decode()}, too"
            if has_another
            else "the resource is not among the organization's numbers"
        )
        violations.append(
            Violation(
                kind=Kind.RESOURCE_NOT_INDEXED,
                number=resource.number,
                organization=organization,
                order=resource.order,
                resource=id_,
                detail=detail,
                repairable=not has_another and _NUMBER.fullmatch(resource.number) is not None,
            )
        )
    return violations


class _Resource(NamedTuple):
    exists: bool
    number: str
    order: str


async def _read_resources(store: Store, organization: str, ids: Sequence[str]) -> list[_Resource]:
    keys = [store_keys.resource(organization, id_) for id_ in ids]
    records = await read_fields(store, keys, "number", "order_id")
    return [
        _Resource(number is not None or order is not None, (number or b"").decode(), (order or b"").decode())
        for number, order in records
    ]


async def _read_places(store: Store, numbers: Sequence[str]) -> dict[str, _Place]:
    areas: defaultdict[str, list[str]] = defaultdict(list)
    for number in numbers:
        if _NUMBER.fullmatch(number):
            areas[number[2:5]].append(number)
    replies = await store.execute_many(
        [
            command
            for area, group in areas.items()
            for command in (
                ("HMGET", store_keys.unavailable(area), *group),
                ("ZMSCORE", store_keys.available(area), *group),
            )
        ]
    )
    places: dict[str, _Place] = {}
    for group, texts, scores in zip(areas.values(), replies[::2], replies[1::2], strict=True):
        for number, text, score in zip(group, texts, scores, strict=True):
            places[number] = _Place(text, parse_record(text), is_available=score is not None)
    return places


def _unfounded(organization: str, number: str, id_: bytes | None, place: _Place) -> Violation:
    record = place.record
    is_in_use = (
        record is not None
        and record.organization == organization
        and record.state in (NumberState.ASSIGNED, NumberState.HELD)
        and id_ is not None
    )
    return Violation(
        kind=Kind.INDEX_WITHOUT_RESOURCE,
        number=number,
        organization=organization,
        order=record.order if record is not None and is_in_use else None,
        resource=id_.decode() if id_ else None,
        detail="among the organization's numbers, without a resource"
        + (", and its area code has it as the organization's" if is_in_use else ""),
        # To strike it out would take the number from somebody who may well use it.
        repairable=not is_in_use,
    )


def _unearned(order: OrderRef, number: str, trace: Trace) -> list[Violation]:
    """Judge the order by which an organization has a number; one that is forgotten was right in its time."""
    if trace.status not in _STATUSES or (trace.status == OrderStatus.COMPLETE and trace.is_named):
        return []
    kind, detail = Kind.UNEARNED_RESOURCE, f"the organization has it by an order that is {trace.status}"
    if trace.status == OrderStatus.COMPLETE:
        kind, detail = Kind.ORDER_LACKS_NUMBER, "the organization has it by an order that does not name it"
    return [
        Violation(
            kind=kind,
            number=number,
            organization=order.organization,
            order=order.id,
            detail=detail,
            # The organization may well use it.
            repairable=False,
        )
    ]


async def _misplaced(
    store: Store, organization: str, number: str, order: str, place: _Place
) -> Violation | None:
    """Compare an organization's number with what its area code says of it."""
    text, record, is_available = place
    if text is not None and record is None:
        # The audit of the area code names it.
        return None
    if record is not None and record.state in (NumberState.ASSIGNED, NumberState.HELD):
        if (record.organization, record.order) == (organization, order):
            return None
        kind, detail = Kind.RESOURCE_WITHOUT_ASSIGNMENT, f"its area code has it as {_name_of(record)}"
        is_anothers = record.organization != organization and await store.execute(
            "HEXISTS", store_keys.owned(record.organization), number
        )
        if is_anothers:
            kind = Kind.OWNED_TWICE
            detail = f"{record.organization} has it, too, by the order {record.order}"
        repairable = False
    else:
        kind, repairable = Kind.RESOURCE_WITHOUT_ASSIGNMENT, _is_free(place)
        state = record.state if record else "available" if is_available else "not known"
        detail = f"its area code has it as {state}"
    return Violation(
        kind=kind,
        number=number,
        organization=organization,
        order=order,
        detail=detail,
        repairable=repairable and _NUMBER.fullmatch(number) is not None,
    )


def _is_free(place: _Place) -> bool:
    """Tell whether nobody has the number, and nobody else could be using it."""
    if place.record is None:
        return True
    return place.record.state is NumberState.QUARANTINED and not place.is_available


def _name_of(record: Unavailable) -> str:
    return f"{record.state}, {record.organization}'s by the order {record.order}"
