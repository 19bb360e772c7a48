"""What parsers make of a feed: rows, ranges of numbers, and rows that could not be read."""

from typing import Final, NamedTuple

from msgspec import Struct

from shared.phone_number import PhoneNumber

REMOVAL: Final = 1 << 8
"""In the place of features: the row takes the number from the carrier's offer."""

Row = tuple[PhoneNumber, int]
"""A number and its features (`SMS`, `MMS`, both or none), or `REMOVAL`."""


class Range(NamedTuple):
    """Consecutive numbers of one area code that can do the same; all of them are numbers that can be sold."""

    area_code: str
    first: int
    """Local number."""
    length: int
    features: int
    """As in `Row`."""


class RejectedRow(Struct, frozen=True):
    """A row of a feed that could not be read."""

    line: int
    """Of the file, from 1; of a JSON array the count of the element, from 1."""
    reason: str
    start: str = ""
    """How the row begins: at most 64 bytes of it, as text."""


class Block(NamedTuple):
    """What some consecutive rows of a feed hold."""

    rows: list[Row]
    ranges: list[Range]
    rejects: list[RejectedRow]
    position: int
    """Bytes of the file read so far, as it lies on disk."""


class FeedRefused(Exception):
    """The feed as a whole cannot be used; says why, and what to do."""
