"""Feeds over SFTP.

asyncssh itself, not one of the two file systems that fsspec has for SFTP: both take any server for the right
one unless told otherwise, and both connect in a blocking constructor, which nothing can cancel.
"""

import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncssh

from shared.feeds.sources import Source
from worker.feeds.sources.opened import CHUNK_BYTES, Opened, Patience, SourceUnavailable, version_of


@asynccontextmanager
async def open_source(
    source: Source, options: Mapping[str, Any], known_version: str | None, patience: Patience
) -> AsyncIterator[Opened]:
    """Open a file of an SFTP server; see `OpenSource`.

    The options are those of `asyncssh.connect`; without `known_hosts` among them the server's key has to
    be in `~/.ssh/known_hosts`.
    """
    del known_version
    with _told():
        connection = await asyncssh.connect(**_arguments(source, options, patience))
    try:
        with _told():
            sftp = await connection.start_sftp_client()
            path = unquote(urlsplit(source.text).path)
            attributes = await sftp.stat(path)
            if attributes.permissions is not None and not stat.S_ISREG(attributes.permissions):
                raise SourceUnavailable("it is not a file")
            file = await sftp.open(path, "rb")
        modified_ms = None if attributes.mtime is None else int(attributes.mtime) * 1000
        version = version_of(modified_ms, attributes.size)
        yield Opened(source, version, modified_ms, attributes.size, _chunks(file))
    finally:
        # Nothing was written that would have to arrive, and a polite end waits for the other side.
        connection.abort()
        await connection.wait_closed()


def _arguments(source: Source, options: Mapping[str, Any], patience: Patience) -> dict[str, Any]:
    parts = urlsplit(source.text)
    named = {
        "host": parts.hostname,
        "port": parts.port,
        "username": parts.username and unquote(parts.username),
        "password": parts.password and unquote(parts.password),
    }
    return {
        # Without this, files of whoever runs the worker would say what is connected to, and through what.
        "config": None,
        **options,
        **{name: value for name, value in named.items() if value is not None},
        "connect_timeout": patience.connect,
        "login_timeout": patience.connect,
    }


async def _chunks(file: Any) -> AsyncIterator[bytes]:
    with _told():
        while chunk := await file.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except (asyncssh.Error, OSError) as error:
        raise SourceUnavailable(f"the file cannot be read: {_reason(error)}") from error
    except (TypeError, ValueError) as error:
        raise SourceUnavailable(f"source_options: {type(error).__name__}") from error


def _reason(error: Exception) -> str:
    """Name the kind of error; what asyncssh says of it repeats what the server says, or our options."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
