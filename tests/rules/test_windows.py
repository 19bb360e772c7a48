from collections import Counter
from itertools import product
from math import ceil
from random import Random

import pytest
from hypothesis import assume, given, strategies as st

from shared.phone_number import e164
from shared.search.windows import (
    LOCAL_NUMBERS,
    LOWEST_LOCAL,
    WHOLE_AREA,
    Span,
    Window,
    all_numbers,
    count_numbers,
    draw_spans,
    windows_of,
)

digits = st.sampled_from("0123456789")
area_codes = st.from_regex(r"[2-9][0-9]{2}", fullmatch=True)
local_numbers = st.integers(LOWEST_LOCAL, LOCAL_NUMBERS - 1)
texts = st.text(digits, max_size=12)
spacings = st.sampled_from([1.0, 8.0, 80.5, 1_000.0, 20_000.0, 8_000_000.0])
clumps = st.sampled_from([1.0, 1.7, 100.0, 1_000.0])
generators = st.integers(0, 2**32).map(Random)


@st.composite
def searches(draw: st.DrawFn) -> tuple[str, str]:
    """Give an area code and a pattern: any, a part of a number of that area code, or anchored."""
    area_code = draw(area_codes)
    number = e164(area_code, draw(local_numbers))
    begin = draw(st.integers(0, 11))
    part = number[begin : begin + draw(st.integers(0, 12))]
    patterns = ["", part, draw(texts), "+" + draw(texts)[:11], f"+1{area_code}{part.removeprefix('+')[:7]}"]
    return area_code, draw(st.sampled_from(patterns))


def holds(window: Window, local: int) -> bool:
    return window.lowest <= local % window.block < window.lowest + window.unit


def matches(area_code: str, local: int, pattern: str) -> bool:
    return pattern in e164(area_code, local)


def with_pattern_inside(area_code: str, pattern: str, draw: Random) -> list[int]:
    """Give local numbers that contain the pattern, one for each place in the number where it can stand."""
    text = pattern.removeprefix("+")
    found = []
    for begin in range(12 - len(text)):
        number = list(f"1{area_code}{draw.randrange(LOWEST_LOCAL, LOCAL_NUMBERS)}")
        number[begin : begin + len(text)] = text
        whole = "".join(number)
        if whole.startswith("1" + area_code) and whole[4] not in "01":
            found.append(int(whole[4:]))
    return found


def every_match(area_code: str, pattern: str) -> set[int]:
    """Write out all local numbers that contain the pattern: every place, every digit elsewhere."""
    anchored, text = pattern.startswith("+"), pattern.removeprefix("+")
    found = set()
    for begin in range(1 if anchored else 12 - len(text)):
        number: list[str] = [*"1", *area_code, *("0123456789",) * 7]
        taken = number[begin : begin + len(text)]
        if all(digit in choice for digit, choice in zip(text, taken, strict=False)) and len(taken) == len(
            text
        ):
            number[begin : begin + len(text)] = text
            found |= {int("".join(local)) for local in product(*number[4:]) if local[0] not in "01"}
    return found


@given(searches(), st.lists(local_numbers, max_size=50), st.randoms(use_true_random=False))
def test_the_windows_hold_a_number_exactly_when_its_text_contains_the_pattern(
    search: tuple[str, str], samples: list[int], draw: Random
) -> None:
    area_code, pattern = search
    windows = windows_of(area_code, pattern)
    for local in samples + with_pattern_inside(area_code, pattern, draw):
        neighbours = {max(local - 1, LOWEST_LOCAL), local, min(local + 1, LOCAL_NUMBERS - 1)}
        for number in neighbours:
            assert any(holds(window, number) for window in windows) == matches(area_code, number, pattern)


@given(searches())
def test_every_window_can_hold_a_number_and_starts_at_its_first_run(search: tuple[str, str]) -> None:
    area_code, pattern = search
    for window in windows_of(area_code, pattern):
        last_of_run = window.lowest_run + window.unit - 1
        assert LOWEST_LOCAL <= last_of_run < LOCAL_NUMBERS
        assert matches(area_code, last_of_run, pattern)
        # The run before it would lie below every number.
        assert last_of_run - window.block < LOWEST_LOCAL


@given(searches())
def test_windows_come_with_the_longest_runs_first_and_none_twice(search: tuple[str, str]) -> None:
    windows = windows_of(*search)
    assert [window.unit for window in windows] == sorted((window.unit for window in windows), reverse=True)
    assert len(set(windows)) == len(windows)
    assert WHOLE_AREA not in windows or windows == (WHOLE_AREA,)


@given(area_codes, st.text(digits, min_size=5, max_size=11), st.booleans())
def test_all_numbers_lists_every_match_once_and_in_order(area_code: str, text: str, anchored: bool) -> None:
    pattern = "+" + text if anchored else text
    numbers = all_numbers(windows_of(area_code, pattern), at_most=2000)
    assume(numbers is not None)
    assert numbers == sorted(every_match(area_code, pattern))


@given(searches(), st.integers(0, 5000))
def test_all_numbers_gives_up_exactly_when_the_windows_hold_more_than_allowed(
    search: tuple[str, str], at_most: int
) -> None:
    windows = windows_of(*search)
    # Nothing but whole runs above the lowest number: those that the numbers can fall in.
    held = sum(window.unit * ceil((LOCAL_NUMBERS - window.lowest_run) / window.block) for window in windows)
    assert (all_numbers(windows, at_most) is None) == (held > at_most)
    assert count_numbers(windows) == held


@pytest.mark.parametrize("pattern", ["", "+", "+1", "+14", "+141", "+1415", "1", "4", "15", "415", "1415"])
def test_a_pattern_within_the_prefix_matches_the_whole_area_code(pattern: str) -> None:
    assert windows_of("415", pattern) == (WHOLE_AREA,)


@pytest.mark.parametrize(
    ("area_code", "pattern", "first", "last"),
    [
        ("415", "+1415555", 5_550_000, 5_559_999),
        ("415", "+14152", 2_000_000, 2_999_999),
        ("415", "+14159999999", 9_999_999, 9_999_999),
        ("415", "4155550123", 5_550_123, 5_550_123),
        ("415", "14155550123", 5_550_123, 5_550_123),
    ],
)
def test_a_pattern_that_fixes_the_first_local_digits_is_one_run(
    area_code: str, pattern: str, first: int, last: int
) -> None:
    (window,) = windows_of(area_code, pattern)
    assert (window.lowest_run, window.block) == (first, LOCAL_NUMBERS)
    assert window.unit == last - first + 1


def test_a_pattern_may_begin_inside_the_prefix() -> None:
    # +1 251 555 0000: the 1 of the pattern is the last digit of the area code.
    assert windows_of("251", "1555") == (
        Window(5_550_000, LOCAL_NUMBERS, 10_000),
        # And within the local digits: 1555xxx begins with 1 and is none; x1555xx, xx1555x, xxx1555.
        Window(155_500, 1_000_000, 100),
        Window(15_550, 100_000, 10),
        Window(1_555, 10_000, 1),
    )


@pytest.mark.parametrize("pattern", ["+2", "+1416", "+4", "+15550123", "+1415055", "+14151", "+14151555012"])
def test_an_anchored_pattern_that_no_number_begins_with_matches_nothing(pattern: str) -> None:
    assert windows_of("415", pattern) == ()


@given(area_codes, st.text(digits, min_size=12, max_size=12))
def test_twelve_digits_are_more_than_a_number_has(area_code: str, pattern: str) -> None:
    assert windows_of(area_code, pattern) == ()


@given(searches(), spacings, clumps, st.integers(1, 100), generators)
def test_drawn_spans_are_a_run_of_a_window_from_some_number_on_and_perhaps_the_next_one(
    search: tuple[str, str], spacing: float, clump: float, wanted: int, draw: Random
) -> None:
    windows = windows_of(*search)
    for _ in range(5):
        spans = draw_spans(windows, spacing, clump, wanted, draw)
        assert len(spans) <= 2
        for (first, last, skip), is_next in zip(spans, (False, True), strict=False):
            runs = [window for window in windows if last % window.block == window.lowest + window.unit - 1]
            assert any(last - window.unit < first <= last < LOCAL_NUMBERS for window in runs)
            assert matches(search[0], max(first, LOWEST_LOCAL), search[1])
            assert matches(search[0], last, search[1])
            assert skip == 0 if is_next else skip >= 0
            if is_next:
                assert any(spans[0].last == last - window.block for window in runs)
                assert any(first == last - window.unit + 1 for window in runs)


@given(searches(), spacings, clumps, st.integers(1, 100), generators)
def test_what_is_wanted_is_expected_behind_the_start_of_a_span(
    search: tuple[str, str], spacing: float, clump: float, wanted: int, draw: Random
) -> None:
    for _ in range(20):
        spans = draw_spans(windows_of(*search), spacing, clump, wanted, draw)
        expected = sum(span.last + 1 - max(span.first, LOWEST_LOCAL) for span in spans) / spacing
        if len(spans) == 1:
            assert spans[0].skip + wanted <= expected
        elif spans:
            # At worst all of it comes from the second run.
            assert wanted <= 1.5 * expected


def test_spans_begin_all_over_a_long_run() -> None:
    draw, spacing = Random(1), 80.0  # noqa: S311
    starts = []
    for _ in range(200):
        (span,) = draw_spans((WHOLE_AREA,), spacing, 1, 10, draw)
        starts.append((span.first - LOWEST_LOCAL) / spacing + span.skip)
    in_stock = (LOCAL_NUMBERS - LOWEST_LOCAL) / spacing
    tenths = {int(10 * start / in_stock) for start in starts}
    assert tenths == set(range(10))


def test_windows_are_drawn_by_the_starts_that_they_offer() -> None:
    draw = Random(1)  # noqa: S311
    # 800,000 in stock: 10,000 in the run 77xxxxx, 1,000 in each x77xxxx, 100 in xx77xxx, 10 in xxx77xx.
    spans = [draw_spans(windows_of("415", "77"), 10.0, 1, 10, draw) for _ in range(1000)]
    drawn = Counter(_unit_of(span[0]) for span in spans)
    assert set(drawn) == {100_000, 10_000, 1_000}
    # Starts: 9,790, 8 x 927 and 80 x 70.
    assert 380 <= drawn[100_000] <= 480
    assert 280 <= drawn[10_000] <= 370
    assert 200 <= drawn[1_000] <= 295
    assert len({span[0].first for span in spans}) >= 950


def _unit_of(span: Span) -> int:
    return next(unit for unit in (100_000, 10_000, 1_000) if (span.last + 1) % unit == 0)


def test_a_run_that_is_short_is_read_together_with_the_next() -> None:
    draw = Random(1)  # noqa: S311
    # 12.5 in a run of 100, of which there are eight; none begins in the last.
    windows = (Window(12_300, 1_000_000, 100),)
    starts = set()
    for _ in range(200):
        spans = draw_spans(windows, 8.0, 1, 10, draw)
        assert len(spans) == 2
        assert spans[1] == (spans[0].last + 1_000_000 - 99, spans[0].last + 1_000_000, 0)
        starts.add(spans[0].first // 1_000_000)
    assert starts == set(range(2, 9))


def test_many_matches_are_not_shown_from_a_few_starts() -> None:
    draw, windows = Random(1), windows_of("415", "77")  # noqa: S311
    # 17,000 of 300,000 numbers match, and 9,200 have ten more behind them; runs of 37 do not hold 100.
    assert draw_spans(windows, 26.7, 1, 10, draw)
    assert not draw_spans(windows, 26.7, 1, 100, draw)
    # 11,400 of 200,000: fewer starts than are asked for.
    assert not draw_spans(windows, 40.0, 1, 10, draw)
    # 1,140 of 20,000: nothing offers many.
    assert draw_spans(windows, 400.0, 1, 10, draw)


def test_blocks_are_drawn_from_where_runs_hold_dozens_of_them() -> None:
    draw = Random(1)  # noqa: S311
    for _ in range(50):
        # 1,000 blocks: 125 in 7xxxxxx, 12 in each x7xxxxx, one in each xx7xxxx.
        (span,) = draw_spans(windows_of("415", "7"), 8.0, 1_000, 10, draw)
        assert (span.last + 1) % 100_000 == 0
        assert span.skip < 1_000
        assert not draw_spans(windows_of("415", "77"), 8.0, 1_000, 10, draw)
        # 24 blocks.
        assert not draw_spans(windows_of("415", "7"), 333.0, 1_000, 10, draw)
