"""Whole HTTP requests as bytes, made before anything is timed."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Final

import msgspec

SEARCH_PATH: Final = "/v1/phone-numbers/search"
_ORDER_PATH: Final = "/v1/phone-numbers/orders"
_PAGE_PATH: Final = "/v1/phone-numbers?limit=20"

_DIGITS: Final = "0123456789"


def search(area_code: str | None, pattern: str, quantity: int, secret: str) -> bytes:
    """Return a search for numbers."""
    wanted: dict[str, Any] = {"pattern": pattern, "quantity": quantity}
    if area_code is not None:
        wanted["area_code"] = area_code
    return _request("POST", SEARCH_PATH, secret, msgspec.json.encode(wanted))


def searches(
    count: int, draw: Random, lengths: Sequence[int], area_code: str | None, quantity: int, secret: str
) -> list[bytes]:
    """Return searches with random patterns; all lengths are equally frequent."""
    patterns = ("".join(draw.choices(_DIGITS, k=draw.choice(lengths))) for _ in range(count))
    return [search(area_code, pattern, quantity, secret) for pattern in patterns]


def order(numbers: Iterable[str], secret: str) -> bytes:
    """Return an order of numbers (E.164), without an Idempotency-Key."""
    return _request("POST", _ORDER_PATH, secret, msgspec.json.encode({"numbers": list(numbers)}))


def page(secret: str) -> bytes:
    """Return the request of a page of 20 of the organization's numbers."""
    return _request("GET", _PAGE_PATH, secret)


def _request(method: str, path: str, secret: str, body: bytes | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
