"""An organization's numbers: the typed wrappers of their scripts; each is its script's only caller."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from shared import store_keys
from shared.atomic.area_operations import Destination
from shared.atomic.order_operations import ORDER_KEPT_MS, OrderRef
from shared.atomic.requests import RequestKey, fingerprint_of, first_reply, request_key
from shared.atomic.script import Script
from shared.store import Store

_CANCEL_ORDER = Script("cancel_order")
_RELEASE_NUMBERS = Script("release_numbers")
_END_DEPARTURES = Script("end_departures")
_PATCH_NUMBER = Script("patch_number")
_READ_FIELDS = Script("read_fields")

_READ_AT_ONCE = 200
"""Hashes that one command reads: some tenths of a millisecond; with 500 it took 2 ms."""


class Cancelled(NamedTuple):
    """What has become of an order that was to be cancelled."""

    status: str
    """`cancelling` or `cancelled`."""
    record: dict[bytes, bytes]
    is_repeated: bool


class NotCancellable(NamedTuple):
    """The order is pending or has failed, or it is too late."""


class Changed(NamedTuple):
    """The order is not what it was when its resources were looked up: look again."""


class Released(NamedTuple):
    """What has become of resources that were to be released."""

    released: list[str]
    unknown: list[str]
    already_released: list[str]
    departures: list[tuple[str, str]]
    """(number, departure): still to be moved in their area codes."""
    is_repeated: bool


class Patched(NamedTuple):
    """A resource after a change."""

    record: dict[bytes, bytes]
    is_repeated: bool


async def cancel_order(
    store: Store,
    order: OrderRef,
    seen_status: str,
    request: RequestKey | None,
    window_ms: int,
    quarantine_ms: int,
    resource_ids: Sequence[str],
) -> Cancelled | NotCancellable | Changed:
    """Take an order's numbers, whose resources were looked up at `seen_status`, from its organization.

    Raises:
        RequestKeyReused: nothing was changed.
    """
    organization = order.organization
    keys = [
        order.key,
        *_resource_indexes(organization),
        store_keys.due(organization),
        store_keys.waiting(organization),
        request_key(organization, request),
        *(store_keys.resource(organization, resource_id) for resource_id in resource_ids),
    ]
    reply = await _CANCEL_ORDER.run(
        store,
        keys,
        order.id,
        seen_status,
        fingerprint_of(request),
        store_keys.IDEMPOTENCY_SECONDS,
        window_ms,
        quarantine_ms,
        ORDER_KEPT_MS,
        store_keys.RELEASED_SECONDS * 1000,
        *resource_ids,
    )
    (tag, *values), is_repeated = first_reply(reply)
    if tag == b"changed":
        return Changed()
    if tag == b"not_cancellable":
        return NotCancellable()
    return Cancelled(tag.decode(), _record(values), is_repeated)


async def release_numbers(
    store: Store,
    organization: str,
    resource_ids: Sequence[str],
    destination: Destination,
    others_after_ms: int,
    request: RequestKey | None,
    *,
    keep_only_a_release: bool,
) -> Released:
    """Take resources from their organization.

    Raises:
        RequestKeyReused: nothing was changed.
    """
    keys = [
        *_resource_indexes(organization),
        store_keys.due(organization),
        request_key(organization, request),
        *(store_keys.resource(organization, resource_id) for resource_id in resource_ids),
    ]
    reply = await _RELEASE_NUMBERS.run(
        store,
        keys,
        fingerprint_of(request),
        store_keys.IDEMPOTENCY_SECONDS,
        *destination,
        others_after_ms,
        store_keys.RELEASED_SECONDS * 1000,
        int(keep_only_a_release),
        *resource_ids,
    )
    lists, is_repeated = first_reply(reply)
    released, unknown, before, moves = ([item.decode() for item in items] for items in lists)
    departures = list(zip(moves[::2], moves[1::2], strict=True))
    return Released(released, unknown, before, departures, is_repeated)


async def end_departures(store: Store, organization: str, departures: Iterable[tuple[str, str]]) -> int:
    """Strike out departures (number, departure) that are done."""
    keys = [store_keys.departures(organization), store_keys.due(organization)]
    ended: int = await _END_DEPARTURES.run(
        store, keys, *(item for departure in departures for item in departure)
    )
    return ended


async def patch_number(
    store: Store, organization: str, resource_id: str, changes: Mapping[str, str], request: RequestKey | None
) -> Patched | None:
    """Change fields of a resource, `""` clears; None when there is no such resource.

    Raises:
        RequestKeyReused: nothing was changed.
    """
    keys = [store_keys.resource(organization, resource_id), request_key(organization, request)]
    flat = [item for change in changes.items() for item in change]
    reply = await _PATCH_NUMBER.run(
        store, keys, fingerprint_of(request), store_keys.IDEMPOTENCY_SECONDS, *flat
    )
    (tag, *values), is_repeated = first_reply(reply)
    return None if tag == b"unknown" else Patched(_record(values), is_repeated)


async def read_fields(store: Store, keys: Sequence[str], *fields: str) -> list[list[bytes | None]]:
    """Read fields of hashes that are all one organization's: one command costs as much as two hashes do."""
    parts = [keys[begin : begin + _READ_AT_ONCE] for begin in range(0, len(keys), _READ_AT_ONCE)]
    runs = [_READ_FIELDS.run(store, list(part), *fields) for part in parts]
    # A page needs one, without a task of its own.
    replies = [await runs[0]] if len(runs) == 1 else await asyncio.gather(*runs)
    return [record for reply in replies for record in reply]


def _resource_indexes(organization: str) -> list[str]:
    return [
        store_keys.numbers(organization),
        store_keys.owned(organization),
        store_keys.released(organization),
        store_keys.departures(organization),
    ]


def _record(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
