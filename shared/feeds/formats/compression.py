"""Unpacking feeds: gzip, zstd and zip, told by the content, within limits on what they may become.

Nothing is unpacked that was not asked for: each step gives at most a chunk, so that a file that expands to
ten thousand times its size costs no memory, and is refused as soon as its ratio can be told.
"""

import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

from shared.feeds.profiles import Limits
from shared.feeds.rows import FeedRefused

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

CHUNK_BYTES = 1 << 20

_READ_BYTES = 1 << 16
"""Of packed data at a time. What lies behind the end of a gzip member is copied, so more would cost feeds of
many small members dear."""

_MOST_READ = 1 << 20

_UNRATED_BYTES = 64 << 20
"""The ratio counts from here on: a small and very regular file may well be packed to a hundredth."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_END = b"\x2a\x4d\x18"
_SKIPPABLE_BEGINS = range(0x50, 0x60)
_ZIP = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22

_ZSTD_WINDOW_LOG: Final = 23
"""8 MiB, the window that RFC 8878 (3.1.1.1.2) wants every decoder to take and the largest of zstd's levels up
to 19: a window lies in memory as a whole."""

_Parts = Iterator[bytes]


class Source:
    """The bytes of a feed as it lies on disk."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        """Read from the beginning of `file`, at most so many bytes."""
        self._file = file
        self._max_bytes = max_bytes
        self.position = 0
        """Where the last read ended."""
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; raises `FeedRefused` and `OSError`."""
        if size > _MOST_READ:
            # A zip's directory is read at once; that of a single file is small.
            raise FeedRefused("the zip has a directory of more than a megabyte; it has to hold one file")
        data = self._file.read(size if size >= 0 else _MOST_READ)
        self.position = self._file.tell()
        if self.position > self._max_bytes:
            raise FeedRefused(f"the file has more than {self._max_bytes:,} bytes, the limit for this feed")
        return data


def unpack(file: BinaryIO, source: Source, limits: Limits) -> Iterator[bytes]:
    """Give the content of a feed in chunks of about a megabyte.

    `file` is what `source` reads from; it can seek and stands at the beginning.

    Raises:
        FeedRefused: broken or truncated data, something behind its end, compressed twice, or over a limit.
        OSError: the file cannot be read.
    """
    magic = file.read(4)
    file.seek(0)
    unpacker = _unpacker_for(magic)
    if unpacker is None:
        yield from iter(lambda: source.read(CHUNK_BYTES), b"")
        return
    _refuse_bomb(unpacker(source), source, limits)
    file.seek(0)
    expanded = 0
    for chunk in _gathered(unpacker(source)):
        if not expanded and _unpacker_for(chunk[:4]):
            raise FeedRefused("the file is compressed twice; it has to be compressed once, or not at all")
        expanded += len(chunk)
        if expanded > limits.expanded_bytes:
            raise FeedRefused(f"the file expands to more than {limits.expanded_bytes:,} bytes")
        _check_ratio(expanded, source, limits)
        yield chunk


def _refuse_bomb(parts: _Parts, source: Source, limits: Limits) -> None:
    """Look at the beginning before any of it is block: tens of megabytes of rows take seconds.

    What has not expanded too much by then is checked while it is read. It takes 10-50 ms of a feed.
    """
    expanded = 0
    for part in parts:
        expanded += len(part)
        _check_ratio(expanded, source, limits)
        if expanded > _UNRATED_BYTES or source.position * limits.expansion > _UNRATED_BYTES:
            return


def _check_ratio(expanded: int, source: Source, limits: Limits) -> None:
    if expanded > _UNRATED_BYTES and expanded > limits.expansion * source.position:
        raise FeedRefused(f"the file expands to more than {limits.expansion:g} times its size")


def _unpacker_for(magic: bytes) -> Callable[[Source], _Parts] | None:
    if magic.startswith(_GZIP):
        return _gunzip
    if magic == _ZSTD or _is_skippable(magic):
        return _unzstd
    return _unzip if magic in (_ZIP, _ZIP_END) else None


def _is_skippable(magic: bytes) -> bool:
    """Tell whether a zstd frame without content begins so, which some tools write first (RFC 8878, 3.1.2)."""
    return magic[1:] == _SKIPPABLE_END and magic[0] in _SKIPPABLE_BEGINS


def _gathered(parts: _Parts) -> _Parts:
    """Join parts to chunks, so that many small frames do not make many small blocks."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held.clear()
            size = 0
    if size:
        yield b"".join(held)


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def step(self, data: bytes) -> bytes: ...
    @property
    def wants_input(self) -> bool: ...


class _Gzip:
    """One member of gzip data; zlib keeps what it did not get to apart, where zstd keeps it within."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._left = b""
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused_data(self) -> bytes:
        return self._decompressor.unused_data

    @property
    def wants_input(self) -> bool:
        return not self._left and not self._is_full

    def step(self, data: bytes) -> bytes:
        part = self._decompressor.decompress(self._left + data, CHUNK_BYTES)
        self._left = self._decompressor.unconsumed_tail
        self._is_full = len(part) == CHUNK_BYTES
        return part


class _Zstd:
    """One frame of zstd data."""

    def __init__(self) -> None:
        options: dict[int, int] = {DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._decompressor = ZstdDecompressor(options=options)

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused_data(self) -> bytes:
        return self._decompressor.unused_data

    @property
    def wants_input(self) -> bool:
        return self._decompressor.needs_input

    def step(self, data: bytes) -> bytes:
        return self._decompressor.decompress(data, CHUNK_BYTES)


def _gunzip(source: Source) -> _Parts:
    try:
        yield from _inflate(source, _Gzip, lambda data: data.startswith(_GZIP[: len(data)]))
    except (EOFError, zlib.error) as error:
        raise FeedRefused(f"the gzip data is broken: {error}") from error


def _unzstd(source: Source) -> _Parts:
    try:
        yield from _inflate(source, _Zstd, _may_be_zstd)
    except (EOFError, ZstdError) as error:
        shown = str(error)
        if "memory" in shown:
            shown = "it needs a window of more than 8 MiB; pack it with a level of at most 19"
        raise FeedRefused(f"the zstd data is broken: {shown}") from error


def _may_be_zstd(data: bytes) -> bool:
    return _ZSTD.startswith(data[:4]) or _is_skippable(data[:4]) or len(data) < len(_ZSTD)


def _inflate(
    source: Source, new_inflater: Callable[[], _Inflater], may_follow: Callable[[bytes], bool]
) -> _Parts:
    """Unpack one member or frame after the other to the end of the source; raises EOFError."""
    data = source.read(_READ_BYTES)
    while data:
        inflater = new_inflater()
        while not inflater.eof:
            if not data and inflater.wants_input:
                data = source.read(_READ_BYTES)
                if not data:
                    raise EOFError("it ends in the middle, as if it was cut off")
            yield inflater.step(data)
            data = b""
        data = inflater.unused_data or source.read(_READ_BYTES)
        if not may_follow(data):
            raise EOFError("something else follows behind its end")


def _unzip(source: Source) -> _Parts:
    try:
        with zipfile.ZipFile(source) as archive:
            entry = _only_file(source, archive)
            with archive.open(entry) as content:
                yield from iter(lambda: content.read(_READ_BYTES), b"")
    except FeedRefused:
        raise
    except Exception as error:
        # A hostile directory makes zipfile raise more than it documents: IndexError, struct.error, …
        raise FeedRefused(f"the zip is broken: {str(error)[:100]!a}") from error


def _only_file(source: Source, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    end_bytes = _ZIP_END_BYTES + len(archive.comment)
    source.seek(-end_bytes, 2)
    if source.read(4) != _ZIP_END:
        raise FeedRefused("the zip is broken: something else follows behind its end")
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) != 1:
        raise FeedRefused(
            f"the zip holds {len(entries)} files; it has to hold one, a CSV or another text file"
        )
    [entry] = entries
    if entry.flag_bits & 1:
        raise FeedRefused("the zip is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The others unpack whatever comes, however much it becomes.
        raise FeedRefused("the zip is packed in an unusual way; only stored and deflated files are read")
    return entry
