"""The records of API keys, and what can be done with them.

All keys of an organization stand in its slot; of a secret the store knows a digest, under which it finds the
organization and the id. A digest serves only as long as the key's record names it: so each change of a key is
one step in one place.
"""

import logging
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from shared import store_keys
from shared.atomic.key_operations import (
    Actor,
    KeyIsDead,
    KeysAreFull,
    TakenOver,
    Written,
    create_key,
    revoke_key,
    rotate_key,
)
from shared.clock import unix_ms
from shared.ids import new_id
from shared.key_secrets import digests_of, visible_part
from shared.logs import AUDIT_LOGGER
from shared.rate_limits import Overrides, overrides_of
from shared.store import Store

audit_log = logging.getLogger(AUDIT_LOGGER)

ORGANIZATION_NAME = re.compile(r"[a-z0-9_-]{1,64}")

MAX_LABEL_CHARACTERS: Final = 255

MOST_KEYS: Final = 500
"""That an organization may have; of more the oldest of those that are revoked or expired is forgotten."""

COMMAND_LINE: Final = Actor("command line")


class Scope(StrEnum):
    """What a key may do."""

    NUMBERS_READ = "numbers:read"
    NUMBERS_WRITE = "numbers:write"
    APIKEYS_READ = "apikeys:read"
    APIKEYS_WRITE = "apikeys:write"
    PLATFORM_INVENTORY_READ = "platform:inventory:read"
    PLATFORM_INVENTORY_WRITE = "platform:inventory:write"


class _Record(Struct, frozen=True, omit_defaults=True):
    """A key as it is kept, by its id; times are Unix ms."""

    label: str | None
    digest: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_ms: int | UnsetType = UNSET
    """The store's clock says it."""
    expires_ms: str | None = None
    """As text: the store's JSON writes 14 digits of a number, and the years from 5138 have 15."""
    revoked_ms: int | None = None


class ApiKey(Struct, frozen=True):
    """One key, without its secret; times are Unix ms."""

    id: str
    org_id: str
    label: str | None
    prefix: str
    scopes: tuple[Scope, ...]
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    last_used_ms: int | None = None
    """To about ten seconds: it is noted every now and then."""

    def is_live(self, at_ms: int) -> bool:
        """Tell whether the key is neither revoked nor expired at this time."""
        return self.revoked_ms is None and (self.expires_ms is None or at_ms < self.expires_ms)


class Wanted(NamedTuple):
    """What a new key is to be."""

    scopes: tuple[Scope, ...]
    label: str | None = None
    expires_ms: int | None = None


class Found(NamedTuple):
    """A key that was found by its secret, at which time of the store, and the limits of its organization."""

    key: ApiKey
    at_ms: int
    overrides: Overrides


async def create_api_key(
    store: Store,
    organization: str,
    wanted: Wanted,
    secret: str,
    pepper: str | None = None,
    key_id: str | None = None,
    actor: Actor = COMMAND_LINE,
) -> ApiKey:
    """Keep a new key for `secret`; of an id that is known already the secret before is dead at once.

    Raises:
        KeysAreFull: the organization has too many; nothing was changed.
        TakenOver: another attempt has the request in hand; nothing was changed.
        StoreUnavailable: the store did not answer.
    """
    key_id = key_id or new_id()
    digest = digests_of(secret, pepper)[0]
    # The sweep looks at the organizations that are known, so this one is before it can do anything.
    await store.execute("SADD", store_keys.ORGANIZATIONS, organization)
    # First: a key that is listed is one that works. A digest of which no record knows leads nowhere.
    await store.execute("SET", store_keys.api_key_digest(digest), f"{organization} {key_id}")
    record = msgspec.json.encode(
        _Record(
            wanted.label,
            digest,
            visible_part(secret),
            wanted.scopes,
            expires_ms=None if wanted.expires_ms is None else str(wanted.expires_ms),
        )
    )
    try:
        written = await create_key(store, organization, key_id, record, MOST_KEYS, actor)
    except (KeysAreFull, TakenOver):
        await store.execute("DEL", store_keys.api_key_digest(digest))
        raise
    _tell("created", organization, key_id, actor)
    return await _settled(store, organization, key_id, written)


async def rotate_api_key(
    store: Store,
    organization: str,
    key_id: str,
    secret: str,
    pepper: str | None = None,
    actor: Actor = COMMAND_LINE,
) -> ApiKey | None:
    """Give a key another secret, and have the one before be dead at once; None when there is no such key.

    Raises:
        KeyIsDead: it is revoked or expired; nothing was changed.
        TakenOver: another attempt has the request in hand; nothing was changed.
        StoreUnavailable: the store did not answer.
    """
    digest = digests_of(secret, pepper)[0]
    await store.execute("SET", store_keys.api_key_digest(digest), f"{organization} {key_id}")
    try:
        written = await rotate_key(store, organization, key_id, digest, visible_part(secret), actor)
    except (KeyIsDead, TakenOver):
        await store.execute("DEL", store_keys.api_key_digest(digest))
        raise
    if written is None:
        await store.execute("DEL", store_keys.api_key_digest(digest))
        return None
    _tell("rotated", organization, key_id, actor)
    return await _settled(store, organization, key_id, written)


async def revoke_api_key(
    store: Store, organization: str, key_id: str, actor: Actor = COMMAND_LINE
) -> ApiKey | None:
    """End a key for ever; None when there is no such key. One that was revoked before stays as it was.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    revoked = await revoke_key(store, organization, key_id, actor)
    if revoked is None:
        return None
    if revoked.is_news:
        _tell("revoked", organization, key_id, actor)
    return await _with_use(store, organization, key_id, revoked.record)


async def find_api_key(store: Store, secret: str, pepper: str | None = None) -> Found | None:
    """Give the key that has this secret now, live or not; raises `StoreUnavailable`."""
    digests = digests_of(secret, pepper)
    named = await store.execute_many([("GET", store_keys.api_key_digest(digest)) for digest in digests])
    for digest, name in zip(digests, named, strict=True):
        if name is None:
            continue
        organization, _, key_id = name.decode().partition(" ")
        record, used_ms, limits, time = await store.execute_many(
            [
                ("HGET", store_keys.api_keys(organization), key_id),
                ("HGET", store_keys.api_key_uses(organization), key_id),
                ("HGETALL", store_keys.rate_limits(organization)),
                ("TIME",),
            ]
        )
        # Not the digest of a secret before this one.
        if record is not None and msgspec.json.decode(record, type=_Record).digest == digest:
            key = _key_of(organization, key_id, record, used_ms)
            return Found(key, unix_ms(time), overrides_of(limits))
    return None


async def read_api_key(store: Store, organization: str, key_id: str) -> ApiKey | None:
    """Give a key of an organization, None when it has none of this id; raises `StoreUnavailable`."""
    record = await store.execute("HGET", store_keys.api_keys(organization), key_id)
    return None if record is None else await _with_use(store, organization, key_id, record)


async def list_api_keys(store: Store, organization: str) -> list[ApiKey]:
    """Give all keys of an organization, at most `MOST_KEYS`, the newest first; raises `StoreUnavailable`."""
    records, uses = await store.execute_many(
        [
            ("HGETALL", store_keys.api_keys(organization)),
            ("HGETALL", store_keys.api_key_uses(organization)),
        ]
    )
    keys = [
        _key_of(organization, key_id.decode(), record, uses.get(key_id)) for key_id, record in records.items()
    ]
    return sorted(keys, key=lambda key: (key.created_ms, key.id), reverse=True)


async def list_organizations(store: Store) -> list[str]:
    """Give the organizations that ever had a key, in their order; raises `StoreUnavailable`."""
    return sorted(name.decode() for name in await store.execute("SMEMBERS", store_keys.ORGANIZATIONS))


async def find_organization(store: Store, key_id: str) -> str | None:
    """Give the organization that has a key of this id; raises `StoreUnavailable`."""
    organizations = await list_organizations(store)
    known = await store.execute_many(
        [("HEXISTS", store_keys.api_keys(organization), key_id) for organization in organizations]
    )
    return next((name for name, is_known in zip(organizations, known, strict=True) if is_known), None)


def _tell(event: str, organization: str, key_id: str, actor: Actor) -> None:
    """Tell the log what the script has told the organization's stream of events."""
    fields = {"organization": organization, "key_id": key_id, "by": actor.by}
    if actor.request_id:
        fields["request_id"] = actor.request_id
    audit_log.info("key %s", event, extra=fields)


async def _settled(store: Store, organization: str, key_id: str, written: Written) -> ApiKey:
    """Forget the digest that does not serve any more; it would lead nowhere."""
    if written.dead_digest:
        await store.execute("DEL", store_keys.api_key_digest(written.dead_digest))
    return await _with_use(store, organization, key_id, written.record)


async def _with_use(store: Store, organization: str, key_id: str, record: bytes) -> ApiKey:
    used_ms = await store.execute("HGET", store_keys.api_key_uses(organization), key_id)
    return _key_of(organization, key_id, record, used_ms)


def _key_of(organization: str, key_id: str, record: bytes, used_ms: bytes | None) -> ApiKey:
    kept = msgspec.json.decode(record, type=_Record)
    return ApiKey(
        id=key_id,
        org_id=organization,
        label=kept.label,
        prefix=kept.prefix,
        scopes=kept.scopes,
        created_ms=kept.created_ms or 0,
        expires_ms=None if kept.expires_ms is None else int(kept.expires_ms),
        revoked_ms=kept.revoked_ms,
        last_used_ms=None if used_ms is None else int(used_ms),
    )


def in_order(scopes: Sequence[Scope]) -> tuple[Scope, ...]:
    """Give scopes in the order in which they are documented, each once."""
    return tuple(scope for scope in Scope if scope in scopes)
