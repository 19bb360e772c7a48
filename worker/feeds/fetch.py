"""Fetching a carrier's feed from its source into the spool."""

import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
from msgspec import Struct

from shared.feeds.profiles import Profile
from shared.feeds.sources import Source, parse_networks, parse_source
from shared.feeds.spool import FeedTooLarge, Spool
from worker.feeds.networks import guarded_addresses
from worker.feeds.sources.opened import Opened, OpenSource, Patience, SourceUnavailable
from worker.feeds.sources.options import fill_in

_MODULES: Final = {None: "local", "http": "http", "https": "http", "s3": "s3", "sftp": "sftp"}
"""Of `worker.feeds.sources`, by the scheme of the URL."""

_CHECKSUM_SUFFIX: Final = ".sha256"
_MOST_CHECKSUM_BYTES: Final = 64 << 10
_CHECKSUM: Final = re.compile(rb"\\?([0-9a-fA-F]{64})(?:\s|$)")
"""As sha256sum writes it; a backslash says that the name behind it has escaped characters."""


class Fetched(Struct, frozen=True):
    """What was fetched; the feed itself lies in the spool."""

    sha256: str
    """In hex."""
    version: str | None
    """To be handed to the next fetch."""
    modified_ms: int | None
    """When the source says that the feed was changed, Unix milliseconds."""


class _Fetch(Struct, frozen=True):
    """What one fetch goes by."""

    source: Source
    options: Mapping[str, Any]
    known_version: str | None
    patience: Patience
    max_bytes: int
    has_checksum: bool


async def fetch(
    profile: Profile,
    spool: Spool,
    sync_id: str,
    known_version: str | None,
    patience: Patience = Patience(),  # noqa: B008 - it is frozen
) -> Fetched | None:
    """Copy the feed of a profile's source into the spool, whole or not at all.

    Gives None when the source is still at `known_version`, the `version` of an earlier fetch.

    Raises:
        SourceUnavailable: it cannot be fetched; says why in one line, without secrets.
        FeedTooLarge: it has more bytes than the profile's limits let it have.
        OSError: the spool cannot be written.
    """
    if profile.source is None:
        raise SourceUnavailable("the carrier's profile names no source")
    source = parse_source(profile.source)
    try:
        wanted = _Fetch(
            source,
            fill_in(profile.source_options),
            known_version,
            patience,
            profile.limits.bytes,
            profile.source_checksum,
        )
        with guarded_addresses(parse_networks(profile.allow_networks)) as guard:
            try:
                async with asyncio.timeout(patience.whole):
                    return await _fetch(wanted, spool, sync_id)
            except SourceUnavailable as error:
                if not guard.refused:
                    raise
                refused = ", ".join(sorted(guard.refused))
                raise SourceUnavailable(
                    f"{error}; not public, and not in allow_networks: {refused}"
                ) from error
    except TimeoutError:
        raise SourceUnavailable(f"{source.shown}: it takes longer than {patience.whole:g} s") from None
    except SourceUnavailable as error:
        # What the libraries said may hold the whole URL; it is not to end up in a traceback.
        raise SourceUnavailable(f"{source.shown}: {error}") from None


async def _fetch(wanted: _Fetch, spool: Spool, sync_id: str) -> Fetched | None:
    async with AsyncExitStack() as stack:
        opened = await _open(stack, wanted, wanted.source)
        if opened is None or (opened.version is not None and opened.version == wanted.known_version):
            return None
        if opened.size is not None and opened.size > wanted.max_bytes:
            raise FeedTooLarge(f"the feed has more than {wanted.max_bytes:,} bytes")
        with spool.writing(sync_id, wanted.max_bytes) as writer:
            received = 0
            async for chunk in _patiently(opened.chunks, wanted.patience):
                await asyncio.to_thread(writer.write, chunk)
                received += len(chunk)
            _check_size(received, opened.size)
            if wanted.has_checksum and writer.sha256 != await _checksum(wanted, opened.source):
                raise SourceUnavailable("the checksum of the source does not agree")
        return Fetched(writer.sha256, opened.version, opened.modified_ms)


def _check_size(received: int, announced: int | None) -> None:
    if announced is not None and received != announced:
        raise SourceUnavailable(f"{announced:,} bytes were announced, and {received:,} came")
    if not received:
        raise SourceUnavailable("it is empty")


async def _open(stack: AsyncExitStack, wanted: _Fetch, source: Source) -> Opened | None:
    opening = _opener(source)(source, wanted.options, wanted.known_version, wanted.patience)
    try:
        async with asyncio.timeout(wanted.patience.connect + wanted.patience.silence):
            return await stack.enter_async_context(opening)
    except TimeoutError as error:
        raise SourceUnavailable("it does not answer") from error


def _opener(source: Source) -> OpenSource:
    """Load what opens a kind of source, for not every service has the libraries of all kinds."""
    name = _MODULES[source.scheme]
    try:
        opener: OpenSource = importlib.import_module(f"worker.feeds.sources.{name}").open_source
    except ModuleNotFoundError as error:
        raise SourceUnavailable(
            f"to be installed with the extra {name!r}: {error.name} is missing"
        ) from error
    return opener


async def _patiently(chunks: AsyncIterator[bytes], patience: Patience) -> AsyncIterator[bytes]:
    """Give the chunks as they come, as long as they come."""
    while True:
        try:
            async with asyncio.timeout(patience.silence):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise SourceUnavailable(f"nothing came for {patience.silence:g} s") from error
        if chunk is None:
            return
        yield chunk


async def _checksum(wanted: _Fetch, source: Source) -> str:
    """Read the SHA-256 that the carrier has laid beside the feed, in hex."""
    beside = source.beside(_CHECKSUM_SUFFIX)
    content = b""
    try:
        async with AsyncExitStack() as stack:
            opened = await _open(stack, msgspec.structs.replace(wanted, known_version=None), beside)
            if opened is not None:
                async for chunk in _patiently(opened.chunks, wanted.patience):
                    content += chunk
                    if len(content) > _MOST_CHECKSUM_BYTES:
                        break
    except SourceUnavailable as error:
        raise SourceUnavailable(f"its checksum {beside.shown}: {error}") from error
    found = _CHECKSUM.match(content)
    if found is None:
        raise SourceUnavailable(f"its checksum {beside.shown} does not begin with a SHA-256 in hex")
    return found[1].decode().lower()
