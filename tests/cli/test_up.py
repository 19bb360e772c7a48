import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest
import redis

from deploy.cli.up import default_workers
from tests.http.answers import SEARCH, found
from tests.processes import Process, end_group, free_port, processes, processes_of, run
from tests.support import SCRIPTS, Service, environment, numbers, wait_until

STOCK = [f"+1303555{line:04}" for line in range(100, 110)]
FEED = "\n".join(["number", *STOCK]).encode()
WITHIN_SECONDS = 5


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listed(service: Service) -> list[str]:
    with service.client() as client:
        return found(client.post(SEARCH, json={"area_code": "303", "quantity": 100}))


def is_searched(service: Service) -> bool:
    """Tell whether the stock is found; a service that comes back may refuse connections or answer 503."""
    try:
        with service.client() as client:
            response = client.post(SEARCH, json={"area_code": "303", "quantity": 100})
    except httpx.TransportError:
        return False
    return response.status_code == 200 and found(response) == STOCK


def is_worker_alive(service: Service) -> bool:
    try:
        with service.client() as client:
            response = client.get("/readyz")
    except httpx.TransportError:
        return False
    return response.status_code == 200 and response.json()["data"]["worker"] == "alive"


def one(service: Service, program: str) -> Process:
    """Give the process that runs this program for the service, started by `numbers up` itself."""
    mine = [process for process in processes_of(service.data_dir) if process.parent == service.process.pid]
    [process] = [process for process in mine if program in process.command]
    return process


def send_as_a_terminal_does(service: Service, number: signal.Signals) -> None:
    """Signal `numbers up` and all that share its process group, as Ctrl-C does."""
    group = os.getpgid(service.process.pid)
    members = [process.pid for process in processes_of(service.data_dir) if process.group == group]
    assert service.process.pid in members
    for pid in members:
        os.kill(pid, number)


def assert_all_stop(service: Service) -> None:
    """Check that the service ends within its time, without an error, and leaves no process."""
    began_at = time.monotonic()
    code = service.process.wait(WITHIN_SECONDS + 5)
    left = processes_of(service.data_dir)
    assert time.monotonic() - began_at < WITHIN_SECONDS
    assert left == []
    assert code == 0
    output = service.output.read_text()
    assert output.endswith("stopped\n")
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service as a newcomer does: with nothing said but where."""
    service = Service(tmp_path_factory.mktemp("sampled"), api_workers=None)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that loses processes."""
    service = Service(tmp_path_factory.mktemp("stocked"), "--no-sample")
    assert service.ingest("up-tests", FEED)["added"] == len(STOCK)
    yield service
    service.stop()


# What it says and writes


def test_the_ready_file_says_all_one_needs_and_only_to_its_owner(sampled: Service) -> None:
    path = sampled.data_dir / "ready.json"
    content = msgspec.json.decode(path.read_bytes())

    assert set(content) == {"url", "key", "org", "redis_url"}
    assert content["org"] == "demo"
    assert mode(path) == 0o600
    with httpx.Client(headers={"Authorization": f"Bearer {content['key']}"}) as client:
        assert len(found(client.post(content["url"] + SEARCH, json={}))) == 10
    with redis.Redis.from_url(content["redis_url"]) as store:
        assert store.ping()


def test_the_demo_key_is_in_a_file_that_only_its_owner_reads(sampled: Service) -> None:
    path = sampled.data_dir / "demo-key"

    assert path.read_text() == f"{sampled.instance.key}\n"
    assert mode(path) == 0o600


def test_no_file_with_a_secret_is_open_to_others(sampled: Service) -> None:
    password = httpx.URL(sampled.instance.redis_url).password
    assert len(password) >= 32
    holders = {
        path
        for path in sampled.data_dir.rglob("*")
        # What the tests themselves keep of its output.
        if path.is_file() and path != sampled.output
        if password.encode() in (content := path.read_bytes()) or sampled.instance.key.encode() in content
    }

    assert {path.name for path in holders} >= {"ready.json", "demo-key", "running.json", "users.acl"}
    assert {path.name: mode(path) for path in holders} == {path.name: 0o600 for path in holders}


def test_the_store_admits_nobody_without_the_password(sampled: Service) -> None:
    url = httpx.URL(sampled.instance.redis_url)
    with redis.Redis(host=url.host, port=url.port or 0) as stranger:
        for command in ("KEYS *", "CONFIG GET dir", "SHUTDOWN", "ACL LIST", "FLUSHALL", "MONITOR"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                stranger.execute_command(*command.split())


def test_the_printed_curl_command_works_as_printed(sampled: Service) -> None:
    output = sampled.output.read_text()
    [command] = re.findall(r"^ +(curl (?:.*\\\n)*.*)$", output, re.MULTILINE)

    done = run(["sh", "-c", command])

    body = msgspec.json.decode(done.stdout)
    assert body["success"] is True
    assert len(body["data"]) == 10
    for item in body["data"]:
        assert item["number"].startswith("+1415")
        assert "555" in item["number"]
    url = next(word for word in shlex.split(command) if word.startswith("http"))
    assert url == sampled.instance.url + SEARCH


def test_the_output_names_the_api_the_docs_the_key_and_the_logs(sampled: Service) -> None:
    lines = sampled.output.read_text().splitlines()

    assert f"API   {sampled.instance.url}" in lines
    assert f"Docs  {sampled.instance.url}/docs" in lines
    assert f"Key   {sampled.instance.key}" in lines
    assert any(str(sampled.data_dir) in line and "Ctrl-C" in line for line in lines)
    assert httpx.get(f"{sampled.instance.url}/docs").status_code == 200


def test_the_sample_feed_is_searchable_with_the_numbers_of_the_examples(sampled: Service) -> None:
    with sampled.client() as client:
        for number in ("+14155550123", "+14155550456"):
            assert found(client.post(SEARCH, json={"pattern": number})) == [number]
            wanted = {"area_code": "415", "pattern": number[5:], "number_type": "local"}
            assert number in found(client.post(SEARCH, json=wanted))
        assert len(found(client.post(SEARCH, json={"number_type": "toll_free", "quantity": 100}))) == 100


def test_no_command_line_holds_the_key_or_the_password_of_the_store(sampled: Service) -> None:
    password = httpx.URL(sampled.instance.redis_url).password
    commands = [process.command for process in processes()]

    assert any(str(sampled.data_dir) in command for command in commands)
    for command in commands:
        assert sampled.instance.key not in command
        assert password not in command


def test_only_the_loopback_interface_is_listened_on(sampled: Service) -> None:
    ports = {httpx.URL(url).port for url in (sampled.instance.url, sampled.instance.redis_url)}
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    listening = {
        row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and int(row[1][-4:], 16) in ports
    }

    # 127.0.0.1, as the kernel writes it.
    assert listening == {"0100007F"}


# What it refuses


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = numbers("up", "--port", port, "--data-dir", tmp_path / "data")

    assert done.returncode == 1
    assert done.stderr == f"Error: port {port} is taken; choose another with --port\n"
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_the_port_of_a_running_service_is_taken_too(sampled: Service, tmp_path: Path) -> None:
    port = str(httpx.URL(sampled.instance.url).port)

    done = numbers("up", "--port", port, "--data-dir", tmp_path / "data")

    assert done.returncode == 1
    assert done.stderr == f"Error: port {port} is taken; choose another with --port\n"


def test_a_second_service_in_the_same_data_directory_is_refused_and_does_no_harm_to_the_first(
    sampled: Service,
) -> None:
    running_file = (sampled.data_dir / "running.json").read_bytes()

    done = numbers("up", "--port", "0", "--data-dir", sampled.data_dir)

    assert done.returncode == 1
    assert str(sampled.data_dir) in done.stderr
    assert re.fullmatch(r"Error: a `numbers up` is running in .*\n", done.stderr)
    assert (sampled.data_dir / "running.json").read_bytes() == running_file
    with sampled.client() as client:
        assert client.get("/readyz").status_code == 200


def test_a_data_directory_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = numbers("up", "--port", "0", "--data-dir", tmp_path / "file" / "data")

    assert done.returncode == 1
    assert re.fullmatch(r"Error: the data directory .* cannot be used: .*\n", done.stderr)


def test_a_store_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"

    done = numbers("up", "--port", "0", "--data-dir", tmp_path, "--redis-url", url)

    assert done.returncode == 1
    assert re.fullmatch(r"Error: the store cannot be reached: .*\n", done.stderr)
    assert processes_of(tmp_path) == []


BAD_SETTINGS = [
    ("NUMBERS_KEY_CACHE_SECONDS", "abc"),
    ("NUMBERS_REDIS_URL", "http://localhost:6379"),
    ("NUMBERS_REDIS_URL", "redis://localhost:port/0"),
]


@pytest.mark.parametrize(("variable", "value"), BAD_SETTINGS)
@pytest.mark.parametrize("program", ["numbers", "litestar", "arq", "arq --check"])
def test_a_bad_setting_is_one_line_that_names_variable_and_value(
    tmp_path: Path, program: str, variable: str, value: str
) -> None:
    arguments = {
        "numbers": ["up", "--port", "0", "--no-sample", "--data-dir", str(tmp_path)],
        "litestar": ["--app", "api.app:create_app", "run", "--port", str(free_port())],
        "arq": ["worker.main.WorkerSettings"],
        "arq --check": ["--check", "worker.main.WorkerSettings"],
    }[program]
    done = subprocess.Popen(
        [str(SCRIPTS / program.partition(" ")[0]), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**{variable: value}),
        start_new_session=True,
    )
    try:
        output, _ = done.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        pytest.fail("it runs with the bad setting")
    finally:
        end_group(done)

    assert done.returncode not in (0, None)
    [line] = output.splitlines()
    assert variable in line
    assert value in line


# What it keeps


def test_key_and_stock_outlive_a_restart(tmp_path: Path) -> None:
    first = Service(tmp_path / "data", "--no-sample")
    first.ingest("up-tests", FEED)
    made = first.numbers("keys create", "--org", "other", "--scope", "numbers:write").stdout.strip()
    first.stop()

    second = Service(tmp_path / "data", "--no-sample")
    try:
        assert second.instance.key == first.instance.key
        assert listed(second) == STOCK
        response = httpx.post(
            second.instance.url + SEARCH, json={}, headers={"Authorization": f"Bearer {made}"}
        )
        assert found(response) == STOCK
        # The same feed again changes nothing: what the carrier offered before is still known.
        sync = second.ingest("up-tests", FEED)
        assert (sync["added"], sync["unchanged"]) == (0, len(STOCK))
    finally:
        second.stop()


def test_a_demo_key_that_was_revoked_is_replaced_at_the_next_start(tmp_path: Path) -> None:
    first = Service(tmp_path / "data", "--no-sample")
    [key] = msgspec.json.decode(first.numbers("keys list", "--json").stdout)
    assert first.numbers("keys revoke", key["id"]).returncode == 0
    first.stop()

    second = Service(tmp_path / "data", "--no-sample")
    try:
        assert second.instance.key != first.instance.key
        with second.client() as client:
            assert found(client.post(SEARCH, json={})) == []
    finally:
        second.stop()


def test_the_sample_feed_is_brought_once(tmp_path: Path) -> None:
    def syncs(service: Service) -> int:
        with redis.Redis.from_url(service.instance.redis_url) as store:
            return len([name for name in store.scan_iter("sync:*", count=1000) if name.count(b":") == 1])

    first = Service(tmp_path / "data")
    assert syncs(first) == 1
    first.stop()
    second = Service(tmp_path / "data")
    try:
        assert syncs(second) == 1
    finally:
        second.stop()


# How it ends


def test_ctrl_c_stops_everything_within_5_seconds_and_loses_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", "--no-sample", api_workers=2)
    service.ingest("up-tests", FEED)
    assert len(processes_of(service.data_dir)) >= 5

    send_as_a_terminal_does(service, signal.SIGINT)

    assert_all_stop(service)
    assert not (service.data_dir / "running.json").exists()
    again = Service(tmp_path / "data", "--no-sample")
    assert listed(again) == STOCK
    again.process.terminate()
    assert_all_stop(again)


def test_ctrl_c_pressed_twice_leaves_nothing_behind_either(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", "--no-sample")

    send_as_a_terminal_does(service, signal.SIGINT)
    wait_until(lambda: not (service.data_dir / "running.json").exists(), "it is stopping", 5)
    if service.process.poll() is None:
        service.process.send_signal(signal.SIGINT)

    assert_all_stop(service)


@pytest.mark.parametrize("sign", ["lock", "store/valkey.conf", "demo-key", "api.log", "running.json"])
def test_ctrl_c_during_the_start_leaves_nothing_behind(tmp_path: Path, sign: str) -> None:
    data_dir = tmp_path / "data"
    log = tmp_path / "output.log"
    command = [str(SCRIPTS / "numbers"), "up", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        up = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
        )
    try:
        wait_until((data_dir / sign).exists, f"{sign} is there", 10)
        os.killpg(up.pid, signal.SIGINT)
        began_at = time.monotonic()
        up.wait(WITHIN_SECONDS + 5)
        assert processes_of(data_dir) == []
        assert time.monotonic() - began_at < WITHIN_SECONDS
        assert "Traceback" not in log.read_text()
    finally:
        end_group(up)
        for process in processes_of(data_dir):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def test_requests_after_the_end_find_nobody(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", "--no-sample")
    service.stop()

    with service.client() as client, pytest.raises(httpx.ConnectError):
        client.get("/healthz")
    done = service.numbers("stats")
    assert done.returncode == 1
    assert "no service runs" in done.stderr


# How it goes on


def kill_api(service: Service) -> int:
    return one(service, "granian").pid


def kill_worker(service: Service) -> int:
    return one(service, "worker.main.").pid


def kill_store(service: Service) -> int:
    return one(service, "valkey").pid


def kill_an_api_worker(service: Service) -> int:
    main = one(service, "granian").pid
    return next(process.pid for process in processes_of(service.data_dir) if process.parent == main)


@pytest.mark.parametrize(
    ("victim", "says"),
    [
        (kill_api, "the API ended with -9"),
        (kill_worker, "the worker ended with -9"),
        (kill_store, "the store has died"),
        (kill_an_api_worker, None),
    ],
)
def test_what_is_killed_is_brought_back(
    stocked: Service, victim: Callable[[Service], int], says: str | None
) -> None:
    wait_until(lambda: is_searched(stocked) and is_worker_alive(stocked), "all is well", 10)
    said = stocked.output.read_text()
    pid = victim(stocked)

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: pid not in [process.pid for process in processes()], "it is dead")
    if says is not None:
        wait_until(lambda: says in stocked.output.read_text()[len(said) :], "it is said", 10)
    wait_until(lambda: is_searched(stocked), "the search works again", 10)
    # A worker works only if it can be given a feed; nothing changes, for the feed is the same.
    sync = stocked.ingest("up-tests", FEED)
    assert (sync["state"], sync["unchanged"]) == ("applied", len(STOCK))
    assert stocked.process.poll() is None
    assert victim(stocked) != pid


def test_a_store_whose_numbers_up_was_killed_before_it_was_ready_is_ended_before_the_next_begins(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    command = ["up", "--no-sample", "--port", "0", "--data-dir", str(data_dir)]
    with subprocess.Popen([str(SCRIPTS / "numbers"), *command], stdout=subprocess.DEVNULL) as first:
        wait_until(lambda: stores_of(data_dir), "the store is there")
        first.kill()
    (left,) = stores_of(data_dir)

    second = Service(data_dir, "--no-sample")

    try:
        (store,) = stores_of(data_dir)
        assert store != left
    finally:
        second.process.terminate()
        assert_all_stop(second)


def stores_of(data_dir: Path) -> list[int]:
    return [process.pid for process in processes_of(data_dir) if "valkey-server" in process.command]


def test_a_relative_spool_directory_is_one_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    service = Service(tmp_path / "data", "--no-sample", NUMBERS_SPOOL_DIR="here/spool")
    try:
        assert service.ingest("up-tests", FEED)["state"] == "applied"
        assert (tmp_path / "here" / "spool").is_dir()
    finally:
        service.process.terminate()
        assert_all_stop(service)


def test_after_numbers_up_itself_was_killed_the_next_one_works_with_the_same_key_and_stock(
    tmp_path: Path,
) -> None:
    first = Service(tmp_path / "data", "--no-sample")
    first.ingest("up-tests", FEED)
    old = {process.pid for process in processes_of(first.data_dir)}

    first.process.kill()
    first.process.wait()
    second = Service(tmp_path / "data", "--no-sample")

    try:
        assert second.instance.key == first.instance.key
        assert listed(second) == STOCK
        wait_until(
            lambda: not old & {process.pid for process in processes_of(second.data_dir)},
            "nothing of the first is left",
            10,
        )
        assert listed(second) == STOCK
        sync = second.ingest("up-tests", FEED + b"\n+13035550110")
        assert (sync["added"], sync["unchanged"]) == (1, len(STOCK))
    finally:
        second.process.terminate()
        assert_all_stop(second)


def api_workers_of(service: Service) -> list[Process]:
    main = one(service, "granian").pid
    workers = [process for process in processes_of(service.data_dir) if process.parent == main]
    return [process for process in workers if "resource_tracker" not in process.command]


def test_each_core_has_an_api_worker_unless_told(sampled: Service) -> None:
    assert len(api_workers_of(sampled)) == default_workers()


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (3, 3), (4, 4), (64, 4)])
def test_api_workers_are_at_most_four(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)

    assert default_workers() == workers


@pytest.mark.parametrize(("cores", "workers"), [(None, 1), (2, 2), (64, 4)])
def test_cores_are_counted_where_a_process_cannot_be_bound_to_some(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, workers: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)

    assert default_workers() == workers


def test_two_api_workers_serve_together(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", "--no-sample", api_workers=2)
    try:
        assert len(api_workers_of(service)) == 2
        service.ingest("up-tests", FEED)
        for _ in range(20):
            # A connection each, so that either worker gets some.
            assert listed(service) == STOCK
    finally:
        service.process.terminate()
        assert_all_stop(service)
