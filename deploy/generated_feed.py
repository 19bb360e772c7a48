"""Feeds of any size, made up: for measuring and for trying out what a carrier's feed does.

Numbers are spread at random over area codes, and rows come in no order. The same figures always make the same
rows; with a churn, so many of the numbers are others than without.
"""

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from math import ceil, gcd
from typing import BinaryIO, Final

from deploy.sample_feed.generate import AREA_CODES

_LOCALS: Final = range(2_000_000, 10_000_000)
_ROWS_AT_ONCE: Final = 10_000
_SERVICE_CODES: Final = frozenset(f"{first}11" for first in "23456789")

Row = tuple[str, int, bool]
"""Area code, local number, whether it can do MMS; all of them can do SMS."""


class FeedFormat(StrEnum):
    """The formats that can be made."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"
    XML = "xml"


def make_rows(rows: int, area_codes: int, seed: int, churn: float = 0.0) -> Iterator[Row]:
    """Give distinct numbers in no order; `churn` is the share of them, 0-1, that others have replaced.

    Takes 12 bytes of memory a row.
    """
    codes = AREA_CODES[:area_codes]
    numbers = array("Q")
    for place, area_code in enumerate(codes):
        here = rows // len(codes) + (place < rows % len(codes))
        # Two draws and not a longer one, whose beginning would be other numbers.
        stays, leaves, comes = _draw(area_code, here, ceil(here * churn), seed)
        numbers.extend(int(area_code) * 10**7 + local for local in [*stays, *(comes if churn else leaves)])
    for at in _in_no_order(len(numbers), seed):
        npa, local = divmod(numbers[at], 10**7)
        yield str(npa), local, local % 3 > 0


def write_feed(target: BinaryIO, rows: Iterator[Row], form: FeedFormat) -> None:
    """Write rows as a feed."""
    begin, row, between, end = _FORMATS[form]
    target.write(begin)
    is_first = True
    while some := [row(one) for one in islice(rows, _ROWS_AT_ONCE)]:
        target.write((b"" if is_first else between) + between.join(some))
        is_first = False
    target.write(end)


def _draw(area_code: str, count: int, changed: int, seed: int) -> tuple[Sequence[int], ...]:
    draw = random.Random(f"{seed} {area_code}")  # noqa: S311 - repeatable, keeps no secret
    chosen = [
        local
        for local in draw.sample(_LOCALS, ceil((count + changed) * 1.05) + 50)
        if str(local)[:3] not in _SERVICE_CODES
    ]
    return chosen[changed:count], chosen[:changed], chosen[count : count + changed]


def _in_no_order(count: int, seed: int) -> Iterator[int]:
    """Give 0 … count - 1, each once: steps of a length that has no divisor in common with the count."""
    step = max(count * 61 // 100 + seed, 1)
    while gcd(step, count) != 1:
        step += 1
    at = 0
    for _ in range(count):
        yield at
        at = (at + step) % count


def _csv(row: Row) -> bytes:
    return b"+1%s%d,true,%s" % (row[0].encode(), row[1], b"true" if row[2] else b"false")


def _json(row: Row) -> bytes:
    return b'{"number":"+1%s%d","sms":true,"mms":%s}' % (
        row[0].encode(),
        row[1],
        b"true" if row[2] else b"false",
    )


def _xml(row: Row) -> bytes:
    return (
        b"<TelephoneNumberDetail><City>SOMEWHERE</City><LATA>224</LATA><RateCenter>SOMEWHERE</RateCenter>"
        b"<State>NJ</State><FullNumber>%s%d</FullNumber><Tier>0</Tier><VendorId>49</VendorId>"
        b"<VendorName>Made Up</VendorName></TelephoneNumberDetail>" % (row[0].encode(), row[1])
    )


_FORMATS: Final[dict[FeedFormat, tuple[bytes, Callable[[Row], bytes], bytes, bytes]]] = {
    FeedFormat.CSV: (b"number,sms,mms\n", _csv, b"\n", b"\n"),
    FeedFormat.NDJSON: (b"", _json, b"\n", b"\n"),
    FeedFormat.JSON: (b"[", _json, b",\n", b"]\n"),
    FeedFormat.XML: (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<SearchResult><TelephoneNumberDetailList>\n',
        _xml,
        b"\n",
        b"\n</TelephoneNumberDetailList></SearchResult>\n",
    ),
}
