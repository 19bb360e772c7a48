"""Where a pattern can stand in a number: intervals of local numbers, so that the store can seek.

A number is the 11-digit integer `1NPA * 10^7 + local`. A pattern of k digits that stands at digit p of the
local number fills `unit = 10^(7-p-k)` consecutive local numbers, and again every `block = unit * 10^k`.
"""

from functools import lru_cache
from random import Random
from typing import NamedTuple

LOCAL_NUMBERS = 10**7
_LOCAL_DIGITS = 7
LOWEST_LOCAL = 2_000_000
"""An exchange begins 2-9 (NANP), so no local number is lower."""

_WINDOWS_TO_DRAW_FROM = 3
"""Longer runs hold enough more often where stock lies in blocks; fewer windows would show all the same."""
_COMFORT = 10
"""A run that is expected to hold ten times what is wanted leaves most of it to start in."""
_DEVIATIONS = 3
"""Standard deviations of a count (its root) left behind a start, so that the run is long enough."""
_MOST_SKIPPED = 1_000
"""A thousands block: skipping that many spreads callers over the block that a start falls before. Redis
before 7.4 walks over what is skipped, one by one."""


class Window(NamedTuple):
    """Local numbers x with `lowest <= x mod block < lowest + unit`: runs of `unit`, one every `block`."""

    lowest: int
    block: int
    unit: int

    @property
    def lowest_run(self) -> int:
        """Give the first local number of the first run that can hold a number."""
        skipped = -(-max(LOWEST_LOCAL - self.lowest - self.unit + 1, 0) // self.block)
        return self.lowest + skipped * self.block


WHOLE_AREA = Window(LOWEST_LOCAL, LOCAL_NUMBERS, LOCAL_NUMBERS - LOWEST_LOCAL)


@lru_cache(maxsize=16_384)
def windows_of(area_code: str, pattern: str) -> tuple[Window, ...]:
    """Give the windows in which `pattern` (digits with an optional leading `+`) matches, longest runs first.

    Together they hold exactly the local numbers of `area_code` whose E.164 text contains `pattern`; two of
    them may share numbers. Empty when none can match.
    """
    digits = pattern.removeprefix("+")
    positions = range(1) if pattern.startswith("+") else range(11 - len(digits) + 1)
    found = {window for position in positions if (window := _window_at(position, digits, "1" + area_code))}
    if WHOLE_AREA in found:
        return (WHOLE_AREA,)
    return tuple(sorted(found, key=lambda window: -window.unit))


def _window_at(position: int, digits: str, prefix: str) -> Window | None:
    """Give the window of `digits` at `position` (0-10) of the number that begins with `prefix` (`1NPA`)."""
    in_prefix = prefix[position : position + len(digits)]
    if not digits.startswith(in_prefix):
        return None
    rest = digits[len(in_prefix) :]
    if not rest:
        return WHOLE_AREA
    unit = 10 ** (_LOCAL_DIGITS - max(position - len(prefix), 0) - len(rest))
    block = unit * 10 ** len(rest) if position >= len(prefix) else LOCAL_NUMBERS
    window = Window(int(rest) * unit, block, unit)
    return window if window.lowest_run < LOCAL_NUMBERS else None


def all_numbers(windows: tuple[Window, ...], at_most: int) -> list[int] | None:
    """Give every local number of `windows`, or None when they hold more than `at_most` (repeats included)."""
    runs = [range(window.lowest_run, LOCAL_NUMBERS, window.block) for window in windows]
    if sum(len(run) * window.unit for window, run in zip(windows, runs, strict=True)) > at_most:
        return None
    return sorted(
        {
            number
            for window, run in zip(windows, runs, strict=True)
            for first in run
            for number in range(first, first + window.unit)
        }
    )


class Span(NamedTuple):
    """The numbers in stock from local number `first` to `last`, both included, but for the first `skip`."""

    first: int
    last: int
    skip: int


def draw_span(windows: tuple[Window, ...], spacing: float, wanted: int, draw: Random) -> Span | None:
    """Draw a run, and a start in it, where `wanted` numbers are expected; None when no run is long enough.

    One local number in `spacing` is in stock. The start is a number and some members to skip, for stock lies
    in thousands blocks: a number alone falls between them, and everybody would be shown the head of the next.
    """
    expected = wanted * spacing
    long = [window for window in windows if window.unit >= _COMFORT * expected][:_WINDOWS_TO_DRAW_FROM]
    long = long or [window for window in windows[:1] if window.unit >= expected]
    if not long:
        return None
    window = draw.choice(long)
    run = draw.randrange(window.lowest_run, LOCAL_NUMBERS, window.block)
    in_run = window.unit / spacing
    room = max(in_run - wanted - _DEVIATIONS * in_run**0.5, 1)
    first = run
    if room > _MOST_SKIPPED:
        first += draw.randrange(int((room - _MOST_SKIPPED) * spacing) + 1)
        room = _MOST_SKIPPED
    return Span(first, run + window.unit - 1, draw.randrange(int(room)))
