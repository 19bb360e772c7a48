"""When a feed is refused, and when what it removes has to wait."""

import pytest
from hypothesis import given, strategies as st
from pyroaring import BitMap

from shared.feeds.guards import refusal
from shared.feeds.offers import Numbers, Offers
from shared.feeds.profiles import Guards, Mode
from worker.feeds.difference import missing_from
from worker.feeds.guards import too_many_removed

GUARDS = Guards()
"""5 % and 1,000 numbers; area codes of 100 numbers; 10 % and 10 rows."""


def offers(**counts: int) -> Offers:
    """Give so many numbers of each area code (`a415=7`)."""
    return {name[1:]: {1: BitMap(range(2_000_000, 2_000_000 + count))} for name, count in counts.items()}


def judge(guards: Guards, applied: Offers, new: Offers) -> str | None:
    return too_many_removed(guards, applied, new, missing_from(new, applied))


# Removals


@pytest.mark.parametrize(
    ("applied", "left", "waits"),
    [
        # Both have to be exceeded: the share, and the number.
        (30_000, 28_500, False),
        (30_000, 28_499, True),
        (20_000, 19_000, False),
        (20_000, 18_999, True),
        (10_000, 9_000, False),
        (10_000, 8_999, True),
        (1_000, 1, False),
        (1_001, 1, False),
        (1_002, 1, True),
        (1_000_000, 950_000, False),
        (1_000_000, 949_999, True),
        (10_000, 10_000, False),
        (10_000, 20_000, False),
        (0, 10, False),
    ],
)
def test_removals_wait_above_the_share_and_the_number_of_both(applied: int, left: int, waits: bool) -> None:
    assert (judge(GUARDS, offers(a415=applied), offers(a415=left)) is not None) == waits


@pytest.mark.parametrize(
    ("applied", "left", "waits"), [(99, 0, False), (100, 0, True), (100, 1, False), (1_000, 1, False)]
)
def test_an_area_code_may_not_lose_all_of_many_numbers(applied: int, left: int, waits: bool) -> None:
    before = offers(a415=applied, a212=1_000_000)
    reason = judge(GUARDS, before, offers(a415=left, a212=1_000_000))
    assert reason == ("it leaves nothing in area code 415" if waits else None)


def test_an_area_code_that_is_named_with_nothing_in_it_is_empty() -> None:
    new: Offers = {"415": {0: BitMap()}, "212": {1: BitMap([2_000_000])}}
    assert judge(GUARDS, offers(a415=100, a212=1), new) == "it leaves nothing in area code 415"


def test_an_area_code_whose_numbers_are_all_replaced_is_not_empty() -> None:
    others: Offers = {"415": {1: BitMap(range(3_000_000, 3_000_100))}}
    assert judge(GUARDS, offers(a415=100), others) is None


def test_the_reason_names_both_numbers_the_share_and_the_limit() -> None:
    reason = judge(GUARDS, offers(a415=12_345), offers(a415=10_000))
    assert reason == "it removes 2,345 of 12,345 numbers (19.0 %), more than 5 %"


def test_all_reasons_are_said_and_the_first_five_area_codes_named() -> None:
    before = {str(area): {0: BitMap(range(2_000_000, 2_000_500))} for area in range(210, 217)}
    assert judge(GUARDS, before, {}) == (
        "it removes 3,500 of 3,500 numbers (100.0 %), more than 5 %; "
        "it leaves nothing in area codes 210, 211, 212, 213, 214 and 2 more"
    )


@pytest.mark.parametrize("guards", [Guards(removed_percent=0, removed_numbers=0, emptied_area=0)])
def test_the_strictest_guards_let_every_removal_wait_and_nothing_else(guards: Guards) -> None:
    assert judge(guards, offers(a415=1_000), offers(a415=999))
    assert judge(guards, offers(a415=1_000), offers(a415=1_000)) is None
    assert judge(guards, {}, offers(a415=1_000)) is None


def test_a_share_may_have_decimals() -> None:
    guards = Guards(removed_percent=0.5, removed_numbers=0)
    assert judge(guards, offers(a415=1_000), offers(a415=995)) is None
    reason = judge(guards, offers(a415=1_000), offers(a415=994))
    assert reason == "it removes 6 of 1,000 numbers (0.6 %), more than 0.5 %"


numbers = st.dictionaries(st.sampled_from(["415", "212"]), st.sets(st.integers(2_000_000, 2_000_020)))


@given(before=numbers, after=numbers, percent=st.integers(0, 100), least=st.integers(0, 25))
def test_nothing_waits_without_a_guard_that_says_so(
    before: dict[str, set[int]], after: dict[str, set[int]], percent: int, least: int
) -> None:
    guards = Guards(removed_percent=percent, removed_numbers=least, emptied_area=10)
    applied: Offers = {area: {0: BitMap(found)} for area, found in before.items()}
    new: Offers = {area: {1: BitMap(found)} for area, found in after.items()}
    gone = {area: found - after.get(area, set()) for area, found in before.items()}
    count, total = sum(map(len, gone.values())), sum(map(len, before.values()))
    is_too_much = count > least and count * 100 > percent * total
    is_emptied = any(len(gone[area]) >= 10 and not after.get(area) for area in gone)
    removed: Numbers = missing_from(new, applied)
    assert bool(too_many_removed(guards, applied, new, removed)) == (is_too_much or is_emptied)


# Rows


@pytest.mark.parametrize(
    ("rows", "rejected", "is_refused"),
    [
        (100, 10, False),
        (100, 11, True),
        (110, 11, False),
        (109, 11, True),
        (11, 10, False),
        (11, 11, True),
        (1_000, 100, False),
        (1_000, 101, True),
        (0, 0, False),
    ],
)
@pytest.mark.parametrize("mode", Mode)
def test_a_feed_is_refused_above_the_share_and_the_number_of_bad_rows_of_both(
    mode: Mode, rows: int, rejected: int, is_refused: bool
) -> None:
    reason = refusal(GUARDS, mode, rows=rows, rejected=rejected, numbers=1)
    assert (reason is not None) == is_refused


def test_the_reason_of_a_refusal_names_both_numbers_and_the_limit() -> None:
    reason = refusal(GUARDS, Mode.DELTA, rows=12_345, rejected=2_000, numbers=1)
    assert reason == "2,000 of 12,345 rows cannot be read, more than 10 %; the stock stays as it was"


@pytest.mark.parametrize(("mode", "is_refused"), [(Mode.SNAPSHOT, True), (Mode.DELTA, False)])
def test_a_snapshot_of_nothing_is_refused_and_a_delta_of_nothing_changes_nothing(
    mode: Mode, is_refused: bool
) -> None:
    reason = refusal(GUARDS, mode, rows=5, rejected=1, numbers=0)
    assert (reason is not None) == is_refused
