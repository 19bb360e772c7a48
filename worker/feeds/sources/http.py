"""Feeds over http and https."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from shared.feeds.sources import Source
from worker.feeds.sources.opened import (
    CHUNK_BYTES,
    Opened,
    Patience,
    SourceUnavailable,
    is_etag,
    ms_of,
    version_of,
)

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 5


@asynccontextmanager
async def open_source(
    source: Source, options: Mapping[str, Any], known_version: str | None, patience: Patience
) -> AsyncIterator[Opened | None]:
    """Open a feed of a web server; see `OpenSource`."""
    # Nothing is unpacked on the way: the limits on what a feed expands to are its parser's.
    headers = {"Accept-Encoding": "identity"}
    if known_version is not None and is_etag(known_version):
        headers["If-None-Match"] = known_version
    async with AsyncExitStack() as stack:
        with _told():
            response = await _get(stack, source.text, options, headers, patience)
        if response.status == HTTPStatus.NOT_MODIFIED and "If-None-Match" in headers:
            yield None
            return
        if response.status != HTTPStatus.OK:
            raise SourceUnavailable(f"the server answers {response.status}")
        modified_ms, size = _modified_ms(response), response.content_length
        version = response.headers.get("ETag") or version_of(modified_ms, size)
        yield Opened(source, version, modified_ms, size, _chunks(response))


async def _get(
    stack: AsyncExitStack,
    address: str,
    options: Mapping[str, Any],
    headers: Mapping[str, str],
    patience: Patience,
) -> aiohttp.ClientResponse:
    url = _filesystem(options, patience).encode_url(address)
    for _ in range(_MOST_REDIRECTS + 1):
        filesystem = _filesystem(options, patience)
        session = await filesystem.set_session()
        stack.push_async_callback(session.close)
        request = {**filesystem.kwargs, "headers": {**filesystem.kwargs.get("headers", {}), **headers}}
        response: aiohttp.ClientResponse = await stack.enter_async_context(
            session.get(url, allow_redirects=False, **request)
        )
        if response.status not in _REDIRECTS:
            return response
        target = response.url.join(URL(response.headers.get("Location", "")))
        if target.scheme not in ("https", url.scheme):
            raise SourceUnavailable(
                "the server redirects to an address that is neither http nor https, or less safe"
            )
        if target.origin() == url.origin():
            # What is asked anew is asked as the same person; what the server answers names nobody.
            target = target.with_user(url.user).with_password(url.password)
        else:
            # What the options hold, keys among it, is for the server that the profile names.
            options = {}
        url = target
    raise SourceUnavailable(f"the server redirects more than {_MOST_REDIRECTS} times")


def _filesystem(options: Mapping[str, Any], patience: Patience) -> Any:
    client = {
        **options.get("client_kwargs", {}),
        "auto_decompress": False,
        "read_bufsize": CHUNK_BYTES,
        "timeout": aiohttp.ClientTimeout(connect=patience.connect, sock_read=patience.silence),
        # Neither proxies nor secrets are taken from the environment.
        "trust_env": False,
    }
    return HTTPFileSystem(
        **{**options, "client_kwargs": client, "asynchronous": True, "skip_instance_cache": True}
    )


def _modified_ms(response: aiohttp.ClientResponse) -> int | None:
    try:
        return ms_of(parsedate_to_datetime(response.headers["Last-Modified"]))
    except (KeyError, ValueError):
        return None


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _told():
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            yield chunk


@contextmanager
def _told() -> Iterator[None]:
    """Say in our own words what went wrong: those of the library may hold the whole URL."""
    try:
        yield
    except TimeoutError:
        raise
    except aiohttp.ClientConnectorError as error:
        raise SourceUnavailable(f"no connection: {error.os_error.strerror or error.os_error}") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
        raise SourceUnavailable("the connection was cut off before the end") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise SourceUnavailable(f"the server cannot be asked: {type(error).__name__}") from error
    except TypeError as error:
        raise SourceUnavailable(f"source_options: {error}") from error
