import io
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.feeds.formats.read import read_feed
from shared.feeds.profiles import Format, Limits, Profile
from shared.feeds.rows import FeedRefused
from shared.phone_number import PhoneNumber
from shared.stock_score import SMS
from tests.rules.feed_files import (
    BLOCK_BYTES,
    LINE_BYTES,
    ONE,
    PLAIN,
    THREE,
    TWO,
    Read,
    Whole,
    limited_memory,
)

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
    expected = Whole([(ONE, 0), (TWO, 0)], [])
    assert read(mark + end.join(lines)) == expected
    assert read(mark + end.join(lines) + end) == expected
    assert read(mark + end.join(lines) + b"\r") == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_reads_ndjson_with_either_line_end_a_byte_order_mark_and_an_open_end(
    read: Read, mark: bytes, end: bytes
) -> None:
    lines = [b'{"number": "4155550101"}', b'{"number": 2122345678}']
    expected = Whole([(ONE, 0), (TWO, 0)], [])
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
    assert read("\n".join(lines).encode()) == ([(ONE, SMS), (TWO, 0)], [(7, "has letters")])
    lines = [blank, '{"number":"4155550101"}', blank, blank, '{"number":"hello"}', blank]
    assert read("\n".join(lines).encode()) == ([(ONE, 0)], [(5, "has letters")])


def test_text_that_is_not_utf_8_costs_nothing_beside_the_number_and_the_row_within_it(read: Read) -> None:
    content = b"number,city\n4155550101,Montr\xe9al\n212\xff2345678,Reno\n6049876543,\xf0\x9f\x93\n"
    rows, rejects = read(content)
    assert rows == [(ONE, 0), (THREE, 0)]
    assert [line for line, _ in rejects] == [3]
    content = (
        b'{"number":"4155550101","city":"Montr\xe9al"}\n{"number":"212\xff2345678"}\n{"number":6049876543}'
    )
    rows, rejects = read(content)
    assert rows == [(ONE, 0), (THREE, 0)]
    assert [line for line, _ in rejects] == [2]


def test_keeps_line_numbers_and_rows_whole_across_blocks(read: Read) -> None:
    # Lines of 113 bytes, no divisor of a block, so that borders fall into lines; some are blank, some bad.
    lines, rows, rejects = ["number,note"], [], []
    for line in range(2, 30_002):
        local = 2_200_000 + line
        if line % 1000 == 7:
            lines.append("")
        elif line % 100 == 3:
            lines.append(f"nothing,{'x' * 97}")
            rejects.append((line, "has letters"))
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
    assert rejects == [(2, "has letters"), (1005, "has letters")]


# Overlong lines


def csv_line(note: str) -> str:
    return f"2122345678,{note}"


def json_line(note: str) -> str:
    return f'{{"number":"2122345678","note":"{note}"}}'


@pytest.mark.parametrize("character", ["x", "é", "語", "📞"])
@pytest.mark.parametrize("to_line", [csv_line, json_line])
def test_a_line_may_have_65536_bytes_and_not_one_more(
    read: Read, to_line: Callable[[str], str], character: str
) -> None:
    room = LINE_BYTES - len(to_line(""))
    note = character * (room // len(character.encode()))
    longest = to_line(note + "x" * (room - len(note.encode())))
    too_long = to_line(note + "x" * (room - len(note.encode()) + 1))
    assert len(longest.encode()) == LINE_BYTES
    first, last = ("number,note", "4155550101,x") if to_line is csv_line else ("", '{"number":4155550101}')
    assert read("\n".join([first, longest, last]).encode()) == ([(TWO, 0), (ONE, 0)], [])
    assert read("\r\n".join([first, longest, last, ""]).encode()) == ([(TWO, 0), (ONE, 0)], [])
    assert read("\r\n".join([first, last, longest, ""]).encode()) == ([(ONE, 0), (TWO, 0)], [])
    rows, rejects = read("\n".join([first, too_long, last, "bad"]).encode())
    assert rows == [(ONE, 0)]
    assert rejects[0] == (2, "is longer than 65536 bytes")
    assert [line for line, _ in rejects] == [2, 4]


@pytest.mark.parametrize("line_bytes", [64, 100, 5_000])
def test_the_limit_of_a_line_is_the_profiles(read: Read, line_bytes: int) -> None:
    profile = Profile(limits=Limits(line_bytes=line_bytes))
    longest = csv_line("x" * (line_bytes - len(csv_line(""))))
    content = "\n".join(["number,note", *["4155550101,x"] * 50, longest, longest + "x", longest, ""])
    assert read(content.encode(), profile) == (
        [*[(ONE, 0)] * 50, (TWO, 0), (TWO, 0)],
        [(53, f"is longer than {line_bytes} bytes")],
    )


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
            (2, "is longer than 65536 bytes"),
            (4, "has letters"),
            (5, "is longer than 65536 bytes"),
        ],
    )


def test_an_overlong_quoted_field_costs_only_its_line(read: Read) -> None:
    content = f'number,note\n2122345678,"{"x," * 100_000}"\n4155550101,"x"\n'
    assert read(content.encode()) == ([(ONE, 0)], [(2, "is longer than 65536 bytes")])


def test_memory_stays_flat_over_a_line_of_50_mb(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.write(b"number\n4155550101\n")
        file.truncate(50_000_000)
        file.seek(0, io.SEEK_END)
        file.write(b"\n2122345678\nbad")
    with limited_memory(16_000_000):
        blocks = list(read_feed(path, PLAIN))
    assert [row for block in blocks for row in block.rows] == [(ONE, 0), (TWO, 0)]
    rejects = [(row.line, row.reason) for block in blocks for row in block.rejects]
    assert rejects == [(3, "is longer than 65536 bytes"), (5, "has letters")]


@pytest.mark.parametrize("start", [b"", b"number\n", b'{"number":'])
def test_a_file_that_is_one_endless_line_fills_no_memory(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.write(start + b"xxxx")
        file.truncate(50_000_000)
    with limited_memory(16_000_000):
        if start:
            rejects = [row for block in read_feed(path, PLAIN) for row in block.rejects]
            assert [row.reason for row in rejects] == ["is longer than 65536 bytes"]
        else:
            with pytest.raises(FeedRefused, match=r"^the header is longer than 65536 bytes$"):
                list(read_feed(path, PLAIN))


def test_a_rejected_row_shows_its_first_64_bytes_as_text(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    rows = [b"4155550101,\xff\xfe,x", b"bad," + b"y" * 100, b"bad," + "é".encode() * 50, b"z" * 70_000]
    path.write_bytes(b"\n".join([b"number,note", *rows, b""]))
    starts = [row.start for block in read_feed(path, PLAIN) for row in block.rejects]
    assert starts == ["4155550101,\ufffd\ufffd,x", "bad," + "y" * 60, "bad," + "é" * 30, "z" * 64]


@pytest.mark.parametrize(
    ("format_", "content"),
    [
        (Format.CSV, b"number\n" + b"x\n" * 250_000),
        (Format.NDJSON, b"x\n" * 250_000),
        (Format.JSON, b"[" + b"0," * 250_000 + b"0]"),
        (Format.XML, b"<r>" + b"<tn/>" * 250_000 + b"</r>"),
    ],
)
def test_many_tiny_bad_rows_fill_no_memory(tmp_path: Path, format_: Format, content: bytes) -> None:
    path = tmp_path / "feed"
    path.write_bytes(content)
    rejects = 0
    for block in read_feed(path, Profile(format=format_)):
        assert len(block.rejects) < 50_000
        rejects += len(block.rejects)
    assert rejects >= 250_000
