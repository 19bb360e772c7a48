"""Formats of one row a line: a file's lines in pieces, each read at once if it can be, else line by line.

A line never costs more than itself: one that is too long is cut short and rejected, however long it is.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from shared.feeds.formats.rejects import MANY_REJECTS, BadRow, rejected, too_long
from shared.feeds.rows import Block, Range, Row, Rows
from shared.phone_number import InvalidNumber

_PIECE_BYTES = 1 << 15
"""16 KiB and 64 KiB are no faster."""

_PART_BYTES = 1 << 11
"""What one bad line makes slow."""

_find_text = re.compile(rb"\S").search


class Lines(NamedTuple):
    """Some consecutive lines of a file, whole."""

    data: bytes
    """Without the end of the last."""
    number: int
    """Of the first, in the file, from 1."""
    is_open: bool = False
    """It is the last line of the file, and has no end."""


class LineReader(Protocol):
    """Reads the lines of a format."""

    def all_of(self, lines: bytes) -> Rows | None:
        """Read lines that are all well; None when one of them is not."""

    def one(self, line: bytes, is_open: bool) -> Row | Range:
        """Read a line, which may be the last of a file without a line's end.

        Raises:
            BadRow, InvalidNumber: it cannot be read.
        """


def line_blocks(chunks: Iterable[bytes], line_bytes: int) -> Iterator[list[Lines]]:
    """Give the lines that end in each chunk, in pieces; a piece of more than `line_bytes` is one line."""
    number = 1
    rest = b""
    for chunk in chunks:
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        # One that has no end would fill the memory. It stays too long, even without a `\r` at its end.
        rest = rest[: line_bytes + 2]
        if newline:
            pieces = list(_pieces(whole, number, min(_PIECE_BYTES, line_bytes)))
            number += whole.count(b"\n") + 1
            yield pieces
    if rest:
        yield [Lines(rest, number, is_open=True)]


def _pieces(lines: bytes, number: int, piece_bytes: int) -> Iterator[Lines]:
    begin = 0
    while begin <= len(lines):
        end = len(lines)
        if end - begin > piece_bytes:
            end = lines.rfind(b"\n", begin, begin + piece_bytes + 1)
            if end < 0:
                end = lines.find(b"\n", begin)
            if end < 0:
                end = len(lines)
        piece = lines[begin:end]
        yield Lines(piece, number)
        number += piece.count(b"\n") + 1
        begin = end + 1


def first_line(blocks: Iterator[list[Lines]]) -> tuple[Lines, list[Lines]] | None:
    """Give the first line that is not blank and the pieces of its block that follow it; None without one."""
    for pieces in blocks:
        for at, piece in enumerate(pieces):
            if text := _find_text(piece.data):
                begin = piece.data.rfind(b"\n", 0, text.start()) + 1
                end = piece.data.find(b"\n", begin)
                number = piece.number + piece.data.count(b"\n", 0, begin)
                if end < 0:
                    return Lines(piece.data[begin:], number, piece.is_open), pieces[at + 1 :]
                left = Lines(piece.data[end + 1 :], number + 1)
                return Lines(piece.data[begin:end], number), [left, *pieces[at + 1 :]]
    return None


def read_lines(reader: LineReader, pieces: Iterable[Lines], line_bytes: int) -> Iterator[Block]:
    """Read pieces of lines, blank ones apart; give what they hold, mostly at once."""
    block = Block()
    for piece in pieces:
        lines = _without_returns(piece.data)
        if len(lines) > line_bytes and b"\n" not in lines:
            block.rejects.append(rejected(piece.number, too_long(line_bytes), lines))
        elif not lines.isspace() and lines:
            whole = None if piece.is_open else reader.all_of(lines)
            if whole is None:
                _read_by_parts(reader, piece._replace(data=lines), block)
            else:
                block.rows.extend(whole)
        if len(block.rejects) > MANY_REJECTS:
            yield block
            block = Block()
    yield block


def _without_returns(lines: bytes) -> bytes:
    return lines.replace(b"\r\n", b"\n").removesuffix(b"\r")


def _read_by_parts(reader: LineReader, piece: Lines, block: Block) -> None:
    """Read a piece in which a line is not well: its smaller parts at once, if they are, else line by line."""
    for part in _pieces(piece.data, piece.number, _PART_BYTES):
        read = None if piece.is_open else reader.all_of(part.data)
        if read is None:
            _read_one_by_one(reader, part._replace(is_open=piece.is_open), block)
        else:
            block.rows.extend(read)


def _read_one_by_one(reader: LineReader, part: Lines, block: Block) -> None:
    for number, line in enumerate(part.data.split(b"\n"), part.number):
        if not line or line.isspace():
            continue
        try:
            block.add(reader.one(line, part.is_open))
        except (BadRow, InvalidNumber) as error:
            block.rejects.append(rejected(number, error, line))
