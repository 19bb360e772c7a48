"""One connection to a node of the store: RESP2 over hiredis' packer and parser, one batch in flight."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
import redis.asyncio
from redis.asyncio.connection import DefaultParser
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    DataError,
    InvalidResponse,
    OutOfMemoryError,
)

from shared.store_url import StoreUrl

Argument = str | bytes | int | float
Convert = Callable[[Any], Any]

_PASSING_ERRORS = (RedisConnectionError, OutOfMemoryError)
_PASSING_CODES = frozenset({"BUSY", "MISCONF", "TRYAGAIN"})
"""First words of error replies that mean "not now" rather than "never"."""

_NODE_CODES = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY"})
"""First words of error replies of a node that cannot serve: a new connection may lead to another node."""

_LAST_LOOK_SECONDS = 0.001
"""After the deadline, if the event loop was busy: replies that have already arrived are read first."""

_NOT_ENOUGH_DATA = object()

_CONVERT: dict[str, Convert] = cast("dict[str, Convert]", dict(redis.asyncio.Redis().response_callbacks))
"""Command → redis-py's conversion of its RESP2 replies; most commands have none."""

_pack_command: Callable[[tuple[Argument, ...]], bytes] = cast("Any", hiredis.pack_command)
_parse_error: Callable[[str], Exception] = cast("Any", DefaultParser).parse_error


class StoreUnavailable(Exception):
    """The store cannot be reached, did not reply in time, or cannot serve now; the outcome is unknown."""


class NodeUnavailable(StoreUnavailable):
    """The node replied that it cannot serve now; its connection is closed."""


class Group:
    """Collects the replies of commands that share one future."""

    __slots__ = ("_error", "_replies", "_size", "future")

    def __init__(self, size: int) -> None:
        """Wait for `size` replies; there must be a running event loop."""
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._size = size
        self._replies: list[Any] = []
        self._error: Exception | None = None

    def add(self, reply: Any) -> None:
        """Add the next reply; the last one resolves the future with all replies, or with the first error."""
        self._replies.append(reply)
        if self._error is None and isinstance(reply, Exception):
            self._error = reply
        if len(self._replies) == self._size:
            settle(self.future, self._error or self._replies)


Waiter = tuple[asyncio.Future[Any] | Group, Convert | None]
"""What waits for a command's reply, and how the reply is converted."""


def pack(command: Sequence[Argument]) -> tuple[bytes, Convert | None]:
    """Return a command as RESP, and the conversion of its replies.

    Raises:
        DataError: an argument has a type that cannot be sent.
        UnicodeEncodeError: an argument has characters that cannot be sent.
    """
    name, convert = command[0], None
    if isinstance(name, str):
        convert = _CONVERT.get(name.upper())
        if " " in name:
            command = (*name.split(), *command[1:])
    try:
        return _pack_command(tuple(command)), convert
    except TypeError as error:
        raise DataError(str(error)) from error


def settle(waiter: asyncio.Future[Any] | Group, reply: Any) -> None:
    """Resolve a waiter, unless it was cancelled, with a reply or an error."""
    if isinstance(waiter, Group):
        waiter.add(reply)
    elif not waiter.done():
        if isinstance(reply, Exception):
            waiter.set_exception(reply)
        else:
            waiter.set_result(reply)


def fail_all(waiters: Sequence[Waiter], reason: str) -> None:
    """Fail every waiter with `StoreUnavailable`."""
    for waiter, _ in waiters:
        settle(waiter, StoreUnavailable(reason))


def _ignore(*_: object) -> None:
    """Do nothing."""


class Connection(asyncio.Protocol):
    """A connection that sends one batch of commands at a time and resolves their waiters as replies arrive.

    Nothing is sent twice: when the connection is lost, or a batch is not replied to within the time-out,
    all its waiters fail.
    """

    def __init__(self, timeout_seconds: float) -> None:
        """Prepare for `open_connection`; there must be a running event loop."""
        self.on_idle: Callable[[], None] = _ignore
        """Called when the batch in flight has all its replies, and when the connection is closed without one
        or after a refusal: commands that were not sent yet can be sent, over this connection or the next."""
        self.on_lost: Callable[[str], None] = _ignore
        """Called with the reason when a batch has failed because the connection was lost or timed out."""
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=_error_of, notEnoughData=_NOT_ENOUGH_DATA
        )
        self._transport: asyncio.Transport | None = None
        self._in_flight: deque[Waiter] = deque()
        self._sent_at = 0.0
        self._is_overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._gone = self._loop.create_future()

    @property
    def is_busy(self) -> bool:
        """Whether a batch is in flight."""
        return bool(self._in_flight)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_closed or self._transport is None or self._transport.is_closing()

    @property
    def seconds_since_write(self) -> float:
        """How long ago the last batch was written."""
        return self._loop.time() - self._sent_at

    def send(self, packed: Sequence[bytes], waiters: Sequence[Waiter]) -> None:
        """Send a batch of commands in one write; the connection must not be busy."""
        if self._transport is None or self._is_closed:
            fail_all(waiters, "the connection is closed")
            return
        self._in_flight.extend(waiters)
        self._sent_at = self._loop.time()
        self._is_overdue = False
        # One timer, which is moved when it fires and not for every batch.
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_seconds, self._check_deadline)
        self._transport.write(b"".join(packed))

    def close(self, reason: str) -> None:
        """Close the connection; the waiters of the batch in flight fail."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        waiters, self._in_flight = self._in_flight, deque()
        fail_all(waiters, reason)

    async def wait_closed(self) -> None:
        """Wait until the socket of a closed connection is closed."""
        if self._transport is not None:
            await asyncio.wait([self._gone])

    def _lose(self, reason: str) -> None:
        if self._is_closed:
            return
        was_busy = self.is_busy
        self.close(reason)
        if was_busy:
            self.on_lost(reason)
        else:
            self.on_idle()

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._in_flight:
            return
        left = self._sent_at + self._timeout_seconds - self._loop.time()
        if left <= 0 and self._is_overdue:
            self._lose(f"timeout: no reply within {self._timeout_seconds} s")
            return
        self._is_overdue = left <= 0
        self._timer = self._loop.call_later(max(left, _LAST_LOOK_SECONDS), self._check_deadline)

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the options of the socket."""
        # uvloop's transport is not registered as one of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._sent_at = self._loop.time()
        link = transport.get_extra_info("socket")
        if link.family != socket.AF_UNIX:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Resolve the waiters whose replies are complete."""
        if self._is_closed:
            return
        in_flight, refusal = self._in_flight, None
        read = self._reader.gets
        self._reader.feed(data)
        try:
            while (reply := read()) is not _NOT_ENOUGH_DATA:
                if not in_flight:
                    self._lose(f"a reply without a command: {reply!r:.200}")
                    return
                waiter, convert = in_flight.popleft()
                if isinstance(reply, Exception):
                    refusal = reply if isinstance(reply, NodeUnavailable) else refusal
                elif convert is not None:
                    reply = _converted(reply, convert)
                settle(waiter, reply)
        except InvalidResponse as error:
            self._lose(str(error))
            return
        if refusal is not None:
            self.close(str(refusal))
        if not self._in_flight:
            self.on_idle()

    def eof_received(self) -> None:
        """Fail the batch in flight."""
        self._lose("the store closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the batch in flight."""
        self._lose(str(exc or "the connection was closed"))
        if not self._gone.done():
            self._gone.set_result(None)


async def open_connection(url: StoreUrl, timeout_seconds: float, name: str | None) -> Connection:
    """Connect and log in, choose the database and set the name which the store shows for the connection.

    Raises:
        StoreUnavailable: this failed, or took longer than the time-out.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(timeout_seconds)
    greeting: list[tuple[Argument, ...]] = []
    if url.credentials:
        greeting.append(("AUTH", *url.credentials))
    if name:
        greeting.append(("CLIENT", "SETNAME", name))
    if url.database:
        greeting.append(("SELECT", url.database))
    try:
        async with asyncio.timeout(timeout_seconds):
            if url.unix_socket_path is not None:
                await loop.create_unix_connection(lambda: connection, url.unix_socket_path)
            else:
                await loop.create_connection(lambda: connection, url.host, url.port, ssl=url.tls_context)
            if greeting:
                group = Group(len(greeting))
                connection.send([pack(command)[0] for command in greeting], [(group, None)] * len(greeting))
                await group.future
    except asyncio.CancelledError:
        connection.close("cancelled")
        raise
    except Exception as error:
        connection.close("not connected")
        reason = str(error) or f"timeout: no connection within {timeout_seconds} s"
        # An error of a command that the store does not know repeats its arguments.
        raise StoreUnavailable(reason.replace(url.password, "***") if url.password else reason) from error
    return connection


def _error_of(text: str) -> Exception:
    """Return the error for an error reply."""
    code = text.partition(" ")[0]
    error = _parse_error(text)
    if code in _NODE_CODES:
        return NodeUnavailable(str(error))
    if code in _PASSING_CODES or isinstance(error, _PASSING_ERRORS):
        return StoreUnavailable(str(error))
    return error


def _converted(reply: Any, convert: Convert) -> Any:
    """Return the converted reply; an error of the conversion is the reply of this command alone."""
    try:
        return convert(reply)
    except Exception as error:
        return error
