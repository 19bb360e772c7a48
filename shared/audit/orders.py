"""The audit of an organization's open work: orders, and numbers that have still to be moved."""

from collections import Counter
from collections.abc import Iterator, Sequence

from shared import store_keys
from shared.atomic.order_operations import OrderRef
from shared.atomic.resource_operations import read_fields
from shared.audit.look import Look, Progress, absent
from shared.audit.violations import Kind, Violation, when
from shared.chunks import walk_hash, walk_sorted_set
from shared.orders.departures import parse_departure
from shared.orders.records import OrderStatus, order_of

ORDER_KINDS = frozenset(
    {
        Kind.ORDER_WITHOUT_RECORD,
        Kind.MALFORMED_ORDER,
        Kind.ORDER_NOT_LISTED,
        Kind.ORDER_WITHOUT_DUE,
        Kind.LATE_DUE,
        Kind.OVERDUE_ORDER,
        Kind.MISSING_WAITING,
        Kind.STRAY_WAITING,
    }
)
DEPARTURE_KINDS = frozenset(
    {Kind.MALFORMED_DEPARTURE, Kind.DEPARTURE_WITHOUT_DUE, Kind.STRAY_DUE, Kind.OVERDUE_DEPARTURE}
)

_STATUSES = frozenset(OrderStatus)
_FIELDS = (
    "status",
    "quantity",
    "deadline_ms",
    "created_ms",
    "wait_ms",
    "updated_ms",
    "attempt",
    "numbers",
    "number_type",
    "pattern",
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
    yield from _inspect_due(look, fields, due_ms)
    is_open_bulk = status == OrderStatus.PENDING and quantity is not None
    if waits_since is not None and not is_open_bulk:
        yield Kind.STRAY_WAITING, f"among the orders that wait, and it is {status}", True
    if is_open_bulk and deadline_ms == "0" and waits_since is None:
        yield Kind.MISSING_WAITING, "in nobody's hand, and not among the orders that wait", True


def _inspect_due(
    look: Look, fields: list[str | None], due_ms: float | None
) -> Iterator[tuple[Kind, str, bool]]:
    status = fields[0]
    if due_ms is None:
        yield Kind.ORDER_WITHOUT_DUE, f"{status}, and nobody will look at it again", True
    elif look.is_overdue(int(due_ms)):
        yield Kind.OVERDUE_ORDER, f"{status}, and should have been looked at by {when(int(due_ms))}", True
    elif int(due_ms) > max(look.at_ms, _time_to_look(fields, int(due_ms))):
        yield Kind.LATE_DUE, f"{status}, and will not be looked at before {when(int(due_ms))}", True


def _time_to_look(fields: list[str | None], due_ms: int) -> int:
    """Give when somebody has to look at an order, Unix ms: at once at one that is being cancelled.

    One that has ended is only to be forgotten: when is as good as it is.
    """
    status, _, deadline_ms, created_ms, wait_ms, *_ = fields
    if status == OrderStatus.PENDING:
        return int(deadline_ms or 0) or int(created_ms or 0) + int(wait_ms or 0)
    return 0 if status == OrderStatus.CANCELLING else due_ms


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
        text = departure.decode(errors="replace") if departure is not None else None
        found = _inspect_departure(look, text, None if due_ms is None else int(due_ms))
        if found:
            kind, detail, repairable = found
            violations.append(
                Violation(
                    kind=kind,
                    number=number,
                    organization=organization,
                    order=text.split(" ")[0] if text and kind is not Kind.MALFORMED_DEPARTURE else None,
                    detail=detail,
                    repairable=repairable,
                )
            )
    return violations


def _inspect_departure(look: Look, text: str | None, due_ms: int | None) -> tuple[Kind, str, bool] | None:
    if text is None:
        detail = "due to be moved, and nobody knows where to"
        return None if due_ms is None else (Kind.STRAY_DUE, detail, True)
    try:
        target = parse_departure(text).destination.target
    except ValueError:
        return Kind.MALFORMED_DEPARTURE, f"its departure is {text!r:.200}", False
    if due_ms is None:
        return Kind.DEPARTURE_WITHOUT_DUE, f"has to become {target}, and nobody will do it", True
    if look.is_overdue(due_ms):
        return Kind.OVERDUE_DEPARTURE, f"should have become {target} by {when(due_ms)}", True
    return None
