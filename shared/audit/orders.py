"""The audit of an organization's open work: orders, and numbers that have still to be moved."""

from collections import Counter
from collections.abc import Iterator, Sequence

from shared import store_keys
from shared.atomic.order_operations import OrderRef
from shared.atomic.resource_operations import read_fields
from shared.audit.look import Look, Progress, absent
from shared.audit.violations import Kind, Violation, when
from shared.chunks import walk_hash, walk_sorted_set
from shared.orders.records import OrderStatus, order_of

ORDER_KINDS = frozenset(
    {
        Kind.ORDER_WITHOUT_RECORD,
        Kind.MALFORMED_ORDER,
        Kind.ORDER_NOT_LISTED,
        Kind.ORDER_WITHOUT_DUE,
        Kind.OVERDUE_ORDER,
        Kind.MISSING_WAITING,
        Kind.STRAY_WAITING,
    }
)
DEPARTURE_KINDS = frozenset(
    {Kind.MALFORMED_DEPARTURE, Kind.DEPARTURE_WITHOUT_DUE, Kind.STRAY_DUE, Kind.OVERDUE_DEPARTURE}
)

_STATUSES = frozenset(OrderStatus)
_DEPARTURE_PARTS = 4
_FIELDS = (
    "status",
    "quantity",
    "deadline_ms",
    "created_ms",
    "updated_ms",
    "attempt",
    "numbers",
    "number_type",
    "pattern",
    "wait_ms",
)


async def walk_orders(
    look: Look, organization: str, statuses: Counter[str], progress: Progress
) -> list[Violation]:
    """Count an organization's orders into `statuses` and name what is wrong with its open work.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    store = look.store
    orders, departures = store_keys.orders(organization), store_keys.departures(organization)
    violations: list[Violation] = []
    seen = 0
    async for places in walk_sorted_set(store, orders):
        violations += await examine_orders(look, organization, list(places), statuses)
        progress(f"orders of {organization}", seen := seen + len(places))
    for key in (store_keys.due(organization), store_keys.waiting(organization)):
        async for times in walk_sorted_set(store, key):
            ids = [member for member in times if not member.startswith("+")]
            strays = await absent(store, "ZMSCORE", orders, ids)
            violations += await examine_orders(look, organization, strays)
            moves = [member for member in times if member.startswith("+")]
            others = await absent(store, "HMGET", departures, moves)
            violations += await examine_departures(look, organization, others)
    async for moves_of_chunk in walk_hash(store, departures):
        violations += await examine_departures(look, organization, list(moves_of_chunk))
    return violations


async def examine_orders(
    look: Look, organization: str, ids: Sequence[str], statuses: Counter[str] | None = None
) -> list[Violation]:
    """Name what is wrong with orders (at most `CHUNK`); raises `StoreUnavailable`."""
    if not ids:
        return []
    records = await read_fields(look.store, [OrderRef(organization, id_).key for id_ in ids], *_FIELDS)
    listed, due, waiting = await look.store.execute_many(
        [
            ("ZMSCORE", store_keys.orders(organization), *ids),
            ("ZMSCORE", store_keys.due(organization), *ids),
            ("ZMSCORE", store_keys.waiting(organization), *ids),
        ]
    )
    violations: list[Violation] = []
    for id_, record, *places in zip(ids, records, listed, due, waiting, strict=True):
        fields = [None if value is None else value.decode(errors="replace") for value in record]
        if statuses is not None and fields[0] in _STATUSES:
            statuses[fields[0]] += 1
        violations += [
            Violation(kind=kind, organization=organization, order=id_, detail=detail, repairable=repairable)
            for kind, detail, repairable in _inspect(look, fields, places)
        ]
    return violations


def _inspect(
    look: Look, fields: list[str | None], places: list[float | None]
) -> Iterator[tuple[Kind, str, bool]]:
    status, quantity, deadline_ms, *_ = fields
    listed, due_ms, waits_since = places
    if status not in _STATUSES:
        if any(field is not None for field in fields):
            yield Kind.MALFORMED_ORDER, f"its status is {status!r:.40}", False
        elif any(place is not None for place in places):
            indexes = zip(("listed", "due", "waiting"), places, strict=True)
            names = " and ".join(name for name, place in indexes if place is not None)
            yield Kind.ORDER_WITHOUT_RECORD, f"{names}, and there is no such order", True
        return
    if not _can_be_read(fields):
        yield Kind.MALFORMED_ORDER, "it cannot be read", False
        return
    if listed is None:
        yield Kind.ORDER_NOT_LISTED, "not in the list of the organization's orders", True
    if due_ms is None:
        yield Kind.ORDER_WITHOUT_DUE, f"{status}, and nobody will look at it again", True
    elif look.is_overdue(int(due_ms)):
        yield Kind.OVERDUE_ORDER, f"{status}, and should have been looked at by {when(int(due_ms))}", True
    is_open_bulk = status == OrderStatus.PENDING and quantity is not None
    if waits_since is not None and not is_open_bulk:
        yield Kind.STRAY_WAITING, f"among the orders that wait, and it is {status}", True
    if is_open_bulk and deadline_ms == "0" and waits_since is None:
        yield Kind.MISSING_WAITING, "in nobody's hand, and not among the orders that wait", True


def _can_be_read(fields: list[str | None]) -> bool:
    """Tell whether all that reads orders can read this one."""
    record = zip(_FIELDS, fields, strict=True)
    try:
        order_of(
            OrderRef("", ""), {name.encode(): value.encode() for name, value in record if value is not None}
        )
    except (KeyError, ValueError):
        return False
    return True


async def examine_departures(look: Look, organization: str, numbers: Sequence[str]) -> list[Violation]:
    """Name what is wrong with numbers (at most `CHUNK`) on their way out; raises `StoreUnavailable`."""
    if not numbers:
        return []
    departures, due = await look.store.execute_many(
        [
            ("HMGET", store_keys.departures(organization), *numbers),
            ("ZMSCORE", store_keys.due(organization), *numbers),
        ]
    )
    violations: list[Violation] = []
    for number, departure, due_ms in zip(numbers, departures, due, strict=True):
        parts = departure.decode(errors="replace").split(" ") if departure else []
        found = _inspect_departure(look, parts, None if due_ms is None else int(due_ms))
        if found:
            kind, detail, repairable = found
            order = parts[0] if len(parts) == _DEPARTURE_PARTS else None
            violations.append(
                Violation(
                    kind=kind,
                    number=number,
                    organization=organization,
                    order=order,
                    detail=detail,
                    repairable=repairable,
                )
            )
    return violations


def _inspect_departure(look: Look, parts: list[str], due_ms: int | None) -> tuple[Kind, str, bool] | None:
    if parts and (len(parts) != _DEPARTURE_PARTS or not parts[2].isdecimal()):
        return Kind.MALFORMED_DEPARTURE, f"its departure is {' '.join(parts)!r:.200}", False
    if parts and due_ms is None:
        return Kind.DEPARTURE_WITHOUT_DUE, f"has to become {parts[1]}, and nobody will do it", True
    if parts and due_ms is not None and look.is_overdue(due_ms):
        detail = f"should have become {parts[1]} by {when(due_ms)}"
        return Kind.OVERDUE_DEPARTURE, detail, True
    if not parts and due_ms is not None:
        return Kind.STRAY_DUE, "due to be moved, and nobody knows where to", True
    return None
