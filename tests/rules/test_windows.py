"""Windows hold exactly the numbers whose text contains the pattern."""

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
    Window,
    count_numbers,
    endings_of,
    local_windows,
    numbers_in,
    prefix_windows,
    windows_of,
)

digits = st.sampled_from("0123456789")
area_codes = st.from_regex(r"[2-9][0-9]{2}", fullmatch=True)
local_numbers = st.integers(LOWEST_LOCAL, LOCAL_NUMBERS - 1)
texts = st.text(digits, max_size=12)


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
    return local >= window.runs.start and (local - window.runs.start) % window.runs.step < window.length


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
        last_of_run = window.runs.start + window.length - 1
        assert LOWEST_LOCAL <= last_of_run < LOCAL_NUMBERS
        assert matches(area_code, last_of_run, pattern)
        # The run before it would lie below every number.
        assert last_of_run - window.runs.step < LOWEST_LOCAL


@given(searches())
def test_windows_come_with_the_longest_runs_first_and_none_twice(search: tuple[str, str]) -> None:
    windows = windows_of(*search)
    assert [window.length for window in windows] == sorted(
        (window.length for window in windows), reverse=True
    )
    assert len(set(windows)) == len(windows)
    assert WHOLE_AREA not in windows or windows == (WHOLE_AREA,)


@given(area_codes, st.text(digits, min_size=5, max_size=11), st.booleans())
def test_the_numbers_in_windows_are_every_match(area_code: str, text: str, anchored: bool) -> None:
    windows = windows_of(area_code, "+" + text if anchored else text)
    assume(count_numbers(windows) <= 2000)
    matches = every_match(area_code, "+" + text if anchored else text)
    assert [local for local in numbers_in(windows) if local >= LOWEST_LOCAL] == sorted(matches)


@given(searches())
def test_the_size_of_windows_counts_whole_runs_in_which_a_number_can_be(search: tuple[str, str]) -> None:
    windows = windows_of(*search)
    held = sum(
        window.length * ceil((LOCAL_NUMBERS - window.runs.start) / window.runs.step) for window in windows
    )
    assert count_numbers(windows) == held


@given(st.text(digits, min_size=1, max_size=9), st.lists(local_numbers, max_size=50))
def test_local_windows_hold_a_number_exactly_when_its_local_digits_contain_the_pattern(
    pattern: str, samples: list[int]
) -> None:
    windows = local_windows(pattern)
    for local in samples:
        assert any(holds(window, local) for window in windows) == (pattern in str(local))


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
    assert (window.runs.start, window.runs.step) == (first, LOCAL_NUMBERS)
    assert window.length == last - first + 1


def test_a_pattern_may_begin_inside_the_prefix() -> None:
    # +1 251 555 0000: the 1 of the pattern is the last digit of the area code.
    assert windows_of("251", "1555") == (
        Window(range(5_550_000, LOCAL_NUMBERS, LOCAL_NUMBERS), 10_000),
        # And within the local digits: 1555xxx begins with 1 and is none; x1555xx, xx1555x, xxx1555.
        Window(range(2_155_500, LOCAL_NUMBERS, 1_000_000), 100),
        Window(range(2_015_550, LOCAL_NUMBERS, 100_000), 10),
        Window(range(2_001_555, LOCAL_NUMBERS, 10_000), 1),
    )


@pytest.mark.parametrize("pattern", ["+2", "+1416", "+4", "+15550123", "+1415055", "+14151", "+14151555012"])
def test_an_anchored_pattern_that_no_number_begins_with_matches_nothing(pattern: str) -> None:
    assert windows_of("415", pattern) == ()


@given(area_codes, st.text(digits, min_size=12, max_size=12))
def test_twelve_digits_are_more_than_a_number_has(area_code: str, pattern: str) -> None:
    assert windows_of(area_code, pattern) == ()


@given(area_codes, st.text(digits, min_size=1, max_size=12), st.data())
def test_the_windows_of_a_pattern_are_local_or_begin_at_an_ending_of_the_prefix(
    area_code: str, pattern: str, data: st.DataObject
) -> None:
    endings = endings_of(area_code)
    if data.draw(st.booleans()):
        pattern = data.draw(st.sampled_from(endings)) + pattern[:7]
    assume(pattern not in f"1{area_code}")
    windows = {*local_windows(pattern)}
    windows |= {window for ending, window in prefix_windows(pattern) if ending in endings}
    assert windows == set(windows_of(area_code, pattern))
