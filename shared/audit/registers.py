"""The audit of what is found by walking all keys: area codes, organizations and records nobody lists."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from shared import store_keys
from shared.audit.look import Look, Progress, absent
from shared.audit.orders import examine_orders
from shared.audit.organizations import examine_resources
from shared.audit.violations import Kind, Violation
from shared.chunks import walk_keys
from shared.store import Store

AREA_KINDS = frozenset({Kind.UNKNOWN_AREA_CODE})
ORGANIZATION_KINDS = frozenset({Kind.UNKNOWN_ORGANIZATION})

_AREA_KEYS = (
    store_keys.available,
    store_keys.unavailable,
    store_keys.timers,
    store_keys.returned,
    store_keys.also_offered,
)
_ORGANIZATION_KEYS = (
    store_keys.orders,
    store_keys.waiting,
    store_keys.numbers,
    store_keys.owned,
    store_keys.departures,
    store_keys.due,
    store_keys.sequence,
    store_keys.api_keys,
)


def _pattern(keys: Sequence[str]) -> re.Pattern[str]:
    """Make a pattern of names of keys in which AREA, NAME and ID stand for what differs."""
    names = "|".join(map(re.escape, keys))
    return re.compile(
        names.replace("AREA", "([0-9]{3})").replace("NAME", "([a-z0-9_-]{1,64})").replace("ID", "(.+)")
    )


_OF_AREA = _pattern([key("AREA") for key in _AREA_KEYS])
_OF_ORGANIZATION = _pattern([key("NAME") for key in _ORGANIZATION_KEYS])
_RESOURCE = _pattern([store_keys.resource("NAME", "ID")])
_ORDER = _pattern([store_keys.order("NAME", "ID")])


class Names(NamedTuple):
    """Who is known, or has keys of its own."""

    area_codes: list[str]
    organizations: list[str]


async def walk_registers(look: Look, progress: Progress) -> tuple[Names, list[Violation]]:
    """Find all area codes and organizations, and name those that nobody knows, and records nobody lists.

    Walks the names of all keys of the store, with `SCAN`. Raises `StoreUnavailable`.
    """
    store = look.store
    areas = await _members(store, store_keys.AREAS)
    organizations = await _members(store, store_keys.ORGANIZATIONS)
    violations: list[Violation] = []
    seen = 0
    async for keys in walk_keys(store):
        areas |= _found(_OF_AREA, keys)
        organizations |= _found(_OF_ORGANIZATION, keys)
        for organization, ids in _by_organization(_RESOURCE, keys).items():
            organizations.add(organization)
            violations += await examine_resources(look, organization, ids)
        for organization, ids in _by_organization(_ORDER, keys).items():
            organizations.add(organization)
            strays = await absent(store, "ZMSCORE", store_keys.orders(organization), ids)
            violations += await examine_orders(look, organization, strays)
        progress("keys", seen := seen + len(keys))
    violations += await examine_area_codes(look, "", sorted(areas))
    violations += await examine_organizations(look, "", sorted(organizations))
    return Names(sorted(areas), sorted(organizations)), violations


async def examine_area_codes(look: Look, _: str, area_codes: Sequence[str]) -> list[Violation]:
    """Name those area codes that are not known; raises `StoreUnavailable`."""
    detail = "has numbers and is not among the area codes: nobody looks there"
    return [
        Violation(kind=Kind.UNKNOWN_AREA_CODE, area_code=area_code, detail=detail, repairable=True)
        for area_code in await _unknown(look.store, store_keys.AREAS, area_codes)
    ]


async def examine_organizations(look: Look, _: str, names: Sequence[str]) -> list[Violation]:
    """Name those organizations that are not known; raises `StoreUnavailable`."""
    detail = "has keys or numbers and is not among the organizations: nobody looks there"
    return [
        Violation(kind=Kind.UNKNOWN_ORGANIZATION, organization=name, detail=detail, repairable=True)
        for name in await _unknown(look.store, store_keys.ORGANIZATIONS, names)
    ]


async def _unknown(store: Store, key: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    known = await store.execute("SMISMEMBER", key, *names)
    return [name for name, is_known in zip(names, known, strict=True) if not is_known]


async def _members(store: Store, key: str) -> set[str]:
    return {name.decode() for name in await store.execute("SMEMBERS", key)}


def _found(pattern: re.Pattern[str], keys: Sequence[str]) -> set[str]:
    matches = (pattern.fullmatch(key) for key in keys)
    return {match[match.lastindex or 0] for match in matches if match}


def _by_organization(pattern: re.Pattern[str], keys: Sequence[str]) -> dict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        if match := pattern.fullmatch(key):
            groups[match[1]].append(match[2])
    return groups
