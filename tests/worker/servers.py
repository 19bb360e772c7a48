"""Real servers on this machine for feeds to be fetched from."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def web_server(handler: Handler, host: str = LOOPBACK) -> AsyncIterator[str]:
    """Answer every request with `handler`; gives the URL."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        return await handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes, *, hang_up: bool) -> AsyncIterator[str]:
    """Answer every request with these bytes, and then hang up or say nothing more; gives the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not hang_up:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Bucket:
    """What of S3 a feed is fetched with: reading an object, signed and conditional, path style."""

    def __init__(self, objects: dict[str, bytes], key: str) -> None:
        self.objects = objects
        self.key = key
        self.sent = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request as S3 does."""
        if f"AWS4-HMAC-SHA256 Credential={self.key}/" not in request.headers.get("Authorization", ""):
            return self._error(403, "AccessDenied")
        content = self.objects.get(request.match_info["path"])
        if content is None:
            return self._error(404, "NoSuchKey")
        etag = f'"{len(content):032x}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        self.sent += 1
        headers = {"ETag": etag, "Last-Modified": "Wed, 01 Jul 2026 00:00:00 GMT"}
        return web.Response(body=content, headers=headers)

    @staticmethod
    def _error(status: int, code: str) -> web.Response:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret words</Message></Error>"
        return web.Response(status=status, text=text, content_type="application/xml")


class _Door(asyncssh.SSHServer):
    """Lets in who knows the password."""

    def begin_auth(self, username: str) -> bool:
        return bool(username)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("carrier", "pass word")


@asynccontextmanager
async def sftp_server(root: Path, known_hosts: Path) -> AsyncIterator[int]:
    """Serve the files below `root` and write the server's key to `known_hosts`; gives the port."""
    key = asyncssh.generate_private_key("ssh-ed25519")

    def serve_files(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=bytes(root))

    server = await asyncssh.listen(
        LOOPBACK, 0, server_factory=_Door, server_host_keys=[key], sftp_factory=serve_files
    )
    port = server.get_port()
    line = f"[{LOOPBACK}]:{port} {key.export_public_key().decode()}"
    await asyncio.to_thread(known_hosts.write_text, line)
    try:
        yield port
    finally:
        server.close()
        await server.wait_closed()
