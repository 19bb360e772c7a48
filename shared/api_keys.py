"""API keys: how a secret is made and told from a mistyped one, and the records of the keys.

A secret is `am_live_`, 32 random characters and a checksum of six: a mistyped or invented key is refused
without asking the store. The store holds a digest of it only; the secret is shown once.
"""

import hashlib
import re
import secrets
import string
import zlib
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from ulid import ULID

from shared import clock, store_keys
from shared.store import Store

ORGANIZATION_NAME = re.compile(r"[a-z0-9_-]{1,64}")

_PREFIX = "am_live_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 32
"""190 bits: out of reach of guessing, so a plain SHA-256 of the secret is safe to keep."""
_CHECKSUM_CHARACTERS = 6
"""Enough for the 32 bits of a CRC in base 62."""
_WELL_FORMED = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS}}}")
_VISIBLE_CHARACTERS = 12


class Scope(StrEnum):
    """What a key may do."""

    NUMBERS_READ = "numbers:read"
    NUMBERS_WRITE = "numbers:write"
    APIKEYS_READ = "apikeys:read"
    APIKEYS_WRITE = "apikeys:write"
    PLATFORM_INVENTORY_READ = "platform:inventory:read"
    PLATFORM_INVENTORY_WRITE = "platform:inventory:write"


class ApiKey(Struct, frozen=True):
    """The record of one key, without its secret."""

    id: str
    org_id: str
    label: str | None
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    expires_at: datetime | None = None

    def is_live(self, at: datetime) -> bool:
        """Tell whether the key is neither revoked nor expired at this time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class UnknownApiKey(LookupError):
    """No key has this id."""


def new_secret() -> str:
    """Make a new secret: `am_live_` and 38 characters."""
    body = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Tell whether this can be a secret of ours: its form and its checksum are right."""
    return _WELL_FORMED.fullmatch(secret) is not None and secrets.compare_digest(
        secret[-_CHECKSUM_CHARACTERS:], _checksum(secret[:-_CHECKSUM_CHARACTERS])
    )


def digest_of(secret: str) -> str:
    """Give the name under which a secret's record is kept; the scheme leads, so that another can follow."""
    return "sha256-" + hashlib.sha256(secret.encode()).hexdigest()


async def create_api_key(
    store: Store, organization: str, scopes: tuple[Scope, ...], label: str | None, secret: str
) -> ApiKey:
    """Keep a new key for `secret` and give its record; raises `StoreUnavailable`."""
    key = ApiKey(
        id=str(ULID().to_uuid7(compliant=True)),
        org_id=organization,
        label=label,
        prefix=secret[:_VISIBLE_CHARACTERS],
        scopes=scopes,
        created_at=await clock.now(store),
    )
    digest = digest_of(secret)
    # The sweep looks at the organizations that are known, so this one is before it can do anything.
    await store.execute("SADD", store_keys.ORGANIZATIONS, organization)
    # Listed first: a key that works is always one that can be found and revoked.
    await store.execute("HSET", store_keys.API_KEYS, key.id, digest)
    await store.execute("HSET", store_keys.api_key(digest), *_fields_of(key))
    return key


async def find_api_key(store: Store, digest: str) -> ApiKey | None:
    """Give the record of the key whose secret has this digest, live or not; raises `StoreUnavailable`."""
    return _key_of(await store.execute("HGETALL", store_keys.api_key(digest)))


async def list_api_keys(store: Store) -> list[ApiKey]:
    """Give the records of all keys, oldest first; raises `StoreUnavailable`."""
    digests = await store.execute("HVALS", store_keys.API_KEYS)
    records = await store.execute_many(
        [("HGETALL", store_keys.api_key(digest.decode())) for digest in digests]
    )
    keys = [key for record in records if (key := _key_of(record)) is not None]
    return sorted(keys, key=lambda key: (key.created_at, key.id))


async def register_organizations(store: Store) -> None:
    """Make known the organizations of all keys, also of those made before organizations were."""
    organizations = {key.org_id for key in await list_api_keys(store)}
    if organizations:
        await store.execute("SADD", store_keys.ORGANIZATIONS, *organizations)


async def revoke_api_key(store: Store, key_id: str) -> ApiKey:
    """Revoke a key and give its record; one that was revoked before stays as it was.

    Raises:
        UnknownApiKey: no key has this id.
        StoreUnavailable: the store did not answer.
    """
    digest = await store.execute("HGET", store_keys.API_KEYS, key_id)
    if digest is None:
        raise UnknownApiKey(key_id)
    revoked_at = msgspec.to_builtins(await clock.now(store))
    await store.execute("HSETNX", store_keys.api_key(digest.decode()), "revoked_at", revoked_at)
    key = await find_api_key(store, digest.decode())
    if key is None:
        raise UnknownApiKey(key_id)
    return key


def _checksum(body: str) -> str:
    rest, characters = zlib.crc32(body.encode()), []
    for _ in range(_CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return "".join(characters)


def _fields_of(key: ApiKey) -> list[str]:
    fields: dict[str, Any] = msgspec.to_builtins(key)
    fields["scopes"] = " ".join(key.scopes)
    return [text for name, value in fields.items() if value is not None for text in (name, value)]


def _key_of(record: dict[bytes, bytes]) -> ApiKey | None:
    """Read a record; None when there is none, or only the mark of a revocation."""
    fields: dict[str, Any] = {name.decode(): value.decode() for name, value in record.items()}
    if "id" not in fields:
        return None
    fields["scopes"] = fields["scopes"].split()
    return msgspec.convert({"label": None} | fields, ApiKey)
