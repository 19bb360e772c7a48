"""CSV of numbers in blocks: thousands blocks (`npa,nxx,x`) or ranges (`start,count` or `start,end`).

A block without `x`, or with the letter A there, is the whole exchange: 10,000 numbers.
"""

from collections.abc import Iterable, Iterator

from shared.feeds.formats.clean_numbers import EXCHANGES
from shared.feeds.formats.columns import SAYING_ROLES, Role
from shared.feeds.formats.delimited import Table, read_header, read_table
from shared.feeds.formats.lines import LineReader, Lines
from shared.feeds.formats.meaning import Meanings
from shared.feeds.formats.rejects import BadRow
from shared.feeds.profiles import Profile
from shared.feeds.rows import Block, Range
from shared.phone_number import PhoneNumber, parse_number

_EXCHANGE = 10_000
_BLOCK = 1_000
_LAST_LOCAL = 9_999_999
_COUNT_DIGITS = 7
_DIGITS = frozenset("0123456789")

_NEEDED = ((Role.START, Role.COUNT), (Role.START, Role.END), (Role.NPA, Role.NXX))
_ROLES = (Role.START, Role.COUNT, Role.END, Role.NPA, Role.NXX, Role.X, *SAYING_ROLES)


class _RangeReader:
    """Reads rows one by one: 10,000 of them are a feed of ten million numbers."""

    def __init__(self, table: Table, profile: Profile) -> None:
        self._table = table
        self._roles = [role for role in SAYING_ROLES if role in table.columns]
        self._meanings = Meanings(profile, self._roles)

    def all_of(self, lines: bytes) -> None:  # noqa: ARG002
        return None

    def one(self, line: bytes, is_open: bool) -> Range:
        fields = self._table.fields(line, is_open)
        said = {role: fields[at].strip() for role, at in self._table.columns.items()}
        first, count = _block(said) if Role.START not in said else _range(said)
        last = first.local + count - 1
        if last > _LAST_LOCAL:
            raise BadRow(f"goes beyond the area code {first.area_code}")
        for exchange in range(first.local // _EXCHANGE, last // _EXCHANGE + 1):
            if str(exchange) not in EXCHANGES:
                raise BadRow(f"holds the exchange {exchange}, which cannot be sold")
        features = self._meanings[tuple([said[role] for role in self._roles])]
        return Range(first.area_code, first.local, count, features)


def _block(said: dict[Role, str]) -> tuple[PhoneNumber, int]:
    npa, nxx, block = said[Role.NPA], said[Role.NXX], said.get(Role.X, "").upper()
    if len(npa) != len("415") or len(nxx) != len("555"):
        raise BadRow("npa and nxx have three digits each")
    if block in ("", "A"):
        return parse_number(f"{npa}{nxx}0000"), _EXCHANGE
    if block not in _DIGITS:
        raise BadRow("x is a digit, A or empty")
    return parse_number(f"{npa}{nxx}{block}000"), _BLOCK


def _range(said: dict[Role, str]) -> tuple[PhoneNumber, int]:
    first = parse_number(said[Role.START])
    if Role.COUNT in said:
        count = said[Role.COUNT]
        if not (count.isascii() and count.isdigit() and len(count) <= _COUNT_DIGITS and int(count)):
            raise BadRow("the count is no whole number from 1 on")
        return first, int(count)
    last = parse_number(said[Role.END])
    if last.area_code != first.area_code or last < first:
        raise BadRow("the end is not in the area code of the start, or before it")
    return first, last.local - first.local + 1


def read_ranges(chunks: Iterable[bytes], profile: Profile) -> Iterator[Block]:
    """Read CSV of blocks or ranges; raises `FeedRefused` when its header cannot be used."""

    def read_first(header: Lines) -> LineReader:
        return _RangeReader(read_header(header, profile, _ROLES, _NEEDED), profile)

    yield from read_table(chunks, profile, read_first)
