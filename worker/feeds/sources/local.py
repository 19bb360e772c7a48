"""Feeds from this machine: a file, or the newest one of a directory."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from shared.feeds.sources import Source
from worker.feeds.sources.opened import CHUNK_BYTES, Opened, Patience, SourceUnavailable, version_of

_UNFINISHED = (".part", ".tmp", ".sha256")


@asynccontextmanager
async def open_source(
    source: Source, options: Mapping[str, Any], known_version: str | None, patience: Patience
) -> AsyncIterator[Opened]:
    """Open a feed of this machine; see `OpenSource`."""
    del options, known_version, patience
    opening = asyncio.get_running_loop().run_in_executor(None, _open, Path(source.text))
    try:
        file, opened = await asyncio.shield(opening)
    except asyncio.CancelledError:
        # The thread goes on and opens it all the same.
        opening.add_done_callback(_close)
        raise
    with file:
        yield opened


def _close(opening: asyncio.Future[tuple[BinaryIO, Opened]]) -> None:
    if opening.exception() is None:
        opening.result()[0].close()


def _open(path: Path) -> tuple[BinaryIO, Opened]:
    with _told():
        is_directory = path.is_dir()
        if is_directory:
            path = _newest(path)
        # Who may put files into a directory may put links there too, but is not to read what they point at.
        # Without O_NONBLOCK a pipe would keep this thread until somebody writes into it.
        flags = os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if is_directory else 0)
        file = os.fdopen(os.open(path, flags), "rb", buffering=0)
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise SourceUnavailable("it is neither a file nor a directory")
    modified_ms = status.st_mtime_ns // 1_000_000
    version = f"{path.name} {version_of(modified_ms, status.st_size)}"
    return file, Opened(Source(str(path)), version, modified_ms, status.st_size, _chunks(file))


def _newest(directory: Path) -> Path:
    with os.scandir(directory) as entries:
        files = [
            (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
            for entry in entries
            if entry.is_file(follow_symlinks=False)
            and not entry.name.startswith(".")
            and not entry.name.endswith(_UNFINISHED)
        ]
    if not files:
        raise SourceUnavailable("there is no file in the directory")
    return directory / max(files)[1]


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    with _told():
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceUnavailable(error.strerror or type(error).__name__) from error
