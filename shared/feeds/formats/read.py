"""Reading a feed: a file in, blocks of rows out, whatever its format and compression."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from shared.feeds.formats import compression, content
from shared.feeds.formats.delimited import read_delimited
from shared.feeds.formats.json_array import read_json_array
from shared.feeds.formats.json_lines import read_json_lines
from shared.feeds.formats.ranges import read_ranges
from shared.feeds.formats.xml_rows import read_xml
from shared.feeds.profiles import Format, Profile
from shared.feeds.rows import Block, FeedRefused

_Parser = Callable[[Iterable[bytes], Profile], Iterator[Block]]

_PARSERS: Mapping[Format, _Parser] = {
    Format.CSV: read_delimited,
    Format.NDJSON: read_json_lines,
    Format.JSON: read_json_array,
    Format.XML: read_xml,
    Format.RANGES: read_ranges,
}


def read_feed(path: Path, profile: Profile) -> Iterator[Block]:
    """Read a feed from beginning to end, in memory for a block of about a megabyte at a time.

    What can be said of single rows is in the blocks. Whoever applies a feed has to read it to the end first:
    that it was cut off shows there.

    Raises:
        FeedRefused: it is not in the profile's format or breaks its limits, is broken or cut off as a whole,
            or cannot be read from the disk; in one line.
    """
    try:
        with path.open("rb") as file:
            source = compression.Source(file, profile.limits.bytes)
            head, chunks = content.begin(compression.unpack(file, source, profile.limits))
            count = 0
            for block in _parser_for(profile.format, head)(chunks, profile):
                count += block.number_count + len(block.rejects)
                if count > profile.limits.rows:
                    raise FeedRefused(f"the feed has more than {profile.limits.rows:,} rows")
                block.position = source.position
                yield block
    except OSError as error:
        raise FeedRefused(f"the file cannot be read: {error.strerror or error}") from error


def _parser_for(format_: Format, head: bytes) -> _Parser:
    if format_ is Format.PLAIN:
        format_ = Format.NDJSON if head.lstrip().startswith(b"{") else Format.CSV
    return _PARSERS[format_]
