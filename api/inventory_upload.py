"""A feed that is the body of a request, on its way into the spool."""

import asyncio
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException

from api.authentication import check_still_known
from api.errors import FeedIncomplete, FeedOverLimit, FeedTooSlow, SpoolUnavailable, ValidationFailed
from api.parameters import failing_parameters
from api.services import Services
from shared import store_keys
from shared.feeds.spool import FeedTooLarge, Spool, SpoolWriter

_DIGEST = re.compile(r"\s*sha-256\s*=\s*:([A-Za-z0-9+/]{43}=):\s*")
_WRITTEN_AT_ONCE = 1 << 20
"""Bytes. A thread takes some 100 µs to be asked, and a disk some ms for so many; what waits is in memory."""
_GRACE_SECONDS = 60.0
_BYTES_PER_SECOND = 64 << 10
"""That come at least, on average, once the grace is over: one that trickles would keep its connection and its
place on the disk for ever. 4 GiB take 18 hours then; after 24 the spool forgets parts of feeds."""


async def open_spool(services: Services) -> Spool:
    """Give the spool that is set, else the worker's if that is on this machine.

    Raises:
        SpoolUnavailable: there is none here.
        StoreUnavailable: the store did not answer.
    """
    if services.settings.spool_dir is not None:
        return Spool(Path(services.settings.spool_dir))
    named = await services.store.execute("GET", store_keys.SPOOL_DIR)
    if named is None:
        raise SpoolUnavailable("no spool is set, and no worker has named its own")
    directory = Path(named.decode())
    if not await asyncio.to_thread(directory.is_dir):
        raise SpoolUnavailable(f"no spool is set, and the worker's, {directory}, is not on this machine")
    return Spool(directory)


def wanted_digest(request: Request[Any, Any, Any]) -> str | None:
    """Give the SHA-256, in hex, that the body has to have by its `Content-Digest` (RFC 9530).

    Raises:
        ValidationFailed: there is such a header, and not one SHA-256 in it.
    """
    headers = request.headers.getall("content-digest", [])
    if not headers:
        return None
    digests = [found[1] for member in ",".join(headers).split(",") if (found := _DIGEST.fullmatch(member))]
    # Other algorithms could be ignored, but whoever sends one takes the feed for checked.
    if len(digests) != 1:
        raise ValidationFailed(failing_parameters([{"key": "content_digest"}]))
    return b64decode(digests[0]).hex()


async def receive(
    request: Request[Any, Any, Any], spool: Spool, feed_id: str, max_bytes: int, wanted: str | None
) -> str:
    """Put the body into the spool as it comes, never all of it in memory, and give its SHA-256 in hex.

    Raises:
        FeedOverLimit: it has more than `max_bytes`.
        FeedIncomplete: it is empty, or its sender hung up.
        FeedTooSlow: its sender takes too long.
        ValidationFailed: its SHA-256 is not the `wanted` one.
        Unauthorized: the key has ended while it came.
        SpoolUnavailable: it cannot be written.
    """
    if (request.content_length or 0) > max_bytes:
        raise FeedOverLimit
    with spool_errors(), spool.writing(feed_id, max_bytes) as writer:
        received = await _write(request, writer)
        # A server may take the end of a broken connection for the end of the body.
        await check_still_known(request)
        if not received or received != (request.content_length or received):
            raise FeedIncomplete
        if wanted not in (None, writer.sha256):
            raise ValidationFailed({"Content-Digest": "does not agree with the content"})
    return writer.sha256


@contextmanager
def spool_errors() -> Iterator[None]:
    """Turn what the disk refuses in the body into `SpoolUnavailable`."""
    try:
        yield
    except OSError as error:
        raise SpoolUnavailable(f"{error.strerror or error}: {error.filename or 'while writing'}") from error


async def _write(request: Request[Any, Any, Any], writer: SpoolWriter) -> int:
    """Write the body and give its length; disk and digest take a thread, so that others are served."""
    received, waiting = 0, bytearray()
    grace_ends = asyncio.get_running_loop().time() + _GRACE_SECONDS
    patience = asyncio.timeout_at(grace_ends)
    try:
        async with patience:
            async for chunk in request.stream():
                await check_still_known(request)
                received += len(chunk)
                waiting += chunk
                if len(waiting) >= _WRITTEN_AT_ONCE:
                    await asyncio.to_thread(writer.write, bytes(waiting))
                    waiting.clear()
                patience.reschedule(grace_ends + received / _BYTES_PER_SECOND)
        await asyncio.to_thread(writer.write, bytes(waiting))
    except InternalServerException as error:
        # What Litestar makes of a caller who hangs up: no error of ours, and nobody reads the answer.
        raise FeedIncomplete from error
    except FeedTooLarge as error:
        raise FeedOverLimit from error
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise FeedTooSlow from error
    return received
