"""The connection to the store: commands that arrive in one turn of the event loop share one round trip."""

import asyncio
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

Argument = str | bytes | int | float

API_CLIENT = "api"
"""Name of the connections of API processes, for those who look at whether somebody is served."""

_BATCH_COMMANDS = 64
"""Commands in one round trip: enough to share its cost, few enough that nobody waits long for a stranger."""

_PASSING_REFUSALS = ("BUSY", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "TRYAGAIN")
"""First words of replies that say "not now" rather than "never"."""


class StoreUnavailable(Exception):
    """The store cannot be reached, did not answer in time, or cannot serve now; the outcome is unknown."""


class Store:
    """An asyncio client that batches by itself: whoever awaits a reply shares the round trip with all others.

    redis-py costs 50-150 µs of Python for a single command, 13 µs in a pipeline of 64: so one task
    sends what has gathered while the batch before was under way. A command is never sent twice; a reply
    belongs to the future of its command, so a caller who goes away takes nobody's reply.
    """

    def __init__(self, url: str, timeout_seconds: float, name: str | None = None) -> None:
        """Prepare; connects at first use, and again after a loss, by itself.

        The store shows the connection under `name`.
        """
        self._client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            client_name=name,
        )
        self._encode = self._client.get_encoder().encode
        self._waiting: list[tuple[Sequence[Argument], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def execute(self, *command: Argument) -> Any:
        """Send one command and give its reply as redis-py decodes it (bytes, int, list, dict or None).

        Raises:
            StoreUnavailable: no reply; for a write the outcome is unknown.
            ResponseError: the store refused the command.
            DataError: an argument is of no type that can be sent; nothing was.
        """
        return await self._submit(command)

    async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands together and give their replies in order; raises like `execute`."""
        return await asyncio.gather(*[self._submit(command) for command in commands])

    async def close(self) -> None:
        """Close the connection; whoever still waits is told that the store is unavailable."""
        if self._sender is not None:
            self._sender.cancel()
            # It hands back the batch that is under way.
            await asyncio.wait([self._sender])
        self._fail_waiting(StoreUnavailable("closed"))
        await self._client.aclose()

    def _submit(self, command: Sequence[Argument]) -> asyncio.Future[Any]:
        # Encoded here and not by the pipeline, so that what cannot be is an error of this caller alone.
        name, *arguments = command
        encoded = (name, *map(self._encode, arguments))
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((encoded, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return future

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH_COMMANDS], self._waiting[_BATCH_COMMANDS:]
                await self._send(batch)
        finally:
            self._sender = None

    async def _send(self, batch: list[tuple[Sequence[Argument], asyncio.Future[Any]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in batch:
            pipeline.execute_command(*command)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            # Whoever queued up behind a dead link is told at once, instead of waiting for a time-out each.
            self._waiting = batch + self._waiting
            self._fail_waiting(StoreUnavailable(str(error) or type(error).__name__))
            return
        except asyncio.CancelledError:
            self._waiting = batch + self._waiting
            raise
        except Exception as error:
            # A mistake of ours or of the client's: nobody may be left waiting for it.
            for _, future in batch:
                _settle(future, error)
            raise
        for (_, future), reply in zip(batch, replies, strict=True):
            _settle(future, reply)

    def _fail_waiting(self, error: StoreUnavailable) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            _settle(future, error)


def with_scores(reply: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Pair the members and the scores, which are integers, of a reply to a command with WITHSCORES."""
    return [(member, int(float(score))) for member, score in zip(reply[::2], reply[1::2], strict=True)]


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if not isinstance(reply, Exception):
        future.set_result(reply)
    elif _is_passing(reply):
        future.set_exception(StoreUnavailable(str(reply)))
    else:
        future.set_exception(reply)


def _is_passing(error: Exception) -> bool:
    passing = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError)
    return isinstance(error, passing) or (
        isinstance(error, ResponseError) and str(error).partition(" ")[0] in _PASSING_REFUSALS
    )
