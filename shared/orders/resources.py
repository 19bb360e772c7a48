"""Number resources: what an organization has, and how it is listed."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from shared import store_keys
from shared.atomic.order_operations import Routing
from shared.atomic.resource_operations import read_fields
from shared.phone_number import NumberType, number_type_of
from shared.store import Store, with_scores

_FIELDS: Final = (
    "number",
    "order_id",
    "features",
    "created_ms",
    "updated_ms",
    "inbound_url",
    "status_url",
    "label",
    "campaign_id",
)
"""Of a resource's record, in the order in which `_resource` takes them."""
_NO_ROUTING: Final = Routing()
_FIELD_BYTES: Final = tuple(field.encode() for field in _FIELDS)
_LOOKED_AT_ONCE = 500
"""Numbers that a filtered list reads at a time."""


class Resource(Struct, frozen=True):
    """A number that an organization has; times are Unix ms."""

    id: str
    number: str
    order_id: str
    features: int
    routing: Routing
    created_ms: int
    updated_ms: int


class Filter(Struct, frozen=True):
    """Which numbers are wanted; None and the empty text want all."""

    number_type: NumberType | None = None
    campaign_id: str | None = None
    search: str = ""
    """Part of the E.164 text."""


class Page(Struct, frozen=True):
    """A part of the list of an organization's numbers, newest first."""

    resources: list[Resource]
    total: int
    """How many the filter lets through, on all pages."""
    next_cursor: int | None
    """Where the next page begins; None after the last."""


async def read_resource(store: Store, organization: str, resource_id: str) -> Resource | None:
    """Give a number of an organization, None when it has none of this id; raises `StoreUnavailable`."""
    record = await store.execute("HGETALL", store_keys.resource(organization, resource_id))
    return resource_of(resource_id, record)


async def list_resources(
    store: Store, organization: str, wanted: Filter, cursor: int | None, limit: int
) -> Page:
    """Give up to `limit` numbers that came before the place `cursor` in the organization's sequence.

    Places never change and are never used twice, so a page begins where the last one ended, whatever has come
    and gone meanwhile. A filter looks at every number: its total is not kept anywhere.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    if wanted == Filter():
        total, flat = await store.execute_many(
            [
                ("ZCARD", store_keys.numbers(organization)),
                _before(organization, cursor, limit + 1),
            ]
        )
        places = with_scores(flat)
    else:
        everything = await _matching(store, organization, wanted)
        total = len(everything)
        places = [(number, place) for number, place in everything if cursor is None or place < cursor]
    chosen = places[:limit]
    resources = await _read_all(store, organization, [number for number, _ in chosen])
    next_cursor = chosen[-1][1] if len(places) > limit else None
    return Page(resources, total, next_cursor)


def _before(organization: str, cursor: int | None, limit: int) -> tuple[str | int, ...]:
    last = "+inf" if cursor is None else f"({cursor}"
    command = ("ZRANGE", store_keys.numbers(organization), last, "-inf", "BYSCORE", "REV")
    return (*command, "LIMIT", 0, limit, "WITHSCORES")


async def _matching(store: Store, organization: str, wanted: Filter) -> list[tuple[bytes, int]]:
    """Give the numbers that a filter lets through, with their places, newest first."""
    matching: list[tuple[bytes, int]] = []
    cursor: int | None = None
    while True:
        places = with_scores(await store.execute(*_before(organization, cursor, _LOOKED_AT_ONCE)))
        likely = [place for place in places if _may_match(place[0].decode(), wanted)]
        matching += await _of_campaign(store, organization, likely, wanted.campaign_id)
        if len(places) < _LOOKED_AT_ONCE:
            return matching
        cursor = places[-1][1]


def _may_match(number: str, wanted: Filter) -> bool:
    has_type = wanted.number_type is None or number_type_of(number[2:5]) is wanted.number_type
    return has_type and wanted.search in number


async def _of_campaign(
    store: Store, organization: str, places: list[tuple[bytes, int]], campaign_id: str | None
) -> list[tuple[bytes, int]]:
    if campaign_id is None or not places:
        return places
    ids = await store.execute("HMGET", store_keys.owned(organization), *(number for number, _ in places))
    keys = [store_keys.resource(organization, (resource_id or b"").decode()) for resource_id in ids]
    campaigns = await read_fields(store, keys, "campaign_id")
    wanted = campaign_id.encode()
    return [place for place, [campaign] in zip(places, campaigns, strict=True) if campaign == wanted]


async def _read_all(store: Store, organization: str, numbers: list[bytes]) -> list[Resource]:
    """Give the resources of numbers; one that was released this moment is left out."""
    if not numbers:
        return []
    ids = await store.execute("HMGET", store_keys.owned(organization), *numbers)
    known = [resource_id.decode() for resource_id in ids if resource_id]
    if not known:
        return []
    keys = [store_keys.resource(organization, resource_id) for resource_id in known]
    records = await read_fields(store, keys, *_FIELDS)
    resources = [_resource(resource_id, values) for resource_id, values in zip(known, records, strict=True)]
    return [resource for resource in resources if resource is not None]


def resource_of(resource_id: str, record: dict[bytes, bytes]) -> Resource | None:
    """Return the resource of a record; None when it is empty."""
    return _resource(resource_id, [record.get(field) for field in _FIELD_BYTES])


def _resource(resource_id: str, values: Sequence[Any]) -> Resource | None:
    """Return the resource with these values of `_FIELDS`; None when it has none of them."""
    number, order_id, features, created_ms, updated_ms, *routing = values
    if number is None and not any(values):
        return None
    return Resource(
        resource_id,
        number.decode(),
        order_id.decode(),
        int(features),
        _routing(routing),
        int(created_ms),
        int(updated_ms),
    )


def _routing(values: list[bytes | None]) -> Routing:
    if values.count(None) == len(values):
        return _NO_ROUTING
    return Routing(*[None if value is None else value.decode() for value in values])
