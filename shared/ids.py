"""IDs of resources: UUIDv7 in text form, which sort by the millisecond of their creation."""

import os
import time
from typing import Final

_VERSION: Final = 7 << 76
_VARIANT: Final = 2 << 62
_RANDOM: Final = ~(0xF << 76 | 3 << 62) & (1 << 80) - 1
"""The 74 random bits of a UUIDv7 (RFC 9562, 5.7)."""


def new_id() -> str:
    """Return a new ID. It takes 2 µs, `str(ULID().to_uuid7(compliant=True))` of python-ulid 9 8 µs."""
    ms = time.time_ns() // 1_000_000
    low = int.from_bytes(os.urandom(10), "big") & _RANDOM | _VERSION | _VARIANT
    digits = f"{ms << 80 | low:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
