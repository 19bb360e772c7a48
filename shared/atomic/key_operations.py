"""API keys: the typed wrappers of their scripts; each is its script's only caller."""

from collections.abc import Sequence
from typing import NamedTuple

from shared import store_keys
from shared.atomic.requests import RequestKey, request_key
from shared.atomic.script import Script
from shared.store import Store

_CREATE_KEY = Script("create_key")
_ROTATE_KEY = Script("rotate_key")
_REVOKE_KEY = Script("revoke_key")
_NOTE_KEY_USES = Script("note_key_uses")


class Attempt(NamedTuple):
    """An attempt at a request with an Idempotency-Key, which has it in hand until its deadline."""

    request: RequestKey
    deadline: bytes


class Actor(NamedTuple):
    """Who changes keys, as the organization's stream of events has it."""

    by: str
    """The id of an API key, or `command line`."""
    request_id: str = ""
    attempt: Attempt | None = None
    """What has no other attempt to fear has none."""


class Written(NamedTuple):
    """A key's record, JSON, and the digest that does not serve any more; empty without one."""

    record: bytes
    dead_digest: str


class Revoked(NamedTuple):
    """A key's record, JSON, and whether it was revoked just now and not before."""

    record: bytes
    is_news: bool


class KeysAreFull(Exception):
    """The organization has as many keys as it may have, and all are live; nothing was changed."""


class KeyIsDead(Exception):
    """The key is revoked or expired; nothing was changed."""


class TakenOver(Exception):
    """Another attempt has the request in hand, and its secret is the one that counts; nothing was changed."""


async def create_key(
    store: Store, organization: str, key_id: str, record: bytes, most: int, actor: Actor
) -> Written:
    """List a key; one that is listed already gets the new digest.

    Raises:
        KeysAreFull: nothing was changed.
        TakenOver: nothing was changed.
    """
    keys = [
        store_keys.api_keys(organization),
        store_keys.api_key_uses(organization),
        store_keys.api_key_events(organization),
        _attempt_key(organization, actor),
    ]
    reply = await _CREATE_KEY.run(
        store, keys, key_id, record, most, actor.by, actor.request_id, _deadline(actor)
    )
    if reply == [b"full"]:
        raise KeysAreFull
    return _written(reply)


async def rotate_key(
    store: Store, organization: str, key_id: str, digest: str, prefix: str, actor: Actor
) -> Written | None:
    """Give a key another secret; None when it is not known.

    Raises:
        KeyIsDead: nothing was changed.
        TakenOver: nothing was changed.
    """
    keys = [
        store_keys.api_keys(organization),
        store_keys.api_key_events(organization),
        _attempt_key(organization, actor),
    ]
    told = (actor.by, actor.request_id, store_keys.API_KEYS_CHANGED)
    reply = await _ROTATE_KEY.run(store, keys, key_id, digest, prefix, *told, _deadline(actor))
    if reply == [b"dead"]:
        raise KeyIsDead
    return None if reply == [b"unknown"] else _written(reply)


async def revoke_key(store: Store, organization: str, key_id: str, actor: Actor) -> Revoked | None:
    """End a key; None when it is not known."""
    keys = [store_keys.api_keys(organization), store_keys.api_key_events(organization)]
    told = (actor.by, actor.request_id, store_keys.API_KEYS_CHANGED)
    reply = await _REVOKE_KEY.run(store, keys, key_id, *told)
    return None if reply is None else Revoked(reply[0], bool(reply[1]))


async def note_key_uses(store: Store, organization: str, uses: Sequence[tuple[str, int]]) -> None:
    """Note when keys (id, Unix ms) were last used."""
    keys = [store_keys.api_keys(organization), store_keys.api_key_uses(organization)]
    await _NOTE_KEY_USES.run(store, keys, *(part for use in uses for part in use))


def _attempt_key(organization: str, actor: Actor) -> str:
    return request_key(organization, actor.attempt and actor.attempt.request)


def _deadline(actor: Actor) -> bytes:
    return actor.attempt.deadline if actor.attempt else b""


def _written(reply: list[bytes]) -> Written:
    if reply == [b"late"]:
        raise TakenOver
    record, dead_digest = reply
    return Written(record, dead_digest.decode())
