"""Stocks to measure with: local numbers that the numbering plan allows, spread or in thousands blocks."""

from collections.abc import Iterable, Sequence
from itertools import islice
from random import Random
from typing import Final, TypeVar

from deploy.sample_feed.generate import AREA_CODES
from shared import store_keys
from shared.stock_score import SMS, attributes, score
from tests.bench.store_connection import StoreConnection

T = TypeVar("T")

_AREA_CODES: Final = 300
SPARSE_NUMBERS: Final = 3_333
BLOCK_NUMBERS: Final = 1_000

_EXCHANGE_NUMBERS: Final = 10_000
_EXCHANGES: Final = tuple(exchange for exchange in range(200, 1_000) if exchange % 100 != 11)
"""Without 211, 311 … 911, which are service codes."""

NUMBERS_PER_AREA: Final = len(_EXCHANGES) * _EXCHANGE_NUMBERS
"""7,920,000 local numbers an area code."""

_OFFERED: Final = attributes(1, SMS)
"""By the first carrier that is registered."""
_MEMBERS_PER_ZADD: Final = 1_000
_ZADDS_PER_PIPELINE: Final = 20


def local_number(index: int) -> int:
    """Return the local number at an index, 0 to `NUMBERS_PER_AREA` - 1, in ascending order."""
    exchange, line = divmod(index, _EXCHANGE_NUMBERS)
    return _EXCHANGES[exchange] * _EXCHANGE_NUMBERS + line


def spread(count: int, draw: Random) -> list[int]:
    """Return local numbers drawn at random, in no order."""
    return [local_number(index) for index in draw.sample(range(NUMBERS_PER_AREA), count)]


def in_blocks(count: int, draw: Random) -> list[int]:
    """Return local numbers, in thousands, that fill random thousands blocks."""
    blocks = draw.sample(range(NUMBERS_PER_AREA // BLOCK_NUMBERS), count // BLOCK_NUMBERS)
    return [local_number(block * BLOCK_NUMBERS + line) for block in blocks for line in range(BLOCK_NUMBERS)]


def put_in_stock(client: StoreConnection, area_code: str, numbers: Sequence[int]) -> None:
    """Make local numbers of an area code available, in pipelines."""
    client.execute("SADD", store_keys.AREAS, area_code)
    key = store_keys.available(area_code)
    prefix = f"+1{area_code}"
    members = (f"{prefix}{number}" for number in numbers)
    pairs = zip((score(number, _OFFERED) for number in numbers), members, strict=True)
    commands = (
        ("ZADD", key, *(item for pair in chunk for item in pair))
        for chunk in _chunks(pairs, _MEMBERS_PER_ZADD)
    )
    for pipeline in _chunks(commands, _ZADDS_PER_PIPELINE):
        client.execute_many(pipeline)


def _chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def spread_over_areas(count: int, draw: Random) -> Iterable[tuple[str, list[int]]]:
    """Yield 300 area codes with as many local numbers each, `count` in all."""
    codes = AREA_CODES[:_AREA_CODES]
    for area_code in codes:
        yield area_code, spread(max(count // len(codes), 1), draw)
