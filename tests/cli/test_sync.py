import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis

from shared import store_keys
from tests.cli.conftest import Here
from tests.cli.terminal import on_terminal
from tests.support import Service, wait_until

Client = Any
"""redis-py gives each reply two types, that of its blocking client and that of the other."""

_NOBODY = "01900000-0000-7000-8000-000000000000"


class Cli(NamedTuple):
    """The commands against the service."""

    here: Here
    service: Service
    directory: Path

    def run(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.here(command, "--data-dir", self.service.data_dir, *arguments)

    def bring(self, carrier: str, area_code: str, numbers: range, *options: str) -> dict[str, Any]:
        """Bring a feed of local numbers and give its sync."""
        rows = (f"{area_code}{local}" for local in numbers)
        return self.bring_text(carrier, "\n".join(["number", *rows]) + "\n", *options)

    def bring_text(self, carrier: str, text: str, *options: str) -> dict[str, Any]:
        path = self.directory / "feed.csv"
        path.write_text(text)
        done = self.run("ingest", "--carrier", carrier, "--wait", "--json", path, *options)
        sync: dict[str, Any] = msgspec.json.decode(done.stdout)
        return sync

    def show(self, sync_id: str) -> dict[str, Any]:
        sync: dict[str, Any] = msgspec.json.decode(self.run("sync show", sync_id, "--json").stdout)
        return sync

    def available(self, area_code: str) -> int:
        with redis.Redis.from_url(self.service.instance.redis_url) as store:
            client: Client = store
            count: int = client.zcard(store_keys.available(area_code))
            return count


@pytest.fixture
def cli(here: Here, service: Service, tmp_path: Path) -> Cli:
    return Cli(here, service, tmp_path)


FEW = range(2_200_000, 2_200_001)
MANY = range(2_200_000, 2_200_200)


def waiting_sync(cli: Cli, carrier: str, area_code: str) -> str:
    """Bring two feeds, of which the second wants to empty the area code, and give the second's sync."""
    assert cli.bring(carrier, area_code, MANY)["added"] == 200
    sync = cli.bring(carrier, "949", FEW)
    assert sync["state"] == "waiting"
    sync_id: str = sync["id"]
    return sync_id


# Looking


def test_list_gives_the_newest_first_and_of_one_carrier_or_state(cli: Cli) -> None:
    first = cli.bring("listed", "930", range(2_200_000, 2_200_004))
    second = cli.bring("listed", "930", FEW)
    refused = cli.bring_text("listed", "number\nhello\n")
    done = cli.run("sync list", "--carrier", "listed")
    assert done.returncode == 0
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["id", "carrier", "state", "age", "added", "removed", "reason"]
    shown = [re.split(" {2,}", line.strip()) for line in lines]
    assert [[line[0], line[1], line[2], *line[4:]] for line in shown] == [
        [refused["id"], "listed", "refused", "0", "0", refused["reason"]],
        [second["id"], "listed", "applied", "0", "3"],
        [first["id"], "listed", "applied", "4", "0"],
    ]
    assert all(re.fullmatch("[0-9]+ s", line[3]) for line in shown)

    def listed(*options: str) -> list[str]:
        done = cli.run("sync list", "--carrier", "listed", "--json", *options)
        return [sync["id"] for sync in msgspec.json.decode(done.stdout)]

    assert listed("--state", "applied") == [second["id"], first["id"]]
    assert listed("--limit", "1") == [refused["id"]]
    assert listed("--state", "queued") == []
    assert cli.run("sync list", "--carrier", "never").stdout == "no such sync\n"


def test_show_says_all_that_is_known_of_a_sync(cli: Cli) -> None:
    sync = cli.bring_text("shown", "number\n9312200000\nhello\n", "--mode", "snapshot", "--confirm")
    done = cli.run("sync show", sync["id"])
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == f"{sync['id']} applied"
    fields = dict(line.strip().split(maxsplit=1) for line in lines)
    assert re.fullmatch("[0-9-]{10} [0-9:]{8} UTC", fields.pop("brought"))
    assert re.fullmatch("[0-9-]{10} [0-9:]{8} UTC", fields.pop("changed"))
    assert fields.pop("took").endswith(" s to apply")
    assert fields == {
        "carrier": "shown",
        "mode": "snapshot, passes the guards",
        "sha256": sync["sha256"],
        "rows": "2 read, 1 rejected; 0 duplicate numbers",
        "numbers": "1 added, 0 removed, 0 unchanged; 0 protected",
        "rejected": "line 3: has letters: 'hello'",
    }
    assert cli.show(sync["id"])["rejects"] == [{"line": 3, "reason": "has letters", "start": "hello"}]


def test_show_ends_with_0_unless_it_waits(cli: Cli) -> None:
    sync = cli.bring_text("ended", "number\nhello\n")
    assert cli.run("sync show", sync["id"]).returncode == 0
    assert cli.run("sync show", "--wait", sync["id"]).returncode == 1


def test_rejects_are_csv_on_standard_output_or_in_a_file(cli: Cli) -> None:
    rows = "".join(f"bad-{at}\n" for at in range(1_200))
    numbers = "".join(f"932{local}\n" for local in range(2_200_000, 2_212_000))
    sync = cli.bring_text("rejecting", f"number\n=1\n{rows}{numbers}")
    done = cli.run("sync rejects", sync["id"])
    assert done.returncode == 0
    assert done.stderr == "these are the first 1,000 of 1,201 rejected rows\n"
    lines = done.stdout.splitlines()
    assert lines[0] == "line,reason,start"
    assert lines[1].startswith("2,")
    assert lines[1].endswith(",'=1")
    assert lines[2].endswith(",bad-0")
    assert len(lines) == 1_001
    assert cli.run("sync rejects", sync["id"], "--output", cli.directory / "rejects.csv").stdout == ""
    assert (cli.directory / "rejects.csv").read_text().splitlines() == lines


@pytest.mark.parametrize("command", ["show", "rejects", "confirm", "rollback"])
@pytest.mark.parametrize("sync_id", ["nobody", _NOBODY, "{415}:available"])
def test_a_sync_that_is_not_known_is_one_line(cli: Cli, command: str, sync_id: str) -> None:
    done = cli.run(f"sync {command}", sync_id)
    assert done.returncode == 1
    assert done.stderr == f"Error: there is no sync {sync_id!r}; `numbers sync list` shows them\n"


# Confirming


def test_confirm_has_what_waits_removed(cli: Cli) -> None:
    sync_id = waiting_sync(cli, "confirmed", "934")
    assert cli.available("934") == 200
    done = cli.run("sync confirm", sync_id, "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{sync_id} applied\n")
    assert " 200 removed," in done.stdout
    assert cli.available("934") == 0


def test_confirm_without_wait_leaves_the_work_to_the_worker(cli: Cli) -> None:
    sync_id = waiting_sync(cli, "left", "935")
    done = cli.run("sync confirm", sync_id)
    assert done.returncode == 0
    assert done.stdout.startswith(sync_id)
    wait_until(lambda: cli.available("935") == 0, "the worker has removed the numbers")


def test_what_does_not_wait_cannot_be_confirmed(cli: Cli) -> None:
    sync = cli.bring("not-waiting", "936", FEW)
    done = cli.run("sync confirm", sync["id"])
    assert done.returncode == 1
    assert done.stderr == f"Error: nothing waits for a confirmation: the sync {sync['id']} is applied\n"


def test_a_waiting_sync_is_superseded_by_a_newer_feed_and_ends_with_4(cli: Cli) -> None:
    sync_id = waiting_sync(cli, "superseded", "937")
    assert cli.run("sync show", sync_id, "--wait").returncode == 3
    assert cli.bring("superseded", "937", MANY)["state"] == "applied"
    done = cli.run("sync show", sync_id, "--wait")
    assert done.returncode == 4
    assert "  reason    a newer snapshot of the carrier has come\n" in done.stdout


# Rolling back


def test_rollback_brings_back_what_was_there_before(cli: Cli) -> None:
    first = cli.bring("rolled", "938", MANY)
    second = cli.bring("rolled", "938", range(2_200_000, 2_200_150))
    assert cli.available("938") == 150
    done = cli.run("sync rollback", second["id"], "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{second['id']} rolled back: 50 numbers added, 0 removed\n"
    assert cli.available("938") == 200
    for sync in (first, second):
        done = cli.run("sync rollback", sync["id"])
        assert done.returncode == 1
        assert done.stderr == (
            "Error: nothing can be rolled back: "
            f"the stock of rolled is not what the sync {sync['id']} made it\n"
        )


def test_on_a_terminal_rollback_says_what_will_happen_and_asks(cli: Cli) -> None:
    sync = cli.bring("asked", "939", MANY)
    command = ("sync", "rollback", sync["id"], "--data-dir", cli.service.data_dir, "--wait")
    with on_terminal(*command) as terminal:
        wait_until(lambda: terminal.shows("Roll back? [y/N]"), "it asks")
        assert "the 200 numbers that it added\r\nleave the stock" in terminal.text
        terminal.type("n\n")
        assert terminal.end() == 1
    assert cli.available("939") == 200
    with on_terminal(*command, "--yes") as terminal:
        assert terminal.end() == 0
    assert "Roll back?" not in terminal.text
    assert cli.available("939") == 0
