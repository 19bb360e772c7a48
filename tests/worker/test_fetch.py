"""Fetching feeds into the spool: what is kept, and what never is."""

import asyncio
import gzip
import hashlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

from shared.feeds.profiles import Limits, Profile
from shared.feeds.spool import FeedTooLarge, Spool, SpoolWriter
from tests.support import wait_until
from tests.worker.servers import LOOPBACK, Bucket, raw_server, sftp_server, web_server
from worker.feeds.fetch import Fetched, fetch
from worker.feeds.sources.opened import Patience, SourceUnavailable

FEED = b"number\n" + b"".join(b"+1415233%04d\n" % local for local in range(50_000))
SHA256 = hashlib.sha256(FEED).hexdigest()
HERE = (f"{LOOPBACK}/32",)
HASTY = Patience(connect=0.2, silence=0.2)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool."""
    return Spool(tmp_path / "spool")


def kept(spool: Spool) -> bytes | None:
    """Give the feed in the spool, None when there is none; nothing else may lie there."""
    path = spool.path_of("sync")
    others = [file for file in path.parent.glob("*") if file != path]
    assert not others
    return path.read_bytes() if path.exists() else None


def profile(source: str | Path, **fields: Any) -> Profile:
    """Give a profile with a source that may lie on this machine."""
    return Profile(source=str(source), **{"allow_networks": HERE, **fields})


async def got(spool: Spool, wanted: Profile, known_version: str | None = None) -> Fetched:
    """Fetch what has to be there and new."""
    fetched = await fetch(wanted, spool, "sync", known_version)
    assert fetched is not None
    return fetched


async def refusal(spool: Spool, wanted: Profile, patience: Patience = Patience()) -> str:  # noqa: B008
    """Fetch what cannot be fetched and give the reason; nothing is in the spool then."""
    with pytest.raises(SourceUnavailable) as caught:
        await fetch(wanted, spool, "sync", None, patience)
    assert kept(spool) is None
    reason = str(caught.value)
    assert len(reason.splitlines()) == 1
    return reason


def answering(**answer: Any) -> Callable[[web.Request], Any]:
    """Make a handler that always gives this answer."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return web.Response(**answer)

    return handle


class TestFiles:
    async def test_a_file_is_copied_with_its_digest(self, spool: Spool, tmp_path: Path) -> None:
        path = tmp_path / "feed.csv"
        path.write_bytes(FEED)
        os.utime(path, (1_000, 1_000))
        fetched = await got(spool, profile(path))
        assert (fetched.sha256, fetched.modified_ms) == (SHA256, 1_000_000)
        assert kept(spool) == FEED

    async def test_one_that_has_not_changed_is_not_copied_again(self, spool: Spool, tmp_path: Path) -> None:
        path = tmp_path / "feed.csv"
        path.write_bytes(FEED)
        version = (await got(spool, profile(path))).version
        assert await fetch(profile(path), spool, "sync", version) is None
        path.write_bytes(FEED + b"\n")
        assert (await got(spool, profile(path), version)).version != version

    async def test_of_a_directory_the_newest_finished_file_is_taken(
        self, spool: Spool, tmp_path: Path
    ) -> None:
        names = ["old.csv", "b.csv", "a.csv", ".hidden", "new.csv.part", "new.tmp", "b.csv.sha256"]
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
            os.utime(tmp_path / name, (1_000, 1_000 if name == "old.csv" else 2_000))
        (tmp_path / "folder").mkdir()
        (tmp_path / "link.csv").symlink_to("/etc/hostname")
        await got(spool, profile(tmp_path))
        assert kept(spool) == b"b.csv"

    async def test_a_new_file_of_the_same_size_and_time_is_a_new_version(
        self, spool: Spool, tmp_path: Path
    ) -> None:
        versions = []
        for name in ("a.csv", "b.csv"):
            (tmp_path / name).write_bytes(FEED)
            os.utime(tmp_path / name, (1_000, 1_000))
            versions.append((await got(spool, profile(tmp_path))).version)
        assert versions[0] != versions[1]

    async def test_what_cannot_be_read_has_a_reason(self, spool: Spool, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "empty").write_bytes(b"")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / ".hidden").write_bytes(b"x")
        reasons = {
            name: (await refusal(spool, profile(tmp_path / name))).removeprefix(f"{tmp_path}/{name}: ")
            for name in ("pipe", "empty", "folder", "none")
        }
        assert reasons == {
            "pipe": "it is neither a file nor a directory",
            "empty": "it is empty",
            "folder": "there is no file in the directory",
            "none": "No such file or directory",
        }

    async def test_a_file_with_more_bytes_than_allowed_leaves_nothing(
        self, spool: Spool, tmp_path: Path
    ) -> None:
        path = tmp_path / "feed.csv"
        path.write_bytes(FEED)
        with pytest.raises(FeedTooLarge):
            await fetch(profile(path, limits=Limits(bytes=len(FEED) - 1)), spool, "sync", None)
        assert kept(spool) is None

    @pytest.mark.parametrize("size", [len(FEED) - 1, len(FEED) + 1])
    async def test_a_file_that_is_still_being_written_leaves_nothing(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "feed.csv"
        path.write_bytes(FEED)

        class Interrupted(Spool):
            """One before whose first byte somebody goes on writing the file."""

            @contextmanager
            def writing(self, sync_id: str, max_bytes: int) -> Iterator[SpoolWriter]:
                os.truncate(path, size)
                with super().writing(sync_id, max_bytes) as writer:
                    yield writer

        reason = await refusal(Interrupted(tmp_path / "spool"), profile(path))
        assert reason.endswith(f"{len(FEED):,} bytes were announced, and {size:,} came")

    async def test_a_file_that_is_opened_while_its_fetch_is_cancelled_is_closed(
        self, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "feed.csv"
        path.write_bytes(FEED)
        begun, goes_on, is_done = threading.Event(), threading.Event(), threading.Event()

        def open_late(path: Path, flags: int) -> int:
            begun.set()
            assert goes_on.wait(10)
            descriptor = os_open(path, flags)
            is_done.set()
            return descriptor

        def is_open() -> bool:
            # Those of /proc/self/fd itself are gone before they are looked at.
            return any(os.path.realpath(one) == str(path) for one in Path("/proc/self/fd").iterdir())

        os_open = os.open
        with monkeypatch.context() as patch:
            patch.setattr("worker.feeds.sources.local.os.open", open_late)
            task = asyncio.create_task(fetch(profile(path), spool, "sync", None))
            assert await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        goes_on.set()
        assert await asyncio.to_thread(is_done.wait, 10)
        await asyncio.to_thread(wait_until, lambda: not is_open(), "the file is closed")


class TestChecksums:
    @pytest.mark.parametrize(
        "text", [SHA256, f"{SHA256}\n", f"{SHA256.upper()}  feed.csv\n", f"\\{SHA256} *f\\n"]
    )
    async def test_a_feed_that_agrees_is_kept(self, spool: Spool, tmp_path: Path, text: str) -> None:
        (tmp_path / "feed.csv").write_bytes(FEED)
        (tmp_path / "feed.csv.sha256").write_text(text)
        for source in (tmp_path / "feed.csv", tmp_path):
            assert (await got(spool, profile(source, source_checksum=True))).sha256 == SHA256

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("0" * 64, "the checksum of the source does not agree"),
            ("", "it is empty"),
            (SHA256 + "0", "does not begin with a SHA-256"),
            ("feed.csv " + SHA256, "does not begin with a SHA-256"),
            ("<html>" * 100_000, "does not begin with a SHA-256"),
            (None, "No such file"),
        ],
    )
    async def test_of_one_that_does_not_nothing_is_kept(
        self, spool: Spool, tmp_path: Path, text: str | None, reason: str
    ) -> None:
        (tmp_path / "feed.csv").write_bytes(FEED)
        if text is not None:
            (tmp_path / "feed.csv.sha256").write_text(text)
        told = await refusal(spool, profile(tmp_path / "feed.csv", source_checksum=True))
        assert "checksum" in told
        assert ("does not begin with a SHA-256" if text == "" else reason) in told

    async def test_it_lies_beside_the_path_of_a_url_whatever_the_query(self, spool: Spool) -> None:
        async def handle(request: web.Request) -> web.Response:
            assert request.query == {"token": "t"}
            return web.Response(body={"/feed.csv": FEED, "/feed.csv.sha256": SHA256.encode()}[request.path])

        async with web_server(handle) as url:
            fetched = await got(spool, profile(f"{url}/feed.csv?token=t", source_checksum=True))
        assert fetched.sha256 == SHA256


class TestTheWeb:
    async def test_a_feed_is_fetched_with_etag_and_time(self, spool: Spool) -> None:
        headers = {"ETag": '"one"', "Last-Modified": "Wed, 01 Jul 2026 00:00:00 GMT"}
        async with web_server(answering(body=FEED, headers=headers)) as url:
            fetched = await got(spool, profile(f"{url}/feed.csv"))
        assert fetched == Fetched(SHA256, '"one"', 1_782_864_000_000)
        assert kept(spool) == FEED

    async def test_a_server_with_etags_is_asked_for_changes_only(self, spool: Spool) -> None:
        asked = []

        async def handle(request: web.Request) -> web.Response:
            asked.append(request.headers.get("If-None-Match"))
            is_known = asked[-1] == 'W/"one"'
            return web.Response(
                status=304 if is_known else 200, body=None if is_known else FEED, headers={"ETag": 'W/"one"'}
            )

        async with web_server(handle) as url:
            version = (await got(spool, profile(url))).version
            assert await fetch(profile(url), spool, "sync", version) is None
        assert asked == [None, 'W/"one"']

    @pytest.mark.parametrize(
        "headers", [{"ETag": '"one"'}, {"Last-Modified": "Wed, 01 Jul 2026 00:00:00 GMT"}]
    )
    async def test_an_answer_in_full_is_not_read_when_its_head_says_that_nothing_changed(
        self, spool: Spool, headers: dict[str, str]
    ) -> None:
        async with web_server(answering(body=FEED, headers=headers)) as url:
            version = (await got(spool, profile(url))).version
            assert await fetch(profile(url), spool, "sync", version) is None

    @pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 500, 503])
    async def test_any_status_but_200_is_a_reason_and_no_feed(self, spool: Spool, status: int) -> None:
        async with web_server(answering(status=status)) as url:
            assert (await refusal(spool, profile(url))).endswith(f"the server answers {status}")

    async def test_an_empty_answer_is_no_feed(self, spool: Spool) -> None:
        async with web_server(answering()) as url:
            assert "it is empty" in await refusal(spool, profile(url))

    @pytest.mark.parametrize(
        "head", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n8\r\n"], ids=str
    )
    async def test_an_answer_that_is_cut_off_is_no_feed(self, spool: Spool, head: bytes) -> None:
        async with raw_server(b"HTTP/1.1 200 OK\r\n" + head + b"number\r\n", hang_up=True) as url:
            assert "cut off before the end" in await refusal(spool, profile(url))

    async def test_a_server_that_hangs_up_without_a_word_is_told_of(self, spool: Spool) -> None:
        async with raw_server(b"", hang_up=True) as url:
            assert "cut off" in await refusal(spool, profile(url))

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnum"])
    async def test_a_server_that_falls_silent_is_not_waited_for(self, spool: Spool, answer: bytes) -> None:
        async with raw_server(answer, hang_up=False) as url:
            reason = await refusal(spool, profile(url), HASTY)
        assert ("nothing came for 0.2 s" if answer else "it does not answer") in reason

    async def test_a_server_that_trickles_is_not_waited_for_for_ever(self, spool: Spool) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"1")
                await asyncio.sleep(0.01)

        async with web_server(handle) as url:
            assert "longer than 0.3 s" in await refusal(spool, profile(url), Patience(whole=0.3))

    async def test_a_server_that_takes_no_connection_is_not_waited_for(self, spool: Spool) -> None:
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind((LOOPBACK, 0))
            full.listen(0)
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            url = f"http://{LOOPBACK}:{full.getsockname()[1]}"
            assert "it does not answer" in await refusal(spool, profile(url), HASTY)

    async def test_nobody_listens_or_is_called_so(self, spool: Spool) -> None:
        with socket.socket() as unused:
            unused.bind((LOOPBACK, 0))
            url = f"http://{LOOPBACK}:{unused.getsockname()[1]}"
            assert "no connection: " in await refusal(spool, profile(url))
        assert "no connection: " in await refusal(spool, profile("http://nowhere.invalid/"))

    @pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=str)
    async def test_nothing_is_unpacked_on_the_way(self, spool: Spool, headers: dict[str, str]) -> None:
        bomb = gzip.compress(bytes(50_000_000))
        async with web_server(answering(body=bomb, headers=headers)) as url:
            await got(spool, profile(url, limits=Limits(bytes=len(bomb))))
        assert kept(spool) == bomb

    async def test_an_endless_answer_ends_at_the_limit(self, spool: Spool) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(bytes(100_000))

        async with web_server(handle) as url:
            with pytest.raises(FeedTooLarge):
                await fetch(profile(url, limits=Limits(bytes=1_000_000)), spool, "sync", None)
        assert kept(spool) is None

    async def test_who_is_told_to_stop_stops_and_leaves_nothing(self, spool: Spool) -> None:
        answered = asyncio.Event()
        closed = asyncio.Event()

        async def handle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(FEED)
            answered.set()
            try:
                while True:
                    await response.write(b"1")
                    await asyncio.sleep(0.01)
            finally:
                closed.set()

        async with web_server(handle) as url:
            task = asyncio.create_task(fetch(profile(url), spool, "sync", None))
            await answered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(closed.wait(), 5)
        assert kept(spool) is None

    async def test_proxies_of_the_environment_are_not_asked(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        async with web_server(answering(body=FEED)) as url:
            await got(spool, profile(url))


class TestRedirects:
    async def test_are_followed_to_the_feed(self, spool: Spool) -> None:
        async def handle(request: web.Request) -> web.Response:
            if request.path == "/latest":
                raise web.HTTPFound("/feeds/today.csv")
            return web.Response(body=FEED)

        async with web_server(handle) as url:
            await got(spool, profile(f"{url}/latest"))

    async def test_are_refused_when_they_lead_into_a_private_network(self, spool: Spool) -> None:
        async with web_server(answering(body=b"metadata"), host="127.0.0.2") as inner:

            async def handle(request: web.Request) -> web.Response:
                raise web.HTTPFound(f"{inner}{request.path}")

            async with web_server(handle) as url:
                reason = await refusal(spool, profile(url))
                assert reason.endswith("not public, and not in allow_networks: 127.0.0.2")
                await got(spool, profile(url, allow_networks=("127.0.0.0/8",)))

    @pytest.mark.parametrize(
        "target", ["file:///etc/passwd", "ftp://127.0.0.1/", "s3://bucket/key", "//", "http://["]
    )
    async def test_are_refused_when_they_lead_to_anything_but_the_web(
        self, spool: Spool, target: str
    ) -> None:
        async with web_server(answering(status=302, headers={"Location": target})) as url:
            assert "the server " in await refusal(spool, profile(url))

    async def test_end_somewhere(self, spool: Spool) -> None:
        async with web_server(answering(status=302, headers={"Location": "/"})) as url:
            assert "redirects more than 5 times" in await refusal(spool, profile(url))

    async def test_do_not_take_the_key_to_another_server(self, spool: Spool) -> None:
        seen: list[str | None] = []

        async def handle(request: web.Request) -> web.Response:
            seen.append(request.headers.get("X-Api-Key"))
            if request.path == "/same":
                raise web.HTTPFound("/other")
            if request.path == "/other":
                raise web.HTTPFound(f"{elsewhere}/feed")
            return web.Response(body=FEED)

        async with web_server(handle) as elsewhere, web_server(handle) as url:
            await got(spool, profile(f"{url}/same", source_options={"headers": {"X-Api-Key": "k"}}))
        assert seen == ["k", "k", None]

    async def test_keep_user_and_password_of_the_url_on_the_same_server_and_on_no_other(
        self, spool: Spool
    ) -> None:
        seen: list[tuple[str, str | None]] = []

        async def handle(request: web.Request) -> web.Response:
            seen.append((request.path, request.headers.get("Authorization")))
            targets = {"/first": "/second", "/second": f"{url}/third", "/third": f"{elsewhere}/fourth"}
            # Once it was elsewhere, it is not that server's word that brings them back.
            targets |= {"/fourth": f"{url}/feed"}
            if request.path in targets:
                raise web.HTTPFound(targets[request.path])
            return web.Response(body=FEED)

        async with web_server(handle) as elsewhere, web_server(handle) as url:
            await got(spool, profile(url.replace("//", "//user:pass%20word@") + "/first"))
        known = aiohttp.encode_basic_auth("user", "pass word")
        assert seen == [
            ("/first", known),
            ("/second", known),
            ("/third", known),
            ("/fourth", None),
            ("/feed", None),
        ]


class TestPrivateNetworks:
    @pytest.mark.parametrize(
        "host", [LOOPBACK, "localhost", "127.1", "0x7f.0.0.1", "2130706433", "[::ffff:127.0.0.1]"]
    )
    async def test_are_not_reached_however_they_are_spelled(self, spool: Spool, host: str) -> None:
        asked = []

        async def handle(request: web.Request) -> web.Response:
            asked.append(request)
            return web.Response(body=FEED)

        async with web_server(handle) as url:
            port = url.rpartition(":")[2]
            await refusal(spool, profile(f"http://{host}:{port}/", allow_networks=()))
        assert not asked

    async def test_are_not_reached_by_a_name_that_changes_its_address(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve = socket.getaddrinfo
        answers = iter(["192.0.2.1", LOOPBACK])

        def rebind(host: str | None, port: Any, *rest: Any, **named: Any) -> Any:
            return resolve(next(answers, LOOPBACK) if host == "feed.example" else host, port, *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", rebind)
        async with web_server(answering(body=FEED)) as url:
            source = url.replace(LOOPBACK, "feed.example")
            for _ in range(2):
                assert "not in allow_networks" in await refusal(spool, profile(source, allow_networks=()))

    @pytest.mark.parametrize("source", ["sftp://127.0.0.1/feed", "s3://bucket/feed"])
    async def test_are_not_reached_by_other_protocols(self, spool: Spool, source: str) -> None:
        options = {"endpoint_url": "http://127.0.0.1:9", "key": "k", "secret": "s"} if "s3" in source else {}
        reason = await refusal(spool, profile(source, allow_networks=(), source_options=options))
        assert reason.endswith("not public, and not in allow_networks: 127.0.0.1")


class TestSecrets:
    async def test_of_a_url_are_not_told(self, spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        async with web_server(answering(status=404)) as url:
            source = f"{url.replace('//', '//user:hush@')}/feed?token=hush"
            reason = await refusal(spool, profile(source, source_options={"headers": {"X-Key": "hush"}}))
        assert reason == f"{url}/feed: the server answers 404"
        assert "hush" not in caplog.text

    async def test_of_the_environment_take_the_place_of_their_names(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def handle(request: web.Request) -> web.Response:
            return web.Response(
                status=200 if request.headers["Authorization"] == "Bearer hush" else 401, body=FEED
            )

        monkeypatch.setenv("FEED_AUTHORIZATION", "Bearer hush")
        options = {"headers": {"Authorization": "env:FEED_AUTHORIZATION"}}
        async with web_server(handle) as url:
            await got(spool, profile(url, source_options=options))

    @pytest.mark.parametrize("value", [None, ""])
    async def test_that_are_missing_are_named(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch, value: str | None
    ) -> None:
        monkeypatch.delenv("FEED_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("FEED_KEY", value)
        reason = await refusal(spool, profile("s3://bucket/feed", source_options={"list": ["env:FEED_KEY"]}))
        assert reason.endswith("the environment variable FEED_KEY is not set")

    async def test_options_that_the_library_does_not_know_are_told(self, spool: Spool) -> None:
        for source in ("http://127.0.0.1:9/", "s3://bucket/feed", "sftp://127.0.0.1/feed"):
            assert "source_options" in await refusal(
                spool, profile(source, source_options={"nonsense": "hush"})
            )


class TestS3:
    OPTIONS: ClassVar = {"key": "carrier", "secret": "hush"}

    async def test_an_object_is_fetched_once_for_each_version(self, spool: Spool) -> None:
        bucket = Bucket({"feeds/a/feed.csv": FEED, "feeds/a/feed.csv.sha256": SHA256.encode()}, "carrier")
        async with web_server(bucket.answer) as url:
            wanted = profile(
                "s3://feeds/a/feed.csv",
                source_options={**self.OPTIONS, "endpoint_url": url},
                source_checksum=True,
            )
            fetched = await got(spool, wanted)
            assert (fetched.sha256, fetched.modified_ms) == (SHA256, 1_782_864_000_000)
            assert kept(spool) == FEED
            sent = bucket.sent
            assert await fetch(wanted, spool, "sync", fetched.version) is None
            assert bucket.sent == sent

    @pytest.mark.parametrize(
        ("source", "options", "reason"),
        [
            ("s3://feeds/none", {}, "the server answers 404: NoSuchKey"),
            ("s3://feeds/feed", {"key": "another"}, "the server answers 403: AccessDenied"),
        ],
    )
    async def test_what_cannot_be_read_has_a_reason(
        self, spool: Spool, source: str, options: dict[str, str], reason: str
    ) -> None:
        async with web_server(Bucket({"feeds/feed": FEED}, "carrier").answer) as url:
            options = {**self.OPTIONS, "endpoint_url": url, **options}
            assert await refusal(spool, profile(source, source_options=options)) == f"{source}: {reason}"

    async def test_proxies_of_the_environment_are_not_asked(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        async with web_server(Bucket({"feeds/feed": FEED}, "carrier").answer) as url:
            await got(spool, profile("s3://feeds/feed", source_options={**self.OPTIONS, "endpoint_url": url}))

    async def test_credentials_are_not_looked_for_in_private_networks(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert "169.254.169.254" in await refusal(spool, profile("s3://feeds/feed"))

    async def test_an_object_that_is_cut_off_is_no_feed(self, spool: Spool) -> None:
        head = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 1000\r\n\r\nnumber\r\n'
        async with raw_server(head, hang_up=True) as url:
            options = {**self.OPTIONS, "endpoint_url": url}
            assert "cannot be read" in await refusal(spool, profile("s3://feeds/f", source_options=options))

    async def test_without_its_library_the_extra_is_named(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "worker.feeds.sources.s3", raising=False)
        monkeypatch.setitem(sys.modules, "s3fs", None)
        assert "the extra 's3'" in await refusal(spool, profile("s3://feeds/feed"))


class TestSftp:
    async def test_a_file_is_fetched_once_for_each_version(self, spool: Spool, tmp_path: Path) -> None:
        (tmp_path / "served").mkdir()
        (tmp_path / "served" / "feed 1.csv").write_bytes(FEED)
        (tmp_path / "served" / "feed 1.csv.sha256").write_text(SHA256)
        os.utime(tmp_path / "served" / "feed 1.csv", (1_000, 1_000))
        known_hosts = tmp_path / "known_hosts"
        async with sftp_server(tmp_path / "served", known_hosts) as port:
            wanted = profile(
                f"sftp://carrier:pass%20word@{LOOPBACK}:{port}/feed%201.csv",
                source_options={"known_hosts": str(known_hosts)},
                source_checksum=True,
            )
            fetched = await got(spool, wanted)
            assert (fetched.sha256, fetched.modified_ms) == (SHA256, 1_000_000)
            assert kept(spool) == FEED
            assert await fetch(wanted, spool, "sync", fetched.version) is None

    @pytest.mark.parametrize(
        ("path", "options", "reason"),
        [
            ("none", {}, "SFTPNoSuchFile"),
            ("folder", {}, "it is not a file"),
            ("feed", {"password": "wrong"}, "PermissionDenied"),
            ("feed", {"known_hosts": "/dev/null"}, "HostKeyNotVerifiable"),
        ],
    )
    async def test_what_cannot_be_read_has_a_reason(
        self, spool: Spool, tmp_path: Path, path: str, options: dict[str, str], reason: str
    ) -> None:
        (tmp_path / "served" / "folder").mkdir(parents=True)
        (tmp_path / "served" / "feed").write_bytes(FEED)
        known_hosts = tmp_path / "known_hosts"
        async with sftp_server(tmp_path / "served", known_hosts) as port:
            source = f"sftp://carrier@{LOOPBACK}:{port}/{path}"
            options = {"known_hosts": str(known_hosts), "password": "pass word", **options}
            assert reason in await refusal(spool, profile(source, source_options=options))

    async def test_the_settings_of_whoever_runs_the_worker_do_not_count(
        self, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text("Host *\n  HostName 127.0.0.3\n  ProxyCommand false\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "feed").write_bytes(FEED)
        async with sftp_server(tmp_path, tmp_path / ".ssh" / "known_hosts") as port:
            await got(spool, profile(f"sftp://carrier:pass%20word@{LOOPBACK}:{port}/feed"))

    async def test_a_server_that_is_not_known_gets_no_password(
        self, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        async with sftp_server(tmp_path, tmp_path / "elsewhere") as port:
            source = f"sftp://carrier:hush@{LOOPBACK}:{port}/feed"
            reason = await refusal(spool, profile(source))
        assert reason == f"sftp://{LOOPBACK}:{port}/feed: the file cannot be read: HostKeyNotVerifiable"

    async def test_a_server_that_falls_silent_is_not_waited_for(self, spool: Spool) -> None:
        async with raw_server(b"", hang_up=False) as url:
            source = url.replace("http", "sftp") + "/feed"
            await refusal(spool, profile(source), HASTY)


async def test_a_profile_without_a_source_has_nothing_to_fetch(spool: Spool) -> None:
    assert "no source" in await refusal(spool, Profile())
