"""CSV: a header, then a row a line.

Columns come in any order and under any of their usual names; the delimiter is what splits the header so that
it has a column of the number. A quoted field cannot hold a line's end: a quote that is not closed then costs
its own line only, not all that follow.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from shared.feeds.formats import content
from shared.feeds.formats.clean_numbers import CLEAN_NUMBER, Columns, columns_of
from shared.feeds.formats.columns import SAYING_ROLES, Role, find_columns, named_by, shown
from shared.feeds.formats.lines import LineReader, Lines, first_line, line_blocks, read_lines
from shared.feeds.formats.meaning import Meanings, may_go_on
from shared.feeds.formats.rejects import BadRow, too_long
from shared.feeds.profiles import Profile
from shared.feeds.rows import Block, FeedRefused, Row, Rows
from shared.phone_number import InvalidNumber, parse_number

_DELIMITERS = ",;\t|"

_MOST_COLUMNS = 1_000
"""Each makes the patterns of a row longer, which take their time to compile."""


class Table(NamedTuple):
    """What the header says of the rows."""

    delimiter: str
    width: int
    columns: dict[Role, int]

    def fields(self, line: bytes, is_open: bool) -> list[str]:
        """Split a row, which may be the last of a file without a line's end.

        Raises:
            BadRow: it has not the header's width, is not CSV, or may have been cut off.
        """
        fields = split(line, self.delimiter)
        if len(fields) != self.width:
            raise BadRow(f"has {len(fields)} columns, the header has {self.width}")
        if is_open and any(
            may_go_on(role, fields[-1]) for role, at in self.columns.items() if at == self.width - 1
        ):
            raise BadRow("is the last, has no line end, and may have been cut off")
        return fields


def split(line: bytes, delimiter: str) -> list[str]:
    """Split a line; raises `BadRow`.

    What is not UTF-8 cannot belong to a number and becomes a replacement character.
    """
    text = line.decode("utf-8", "replace")
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], strict=True, delimiter=delimiter))
    except csv.Error as error:
        raise BadRow(f"is not CSV: {error}") from error


def read_header(
    line: Lines, profile: Profile, roles: Collection[Role], needed: Sequence[Collection[Role]]
) -> Table:
    """Read a header, in which all roles of one of the groups in `needed` have to be.

    Raises:
        FeedRefused: it does not have them, or lacks one that the profile names, with the columns that it has;
            or it has too many of them.
    """
    header = line.data.removesuffix(b"\r")
    if len(header) > profile.limits.line_bytes:
        raise FeedRefused(f"the header {too_long(profile.limits.line_bytes)}")
    if content.look_of(header) != content.TEXT:
        raise content.not_expected(header, "CSV")
    refusals: list[str] = []
    # The most frequent delimiter is most probably the right one.
    for delimiter in sorted(_DELIMITERS, key=lambda delimiter: -header.count(delimiter.encode())):
        try:
            names = [name.strip() for name in split(header, delimiter)]
        except BadRow as error:
            refusals.append(f"the header {error}")
            continue
        columns = {role: at for role, at in find_columns(names, profile).items() if role in roles}
        missing = _missing(columns, profile, roles, needed)
        if missing is None:
            if len(names) > _MOST_COLUMNS:
                raise FeedRefused(
                    f"the header has {len(names):,} columns; more than {_MOST_COLUMNS:,} are not read"
                )
            return Table(delimiter, len(names), columns)
        refusals.append(f"the header has no {missing}; its columns are: {shown(names)}")
    raise FeedRefused(refusals[0])


def _missing(
    columns: Collection[Role], profile: Profile, roles: Collection[Role], needed: Sequence[Collection[Role]]
) -> str | None:
    for role, name in named_by(profile).items():
        if role in roles and role not in columns:
            return f"column {shown([name])}, which the profile names"
    if any(all(role in columns for role in group) for group in needed):
        return None
    return "column " + ", nor ".join(" and ".join(repr(str(role)) for role in group) for group in needed)


class _Rows:
    """Rows that are all written alike, found with one pattern."""

    def __init__(self, table: Table, saying_at: Sequence[int], *, is_clean: bool, is_quoted: bool) -> None:
        """Look for rows with clean numbers or with any, of fields that are all quoted or none of them."""
        self._is_clean = is_clean
        number_at = table.columns[Role.NUMBER]
        any_text = r'[^"\n]*+' if is_quoted else rf'[^{re.escape(table.delimiter)}"\n]*+'
        fields = [f"({any_text})" if at in saying_at else any_text for at in range(table.width)]
        fields[number_at] = CLEAN_NUMBER if is_clean else f"({any_text})"
        row = re.escape(table.delimiter).join(f'"{field}"' if is_quoted else field for field in fields)
        self.find: Callable[[str], list[Any]] = re.compile(f"^{row}$", re.MULTILINE).findall
        # Groups come in the order of the columns; a clean number is two.
        wanted = sorted({number_at, *saying_at})
        groups = {column: at + (is_clean and column > number_at) for at, column in enumerate(wanted)}
        self._number_group = groups[number_at]
        self._saying_groups = [groups[column] for column in saying_at]

    def all_of(self, found: list[Any], meanings: Meanings) -> Rows | None:
        """Give the rows that were found; None when one says what is not known."""
        groups = list(zip(*found, strict=True)) if isinstance(found[0], tuple) else [found]
        try:
            columns = self._numbers(groups)
            if not self._saying_groups:
                return Rows(*columns, [meanings[()]] * len(found))
            said = zip(*[groups[group] for group in self._saying_groups], strict=True)
            return Rows(*columns, list(map(meanings.__getitem__, said)))
        except (KeyError, BadRow, InvalidNumber):
            return None

    def _numbers(self, groups: Sequence[Sequence[str]]) -> Columns:
        texts = groups[self._number_group]
        if self._is_clean:
            return columns_of(texts, groups[self._number_group + 1])
        numbers = list(map(parse_number, texts))
        return [number.area_code for number in numbers], [number.local for number in numbers]


class _CsvReader:
    """Reads rows: of clean ones 0.7 µs each, with spelled numbers 1.7 µs, one by one 2.2 µs.

    Measured with `number,sms,mms` and 1,000,000 rows of 300 area codes, CPython 3.11, one core.
    """

    def __init__(self, table: Table, profile: Profile) -> None:
        self._table = table
        roles = [role for role in SAYING_ROLES if role in table.columns]
        saying_at = [table.columns[role] for role in roles]
        self._meanings = Meanings(profile, roles)
        self._number_at = table.columns[Role.NUMBER]
        self._said_by = _picker(saying_at)
        self._ways = {
            is_quoted: [
                _Rows(table, saying_at, is_clean=clean, is_quoted=is_quoted) for clean in (True, False)
            ]
            for is_quoted in (True, False)
        }

    def all_of(self, lines: bytes) -> Rows | None:
        text = lines.decode("utf-8", "replace")
        count = text.count("\n") + 1
        for way in self._ways[text.startswith('"')]:
            found = way.find(text)
            if len(found) == count:
                return way.all_of(found, self._meanings)
            if len(found) * 2 > count:
                # Most are so: it is only a bad one among them.
                break
        return None

    def one(self, line: bytes, is_open: bool) -> Row:
        fields = self._table.fields(line, is_open)
        return parse_number(fields[self._number_at]), self._meanings[self._said_by(fields)]


def _picker(places: Sequence[int]) -> Callable[[Sequence[str]], tuple[str, ...]]:
    """Give what picks the fields at some places as a tuple, however few they are."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda fields: tuple([fields[at] for at in places])


def read_table(
    chunks: Iterable[bytes],
    profile: Profile,
    read_first: Callable[[Lines], LineReader],
) -> Iterator[Block]:
    """Read a header and what follows it; raises what `read_first`, which makes a reader of it, raises."""
    line_bytes = profile.limits.line_bytes
    blocks = line_blocks(chunks, line_bytes)
    found = first_line(blocks)
    if found is not None:
        header, pieces = found
        reader = read_first(header)
        for block in chain([pieces], blocks):
            yield from read_lines(reader, block, line_bytes)


def read_delimited(chunks: Iterable[bytes], profile: Profile) -> Iterator[Block]:
    """Read CSV; raises `FeedRefused` when its header cannot be used."""

    def read_first(header: Lines) -> LineReader:
        table = read_header(header, profile, (Role.NUMBER, *SAYING_ROLES), [(Role.NUMBER,)])
        return _CsvReader(table, profile)

    yield from read_table(chunks, profile, read_first)
