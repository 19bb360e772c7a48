"""The audit of one area code: each number in one state, with all that belongs to this state and no more."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple, Protocol

from shared import store_keys
from shared.atomic.area_operations import NumberState, Unavailable, parse_record
from shared.atomic.order_operations import OrderRef
from shared.audit.look import HOLD_AT_MOST_MS, QUARANTINE_AT_MOST_MS, Look, Progress, absent
from shared.audit.violations import Kind, Violation, when
from shared.chunks import walk_hash, walk_sorted_set
from shared.number_states import StateCounter, StateCounts
from shared.orders.records import OrderStatus
from shared.stock_score import KEPT, attributes_of, carrier_of, local_of
from shared.store import Store

KINDS = frozenset(
    {
        Kind.FOREIGN_NUMBER,
        Kind.MALFORMED_RECORD,
        Kind.WRONG_SCORE,
        Kind.NOT_OFFERED,
        Kind.TWO_STATES,
        Kind.OVERDUE_HOLD,
        Kind.OVERDUE_QUARANTINE,
        Kind.MISSING_TIMER,
        Kind.STRAY_TIMER,
        Kind.MISSING_RETURN,
        Kind.STRAY_RETURN,
        Kind.STRAY_OFFER,
        Kind.ASSIGNED_WITHOUT_RESOURCE,
        Kind.LATE_TIMER,
        Kind.HALF_ORDER,
    }
)

_NUMBER = re.compile(r"\+1[0-9]{10}")
_LOCAL_DIGITS = 7
_TIMED = {NumberState.HELD: HOLD_AT_MOST_MS, NumberState.QUARANTINED: QUARANTINE_AT_MOST_MS}
"""States that end, and how long they last at most."""
_COMMITTED = (OrderStatus.COMPLETE, OrderStatus.CANCELLING)
"""Of an order that is cancelled all numbers have been moved: what it holds is due to be given back."""


class _Known(NamedTuple):
    """All that an area code says of one number."""

    number: str
    text: bytes | None
    score: int | None
    timer_ms: int | None
    listable_ms: int | None
    offers: bytes | None


class _Wrong(Protocol):
    """Makes a violation of the number that is being inspected."""

    def __call__(self, kind: Kind, detail: str, *, repairable: bool) -> Violation: ...


async def walk_area(
    look: Look, area_code: str, *, thorough: bool, progress: Progress
) -> tuple[StateCounts, list[Violation]]:
    """Count the numbers of an area code and name what is wrong with them.

    Available numbers are counted and not read, unless `thorough`: what could be wrong with them is seen from
    the other side. Raises `StoreUnavailable`.
    """
    store = look.store
    counter = StateCounter(await store.execute("ZCARD", store_keys.available(area_code)))
    violations: list[Violation] = []
    seen = 0
    async for records in walk_hash(store, store_keys.unavailable(area_code)):
        counter.add(records.values())
        violations += await examine_numbers(look, area_code, list(records))
        progress(f"area code {area_code}", seen := seen + len(records))
    async for others in _without_record(store, area_code):
        violations += await examine_numbers(look, area_code, others)
        progress(f"area code {area_code}", seen := seen + len(others))
    if thorough:
        async for scores in walk_sorted_set(store, store_keys.available(area_code)):
            suspicious = [number for number in scores if _is_suspicious(area_code, number, scores[number])]
            violations += await examine_numbers(look, area_code, suspicious)
            progress(f"area code {area_code}", seen := seen + len(scores))
    return counter.counts(), violations


async def examine_numbers(look: Look, area_code: str, numbers: Sequence[str]) -> list[Violation]:
    """Name what is wrong with these numbers (at most `CHUNK`); raises `StoreUnavailable`."""
    if not numbers:
        return []
    violations: list[Violation] = []
    claims: list[tuple[_Known, Unavailable]] = []
    for known in await _read(look.store, area_code, numbers):
        record = parse_record(known.text)
        violations += _inspect(look, area_code, known, record)
        if (
            record
            and _is_of(area_code, known.number)
            and record.state in (NumberState.ASSIGNED, NumberState.HELD)
        ):
            claims.append((known, record))
    return violations + await _examine_claims(look, area_code, claims)


async def _without_record(store: Store, area_code: str) -> AsyncIterator[list[str]]:
    """Give the numbers that have a timer, a time or a further offer, and no record."""
    unavailable = store_keys.unavailable(area_code)
    for key in (store_keys.timers(area_code), store_keys.returned(area_code)):
        async for times in walk_sorted_set(store, key):
            yield await absent(store, "HMGET", unavailable, list(times))
    async for offers in walk_hash(store, store_keys.also_offered(area_code)):
        yield await absent(store, "ZMSCORE", store_keys.available(area_code), list(offers))


def _is_of(area_code: str, number: str) -> bool:
    return number.startswith(f"+1{area_code}") and _NUMBER.fullmatch(number) is not None


def _is_suspicious(area_code: str, number: str, score: int) -> bool:
    return number != f"+1{area_code}{local_of(score):07}" or not _may_be_available(score)


def _may_be_available(score: int) -> bool:
    attributes = attributes_of(score)
    return carrier_of(attributes) > 0 or attributes & KEPT != 0


async def _read(store: Store, area_code: str, numbers: Sequence[str]) -> list[_Known]:
    texts, scores, timers, times, offers = await store.execute_many(
        [
            ("HMGET", store_keys.unavailable(area_code), *numbers),
            ("ZMSCORE", store_keys.available(area_code), *numbers),
            ("ZMSCORE", store_keys.timers(area_code), *numbers),
            ("ZMSCORE", store_keys.returned(area_code), *numbers),
            ("HMGET", store_keys.also_offered(area_code), *numbers),
        ]
    )
    columns = zip(
        numbers, texts, map(_whole, scores), map(_whole, timers), map(_whole, times), offers, strict=True
    )
    return [_Known(*row) for row in columns]


def _whole(score: float | None) -> int | None:
    return None if score is None else int(score)


def _inspect(look: Look, area_code: str, known: _Known, record: Unavailable | None) -> Iterator[Violation]:
    """Name what can be told from the area code alone."""

    def wrong(kind: Kind, detail: str, *, repairable: bool) -> Violation:
        return Violation(
            kind=kind,
            number=known.number,
            area_code=area_code,
            organization=record.organization if record else None,
            order=record.order if record else None,
            detail=detail,
            repairable=repairable,
        )

    if not _is_of(area_code, known.number):
        if any(value is not None for value in known[1:]):
            yield wrong(Kind.FOREIGN_NUMBER, f"no number of the area code {area_code}", repairable=False)
        return
    if known.text is not None and record is None:
        text = known.text.decode(errors="replace")
        yield wrong(Kind.MALFORMED_RECORD, f"its record is {text!r:.200}", repairable=False)
        return
    yield from _inspect_score(known, record, wrong)
    state = record.state if record else None
    yield from _inspect_times(look, known, state, wrong)
    if known.offers is not None and known.score is None and state is None:
        detail = f"further offers {known.offers.decode(errors='replace')} of a number that is not known"
        yield wrong(Kind.STRAY_OFFER, detail, repairable=False)


def _inspect_score(known: _Known, record: Unavailable | None, wrong: _Wrong) -> Iterator[Violation]:
    if known.score is None:
        return
    place = local_of(known.score)
    if place != int(known.number[-_LOCAL_DIGITS:]):
        yield wrong(Kind.WRONG_SCORE, f"its score {known.score} is that of {place:07}", repairable=False)
    if record is not None:
        yield wrong(Kind.TWO_STATES, f"available and {record.state}", repairable=True)
    elif not _may_be_available(known.score):
        detail = "available, though no carrier offers it and it is not ours to keep"
        yield wrong(Kind.NOT_OFFERED, detail, repairable=True)


def _inspect_times(
    look: Look, known: _Known, state: NumberState | None, wrong: _Wrong
) -> Iterator[Violation]:
    timer_ms, listable_ms = known.timer_ms, known.listable_ms
    named = state or ("not known" if known.score is None else "available")
    if state not in _TIMED and timer_ms is not None:
        yield wrong(Kind.STRAY_TIMER, f"a timer, and it is {named}", repairable=True)
    if state in _TIMED and timer_ms is None:
        yield wrong(Kind.MISSING_TIMER, f"{state} without a timer", repairable=True)
    if state in _TIMED and timer_ms is not None and timer_ms > look.at_ms + _TIMED[state]:
        yield wrong(Kind.LATE_TIMER, f"{state} until {when(timer_ms)}", repairable=True)
    if state is NumberState.QUARANTINED and timer_ms is not None and look.is_overdue(timer_ms):
        yield wrong(Kind.OVERDUE_QUARANTINE, f"its quarantine was over at {when(timer_ms)}", repairable=True)
    if state is NumberState.RETURNED and listable_ms is None:
        detail = "returned without the time from which a feed may list it anew"
        yield wrong(Kind.MISSING_RETURN, detail, repairable=True)
    if state is not NumberState.RETURNED and listable_ms is not None:
        detail = f"a time from which a feed may list it anew, and it is {named}"
        yield wrong(Kind.STRAY_RETURN, detail, repairable=True)


async def _examine_claims(
    look: Look, area_code: str, claims: Sequence[tuple[_Known, Unavailable]]
) -> list[Violation]:
    """Ask the organizations about the numbers that are held or assigned."""
    groups: defaultdict[str, list[tuple[_Known, Unavailable]]] = defaultdict(list)
    for known, record in claims:
        groups[record.organization].append((known, record))
    violations: list[Violation] = []
    for organization, group in groups.items():
        numbers = [known.number for known, _ in group]
        held = {record.order for _, record in group if record.state is NumberState.HELD}
        # The resource first: it goes in the step that writes the departure.
        owned, departures, *orders = await look.store.execute_many(
            [
                ("HMGET", store_keys.owned(organization), *numbers),
                ("HMGET", store_keys.departures(organization), *numbers),
                *(
                    ("HMGET", OrderRef(organization, order).key, "status", "deadline_ms", "numbers")
                    for order in held
                ),
            ]
        )
        stands = dict(zip(held, orders, strict=True))
        for (known, record), resource, departure in zip(group, owned, departures, strict=True):
            has_departed = departure is not None and departure.startswith(f"{record.order} ".encode())
            has_lost_it = resource is None and not has_departed
            found = _judge_claim(look, known, record, stands.get(record.order), has_lost_it=has_lost_it)
            if found:
                kind, detail = found
                violation = Violation(
                    kind=kind,
                    number=known.number,
                    area_code=area_code,
                    organization=organization,
                    order=record.order,
                    detail=detail,
                    repairable=True,
                )
                violations.append(violation)
    return violations


def _judge_claim(
    look: Look,
    known: _Known,
    record: Unavailable,
    order: list[bytes | None] | None,
    *,
    has_lost_it: bool,
) -> tuple[Kind, str] | None:
    if record.state is NumberState.ASSIGNED:
        detail = "assigned to an organization that does not have it"
        return (Kind.ASSIGNED_WITHOUT_RESOURCE, detail) if has_lost_it else None
    status = (order[0] or b"").decode() if order else ""
    deadline_ms = int(order[1] or 0) if order else 0
    is_in_hand = status == OrderStatus.PENDING and deadline_ms > look.at_ms
    if known.timer_ms is not None and look.is_overdue(known.timer_ms) and not is_in_hand:
        return Kind.OVERDUE_HOLD, f"its hold was over at {when(known.timer_ms)}"
    numbers = (order[2] or b"").decode().split() if order else ()
    if status in _COMMITTED and known.number in numbers and has_lost_it:
        return Kind.HALF_ORDER, f"held for an order that is {status}, and its organization does not have it"
    return None
