"""A server of the store's protocol that replies as a test says, and counts what it receives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis

Command = Sequence[bytes]
Reply = Callable[[Command], bytes | None]
"""What the server replies to a command as RESP; None for nothing."""


def echo(command: Command) -> bytes:
    """Reply to `ECHO` as the store does, and to everything else with OK."""
    if command[0] == b"ECHO":
        return b"$%d\r\n%s\r\n" % (len(command[1]), command[1])
    return b"+OK\r\n"


class Link(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, node: "FakeNode") -> None:
        self.commands: list[Command] = []
        self.is_lost = asyncio.Event()
        self.transport: Any = None
        self._node = node
        self._reader = hiredis.Reader(notEnoughData=StopIteration)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._node.links.append(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        replies = []
        while (command := self._reader.gets()) is not StopIteration:
            self.commands.append(command)
            reply = self._node.reply(command)
            if reply is not None:
                replies.append(reply)
        # Before the write, for it may close the connection.
        self._node.has_received.set()
        if replies and not self.transport.is_closing():
            self.transport.write(b"".join(replies))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_lost.set()


class FakeNode:
    """Listens on a port of its own."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.links: list[Link] = []
        self.has_received = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def commands(self) -> list[Command]:
        """Return what was received over all connections."""
        return [command for link in self.links for command in link.commands]

    async def until_received(self, count: int) -> None:
        """Wait until so many commands have been received in all."""
        while len(self.commands) < count:
            self.has_received.clear()
            await asyncio.wait_for(self.has_received.wait(), 10)


@asynccontextmanager
async def fake_node(reply: Reply = echo) -> AsyncIterator[FakeNode]:
    """Run a server while the body does."""
    node = FakeNode(reply)
    server = await asyncio.get_running_loop().create_server(lambda: Link(node), "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    try:
        yield node
    finally:
        server.close()
        for link in node.links:
            link.transport.abort()
            await link.is_lost.wait()
        await server.wait_closed()
