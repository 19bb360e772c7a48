import csv
import gzip
from collections import Counter
from itertools import pairwise

import phonenumbers
import pytest

from deploy.sample_feed import SAMPLE_FEED, generate
from shared.phone_number import TOLL_FREE_AREA_CODES, PhoneNumber, parse_number


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with gzip.open(SAMPLE_FEED, "rt", encoding="ascii", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.fixture(scope="module")
def numbers(rows: list[dict[str, str]]) -> list[PhoneNumber]:
    return [parse_number(row["number"]) for row in rows]


def test_the_feed_has_at_least_100_000_distinct_numbers(numbers: list[PhoneNumber]) -> None:
    assert len(set(numbers)) == len(numbers) >= 100_000


def test_the_feed_has_numbers_of_at_least_300_area_codes_and_all_toll_free_ones(
    numbers: list[PhoneNumber],
) -> None:
    area_codes = {number.area_code for number in numbers}
    assert area_codes >= TOLL_FREE_AREA_CODES
    assert len(area_codes - TOLL_FREE_AREA_CODES) >= 300
    assert area_codes == {*generate.AREA_CODES, *TOLL_FREE_AREA_CODES}


def test_every_area_code_is_assigned_to_a_place_in_the_us_or_canada_or_toll_free(
    numbers: list[PhoneNumber],
) -> None:
    def is_assigned(area_code: str) -> bool:
        number = phonenumbers.PhoneNumber(country_code=1, national_number=int(f"{area_code}2345678"))
        return (
            phonenumbers.region_code_for_number(number) in {"US", "CA"}
            and phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE
        )

    geographic = {number.area_code for number in numbers} - TOLL_FREE_AREA_CODES
    assert [area_code for area_code in sorted(geographic) if not is_assigned(area_code)] == []


def test_area_codes_differ_in_size(numbers: list[PhoneNumber]) -> None:
    sizes = Counter(number.area_code for number in numbers)
    assert min(sizes.values()) >= 20
    assert max(sizes.values()) >= 1_000


def test_the_numbers_that_examples_name_are_in_the_feed_and_can_do_everything(
    rows: list[dict[str, str]],
) -> None:
    by_number = {row["number"]: row for row in rows}
    for number in ("+14155550123", "+14155550456"):
        assert by_number[number] == {"number": number, "sms": "true", "mms": "true"}


def test_numbers_are_written_as_e164_in_order(rows: list[dict[str, str]], numbers: list[PhoneNumber]) -> None:
    assert [row["number"] for row in rows] == [number.e164 for number in numbers]
    assert all(before < after for before, after in pairwise(numbers))


def test_flags_are_true_or_false_each_occurs_and_mms_never_comes_without_sms(
    rows: list[dict[str, str]],
) -> None:
    assert {(row["sms"], row["mms"]) for row in rows} == {
        ("true", "true"),
        ("true", "false"),
        ("false", "false"),
    }
    assert {tuple(row) for row in rows} == {("number", "sms", "mms")}


def test_the_file_is_smaller_than_400_kb() -> None:
    assert SAMPLE_FEED.stat().st_size < 400_000


def test_generating_again_gives_the_same_feed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path_factory.mktemp("feed") / "sample.csv.gz"
    monkeypatch.setattr(generate, "SAMPLE_FEED", again)
    generate.main()
    # Not the compressed bytes: another build of zlib may pack the same rows in another way.
    assert gzip.decompress(again.read_bytes()) == gzip.decompress(SAMPLE_FEED.read_bytes())


def test_the_file_says_nothing_of_when_and_where_it_was_written() -> None:
    header = SAMPLE_FEED.read_bytes()[:10]
    flags, modified = header[3], header[4:8]
    assert flags == 0, "no file name, no comment"
    assert modified == b"\0\0\0\0"
