import pytest
from hypothesis import given, strategies as st

from shared.feeds.formats.ranges import read_ranges
from shared.feeds.profiles import Format, Profile
from shared.feeds.rows import REMOVAL, Range
from shared.phone_number import InvalidNumber, parse_number
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import RANGES, Read, Refused, parse_whole


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("415,555,3", Range("415", 5_553_000, 1_000, 0)),
        ("415,555,0", Range("415", 5_550_000, 1_000, 0)),
        ("415,555,", Range("415", 5_550_000, 10_000, 0)),
        (" 415 , 555 , a ", Range("415", 5_550_000, 10_000, 0)),
    ],
)
def test_reads_thousands_blocks_and_whole_exchanges(read: Read, row: str, expected: Range) -> None:
    assert read(f"NPA,NXX,X\n{row}\n".encode(), RANGES) == ([expected], [])


def test_without_a_column_x_a_row_is_a_whole_exchange(read: Read) -> None:
    assert read(b"nxx;npa\n555;415\n", RANGES) == ([Range("415", 5_550_000, 10_000, 0)], [])


@pytest.mark.parametrize("header", ["start,count", "Start,Quantity", "first,count"])
def test_reads_ranges_with_a_count(read: Read, header: str) -> None:
    content = f"{header}\n+14155550101,250\n(415) 555-9999,1\n415-559-9000,20000\n"
    ranges = [
        Range("415", 5_550_101, 250, 0),
        Range("415", 5_559_999, 1, 0),
        Range("415", 5_599_000, 20_000, 0),
    ]
    assert read(content.encode(), RANGES) == (ranges, [])


def test_reads_ranges_with_an_end_which_belongs_to_them(read: Read) -> None:
    content = b"start,end\n4155550100,4155550199\n4155550100,4155550100\n"
    assert read(content, RANGES) == ([Range("415", 5_550_100, 100, 0), Range("415", 5_550_100, 1, 0)], [])


def test_reads_features_and_removals(read: Read) -> None:
    content = b"action,x,nxx,npa,sms,features\nadd,1,555,415,1,mms\ndelete,2,555,415,,\n,3,555,415,0,\n"
    ranges = [
        Range("415", 5_551_000, 1_000, SMS | MMS),
        Range("415", 5_552_000, 1_000, REMOVAL),
        Range("415", 5_553_000, 1_000, 0),
    ]
    assert read(content, RANGES) == (ranges, [])
    constant = Profile(format=Format.RANGES, sms=True)
    assert read(b"npa,nxx,x\n415,555,1\n", constant).rows == [Range("415", 5_551_000, 1_000, SMS)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("npa,nxx,x\n415,555,B", "x is a digit, A or empty"),
        ("npa,nxx,x\n415,555,10", "x is a digit, A or empty"),
        ("npa,nxx,x\n415,555,\u0663", "x is a digit, A or empty"),
        ("npa,nxx,x\n41,5555,1", "npa and nxx have three digits each"),
        ("npa,nxx,x\n911,555,1", "area code 911 is a service code"),
        ("npa,nxx,x\n415,911,", "exchange 911 is a service code"),
        ("start,count\n4155550101,0", "the count is no whole number from 1 on"),
        ("start,count\n4155550101,-5", "the count is no whole number from 1 on"),
        ("start,count\n4155550101,1e3", "the count is no whole number from 1 on"),
        ("start,count\n4155550101,", "the count is no whole number from 1 on"),
        ("start,count\n4155550101,10000000000", "the count is no whole number from 1 on"),
        ("start,count\n4159999000,1001", "goes beyond the area code 415"),
        ("start,count\n4159109999,2", "holds the exchange 911, which cannot be sold"),
        ("start,count\n4152000000,7000000", "holds the exchange 211, which cannot be sold"),
        ("start,end\n4155550101,4155550100", "the end is not in the area code of the start, or before it"),
        ("start,end\n4155550101,4165550101", "the end is not in the area code of the start, or before it"),
        ("start,end\n4155550101,hello", "has letters"),
    ],
)
def test_rejects_what_holds_numbers_that_cannot_be_sold_or_is_no_range(
    read: Read, content: str, reason: str
) -> None:
    assert read(f"{content}\n".encode(), RANGES) == ([], [(2, reason)])


@pytest.mark.parametrize(
    "content", ["npa,nxx,x\n415,555,", "start,count\n4155550100,10", "sms,npa,nxx,x\n1,415,555,"]
)
def test_a_last_row_without_a_line_end_that_may_be_cut_off_is_rejected(read: Read, content: str) -> None:
    reason = "is the last, has no line end, and may have been cut off"
    assert read(content.encode(), RANGES) == ([], [(2, reason)])


def test_a_header_without_blocks_or_ranges_is_refused(refused: Refused) -> None:
    assert refused(b"npa,x\n415,1\n", RANGES) == (
        "the header has no column 'start' and 'count', nor 'start' and 'end', nor 'npa' and 'nxx'; "
        "its columns are: 'npa, x'"
    )


@given(st.integers(200, 999), st.integers(0, 9_999_999), st.integers(1, 30_000))
def test_a_range_holds_only_numbers_that_can_be_sold(area_code: int, first: int, count: int) -> None:
    content = f"start,count\n{area_code}{first:07},{count}\n".encode()
    ranges, _ = parse_whole(read_ranges, content, 100, RANGES)
    ends = [f"{area_code}{local:07}" for local in range(first, first + count, 9_999)]
    ends.append(f"{area_code}{first + count - 1:07}")
    assert bool(ranges) == all(is_number(text) for text in ends)


def is_number(text: str) -> bool:
    try:
        parse_number(text)
    except InvalidNumber:
        return False
    return True
