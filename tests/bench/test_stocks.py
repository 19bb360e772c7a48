"""Stocks to measure with hold only numbers that the numbering plan allows."""

from random import Random

from shared.phone_number import parse_number
from tests.bench.stocks import NUMBERS_PER_AREA, in_blocks, local_number, spread

DRAW = Random(1)  # noqa: S311 - repeatable, keeps no secret


def test_an_area_code_has_all_exchanges_but_the_service_codes() -> None:
    assert NUMBERS_PER_AREA == 7_920_000
    assert (local_number(0), local_number(NUMBERS_PER_AREA - 1)) == (2_000_000, 9_999_999)
    exchanges = {local_number(index) // 10_000 for index in range(0, NUMBERS_PER_AREA, 10_000)}
    assert set(range(200, 1_000)) - exchanges == {211, 311, 411, 511, 611, 711, 811, 911}


def test_numbers_are_distinct_and_can_be_parsed() -> None:
    for numbers in (spread(5_000, DRAW), in_blocks(5_000, DRAW)):
        assert len(set(numbers)) == 5_000
        for number in numbers:
            assert parse_number(f"+1415{number}").local == number


def test_blocks_are_full_thousands_blocks() -> None:
    blocks: dict[int, set[int]] = {}
    for number in in_blocks(3_000, DRAW):
        blocks.setdefault(number // 1_000, set()).add(number % 1_000)
    assert [len(lines) for lines in blocks.values()] == [1_000] * 3
