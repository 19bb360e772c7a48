"""A small HTTP client: one connection, one request at a time, cheap enough for a crowd on a busy machine."""

import asyncio
from random import Random
from typing import Any, NamedTuple

import msgspec

_TIMEOUT_SECONDS = 2.5


class Answer(NamedTuple):
    """An answer that came whole."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """Give the decoded body."""
        return msgspec.json.decode(self.body)

    @property
    def data(self) -> Any:
        """Give what a success brings."""
        return self.json["data"]

    @property
    def code(self) -> str:
        """Give the code of an error, `""` of a success."""
        error = self.json.get("error")
        return str(error["code"]) if error else ""


class Client:
    """Talks to one of several API processes, and to another one after a broken connection."""

    def __init__(self, addresses: list[tuple[str, int]], key: str, random: Random) -> None:
        self._addresses = addresses
        self._key = key
        self._random = random
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer | None:
        """Send a request and give its answer; None when none came: what it did is not known then."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await self._exchange(method, path, body, key)
        except (OSError, EOFError, TimeoutError, ValueError):
            # IncompleteReadError is an EOFError; ValueError is half an answer.
            self.close()
            return None

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, method: str, path: str, body: Any, key: str | None) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._random.choice(self._addresses))
        reader, writer = self._streams
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: chaos", f"Authorization: Bearer {self._key}"]
        if body is not None:
            lines.append("Content-Type: application/json")
        if key is not None:
            lines.append(f"Idempotency-Key: {key}")
        lines += [f"Content-Length: {len(content)}", "", ""]
        writer.write("\r\n".join(lines).encode() + content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(head[0].split(" ")[1]), headers, answer)
