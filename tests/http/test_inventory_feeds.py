import asyncio
import base64
import gzip
import hashlib
import resource
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.testing import AsyncTestClient

from api.app import create_app
from deploy.cli.ports import LOOPBACK, free_port, is_listening
from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.settings import Settings
from shared.stock_score import MAX_CARRIER_ORDINAL
from shared.store import Store
from tests.http.answers import FEEDS, SYNCS, assert_error, assert_invalid, paged, succeeded
from tests.http.inventory import (
    available_in,
    ended,
    feed_of,
    fetch,
    look,
    queued,
    spool_of,
    strays_in_spool,
    upload,
)
from tests.http.organizations import Organization
from tests.support import SCRIPTS, Service, environment, wait_until

CARRIER = "must be 1-32 characters of a-z, 0-9 and -"
DIGEST = "must have a sha-256 digest, such as sha-256=:…:"


def syncs_total(operator: Organization) -> int:
    total: int = paged(operator.page(SYNCS, limit=1), 1)[1]["total"]
    return total


def digest_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


# Fetched


def test_a_configured_feed_is_fetched_and_brings_the_inventory_in_step(operator: Organization) -> None:
    sync = ended(operator, fetch(operator, "sourced"))

    assert (sync["carrier"], sync["mode"], sync["state"]) == ("sourced", "snapshot", "applied")
    assert (sync["read"], sync["dry_run"], sync["confirm"]) == (2, False, False)
    assert available_in(operator, "610") == 2


@pytest.mark.parametrize(
    ("options", "mode", "dry_run", "confirm"),
    [
        ({"mode": "delta", "dry_run": True, "confirm": True}, "delta", True, True),
        ({"mode": None, "dry_run": None, "confirm": None}, "snapshot", False, False),
        ({"mode": "snapshot", "dry_run": True}, "snapshot", True, False),
    ],
)
def test_a_sync_is_started_with_the_options_of_its_body(
    operator: Organization, options: dict[str, Any], mode: str, dry_run: bool, confirm: bool
) -> None:
    sync = ended(operator, fetch(operator, "sourced", **options))

    assert (sync["mode"], sync["dry_run"], sync["confirm"]) == (mode, dry_run, confirm)


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_the_body_may_be_left_out(operator: Organization, body: bytes) -> None:
    queued(operator.client.post(f"{FEEDS}/sourced/syncs", content=body))


def test_the_answer_comes_while_the_sync_is_still_queued_and_has_counted_nothing(
    operator: Organization,
) -> None:
    sync = succeeded(fetch(operator, "sourced"), 202)

    assert (sync["state"], sync["read"], sync["progress"], sync["reason"]) == ("queued", 0, 0, None)


@pytest.mark.parametrize("carrier", ["nobody", "sourceless"])
def test_a_carrier_without_a_profile_or_a_source_is_404_and_nothing_is_recorded(
    operator: Organization, carrier: str
) -> None:
    before = syncs_total(operator)

    assert_error(fetch(operator, carrier), 404)

    assert syncs_total(operator) == before


@pytest.mark.parametrize("carrier", ["Sourced", "a" * 33, "a_b", "a%0A", "%2e%2e", "a%20b", "%C3%A9"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_carriers_name_that_is_none_is_422(operator: Organization, method: str, carrier: str) -> None:
    path = f"{FEEDS}/{carrier}/syncs" if method == "POST" else f"{FEEDS}/{carrier}"

    assert_invalid(operator.client.request(method, path, content=b"{}"), carrier=CARRIER)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b'{"mode": "full"}', {"mode": "must be snapshot or delta"}),
        (b'{"dry_run": 1}', {"dry_run": "must be true or false"}),
        (b'{"confirm": "true"}', {"confirm": "must be true or false"}),
        (b'{"source": "http://169.254.169.254/"}', {"source": "is not a known field"}),
        (
            b'{"mode": 1, "dry_run": "", "url": "file:///etc/passwd"}',
            {
                "mode": "must be snapshot or delta",
                "dry_run": "must be true or false",
                "url": "is not a known field",
            },
        ),
    ],
)
def test_a_bad_option_is_422_and_no_url_is_taken(
    operator: Organization, body: bytes, details: dict[str, str]
) -> None:
    assert_invalid(operator.client.post(f"{FEEDS}/sourced/syncs", content=body), **details)


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff"])
def test_a_body_that_is_no_object_is_400_also_for_a_carrier_that_there_is_not(
    operator: Organization, body: bytes
) -> None:
    for carrier in ("sourced", "nobody"):
        assert_error(operator.client.post(f"{FEEDS}/{carrier}/syncs", content=body), 400)


# Uploaded


@pytest.mark.parametrize("content_type", ["text/csv", "application/xml", "image/png", "", None])
def test_an_uploaded_feed_of_any_content_type_is_applied(
    feeding: Service, operator: Organization, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    sync = ended(operator, upload(operator, "up", feed_of("+16085557000", "no number"), headers))

    assert (sync["carrier"], sync["state"], sync["read"], sync["rejected"]) == ("up", "applied", 2, 1)
    assert available_in(operator, "608") == 1
    path = spool_of(feeding) / f"{sync['id']}.feed"
    wait_until(lambda: not path.exists(), "the feed is gone from the spool")


def test_a_gzipped_feed_in_pieces_of_unknown_length_is_applied(operator: Organization) -> None:
    content = gzip.compress(feed_of("+16125557000", "+16125557001"))

    sync = ended(operator, upload(operator, "pieces", iter([content[:9], content[9:30], content[30:]])))

    assert (sync["state"], sync["added"]) == ("applied", 2)


def test_the_options_of_an_upload_stand_in_its_query(operator: Organization) -> None:
    feed = feed_of("+16135557000")

    sync = ended(operator, upload(operator, "query", feed, mode="delta", dry_run="true", confirm="true"))

    assert (sync["mode"], sync["dry_run"], sync["confirm"]) == ("delta", True, True)
    assert (sync["state"], sync["added"]) == ("applied", 1)
    assert available_in(operator, "613") == 0


def test_the_mode_of_a_sync_is_its_carriers_when_none_was_asked_for(operator: Organization) -> None:
    assert ended(operator, upload(operator, "delta", feed_of("+16145557000")))["mode"] == "delta"


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ({"mode": "full"}, {"mode": "must be snapshot or delta"}),
        ({"dry_run": "perhaps"}, {"dry_run": "must be true or false"}),
        (
            {"confirm": "", "dry_run": "2"},
            {"confirm": "must be true or false", "dry_run": "must be true or false"},
        ),
    ],
)
def test_a_bad_option_of_an_upload_is_422(
    operator: Organization, query: dict[str, Any], details: dict[str, str]
) -> None:
    assert_invalid(upload(operator, "query", feed_of(), **query), **details)


@pytest.mark.parametrize("content", [b"a" * 1001, iter([b"a" * 600] * 2)])
def test_a_feed_over_the_limit_of_its_profile_is_413_and_leaves_nothing_behind(
    feeding: Service, operator: Organization, content: bytes | Iterator[bytes]
) -> None:
    before = syncs_total(operator)

    assert_error(upload(operator, "small", content), 413)

    assert (syncs_total(operator), strays_in_spool(feeding, operator)) == (before, [])


def test_a_feed_is_taken_up_to_the_limit_of_its_profile_and_above_that_of_other_bodies(
    operator: Organization,
) -> None:
    lines = feed_of(*(f"+1617555{line:04}" for line in range(7000, 7600)))
    big = lines + b"\n" * (300_000 - len(lines))

    assert ended(operator, upload(operator, "big", big))["added"] == 600
    queued(upload(operator, "small", feed_of("+16175557000").ljust(1000, b"\n")))


@pytest.mark.parametrize("content", [b"", iter([])])
def test_an_empty_body_is_400(
    feeding: Service, operator: Organization, content: bytes | Iterator[bytes]
) -> None:
    before = syncs_total(operator)

    assert_error(upload(operator, "empty", content), 400)

    assert (syncs_total(operator), strays_in_spool(feeding, operator)) == (before, [])


def test_a_feed_that_agrees_with_its_digest_is_taken(operator: Organization) -> None:
    feed = feed_of("+16185557000")

    for header in (digest_of(feed), f"sha-512=:AAAA:, {digest_of(feed)}"):
        queued(upload(operator, "digest", feed, {"Content-Digest": header}))


def test_a_feed_that_does_not_agree_with_its_digest_is_422_and_leaves_nothing_behind(
    feeding: Service, operator: Organization
) -> None:
    before = syncs_total(operator)

    response = upload(operator, "digest", feed_of("+16185557001"), {"Content-Digest": digest_of(b"")})

    assert_invalid(response, **{"Content-Digest": "does not agree with the content"})
    assert (syncs_total(operator), strays_in_spool(feeding, operator)) == (before, [])


@pytest.mark.parametrize(
    "header",
    ["", "sha-256", "sha-256=abc", "sha-256=:AAAA:", "sha-512=:AAAA:", f"{digest_of(b'')}, {digest_of(b'')}"],
)
def test_a_digest_that_cannot_be_checked_is_422(operator: Organization, header: str) -> None:
    response = upload(operator, "digest", feed_of(), {"Content-Digest": header})

    assert_invalid(response, **{"Content-Digest": DIGEST})


# As it comes


@contextmanager
def sending(service: Service, carrier: str, *lines: str) -> Iterator[socket.socket]:
    """Begin an upload, and leave its body to whoever asks."""
    url = httpx.URL(service.instance.url)
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        head = [
            f"PUT {FEEDS}/{carrier} HTTP/1.1",
            f"Host: {url.host}",
            f"Authorization: Bearer {service.instance.key}",
            *lines,
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        yield connection


def bytes_in_spool(service: Service) -> int:
    return sum(path.stat().st_size for path in spool_of(service).glob("*.part"))


def test_a_feed_is_written_to_the_spool_while_it_comes_and_others_are_served_meanwhile(
    feeding: Service, operator: Organization
) -> None:
    first, second = feed_of("+16195557000").ljust(3_000_000, b"\n"), b"+16195557001\n"
    with sending(feeding, "slow", f"Content-Length: {len(first + second)}") as connection:
        connection.sendall(first)
        wait_until(lambda: bytes_in_spool(feeding) >= 1_000_000, "some of the feed is in the spool")
        [part] = spool_of(feeding).glob("*.part")
        assert part.stat().st_mode & 0o777 == 0o600
        before = syncs_total(operator)
        connection.sendall(second)
        assert connection.recv(100).startswith(b"HTTP/1.1 202 ")

    assert syncs_total(operator) == before + 1
    [newest] = paged(operator.page(SYNCS, limit=1), 1)[0]
    state = wait_until(lambda: (sync := look(operator, newest["id"]))["progress"] == 100 and sync, "applied")
    assert (state["carrier"], state["added"]) == ("slow", 2)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Length: 5000000", b"\n" * 3_000_000),
        ("Transfer-Encoding: chunked", b"2dc6c0\r\n" + b"\n" * 3_000_000 + b"\r\n"),
        ("Transfer-Encoding: chunked", b"4c4b40\r\n" + b"\n" * 3_000_000),
    ],
)
def test_a_caller_who_hangs_up_leaves_nothing_behind(
    feeding: Service, operator: Organization, header: str, body: bytes
) -> None:
    before = syncs_total(operator)
    with sending(feeding, "gone", header) as connection:
        connection.sendall(body)
        wait_until(lambda: bytes_in_spool(feeding) >= 1_000_000, "some of the feed is in the spool")

    wait_until(lambda: not strays_in_spool(feeding, operator), "nothing of it is in the spool")
    assert syncs_total(operator) == before
    assert "ERROR" not in (feeding.data_dir / "api.log").read_text()


@pytest.fixture
def impatient(valkey: str, tmp_path: Path) -> Iterator[int]:
    """Run the API with little patience and its spool in `tmp_path`; give its port."""
    port = free_port()
    interface = ["--interface", "asgi", "--factory", "tests.http.impatient:app"]
    process = subprocess.Popen(
        [str(SCRIPTS / "granian"), *interface, "--host", LOOPBACK, "--port", str(port)],
        env=environment(NUMBERS_REDIS_URL=valkey, NUMBERS_SPOOL_DIR=str(tmp_path)),
    )
    wait_until(lambda: is_listening(port), "the API is there")
    yield port
    process.terminate()
    process.wait(10)


@pytest.mark.parametrize(("sent", "pause"), [(b"", None), (b"number\n", None), (b"1", 0.02)])
async def test_an_upload_that_comes_too_slowly_is_408_and_leaves_nothing_behind(
    store: Store, impatient: int, tmp_path: Path, sent: bytes, pause: float | None
) -> None:
    secret = new_secret()
    await create_api_key(store, "slow-tests", Wanted(tuple(Scope)), secret)
    reader, writer = await asyncio.open_connection(LOOPBACK, impatient)
    head = [f"PUT {FEEDS}/slow HTTP/1.1", "Host: localhost", f"Authorization: Bearer {secret}"]
    writer.write("\r\n".join([*head, "Content-Length: 1000000", "", ""]).encode() + sent)

    async def trickle() -> None:
        while pause is not None:
            await asyncio.sleep(pause)
            writer.write(sent)

    trickling = asyncio.create_task(trickle())
    async with asyncio.timeout(10):
        answer = (await reader.readuntil(b"}}")).decode()
    trickling.cancel()

    assert answer.startswith("HTTP/1.1 408 ")
    assert '"code":"REQUEST_TIMEOUT"' in answer
    with suppress(ConnectionResetError):
        async with asyncio.timeout(10):
            assert await reader.read() == b""
    writer.close()
    assert files_in(tmp_path) == []
    assert await store.execute("EXISTS", store_keys.SYNCS) == 0


async def test_an_upload_that_is_slow_but_fast_enough_is_taken(
    store: Store, impatient: int, tmp_path: Path
) -> None:
    secret = new_secret()
    await create_api_key(store, "slow-tests", Wanted(tuple(Scope)), secret)

    async def chunks() -> AsyncIterator[bytes]:
        # So many bytes that they may take a second, in half of one.
        for _ in range(10):
            yield b"\n" * 1_000_000
            await asyncio.sleep(0.05)

    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{impatient}", headers=headers) as client:
        sync_id = queued(await client.put(f"{FEEDS}/slow", content=chunks()))
    assert files_in(tmp_path) == [f"{sync_id}.feed"]


# Where the feed lies


@pytest_asyncio.fixture
async def alone(
    request: pytest.FixtureRequest, store: Store, valkey: str, tmp_path: Path
) -> AsyncIterator[AsyncTestClient[Litestar]]:
    """Run the app in this process, on a store without a worker; its parameter is where the spool lies."""
    secret = new_secret()
    await create_api_key(store, "spool-tests", Wanted(tuple(Scope)), secret)
    feeds_file = tmp_path / "feeds.toml"
    feeds_file.write_text('[profiles.acme]\nsource = "/srv/acme.csv"\n')
    spool_dir = request.param and str(tmp_path / request.param)
    app = create_app(Settings(redis_url=valkey, spool_dir=spool_dir, feeds_file=str(feeds_file)))
    async with AsyncTestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


def files_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def assert_no_spool(response: httpx.Response) -> None:
    assert_error(response, 503)
    assert response.headers["retry-after"] == "60"


@pytest.mark.parametrize("alone", [None], indirect=True)
async def test_without_a_setting_the_spool_is_the_workers_if_that_is_on_this_machine(
    alone: AsyncTestClient[Litestar], store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = tmp_path / "spool"
    assert_no_spool(await alone.put(f"{FEEDS}/acme", content=b"number"))
    await store.execute("SET", store_keys.SPOOL_DIR, str(spool))
    assert_no_spool(await alone.put(f"{FEEDS}/acme", content=b"number"))
    assert "is not on this machine" in caplog.text

    spool.mkdir()
    sync_id = queued(await alone.put(f"{FEEDS}/acme", content=b"number"))

    assert files_in(spool) == [f"{sync_id}.feed"]
    queue = await store.execute("LRANGE", store_keys.feed_queue("acme"), 0, -1)
    assert queue == [f"read:{sync_id}".encode()]


@pytest.mark.parametrize("alone", ["/proc/spool"], indirect=True)
async def test_a_spool_that_cannot_be_written_is_503_with_the_reason_in_the_log_only(
    alone: AsyncTestClient[Litestar], caplog: pytest.LogCaptureFixture
) -> None:
    response = await alone.put(f"{FEEDS}/acme", content=b"number")

    assert_no_spool(response)
    assert "/proc/spool" in caplog.text
    assert "/proc" not in response.text


@pytest.mark.parametrize("alone", ["spool"], indirect=True)
async def test_a_disk_that_is_full_half_way_is_503_and_leaves_nothing_behind(
    alone: AsyncTestClient[Litestar], store: Store, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: the second write fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        assert_no_spool(await alone.put(f"{FEEDS}/acme", content=b"\n" * 4_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert files_in(tmp_path / "spool") == []
    assert await store.execute("EXISTS", store_keys.SYNCS, store_keys.feed_queue("acme")) == 0
    queued(await alone.put(f"{FEEDS}/acme", content=b"\n" * 4_000_000))


@pytest.mark.parametrize("alone", ["spool"], indirect=True)
async def test_when_there_is_no_room_for_another_carrier_a_new_one_is_422_and_leaves_nothing_behind(
    alone: AsyncTestClient[Litestar], store: Store, tmp_path: Path
) -> None:
    known = [item for ordinal in range(1, MAX_CARRIER_ORDINAL + 1) for item in (f"c{ordinal}", ordinal)]
    await store.execute("HSET", store_keys.FEEDS, *known)

    for answer in (
        await alone.put(f"{FEEDS}/acme", content=b"number"),
        await alone.post(f"{FEEDS}/acme/syncs"),
    ):
        assert_invalid(answer, carrier="is new, and there is no room for another")
    assert files_in(tmp_path / "spool") == []
    queued(await alone.put(f"{FEEDS}/c7", content=b"number"))


def test_profiles_that_cannot_be_used_end_the_process_at_start(tmp_path: Path) -> None:
    feeds_file = tmp_path / "feeds.toml"
    feeds_file.write_text('[profiles.acme]\nformat = "excel"\n')

    with pytest.raises(SystemExit, match=r"feeds\.toml: \[profiles\.acme\]: Invalid enum value 'excel'"):
        create_app(Settings(feeds_file=str(feeds_file)))
