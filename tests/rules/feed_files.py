"""Feeds for tests of their formats: small numbers, and what is read of some bytes."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from shared.feeds.formats.read import read_feed
from shared.feeds.profiles import Format, Profile
from shared.feeds.rows import Block, FeedRefused, Range, Row
from shared.phone_number import PhoneNumber

ONE = PhoneNumber("415", 5550101)
TWO = PhoneNumber("212", 2345678)
THREE = PhoneNumber("604", 9876543)

PLAIN = Profile()
JSON = Profile(format=Format.JSON)
XML = Profile(format=Format.XML)
RANGES = Profile(format=Format.RANGES)

BLOCK_BYTES = 1 << 20
LINE_BYTES = PLAIN.limits.line_bytes


class Whole(NamedTuple):
    """What was read of a feed: its rows or ranges, and the line and reason of each rejected row."""

    rows: list[Any]
    rejects: list[tuple[int, str]]


class Read(Protocol):
    """Reads a feed of some bytes whole."""

    def __call__(self, content: bytes, profile: Profile = PLAIN) -> Whole: ...


class Refused(Protocol):
    """Tells why a feed of some bytes is refused."""

    def __call__(self, content: bytes, profile: Profile = PLAIN) -> str: ...


Parse = Callable[[Iterable[bytes], Profile], Iterator[Block]]


def block_of(rows: Iterable[Row], ranges: Iterable[Range] = ()) -> Block:
    """Give a block as a parser does."""
    block = Block()
    for row in rows:
        block.add(row)
    for one in ranges:
        block.add(one)
    return block


def read_whole(path: Path, content: bytes, profile: Profile = PLAIN) -> Whole:
    """Write a feed and read it."""
    path.write_bytes(content)
    blocks = list(read_feed(path, profile))
    for block in blocks:
        for reject in block.rejects:
            assert reject.reason.isprintable()
            assert len(reject.reason) <= 100
            assert len(reject.start) <= 64
    return Whole(
        [row for block in blocks for row in [*block.rows, *block.ranges]],
        [(reject.line, reject.reason) for block in blocks for reject in block.rejects],
    )


def refusal(path: Path, content: bytes, profile: Profile = PLAIN) -> str:
    """Give the reason for which a feed of these bytes is refused, which is one short printable line."""
    reason = reason_against(path, content, profile)
    assert reason.isprintable()
    assert 0 < len(reason) < 300
    return reason


def reason_against(path: Path, content: bytes, profile: Profile = PLAIN) -> str:
    """Give the reason for which a feed is refused, nothing when it is read; anything else fails."""
    try:
        read_whole(path, content, profile)
    except FeedRefused as error:
        return str(error)
    return ""


def chunked(content: bytes, size: int) -> Iterator[bytes]:
    """Cut a file into chunks."""
    return (content[at : at + size] for at in range(0, len(content), size))


def parse_whole(parse: Parse, content: bytes, size: int, profile: Profile) -> Whole:
    """Give what a parser makes of chunks of a size."""
    blocks = list(parse(chunked(content, size), profile))
    return Whole(
        [row for block in blocks for row in [*block.rows, *block.ranges]],
        [(reject.line, reject.reason) for block in blocks for reject in block.rejects],
    )


@contextmanager
def limited_memory(most_bytes: int) -> Iterator[None]:
    """Fail when the body has more bytes of Python's memory in use at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most_bytes
