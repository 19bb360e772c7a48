"""Feeds from S3, and from what speaks like it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from s3fs import S3FileSystem

from shared.feeds.sources import Source
from worker.feeds.sources.opened import CHUNK_BYTES, Opened, Patience, SourceUnavailable, is_etag, ms_of

_TRIES: Final = 2


@asynccontextmanager
async def open_source(
    source: Source, options: Mapping[str, Any], known_version: str | None, patience: Patience
) -> AsyncIterator[Opened | None]:
    """Open an object; see `OpenSource`.

    Without a key among the options the SDK looks for credentials, in the end at the machine's metadata
    service, whose address (`169.254.169.254/32`) has then to be among the allowed networks.
    """
    condition = {"IfNoneMatch": known_version} if is_etag(known_version) else {}
    with _told():
        filesystem = _filesystem(options, patience)
        client = await filesystem.set_session()
    try:
        bucket, key, _ = filesystem.split_path(source.text)
        with _told():
            answer = await client.get_object(Bucket=bucket, Key=key, **condition, **filesystem.req_kw)
        # Or it stays open when nobody reads it to its end.
        async with answer["Body"]:
            yield Opened(
                source,
                version=answer.get("ETag"),
                modified_ms=ms_of(answer["LastModified"]) if "LastModified" in answer else None,
                size=answer.get("ContentLength"),
                chunks=_chunks(answer["Body"]),
            )
    except _Unchanged:
        yield None
    finally:
        await client.close()


def _filesystem(options: Mapping[str, Any], patience: Patience) -> Any:
    config = {
        **options.get("config_kwargs", {}),
        "connect_timeout": patience.connect,
        "read_timeout": patience.silence,
        "retries": {"total_max_attempts": _TRIES, "mode": "standard"},
        # None here would have the SDK take them from the environment.
        "proxies": {},
        # The descriptions of services are megabytes of JSON, to be read beside the event loop.
        "warm_up_loader_caches": True,
    }
    return S3FileSystem(
        **{**options, "config_kwargs": config, "asynchronous": True, "skip_instance_cache": True}
    )


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    with _told():
        async with aclosing(body.iter_chunks(CHUNK_BYTES)) as chunks:
            async for chunk in chunks:
                yield chunk


class _Unchanged(Exception):
    """The object is still what it was."""


@contextmanager
def _told() -> Iterator[None]:
    """Say in our own words what went wrong: those of the library may hold what is secret."""
    try:
        yield
    except TimeoutError:
        raise
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == HTTPStatus.NOT_MODIFIED:
            raise _Unchanged from error
        code = error.response.get("Error", {}).get("Code")
        raise SourceUnavailable(f"the server answers {status}: {code}") from error
    except (BotoCoreError, aiohttp.ClientError, OSError, ValueError) as error:
        raise SourceUnavailable(f"the object cannot be read: {type(error).__name__}") from error
    except TypeError as error:
        raise SourceUnavailable(f"source_options: {error}") from error
