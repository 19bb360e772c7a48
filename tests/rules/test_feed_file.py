import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from shared.syncs import RejectedRow
from worker.feed_file import FeedUnreadable, Row, read_feed

BLOCK_BYTES = 1 << 20
MOST_CHARACTERS = 1 << 16

ONE = PhoneNumber("415", 5550101)
TWO = PhoneNumber("212", 2345678)
THREE = PhoneNumber("604", 9876543)

Whole = tuple[list[Row], list[RejectedRow]]
Read = Callable[[bytes], Whole]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Give what reads a feed of these bytes whole."""

    def read(content: bytes) -> Whole:
        return read_whole(tmp_path / "feed", content)

    return read


def read_whole(path: Path, content: bytes) -> Whole:
    path.write_bytes(content)
    blocks = list(read_feed(path))
    return [row for block in blocks for row in block.rows], [row for block in blocks for row in block.rejects]


def unreadable(read: Read, content: bytes) -> str:
    """Give the reason for which a feed of these bytes cannot be read, which is one line."""
    with pytest.raises(FeedUnreadable) as refusal:
        read(content)
    reason = str(refusal.value)
    assert reason
    assert len(reason.splitlines()) == 1
    return reason


# CSV


def test_reads_numbers_without_features_from_a_single_column(read: Read) -> None:
    assert read(b"number\n+14155550101\n2122345678\n") == ([(ONE, 0), (TWO, 0)], [])


def test_reads_number_sms_and_mms(read: Read) -> None:
    content = b"number,sms,mms\n4155550101,true,true\n2122345678,true,false\n6049876543,false,true\n"
    assert read(content) == ([(ONE, SMS | MMS), (TWO, SMS), (THREE, MMS)], [])


@pytest.mark.parametrize("header", ["NUMBER,SMS,MMS", "Number,Sms,mMs", " number , sms,mms\t"])
def test_reads_a_header_in_any_case_and_with_white_space(read: Read, header: str) -> None:
    assert read(f"{header}\n4155550101,true,false\n".encode()) == ([(ONE, SMS)], [])


def test_reads_columns_in_any_order_among_others(read: Read) -> None:
    content = "mms,price,Número,number,sms,number of rings\ntrue,0.35,9,(415) 555-0101,false,2122345678\n"
    assert read(content.encode()) == ([(ONE, MMS)], [])


@pytest.mark.parametrize(("column", "feature"), [("sms", SMS), ("mms", MMS)])
def test_reads_a_feed_with_one_of_the_two_flags(read: Read, column: str, feature: int) -> None:
    assert read(f"number,{column}\n4155550101,yes\n".encode()) == ([(ONE, feature)], [])


@pytest.mark.parametrize(
    ("spelling", "is_set"),
    [(text, True) for text in ("true", "TRUE", "True", "t", "T", "yes", "Yes", "y", "Y", "1", " true ")]
    + [(text, False) for text in ("false", "FALSE", "f", "F", "no", "No", "n", "N", "0", "", "  ")],
)
def test_reads_a_flag_in_the_spellings_in_use(read: Read, spelling: str, is_set: bool) -> None:
    expected: Whole = ([(ONE, SMS * is_set)], [])
    assert read(f"number,sms\n4155550101,{spelling}\n".encode()) == expected
    assert read(f'sms,number\n"{spelling}",4155550101\n'.encode()) == expected


@pytest.mark.parametrize("spelling", ["2", "maybe", "nein", "truee", "null", "-"])
@pytest.mark.parametrize("column", ["sms", "mms"])
def test_rejects_a_row_whose_flag_says_neither(read: Read, column: str, spelling: str) -> None:
    content = f"number,{column}\n4155550101,{spelling}\n2122345678,1\n4155550101,{spelling}\n".encode()
    rows, rejects = read(content)
    assert [number for number, _ in rows] == [TWO]
    reason = f"{column} is neither true nor false"
    assert rejects == [RejectedRow(2, reason), RejectedRow(4, reason)]


def test_reads_flags_of_more_spellings_than_are_remembered(read: Read) -> None:
    # 2,000 pairs of spellings, all of which mean SMS and not MMS.
    pairs = [(" " * before + "1", "0" + " " * after) for before in range(50) for after in range(40)]
    content = "number,sms,mms\n" + "".join(f"4155550101,{sms},{mms}\n" for sms, mms in pairs)
    assert read(content.encode()) == ([(ONE, SMS)] * len(pairs), [])


def test_reads_quoted_fields_with_commas_and_quotes_in_them(read: Read) -> None:
    content = b'"number","city","sms"\n"415-555-0101","San Francisco, ""CA""","true"\n2122345678,"","f"\n'
    assert read(content) == ([(ONE, SMS), (TWO, 0)], [])


def test_an_unclosed_quote_costs_its_own_line_only(read: Read) -> None:
    content = b'number,city\n4155550101,"San Francisco\n2122345678,"New York"\n6049876543,"Van"couver\n'
    rows, rejects = read(content)
    assert rows == [(TWO, 0)]
    assert [row.line for row in rejects] == [2, 4]
    assert all(row.reason.startswith("is not CSV: ") for row in rejects)


def test_rejects_rows_of_another_width_than_the_header(read: Read) -> None:
    content = b'number,sms\n4155550101\n2122345678,1\n6049876543,1,1\n"6049876543","1",1\n'
    reasons = ["has 1 columns, the header has 2", *["has 3 columns, the header has 2"] * 2]
    rejects = [RejectedRow(line, reason) for line, reason in zip((2, 4, 5), reasons, strict=True)]
    assert read(content) == ([(TWO, SMS)], rejects)


def test_gives_the_parsers_reason_for_a_number_that_is_none(read: Read) -> None:
    content = b"number\n9115550101\n4155550101\n12345\nhello\n"
    assert read(content) == (
        [(ONE, 0)],
        [
            RejectedRow(2, "area code 911 is a service code"),
            RejectedRow(4, "has 5 digits, needs 10"),
            RejectedRow(5, "has letters"),
        ],
    )


def test_rejects_a_row_with_an_empty_number(read: Read) -> None:
    content = b'number,city\n,Reno\n"  ",Reno\n'
    assert read(content) == ([], [RejectedRow(2, "empty"), RejectedRow(3, "empty")])


# Lines, in either format


@pytest.mark.parametrize("header", ["number", "number,sms"])
def test_reads_a_header_without_rows_as_no_rows(read: Read, header: str) -> None:
    assert read(header.encode()) == ([], [])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("lines", [[b"number", b"4155550101", b"2122345678"]], ids=["three"])
def test_reads_csv_with_either_line_end_a_byte_order_mark_and_an_open_end(
    read: Read, mark: bytes, end: bytes, lines: list[bytes]
) -> None:
    expected: Whole = ([(ONE, 0), (TWO, 0)], [])
    assert read(mark + end.join(lines)) == expected
    assert read(mark + end.join(lines) + end) == expected
    assert read(mark + end.join(lines) + b"\r") == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_reads_ndjson_with_either_line_end_a_byte_order_mark_and_an_open_end(
    read: Read, mark: bytes, end: bytes
) -> None:
    lines = [b'{"number": "4155550101"}', b'{"number": 2122345678}']
    expected: Whole = ([(ONE, 0), (TWO, 0)], [])
    assert read(mark + end.join(lines)) == expected
    assert read(mark + end.join(lines) + end) == expected


@pytest.mark.parametrize("blank", ["", " ", "\t \t", "\r"])
def test_blank_lines_are_no_rows_but_count_as_lines(read: Read, blank: str) -> None:
    lines = [
        blank,
        blank,
        "number,sms",
        blank,
        "4155550101,1",
        blank,
        "hello,1",
        blank,
        "2122345678,0",
        blank,
    ]
    assert read("\n".join(lines).encode()) == ([(ONE, SMS), (TWO, 0)], [RejectedRow(7, "has letters")])
    lines = [blank, '{"number":"4155550101"}', blank, blank, '{"number":"hello"}', blank]
    assert read("\n".join(lines).encode()) == ([(ONE, 0)], [RejectedRow(5, "has letters")])


def test_text_that_is_not_utf_8_costs_nothing_beside_the_number_and_the_row_within_it(read: Read) -> None:
    content = b"number,city\n4155550101,Montr\xe9al\n212\xff2345678,Reno\n6049876543,\xf0\x9f\x93\n"
    rows, rejects = read(content)
    assert rows == [(ONE, 0), (THREE, 0)]
    assert [row.line for row in rejects] == [3]
    content = (
        b'{"number":"4155550101","city":"Montr\xe9al"}\n{"number":"212\xff2345678"}\n{"number":6049876543}'
    )
    rows, rejects = read(content)
    assert rows == [(ONE, 0), (THREE, 0)]
    assert [row.line for row in rejects] == [2]


def test_keeps_line_numbers_and_rows_whole_across_blocks(read: Read) -> None:
    # Lines of 113 bytes, no divisor of a block, so that borders fall into lines; some are blank, some bad.
    lines, rows, rejects = ["number,note"], [], []
    for line in range(2, 30_002):
        local = 2_200_000 + line
        if line % 1000 == 7:
            lines.append("")
        elif line % 100 == 3:
            lines.append(f"nothing,{'x' * 97}")
            rejects.append(RejectedRow(line, "has letters"))
        else:
            lines.append(f"+1415{local},{'x' * 100}")
            rows.append((PhoneNumber("415", local), 0))
    content = "\n".join(lines).encode()
    assert len(content) > 3 * BLOCK_BYTES
    assert read(content) == (rows, rejects)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("short_by", range(-3, 17))
def test_a_row_may_lie_anywhere_across_the_border_of_a_block(read: Read, short_by: int, end: bytes) -> None:
    head = b"number,note" + end + b"hello,x" + end
    lines_of_padding = [b"4155550101," + b"x" * 1000 + end] * 1000
    padding = b"".join(lines_of_padding)
    # Three bytes are read apart, to look for a byte order mark.
    room = BLOCK_BYTES + 3 - short_by - len(head) - len(padding) - len(b"4155550101," + end)
    content = head + padding + b"4155550101," + b"y" * room + end + b"2122345678,z" + end + b"bad,z" + end
    rows, rejects = read(content)
    assert rows == [*[(ONE, 0)] * 1001, (TWO, 0)]
    assert rejects == [RejectedRow(2, "has letters"), RejectedRow(1005, "has letters")]


# Overlong lines


def csv_line(note: str) -> str:
    return f"2122345678,{note}"


def json_line(note: str) -> str:
    return f'{{"number":"2122345678","note":"{note}"}}'


@pytest.mark.parametrize("character", ["x", "é", "語", "📞"])
@pytest.mark.parametrize("to_line", [csv_line, json_line])
def test_a_line_may_have_65536_characters_and_not_one_more(
    read: Read, to_line: Callable[[str], str], character: str
) -> None:
    longest = to_line(character * (MOST_CHARACTERS - len(to_line(""))))
    assert len(longest) == MOST_CHARACTERS
    first, last = ("number,note", "4155550101,x") if to_line is csv_line else ("", '{"number":4155550101}')
    too_long = to_line(character * (MOST_CHARACTERS - len(to_line("")) + 1))
    assert read("\n".join([first, longest, last]).encode()) == ([(TWO, 0), (ONE, 0)], [])
    assert read("\r\n".join([first, longest, last, ""]).encode()) == ([(TWO, 0), (ONE, 0)], [])
    assert read("\r\n".join([first, last, longest, ""]).encode()) == ([(ONE, 0), (TWO, 0)], [])
    rows, rejects = read("\n".join([first, too_long, last, "bad"]).encode())
    assert rows == [(ONE, 0)]
    assert rejects[0] == RejectedRow(2, "is longer than 65536 characters")
    assert [row.line for row in rejects] == [2, 4]


@pytest.mark.parametrize("character", ["x", "é", "語", "📞"])
@pytest.mark.parametrize("beyond", [1, 10_000, BLOCK_BYTES])
def test_an_overlong_line_costs_only_itself_wherever_it_ends_in_a_block(
    read: Read, character: str, beyond: int
) -> None:
    size = len(character.encode())
    note = character * ((BLOCK_BYTES + beyond) // size + 1)
    content = f"number,note\n2122345678,{note}\n4155550101,x\nbad,x\n2122345678,{note}\n6049876543,x\n"
    assert read(content.encode()) == (
        [(ONE, 0), (THREE, 0)],
        [
            RejectedRow(2, "is longer than 65536 characters"),
            RejectedRow(4, "has letters"),
            RejectedRow(5, "is longer than 65536 characters"),
        ],
    )


def test_an_overlong_quoted_field_costs_only_its_line(read: Read) -> None:
    content = f'number,note\n2122345678,"{"x," * 100_000}"\n4155550101,"x"\n'
    assert read(content.encode()) == ([(ONE, 0)], [RejectedRow(2, "is longer than 65536 characters")])


def test_memory_stays_flat_over_a_line_of_50_mb(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.write(b"number\n4155550101\n")
        file.truncate(50_000_000)
        file.seek(0, io.SEEK_END)
        file.write(b"\n2122345678\nbad")
    tracemalloc.start()
    try:
        blocks = list(read_feed(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000
    assert [row for block in blocks for row in block.rows] == [(ONE, 0), (TWO, 0)]
    rejects = [row for block in blocks for row in block.rejects]
    assert rejects == [RejectedRow(3, "is longer than 65536 characters"), RejectedRow(5, "has letters")]


@pytest.mark.parametrize("start", [b"", b"number\n", b'{"number":'])
def test_a_file_that_is_one_endless_line_fills_no_memory(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(50_000_000)
    tracemalloc.start()
    try:
        if start:
            rejects = [row for block in read_feed(path) for row in block.rejects]
            assert [row.reason for row in rejects] == ["is longer than 65536 characters"]
        else:
            with pytest.raises(FeedUnreadable, match=r"^the header is longer than 65536 characters$"):
                list(read_feed(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000


# NDJSON


def test_reads_ndjson_with_numbers_as_text_or_integers_and_unknown_members(read: Read) -> None:
    content = (
        b'{"number": "(415) 555-0101", "sms": true, "region": {"city": ["a", null]}}\n'
        b'  {"mms":true,"number":12122345678}\n'
        b'{"price": 1e400, "number": 6049876543, "sms": false, "mms": false}\n'
    )
    assert read(content) == ([(ONE, SMS), (TWO, MMS), (THREE, 0)], [])


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "{",
        "[]",
        "4155550101",
        '"4155550101"',
        '{"number": null}',
        '{"number": true}',
        '{"number": 4155550101.5}',
        '{"number": ["4155550101"]}',
        '{"number": "4155550101", "sms": "yes"}',
        '{"number": "4155550101", "mms": 1}',
        '{"number": "4155550101"} {"number": "4155550101"}',
        '{"number": ' + "9" * 5000 + "}",
        '{"number": "4155550101", "x": ' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"number": "\\ud800"}',
        "number,sms",
    ],
    ids=lambda line: line[:40],
)
def test_rejects_a_line_that_is_no_row_of_ndjson(read: Read, line: str) -> None:
    rows, rejects = read(f'{{"number":"4155550101"}}\n{line}\n{{"number":"2122345678"}}\n'.encode())
    assert rows == [(ONE, 0), (TWO, 0)]
    [reject] = rejects
    assert reject.line == 2
    assert reject.reason.startswith("is not a row of NDJSON: ")
    assert len(reject.reason) <= 200


def test_rejects_a_number_of_ndjson_with_the_parsers_reason(read: Read) -> None:
    content = b'{"number":"hello"}\n{"number":415}\n{"number":' + b"9" * 30 + b"}\n"
    reasons = ["has letters", "has 3 digits, needs 10", "has 30 digits, needs 10"]
    assert read(content) == ([], [RejectedRow(line, reason) for line, reason in enumerate(reasons, 1)])


# Compression


@pytest.mark.parametrize("content", [b"number\n4155550101\nbad\n", b'{"number":"4155550101"}\nbad\n'])
@pytest.mark.parametrize("name", ["feed", "feed.csv", "feed.gz", "feed.json"])
def test_tells_gzip_by_its_content_and_not_by_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    plain = read_whole(tmp_path / name, content)
    assert plain[0] == [(ONE, 0)]
    assert read_whole(tmp_path / name, gzip.compress(content)) == plain


def test_reads_gzip_of_several_members_with_borders_inside_a_row(read: Read) -> None:
    content = gzip.compress(b"number\n41555") + gzip.compress(b"") + gzip.compress(b"50101\n2122345678")
    assert read(content) == ([(ONE, 0), (TWO, 0)], [])


def test_gives_the_position_in_the_file_as_it_lies_on_disk(tmp_path: Path) -> None:
    content = "number,note\n" + "".join(
        f"+1415{2_200_000 + at},{at * 7919 % 10_007}\n" for at in range(150_000)
    )
    for stored in (content.encode(), gzip.compress(content.encode())):
        path = tmp_path / "feed"
        path.write_bytes(stored)
        positions = [block.position for block in read_feed(path)]
        assert len(positions) > 2
        assert positions == sorted(positions)
        assert positions[0] < positions[-1] == len(stored)


# Files that are no feed


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_of_nothing_is_unreadable(read: Read, content: bytes) -> None:
    assert unreadable(read, content) == "the file is empty"
    assert unreadable(read, gzip.compress(content)) == "the file is empty"


def test_a_header_without_a_number_column_is_unreadable_and_its_columns_are_shown(read: Read) -> None:
    reason = unreadable(read, "Phone,Número,sms\n4155550101,x,1\n".encode())
    assert reason == r"the header has no column 'number'; its columns are: 'phone, n\xfamero, sms'"


@pytest.mark.parametrize(
    "content",
    [
        b"4155550101\n2122345678\n",
        b"number;sms\n4155550101;1\n",
        b'[{"number":"4155550101"}]\n',
        b"<numbers>\n<number>4155550101</number>\n",
        "number\n4155550101\n".encode("utf-16"),
        b"x," * 10_000 + b"\n",
        b"\x00\x01\x02\x1b[31m\n",
    ],
    ids=["no header", "semicolons", "JSON array", "XML", "UTF-16", "wide", "binary"],
)
def test_a_file_in_another_format_is_unreadable_in_a_short_printable_line(read: Read, content: bytes) -> None:
    reason = unreadable(read, content)
    assert reason.startswith("the header has no column 'number'; its columns are: ")
    assert reason.isprintable()
    assert len(reason) < 500


@pytest.mark.parametrize("content", [b'"number\n4155550101\n', b"number\r4155550101\r2122345678\r"])
def test_a_header_that_is_not_csv_makes_the_file_unreadable(read: Read, content: bytes) -> None:
    assert unreadable(read, content).startswith("the header is not CSV: ")


def test_an_overlong_header_makes_the_file_unreadable(read: Read) -> None:
    content = b"number," + b"x" * MOST_CHARACTERS + b"\n4155550101,x\n"
    assert unreadable(read, content) == "the header is longer than 65536 characters"


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole[:2],
        lambda whole: whole[:11],
        lambda whole: whole + b"garbage",
        lambda whole: whole[:40] + bytes(byte ^ 0xFF for byte in whole[40:80]) + whole[80:],
        lambda whole: whole[:-8] + b"\x00" * 8,
        lambda _: b"\x1f\x8bgarbage and more of it",
    ],
    ids=[
        "half",
        "one byte",
        "magic only",
        "header only",
        "garbage behind",
        "garbage within",
        "sum",
        "garbage",
    ],
)
def test_broken_gzip_is_unreadable(read: Read, damage: Callable[[bytes], bytes]) -> None:
    whole = gzip.compress(b"number\n" + b"".join(b"415%d\n" % (2_200_000 + at * 13) for at in range(5_000)))
    assert len(read(whole)[0]) == 5_000
    assert unreadable(read, damage(whole)).startswith("the gzip data is broken: ")


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FeedUnreadable, match=r"^the file cannot be read: No such file or directory$"):
        list(read_feed(tmp_path / "gone"))


def test_a_directory_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FeedUnreadable, match=r"^the file cannot be read: Is a directory$"):
        list(read_feed(tmp_path))


# Whatever the rows, the format and the blocks

good_numbers = st.builds(
    PhoneNumber,
    st.sampled_from(["415", "212", "604", "800", "367"]),
    st.integers(2_000_000, 9_999_999).filter(lambda local: local // 10_000 % 100 != 11),
)
bad_texts = st.sampled_from(["hello", "", "12345", "9115550101", "+44 20 7946 0958", "415555010é"])
notes = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)


class WrittenRow(NamedTuple):
    number: PhoneNumber | None
    """None for a row that holds none."""
    text: str
    sms: bool
    mms: bool
    note: str
    blank_lines_before: int


@st.composite
def written_rows(draw: st.DrawFn) -> WrittenRow:
    number = draw(st.one_of(st.none(), good_numbers, good_numbers, good_numbers))
    if number is None:
        text = draw(bad_texts)
    else:
        national = f"{number.area_code}{number.local}"
        spellings = (
            national,
            f"1{national}",
            number.e164,
            f"({national[:3]}) {national[3:6]}-{national[6:]}",
        )
        text = draw(st.sampled_from(spellings))
    blank_lines = draw(st.sampled_from([0, 0, 0, 1, 2]))
    return WrittenRow(number, text, draw(st.booleans()), draw(st.booleans()), draw(notes), blank_lines)


def expected_of(rows: list[WrittenRow], first_line: int) -> tuple[list[Row], list[int]]:
    line, good, bad = first_line, [], []
    for row in rows:
        line += row.blank_lines_before
        if row.number is None:
            bad.append(line)
        else:
            good.append((row.number, SMS * row.sms | MMS * row.mms))
        line += 1
    return good, bad


class Form(NamedTuple):
    """How rows are written down."""

    is_csv: bool
    columns: list[str]
    quoting: Any
    as_integers: bool
    end: str
    ends_open: bool
    mark: bytes
    is_gzip: bool


forms = st.builds(
    Form,
    is_csv=st.booleans(),
    columns=st.permutations(["Number", "sms", "MMS", "note"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    as_integers=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    ends_open=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    is_gzip=st.booleans(),
)


def render(rows: list[WrittenRow], form: Form) -> bytes:
    text = render_csv(rows, form) if form.is_csv else render_ndjson(rows, form)
    content = form.mark + (text.removesuffix(form.end) if form.ends_open else text).encode()
    return gzip.compress(content) if form.is_gzip else content


def render_csv(rows: list[WrittenRow], form: Form) -> str:
    output = io.StringIO()
    writer = csv.writer(output, quoting=form.quoting, lineterminator=form.end)
    writer.writerow(form.columns)
    for row in rows:
        output.write(form.end * row.blank_lines_before)
        flags = {"sms": "yes" if row.sms else "", "mms": "1" if row.mms else "FALSE"}
        fields = {"number": row.text, "note": row.note, **flags}
        writer.writerow(fields[column.lower()] for column in form.columns)
    return output.getvalue()


def render_ndjson(rows: list[WrittenRow], form: Form) -> str:
    output = io.StringIO()
    for row in rows:
        is_integer = form.as_integers and row.text.isascii() and row.text.isdigit()
        number = int(row.text) if is_integer else row.text
        line = json.dumps({"note": row.note, "number": number, "sms": row.sms, "mms": row.mms})
        output.write(form.end * row.blank_lines_before + line + form.end)
    return output.getvalue()


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(written_rows(), min_size=1, max_size=25), form=forms, block_bytes=st.integers(1, 200))
def test_the_rows_read_are_the_rows_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[WrittenRow], form: Form, block_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-feed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.feed_file._BLOCK_BYTES", block_bytes)
        read_rows, rejects = read_whole(path, render(rows, form))
    good, bad = expected_of(rows, 2 if form.is_csv else 1)
    assert read_rows == good
    assert [row.line for row in rejects] == bad


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300), block_bytes=st.integers(1, 100))
@pytest.mark.parametrize("start", [b"", b"number,sms\n", b"{}\n", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\3"])
def test_whatever_the_bytes_they_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, content: bytes, block_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.feed_file._BLOCK_BYTES", block_bytes)
        rows, rejects, refusal = list[Row](), list[RejectedRow](), ""
        try:
            rows, rejects = read_whole(path, start + content)
        except FeedUnreadable as error:
            refusal = str(error)
    lines = (start + content).count(b"\n") + 1
    assert len(refusal.splitlines()) <= 1
    assert len(rows) + len(rejects) <= lines
    assert all(1 <= reject.line <= lines for reject in rejects)
