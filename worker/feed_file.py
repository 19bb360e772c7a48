"""Reading a feed: bytes in, rows and rejected rows out, in blocks.

The plain format is CSV with a header (`number`, optionally `sms` and `mms`; other columns are ignored) or
NDJSON (`{"number": …, "sms": …, "mms": …}`), either one gzipped. Format and compression are told from the
content. A row that cannot be read is rejected with its reason; it never costs more than itself.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec
from msgspec import Struct

from shared.phone_number import InvalidNumber, PhoneNumber, parse_number
from shared.stock_score import MMS, SMS
from shared.syncs import RejectedRow

_BLOCK_BYTES = 1 << 20
_MAX_LINE_CHARACTERS = 1 << 16
"""A longer line is rejected: no row of a feed comes near it."""
_MAX_LINE_BYTES = 4 * (_MAX_LINE_CHARACTERS + 1)
"""So many bytes are a longer line whatever characters they are."""

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_FLAGS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_FLAGS |= {"false": False, "f": False, "no": False, "n": False, "0": False, "": False}


class FeedUnreadable(Exception):
    """The file as a whole cannot be read as a feed; says why."""


Row = tuple[PhoneNumber, int]
"""A number and its features (`SMS`, `MMS`, both or none)."""


class Block(NamedTuple):
    """What some consecutive lines of a feed hold."""

    rows: list[Row]
    rejects: list[RejectedRow]
    position: int
    """Bytes of the file read so far, as it lies on disk."""


class _BadRow(Exception):
    """Why a row cannot be read."""


def read_feed(path: Path) -> Iterator[Block]:
    """Read a feed from beginning to end, in memory for one block at a time.

    Raises:
        FeedUnreadable: no number column, broken compression, or not there.
    """
    try:
        with path.open("rb") as file:
            is_gzip = file.peek(2)[:2] == _GZIP_MAGIC
            content = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzip else file
            yield from _read_blocks(content, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FeedUnreadable(f"the gzip data is broken: {error}") from error
    except OSError as error:
        raise FeedUnreadable(f"the file cannot be read: {error.strerror or error}") from error


def _read_blocks(content: IO[bytes], file: IO[bytes]) -> Iterator[Block]:
    read_row: _ReadRow | None = None
    line_number = 1
    for lines in _line_blocks(content):
        first = 0
        if read_row is None:
            first = next((at for at, line in enumerate(lines) if line.strip()), len(lines))
            if first < len(lines):
                read_row, is_header = _reader_for(lines[first])
                first += is_header
        if read_row is not None:
            rows, rejects = _read_lines(read_row, lines, first, line_number)
            yield Block(rows, rejects, file.tell())
        line_number += len(lines)
    if read_row is None:
        raise FeedUnreadable("the file is empty")


def _read_lines(
    read_row: "_ReadRow", lines: list[str], first: int, line_number: int
) -> tuple[list[Row], list[RejectedRow]]:
    """Read the lines from index `first` on; `line_number` is that of index 0."""
    rows: list[Row] = []
    rejects: list[RejectedRow] = []
    for at in range(first, len(lines)):
        try:
            rows.append(read_row(lines[at]))
        except (_BadRow, InvalidNumber) as error:
            if lines[at].strip():
                rejects.append(RejectedRow(line_number + at, str(error)))
    return rows, rejects


def _line_blocks(content: IO[bytes]) -> Iterator[list[str]]:
    """Give the lines without their ends, a block of them at a time; an overlong one cut short."""
    rest = content.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
    while block := content.read(_BLOCK_BYTES):
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield _text(whole).split("\n")
        # What is cut off is skipped here, so that a file without a line's end cannot fill the memory.
        rest = rest[:_MAX_LINE_BYTES]
    if rest:
        yield _text(rest).split("\n")


def _text(lines: bytes) -> str:
    """Decode lines; what is not UTF-8 cannot belong to a number and shows as a replacement character."""
    return lines.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\r")


_ReadRow = Callable[[str], Row]


def _reader_for(first_line: str) -> tuple[_ReadRow, bool]:
    """Give what reads the lines of a feed that begins so, and whether this line is a header."""
    if first_line.lstrip().startswith("{"):
        return _read_json, False
    return _csv_reader(first_line), True


def _csv_reader(header: str) -> _ReadRow:
    try:
        names = [name.strip().lower() for name in _split(header)]
    except _BadRow as error:
        raise FeedUnreadable(f"the header {error}") from error
    if "number" not in names:
        shown = ", ".join(names)[:100]
        raise FeedUnreadable(f"the header has no column 'number'; its columns are: {shown!a}")
    width, number_at = len(names), names.index("number")
    # A column that is not there is taken from an empty one behind the last.
    pick = itemgetter(number_at, *(names.index(name) if name in names else width for name in ("sms", "mms")))
    features = _FeaturesOfTexts()

    # 1.0-1.3 µs a row, of which parse_number takes half.
    def read_csv(line: str) -> Row:
        fields = _split(line) if '"' in line or len(line) > _MAX_LINE_CHARACTERS else line.split(",")
        if len(fields) != width:
            raise _BadRow(f"has {len(fields)} columns, the header has {width}")
        fields.append("")
        number, sms, mms = pick(fields)
        return parse_number(number), features[sms, mms]

    return read_csv


def _split(line: str) -> list[str]:
    """Split a line of CSV; a quote that is not closed costs this line only, not all that follow."""
    _check_length(line)
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise _BadRow(f"is not CSV: {error}") from error


def _check_length(line: str) -> None:
    if len(line) > _MAX_LINE_CHARACTERS:
        raise _BadRow(f"is longer than {_MAX_LINE_CHARACTERS} characters")


class _FeaturesOfTexts(dict[tuple[str, str], int]):
    """(sms, mms), as texts → features; each combination is worked out once."""

    _MOST_COMBINATIONS = 1_000

    def __missing__(self, texts: tuple[str, str]) -> int:
        sms, mms = texts
        features = SMS * _flag("sms", sms) | MMS * _flag("mms", mms)
        if len(self) < self._MOST_COMBINATIONS:
            self[texts] = features
        return features


def _flag(name: str, text: str) -> bool:
    flag = _FLAGS.get(text.strip().lower())
    if flag is None:
        raise _BadRow(f"{name} is neither true nor false")
    return flag


class _JsonRow(Struct):
    number: str | int
    sms: bool = False
    mms: bool = False


_json_decoder = msgspec.json.Decoder(_JsonRow)


def _read_json(line: str) -> Row:
    _check_length(line)
    try:
        row = _json_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _BadRow(f"is not a row of NDJSON: {error}"[:200]) from error
    return parse_number(str(row.number)), SMS * row.sms | MMS * row.mms
