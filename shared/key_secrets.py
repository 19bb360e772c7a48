"""The secrets of API keys: how one is made, told from a mistyped one, and digested.

A secret is `am_live_`, 32 random characters and a checksum of six: a mistyped or invented key is refused
without asking the store. The store holds a digest of it only; the secret is shown once.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib

_PREFIX = "am_live_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 32
"""190 bits: out of reach of guessing, so a plain SHA-256 of the secret is safe to keep."""
_CHECKSUM_CHARACTERS = 6
"""Enough for the 32 bits of a CRC in base 62."""
_WELL_FORMED = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS}}}")
_VISIBLE_CHARACTERS = 12


def new_secret() -> str:
    """Make a new secret: `am_live_` and 38 characters."""
    body = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Tell whether this can be a secret of ours: its form and its checksum are right."""
    return _WELL_FORMED.fullmatch(secret) is not None and hmac.compare_digest(
        secret[-_CHECKSUM_CHARACTERS:], _checksum(secret[:-_CHECKSUM_CHARACTERS])
    )


def visible_part(secret: str) -> str:
    """Give what may be shown of a secret, for people to tell keys apart."""
    return secret[:_VISIBLE_CHARACTERS]


def digests_of(secret: str, pepper: str | None) -> list[str]:
    """Give the digests under which a secret may be known; that of new keys is the first.

    Each is led by the name of its scheme: with a pepper `hmac-sha256`, which is worthless to who has the
    store's data only. Without it `sha256`, which serves on for the keys that were made before there was one.
    """
    plain = "sha256-" + hashlib.sha256(secret.encode()).hexdigest()
    if pepper is None:
        return [plain]
    return ["hmac-sha256-" + hmac.new(pepper.encode(), secret.encode(), "sha256").hexdigest(), plain]


def _checksum(body: str) -> str:
    rest, characters = zlib.crc32(body.encode()), []
    for _ in range(_CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return "".join(characters)
