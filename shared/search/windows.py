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

_CHANCE = 4
"""A smaller clump is one by chance: samples of a spread stock say 0.5 to 2."""
_DEVIATIONS = 2
"""Standard deviations of a count left behind a start, so that what is wanted is found there."""
_SKIPPED_PER_CLUMP, _MOST_SKIPPED = 16, 1_000
"""Members that are skipped at most: a random number shows the member behind a wide gap more often, and a few
more evens that out (twice the conflicts without). Redis before 7.4 walks over them, one by one."""
_MANY_MATCHES, _MANY_STARTS = 8_000, 6_000
"""Of so many matches, so many have to be possible starts: 64 buyers who take the first number that they are
shown then meet in about 1 % of their orders. Fewer matches are asked for a share of starts only."""
_SHARE_OF_FEW = 1 / 16


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

    @property
    def runs(self) -> int:
        """Give how many runs can hold a number."""
        return len(range(self.lowest_run, LOCAL_NUMBERS, self.block))


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


def count_numbers(windows: tuple[Window, ...]) -> int:
    """Give how many local numbers `windows` hold, repeats included."""
    return sum(window.runs * window.unit for window in windows)


def all_numbers(windows: tuple[Window, ...], at_most: int) -> list[int] | None:
    """Give every local number of `windows`, or None when they hold more than `at_most` (repeats included)."""
    if count_numbers(windows) > at_most:
        return None
    return sorted(
        {
            number
            for window in windows
            for first in range(window.lowest_run, LOCAL_NUMBERS, window.block)
            for number in range(first, first + window.unit)
        }
    )


class Span(NamedTuple):
    """The numbers in stock from local number `first` to `last`, both included, but for the first `skip`."""

    first: int
    last: int
    skip: int


class _Places(NamedTuple):
    """The members at which a search can start: the first `room` of each of the first `runs` of a window."""

    window: Window
    runs: int
    room: float
    is_two: bool
    """Whether the next run is needed, too."""


def draw_spans(
    windows: tuple[Window, ...], spacing: float, clump: float, wanted: int, draw: Random
) -> list[Span]:
    """Draw any of the members in stock that have `wanted` behind them in the same run or in the next.

    One local number in `spacing` is in stock, `clump` of them together: 1 where the stock is spread at
    random, 1,000 in thousands blocks. Gives what is to be read from there on; nothing when too few members
    would ever be drawn.
    """
    clump = 1 if clump < _CHANCE else clump
    places = _places(windows, spacing, clump, wanted)
    starts = [place.runs * place.room for place in places]
    most_skipped = min(_SKIPPED_PER_CLUMP * clump, _MOST_SKIPPED)
    # Where numbers lie in clumps their count in a run is much of a guess, and the wide gaps count.
    distinct = sum(starts) / (1 + 4 * clump / most_skipped)
    matches = count_numbers(windows) / spacing
    if distinct < max(_MANY_STARTS if matches > _MANY_MATCHES else matches * _SHARE_OF_FEW, 1):
        return []
    [(window, runs, room, is_two)] = draw.choices(places, starts)
    run = window.lowest_run + draw.randrange(runs) * window.block
    skip = int(draw.random() * min(most_skipped, room / 8))
    first = run + int(draw.random() * (room - skip) * spacing)
    span, after = Span(first, run + window.unit - 1, skip), run + window.block
    return [span, Span(after, after + window.unit - 1, 0)] if is_two else [span]


def _places(windows: tuple[Window, ...], spacing: float, clump: float, wanted: int) -> list[_Places]:
    places = []
    for window in windows:
        in_run = window.unit / spacing
        # Begun anywhere in a run, half of it and the whole next one lie behind, in the mean.
        if 1.5 * in_run - wanted - _DEVIATIONS * (1.5 * in_run * clump) ** 0.5 < 0:
            break
        alone, runs = in_run - wanted - _DEVIATIONS * (in_run * clump) ** 0.5, window.runs
        # Never two in clumps: the first run may end in a gap, and then all begin at the head of the next.
        is_two = alone < in_run / 2 and runs > 1 and clump == 1
        places.append(_Places(window, runs - is_two, in_run if is_two else max(alone, 0), is_two))
    return places
