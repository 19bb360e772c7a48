import gzip
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from shared import jobs, store_keys
from shared.syncs import CARRIER_NAME
from tests.processes import processes
from tests.support import SCRIPTS, Service, environment, numbers, wait_until

FEED_ROWS = 300_000
FIRST_LOCAL = 2_200_000
_LEASE_SECONDS = "1"

Client = Any
"""redis-py gives each reply two types, that of its blocking client and that of the other."""


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose worker the tests stop and kill; its leases are short."""
    service = Service(
        tmp_path_factory.mktemp("fragile"), "--no-sample", NUMBERS_FEED_LEASE_SECONDS=_LEASE_SECONDS
    )
    yield service
    service.stop()


@pytest.fixture
def fragile_store(fragile: Service) -> Iterator[Client]:
    with redis.Redis.from_url(fragile.instance.redis_url) as client:
        yield client


@pytest.fixture
def feed_file(tmp_path: Path) -> Path:
    return tmp_path / "feed.csv"


def feed_of(area_code: str, *locals_: int) -> bytes:
    return "".join(["number\n", *(f"+1{area_code}{local}\n" for local in locals_)]).encode()


def available(service: Service, *area_codes: str) -> list[int]:
    """Give how many numbers `numbers stats` says are available in these area codes."""
    done = service.numbers("stats", "--json")
    assert done.returncode == 0, done.stderr
    areas = msgspec.json.decode(done.stdout)["area_codes"]
    return [areas.get(area_code, {"available": 0})["available"] for area_code in area_codes]


def read_record(store: Client, sync_id: str) -> dict[str, str]:
    fields = store.hgetall(store_keys.sync(sync_id))
    return {name.decode(): value.decode() for name, value in fields.items()}


def is_one_line(text: str, start: str = "Error: ") -> bool:
    return text.startswith(start) and text.endswith("\n") and text.count("\n") == 1


# What it says


def test_wait_ends_with_the_counts_of_the_sync(service: Service, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("901", *range(2_200_000, 2_201_234)))
    done = service.numbers("ingest", "--carrier", "first", "--wait", feed_file)
    assert done.returncode == 0
    sync_id, text = done.stdout.split(" ", 1)
    assert len(sync_id) == 36
    assert text == (
        "applied: 1,234 rows read, 1,234 numbers added, 0 removed, 0 unchanged; "
        "0 rows rejected, 0 duplicate\n"
    )
    assert done.stderr == ""
    assert available(service, "901") == [1_234]
    feed_file.write_bytes(feed_of("901", *range(2_200_234, 2_201_334)))
    done = service.numbers("ingest", "--carrier", "first", "--wait", feed_file)
    assert done.stdout.split(" ", 1)[1] == (
        "applied: 1,100 rows read, 100 numbers added, 234 removed, 1,000 unchanged; "
        "0 rows rejected, 0 duplicate\n"
    )
    assert available(service, "901") == [1_100]


def test_json_gives_the_whole_sync(service: Service) -> None:
    content = b"number\n+19032200000\nhello\n9032200000\n"
    done = service.numbers("ingest", "--carrier", "as-json", "--wait", "--json", "-", stdin=content)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    sync = msgspec.json.decode(done.stdout)
    assert sync["created_at"] <= sync["updated_at"]
    assert sync["created_at"].endswith("Z")
    changing = {"id", "created_at", "updated_at", "generation"}
    assert {name: value for name, value in sync.items() if name not in changing} == {
        "carrier": "as-json",
        "state": "applied",
        "mode": "snapshot",
        "attempts": 1,
        "read": 3,
        "added": 1,
        "removed": 0,
        "unchanged": 0,
        "rejected": 1,
        "duplicate": 1,
        "progress": 100,
        "reason": None,
        "rejects": [{"line": 3, "reason": "has letters"}],
    }


def test_without_wait_it_says_that_the_sync_is_queued(service: Service, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("904", 2_200_000))
    done = service.numbers("ingest", "--carrier", "no-wait", feed_file)
    assert done.returncode == 0
    sync_id, state = done.stdout.split()
    assert state == "queued"
    with redis.Redis.from_url(service.instance.redis_url) as store:
        wait_until(lambda: read_record(store, sync_id)["state"] == "applied", "the sync is applied")
    assert available(service, "904") == [1]


def test_json_without_wait_gives_the_queued_sync(service: Service) -> None:
    done = service.numbers("ingest", "--carrier", "queued", "--json", "-", stdin=feed_of("905", 2_200_000))
    assert done.returncode == 0
    sync = msgspec.json.decode(done.stdout)
    assert (sync["carrier"], sync["state"], sync["rejects"]) == ("queued", "queued", [])


def test_rejected_rows_are_shown_with_line_and_reason(service: Service) -> None:
    content = b"number,sms\n9062200000,1\nhello,1\n\n9112200000,1\n9062200001,maybe\n9062200002\n"
    done = service.numbers("ingest", "--carrier", "rejects", "--wait", "-", stdin=content)
    assert done.returncode == 0
    assert done.stdout.endswith("4 rows rejected, 0 duplicate\n")
    assert done.stderr.splitlines() == [
        "  line 3: has letters",
        "  line 5: area code 911 is a service code",
        "  line 6: sms is neither true nor false",
        "  line 7: has 1 columns, the header has 2",
    ]


def test_of_many_rejected_rows_five_are_shown_and_the_rest_counted(service: Service) -> None:
    content = b"number\n9072200000\n" + b"hello\n" * 1_500
    done = service.numbers("ingest", "--carrier", "many-rejects", "--wait", "-", stdin=content)
    assert done.returncode == 0
    shown = done.stderr.splitlines()
    assert [line.split(":")[0] for line in shown] == [
        *(f"  line {at}" for at in range(3, 8)),
        "  and 1,495 more",
    ]


def test_reads_gzip_from_a_file_and_from_standard_input(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv.gz"
    path.write_bytes(gzip.compress(feed_of("908", 2_200_000, 2_200_001)))
    done = service.numbers("ingest", "--carrier", "gzipped", "--wait", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert available(service, "908") == [2]
    content = gzip.compress(b'{"number":"9082200000"}\n')
    done = service.numbers("ingest", "--carrier", "gzipped", "--wait", "-", stdin=content)
    assert (done.returncode, done.stderr) == (0, "")
    assert available(service, "908") == [1]


# What goes wrong


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"phone\n9092200000\n", "the header has no column 'number'; its columns are: 'phone'"),
        (b"number\n", "the file holds no number that can be used; the stock stays as it was"),
        (b"\x1f\x8bgarbage and more of it", "the gzip data is broken: Unknown compression method"),
        (b'"number\n9092200000\n', "the header is not CSV: unexpected end of data"),
    ],
)
def test_a_sync_that_fails_ends_with_1_and_its_reason(service: Service, content: bytes, reason: str) -> None:
    done = service.numbers("ingest", "--carrier", "failing", "--wait", "-", stdin=content)
    assert done.returncode == 1
    assert " failed: 0 rows read, 0 numbers added" in done.stdout
    assert done.stderr == f"Error: {reason}\n"
    done = service.numbers("ingest", "--carrier", "failing", "--wait", "--json", "-", stdin=content)
    assert done.returncode == 1
    assert done.stderr == ""
    sync = msgspec.json.decode(done.stdout)
    assert (sync["state"], sync["reason"]) == ("failed", reason)


def test_a_feed_of_nothing_but_rejects_fails_and_leaves_the_stock(service: Service) -> None:
    assert service.ingest("all-bad", feed_of("910", 2_200_000))["state"] == "applied"
    content = b"number\nhello\n415\n"
    done = service.numbers("ingest", "--carrier", "all-bad", "--wait", "-", stdin=content)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "  line 2: has letters",
        "  line 3: has 3 digits, needs 10",
        "Error: the file holds no number that can be used; the stock stays as it was",
    ]
    assert available(service, "910") == [1]


@pytest.mark.parametrize("name", ["", "Acme", "a b", "acme\n", "ac/me", "é", "x" * 33, "acme_1", "{a}"])
def test_a_bad_carrier_name_is_refused(service: Service, name: str) -> None:
    assert not CARRIER_NAME.fullmatch(name)
    done = service.numbers("ingest", "--carrier", name, "-", stdin=feed_of("912", 2_200_000))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "Error: Invalid value for '--carrier': must be 1-32 characters of a-z, 0-9 and - "
        "(see `numbers ingest --help`)\n"
    )


def test_a_missing_carrier_and_a_missing_file_are_refused(service: Service, tmp_path: Path) -> None:
    done = service.numbers("ingest", "-", stdin=b"")
    assert done.returncode == 2
    assert done.stderr == "Error: Missing option '--carrier'. (see `numbers ingest --help`)\n"
    done = service.numbers("ingest", "--carrier", "acme", tmp_path / "gone.csv")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "gone.csv': No such file or directory" in line
    done = service.numbers("ingest", "--carrier", "acme", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Is a directory" in line


def test_a_store_that_cannot_be_reached_is_one_line(feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("913", 2_200_000))
    arguments = ("ingest", "--redis-url", "redis://127.0.0.1:1/0", "--carrier", "acme", "--wait", feed_file)
    done = numbers(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert is_one_line(done.stderr, "Error: the store cannot be reached: "), done.stderr


def test_a_data_directory_without_a_service_is_one_line(tmp_path: Path, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("913", 2_200_000))
    done = numbers("ingest", "--data-dir", tmp_path / "none", "--carrier", "acme", feed_file)
    assert done.returncode == 1
    assert is_one_line(done.stderr, "Error: no service runs for the data directory"), done.stderr


def test_a_spool_that_cannot_be_written_is_one_line(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ("ingest", "--redis-url", service.instance.redis_url, "--carrier", "acme", "-")
    done = numbers(*arguments, stdin=b"number\n", NUMBERS_SPOOL_DIR=str(tmp_path / "file" / "spool"))
    assert done.returncode == 1
    assert is_one_line(done.stderr, "Error: the feed cannot be copied to the spool: "), done.stderr


# Where the spool is


def test_redis_url_finds_the_workers_spool_from_anywhere(service: Service, tmp_path: Path) -> None:
    command = ["ingest", "--redis-url", service.instance.redis_url, "--carrier", "from-afar", "--wait", "-"]
    done = subprocess.run(
        [SCRIPTS / "numbers", *command],
        input=feed_of("914", 2_200_000),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert available(service, "914") == [1]
    assert list(tmp_path.iterdir()) == []


# Workers that die and jobs that are lost


def worker_process(service: Service) -> int | None:
    """Give the process of the service's worker, None while it has none."""
    children = [one for one in processes() if one.parent == service.process.pid]
    return next((child.pid for child in children if "worker.main" in child.command), None)


def running_worker(service: Service, other_than: int | None = None) -> int:
    """Wait until the service has a worker, or another one, and give its process."""
    process = wait_until(
        lambda: (found := worker_process(service)) != other_than and found, "a worker is running"
    )
    assert process
    return process


@pytest.fixture
def frozen_worker(fragile: Service) -> Iterator[int]:
    """Give a worker that does nothing until it is sent SIGCONT, at the latest when the test ends."""
    process = running_worker(fragile)
    os.kill(process, signal.SIGSTOP)
    yield process
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize(
    ("area_code", "how"), [("915", signal.SIGKILL), ("916", signal.SIGTERM)], ids=["SIGKILL", "SIGTERM"]
)
def test_a_worker_that_ends_in_the_middle_of_a_feed_comes_back_and_ends_it(
    fragile: Service,
    fragile_store: Client,
    feed_file: Path,
    area_code: str,
    how: signal.Signals,
) -> None:
    carrier = f"ended-by-{how.value}"
    before = FIRST_LOCAL - 100
    assert fragile.ingest(carrier, feed_of(area_code, *range(before, before + 200)))["added"] == 200
    worker = running_worker(fragile)
    feed_file.write_bytes(feed_of(area_code, *range(FIRST_LOCAL, FIRST_LOCAL + FEED_ROWS)))
    done = fragile.numbers("ingest", "--carrier", carrier, "--json", feed_file)
    sync_id = msgspec.json.decode(done.stdout)["id"]
    stock = store_keys.available(area_code)
    wait_until(lambda: fragile_store.zcard(stock) > 1_000, "the worker has begun to change the stock")
    os.kill(worker, how)
    running_worker(fragile, other_than=worker)
    left = fragile_store.zcard(stock)
    assert 1_000 < left < FEED_ROWS, "it was not in the middle"
    wait_until(lambda: read_record(fragile_store, sync_id)["state"] == "applied", "the sync is applied", 30)
    record = read_record(fragile_store, sync_id)
    counts = {name: int(record[name]) for name in ("read", "added", "removed", "unchanged", "progress")}
    assert counts == {
        "read": FEED_ROWS,
        "added": FEED_ROWS - 100,
        "removed": 100,
        "unchanged": 100,
        "progress": 100,
    }
    # Who is told to stop did not die over the feed.
    assert record["attempts"] == ("2" if how is signal.SIGKILL else "1")
    assert available(fragile, area_code) == [FEED_ROWS]
    expected = {f"+1{area_code}{local}".encode() for local in range(FIRST_LOCAL, FIRST_LOCAL + FEED_ROWS)}
    assert set(fragile_store.zrange(stock, 0, -1)) == expected
    assert fragile_store.hget(store_keys.feed(carrier), "intended") is None


@pytest.mark.usefixtures("frozen_worker")
def test_a_job_in_the_queue_is_message_pack(fragile: Service, fragile_store: Client) -> None:
    before = set(fragile_store.keys("arq:job:*"))
    content = feed_of("917", 2_200_000)
    assert fragile.numbers("ingest", "--carrier", "packed", "-", stdin=content).returncode == 0
    [key] = set(fragile_store.keys("arq:job:*")) - before
    stored = fragile_store.get(key)
    assert stored is not None
    job: dict[str, Any] = msgspec.msgpack.decode(stored)
    assert jobs.INGEST_FEED in job.values()
    assert ["packed"] in job.values()


def test_a_sync_whose_job_was_lost_is_found_by_the_sweep(
    fragile: Service, fragile_store: Client, frozen_worker: int
) -> None:
    content = feed_of("918", 2_200_000)
    done = fragile.numbers("ingest", "--carrier", "lost-job", "--json", "-", stdin=content)
    sync_id = msgspec.json.decode(done.stdout)["id"]
    lost = [key for key in fragile_store.keys("arq:job:*") if b"lost-job" in (fragile_store.get(key) or b"")]
    assert len(lost) == 1
    fragile_store.delete(*lost)
    fragile_store.zrem("arq:queue", *(key.removeprefix(b"arq:job:") for key in lost))
    assert read_record(fragile_store, sync_id)["state"] == "queued"
    os.kill(frozen_worker, signal.SIGCONT)
    wait_until(lambda: read_record(fragile_store, sync_id)["state"] == "applied", "the sweep finds the sync")
    assert available(fragile, "918") == [1]


def test_wait_sees_a_sync_through_the_death_of_its_worker(fragile: Service, frozen_worker: int) -> None:
    options = ["--data-dir", str(fragile.data_dir), "--carrier", "watched", "--wait"]
    command = [str(SCRIPTS / "numbers"), "ingest", *options, "-"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as waiting:
        assert waiting.stdin is not None
        waiting.stdin.write(feed_of("919", 2_200_000))
        waiting.stdin.close()
        waiting.stdin = None
        with redis.Redis.from_url(fragile.instance.redis_url) as store:
            wait_until(lambda: store.llen(store_keys.feed_queue("watched")), "the sync is queued")
        os.kill(frozen_worker, signal.SIGKILL)
        running_worker(fragile, other_than=frozen_worker)
        output, errors = waiting.communicate(timeout=30)
    assert (waiting.returncode, errors) == (0, b"")
    assert b" applied: 1 rows read, 1 numbers added" in output
