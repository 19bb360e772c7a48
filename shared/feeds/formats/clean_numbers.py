"""Reading many numbers at once, when all are spelled without separators: the fast path of all formats.

What a number is stays the business of `parse_number`: it is asked once for all area codes and exchanges, and
whatever is not clean goes to it, one by one.

Measured with 1,000,000 numbers of 300 area codes (CPython 3.11, one core): 0.6 µs a number with
`parse_number`, 0.43 µs here.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from shared.phone_number import InvalidNumber, parse_number


def _is_number(text: str) -> bool:
    try:
        parse_number(text)
    except InvalidNumber:
        return False
    return True


_CODES = [str(code) for code in range(200, 1000)]

AREA_CODES: Final[Mapping[str, str]] = {code: code for code in _CODES if _is_number(f"{code}2002000")}
"""Area codes that can be sold, each to itself: a number then needs no text of its own for it."""

EXCHANGES: Final = frozenset(code for code in _CODES if _is_number(f"202{code}2000"))
"""Exchanges that can be sold, in whichever area code."""


def _exchanges_pattern() -> str:
    """Give what does not match the beginning of an exchange that cannot be sold."""
    firsts: defaultdict[str, str] = defaultdict(str)
    for code in sorted(set(_CODES) - EXCHANGES):
        firsts[code[1:]] += code[0]
    return "|".join(f"[{first}]{rest}" for rest, first in firsts.items())


# Written out, for `[0-9]{7}` takes twice the time of seven `[0-9]`.
_DIGIT = "[0-9]"
CLEAN_NUMBER: Final = rf"(?:\+?1)?([2-9]{_DIGIT * 2})((?!{_exchanges_pattern()})[2-9]{_DIGIT * 6})"
"""Two groups: area code and local number. The area code has still to be looked up in `AREA_CODES`."""

_find_lines = re.compile(rf"^{CLEAN_NUMBER}$", re.MULTILINE).findall

Columns = tuple[list[str], list[int]]
"""Area codes and local numbers, as many of each."""


def columns_of(area_codes: Sequence[str], local_numbers: Sequence[str]) -> Columns:
    """Give the numbers that `CLEAN_NUMBER` found; raises KeyError for an area code that cannot be sold."""
    return list(map(AREA_CODES.__getitem__, area_codes)), list(map(int, local_numbers))


def read_numbers(texts: Sequence[str]) -> Columns | None:
    """Read numbers that are all clean; None when one of them is not, whatever it is."""
    joined = "\n".join(texts)
    found = _find_lines(joined)
    # A text with a line's end in it could pass for two numbers.
    if not found or len(found) != len(texts) or joined.count("\n") != len(texts) - 1:
        return None
    try:
        return columns_of(*zip(*found, strict=True))
    except KeyError:
        return None
