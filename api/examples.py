"""What the routes answer, shown: the examples of the OpenAPI document, true to the types of the answers."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from api.api_key_resource import KeyRequest, KeyView
from api.bulk import BulkOrder, BulkOrderRequest
from api.envelope import Page, PageMeta, Success
from api.inventory_coverage import ConfirmedBy, Coverage
from api.inventory_feeds import SyncRequest
from api.inventory_resource import SyncView, sync_view
from api.number_resource import NumberResource
from api.numbers import NumberChanges, ReleasedNumber, ReleaseReport, ReleaseRequest
from api.orders import OrderRequest, OrderView
from shared.api_keys import Scope
from shared.feeds.profiles import Mode, Profile, Profiles
from shared.feeds.rejects_csv import rejects_csv
from shared.feeds.rows import RejectedRow
from shared.feeds.syncs import Sync, SyncState
from shared.orders.records import OrderStatus
from shared.phone_number import NumberType

_ORDER_ID = "01932c07-2c4f-7000-8000-000000000002"
_ORDERED_AT = datetime(2026, 1, 31, 9, 30, 0, 125_000, UTC)
_CHANGED_AT = datetime(2026, 1, 31, 9, 31, 12, 500_000, UTC)
_NUMBERS = ["+14155550123", "+12125550142"]

_NUMBER = NumberResource(
    id="01932c07-2c4f-7000-8000-000000000001",
    number=_NUMBERS[0],
    number_type=NumberType.LOCAL,
    inbound_url="https://example.com/inbound",
    status_url=None,
    label="Support line",
    campaign_id=None,
    sms_enabled=True,
    mms_enabled=False,
    created_at=_ORDERED_AT,
    updated_at=_ORDERED_AT,
    order_id=_ORDER_ID,
)
_COMPLETE = OrderView(_ORDER_ID, OrderStatus.COMPLETE, _NUMBERS, _ORDERED_AT, _ORDERED_AT)
_CANCELLING = OrderView(_ORDER_ID, OrderStatus.CANCELLING, _NUMBERS, _ORDERED_AT, _CHANGED_AT)
_CANCELLED = OrderView(_ORDER_ID, OrderStatus.CANCELLED, _NUMBERS, _ORDERED_AT, _CHANGED_AT)
_FILLED_AT_ONCE = BulkOrder(None, "complete", 2, 2, 0, 0, _NUMBERS)
_FILLED_LATER = BulkOrder(_ORDER_ID, "complete", 2, 2, 0, 0, _NUMBERS)
_WAITING = BulkOrder(_ORDER_ID, "pending", 2, 0, 2, 0, [])
_REPORT = ReleaseReport([_NUMBER.id], ["01932c07-2c4f-7000-8000-000000000003"], [])
_ONE_PAGE = PageMeta(total=1, limit=20, offset=0, next_cursor=None)


def _sync(state: SyncState, **fields: Any) -> SyncView:
    sync = Sync(
        "01932c07-2c4f-7000-8000-000000000004", "bandwidth", state, _ORDERED_AT, _CHANGED_AT, Mode.SNAPSHOT
    )
    return sync_view(msgspec.structs.replace(sync, **fields), Profiles({}, Profile()))


_COUNTS = {
    "generation": 7,
    "read": 10_000,
    "added": 50,
    "unchanged": 9_940,
    "rejected": 1,
    "duplicate": 9,
    "progress": 100,
}
_QUEUED = Success(data=_sync(SyncState.QUEUED))
_APPLIED = _sync(SyncState.APPLIED, removed=40, protected=2, **_COUNTS)
_COVERAGE = Coverage("415", NumberType.LOCAL, 9_950, 0, 40, 2, 0, [ConfirmedBy("bandwidth", _ORDERED_AT)])
_KEY = KeyView(
    id="01932c07-2c4f-7000-8000-000000000005",
    org_id="acme",
    label="Checkout service",
    prefix="am_live_4fGh",
    scopes=[Scope.NUMBERS_READ, Scope.NUMBERS_WRITE],
    created_at=_ORDERED_AT,
    last_used_at=_CHANGED_AT,
    revoked_at=None,
    expires_at=datetime(2030, 1, 31, 9, 30, tzinfo=UTC),
)
# Its checksum is wrong, so that nobody takes it for a key.
_SECRET = "am_live_4fGhTq0000000000000000000000000000"  # noqa: S105 - an example
_NEW_KEY = msgspec.structs.replace(_KEY, last_used_at=None, plaintext=_SECRET)
_ROTATED_KEY = msgspec.structs.replace(_KEY, plaintext=_SECRET)
_REVOKED_KEY = msgspec.structs.replace(_KEY, revoked_at=_CHANGED_AT)
_PAGE_OF_KEYS = PageMeta(total=1, limit=50, offset=0, next_cursor=None)
_REJECTS = rejects_csv([RejectedRow(17, "has 9 digits, needs 10", "415555012,San Francisco,CA")])

EXAMPLES: Final[dict[str, dict[str, Struct | str]]] = {
    "orderPhoneNumbers": {"200": Success(data=[_NUMBER])},
    "listOrders": {"200": Page(data=[_COMPLETE], meta=_ONE_PAGE)},
    "getOrder": {"200": Success(data=_COMPLETE)},
    "cancelOrder": {"200": Success(data=_CANCELLED), "202": Success(data=_CANCELLING)},
    "orderInBulk": {"200": Success(data=_FILLED_AT_ONCE), "202": Success(data=_WAITING)},
    "getBulkOrder": {"200": Success(data=_FILLED_LATER)},
    "listPhoneNumbers": {"200": Page(data=[_NUMBER], meta=_ONE_PAGE)},
    "getPhoneNumber": {"200": Success(data=_NUMBER)},
    "changePhoneNumber": {"200": Success(data=_NUMBER)},
    "releasePhoneNumber": {"200": Success(data=ReleasedNumber())},
    "releasePhoneNumbers": {"200": Success(data=_REPORT)},
    "createApiKey": {"201": Success(data=_NEW_KEY)},
    "listApiKeys": {"200": Page(data=[_KEY], meta=_PAGE_OF_KEYS)},
    "getApiKey": {"200": Success(data=_KEY)},
    "rotateApiKey": {"200": Success(data=_ROTATED_KEY)},
    "revokeApiKey": {"200": Success(data=_REVOKED_KEY)},
    "startSync": {"202": _QUEUED},
    "uploadFeed": {"202": _QUEUED},
    "listSyncs": {"200": Page(data=[_APPLIED], meta=_ONE_PAGE)},
    "getSync": {"200": Success(data=_APPLIED)},
    "getRejects": {"200": _REJECTS},
    "confirmSync": {"202": Success(data=_sync(SyncState.QUEUED, **_COUNTS))},
    "rollBackSync": {"202": Success(data=_sync(SyncState.QUEUED, **_COUNTS))},
    "getCoverage": {"200": Success(data=[_COVERAGE])},
}
"""Operation id → status → answer; operations that bring their own are not here."""

BAD_BODIES: Final[dict[str, tuple[type[Struct], bytes]]] = {
    "orderPhoneNumbers": (OrderRequest, b'{"numbers": ["+14155550123", "415 555"], "inbound_url": "http:"}'),
    "orderInBulk": (BulkOrderRequest, b'{"quantity": 1001, "mode": "immediate_partial"}'),
    "changePhoneNumber": (NumberChanges, b'{"campaign_id": "", "inbound_url": "ftp://example.com"}'),
    "createApiKey": (KeyRequest, b'{"label": "", "scopes": "numbers:read", "expires_at": "tomorrow"}'),
    "startSync": (SyncRequest, b'{"mode": "full", "dry_run": 1}'),
    "releasePhoneNumbers": (ReleaseRequest, b'{"ids": ["+14155550123"]}'),
}
"""Operation id → the type of its body, and one that is refused: its refusal is the example of a 422."""
