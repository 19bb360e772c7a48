"""What all kinds of sources have in common."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, Protocol

from msgspec import Struct

from shared.feeds.sources import Source

CHUNK_BYTES: Final = 256 << 10


class SourceUnavailable(Exception):
    """The feed could not be fetched whole; says why, in one line that holds no secret."""


class Patience(Struct, frozen=True):
    """How long a source may take, in seconds."""

    connect: float = 10.0
    silence: float = 60.0
    """Without a byte."""
    whole: float = 3600.0
    """For a feed from its first byte to its last: one that trickles would keep its place for ever."""


class Opened(Struct, frozen=True):
    """A feed that is about to be read."""

    source: Source
    """The file itself, when the source is a directory."""
    version: str | None
    """What changes whenever the feed does: its ETag, or else time and size."""
    modified_ms: int | None
    size: int | None
    """Bytes that will come, when it is known."""
    chunks: AsyncIterator[bytes]


class OpenSource(Protocol):
    """How a kind of source is opened."""

    def __call__(
        self, source: Source, options: Mapping[str, Any], known_version: str | None, patience: Patience
    ) -> AbstractAsyncContextManager[Opened | None]:
        """Open a source; None stands for one that says itself that it is still at `known_version`.

        Raises:
            SourceUnavailable: it cannot be opened, or, from `chunks`, not be read to its end.
            TimeoutError: it does not answer.
        """


def version_of(modified_ms: int | None, size: int | None) -> str | None:
    """Tell versions apart where the source does not do so itself."""
    return None if modified_ms is None else f"{modified_ms}-{size}"


def is_etag(version: str | None) -> bool:
    """Tell whether a version is one that the source has given (RFC 9110, 8.8.3)."""
    return version is not None and version.endswith('"')


def ms_of(moment: datetime) -> int:
    """Turn a moment into Unix milliseconds."""
    return int(moment.timestamp() * 1000)
