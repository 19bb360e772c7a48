"""A request that carries an Idempotency-Key, as the scripts of an organization know it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared import store_keys

_NO_REQUEST = "none"


class RequestKeyReused(Exception):
    """The Idempotency-Key came before, with another request; nothing was changed."""


class RequestKey(NamedTuple):
    """An Idempotency-Key and what it came with; both as digests."""

    digest: str
    fingerprint: str


def request_key(organization: str, request: RequestKey | None) -> str:
    """Give the key of a request's record; one that is never written when it has no Idempotency-Key."""
    return store_keys.idempotency(organization, request.digest if request else _NO_REQUEST)


def fingerprint_of(request: RequestKey | None) -> str:
    """Give what a script takes as the fingerprint: empty without an Idempotency-Key."""
    return request.fingerprint if request else ""


def first_reply(reply: Sequence[Any]) -> tuple[list[Any], bool]:
    """Give the reply that a request got when it came first, and whether it came before.

    Raises:
        RequestKeyReused: the script refused it.
    """
    if reply[0] == b"reused":
        raise RequestKeyReused
    is_repeated = reply[0] == b"again"
    return list(reply[1:] if is_repeated else reply), is_repeated
