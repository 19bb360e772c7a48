"""A hint proposes the numbers that match, from random ones on, and follows the events of its area code."""

import struct
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings, strategies as st
from pyroaring import BitMap

from shared.number_events import PACKED_LOCALS, Entry
from shared.phone_number import e164
from shared.search import hint as module
from shared.search.hint import Hint, size_bytes
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL, Window, numbers_in, windows_of

AREA = "415"
local_numbers = st.one_of(
    st.integers(LOWEST_LOCAL, LOCAL_NUMBERS - 1),
    st.integers(5_550_000, 5_550_999),
    st.sampled_from([2_000_000, 9_999_999, 5_551_555, 4_155_155]),
)
stocks = st.sets(local_numbers, max_size=300)
patterns = st.one_of(
    st.text("0123456789", max_size=8),
    st.text("15", max_size=5),
    st.sampled_from(["+", "+1", "+1415", "+14155", "1415", "4155", "155", "415555"]),
)
is_text = st.booleans()
"""Whether the hint has a text, or a bitmap only."""


def hint_of(locals_: Iterable[int], *, is_text: bool) -> Hint:
    hint = Hint(AREA, (0, 0))
    if not is_text:
        hint._text = None
    members = [e164(AREA, local).encode() for local in sorted(locals_)]
    for first in range(0, len(members), 100):
        hint.extend(members[first : first + 100])
    return hint


def matching(locals_: Iterable[int], pattern: str) -> set[bytes]:
    return {number.encode() for local in locals_ if pattern in (number := e164(AREA, local))}


def check_finds(hint: Hint, locals_: set[int], pattern: str, wanted: int) -> None:
    expected = matching(locals_, pattern)
    members, are_all = hint.find(pattern, wanted)
    assert len(members) == len(set(members)) == min(wanted, len(expected))
    assert set(members) <= expected
    assert set(members) == expected or not are_all
    assert are_all or len(members) == wanted


@settings(deadline=None)
@given(stocks, is_text, st.lists(patterns, min_size=1, max_size=5), st.integers(1, 50))
def test_it_finds_what_a_plain_filter_finds(
    locals_: set[int], is_text: bool, some_patterns: list[str], wanted: int
) -> None:
    hint = hint_of(locals_, is_text=is_text)
    for pattern in some_patterns:
        check_finds(hint, locals_, pattern, wanted)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32).map(Random), st.lists(patterns, min_size=5, max_size=5))
def test_it_finds_what_a_plain_filter_finds_in_a_dense_stock(draw: Random, some_patterns: list[str]) -> None:
    first = draw.choice([2_000_000, 9_900_000, 5_500_000, 1_000 * draw.randrange(2_000, 9_900)])
    locals_ = {
        local for local in range(first, first + 100_000, draw.choice([1, 3, 10])) if draw.random() < 0.9
    }
    hint = hint_of(locals_, is_text=False)
    for pattern in some_patterns:
        for wanted in (1, 10, 100):
            check_finds(hint, locals_, pattern, wanted)
            # What was remembered of the pattern changes nothing.
            check_finds(hint, locals_, pattern, wanted)


steps = st.lists(
    st.tuples(
        st.sampled_from(["hold", "release", "offer", "withdraw"]),
        st.lists(local_numbers, min_size=1, max_size=5),
    ),
    max_size=30,
)


def entries_of(stock: set[int], changes: list[tuple[str, list[int]]]) -> list[Entry]:
    """Return the events of changes to a stock, which is changed."""
    entries: list[Entry] = []

    def add(before: str, after: str, **fields: bytes) -> None:
        shown = {b"from": before.encode(), b"to": after.encode()}
        more = {name.encode(): value for name, value in fields.items()}
        entries.append((f"7-{len(entries)}".encode(), shown | more))

    for change, locals_ in changes:
        packed = struct.pack(f"<{len(locals_)}I", *(local | 3 << 24 for local in locals_))
        if change == "offer":
            add("unknown", "available", **{PACKED_LOCALS.decode(): packed})
            stock |= set(locals_)
        elif change == "withdraw":
            add("available", "unknown", **{PACKED_LOCALS.decode(): packed})
            stock -= set(locals_)
        else:
            for local in locals_:
                number = e164(AREA, local).encode()
                before, after = ("available", "held") if change == "hold" else ("held", "available")
                add(before, after, number=number)
                # Neither enters nor leaves the stock.
                add("held", "assigned", number=number)
            stock.difference_update(locals_) if change == "hold" else stock.update(locals_)
    return entries


@settings(max_examples=50, deadline=None)
@given(stocks, is_text, steps, st.lists(patterns, min_size=3, max_size=3), st.integers(0, 30), st.data())
def test_events_make_it_the_stock_that_they_lead_to(
    stock: set[int],
    is_text: bool,
    changes: list[tuple[str, list[int]]],
    some_patterns: list[str],
    wanted: int,
    data: st.DataObject,
) -> None:
    hint = hint_of(stock, is_text=is_text)
    for pattern in some_patterns:
        hint.find(pattern, wanted + 1)
    entries = entries_of(stock, changes)
    cut = data.draw(st.integers(0, len(entries)))
    hint.apply(entries[:cut])
    # Entries that two searches have read are applied once.
    hint.apply(entries[cut // 2 : cut])
    hint.apply(entries[cut // 2 :])
    assert set(hint.numbers) == stock
    assert hint.version == ((7, len(entries) - 1) if entries else (0, 0))
    for pattern in some_patterns:
        check_finds(hint, stock, pattern, wanted + 1)


def test_it_reports_the_numbers_that_are_new() -> None:
    hint = hint_of({5_550_100}, is_text=True)
    entries = entries_of(
        set(), [("offer", [5_550_100, 5_550_101]), ("hold", [5_550_101]), ("offer", [5_550_102])]
    )
    assert hint.apply(entries) == [5_550_102]


@pytest.mark.parametrize("members", [[b"broken"], [b"+14165550100"], [b"+14155550100", b"x14155550101"]])
def test_members_that_are_no_numbers_of_the_area_code_are_refused(members: list[bytes]) -> None:
    with pytest.raises(ValueError, match="area code 415"):
        Hint(AREA, (0, 0)).extend(members)


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("pattern", ["", "5", "55", "155"])
def test_any_match_can_be_the_first(monkeypatch: pytest.MonkeyPatch, is_text: bool, pattern: str) -> None:
    monkeypatch.setattr(module, "_random", Random(1))  # noqa: S311
    # Ten blocks far apart, all of whose numbers may begin an answer.
    locals_ = {first + line for first in range(2_150_000, 9_999_999, 800_000) for line in range(1000)}
    hint = hint_of(locals_, is_text=is_text)
    matches = [local for local in locals_ if pattern in e164(AREA, local)]
    firsts = Counter(min(hint.find(pattern, 10).members) for _ in range(2000))
    # Each as often as the others: a block by the number of its matches, and no number often.
    by_block = Counter(number[5:9] for number in firsts.elements())
    for block, count in Counter(str(local)[:4].encode() for local in matches).items():
        assert abs(by_block[block] / 2000 - count / len(matches)) < 0.08
    assert max(firsts.values()) <= 100


def test_a_text_that_grows_or_shrinks_past_its_bound_becomes_a_bitmap_and_a_text_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TEXT_NUMBERS", 100)
    stock = set(range(5_550_000, 5_550_100))
    hint = hint_of(stock, is_text=True)
    assert hint._text is not None
    hint.apply(entries_of(stock, [("offer", [5_560_000])]))
    assert hint._text is None
    check_finds(hint, stock, "555", 5)
    hint.apply([(b"8-0", entries_of(stock, [("withdraw", list(range(5_550_000, 5_550_060)))])[0][1])])
    assert hint._text is not None
    check_finds(hint, stock, "555", 5)
    check_finds(hint, stock, "556", 5)


def test_its_memory_is_bounded_by_the_area_code() -> None:
    assert size_bytes(3_333) == 14 * 3_333
    assert size_bytes(8_000_000) == 1_250_000


def test_all_matches_of_an_odd_stock_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = {local for local in range(2_000_000, 2_200_000) if "9" not in str(local)} | {2_199_999}
    hint = hint_of(stock, is_text=False)
    computed: list[tuple[Window, ...]] = []

    def recorded(windows: tuple[Window, ...]) -> BitMap:
        computed.append(windows)
        return numbers_in(windows)

    monkeypatch.setattr(module, "numbers_in", recorded)
    for _ in range(3):
        assert hint.find("99", 10) == ([b"+14152199999"], True)
    assert computed == [windows_of(AREA, "99")]
