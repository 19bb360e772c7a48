"""The client of the store: commands of one turn of the event loop share one round trip."""

import asyncio
from collections.abc import Sequence
from typing import Any

from shared.store_connection import (
    Argument,
    Connection,
    Group,
    StoreUnavailable,
    Waiter,
    fail_all,
    open_connection,
    pack,
)
from shared.store_url import StoreUrl

__all__ = ["API_CLIENT", "Argument", "Store", "StoreUnavailable", "with_scores"]

API_CLIENT = "api"
"""Name of the connections of API processes, for those who look at whether somebody is served."""

_BATCH_COMMANDS = 64
"""Commands in one write. Larger batches are no faster (256 callers: 8.4 µs a command, 8.0 without a bound),
but keep other clients of the store waiting: with 3,000 scripts of 0.15 ms given at once, a PING of another
client takes 48 ms (p99) with 64, 85 with 128, 231 without a bound. The time-out is that of one batch."""

_IDLE_SECONDS = 0.02
"""After so long without a write the event loop is asked first whether the store has closed the connection."""


class Store:
    """A client with one connection, which is made at first use and made again after a loss.

    Commands gather while a batch is in flight and leave in one write when its replies have arrived. Writing
    in every turn of the event loop instead costs the same (32 and 256 callers: 9.2 and 8.4 µs a command,
    against 9.0 and 8.4), takes more writes when callers are spread over time (39 commands a write against
    46), and fills the socket's buffer while the store is slow.

    A command is never sent twice. Each command has its own future, so the reply of a cancelled caller is
    given to no other.
    """

    def __init__(self, url: str, timeout_seconds: float, name: str | None = None) -> None:
        """Prepare; `name` is the name that the store shows for the connection.

        The time-out is that of connecting, and that of the replies to one batch.

        Raises:
            ValueError: this is not the URL of a store.
        """
        self._url = StoreUrl.parse(url)
        self._timeout_seconds = timeout_seconds
        self._name = name
        self._packed: list[bytes] = []
        self._waiters: list[Waiter] = []
        self._is_waiting = False
        """Whether a flush is scheduled, a batch is in flight, or a connection is being made."""
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_closed = False

    def execute(self, *command: Argument) -> asyncio.Future[Any]:
        """Send one command; the future's result is its reply, converted as by redis-py, with bytes for text.

        The future has one of these errors:
            StoreUnavailable: no reply; for a write the outcome is unknown.
            ResponseError: the store refused the command.

        Raises:
            DataError: an argument has a type that cannot be sent; nothing is sent.
            UnicodeEncodeError: an argument has characters that cannot be sent; nothing is sent.
        """
        packed, convert = pack(command)
        future = asyncio.get_running_loop().create_future()
        self._packed.append(packed)
        self._waiters.append((future, convert))
        if not self._is_waiting:
            self._schedule()
        return future

    def execute_many(self, commands: Sequence[Sequence[Argument]]) -> asyncio.Future[list[Any]]:
        """Send commands together; the future's result is the list of their replies.

        All commands are run. If some fail, the future has the error of the first; raises like `execute`.
        """
        pairs = [pack(command) for command in commands]
        group = Group(len(pairs))
        if not pairs:
            group.future.set_result([])
            return group.future
        self._packed.extend(packed for packed, _ in pairs)
        self._waiters.extend((group, convert) for _, convert in pairs)
        if not self._is_waiting:
            self._schedule()
        return group.future

    async def close(self) -> None:
        """Close the connection; pending commands, and all that follow, fail with `StoreUnavailable`."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        connection = self._connection
        if connection is not None:
            connection.close("closed")
        self._fail("closed")
        if connection is not None:
            await connection.wait_closed()

    def _schedule(self) -> None:
        self._is_waiting = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what this turn of the event loop has gathered."""
        connection = self._connection
        if connection is not None and connection.seconds_since_write > _IDLE_SECONDS:
            asyncio.get_running_loop().call_soon(self._send_next)
        else:
            self._send_next()

    def _send_next(self) -> None:
        """Send the next batch, or connect first, unless this or a batch is under way."""
        connection = self._connection
        self._is_waiting = self._connecting is not None or (connection is not None and connection.is_busy)
        if self._is_waiting or not self._waiters:
            return
        if self._is_closed:
            self._fail("closed")
            return
        self._is_waiting = True
        if connection is None or connection.is_closed:
            if connection is not None:
                connection.close("replaced")
            self._connection = None
            self._connecting = asyncio.create_task(self._connect())
            return
        packed, waiters = self._packed, self._waiters
        self._packed, self._waiters = packed[_BATCH_COMMANDS:], waiters[_BATCH_COMMANDS:]
        connection.send(packed[:_BATCH_COMMANDS], waiters[:_BATCH_COMMANDS])

    async def _connect(self) -> None:
        """Make the connection: a task of its own, which no caller's cancellation ends."""
        try:
            connection = await open_connection(self._url, self._timeout_seconds, self._name)
        except StoreUnavailable as error:
            self._fail(str(error))
            return
        finally:
            self._connecting = None
        if connection.is_closed:
            self._fail("the store closed the connection")
            return
        connection.on_idle = self._send_next
        connection.on_lost = self._fail
        self._connection = connection
        self._send_next()

    def _fail(self, reason: str) -> None:
        """Fail all commands that wait for a connection, or for a batch ahead of them."""
        self._connection = None
        self._is_waiting = False
        waiters = self._waiters
        self._packed, self._waiters = [], []
        fail_all(waiters, reason)


def with_scores(reply: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Pair the members and the scores, which are integers, of a reply to a command with WITHSCORES."""
    return [(member, int(float(score))) for member, score in zip(reply[::2], reply[1::2], strict=True)]
