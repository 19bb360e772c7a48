"""Snapshots, deltas and their differences, against plain dictionaries and sets."""

from collections import Counter
from collections.abc import Iterable
from functools import reduce
from operator import and_

from hypothesis import given, settings, strategies as st
from pyroaring import BitMap

from shared.feeds.offers import DeltaBuilder, Numbers, Offers, SnapshotBuilder, count_of, numbers_of
from shared.feeds.rows import REMOVAL, Block, Range, Row
from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import block_of
from worker.feeds.difference import (
    Difference,
    changed_by,
    difference,
    missing_from,
    together,
    union_of,
    without,
)

Stock = dict[PhoneNumber, int]
"""The plain model: number → features."""

# Few numbers, so that snapshots overlap, and two containers of a roaring bitmap (65,536 numbers each).
LOCALS = [2_200_000, 2_200_001, 2_200_002, 2_299_999]
NUMBERS = [PhoneNumber(area_code, local) for area_code in ("415", "212") for local in LOCALS]
FEATURES = [0, SMS, MMS, SMS | MMS]

stocks = st.dictionaries(st.sampled_from(NUMBERS), st.sampled_from(FEATURES))
some_numbers = st.sets(st.sampled_from(NUMBERS))
rows = st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from([*FEATURES, REMOVAL])), max_size=20)
ranges = st.lists(
    st.builds(
        Range,
        st.sampled_from(["415", "212"]),
        st.integers(2_199_998, 2_200_003),
        st.integers(1, 4),
        st.sampled_from([*FEATURES, REMOVAL]),
    ),
    max_size=4,
)
blocks = st.builds(block_of, rows, ranges)


def offers_of(stock: Stock) -> Offers:
    offers: dict[str, dict[int, BitMap]] = {}
    for (area_code, local), features in stock.items():
        offers.setdefault(area_code, {}).setdefault(features, BitMap()).add(local)
    return offers


def stock_of(offers: Offers) -> Stock:
    """Give the plain model of a snapshot, in which each number has one place."""
    stock: Stock = {}
    for area_code, places in offers.items():
        for features, numbers in places.items():
            for local in numbers:
                assert PhoneNumber(area_code, local) not in stock
                stock[PhoneNumber(area_code, local)] = features
    return stock


def by_area(numbers: Iterable[PhoneNumber]) -> Numbers:
    areas: dict[str, BitMap] = {}
    for area_code, local in numbers:
        areas.setdefault(area_code, BitMap()).add(local)
    return areas


def set_of(numbers: Numbers) -> set[PhoneNumber]:
    return {PhoneNumber(area_code, local) for area_code, locals_ in numbers.items() for local in locals_}


def steps_of(change: Difference) -> list[tuple[PhoneNumber, int | None]]:
    """Give the single changes: a number and the features to stock it with, None to withdraw it."""
    assert all(area.size for area in change.areas)
    withdrawn: list[tuple[PhoneNumber, int | None]] = [
        (PhoneNumber(area.area_code, local), None) for area in change.areas for local in area.withdraw
    ]
    stocked = stock_of({area.area_code: area.stock for area in change.areas})
    return withdrawn + list(stocked.items())


def apply(stock: Stock, steps: Iterable[tuple[PhoneNumber, int | None]]) -> Stock:
    changed = dict(stock)
    for number, features in steps:
        if features is None:
            changed.pop(number, None)
        else:
            changed[number] = features
    return changed


def brought_by(one: Block) -> list[Row]:
    """Give the rows of a block and the numbers of its ranges one by one, as they count."""
    return [
        *one.rows,
        *[
            (PhoneNumber(part.area_code, part.first + at), part.features)
            for part in one.ranges
            for at in range(part.length)
        ],
    ]


def build(*groups: list[Row]) -> tuple[Stock, int]:
    builder = SnapshotBuilder()
    for rows in groups:
        builder.add(block_of(rows))
    offers, removals, duplicates = builder.finish()
    assert removals == len({number for rows in groups for number, features in rows if features == REMOVAL})
    return stock_of(offers), duplicates


# Snapshots


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


def test_a_number_that_one_row_of_a_snapshot_removes_is_not_offered() -> None:
    first, second = NUMBERS[:2]
    rows = [(first, REMOVAL), (second, SMS), (first, SMS), (first, SMS)]
    assert build(rows) == ({second: SMS}, 2)
    assert build([(first, REMOVAL)]) == ({}, 0)


def test_the_same_local_number_of_two_area_codes_is_two_numbers() -> None:
    west, east = PhoneNumber("415", LOCALS[0]), PhoneNumber("212", LOCALS[0])
    assert build([(west, SMS), (east, MMS)]) == ({west: SMS, east: MMS}, 0)


@given(st.lists(blocks, max_size=4))
def test_a_number_stands_once_with_the_features_that_all_its_rows_and_ranges_name(
    groups: list[Block],
) -> None:
    builder = SnapshotBuilder()
    brought: dict[PhoneNumber, list[int]] = {}
    for group in groups:
        builder.add(group)
        for number, features in brought_by(group):
            brought.setdefault(number, []).append(features)
    offers, _, duplicates = builder.finish()
    assert stock_of(offers) == {
        number: reduce(and_, found) for number, found in brought.items() if REMOVAL not in found
    }
    assert duplicates == sum(map(len, brought.values())) - len(brought)
    # A snapshot in which an area code stands has numbers of it.
    assert all(numbers for places in offers.values() for numbers in places.values())
    assert all(offers.values())


# Deltas


@given(st.lists(blocks, max_size=4))
def test_of_all_rows_of_a_number_in_a_delta_the_last_counts(groups: list[Block]) -> None:
    builder, last, count = DeltaBuilder(), dict[PhoneNumber, int](), 0
    for group in groups:
        builder.add(group)
        for number, features in brought_by(group):
            last[number] = features
            count += 1
    offers, removals, duplicates = builder.finish()
    assert stock_of(offers) == last
    assert removals == list(last.values()).count(REMOVAL)
    assert duplicates == count - len(last)


deltas = st.dictionaries(st.sampled_from(NUMBERS), st.sampled_from([*FEATURES, REMOVAL]))


@given(applied=stocks, delta=deltas)
def test_a_delta_changes_what_it_names_and_nothing_else(applied: Stock, delta: Stock) -> None:
    expected = {number: features for number, features in {**applied, **delta}.items() if features != REMOVAL}
    assert stock_of(changed_by(offers_of(applied), offers_of(delta))) == expected


# What waits


@given(stock=stocks, numbers=some_numbers)
def test_without_some_numbers_the_others_are_as_they_were(stock: Stock, numbers: set[PhoneNumber]) -> None:
    left = stock_of(without(offers_of(stock), by_area(numbers)))
    assert left == {number: features for number, features in stock.items() if number not in numbers}


@given(new=stocks, applied=stocks)
def test_what_is_missing_is_what_is_applied_and_not_in_the_new_state(new: Stock, applied: Stock) -> None:
    missing = missing_from(offers_of(new), offers_of(applied))
    assert set_of(missing) == applied.keys() - new.keys()
    assert all(missing.values())


@given(new=stocks, applied=stocks)
def test_together_with_what_is_missing_nothing_goes_and_all_that_is_new_comes(
    new: Stock, applied: Stock
) -> None:
    missing = missing_from(offers_of(new), offers_of(applied))
    joined = together(offers_of(new), offers_of(applied), missing)
    assert stock_of(joined) == {**applied, **new}
    # And once it is confirmed, it is the new state.
    assert stock_of(without(joined, missing)) == new


@given(st.lists(some_numbers, max_size=4))
def test_the_union_of_numbers_is_all_of_them(parts: list[set[PhoneNumber]]) -> None:
    assert set_of(union_of([by_area(part) for part in parts])) == set().union(*parts)


@given(stocks)
def test_numbers_are_counted_and_found_by_area_code(stock: Stock) -> None:
    offers = offers_of(stock)
    assert count_of(offers) == len(stock)
    for area_code in ("415", "212", "604"):
        expected = {local for area, local in stock if area == area_code}
        assert {*numbers_of(offers, area_code)} == expected


@given(new=stocks, applied=stocks, delta=deltas, numbers=some_numbers)
def test_nothing_of_this_changes_what_it_is_given(
    new: Stock, applied: Stock, delta: Stock, numbers: set[PhoneNumber]
) -> None:
    given_offers, chosen = [offers_of(one) for one in (new, applied, delta)], by_area(numbers)
    made = [
        changed_by(given_offers[1], given_offers[2]),
        without(given_offers[0], chosen),
        together(given_offers[0], given_offers[1], chosen),
    ]
    # Nor does what is done to the results.
    for offers in made:
        for places in offers.values():
            for bitmap in places.values():
                bitmap.run_optimize()
    assert [stock_of(one) for one in given_offers] == [new, applied, delta]
    assert set_of(chosen) == numbers


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
    assert change == Difference(areas=[], added=0, removed=0, unchanged=len(stock))
    assert change.size == 0


@given(stock=stocks)
def test_bitmaps_of_nothing_are_no_change(stock: Stock) -> None:
    offers = offers_of(stock)
    with_empty = {**offers, "604": {SMS: BitMap()}, "415": {9: BitMap(), **offers.get("415", {})}, "808": {}}
    assert difference(with_empty, offers).areas == []
    assert difference(offers, with_empty).areas == []
    assert difference(with_empty, offers, [with_empty]).areas == []


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


# Numbers that are sent again


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
    # That they are sent again makes them neither new nor gone.
    assert special[1:] == usual[1:]
