"""What an answer has to look like."""

import re
from typing import Any

import httpx

SEARCH = "/v1/phone-numbers/search"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")

MESSAGES = {
    400: ("INVALID_INPUT", "invalid input"),
    401: ("UNAUTHORIZED", "authentication failed"),
    403: ("FORBIDDEN", "missing required scope"),
    404: ("NOT_FOUND", "not found"),
    405: ("METHOD_NOT_ALLOWED", "method not allowed"),
    413: ("PAYLOAD_TOO_LARGE", "payload too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "unsupported media type"),
    422: ("VALIDATION_FAILED", "validation failed"),
    500: ("INTERNAL_ERROR", "internal error"),
    503: ("UNAVAILABLE", "internal error"),
}


def assert_error(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check the whole shape of an error of this status, and give its `error`."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "request_id"} | ({"details"} if status == 422 else set())
    assert (error["code"], error["message"]) == MESSAGES[status]
    assert ULID.fullmatch(error["request_id"])
    assert response.headers.get_list("x-request-id") == [error["request_id"]]
    return error


def found(response: httpx.Response) -> list[str]:
    """Check the whole shape of a search that succeeded, and give its numbers."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"success", "data"}
    assert body["success"] is True
    toll_free = ("+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888")
    for item in body["data"]:
        assert set(item) == {"number", "number_type"}
        assert re.fullmatch(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", item["number"])
        assert item["number_type"] == ("toll_free" if item["number"].startswith(toll_free) else "local")
    numbers = [item["number"] for item in body["data"]]
    assert numbers == sorted(set(numbers))
    return numbers
