"""Where feeds lie: the rules of a profile's `source` and `allow_networks`, without opening anything."""

import os
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

Network = IPv4Network | IPv6Network

SCHEMES: Final = ("http", "https", "s3", "sftp")

DIRECTORY_OF_DELTAS: Final = (
    "only the newest file of a directory is fetched, and deltas that came before it would be lost; "
    "bring each by itself, or have the carrier send snapshots"
)
"""Why a directory is no source of deltas."""


class Source(Struct, frozen=True):
    """A file or directory of this machine, or a URL."""

    text: str
    scheme: str | None = None
    """One of `SCHEMES`, None for what lies on this machine."""

    @property
    def shown(self) -> str:
        """What may be shown of it: neither user nor password, and no query, for tokens stand there."""
        if self.scheme is None:
            return self.text
        parts = urlsplit(self.text)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def is_directory(self) -> bool:
        """Tell whether it is a directory that can be seen from here."""
        # Unlike Path.is_dir, False for one that may not be looked into.
        return self.scheme is None and os.path.isdir(self.text)  # noqa: PTH112

    def beside(self, suffix: str) -> "Source":
        """Give the source whose path ends with `suffix` as well."""
        if self.scheme is None:
            return Source(self.text + suffix)
        parts = urlsplit(self.text)
        return Source(parts._replace(path=parts.path + suffix).geturl(), self.scheme)


def parse_source(text: str) -> Source:
    """Read a `source`; raises `ValueError`, whose text repeats nothing of it that may be secret."""
    if not text.isprintable():
        raise ValueError("source: it has characters that cannot be printed")
    if text.startswith("/"):
        return Source(text)
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in SCHEMES:
        # Whatever else a library could open, among it chains such as `simplecache::s3://`, ends here.
        raise ValueError("source: neither a path that begins with / nor a URL of http, https, s3 or sftp")
    _check_url(urlsplit(text))
    return Source(text, scheme)


def _check_url(parts: SplitResult) -> None:
    if not parts.hostname:
        raise ValueError("source: the URL names no host")
    try:
        has_port = parts.port is not None
    except ValueError:
        raise ValueError("source: the port of the URL is none; are characters to be escaped?") from None
    if parts.scheme == "s3" and (has_port or "@" in parts.netloc):
        raise ValueError("source: s3://bucket/key; endpoint and secrets belong into source_options")
    if parts.fragment or (parts.query and parts.scheme in ("s3", "sftp")):
        raise ValueError("source: ? and # have no meaning in such a URL")
    if not parts.path.strip("/") and parts.scheme in ("s3", "sftp"):
        raise ValueError("source: the URL names no file")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read `allow_networks`; raises `ValueError`."""
    try:
        return tuple(map(ip_network, texts))
    except ValueError as error:
        raise ValueError(f"allow_networks: {error}") from error
