import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from shared import jobs, store_keys
from shared.feeds.profiles import CARRIER_NAME
from tests.cli.conftest import Here
from tests.cli.terminal import on_terminal
from tests.processes import processes
from tests.support import SCRIPTS, Service, environment, wait_until

FEED_ROWS = 150_000
FIRST_LOCAL = 2_200_000
_LEASE_SECONDS = "1"
_SWEEP_SECONDS = "0.3"

Cli = Callable[..., subprocess.CompletedProcess[str]]

Client = Any
"""redis-py gives each reply two types, that of its blocking client and that of the other."""


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose worker the tests stop and kill; its leases are short, and it looks often."""
    directory = tmp_path_factory.mktemp("fragile")
    (directory / "source").mkdir()
    profiles = directory / "feeds.toml"
    profiles.write_text(f'[profiles.fetched]\nsource = "{directory}/source"\n')
    service = Service(
        directory,
        "--no-sample",
        NUMBERS_FEED_LEASE_SECONDS=_LEASE_SECONDS,
        NUMBERS_SWEEP_SECONDS=_SWEEP_SECONDS,
        NUMBERS_FEEDS_FILE=str(profiles),
    )
    yield service
    service.stop()


@pytest.fixture
def source(fragile: Service) -> Path:
    """Give the directory that is the source of the carrier `fetched`; the profiles' file lies beside it."""
    return fragile.data_dir / "source"


@pytest.fixture
def fragile_store(fragile: Service) -> Iterator[Client]:
    with redis.Redis.from_url(fragile.instance.redis_url) as client:
        yield client


@pytest.fixture
def cli(here: Here, service: Service) -> Cli:
    """Give what runs commands against the service."""

    def run(command: str, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        return here(command, "--data-dir", service.data_dir, *arguments, stdin=stdin)

    return run


@pytest.fixture
def feed_file(tmp_path: Path) -> Path:
    return tmp_path / "feed.csv"


def feed_of(area_code: str, *locals_: int) -> bytes:
    return "".join(["number\n", *(f"+1{area_code}{local}\n" for local in locals_)]).encode()


def available(service: Service, *area_codes: str) -> list[int]:
    """Give how many numbers are available in these area codes."""
    with redis.Redis.from_url(service.instance.redis_url) as store:
        client: Client = store
        return [client.zcard(store_keys.available(area_code)) for area_code in area_codes]


def read_record(store: Client, sync_id: str) -> dict[str, str]:
    fields = store.hgetall(store_keys.sync(sync_id))
    return {name.decode(): value.decode() for name, value in fields.items()}


def is_one_line(text: str, start: str = "Error: ") -> bool:
    return text.startswith(start) and text.endswith("\n") and text.count("\n") == 1


# What it says


def test_wait_ends_with_the_counts_of_the_sync(cli: Cli, service: Service, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("901", *range(2_200_000, 2_201_234)))
    done = cli("ingest", "--carrier", "first", "--wait", feed_file)
    assert (done.returncode, done.stderr) == (0, "")
    first, rows, counts, took = done.stdout.splitlines()
    assert re.fullmatch("[0-9a-f-]{36} applied", first)
    assert rows == "  rows      1,234 read, 0 rejected; 0 duplicate numbers"
    assert counts == "  numbers   1,234 added, 0 removed, 0 unchanged; 0 protected"
    assert took.startswith("  took      ")
    assert available(service, "901") == [1_234]
    feed_file.write_bytes(feed_of("901", *range(2_200_234, 2_201_334)))
    done = cli("ingest", "--carrier", "first", "--wait", feed_file)
    assert "  numbers   100 added, 234 removed, 1,000 unchanged; 0 protected\n" in done.stdout
    assert available(service, "901") == [1_100]


def test_json_gives_the_whole_sync_and_its_rejects(cli: Cli) -> None:
    content = b"number\n+19032200000\nhello\n9032200000\n"
    done = cli("ingest", "--carrier", "as-json", "--wait", "--json", "-", stdin=content)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    sync = msgspec.json.decode(done.stdout)
    assert sync["created_at"] <= sync["updated_at"]
    assert sync["created_at"].endswith("Z")
    expected = {
        "carrier": "as-json",
        "state": "applied",
        "mode": None,
        "dry_run": False,
        "confirm": False,
        "sha256": hashlib.sha256(content).hexdigest(),
        "read": 3,
        "added": 1,
        "removed": 0,
        "unchanged": 0,
        "rejected": 1,
        "duplicate": 1,
        "protected": 0,
        "progress": 100,
        "reason": None,
        "rejects": [{"line": 3, "reason": "has letters", "start": "hello"}],
    }
    assert {name: sync[name] for name in expected} == expected


def test_without_wait_it_says_that_the_sync_is_queued(cli: Cli, service: Service, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("904", 2_200_000))
    done = cli("ingest", "--carrier", "no-wait", feed_file)
    assert done.returncode == 0
    sync_id, state = done.stdout.split()
    assert state == "queued"
    with redis.Redis.from_url(service.instance.redis_url) as store:
        wait_until(lambda: read_record(store, sync_id)["state"] == "applied", "the sync is applied")
    assert available(service, "904") == [1]


def test_of_rejected_rows_five_are_shown_and_the_command_for_the_others(cli: Cli, service: Service) -> None:
    content = b"number,sms\n9062200000,1\nhello,1\n\n9112200000,1\n9062200001,maybe\n" + b"\x1b[31m\n" * 5
    content += b"9062200009,1\n" * 100
    done = cli("ingest", "--carrier", "rejects", "--wait", "-", stdin=content)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    sync_id = first.split()[0]
    assert lines[-7:] == [
        "  rejected  line 3: has letters: 'hello,1'",
        "            line 5: area code 911 is a service code: '9112200000,1'",
        "            line 6: sms is neither true nor false: '9062200001,maybe'",
        "            line 7: has 1 columns, the header has 2: '\\x1b[31m'",
        "            line 8: has 1 columns, the header has 2: '\\x1b[31m'",
        "            and 3 more",
        f"            numbers sync rejects {sync_id} --data-dir {service.data_dir}",
    ]


# How it ends


def test_a_feed_that_is_refused_ends_with_1_and_its_reason(cli: Cli, service: Service) -> None:
    assert service.ingest("refused", feed_of("910", 2_200_000))["state"] == "applied"
    reason = "the feed holds no number that can be used; the stock stays as it was"
    content = b"number\nhello\n415\n"
    done = cli("ingest", "--carrier", "refused", "--wait", "-", stdin=content)
    assert (done.returncode, done.stderr) == (1, f"Error: {reason}\n")
    assert done.stdout.splitlines()[0].endswith(" refused")
    assert done.stdout.splitlines()[-1] == "            line 3: has 3 digits, needs 10: '415'"
    done = cli("ingest", "--carrier", "refused", "--wait", "--json", "-", stdin=content)
    assert (done.returncode, done.stderr) == (1, "")
    sync = msgspec.json.decode(done.stdout)
    assert (sync["state"], sync["reason"]) == ("refused", reason)
    assert available(service, "910") == [1]


def test_removals_above_the_guards_end_with_3_and_the_command_that_confirms(
    cli: Cli, service: Service
) -> None:
    assert service.ingest("guarded", feed_of("920", *range(2_200_000, 2_200_200)))["added"] == 200
    content = feed_of("907", 2_200_000)
    done = cli("ingest", "--carrier", "guarded", "--wait", "-", stdin=content)
    assert (done.returncode, done.stderr) == (3, "")
    sync_id, state = done.stdout.splitlines()[0].split()
    assert state == "waiting"
    *_, waits, confirm = done.stdout.splitlines()
    assert waits.startswith("  waits     it leaves nothing in area code 920: 200 removals wait for ")
    assert confirm == f"  confirm   numbers sync confirm {sync_id} --wait --data-dir {service.data_dir}"
    assert available(service, "920", "907") == [200, 1]


def test_confirm_passes_the_guards(cli: Cli, service: Service) -> None:
    assert service.ingest("sure", feed_of("921", *range(2_200_000, 2_200_200)))["added"] == 200
    content = feed_of("922", 2_200_000)
    done = cli("ingest", "--carrier", "sure", "--confirm", "--wait", "-", stdin=content)
    assert done.returncode == 0
    assert "1 added, 200 removed" in done.stdout
    assert available(service, "921", "922") == [0, 1]


def test_a_dry_run_waits_shows_what_would_change_and_changes_nothing(cli: Cli, service: Service) -> None:
    assert service.ingest("careful", feed_of("923", *range(2_200_000, 2_200_200)))["added"] == 200
    content = feed_of("924", 2_200_000)
    done = cli("ingest", "--carrier", "careful", "--dry-run", "-", stdin=content)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith(" dry run")
    assert "  numbers   1 added, 200 removed, 0 unchanged; 0 protected\n" in done.stdout
    assert "dry run: nothing was changed; its removals would wait for a confirmation" in done.stdout
    assert available(service, "923", "924") == [200, 0]


def test_mode_says_how_this_feed_is_meant(cli: Cli, service: Service) -> None:
    assert service.ingest("delta", feed_of("925", 2_200_000, 2_200_001))["added"] == 2
    content = b"number,action\n9252200000,delete\n9252200002,add\n"
    done = cli("ingest", "--carrier", "delta", "--mode", "delta", "--wait", "-", stdin=content)
    assert done.returncode == 0
    assert "1 added, 1 removed" in done.stdout
    assert available(service, "925") == [2]


# Which feed it takes


def test_a_feed_with_another_digest_is_refused_before_it_is_queued(cli: Cli, service: Service) -> None:
    content = feed_of("926", 2_200_000)
    digest = hashlib.sha256(content).hexdigest()
    arguments = ("ingest", "--carrier", "digest", "--sha256")
    done = cli(*arguments, "0" * 64, "-", stdin=content)
    assert done.returncode == 1
    assert done.stderr == f"Error: the feed is not the one that is meant: its SHA-256 is {digest}\n"
    assert not any(digest_of(path) == digest for path in (service.data_dir / "spool").iterdir())
    with redis.Redis.from_url(service.instance.redis_url) as store:
        assert not store.hexists(store_keys.FEEDS, "digest")
    done = cli(*arguments, digest.upper(), "--wait", "-", stdin=content)
    assert (done.returncode, done.stderr) == (0, "")
    done = cli(*arguments, "abc", "-", stdin=content)
    assert done.returncode == 2
    assert is_one_line(done.stderr, "Error: Invalid value for '--sha256': must be 64 hexadecimal digits")


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_source_fetches_the_feed_that_the_profile_names(here: Here, fragile: Service, source: Path) -> None:
    (source / "feed.csv").write_bytes(feed_of("927", 2_200_000))
    profiles = str(source.parent / "feeds.toml")
    arguments = ("ingest", "--data-dir", fragile.data_dir, "--source", "--carrier")
    done = here(*arguments, "fetched", "--wait", NUMBERS_FEEDS_FILE=profiles)
    assert (done.returncode, done.stderr) == (0, "")
    assert available(fragile, "927") == [1]
    done = here(*arguments, "other", NUMBERS_FEEDS_FILE=profiles)
    assert done.returncode == 1
    assert is_one_line(done.stderr, f"Error: other has no source in {profiles}; ")


def test_a_file_or_the_source_is_wanted_and_not_both(cli: Cli, feed_file: Path) -> None:
    feed_file.touch()
    for arguments in ((), ("--source", feed_file)):
        done = cli("ingest", "--carrier", "acme", *arguments)
        assert done.returncode == 2
        assert is_one_line(done.stderr, "Error: give a FILE (- for standard input) or --source, one of them")


# What goes wrong


def test_profiles_that_cannot_be_read_are_one_line(here: Here, service: Service, tmp_path: Path) -> None:
    path = tmp_path / "feeds.toml"
    path.write_text('[profiles.acme]\nformat = "fax"\n')
    arguments = ("ingest", "--data-dir", service.data_dir, "--carrier", "acme", "-")
    done = here(*arguments, NUMBERS_FEEDS_FILE=str(path))
    assert done.returncode == 1
    assert is_one_line(done.stderr, f"Error: {path}: [profiles.acme]: "), done.stderr


def test_a_bad_carrier_name_is_refused(cli: Cli) -> None:
    for name in ("", "Acme", "a b", "acme\n", "ac/me", "é", "x" * 33, "acme_1"):
        assert not CARRIER_NAME.fullmatch(name)
    done = cli("ingest", "--carrier", "{a}", "-", stdin=feed_of("912", 2_200_000))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "Error: Invalid value for '--carrier': must be 1-32 characters of a-z, 0-9 and - "
        "(see `numbers ingest --help`)\n"
    )


def test_a_missing_carrier_and_a_missing_file_are_refused(cli: Cli, tmp_path: Path) -> None:
    done = cli("ingest", "-", stdin=b"")
    assert done.returncode == 2
    assert done.stderr == "Error: Missing option '--carrier'. (see `numbers ingest --help`)\n"
    done = cli("ingest", "--carrier", "acme", tmp_path / "gone.csv")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "gone.csv': No such file or directory" in line
    done = cli("ingest", "--carrier", "acme", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Is a directory" in line


def test_a_store_that_cannot_be_reached_is_one_line(here: Here, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("913", 2_200_000))
    arguments = ("ingest", "--redis-url", "redis://127.0.0.1:1/0", "--carrier", "acme", "--wait", feed_file)
    done = here(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert is_one_line(done.stderr, "Error: the store cannot be reached: "), done.stderr


def test_a_data_directory_without_a_service_is_one_line(here: Here, tmp_path: Path, feed_file: Path) -> None:
    feed_file.write_bytes(feed_of("913", 2_200_000))
    done = here("ingest", "--data-dir", tmp_path / "none", "--carrier", "acme", feed_file)
    assert done.returncode == 1
    assert is_one_line(done.stderr, "Error: no service runs for the data directory"), done.stderr


def test_a_spool_that_cannot_be_written_is_one_line(here: Here, service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ("ingest", "--redis-url", service.instance.redis_url, "--carrier", "acme", "-")
    done = here(*arguments, stdin=b"number\n", NUMBERS_SPOOL_DIR=str(tmp_path / "file" / "spool"))
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
    return next((child.pid for child in children if "worker.feeds.main" in child.command), None)


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
    fragile_store.zrem(jobs.FEED_QUEUE, *(key.removeprefix(b"arq:job:") for key in lost))
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
    assert b" applied\n" in output


@pytest.mark.usefixtures("frozen_worker")
def test_ctrl_c_ends_the_waiting_and_not_the_sync(
    fragile: Service, fragile_store: Client, feed_file: Path
) -> None:
    feed_file.write_bytes(feed_of("928", 2_200_000))
    options = ("--data-dir", fragile.data_dir, "--carrier", "interrupted", "--wait")
    with on_terminal("ingest", *options, feed_file) as terminal:
        wait_until(lambda: terminal.shows("queued"), "it shows that the sync is queued")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    [work] = fragile_store.lrange(store_keys.feed_queue("interrupted"), 0, -1)
    sync_id = work.decode().partition(":")[2]
    assert "the sync goes on" in terminal.text
    assert f"numbers sync show {sync_id} --wait --data-dir {fragile.data_dir}" in terminal.text
    assert read_record(fragile_store, sync_id)["state"] == "queued"
