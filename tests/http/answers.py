"""What an answer has to look like."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

SEARCH = "/v1/phone-numbers/search"
ORDERS = "/v1/phone-numbers/orders"
BULK = "/v1/phone-numbers/bulk"
NUMBERS = "/v1/phone-numbers"
RELEASE = "/v1/phone-numbers/bulk/release"
FEEDS = "/v1/inventory/feeds"
SYNCS = "/v1/inventory/syncs"
COVERAGE = "/v1/inventory/coverage"
API_KEYS = "/v1/api-keys"

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")

MESSAGES = {
    400: ("INVALID_INPUT", "invalid input"),
    401: ("UNAUTHORIZED", "authentication failed"),
    403: ("FORBIDDEN", "missing required scope"),
    404: ("NOT_FOUND", "not found"),
    405: ("METHOD_NOT_ALLOWED", "method not allowed"),
    408: ("REQUEST_TIMEOUT", "request timeout"),
    413: ("PAYLOAD_TOO_LARGE", "payload too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "unsupported media type"),
    422: ("VALIDATION_FAILED", "validation failed"),
    429: ("RATE_LIMITED", "rate limited"),
    500: ("INTERNAL_ERROR", "internal error"),
    503: ("UNAVAILABLE", "internal error"),
}
MORE_MESSAGES = {
    "INSUFFICIENT_INVENTORY": (409, "insufficient inventory"),
    "ORDER_NOT_CANCELLABLE": (409, "order cannot be cancelled"),
    "IDEMPOTENCY_IN_PROGRESS": (409, "request in progress"),
    "SYNC_NOT_WAITING": (409, "sync is not waiting"),
    "SYNC_NOT_APPLIED": (409, "sync cannot be rolled back"),
    "API_KEY_LIMIT": (409, "too many api keys"),
    "API_KEY_NOT_LIVE": (409, "api key is not live"),
    "IDEMPOTENCY_KEY_REUSED": (422, "idempotency key reused"),
}
CODES = {code: (status, message) for status, (code, message) in MESSAGES.items()} | MORE_MESSAGES
"""Code → the status and the message that belong to it."""

ROUTING = ("inbound_url", "status_url", "label", "campaign_id")


def new_client(url: str, secret: str | None = None) -> httpx.Client:
    """Give a client of the service at `url`, with a key or without.

    It uses no connection twice: Granian closes one whose request it has not read to its end, and may do so
    just as the next request comes.
    """
    return httpx.Client(
        base_url=url,
        headers={} if secret is None else {"Authorization": f"Bearer {secret}"},
        timeout=20,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def assert_error(
    response: httpx.Response, status: int, code: str | None = None, *, has_details: bool | None = None
) -> dict[str, Any]:
    """Check the whole shape of an error of this status, and give its `error`.

    Without a `code` it is the one that most errors of the status have; without `has_details` it has them when
    it is VALIDATION_FAILED.
    """
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    code = code or MESSAGES[status][0]
    if has_details is None:
        has_details = code == "VALIDATION_FAILED"
    body: dict[str, Any] = response.json()
    assert set(body) == {"success", "error"} | ({"data"} if code == "INSUFFICIENT_INVENTORY" else set())
    assert body["success"] is False
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "request_id"} | ({"details"} if has_details else set())
    assert (error["code"], status, error["message"]) == (code, *CODES[code])
    assert ULID.fullmatch(error["request_id"])
    assert response.headers.get_list("x-request-id") == [error["request_id"]]
    return error


def assert_invalid(response: httpx.Response, **details: str) -> None:
    """Check that exactly these fields are named, each with its phrase."""
    assert assert_error(response, 422)["details"] == details


def assert_alike(one: httpx.Response, other: httpx.Response) -> None:
    """Check that two answers differ in their request ids only."""
    assert one.status_code == other.status_code
    assert one.text.replace(one.headers["x-request-id"], "") == other.text.replace(
        other.headers["x-request-id"], ""
    )
    # Granian closes a connection whose request it has not read to its end, which is a matter of timing.
    own = ("x-request-id", "date", "connection")
    assert [item for item in one.headers.items() if item[0] not in own] == [
        item for item in other.headers.items() if item[0] not in own
    ]


def succeeded(response: httpx.Response, status: int = 200) -> Any:
    """Check the envelope of a success, and give its `data`."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    [request_id] = response.headers.get_list("x-request-id")
    assert ULID.fullmatch(request_id)
    body = response.json()
    assert set(body) == {"success", "data"}
    assert body["success"] is True
    return body["data"]


def found(response: httpx.Response) -> list[str]:
    """Check the whole shape of a search that succeeded, and give its numbers."""
    data = succeeded(response)
    for item in data:
        assert set(item) == {"number", "number_type"}
        assert re.fullmatch(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", item["number"])
        assert item["number_type"] == type_of(item["number"])
    numbers = [item["number"] for item in data]
    assert numbers == sorted(set(numbers))
    return numbers


def type_of(number: str) -> str:
    """Give the type that belongs to an area code."""
    toll_free = ("+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888")
    return "toll_free" if number.startswith(toll_free) else "local"


def assert_resource(resource: dict[str, Any]) -> None:
    """Check the whole shape of a number that an organization has."""
    assert list(resource) == [
        *("id", "number", "number_type", *ROUTING, "sms_enabled", "mms_enabled"),
        *("created_at", "updated_at", "order_id"),
    ]
    assert UUID7.fullmatch(resource["id"])
    assert UUID7.fullmatch(resource["order_id"])
    assert resource["number_type"] == type_of(resource["number"])
    assert all(resource[field] is None or isinstance(resource[field], str) for field in ROUTING)
    assert isinstance(resource["sms_enabled"], bool)
    assert isinstance(resource["mms_enabled"], bool)
    assert_times(resource)


def assert_times(resource: dict[str, Any]) -> None:
    """Check that both times are RFC 3339 in UTC with `Z`, that they follow each other, and are no guess."""
    assert TIME.fullmatch(resource["created_at"])
    assert TIME.fullmatch(resource["updated_at"])
    assert resource["created_at"] <= resource["updated_at"]
    age = datetime.now(UTC) - datetime.fromisoformat(resource["updated_at"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=10)


def ordered(response: httpx.Response) -> list[dict[str, Any]]:
    """Check the whole shape of an order that was filled, and give its numbers' resources."""
    resources: list[dict[str, Any]] = succeeded(response)
    for resource in resources:
        assert_resource(resource)
        assert response.headers["location"] == f"{ORDERS}/{resource['order_id']}"
    return resources


def bulk_order(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """Check the whole shape of a bulk order, and give it."""
    order: dict[str, Any] = succeeded(response, status)
    assert list(order) == [
        *("order_id", "status", "quantity", "assigned_count", "pending_count", "failed_count"),
        "assigned_numbers",
    ]
    assert order["order_id"] is None or UUID7.fullmatch(order["order_id"])
    counts = order["assigned_count"], order["pending_count"], order["failed_count"]
    assert sum(counts) == order["quantity"]
    assert sum(map(bool, counts)) == 1
    assert len(set(order["assigned_numbers"])) == len(order["assigned_numbers"]) == counts[0]
    return order


def paged(response: httpx.Response, limit: int = 20) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Check the whole shape of a page, and give its data and its `meta`."""
    assert response.status_code == 200, response.text
    body = response.json()
    assert list(body) == ["success", "data", "meta"]
    assert body["success"] is True
    meta: dict[str, Any] = body["meta"]
    assert list(meta) == ["total", "limit", "offset", "next_cursor"]
    assert (meta["limit"], meta["offset"]) == (limit, 0)
    assert meta["next_cursor"] is None or isinstance(meta["next_cursor"], str)
    assert len(body["data"]) <= limit
    return body["data"], meta
