"""What a process remembers of the available numbers of one area code, to know where matches are.

A hint may be out of date. So the store decides: it says which of the candidates are available, and only
those are shown. A wrong hint costs time, never a match.

The numbers are a bitmap of local numbers, at most 1.2 MB. Of a small stock they are also one text, in which a
pattern is a substring: there most runs of a window are empty, and looking at all numbers is cheaper.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from random import Random
from typing import Final, NamedTuple

from pyroaring import BitMap

from shared import store_keys
from shared.number_events import PACKED_LOCALS, Entry
from shared.search.windows import (
    LOCAL_NUMBERS,
    POSSIBLE_LOCALS,
    Window,
    count_numbers,
    numbers_in,
    windows_of,
)

_TEXT_NUMBERS: Final = 250_000
"""Numbers up to which a hint has a text; in larger stocks a random local number that matches is in stock
often enough to be tried (1 in 32)."""
_TEXT_DIGITS: Final = 4
"""Length of patterns up to which the text is read, at 1.5 GB/s: 5-50 µs for 1-3 digits, up to 0.3 ms for 4.
All local numbers that match a longer one are tested in 20-60 µs."""

_MEMBER_BYTES: Final = 12
"""Of a number in the text: `+14155550123`."""

_BITMAP_BYTES: Final = LOCAL_NUMBERS // 8
_BYTES_PER_SPARSE_NUMBER: Final = 2
"""Of a number in the bitmap, at most, where it is sparse."""

_TRIED_ROWS: Final = 20
"""Random rows of a text that are tried as a start (0.25 µs each). The first match after a row that is none
is shown more often when it follows a wide gap: in thousands blocks 64 buyers of 10,000 matches of 2 digits
then want the same number in 5 % of their orders, with 20 tries in 1 %."""

_PLENTY: Final = 4
"""A window is a place to begin when it is expected to hold so many times the wanted numbers."""
_TRIES_PER_NUMBER: Final = 8
"""Random local numbers tried for each one that is expected to be in stock: 1 search in 3,000 then finds
none."""
_MOST_TRIES: Final = 500
_RESTARTS: Final = 4
"""Random starts that may run into the end of the area code; the numbers there would be shown too often."""
_LONG_RUN: Final = 100
"""Local numbers from which a run is read by the bitmap's iterator (1.8 µs) instead of tested one by one
(0.07)."""
_MOST_RUNS: Final = 2_000
"""Runs of a window that are read from a start on; more are empty only in odd stocks."""
_CHUNK: Final = 1.3
"""Local numbers tested at once, in those that are expected to hold what is wanted."""
_TESTED_LOCALS: Final = 500
"""Size of windows up to which testing each number (0.07 µs) is faster than intersecting bitmaps."""
_REMEMBERED_LOCALS: Final = 5_000
"""Size of windows from which the list of all matches is remembered: computing it takes 1-50 ms."""
_REMEMBERED_PATTERNS: Final = 16
_REMEMBERED_MATCHES: Final = 50_000
"""So many have a place to begin at in all but odd stocks; a bitmap of more may take 1 MB."""

_random = Random()  # noqa: S311 - spreads callers over the stock, keeps no secret

Version = tuple[int, int]
"""Id of an entry of an area code's event stream: Unix ms, sequence."""


class Candidates(NamedTuple):
    """Numbers (E.164) that match and were available."""

    members: list[bytes]
    are_all: bool
    """Whether the hint has no others."""


class Hint:
    """The available numbers of an area code as of `version`."""

    __slots__ = (
        "_prefix", "_remembered", "_removed", "_text", "area_code", "events_key", "is_wrong", "key",
        "numbers", "read_at", "synced_at", "used_at", "version",
    )  # fmt: skip

    def __init__(self, area_code: str, version: Version) -> None:
        """Begin without numbers; `version` is an event that they will all be younger than."""
        self.area_code = area_code
        self.key = store_keys.available(area_code).encode()
        self.events_key = store_keys.events(area_code).encode()
        self.version = version
        self.numbers = BitMap()
        self.read_at = self.synced_at = self.used_at = 0.0
        """Monotonic seconds."""
        self.is_wrong = False
        """Whether it is known to have other numbers than the store, until it is read again."""
        self._prefix = b"+1" + area_code.encode()
        self._text: bytes | None = b""
        self._removed: set[bytes] = set()
        """Members of the text that are not available any more."""
        self._remembered: dict[str, BitMap] = {}
        """Pattern → all its matches."""

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return size_bytes(len(self.numbers))

    def extend(self, members: Sequence[bytes]) -> None:
        """Add numbers (E.164) while the hint is read: 0.3 µs each.

        Raises:
            ValueError: a member is no number of this area code.
        """
        text = b"".join(members)
        if len(text) != _MEMBER_BYTES * len(members) or text.count(self._prefix) != len(members):
            raise ValueError(f"area code {self.area_code} has members that are no numbers of it")
        self.numbers |= BitMap(list(map(int, text.replace(self._prefix, b" ").split())))
        if self._text is not None:
            self._text = self._text + text if len(self.numbers) <= _TEXT_NUMBERS else None

    def apply(self, entries: Sequence[Entry]) -> list[int]:
        """Apply events, oldest first, and return the local numbers that are new. Known events are skipped."""
        states: dict[int, bool] = {}
        for entry_id, fields in entries:
            version = parse_version(entry_id)
            if version > self.version:
                self.version = version
                is_available = fields.get(b"to") == b"available"
                if is_available != (fields.get(b"from") == b"available"):
                    states |= dict.fromkeys(_locals_of(fields), is_available)
        added = [
            local for local, is_available in states.items() if is_available and local not in self.numbers
        ]
        removed = [
            local for local, is_available in states.items() if not is_available and local in self.numbers
        ]
        self.numbers.update(added)
        self.numbers.difference_update(BitMap(removed))
        self._change_text(self.members(added), self.members(removed))
        for pattern, matches in self._remembered.items():
            sought = pattern.encode()
            matches.update(local for local in added if sought in b"%s%d" % (self._prefix, local))
        return added

    def discard(self, members: Iterable[bytes]) -> None:
        """Remove numbers (E.164) that the store did not have.

        Only from a hint that is wrong: the replies to two searches may be used in another order than the
        store gave them, and a right hint would then miss a number that came back.
        """
        gone = list(members)
        self.numbers.difference_update(BitMap([int(member[5:]) for member in gone]))
        self._change_text([], gone)

    def find(self, pattern: str, wanted: int) -> Candidates:
        """Return up to `wanted` numbers that match, from a random match on, mostly neighbours."""
        if pattern.encode() in self._prefix:
            pattern = ""
        if self._text is not None and len(pattern) <= _TEXT_DIGITS:
            # Every number has a plus; an empty text would be found behind the last one, too.
            return self._find_in_text(self._text, pattern.encode() or b"+", wanted)
        windows = windows_of(self.area_code, pattern)
        spacing = POSSIBLE_LOCALS / max(len(self.numbers), 1)
        if self._text is None:
            places = [window for window in windows if window.size >= _PLENTY * wanted * spacing]
            for window, start in self._starts(places, spacing):
                found = self._read_window(window, start, wanted, spacing)
                if len(found) == wanted:
                    return Candidates(self.members(found), are_all=False)
        return self._find_all(pattern, windows, wanted)

    def _find_in_text(self, text: bytes, sought: bytes, wanted: int) -> Candidates:
        rows = len(text) // _MEMBER_BYTES
        starts = rows - min(wanted * 10 ** len(sought) // 5, rows // 2)
        for _ in range(_RESTARTS if rows else 0):
            start = _draw_row(text, sought, starts)
            found = self._read_text(text, sought, start * _MEMBER_BYTES, len(text), wanted)
            if len(found) == wanted:
                return Candidates(found, are_all=False)
            # Going on at the first number would show that too often, where there are many.
            if len(found) * rows < 2 * wanted * (rows - start):
                found += self._read_text(text, sought, 0, start * _MEMBER_BYTES, wanted - len(found))
                return Candidates(found, len(found) < wanted)
            starts = max(start // 2, 1)
        found = self._read_text(text, sought, 0, len(text), wanted)
        return Candidates(found, len(found) < wanted)

    def _read_text(self, text: bytes, sought: bytes, first: int, last: int, wanted: int) -> list[bytes]:
        """Return up to `wanted` matches from one place of the text to another."""
        found: list[bytes] = []
        at = text.find(sought, first, last)
        while at >= 0 and len(found) < wanted:
            row = at - at % _MEMBER_BYTES
            member = text[row : row + _MEMBER_BYTES]
            if member not in self._removed:
                found.append(member)
            at = text.find(sought, row + _MEMBER_BYTES, last)
        return found

    def _starts(self, windows: list[Window], spacing: float) -> Iterator[tuple[Window, int]]:
        """Draw matches in stock, each as likely as the others, with a window that it lies in."""
        sizes = [window.size for window in windows]
        total = sum(sizes)
        restarts = _RESTARTS
        for _ in range(min(int(_TRIES_PER_NUMBER * spacing), _MOST_TRIES) if total else 0):
            drawn = int(_random.random() * total)
            for window, size in zip(windows, sizes, strict=True):
                if drawn < size:
                    start = window.runs[drawn // window.length] + drawn % window.length
                    if start in self.numbers:
                        yield window, start
                        restarts -= 1
                    break
                drawn -= size
            if not restarts:
                return

    def _read_window(self, window: Window, start: int, wanted: int, spacing: float) -> list[int]:
        """Return up to `wanted` numbers of a window from `start` on."""
        numbers, (runs, length) = self.numbers, window
        found: list[int] = []
        if length == 1:
            chunk = int(_CHUNK * wanted * spacing) * runs.step
            for first in range(start, LOCAL_NUMBERS, chunk):
                last = min(first + chunk, LOCAL_NUMBERS)
                found += [local for local in range(first, last, runs.step) if local in numbers]
                if len(found) >= wanted:
                    break
            return found[:wanted]
        run = start - (start - runs.start) % runs.step
        for first in islice(range(run, LOCAL_NUMBERS, runs.step), _MOST_RUNS):
            begin, end = max(first, start), first + length
            if length < _LONG_RUN:
                found += [local for local in range(begin, end) if local in numbers]
            else:
                some = islice(numbers.iter_equal_or_larger(begin), wanted - len(found))
                found += takewhile(end.__gt__, some)
            if len(found) >= wanted:
                break
        return found[:wanted]

    def _find_all(self, pattern: str, windows: tuple[Window, ...], wanted: int) -> Candidates:
        matches = self._all_matches(pattern, windows)
        surplus = len(matches) - wanted
        if surplus <= 0:
            return Candidates(self.members(matches), are_all=True)
        start = _random.randrange(surplus + 1)
        return Candidates(self.members(matches[start : start + wanted]), are_all=False)

    def _all_matches(self, pattern: str, windows: tuple[Window, ...]) -> list[int] | BitMap:
        size = count_numbers(windows)
        if size <= _TESTED_LOCALS:
            return self._test(windows)
        matches = self._remembered.get(pattern)
        if matches is None:
            matches = self.numbers & numbers_in(windows)
            if size > _REMEMBERED_LOCALS and len(matches) <= _REMEMBERED_MATCHES:
                self._remember(pattern, matches)
        else:
            matches &= self.numbers
        return matches

    def _test(self, windows: tuple[Window, ...]) -> list[int]:
        """Return the numbers of small windows."""
        numbers = self.numbers
        found: set[int] = set()
        for runs, length in windows:
            if length == 1:
                found.update([local for local in runs if local in numbers])
            else:
                found.update(
                    [local for first in runs for local in range(first, first + length) if local in numbers]
                )
        return sorted(found)

    def _remember(self, pattern: str, matches: BitMap) -> None:
        if len(self._remembered) >= _REMEMBERED_PATTERNS:
            self._remembered.clear()
        self._remembered[pattern] = matches

    def member(self, local: int) -> bytes:
        """Return a local number as E.164 text."""
        return b"%s%d" % (self._prefix, local)

    def members(self, locals_: Iterable[int]) -> list[bytes]:
        """Return local numbers as E.164 texts."""
        prefix = self._prefix
        return [b"%s%d" % (prefix, local) for local in locals_]

    def _change_text(self, added: list[bytes], removed: list[bytes]) -> None:
        if self._text is None:
            if len(self.numbers) > _TEXT_NUMBERS // 2:
                return
        elif len(self.numbers) > _TEXT_NUMBERS:
            self._text = None
            self._removed = set()
            return
        else:
            again = self._removed.intersection(added)
            self._removed -= again
            self._removed.update(removed)
            self._text += b"".join(member for member in added if member not in again)
            if 8 * len(self._removed) <= len(self.numbers):
                return
        self._text = b"".join(self.members(self.numbers))
        self._removed = set()


def _draw_row(text: bytes, sought: bytes, rows: int) -> int:
    """Draw one of the first rows, a match if there is one among a few tries."""
    row = 0
    for _ in range(_TRIED_ROWS):
        row = _random.randrange(rows)
        begin = row * _MEMBER_BYTES
        if text.find(sought, begin, begin + _MEMBER_BYTES) >= 0:
            break
    return row


def size_bytes(numbers: int) -> int:
    """Return about how much memory a hint of so many numbers takes."""
    text = _MEMBER_BYTES * numbers if numbers <= _TEXT_NUMBERS else 0
    return min(_BYTES_PER_SPARSE_NUMBER * numbers, _BITMAP_BYTES) + text


def parse_version(entry_id: bytes) -> Version:
    """Read the id of an entry of a stream."""
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)


def _locals_of(fields: dict[bytes, bytes]) -> Iterable[int]:
    number = fields.get(b"number")
    if number is not None:
        return (int(number[5:]),)
    # An entry of an earlier version names none; the sizes then tell that the hint is wrong.
    return [value & 0xFFFFFF for value in memoryview(fields.get(PACKED_LOCALS, b"")).cast("I")]
