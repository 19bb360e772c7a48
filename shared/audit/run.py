"""The audit: counts every state, and names what is wrong and stays wrong.

Everything moves while it looks, and it stops nobody: what looks wrong may be half of something that is being
done. So it is a suspect first, which is looked at again at once, and once more when every order that was in
somebody's hand and every step of the worker's has had its time. Only what is still wrong in the very same way
is a violation.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from shared.audit import areas, order_events, orders, organizations, registers
from shared.audit.look import Look, Progress, begin_look, no_progress
from shared.audit.violations import Kind, Violation
from shared.chunks import chunks
from shared.number_states import StateCounts, total_of
from shared.orders.records import OrderStatus
from shared.settings import Settings
from shared.store import Store

Examine = Callable[[Look, str, Sequence[str]], Awaitable[list[Violation]]]
Announce = Callable[[int, float], None]
"""Is told how many suspects will be looked at again, and in how many seconds."""

_TARGETS: tuple[tuple[frozenset[Kind], Examine, str, str], ...] = (
    (registers.AREA_KINDS, registers.examine_area_codes, "", "area_code"),
    (registers.ORGANIZATION_KINDS, registers.examine_organizations, "", "organization"),
    (areas.KINDS, areas.examine_numbers, "area_code", "number"),
    (organizations.NUMBER_KINDS, organizations.examine_owned, "organization", "number"),
    (organizations.RESOURCE_KINDS, organizations.examine_resources, "organization", "resource"),
    (orders.ORDER_KINDS, orders.examine_orders, "organization", "order"),
    (orders.DEPARTURE_KINDS, orders.examine_departures, "organization", "number"),
    (order_events.KINDS, order_events.examine_order_events, "", "detail"),
)
"""Who looks again at which kinds: the fields that say where, and at what."""


class Counts(Struct, frozen=True):
    """How much there is of everything."""

    available: int
    held: int
    assigned: int
    quarantined: int
    returned: int
    resources: int
    """Numbers that organizations have."""
    orders: dict[str, int]
    """By status."""


class Report(Struct, frozen=True):
    """What an audit has found."""

    counts: Counts
    area_codes: dict[str, StateCounts]
    violations: list[Violation]
    suspects: int
    """How many looked wrong, and were looked at again after a while."""
    clean: bool


async def audit(
    store: Store,
    settings: Settings,
    *,
    thorough: bool = False,
    announce: Announce = lambda _suspects, _seconds: None,
    progress: Progress = no_progress,
) -> Report:
    """Count everything and name what is wrong; `thorough` reads every available number, too.

    Answers at once when nothing is suspect. It reads in chunks, a violation is what it remembers, and it
    writes nothing.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    counts, area_codes, found = await _look_at_all(
        await begin_look(store, settings), thorough=thorough, progress=progress
    )
    suspects = await look_again(store, settings, found)
    violations = suspects
    if suspects:
        seconds = settings.hold_seconds + settings.sweep_seconds
        announce(len(suspects), seconds)
        await asyncio.sleep(seconds)
        violations = await look_again(store, settings, suspects)
    return Report(counts, area_codes, _in_order(violations), len(suspects), clean=not violations)


async def look_again(store: Store, settings: Settings, suspects: Iterable[Violation]) -> set[Violation]:
    """Give those suspects that are still wrong in the very same way; raises `StoreUnavailable`."""
    expected = set(suspects)
    look = await begin_look(store, settings)
    groups: defaultdict[tuple[Examine, str], set[str]] = defaultdict(set)
    for suspect in expected:
        examine, place, name = _target_of(suspect)
        groups[examine, place].add(name)
    found: list[Violation] = []
    for (examine, place), names in groups.items():
        for chunk in chunks(sorted(names)):
            found += await examine(look, place, chunk)
    return expected & _put_together(found)


def _target_of(suspect: Violation) -> tuple[Examine, str, str]:
    for kinds, examine, place, name in _TARGETS:
        if suspect.kind in kinds:
            return examine, getattr(suspect, place) if place else "", getattr(suspect, name)
    raise AssertionError(suspect.kind)


async def _look_at_all(
    look: Look, *, thorough: bool, progress: Progress
) -> tuple[Counts, dict[str, StateCounts], set[Violation]]:
    names, violations = await registers.walk_registers(look, progress)
    area_codes: dict[str, StateCounts] = {}
    for area_code in names.area_codes:
        area_codes[area_code], found = await areas.walk_area(
            look, area_code, thorough=thorough, progress=progress
        )
        violations += found
    resources = 0
    statuses = Counter(dict.fromkeys(map(str, OrderStatus), 0))
    for organization in names.organizations:
        owned, found = await organizations.walk_numbers(look, organization, progress)
        resources += owned
        violations += found
        violations += await orders.walk_orders(look, organization, statuses, progress)
    violations += await order_events.examine_order_events(look)
    total = msgspec.structs.asdict(total_of(area_codes.values()))
    counts = Counts(**total, resources=resources, orders=dict(statuses))
    return counts, area_codes, _put_together(violations)


def _put_together(found: Iterable[Violation]) -> set[Violation]:
    """Name once what is seen from two sides."""
    violations = set(found)
    unlisted = {
        (violation.organization, violation.number)
        for violation in violations
        if violation.kind is Kind.RESOURCE_NOT_INDEXED
    }
    owners: defaultdict[str | None, set[str | None]] = defaultdict(set)
    for violation in violations:
        if violation.kind is Kind.RESOURCE_WITHOUT_ASSIGNMENT:
            owners[violation.number].add(violation.organization)
    result = set()
    for violation in violations:
        if _follows_from_a_list(violation) and (violation.organization, violation.number) in unlisted:
            continue
        others = owners[violation.number] - {violation.organization}
        if violation.kind is Kind.RESOURCE_WITHOUT_ASSIGNMENT and others:
            detail = f"{', '.join(sorted(map(str, others)))} has it, too; {violation.detail}"
            result.add(
                msgspec.structs.replace(violation, kind=Kind.OWNED_TWICE, detail=detail, repairable=False)
            )
        else:
            result.add(violation)
    return result


def _follows_from_a_list(violation: Violation) -> bool:
    """Tell whether it would be no violation if the organization's lists showed what it has."""
    if violation.kind is Kind.INDEX_WITHOUT_RESOURCE:
        return violation.resource is None
    return violation.kind in (Kind.ASSIGNED_WITHOUT_RESOURCE, Kind.HALF_ORDER)


def _in_order(violations: Iterable[Violation]) -> list[Violation]:
    kinds = list(Kind)
    return sorted(
        violations,
        key=lambda violation: (
            kinds.index(violation.kind),
            violation.area_code or "",
            violation.organization or "",
            violation.number or violation.order or "",
            violation.detail,
        ),
    )
