"""The URL of the store, as all its clients use it: `Store`, the job queue, the workers, the command line."""

import ssl
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from redis.asyncio.connection import RedisSSLContext, SSLConnection, parse_url

_TLS_PREFIX = "ssl_"


@dataclass(frozen=True)
class StoreUrl:
    """The parts of a store's URL, percent-decoded, with the defaults filled in."""

    host: str = "localhost"
    port: int = 6379
    unix_socket_path: str | None = None
    """Used instead of host and port."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False
    tls_options: dict[str, Any] = field(default_factory=dict, hash=False)
    """`ssl_ca_certs`, `ssl_certfile`, …: named as redis-py and arq name them."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the parts of a URL that `check_redis_url` accepts.

        Raises:
            ValueError: the scheme is unknown, or the port is not a number.
        """
        parts: dict[str, Any] = dict(parse_url(url))
        return cls(
            host=parts.get("host", cls.host),
            port=parts.get("port", cls.port),
            unix_socket_path=parts.get("path"),
            database=parts.get("db", cls.database),
            username=parts.get("username"),
            password=parts.get("password"),
            is_tls=parts.get("connection_class") is SSLConnection,
            tls_options={name: value for name, value in parts.items() if name.startswith(_TLS_PREFIX)},
        )

    @property
    def credentials(self) -> tuple[str, ...]:
        """The arguments of `AUTH`; empty if the URL has neither a username nor a password."""
        if self.username:
            return self.username, self.password or ""
        return (self.password,) if self.password else ()

    @cached_property
    def tls_context(self) -> ssl.SSLContext | None:
        """The context for TLS connections; None for others.

        Raises:
            OSError: a file of certificates cannot be read.
            RedisError: an option has a value that it cannot have.
        """
        if not self.is_tls:
            return None
        # redis-py's own defaults: certificates are checked, their host names only with ssl_check_hostname.
        options = {"ssl_cert_reqs": "required"} | self.tls_options
        return RedisSSLContext(
            **{name.removeprefix(_TLS_PREFIX): value for name, value in options.items()}
        ).get()

    @property
    def client_options(self) -> dict[str, Any]:
        """The keyword arguments of redis-py's clients, asynchronous or not, and of arq's."""
        return {
            "host": self.host,
            "port": self.port,
            "unix_socket_path": self.unix_socket_path,
            "db": self.database,
            "username": self.username,
            "password": self.password,
            "ssl": self.is_tls,
            **self.tls_options,
        }
