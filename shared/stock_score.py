"""The score of an available number: its local number and its attributes in one integer below 2^53.

`local * 65536 + attributes`, so that numbers stand in order and one key holds all that a search needs. The
attributes, 16 bits: carrier ordinal << 6 | kept << 2 | features. The ordinal is 0 when no carrier offers the
number any more; only a number that was assigned once, and is ours to keep, can then be available.
"""

MAX_CARRIER_ORDINAL = 2**10 - 1

_ATTRIBUTES = 2**16
_CARRIER_SHIFT = 6


SMS = 1
MMS = 2
"""Features: what a number can be used for. Plain integers, for an IntFlag costs half a microsecond a row."""

KEPT = 4
"""Ours to keep, whatever the carriers' feeds say: it was assigned once."""


def attributes(carrier_ordinal: int, features: int) -> int:
    """Give the attributes of a number that a carrier (ordinal 1-1023) offers with these features."""
    return carrier_ordinal << _CARRIER_SHIFT | features


def score(local: int, attributes: int) -> int:
    """Give the score of a local number (7 digits) with its attributes."""
    return local * _ATTRIBUTES + attributes


def local_of(score: int) -> int:
    """Give the local number in a score."""
    return score // _ATTRIBUTES


def attributes_of(score: int) -> int:
    """Give the attributes in a score."""
    return score % _ATTRIBUTES


def carrier_of(attributes: int) -> int:
    """Give the ordinal of the carrier that offers the number, 0 when none does."""
    return attributes >> _CARRIER_SHIFT
