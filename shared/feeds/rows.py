"""What parsers make of a feed: rows, ranges of numbers, and rows that could not be read."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from shared.phone_number import PhoneNumber

REMOVAL: Final = 1 << 8
"""In the place of features: the row takes the number from the carrier's offer."""

Row = tuple[PhoneNumber, int]
"""A number and its features (`SMS`, `MMS`, both or none), or `REMOVAL`."""


class Rows(Struct):
    """Rows in the order in which they stand, by column: one place of the three lists is one row.

    Columns, for an object for each of ten million rows takes as long as reading it.
    """

    area_codes: list[str] = []
    local_numbers: list[int] = []
    features: list[int] = []
    """As in `Row`."""

    def append(self, row: Row) -> None:
        """Add a row."""
        (area_code, local), features = row
        self.area_codes.append(area_code)
        self.local_numbers.append(local)
        self.features.append(features)

    def extend(self, rows: "Rows") -> None:
        """Add more rows."""
        self.area_codes += rows.area_codes
        self.local_numbers += rows.local_numbers
        self.features += rows.features

    def __len__(self) -> int:
        return len(self.features)

    def __iter__(self) -> Iterator[Row]:
        return zip(map(PhoneNumber, self.area_codes, self.local_numbers), self.features, strict=True)


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


class Block(Struct):
    """What some consecutive rows of a feed hold; rows and ranges each in the order in which they stand."""

    rows: Rows = msgspec.field(default_factory=Rows)
    ranges: list[Range] = []
    rejects: list[RejectedRow] = []
    position: int = 0
    """Bytes of the file read so far, as it lies on disk; who reads bytes alone does not know it."""

    def add(self, item: Row | Range) -> None:
        """Add what one row of the file says."""
        if isinstance(item, Range):
            self.ranges.append(item)
        else:
            self.rows.append(item)

    @property
    def number_count(self) -> int:
        """Give how many numbers it names, counting again those that it names twice."""
        return len(self.rows) + sum(one.length for one in self.ranges)

    @property
    def row_count(self) -> int:
        """Give how many rows of the file it has."""
        return len(self.rows) + len(self.ranges) + len(self.rejects)


class FeedRefused(Exception):
    """The feed as a whole cannot be used; says why, and what to do."""
