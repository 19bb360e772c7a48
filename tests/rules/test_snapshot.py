from collections import Counter
from collections.abc import Iterable
from functools import reduce
from operator import and_

from hypothesis import given, settings, strategies as st
from pyroaring import BitMap

from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from worker.feed_file import Row
from worker.snapshot import Difference, Offers, SnapshotBuilder, difference

Stock = dict[PhoneNumber, int]
"""The plain model: number → features."""

# Few numbers, so that snapshots overlap, and two containers of a roaring bitmap (65,536 numbers each).
LOCALS = [2_200_000, 2_200_001, 2_200_002, 2_299_999]
NUMBERS = [PhoneNumber(area_code, local) for area_code in ("415", "212") for local in LOCALS]
FEATURES = [0, SMS, MMS, SMS | MMS]

stocks = st.dictionaries(st.sampled_from(NUMBERS), st.sampled_from(FEATURES))
rows_of_feeds = st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(FEATURES)), max_size=20)


def offers_of(stock: Stock) -> Offers:
    offers: dict[tuple[str, int], BitMap] = {}
    for (area_code, local), features in stock.items():
        offers.setdefault((area_code, features), BitMap()).add(local)
    return offers


def stock_of(offers: Offers) -> Stock:
    """Give the plain model of a snapshot, in which each number has one place."""
    stock: Stock = {}
    for (area_code, features), numbers in offers.items():
        for local in numbers:
            assert PhoneNumber(area_code, local) not in stock
            stock[PhoneNumber(area_code, local)] = features
    return stock


def steps_of(change: Difference) -> list[tuple[PhoneNumber, int | None]]:
    """Give the single changes: a number and the features to stock it with, None to withdraw it."""
    withdrawn: list[tuple[PhoneNumber, int | None]] = [
        (PhoneNumber(area_code, local), None)
        for area_code, numbers in change.withdraw.items()
        for local in numbers
    ]
    return withdrawn + list(stock_of(change.stock).items())


def apply(stock: Stock, steps: Iterable[tuple[PhoneNumber, int | None]]) -> Stock:
    changed = dict(stock)
    for number, features in steps:
        if features is None:
            changed.pop(number, None)
        else:
            changed[number] = features
    return changed


def build(*groups: list[Row]) -> tuple[Stock, int]:
    builder = SnapshotBuilder()
    for rows in groups:
        builder.add(rows)
    offers, duplicates = builder.finish()
    return stock_of(offers), duplicates


# The builder


def test_an_empty_feed_is_an_empty_snapshot() -> None:
    assert build() == ({}, 0)
    assert build([]) == ({}, 0)


def test_counts_every_row_that_brings_a_known_number_again() -> None:
    first, second = NUMBERS[0], NUMBERS[1]
    rows = [(first, SMS), (second, 0), (first, SMS), (first, 0), (first, SMS)]
    assert build(rows) == ({first: 0, second: 0}, 3)


def test_counts_duplicates_across_blocks() -> None:
    row = (NUMBERS[0], SMS)
    assert build([row], [row], [row, row]) == ({NUMBERS[0]: SMS}, 3)


def test_only_what_all_rows_name_is_promised_where_they_differ() -> None:
    first, second, third = NUMBERS[:3]
    rows = [
        (first, SMS | MMS),
        (first, MMS),
        (second, 0),
        (second, SMS | MMS),
        (third, SMS),
        (third, SMS | MMS),
    ]
    assert build(rows) == ({first: MMS, second: 0, third: SMS}, 3)
    assert build([(first, SMS), (first, MMS)]) == ({first: 0}, 1)


def test_the_same_local_number_of_two_area_codes_is_two_numbers() -> None:
    west, east = PhoneNumber("415", LOCALS[0]), PhoneNumber("212", LOCALS[0])
    assert build([(west, SMS), (east, MMS)]) == ({west: SMS, east: MMS}, 0)


@given(groups=st.lists(rows_of_feeds, max_size=4))
def test_a_number_stands_once_with_the_features_that_all_its_rows_name(
    groups: list[list[Row]],
) -> None:
    rows = [row for group in groups for row in group]
    snapshot, duplicates = build(*groups)
    brought: dict[PhoneNumber, set[int]] = {}
    for number, features in rows:
        brought.setdefault(number, set()).add(features)
    assert snapshot.keys() == brought.keys()
    assert duplicates == len(rows) - len(brought)
    for number, features in snapshot.items():
        assert features == reduce(and_, brought[number])


# The difference


@given(new=stocks, applied=stocks)
def test_the_difference_turns_the_applied_snapshot_into_the_new_one(new: Stock, applied: Stock) -> None:
    change = difference(offers_of(new), offers_of(applied), [])
    assert apply(applied, steps_of(change)) == new


@given(new=stocks, applied=stocks)
def test_without_unfinished_runs_only_what_differs_is_sent(new: Stock, applied: Stock) -> None:
    change = difference(offers_of(new), offers_of(applied), [])
    expected = {number for number in new.keys() | applied.keys() if new.get(number) != applied.get(number)}
    assert Counter(number for number, _ in steps_of(change)) == Counter(expected)
    assert change.size == len(expected)


@given(new=stocks, applied=stocks, intended=st.lists(stocks, max_size=3))
def test_counts_compare_with_the_applied_snapshot_whatever_was_intended(
    new: Stock, applied: Stock, intended: list[Stock]
) -> None:
    change = difference(offers_of(new), offers_of(applied), [offers_of(one) for one in intended])
    assert change.added == len(new.keys() - applied.keys())
    assert change.removed == len(applied.keys() - new.keys())
    assert change.unchanged == len(new.keys() & applied.keys())
    assert change.size == len(steps_of(change))


@given(stock=stocks)
def test_no_change_is_a_difference_of_nothing(stock: Stock) -> None:
    change = difference(offers_of(stock), offers_of(stock), [])
    assert change == Difference(stock={}, withdraw={}, added=0, removed=0, unchanged=len(stock))
    assert change.size == 0


@given(stock=stocks)
def test_bitmaps_of_nothing_are_no_change(stock: Stock) -> None:
    with_empty = {("604", SMS): BitMap(), ("415", 9): BitMap(), **offers_of(stock)}
    assert difference(with_empty, offers_of(stock), []).size == 0
    assert difference(offers_of(stock), with_empty, []).size == 0
    assert difference(with_empty, offers_of(stock), []).stock == {}


@given(new=stocks, applied=stocks, intended=st.lists(stocks, max_size=3))
def test_comparing_leaves_the_snapshots_as_they_are(
    new: Stock, applied: Stock, intended: list[Stock]
) -> None:
    snapshots = [offers_of(one) for one in (new, applied, *intended)]
    difference(snapshots[0], snapshots[1], snapshots[2:])
    assert [stock_of(one) for one in snapshots] == [new, applied, *intended]


@settings(max_examples=500)
@given(data=st.data(), applied=stocks, unfinished=st.lists(stocks, max_size=4), new=stocks)
def test_the_difference_mends_whatever_unfinished_runs_left(
    data: st.DataObject, applied: Stock, unfinished: list[Stock], new: Stock
) -> None:
    stock, intended = applied, list[Offers]()
    for target in unfinished:
        # A run may die with any of its changes made: calls are under way side by side.
        steps = steps_of(difference(offers_of(target), offers_of(applied), intended))
        if steps:
            made = data.draw(st.lists(st.sampled_from(steps), unique=True))
            stock = apply(stock, made)
        intended.append(offers_of(target))
    change = difference(offers_of(new), offers_of(applied), intended)
    assert apply(stock, steps_of(change)) == new


@given(data=st.data(), applied=stocks, target=stocks, new=stocks)
def test_a_run_that_died_before_its_snapshot_was_kept_whole_does_no_harm(
    data: st.DataObject, applied: Stock, target: Stock, new: Stock
) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(target))) if target else st.just(set()))
    part = {number: features for number, features in target.items() if number in kept}
    change = difference(offers_of(new), offers_of(applied), [offers_of(part)])
    assert apply(applied, steps_of(change)) == new


# Numbers that may be listed anew


def by_area(numbers: Iterable[PhoneNumber]) -> dict[str, BitMap]:
    areas: dict[str, BitMap] = {}
    for area_code, local in numbers:
        areas.setdefault(area_code, BitMap()).add(local)
    return areas


@given(new=stocks, applied=stocks, intended=st.lists(stocks, max_size=3), data=st.data())
def test_a_number_that_may_be_listed_anew_is_sent_when_the_feed_has_it_and_withdrawn_when_not(
    new: Stock, applied: Stock, intended: list[Stock], data: st.DataObject
) -> None:
    again = data.draw(st.sets(st.sampled_from(NUMBERS)))
    change = difference(
        offers_of(new), offers_of(applied), [offers_of(one) for one in intended], by_area(again)
    )
    steps = dict(steps_of(change))
    for number in again:
        if number in new:
            assert steps[number] == new[number]
        else:
            was_listed = any(number in one for one in (applied, *intended))
            assert (number in steps) == was_listed
            assert steps.get(number) is None


@given(new=stocks, applied=stocks, again=st.sets(st.sampled_from(NUMBERS)))
def test_numbers_that_may_be_listed_anew_change_nothing_for_others(
    new: Stock, applied: Stock, again: set[PhoneNumber]
) -> None:
    def of_others(change: Difference) -> dict[PhoneNumber, int | None]:
        return {number: step for number, step in steps_of(change) if number not in again}

    usual = difference(offers_of(new), offers_of(applied), [])
    special = difference(offers_of(new), offers_of(applied), [], by_area(again))
    assert of_others(special) == of_others(usual)
